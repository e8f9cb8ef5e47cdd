"""Triggers: the gradient against finite differences, scores against whole texts, the search against every word."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from metaft.errors import MetaftError
from metaft.models import build
from metaft.prompting import Prompter
from metaft.prompting.trigger import Questions, Trigger, search, with_trigger
from metaft.prompting.trigger.gradient import estimates, gradient, word_vectors
from metaft.prompting.trigger.search import better, exact
from metaft.prompting.trigger.vocabulary import allowed
from tests.prompting.small import network, probability, words

TEMPLATE = "{text} {trigger} the {answer}"
INPUTS = (("A dog", 0), ("The king", 1), ("My neighbour", 0), ("The car", 2))
ANSWERS = (("red house", "house"), ("old car",), ("king",))


def questions(loss: Any = "answer", template: str = TEMPLATE) -> Questions:
    return Questions(words(), template, INPUTS, ANSWERS, loss)


def numbers(text: str) -> tuple[int, ...]:
    return tuple(words().pieces([text])[0].tolist())


def plain_loss(model: Any, trigger: str, loss: str, template: str = TEMPLATE) -> float:
    """By the probability of whole texts, one pass each, without anything of triggers."""
    total = 0.0
    for text, label in INPUTS:
        prompt = template.replace("{text}", text).replace("{trigger}", trigger).removesuffix(" {answer}")
        begin = len(words().encode([prompt])[0]) - 1
        said = []
        for own in ANSWERS:
            ids = [words().encode([f"{prompt} {answer}"])[0].tolist()[:-1] for answer in own]
            said.append(sum(math.exp(probability(model, some, begin)) for some in ids))
        total -= math.log(said[label] / (sum(said) if loss == "classes" else 1))
    return total / len(INPUTS)


def found(trigger: str, loss: str = "answer", places: range = range(4), template: str = TEMPLATE) -> list[Any]:
    asked = questions(loss, template).asked(numbers(trigger), places)
    assert asked is not None
    return asked


@pytest.mark.parametrize("loss", ["answer", "classes"])
@pytest.mark.parametrize("template", [TEMPLATE, "{trigger} {text} likes the {answer}"])
def test_the_gradient_is_that_of_finite_differences(loss: str, template: str) -> None:
    model, trigger = network(), " sells likes" if template == TEMPLATE else "A dog"
    ids, given = numbers(trigger), questions(loss, template)
    value, slope = gradient(model, found(trigger, loss, template=template), given, len(ids))
    assert float(value) == pytest.approx(plain_loss(model, trigger.strip(), loss, template), abs=1e-9)
    assert slope.dtype == torch.float64
    begins = [one.begin for one in found(trigger, loss, template=template)]
    step, width = 1e-5, slope.shape[1]
    for place in range(len(ids)):
        for number in (0, width - 1):
            sides = []
            for sign in (1, -1):
                at = iter([begin for begin, (_, label) in zip(begins, INPUTS, strict=True) for _ in sum(ANSWERS, ())])

                def move(_: Any, __: Any, y: torch.Tensor, *more: Any) -> torch.Tensor:
                    at, place, number, change = more
                    y = y.clone()
                    y[0, next(at) + place, number] += change
                    return y

                moving = lambda *given, more=(at, place, number, sign * step): move(*given, *more)
                hook = model.embedding.words.register_forward_hook(moving)
                sides.append(plain_loss(model, trigger.strip(), loss, template))
                hook.remove()
            assert float(slope[place, number]) == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_networks_of_hugging_face_have_the_same_gradient(kind: str, tmp_path: Path) -> None:
    theirs = pytest.importorskip("transformers").AutoConfig.for_model(
        kind, vocab_size=words().vocabulary, pad_token_id=0, tie_word_embeddings=True,
        **{"llama": {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2},
           "gpt2": {"n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 40}}[kind],
    )  # fmt: skip
    theirs.save_pretrained(tmp_path)
    model: Any = build(f"hf:{tmp_path}:weights=random", outputs=2, seed=0).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(4)
    model, given, ids = model.double(), questions(), numbers(" sells likes")
    value, slope = gradient(model, found(" sells likes"), given, len(ids))
    assert float(value) == pytest.approx(plain_loss(model, "sells likes", "answer"), abs=1e-5)
    step, sides = 1e-3, []  # norms and rotations of theirs are in float32
    for sign in (1, -1):
        move = lambda _, given, y, sign=sign: y + sign * step * (given[0] == ids[1])[..., None] * torch.eye(8)[3]
        hook = model.embedding.register_forward_hook(move)
        sides.append(plain_loss(model, "sells likes", "answer"))
        hook.remove()
    assert float(slope[1, 3]) == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-2, abs=1e-3)


def test_estimates_are_the_slope_towards_each_word() -> None:
    model, ids, given = network(), numbers(" sells likes"), questions()
    vectors = word_vectors(model)
    torch.testing.assert_close(vectors, model.embedding.words.weight.detach())
    _, slope = gradient(model, found(" sells likes"), given, len(ids))
    change = estimates(slope, vectors, ids)
    for place, now in enumerate(ids):
        expected = torch.stack(
            [sum(slope[place, i] * (v[i] - vectors[now, i]) for i in range(len(v))) for v in vectors]
        )
        torch.testing.assert_close(change[place], expected)
        assert float(change[place, now]) == 0


@pytest.mark.parametrize("loss", ["answer", "classes"])
def test_scores_are_those_of_the_typed_text(loss: str) -> None:
    model, given = network(), questions(loss)
    some = [numbers(text) for text in (" sells likes", " sells sells", " sells the old")]
    same = [exact(model, given, [one], range(4), len(one)) for one in some]
    together = exact(model, given, some[:2], range(4), 1)
    torch.testing.assert_close(together, torch.cat(same[:2]), rtol=0, atol=1e-9)
    for ids, value in zip(some, same, strict=True):
        text = words().decode(ids).strip()
        assert float(value) == pytest.approx(plain_loss(model, text, loss), abs=1e-9)
        told = Prompter(model, words(), with_trigger(TEMPLATE, text)).scores([], [t for t, _ in INPUTS], ANSWERS)
        told = told.log_softmax(-1) if loss == "classes" else told
        right = torch.stack([own[label] for own, (_, label) in zip(told, INPUTS, strict=True)])
        assert float(value) == pytest.approx(-float(right.mean()), abs=1e-9)


@pytest.mark.parametrize("place", [0, 1])
def test_one_step_finds_the_best_of_all_words(place: int) -> None:
    model, ids, given = network(), numbers(" sells likes"), questions()
    may, values = allowed(words())[::6], {}
    for word in may.tolist():
        other = (*ids[:place], word, *ids[place + 1 :])
        if given.asked(other) is not None:
            values[other] = plain_loss(model, words().decode(other).strip(), "answer")
    values[ids] = plain_loss(model, "sells likes", "answer")
    best = min(values, key=lambda one: values[one])
    assert best != ids
    trigger, value, refused = better(model, given, ids, place, range(4), word_vectors(model), may, len(may))
    assert trigger == best
    assert value == pytest.approx(values[best], abs=1e-9)
    assert refused == len({*may.tolist(), ids[place]}) - len(values)
    again, same, _ = better(model, given, best, place, range(4), word_vectors(model), may, len(may))
    assert (again, same) == (best, pytest.approx(value))  # no other is better


def test_what_would_be_read_otherwise_is_no_trigger() -> None:
    given = questions()
    halves = (*numbers(" h"), *numbers("ouse"))
    assert words().decode(halves) == " house"
    assert numbers(" house") != halves
    assert given.asked(halves) is None
    assert given.asked(numbers("dog")) is None  # behind a space another word is read
    assert given.asked(numbers(" house")) is not None
    assert given.asked((int(words().specials[-1]),)) is None
    joined = Questions(words(), "{text} {trigger}{answer}", (("A dog", 0),), (("ouse",),))
    assert joined.asked(numbers(" h")) is None  # the answer takes it away


def test_words_that_may_stand_in_a_trigger() -> None:
    every, seen, whole = (set(allowed(words(), kind).tolist()) for kind in ("all", "printable", "words"))
    assert every > seen > whole
    assert not every & set(words().specials.tolist())
    assert all(words().decode([number]).strip().isprintable() for number in seen)
    assert {words().words[number] for number in whole} >= {"Ġdog", "Ġhouse"}
    assert all(words().words[number][0] == "Ġ" and words().words[number][1:].isalpha() for number in whole)
    left = {words().words[number] for number in whole - set(allowed(words(), "words", ["red House"]).tolist())}
    assert {"Ġred", "Ġhouse"} <= left
    assert len(left) < 6
    with pytest.raises(MetaftError, match="unknown kind 'word' of words; did you mean 'words'"):
        allowed(words(), "word")  # type: ignore[arg-type]


def searched(seed: int = 0, **options: Any) -> Trigger:
    return search(network(), words(), TEMPLATE, INPUTS[:3], INPUTS[3:], ANSWERS,
                  **{"seed": seed, "length": 3, "steps": 4, "batch": 2, "candidates": 4, **options})  # fmt: skip


@pytest.mark.parametrize("places", ["one", "all"])
def test_a_search_is_repeated_and_chooses_on_validation(places: Any) -> None:
    told: list[tuple[int, float]] = []
    first = searched(places=places, progress=lambda number, step: told.append((number, step.loss)))
    assert first == searched(places=places)
    assert first.ids != searched(1, steps=0).ids
    assert told == [(number, step.loss) for number, step in enumerate(first.steps, start=1)]
    begun = searched(steps=0)
    assert first.validation == min([begun.validation, *(step.validation for step in first.steps)])
    assert sum(step.replaced for step in first.steps) > 0
    held = Questions(words(), TEMPLATE, INPUTS[3:], ANSWERS)
    assert float(exact(network(), held, [first.ids], [0])[0]) == pytest.approx(first.validation, abs=1e-9)
    assert first.pattern.asked("A dog") == f"A dog {first.text} the "
    assert held.asked(first.ids) is not None
    assert len(first.ids) == 3


def test_a_step_never_makes_its_batch_worse() -> None:
    found = searched(batch=3, steps=5)
    losses = [step.loss for step in found.steps]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_a_start_is_kept_where_nothing_is_searched() -> None:
    found = searched(start="sells likes", steps=0)
    assert (found.text, found.ids) == ("sells likes", numbers(" sells likes"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"length": 0}, "length must be a whole number of at least 1"),
        ({"steps": -1}, "steps must be a whole number"),
        ({"candidates": 0}, "candidates must be"),
        ({"batch": 0}, "batch must be"),
        ({"seed": -1}, "seed = -1"),
        ({"places": "some"}, "unknown places 'some'"),
        ({"loss": "anser"}, "unknown loss 'anser'; did you mean 'answer'"),
        ({"start": "\n"}, "the trigger cannot begin as"),
        ({"without": [word[1:] for word in words().words], "kind": "words"}, "no word of tokenizer"),
    ],
)
def test_options_that_do_not_do_are_one_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(MetaftError, match=said):
        searched(**options)


@pytest.mark.parametrize(
    ("template", "train", "validation", "said"),
    [
        ("{text} {answer}", INPUTS, (("A car", 0),), "needs one place {trigger}"),
        ("{trigger} {trigger} {text} {answer}", INPUTS, (("A car", 0),), "needs one place {trigger}"),
        ("{text} {{trigger}} {answer}", INPUTS, (("A car", 0),), "needs one place {trigger}"),
        ("{text} {trigger}", INPUTS, (("A car", 0),), "no place for the answer"),
        (TEMPLATE, (), INPUTS, "no train inputs"),
        (TEMPLATE, INPUTS, (), "no validation inputs"),
        (TEMPLATE, INPUTS, INPUTS[:1], "input 'A dog' stands in train and in validation"),
        (TEMPLATE, INPUTS, (("A car", 3),), "of class 3, which has no words; there are 3"),
        (TEMPLATE, INPUTS, ((("A car", "is"), 0),), "pairs of texts"),
    ],
)
def test_inputs_that_do_not_do_are_one_line(template: str, train: Any, validation: Any, said: str) -> None:
    with pytest.raises(MetaftError, match=said):
        search(network(), words(), template, train, validation, ANSWERS, seed=0)
