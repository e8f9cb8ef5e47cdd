"""Demonstrations that are chosen, against numpy and against prompts that are read one by one."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from sklearn.feature_extraction.text import TfidfVectorizer

from metaft.cli import cli
from metaft.errors import MetaftError
from metaft.learners.in_context import InContext
from metaft.prompting import Pattern, Prompter
from metaft.prompting.choices import Candidates, subsets
from metaft.prompting.text_features import own_states, tf_idf
from metaft.tables import CHOICES
from metaft.tasks.random import generator
from tests.prompting.small import SENTENCES, network, words

NAMES = ["red", "old", "new"]
SUPPORT = SENTENCES[:30:3]
FEW = 6
LABELS = [i % 3 for i in range(len(SUPPORT))]
QUERIES = [*SENTENCES[1:30:9], "The king likes a dog.", "nothing of it"]
EMPTY: Any = lambda *rest: pytest.fail("nothing is asked")


def candidates(ask: Any = EMPTY, seed: int = 0, labels: list[int] = LABELS) -> Candidates:
    return Candidates(tuple(SUPPORT), tuple(labels), network(), words(), ask, generator(seed, "test", 0))


def learner(places: int = 2000, **options: Any) -> InContext:
    return InContext(network(places), **options)


def loop(one: InContext, queries: list[str]) -> torch.Tensor:
    """Every query by itself, its demonstrations chosen anew."""
    return torch.cat([one.scores(one.asked(SUPPORT[:FEW], LABELS[:FEW], NAMES), [query]) for query in queries])


def cosines(query: str) -> np.ndarray:
    count = lambda text: np.array([re.findall(r"\w+", text.lower()).count(word) for word in known], dtype=float)
    known = sorted({word for text in SUPPORT for word in re.findall(r"\w+", text.lower())})
    rows = np.stack([count(text) for text in SUPPORT])
    rare = np.log((1 + len(SUPPORT)) / (1 + (rows > 0).sum(0))) + 1
    length = lambda x: np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
    rows, row = rows * rare, count(query) * rare
    return np.asarray((rows / length(rows)) @ (row / length(row)))


def test_words_count_as_scikit_learn_counts_them() -> None:
    theirs = TfidfVectorizer(token_pattern=r"\w+", norm=None).fit(SUPPORT)
    ours = torch.stack([tf_idf(SUPPORT)(text) for text in [*QUERIES, "king, King; KING unheard-of"]])
    expected = theirs.transform([*QUERIES, "king, King; KING unheard-of"]).toarray()
    np.testing.assert_allclose(ours.numpy(), expected)
    pair = tf_idf([("a dog", "a king"), ("an old king", "red")])
    assert torch.equal(pair(("a", "dog dog")), pair(("dog", "dog a")))


@pytest.mark.parametrize("count", [1, 4, len(SUPPORT)])
def test_nearest_are_those_of_numpy(count: int) -> None:
    choose = CHOICES.make(f"nearest:count={count}").chooser(candidates())
    turned = CHOICES.make(f"nearest:count={count},order=nearest-first").chooser(candidates())
    for query in [*QUERIES, *SENTENCES[1:30:7]]:
        near = cosines(query)
        found = choose(query)
        assert (len(found), turned(query)) == (count, found[::-1])
        np.testing.assert_allclose(near[list(found)], np.sort(near)[-count:], atol=1e-12)  # the nearest are last
        equal = [[i for i in found if np.isclose(near[i], value)] for value in sorted(set(near[list(found)].round(9)))]
        assert all(own == sorted(own, reverse=True) for own in equal)  # ties as they stand


def test_nearest_of_each_class() -> None:
    choose = CHOICES.make("nearest:count=2,per_class=true").chooser(candidates())
    for query in QUERIES:
        near, found = cosines(query), choose(query)
        assert (np.diff(near[list(found)]) > -1e-12).all()
        for label in range(3):
            own = [i for i, of in enumerate(LABELS) if of == label]
            chosen = [near[i] for i in found if LABELS[i] == label]
            np.testing.assert_allclose(chosen, sorted(near[own])[-2:], atol=1e-12)


def test_a_models_own_states_are_the_mean_over_words() -> None:
    model, features = network(), own_states(network(), words())
    rows = []
    for text in SUPPORT:
        ids = words().encode([text])[0].long()
        with torch.no_grad():
            rows.append(model.states(ids[None])[-1][0].mean(0))
        torch.testing.assert_close(features(text), rows[-1], rtol=0, atol=1e-9)
    choose = CHOICES.make("nearest:count=3,features=model").chooser(candidates())
    near = torch.nn.functional.cosine_similarity(torch.stack(rows), features(QUERIES[0])[None])
    assert choose(QUERIES[0]) == tuple(near.argsort()[-3:].tolist())


def test_another_network_tells_what_is_near_and_is_a_part_of_the_digest() -> None:
    pytest.importorskip("transformers", reason="the extra text is not installed")
    from metaft.models import build

    choice = CHOICES.make("nearest:count=3,features=stories260k")
    other: Any = build("stories260k", outputs=1, seed=0).eval()
    other.head = torch.nn.Identity()
    from metaft.additions.prompt_start import tokenizer_of

    numbers = lambda text: tokenizer_of(other, "test").encode([text])[0].long()[None]
    with torch.no_grad():
        rows = torch.cat([other(numbers(text)) for text in SUPPORT])
        near = torch.nn.functional.cosine_similarity(rows, other(numbers(QUERIES[0])))
    assert choice.chooser(candidates())(QUERIES[0]) == tuple(near.argsort()[-3:].tolist())
    one = learner(choice="nearest:features=stories260k")
    assert set(one.other_weights) == {f"choice.{name}" for name in build("stories260k", outputs=1, seed=0).state_dict()}
    assert learner(choice="nearest").other_weights == {}


OPTIONS: list[dict[str, Any]] = [
    {},
    {"direction": "channel"},
    {"calibration": "contextual"},
    {"calibration": "domain", "score": "mean"},
    {"prompts": 2},
    {"prompts": 2, "combine": "votes"},
    {"shots": 2},
]


@pytest.mark.parametrize("choice", ["nearest:count=3", "validation:count=2,tries=2"])
@pytest.mark.parametrize("options", OPTIONS)
def test_answers_are_those_of_each_query_by_itself(options: dict[str, Any], choice: str) -> None:
    one = learner(choice=choice, **options)
    asked = one.asked(SUPPORT[:FEW], LABELS[:FEW], NAMES)
    found = one.scores(asked, QUERIES)
    torch.testing.assert_close(found[2:4], loop(learner(choice=choice, **options), QUERIES[2:4]), rtol=0, atol=1e-9)
    assert torch.equal(one.scores(asked, QUERIES), found)
    if set(options) & {"prompts", "calibration"}:
        return
    expected = [one.prompter.scores(asked.of(query)[0], [query], [(name,) for name in NAMES]) for query in QUERIES]
    torch.testing.assert_close(found, torch.cat(expected), rtol=0, atol=1e-9)
    assert len({asked.of(query) for query in QUERIES}) > 2 or choice.startswith("validation")
    assert one.sent == one.prompter.head(asked.of(QUERIES[0])[0]) + one.pattern.asked(QUERIES[0])


def test_a_batchs_leaning_is_that_of_all_queries() -> None:
    plain, one = learner(choice="nearest:count=2"), learner(choice="nearest:count=2", calibration="batch")
    scores = plain.scores(plain.asked(SUPPORT, LABELS, NAMES), QUERIES).softmax(-1)
    expected = scores / scores.mean(0)
    found = one.scores(one.asked(SUPPORT, LABELS, NAMES), QUERIES).softmax(-1)
    torch.testing.assert_close(found, expected / expected.sum(-1, keepdim=True), rtol=0, atol=1e-9)
    assert one.transductive
    assert not plain.transductive


def test_all_examples_are_the_whole_support_set() -> None:
    every = learner().asked(SUPPORT, LABELS, NAMES).prompts[0]
    for choice in (f"nearest:count={len(SUPPORT)}", f"validation:count={len(SUPPORT)},tries=1"):
        found = learner(choice=choice).asked(SUPPORT, LABELS, NAMES).of(QUERIES[0])[0]
        assert sorted(found) == sorted(every)
    one = learner(choice="nearest:count=10,features=model,order=nearest-first")
    shown = one.asked(SUPPORT, LABELS, NAMES).of(SUPPORT[4])[0]
    assert shown[0] == (SUPPORT[4], NAMES[LABELS[4]])  # nothing is nearer than itself


def test_cut_texts_of_one_query_are_not_cut_for_another() -> None:
    long = " ".join(["the house"] * 60)
    one = learner(places=120, choice="nearest:count=2")
    asked = one.asked([*SUPPORT, long], [*LABELS, 0], NAMES)
    found = one.scores(asked, [QUERIES[0], long])
    assert one.cut > 0
    alone = learner(places=120, choice="nearest:count=2")
    assert torch.allclose(alone.scores(asked, [QUERIES[0]]), found[:1], rtol=0, atol=1e-9)
    assert alone.cut == 0
    far = learner(places=2000, choice="nearest:count=2").scores(asked, [QUERIES[0]])
    plain = Prompter(network(2000), words(), one.pattern)
    assert torch.allclose(far, plain.scores(asked.of(QUERIES[0])[0], [QUERIES[0]], [(name,) for name in NAMES]))


def test_validation_takes_the_least_loss_of_the_rest() -> None:
    one = learner(choice="validation:count=3,tries=6")
    shown = one.asked(SUPPORT, LABELS, NAMES).of("any")[0]
    ordered = list(learner().asked(SUPPORT, LABELS, NAMES).prompts[0])  # the order that candidates stand in
    label = dict(zip(SUPPORT, LABELS, strict=True))
    draw = seen_draw(one)
    losses = {}
    for _ in range(6):
        tried = [ordered[i] for i in draw.permutation(len(ordered))[:3]]
        rest = [text for text, _ in ordered if text not in dict(tried)]
        said = [one.prompter.scores(tried, [text], [(name,) for name in NAMES])[0].log_softmax(-1) for text in rest]
        losses[tuple(tried)] = -np.mean([float(s[label[text]]) for s, text in zip(said, rest, strict=True)])
    assert len(set(losses.values())) == 6
    assert shown == min(losses, key=lambda tried: losses[tried])
    assert (one.sent, one.cut) == ("", 0)  # nothing was asked yet


def seen_draw(one: InContext) -> np.random.Generator:
    """The random numbers that a choice is given, at their beginning."""
    held: list[np.random.Generator] = []

    class Seen:
        own = False

        def chooser(self, candidates: Candidates) -> Any:
            held.append(candidates.draw)

        def weights(self) -> dict[str, torch.Tensor]:
            return {}

    kept, one.choice = one.choice, Seen()
    one.asked(SUPPORT, LABELS, NAMES)
    one.choice = kept
    return held[0]


def test_orders_of_all_examples_are_held_against_each_other_one_left_out() -> None:
    asked: list[tuple[tuple[int, ...], int]] = []

    def ask(shown: Any, others: Any) -> torch.Tensor:
        asked.append((tuple(shown), *others))
        return torch.zeros(1, 3) + torch.nn.functional.one_hot(torch.tensor([shown[0] % 3]), 3)

    best = CHOICES.make(f"validation:count={len(SUPPORT)},tries=4").chooser(candidates(ask))("any")
    tried = subsets(candidates(), 4, len(SUPPORT), False)
    assert asked == [(tuple(i for i in one if i != left), left) for one in tried for left in one]
    loss = lambda one: sum(np.log(np.exp(1) + 2) - (one[left == one[0]] % 3 == LABELS[left]) for left in one)
    assert best == min(tried, key=loss)


def test_draws_are_of_each_class_and_no_two_are_equal() -> None:
    found = subsets(candidates(), 50, 2, True)
    assert all(sorted(LABELS[i] for i in one) == [0, 0, 1, 1, 2, 2] for one in found)
    assert len({*found}) == len(found) > 45
    assert len({tuple(LABELS[i] for i in one) for one in found}) > 20  # classes are mixed
    assert {*subsets(candidates(), 200, 1, False)} == {(i,) for i in range(len(SUPPORT))}
    assert subsets(candidates(), 50, 2, True) == found != subsets(candidates(seed=1), 50, 2, True)


def test_demonstrations_in_common_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from metaft.prompting import log_probability

    read: list[int] = []
    plain = log_probability.read_on
    monkeypatch.setattr(
        log_probability, "read_on", lambda model, ids, *rest: (read.append(ids.numel()), plain(model, ids, *rest))[1]
    )
    prompter = Prompter(network(), words(), Pattern("{text} {answer}"))
    demonstrations = [[(text, "red") for text in some] for some in (SUPPORT[:3], SUPPORT[3:6])]
    shown = [demonstrations[i % 2] for i in range(4)]
    found = prompter.scores_each(shown, QUERIES[:4], [("red",), ("old",)])
    once = sum(read)
    read.clear()
    expected = [prompter.scores(own, [query], [("red",), ("old",)]) for own, query in zip(shown, QUERIES, strict=False)]
    torch.testing.assert_close(found, torch.cat(expected), rtol=0, atol=1e-9)
    head = min(len(words().encode([prompter.head(own)])[0]) for own in demonstrations)
    assert once < sum(read) - head  # two heads are read, where each query by itself reads four


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"choice": "nearst"}, "unknown choice 'nearst'; did you mean 'nearest'"),
        ({"choice": "nearest:counts=3"}, "choice 'nearest' has no option 'counts'; did you mean 'count'"),
        ({"choice": "nearest:count=0"}, "count of choice nearest must be a whole number of at least 1"),
        ({"choice": "nearest:order=last"}, "choice 'nearest' has no order 'last'"),
        ({"choice": "nearest:features=tfidf"}, "unknown features 'tfidf'; did you mean 'tf-idf'.*; take tf-idf, model"),
        ({"choice": "nearest:features=hf:absent"}, "no pretrained model 'absent'"),
        ({"choice": "nearest:count=11"}, "nearest: count=11, and this task has 10 support examples"),
        ({"choice": "validation:count=4,per_class=true"}, "count=4, and a class of this task has 3 support examples"),
        ({"choice": "validation:tries=0"}, "tries of choice validation"),
        ({"choice": "nearest", "shots": 0}, "without shots choice=nearest has nothing to choose from"),
        ({"choice": "nearest", "order": "by-class"}, "choice=nearest says the order .* leave order=by-class out"),
        ({"choice": "nearest:count=2", "prompts": 3}, "3 prompts, and 2 demonstrations"),
    ],
)
def test_what_does_not_do_is_one_line(options: dict[str, Any], said: str) -> None:
    def asked() -> None:
        one = learner(**options)
        one.scores(one.asked(SUPPORT, LABELS, NAMES), QUERIES)

    with pytest.raises(MetaftError, match=said) as found:
        asked()
    assert "\n" not in str(found.value)


def test_a_choice_of_ones_own_is_one_file_and_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers", reason="the extra text is not installed")
    (tmp_path / "longest.py").write_text("""
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Longest:
    \"\"\"The longest examples.

    Args:
        many: of them.
    \"\"\"

    many: int = 2
    own: ClassVar[bool] = False

    def chooser(self, candidates):
        order = sorted(range(len(candidates.texts)), key=lambda i: -len(candidates.texts[i]))
        return lambda query: tuple(order[: self.many])

    def weights(self):
        return {}
""")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(CHOICES.rows, "longest", "longest:Longest")  # type: ignore[arg-type]
    run = lambda choice: CliRunner().invoke(
        cli, ["compare", f"in-context:backbone=stories260k,choice={choice}",
              "in-context:backbone=stories260k,choice=nearest:count=1;order=nearest-first,label=near",
              "--dataset", "intents", "--ways", "2", "--queries", "1", "--tasks", "2", "--out",
              str(tmp_path / choice[-1])],
    )  # fmt: skip
    done = run("longest:many=1")
    assert done.exit_code == 0, done.output
    shown = CliRunner().invoke(cli, ["show", str(tmp_path / "1")])
    prompt = re.search(r"Query:.*?Query:[^\n]*\n\s*Intent:", shown.stdout, re.DOTALL)
    assert prompt, shown.output  # one demonstration and the query
    assert "many" in CliRunner().invoke(cli, ["parts", "choice", "longest"]).stdout
    wrong = run("longest:mny=2")
    assert wrong.exit_code == 2
    assert "did you mean 'many'" in wrong.stderr
    sys.modules.pop("longest")
