"""In-context learning on tasks: the prompts that are sent, their scores, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import metaft
from metaft.cli import cli
from metaft.data.texts.labelled_texts import LabelledTexts
from metaft.data.texts.tokenizer import tokenised
from metaft.errors import MetaftError
from metaft.evaluation.evaluate import evaluate
from metaft.learners.in_context import InContext
from metaft.learners.learner import Learner
from metaft.models import build
from metaft.prompting import TextLookup
from metaft.tasks.batch import IGNORE, TaskBatch
from metaft.tasks.episodes import Episodes
from tests.prompting.small import network, words

CLASSES = {
    f"farm/{animal}_{place}": [f"the {animal} number {i} is in the {place}" for i in range(4)]
    for animal in ("dog", "cow")
    for place in ("house", "field", "car")
}


def family(shots: int = 1, **more: Any) -> Episodes:
    """Tasks whose texts all differ."""
    texts = LabelledTexts.of(CLASSES, dict.fromkeys(CLASSES, "farm"))
    return Episodes(tokenised(texts, words()), ways=3, shots=shots, queries=2, **more)


def learner(tasks: Episodes, **options: Any) -> InContext:
    return InContext(network(2000), texts=TextLookup.of(tasks), **options)


def plain(tasks: Episodes, one: InContext, batch: TaskBatch, demonstrations: Any) -> torch.Tensor:
    """Scores of all queries, each prompt by itself."""
    lookup = TextLookup.of(tasks)
    found = []
    for x, y, query_x in zip(batch.support_x, batch.support_y, batch.query_x, strict=True):
        names = [lookup.called(name).replace("_", " ") for name in lookup.classes(x, y)]
        shown = demonstrations([(text, names[label]) for text, label in zip(lookup.texts(x), y.tolist(), strict=True)])
        asked = [(name,) for name in names]
        found.append(torch.cat([one.prompter.scores(shown, [text], asked) for text in lookup.texts(query_x)]))
    return torch.stack(found)


def test_scores_are_those_of_each_prompt_by_itself() -> None:
    tasks = family(shots=2)
    batch = tasks.batch(0, 3)
    one = learner(tasks, order="given")
    expected = plain(tasks, one, batch, lambda shown: shown).float()
    torch.testing.assert_close(one.curve(batch)[0], expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(one.adapt(batch.support_x, batch.support_y)(batch.query_x), expected, rtol=0, atol=1e-4)
    zero = learner(tasks, shots=0)
    torch.testing.assert_close(
        zero.curve(batch)[0], plain(tasks, zero, batch, lambda shown: []).float(), rtol=0, atol=1e-4
    )
    told = zero.describe()
    assert told["prompt"] == f"Text: {TextLookup.of(tasks).texts(batch.query_x[0, :1])[0]}\nLabel: "
    assert (told["adapts"], told["cut"], told["shots"]) == (0, 0, 0)
    fewer = learner(tasks, shots=1, order="by-class")
    first_of_each = lambda shown: sorted(shown[:3], key=lambda pair: pair[1])  # they stand by shot
    expected = plain(tasks, fewer, batch, first_of_each).float()
    torch.testing.assert_close(fewer.curve(batch)[0], expected, rtol=0, atol=1e-4)


def test_the_order_is_the_seeds_and_not_the_batchs() -> None:
    tasks = family(shots=2)
    batch = tasks.batch(0, 4)
    at = lambda seed, part=slice(None): learner(tasks, seed=seed).curve(batch[part])[0]
    assert torch.equal(at(0), at(0))
    assert not torch.allclose(at(0), at(1), atol=1e-3)
    torch.testing.assert_close(at(0)[2:3], at(0, slice(2, 3)), rtol=0, atol=1e-5)
    sent = {learner(tasks, seed=seed).asked(["a", "b", "c"], [0, 1, 2], "xyz").prompts for seed in range(60)}
    assert len(sent) == 6  # every order


KEPT: list[dict[str, Any]] = [
    {},
    {"order": "by-class"},
    {"shots": 0},
    {"calibration": "batch"},
    {"choice": "nearest:count=2"},
    {"choice": "nearest:count=2,features=model", "calibration": "batch"},
    {"choice": "validation:count=1,per_class=true,tries=3"},
]


@pytest.mark.parametrize("options", KEPT)
def test_it_keeps_what_every_learner_keeps_to(options: dict[str, Any]) -> None:
    """As in test_contract.py: orders, labels of queries and other queries change nothing, nor is anything drawn."""
    tasks = family(shots=1 if "order" in options else 2)
    batch, one, turn = tasks.batch(0, 2), learner(tasks, **options), torch.tensor([2, 0, 1])
    state, answers = torch.random.get_rng_state(), one.curve(batch)
    same = lambda found, expected: torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    turned = TaskBatch(batch.support_x, turn[batch.support_y], batch.query_x, turn[batch.query_y])
    same(one.curve(turned)[..., turn], answers)
    order = torch.randperm(batch.support_y.shape[1], generator=torch.Generator().manual_seed(2))
    same(one.curve(TaskBatch(batch.support_x[:, order], batch.support_y[:, order], *batch.tensors()[2:])), answers)
    same(one.curve(TaskBatch(*batch.tensors()[:3], turn[batch.query_y])), answers)
    alone = one.curve(TaskBatch(*batch.tensors()[:2], batch.query_x[:, 4:5], batch.query_y[:, 4:5]))[0, :, 0]
    assert torch.allclose(alone, answers[0, :, 4], atol=1e-5) is not one.transductive
    assert torch.equal(torch.random.get_rng_state(), state)
    told = one.describe()
    assert json.loads(json.dumps(told)) == told
    assert all(not isinstance(value, dict | list) for value in told.values())


def test_several_prompts_share_the_support_set_out() -> None:
    tasks = family(shots=2)
    batch = tasks.batch(0, 2)
    average, votes = (learner(tasks, order="given", prompts=2, combine=how) for how in ("average", "votes"))
    halves = [plain(tasks, average, batch, lambda shown, i=i: shown[i::2]) for i in range(2)]
    expected = torch.stack([half.softmax(-1) for half in halves]).mean(0)
    torch.testing.assert_close(average.curve(batch)[0].softmax(-1).double(), expected, rtol=0, atol=1e-5)
    counted = torch.stack([torch.nn.functional.one_hot(half.argmax(-1), 3) for half in halves]).sum(0)
    assert torch.equal(votes.curve(batch)[0].floor().long(), counted)


def test_calibrated_answers_are_asked_behind_the_same_prompt() -> None:
    tasks = family()
    batch = tasks.batch(0, 2)
    one = learner(tasks, order="given", calibration="contextual:inputs=nothing")
    lookup = TextLookup.of(tasks)
    for task in range(2):
        x, y = batch.support_x[task], batch.support_y[task]
        asked = one.asked(lookup.texts(x), y.tolist(), [lookup.called(name) for name in lookup.classes(x, y)])
        without = one.prompter.scores(asked.prompts[0], ["nothing"], asked.words).softmax(-1)
        queries = lookup.texts(batch.query_x[task])
        expected = one.prompter.scores(asked.prompts[0], queries, asked.words).softmax(-1) / without
        found = one.curve(batch[task : task + 1])[0, 0].softmax(-1).double()
        torch.testing.assert_close(found, expected / expected.sum(-1, keepdim=True), rtol=0, atol=1e-5)
    assert not one.transductive
    assert learner(tasks, calibration="batch").transductive


def test_padded_examples_are_not_asked() -> None:
    tasks = family(shots=2)
    batch = tasks.batch(0, 2)
    support_y, query_y = batch.support_y.clone(), batch.query_y.clone()
    support_y[0, support_y[0] == 2] = IGNORE
    query_y[0, query_y[0] == 2] = IGNORE
    one = learner(tasks, order="given")
    found = one.curve(TaskBatch(batch.support_x, support_y, batch.query_x, query_y))[0]
    kept, asked = support_y[0] != IGNORE, query_y[0] != IGNORE
    smaller = TaskBatch(batch.support_x[:1, kept], support_y[:1, kept], batch.query_x[:1, asked], query_y[:1, asked])
    torch.testing.assert_close(found[0, asked, :2], one.curve(smaller)[0, 0], rtol=0, atol=1e-5)
    assert bool((found[0, asked, 2] == -torch.inf).all())
    torch.testing.assert_close(found[1:], one.curve(batch[1:])[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pattern": "texst"}, "unknown pattern 'texst'; did you mean 'text'"),
        ({"pattern": "pair"}, r"pattern pair: these inputs are single texts|needs \{text\}"),
        ({"order": "random"}, "unknown order 'random' of in-context"),
        ({"shots": -1}, "shots of in-context"),
        ({"shots": 0, "prompts": 2}, "nothing to divide into prompts"),
        ({"calibration": "contxtual"}, "unknown calibration 'contxtual'; did you mean 'contextual'"),
        ({"pattern": "none.toml"}, "cannot read patterns none.toml"),
    ],
)
def test_what_does_not_do_is_one_line(options: dict[str, Any], said: str) -> None:
    tasks = family()
    with pytest.raises(MetaftError, match=said):
        learner(tasks, **options).curve(tasks.batch(0, 1))


def test_what_tasks_do_not_give_is_said() -> None:
    tasks = family()
    batch = tasks.batch(0, 1)
    with pytest.raises(MetaftError, match="shots=2, and a class of this task has 1 support examples"):
        learner(tasks, shots=2).curve(batch)
    with pytest.raises(MetaftError, match="4 prompts, and 3 demonstrations"):
        learner(tasks, prompts=4).curve(batch)
    with pytest.raises(MetaftError, match=r"texts=metaft.prompting.TextLookup.of\(family\)"):
        InContext(network()).curve(batch)
    with pytest.raises(MetaftError, match="does not go on with a text; in-context needs a network"):
        InContext(build("transformer", outputs=3, seed=0, vocabulary=20))
    with pytest.raises(MetaftError, match="a text of a task is none of the 24"):
        learner(tasks).adapt(batch.support_x + 1, batch.support_y)
    with pytest.raises(MetaftError, match="no parameters to meta-train"):
        learner(tasks).meta_gradient(batch)
    with pytest.raises(MetaftError, match="these tasks have no texts"):
        TextLookup.of(metaft.families.sinusoid())


def test_it_is_a_learner_like_others(tmp_path: Path) -> None:
    tasks = family()
    one: Learner = learner(tasks)
    result = evaluate(one, tasks, 3)
    assert result.metric == "accuracy"
    assert result.learner["prompt"]
    pytest.importorskip("transformers", reason="the extra text is not installed")
    done = CliRunner().invoke(
        cli,
        ["compare", "in-context:backbone=stories260k,shots=0,label=zero", "in-context:backbone=stories260k",
         "class-means:backbone=stories260k", "--dataset", "intents", "--ways", "2", "--queries", "1", "--tasks", "2",
         "--seeds", "2", "--out", str(tmp_path / "compared")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "class-means" in done.output


def test_a_network_of_other_words_answers_as_in_its_own() -> None:
    pytest.importorskip("transformers", reason="the extra text is not installed")
    from metaft.assembly.learners import build_entrants
    from metaft.assembly.tasks import build_family
    from metaft.learners.spec import parse
    from metaft.settings.config import RunConfig, validated

    def answers(tokenizer: str) -> torch.Tensor:
        asked = {"dataset": "intents", "ways": 3, "queries": 2, "tokenizer": tokenizer}
        config = validated(RunConfig, asked)
        tasks = build_family(config, "test", 0)
        entrant = build_entrants([parse("class-means:backbone=hf:minilm")], {1: tasks}, config, (0,), None)[0]
        found: torch.Tensor = entrant.make().curve(tasks.batch(0, 4))
        return found

    torch.testing.assert_close(answers("stories260k"), answers("hf:minilm"), rtol=0, atol=1e-5)


def test_any_learner_may_have_its_texts_written_by_a_pattern() -> None:
    """Features are then those of the place where the answer would begin."""
    pytest.importorskip("transformers", reason="the extra text is not installed")
    from metaft.assembly.learners import build_entrants
    from metaft.assembly.tasks import build_family
    from metaft.learners.class_means import ClassMeans
    from metaft.learners.spec import parse
    from metaft.prompting import of_dataset
    from metaft.settings.config import RunConfig, validated

    config = validated(RunConfig, {"dataset": "intents", "ways": 2, "queries": 2, "tokenizer": "hf:stories260k"})
    tasks: Any = build_family(config, "test", 0)
    make = lambda spec: build_entrants([parse(spec)], {1: tasks}, config, (0,), None)[0].make()
    batch, lookup = tasks.batch(0, 2), TextLookup.of(tasks)
    found = make("class-means:backbone=stories260k,pattern=request").curve(batch)
    pattern, own = of_dataset("intents").find("request"), stories_tokenizer()
    written = lambda ids: [pattern.asked(text).rstrip() for text in lookup.texts(ids)]
    rows = lambda ids: torch.nn.utils.rnn.pad_sequence([own.encode([t])[0].long() for t in written(ids)], True)
    plain = ClassMeans(build("stories260k", outputs=2, seed=0))
    for task in range(2):
        support, query = rows(batch.support_x[task])[None], rows(batch.query_x[task])[None]
        expected = plain.adapt(support, batch.support_y[task : task + 1])(query)
        torch.testing.assert_close(found[0, task : task + 1], expected, rtol=0, atol=1e-5)
    with pytest.raises(MetaftError, match="unknown pattern 'requests'; did you mean 'request'"):
        make("class-means:backbone=stories260k,pattern=requests")
    with pytest.raises(MetaftError, match="texts are written by it for a pretrained model"):
        make("class-means:backbone=random,pattern=request")


def stories_tokenizer() -> Any:
    from metaft.data.texts import tokenizer

    return tokenizer.asked("stories260k", ())
