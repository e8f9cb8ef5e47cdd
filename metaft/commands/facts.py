"""What facts a model tells: zero-shot, behind demonstrations, paraphrased, behind a trigger, behind a soft prompt."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from metaft.assembly.causal_model import causal_model
from metaft.assembly.learners import weights_digest
from metaft.data.texts.facts import CAPITALS, Relation, load
from metaft.data.texts.tokenizer import Tokenizer
from metaft.environment import environment
from metaft.errors import MetaftError
from metaft.evaluation.facts_report import Told, consistency, markdown, results
from metaft.evaluation.report import write_result
from metaft.files import folder_path, write_atomically
from metaft.plain_json import finite
from metaft.prompting.continuations import branches
from metaft.prompting.likeliest import leads, likeliest
from metaft.prompting.log_probability import Ids
from metaft.prompting.pattern import Pattern
from metaft.prompting.prompt import Prompter
from metaft.prompting.soft_prompt import tuned
from metaft.prompting.trigger import search
from metaft.runs.contents import Contents
from metaft.runs.reading import dig, read_json
from metaft.seeds import require_seed
from metaft.tasks.random import generator
from metaft.validate import require_count

TABLES, PAGE = "facts.json", "facts.md"
TEMPLATE = "{text} {trigger} {answer}"
BETWEEN = "\n"
"""What demonstrations are parted by."""
ZERO, ONE = "zero-shot", "one-shot"
Fact = tuple[str, str]


def _is_ours(folder: Path) -> bool:
    with suppress(MetaftError):
        return isinstance(dig(read_json(folder / TABLES), "versions", "metaft"), str)
    return False


CONTENTS = Contents(
    "table of facts", TABLES, (TABLES, PAGE), is_ours=_is_ours, is_free=lambda names: PAGE not in names, resumed=False
)


@dataclass(frozen=True)
class Division:
    """Subjects and their objects, none in two parts.

    Args:
        train: that demonstrations, a trigger and a soft prompt are made of.
        validation: on which trigger and soft prompt are chosen.
        test: that are asked about.
    """

    train: tuple[Fact, ...] = field(repr=False)
    validation: tuple[Fact, ...] = field(repr=False)
    test: tuple[Fact, ...] = field(repr=False)


def divided(relation: Relation, train: int, validation: int, test: int, seed: int) -> Division:
    """Divide the subjects of a relation by a seed; more of a part leave the others' order as it is.

    Args:
        relation: with its facts.
        train: how many subjects.
        validation: likewise.
        test: likewise; fewer where there are no more.
        seed: of the draw.

    Raises:
        MetaftError: if fewer than two are left to test.
    """
    for name, count, least in (("train", train, 1), ("validation", validation, 1), ("test", test, 2)):
        require_count(count, name, least)
    order = generator(require_seed(seed), f"facts/{relation.name}", 0).permutation(len(relation.facts))
    drawn = [relation.facts[number] for number in order]
    left = len(drawn) - train - validation
    if left < 2:
        raise MetaftError(
            f"relation {relation.name} has {len(drawn)} subjects, and {train} to train on and {validation} to validate "
            f"on leave {max(left, 0)} to test; ask for fewer"
        )
    return Division(
        tuple(drawn[:train]), tuple(drawn[train : train + validation]), tuple(drawn[train + validation :][:test])
    )


@dataclass(frozen=True)
class Asking:
    """A model, and the subjects that it is asked about.

    Args:
        model: causal, in evaluation mode.
        tokenizer: of its words.
        relation: the facts.
        division: of them.
        progress: called with what is being done.
    """

    model: Any
    tokenizer: Tokenizer
    relation: Relation
    division: Division
    progress: Callable[[str], object] = lambda text: None

    def told(
        self, prompt: str, pattern: Pattern, shown: Sequence[Fact] = (), model: Any = None, begun: float | None = None,
        **facts: Any,
    ) -> Told:  # fmt: skip
        """Ask about the test subjects.

        Args:
            prompt: what this kind is called.
            pattern: how they are asked about.
            shown: demonstrations.
            model: another than this one.
            begun: when its training began.
            facts: more of how it was made.
        """
        start = time.perf_counter() if begun is None else begun
        self.progress(f"{prompt}: {len(self.division.test)} subjects …")
        network, objects = model or self.model, self.relation.objects
        head = Prompter(network, self.tokenizer, pattern).head(shown)
        asked = [(head + pattern.asked(subject), objects) for subject, _ in self.division.test]
        pairs = branches(self.tokenizer, asked)
        rows = [pairs[begin : begin + len(objects)] for begin in range(0, len(pairs), len(objects))]
        answers = tuple(likeliest(network, [(row[0][0], [one for _, one in row]) for row in rows]).tolist())
        labels = [objects.index(one) for _, one in self.division.test]
        freely = leads(network, [row[label] for row, label in zip(rows, labels, strict=True)]).numpy()
        seconds = time.perf_counter() - start
        told = Told(prompt, pattern.text, answers, np.array(answers) == labels, freely, round(seconds, 2), facts)
        self.progress(f"{prompt}: {int(told.right.sum())} of {len(labels)} right")
        return told

    def pairs(self, some: Sequence[Fact], pattern: Pattern) -> list[tuple[Ids, Ids]]:
        """Subjects as texts, each with its own object behind it."""
        return branches(self.tokenizer, [(pattern.asked(subject), [one]) for subject, one in some])


def facts_in(
    model: str,
    *,
    relation: str = CAPITALS,
    train: int = 60,
    validation: int = 20,
    test: int = 100,
    shots: int = 8,
    paraphrases: int = 5,
    trigger_length: int = 5,
    trigger_steps: int = 30,
    prompt_length: int = 5,
    prompt_steps: int = 60,
    seed: int = 0,
    data_root: str | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Callable[[str], object] = lambda text: None,
) -> tuple[list[Told], list[str]]:
    """Ask a model for the objects of a relation behind several kinds of prompts, of the same test subjects.

    Args:
        model: as `metaft.assembly.causal_model.causal_model` takes it.
        relation: as `metaft.data.texts.facts.load` takes it.
        train: subjects to train on, and to show.
        validation: subjects to choose on.
        test: subjects that are asked about, at most.
        shots: demonstrations, beside zero and one; 0 for neither of the two.
        paraphrases: further patterns of the relation, at most.
        trigger_length: words of the trigger; 0 for none.
        trigger_steps: of its search.
        prompt_length: vectors of the soft prompt; 0 for none.
        prompt_steps: of its training.
        seed: of the division, of what is shown, of trigger and soft prompt, and of weights that are drawn anew.
        data_root: where data are looked for first.
        out: folder of the tables; nothing is written without it.
        overwrite: replace those that are there.
        progress: called with what is being done.

    Returns:
        What was answered, a kind of prompt each, and what is said of all in lines.

    Raises:
        MetaftError: for bad input, found before the first question; or if the folder cannot be written.
    """
    for name, count in (("shots", shots), ("paraphrases", paraphrases), ("trigger_length", trigger_length),
                        ("trigger_steps", trigger_steps), ("prompt_length", prompt_length),
                        ("prompt_steps", prompt_steps)):  # fmt: skip
        require_count(count, name, 0)
    require_seed(seed)
    if out is not None:
        CONTENTS.check(folder_path(out), resume=False, overwrite=overwrite)
    held = load(relation, data_root)
    division = divided(held, train, validation, test, seed)
    if shots > train:
        raise MetaftError(f"{shots} shots are shown out of {train} training subjects; ask for fewer, or train on more")
    progress(f"{model} …")
    asking = Asking(*causal_model(model, seed), held, division, progress)
    found = _plain(asking, shots, paraphrases)
    if trigger_length:
        found.append(_behind_trigger(asking, trigger_length, trigger_steps, seed))
    if prompt_length:
        found.append(_behind_soft_prompt(asking, prompt_length, prompt_steps, seed))
    summary = _summary(asking, found)
    if out is not None:
        extra = {
            "model": model,
            "weights_sha256": weights_digest(dict(asking.model.state_dict())),
            "relation": {"name": held.name, "label": held.label, "objects": len(held.objects)},
            "subjects": {name: [subject for subject, _ in some] for name, some in vars(division).items()},
            "right": [one for _, one in division.test],
            "consistency": finite(consistency([one for one in found if not one.facts])),
        }
        _write(
            Path(folder_path(out)), found, held.objects, f"{model}: {held.label} ({held.name})", summary, seed, extra
        )
    return found, summary


def _plain(asking: Asking, shots: int, paraphrases: int) -> list[Told]:
    """Those for which nothing is trained. Of those without facts of their own answers are compared."""
    usual, *others = (Pattern(text, between=BETWEEN) for text in asking.relation.templates)
    found = [asking.told(ZERO, usual)]
    for count in sorted({min(shots, 1), shots} - {0}):
        name, shown = ONE if count == 1 else f"{count}-shot", asking.division.train[:count]
        found.append(asking.told(name, usual, shown, demonstrations=[list(fact) for fact in shown]))
    for number, pattern in enumerate(others[:paraphrases], start=1):
        found.append(asking.told(f"paraphrase {number}", pattern))
    return found


def _behind_trigger(asking: Asking, length: int, steps: int, seed: int) -> Told:
    start, objects = time.perf_counter(), asking.relation.objects
    label = {one: number for number, one in enumerate(objects)}
    train, validation = (
        [(s, label[o]) for s, o in some] for some in (asking.division.train, asking.division.validation)
    )
    found = search(
        asking.model, asking.tokenizer, TEMPLATE, train, validation, [(one,) for one in objects],
        seed=seed, length=length, steps=steps, without=objects,
        progress=lambda number, step: asking.progress(
            f"trigger: step {number} of {steps}, validation loss {step.validation:.3f}, {step.trigger!r} …"
        ),
    )  # fmt: skip
    told: dict[str, Any] = {
        "trigger": found.text,
        "validation_loss": found.validation,
        "steps": [vars(step) for step in found.steps],
    }
    return asking.told("trigger", found.pattern, begun=start, **told)


def _behind_soft_prompt(asking: Asking, length: int, steps: int, seed: int) -> Told:
    start, pattern = time.perf_counter(), Pattern(asking.relation.templates[0], between=BETWEEN)
    losses: list[float] = []

    def report(step: int, loss: float) -> None:
        losses.append(loss)
        asking.progress(f"soft prompt: step {step} of {steps}, validation loss {loss:.3f} …")

    train, validation = (asking.pairs(some, pattern) for some in (asking.division.train, asking.division.validation))
    network = tuned(asking.model, train, validation, seed=seed, length=length, steps=steps, progress=report)
    return asking.told("soft prompt", pattern, model=network, begun=start, vectors=length, validation_losses=losses)


def _summary(asking: Asking, found: Sequence[Told]) -> list[str]:
    division, relation = asking.division, asking.relation
    said = [
        f"{relation.label}: {len(division.test)} test subjects, {len(relation.objects)} objects; "
        f"{len(division.train)} subjects to train on, {len(division.validation)} to validate on"
    ]
    alike = [one for one in found if not one.facts]
    if len(alike) > 1:
        said.append(f"equal answers among pairs of {len(alike)} patterns: {consistency(alike):.1f}%")
    return said


def _write(
    folder: Path, found: Sequence[Told], objects: Sequence[str], title: str, summary: Sequence[str], seed: int,
    extra: Mapping[str, Any],
) -> None:  # fmt: skip
    command = shlex.join(["metaft", *sys.argv[1:]])
    where = environment()
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    made = f"Seed {seed}; {versions}; commit {where['commit']}; {where['date']}."
    write_atomically(folder / PAGE, markdown(found, title, command, summary, made).encode())
    write_result(folder / TABLES, results(found, objects), command, [seed], extra)
