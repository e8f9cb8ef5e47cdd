"""From what a command line names to learners that take part in a comparison."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from metaft import learners
from metaft.additions.prompt_start import tokenizer_of
from metaft.assembly.backbone import calibrated, load_backbone
from metaft.assembly.base_classes import base_feature
from metaft.assembly.meta_learner import load_run, own_builder, own_learner, require_no_idle_steps, worker_count
from metaft.assembly.networks import build_model, with_addition
from metaft.assembly.own_words import OwnWords, in_words_of, open_ended
from metaft.assembly.tasks import build_family
from metaft.assembly.unseen import require_unseen
from metaft.assembly.words import require_words_of, tokens_of
from metaft.data.splits import ALL
from metaft.data.texts import tokenizer
from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError, nearest
from metaft.evaluation.benchmark import Entrant, rehearse
from metaft.learners.learner import Learner
from metaft.learners.spec import RANDOM, SEED, Spec, labels
from metaft.models.backbones.source import NONE
from metaft.models.places import places_of
from metaft.plugins import FOREIGN, foreign, image_network, is_foreign, is_import_path, is_network
from metaft.prompting.answer_words import AnswerWords
from metaft.prompting.pattern import Pattern
from metaft.prompting.pattern_files import Patterns, find_pattern
from metaft.prompting.text_lookup import TextLookup, Texts
from metaft.runs.recorded import recorded_config
from metaft.settings.config import RunConfig, validated
from metaft.settings.defaults import REGRESSIONS
from metaft.settings.learner import ModelSettings
from metaft.tables import LEARNERS
from metaft.tasks.family import TaskFamily

CALIBRATION = 4
"""Training tasks whose queries give a random network's batch norm its running statistics."""

RUN_OPTIONS = ("batch_norm", "steps", "weights")
PUT_IN = ("addition", "frozen")
PATTERN = "pattern"
MEMBERS = ("name", "transductive", "params", "adapt", "curve", "describe")


def build_entrants(
    specs: Sequence[Spec],
    families: Mapping[int, TaskFamily],
    config: RunConfig,
    seeds: Sequence[int],
    steps: int | None,
) -> list[Entrant]:
    """Build every learner once, try it on one task, and set it up to be built again when its turn comes.

    Args:
        specs: the learners.
        families: the test tasks, by shots.
        config: how those are drawn, and the network of a random start.
        seeds: of learners that have randomness; others take part once.
        steps: inner steps of learners that have some and are not told their own; by default a run's are those that it
            has for the test.

    Returns:
        The entrants, in order.

    Raises:
        MetaftError: for unknown names and options, runs of other tasks, test classes seen in training, or a learner
            that fails.
    """
    entrants = []
    for spec, label in zip(specs, labels(specs), strict=True):
        for seed in seeds if _has_randomness(spec) else (None,):
            filled = spec.at(seed)
            make = partial(make_learner, filled, seed, next(iter(families.values())), config, steps)
            with _named(filled, spec):
                check_runs(filled, config, families)
                learner, weights = make()
                rehearse(label, learner, families)
            digest = weights_digest(weights)
            origin: dict[str, Any] = {"learner": filled.text, "settings": learner.describe(), "weights_sha256": digest}
            if spec.kind == "import":
                # What a learner of the user's own does hangs on its code, and on steps that it need not describe.
                origin |= {"steps": steps, "code_sha256": _code_digest(_builder(spec))}
            entrants.append(Entrant(label, seed, partial(_first, make), json.loads(json.dumps(origin, default=str))))
    return entrants


@contextlib.contextmanager
def _named(*specs: Spec) -> Iterator[None]:
    """Let a mistake name the learner as it was given: there may be many, and several of one name."""
    try:
        yield
    except MetaftError as error:
        if any(spec.text in error.message for spec in specs):
            raise
        raise MetaftError(f"learner {specs[0].text}: {error.message}") from error
    except (ArithmeticError, ValueError, TypeError, RuntimeError) as error:
        raise MetaftError(f"learner {specs[0].text} cannot be made: {type(error).__name__}: {error}") from error


def _has_randomness(spec: Spec) -> bool:
    if spec.kind == "run":
        return SEED in spec.text
    backbone = spec.options.get("backbone")
    others = foreign(backbone) or image_network(backbone)
    drawn = backbone == RANDOM or (others is not None and others.options.get("weights") in (RANDOM, NONE))
    return drawn or "addition" in spec.options or SEED in spec.text or "seed" in _unset(spec)


def make_learner(
    spec: Spec, seed: int | None, family: TaskFamily, config: RunConfig, steps: int | None
) -> tuple[Learner, dict[str, Tensor]]:
    """Build one learner.

    Args:
        spec: what was asked for.
        seed: of its randomness, already filled into the spec; None where there is none.
        family: tasks it is to answer.
        config: the network of a random start, and the workers.
        steps: inner steps, unless the spec says; None for a learner's own, a run's being those that it has for the
            test.

    Returns:
        The learner, and all the weights that it stands on.

    Raises:
        MetaftError: as `build_entrants`.
    """
    if spec.kind == "run":
        trained = _trained(spec, family, config, steps)
        return trained, trained.params
    settings: dict[str, Any] = dict(spec.options)
    tasks, family = family, _in_own_words(spec, family)
    if PATTERN not in learners.options(_builder(spec)):
        settings.pop(PATTERN, None)  # the texts are written by it
    model = _backbone(spec, settings.pop("backbone", None), seed, family, config)
    if model is not None and family is not tasks and PATTERN in spec.options and getattr(model, "causal", False):
        family = open_ended(family, tokenizer_of(model, spec.text))
    put_in = {name: settings.pop(name) for name in PUT_IN if name in settings}
    if put_in:
        model = _with_addition(spec, model, seed, **put_in)
    known: dict[str, Any] = {"kind": family.kind, "outputs": family.outputs, "seed": seed, "steps": steps}
    known["workers"] = worker_count(config)
    if settings.get("centre") == "base" and model is not None and spec.options["backbone"] != RANDOM:
        known["base"] = base_feature(spec.options["backbone"], model, spec.options, config)
    if "texts" in _unset(spec):
        known["texts"] = _lookup(tasks, tasks)
    if "answers" in _unset(spec) and PATTERN in spec.options and model is not None:
        known["answers"] = _answers(spec, tasks, family, model)
    settings |= {name: value for name, value in known.items() if name in _unset(spec) and value is not None}
    if spec.kind == "table":
        learner = learners.build(spec.target, model, **settings)
    else:
        learner = own_learner(spec.target, model, settings, MEMBERS, "is no learner")
    own = tokens_of(family)
    if family is not tasks and own is not None and "texts" not in settings:
        learner = OwnWords(learner, TextLookup.of(tasks), own)
    others = getattr(learner, "other_weights", {})  # of networks beside the one that answers
    return learner, {**(dict(model.state_dict()) if model is not None else {}), **learner.params, **others}


def _in_own_words(spec: Spec, family: TaskFamily) -> TaskFamily:
    """The tasks as a learner's pretrained network reads them, written by a pattern if it writes no prompts itself."""
    asked = None if PATTERN in learners.options(_builder(spec)) else spec.options.get(PATTERN)
    others, tokens = foreign(spec.options.get("backbone")), tokens_of(family)
    run = _of_run(spec)
    if asked is not None and tokens is not None and run:  # its words are the tasks' own
        return in_words_of(family, Tokenizer(tokens.tokenizer, run), tokens.most, _pattern(asked, family)[1])
    if tokens is None or others is None:
        if asked is not None:
            raise MetaftError(
                f"pattern = {asked}: texts are written by it for a pretrained model; give backbone=hf:smollm2, another "
                "or a run, and a data set of texts"
            )
        return family
    pattern = None if asked is None else _pattern(asked, family)[1]
    own = tokenizer.asked(f"{FOREIGN}{others.name}", ())
    return in_words_of(family, own, places_of(str(spec.options["backbone"])), pattern)


def _of_run(spec: Spec) -> str:
    """The run directory that a learner's network comes from; empty where there is none."""
    backbone = spec.options.get("backbone", RANDOM)
    return "" if backbone == RANDOM or is_network(backbone) else backbone


def _pattern(asked: str, family: TaskFamily) -> tuple[Patterns, Pattern]:
    lookup = TextLookup.of(family)
    return find_pattern(asked, lookup.dataset, lookup.pairs)


def _lookup(tasks: TaskFamily, own: TaskFamily) -> Texts:
    """From examples to texts: that of the tasks, which may bring one; else of the same in the learner's own words."""
    brought: Texts | None = getattr(tasks, "lookup", None)
    return TextLookup.of(own) if brought is None else brought


def _answers(spec: Spec, tasks: TaskFamily, own: TaskFamily, model: nn.Module) -> AnswerWords:
    """The words of classes behind the pattern that a learner's texts are written by."""
    patterns, pattern = _pattern(spec.options[PATTERN], tasks)
    return AnswerWords(_lookup(tasks, own), pattern, patterns.words_of(pattern), tokenizer_of(model, spec.text))


def _trained(spec: Spec, family: TaskFamily, config: RunConfig, steps: int | None) -> Learner:
    """A run's learner, with its weights."""
    for name in spec.options:
        if name not in RUN_OPTIONS:
            raise MetaftError(f"a run directory has no option {name!r}{nearest(name, RUN_OPTIONS)}")
    weights = spec.options.get("weights", "best")
    if weights not in ("best", "last"):
        raise MetaftError(f"{spec.target}: weights = {weights}: should be 'best' or 'last'")
    overrides: dict[str, Any] = {name: spec.options[name] for name in spec.options if name == "batch_norm"}
    own, learner = load_run(spec.target, weights, family, workers=config.workers, **overrides)
    require_no_idle_steps(own, spec.options.get("steps"))
    count = spec.options.get("steps", own.test_steps if steps is None else steps)
    if count is not None:
        # Set afterwards, as rates that were learned for each step are stored for as many as were trained.
        learner.steps = validated(RunConfig, {"steps": count}).steps  # type: ignore[attr-defined]
    return learner


def _backbone(
    spec: Spec, where: str | None, seed: int | None, family: TaskFamily, config: RunConfig
) -> nn.Module | None:
    if where is None:
        if learners.needs_model(_builder(spec)):
            raise MetaftError(
                f"learner {spec.target!r} needs a network; give backbone=DIRECTORY, of a run, "
                "backbone=torchvision:resnet18, a published network of images, backbone=hf:minilm, a pretrained model "
                f"of texts, or backbone={RANDOM}"
            )
        return None
    if is_network(where):
        return build_model(config.model_copy(update={"model": where}), family, seed or 0).eval()
    if where != RANDOM:
        return load_backbone(where)
    drawn = (
        {"weights": RANDOM} if is_foreign(config.model) else {"weights": NONE} if image_network(config.model) else {}
    )
    model = build_model(config, family, seed or 0, **drawn)
    if family.kind == "regression":
        return model
    if not any(isinstance(part, _BatchNorm) for part in model.modules()):
        return model.eval()
    if getattr(family, "split", None) == ALL:
        raise MetaftError(
            f"learner {spec.target!r}: backbone={RANDOM} takes its batch norm's statistics from training classes, and "
            "--split all leaves none; give a run as backbone, or leave --split out"
        )
    # Batch norm as it is constructed, mean 0 and variance 1, would hand on ever smaller numbers from layer to layer.
    images = build_family(config, "train", config.seed, config.train_ways).batch(0, CALIBRATION).query_x
    return calibrated(model, images.flatten(0, 1))


def _with_addition(
    spec: Spec, model: nn.Module | None, seed: int | None, addition: str | None = None, frozen: str | None = None
) -> nn.Module:
    """The backbone with what is put into it."""
    if model is None:
        raise MetaftError(f"addition = {addition}: it is put into a network; give one, such as backbone=hf:minilm")
    told = validated(ModelSettings, {n: v for n, v in (("addition", addition), ("frozen", frozen)) if v is not None})
    return with_addition(model, told.addition, told.frozen, seed or 0)


def check_runs(spec: Spec, config: RunConfig, families: Mapping[int, TaskFamily]) -> None:
    """Refuse a learner that stands on a run of other tasks, or on one that has seen the test classes.

    Args:
        spec: the learner, seed filled in.
        config: how the test tasks are drawn.
        families: the test tasks, by shots.

    Raises:
        MetaftError: saying which.
    """
    family = next(iter(families.values()))
    for run in [spec.target] if spec.kind == "run" else filter(None, [_of_run(spec)]):  # says what it was trained on
        require_words_of(run, family)
        require_unseen(run, config, family)
    if spec.kind != "run":
        return
    own = recorded_config(spec.target)
    if not isinstance(own, RunConfig):
        raise MetaftError(
            f"{spec.target} holds a pretrained network, and how it is to learn is open; "
            f"say so by fine-tuning:backbone={spec.target}, for instance"
        )
    image = family.kind == "classification"
    if not is_import_path(own.dataset) and (own.dataset in REGRESSIONS) == image:
        raise MetaftError(f"{spec.target} was trained on {own.dataset}, which is of another kind than {config.dataset}")
    if image and own.ways != family.outputs and own.method not in learners.ANY_WAYS:
        raise MetaftError(
            f"{spec.target} was trained for {own.ways} ways, these tasks have {family.outputs}; "
            f"use --ways {own.ways}, or train one with --ways {family.outputs}"
        )


def _builder(spec: Spec) -> learners.Builder:
    return LEARNERS[spec.target] if spec.kind == "table" else own_builder(spec.target)


def _unset(spec: Spec) -> set[str]:
    """The options that a builder has and that were left open."""
    return set(learners.options(_builder(spec))) - set(spec.options)


def _code_digest(builder: Any) -> str | None:
    """SHA-256 of the file that a learner's code stands in; None where there is none."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(builder))
        return None if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except (OSError, TypeError):
        return None


def _first(make: partial[tuple[Learner, dict[str, Tensor]]]) -> Learner:
    return make()[0]


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of names and values."""
    total = hashlib.sha256()
    for name, value in sorted(weights.items()):
        total.update(name.encode())
        total.update(value.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()
