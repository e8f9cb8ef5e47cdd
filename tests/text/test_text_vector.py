"""What a text's vector is: layers, how they are put together, and places; against sums written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.models import build
from metaft.models.text_vector import TextVector
from tests.text.test_transformer import made, texts

SIGNS = ((7,), (8, 9))


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ("last", [6]), ("all", [0, 1, 2, 3, 4, 5, 6]), ("0", [0]), ("-2", [5]), ("4..6", [4, 5, 6]),
        ("-4..", [3, 4, 5, 6]), ("..2", [0, 1, 2]), ("-3..-2", [4, 5]), ("6", [6]),
    ],
)  # fmt: skip
def test_layers_are_named_by_number_from_either_end(features: str, expected: list[int]) -> None:
    assert list(TextVector(features).layers(7)) == expected
    assert TextVector(features).width(7, 10) == 10 * len(expected)
    assert TextVector(features, "average").width(7, 10) == 10
    assert TextVector(features, "average", "marked", SIGNS).width(7, 10) == 20


def words_of(row: Tensor) -> list[int]:
    return [i for i, number in enumerate(row.tolist()) if number]


def by_hand(states: Tensor, row: Tensor, pool: str) -> Tensor:
    """One text's vector, place by place."""
    at = words_of(row)
    if pool == "marked":
        parts = []
        for numbers in SIGNS:
            first, second = [i for i in at if int(row[i]) in numbers][:2]
            parts.append(states[first + 1 : second].mean(0))
        return torch.cat(parts)
    return {"mean": states[at].mean(0), "first": states[at[0]], "last": states[at[-1]]}[pool]


@pytest.mark.parametrize("pool", ["mean", "first", "last", "marked"])
def test_places_are_those_that_are_asked_for(pool: Any) -> None:
    ids = torch.tensor([[1, 7, 2, 3, 7, 4, 8, 5, 9, 6], [8, 2, 2, 9, 7, 3, 7, 0, 0, 0]])
    states = torch.randn(2, 10, 4, dtype=torch.float64)
    found = TextVector(pool=pool, signs=SIGNS if pool == "marked" else ())([states], ids)
    torch.testing.assert_close(found, torch.stack([by_hand(s, row, pool) for s, row in zip(states, ids, strict=True)]))
    longer = torch.nn.functional.pad(ids, (0, 3))
    padded = torch.nn.functional.pad(states, (0, 0, 0, 3), value=5.0)
    torch.testing.assert_close(TextVector(pool=pool, signs=SIGNS if pool == "marked" else ())([padded], longer), found)


def test_where_nothing_is_marked_all_words_count() -> None:
    ids, states = torch.tensor([[1, 2, 3, 0], [7, 2, 3, 0]]), torch.randn(2, 4, 5)
    found = TextVector(pool="marked", signs=SIGNS)([states], ids)
    torch.testing.assert_close(found[0], states[0, :3].mean(0).repeat(2))
    torch.testing.assert_close(found[1], torch.cat([states[1, 1:3].mean(0), states[1, :3].mean(0)]))  # never closed


@pytest.mark.parametrize("shape", ["bert", "gpt", "llama"])
@pytest.mark.parametrize("combine", ["concatenate", "average"])
def test_a_transformer_answers_with_what_its_options_say(shape: str, combine: str) -> None:
    model, ids = made(shape, features="-2..", combine=combine, pool="first"), texts(4)
    states = [state[:, 0] for state in model.states(ids)[-2:]]
    vector = torch.cat(states, -1) if combine == "concatenate" else (states[0] + states[1]) / 2
    torch.testing.assert_close(model(ids), model.head(vector))


@pytest.mark.parametrize("shape", ["bert", "gpt", "llama"])
def test_without_options_it_is_the_mean_or_the_last_word(shape: str) -> None:
    model, ids = made(shape), texts(4)
    pool = "mean" if shape == "bert" else "last"
    vector = torch.stack([by_hand(s, row, pool) for s, row in zip(model.states(ids)[-1], ids, strict=True)])
    torch.testing.assert_close(model(ids), model.head(vector))


@pytest.mark.parametrize("shape", ["bert", "gpt", "llama"])
def test_scores_for_words_are_states_times_the_embedding(shape: str) -> None:
    model, ids = made(shape), texts(3)
    scores = model.words(ids)
    assert scores.shape == (3, 7, 30)
    torch.testing.assert_close(scores[1, 0, 5], model.states(ids)[-1][1, 0] @ model.embedding.words.weight[5])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"features": "3"}, "this transformer has layers 0 .its embedding. to 2, or -3 to -1"),
        ({"features": "-4.."}, "has layers 0 .its embedding. to 2"),
        ({"features": "2..1"}, "from layer 2 back to layer 1"),
        ({"features": "first"}, "expected last, all, the number of a layer"),
        ({"features": ".."}, "expected last, all"),
        ({"combine": "mean"}, "unknown combine 'mean'|has no combine 'mean'"),
        ({"pool": "cls"}, "unknown pool 'cls'|pool = cls"),
        ({"pool": "marked"}, "the tokenizer's are not known"),
    ],
)
def test_what_does_not_fit_is_one_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(MetaftError, match=said):
        build("transformer", outputs=3, seed=0, layers=2, width=8, heads=2, **options)


def test_vectors_of_one_length_differ_by_direction_alone() -> None:
    states, ids = [torch.rand(3, 4, 5, dtype=torch.float64)], torch.tensor([[1, 2, 3, 4], [1, 0, 0, 0], [0, 0, 0, 0]])
    plain, scaled = TextVector()(states, ids), TextVector(length=2.5)(states, ids)
    torch.testing.assert_close(scaled.norm(dim=-1), torch.tensor([2.5, 2.5, 0.0], dtype=torch.float64))
    torch.testing.assert_close(scaled[:2], 2.5 * plain[:2] / plain[:2].norm(dim=-1, keepdim=True))
    with pytest.raises(MetaftError, match="the length of a text's vector"):
        TextVector(length=0)
