"""Texts in one row are texts alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from metaft.additions import attach
from metaft.errors import MetaftError
from metaft.models.kv_cache import read_on
from metaft.models.segments import others, places_within
from metaft.preferences.packing import first_fit_decreasing, log_probabilities, pack
from tests.models.test_kv_cache import ours, theirs
from tests.prompting.small import probability

DRAW = torch.Generator().manual_seed(0)
LENGTHS = (2, 5, 9, 3, 7, 12, 4, 1, 2)
EXAMPLES = [
    (torch.randint(3, 30, (n,), generator=DRAW).tolist(), [i >= max(n // 2, 1) for i in range(n)]) for n in LENGTHS
]
ROW = 30
"""Longer than the 24 places of the networks: what counts is how long each text is."""


def network(kind: str, folder: Path) -> Any:
    model = theirs(kind.removeprefix("hf "), folder) if kind.startswith("hf") else ours(kind)
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(6)
    return model


def alone(model: Any) -> list[float]:
    return [probability(model, ids, asked.index(True)) if any(asked) else 0.0 for ids, asked in EXAMPLES]


@pytest.mark.parametrize("put_in", [None, "lora:rank=2", "prefix:length=3"])
@pytest.mark.parametrize("kind", ["gpt", "llama", "hf gpt2", "hf llama"])
def test_a_packed_text_is_as_probable_as_alone(kind: str, put_in: str | None, tmp_path: Path) -> None:
    model = network(kind, tmp_path)
    if put_in is not None:
        model = attach(model, put_in, seed=0).double().eval()
        for name, value in model.named_parameters():
            if name.endswith("lora.B"):
                value.data.normal_(generator=torch.Generator().manual_seed(1))
    packed = pack(EXAMPLES, ROW)
    assert len(packed.ids) == 2
    found = log_probabilities(model, packed)
    # Norms of Hugging Face's Llama are float32.
    atol = 1e-10 if kind != "hf llama" else 2e-5
    torch.testing.assert_close(found, torch.tensor(alone(model), dtype=torch.float64), rtol=0, atol=atol)
    assert found.std() > 1  # words differ, or anything would be right


def test_gradients_are_those_of_texts_alone() -> None:
    model = network("gpt", Path())
    weights = torch.linspace(-1, 1, len(EXAMPLES), dtype=torch.float64)
    parameters = [value for name, value in model.named_parameters() if not name.startswith("head")]
    log_probabilities(model, pack(EXAMPLES, ROW)).mul(weights).sum().backward()
    together = [value.grad.clone() for value in parameters]
    model.zero_grad()
    for (ids, asked), weight in zip(EXAMPLES, weights, strict=True):
        if any(asked):
            said = model.words(torch.tensor([ids]))[0].log_softmax(-1)
            (weight * sum(said[i - 1, ids[i]] for i in range(1, len(ids)) if asked[i])).backward()
    for value, other in zip(parameters, together, strict=True):
        torch.testing.assert_close(other, value.grad, rtol=0, atol=1e-9)


def test_rows_hold_all_that_they_are_given() -> None:
    packed = pack(EXAMPLES, ROW)
    for place, (ids, asked) in enumerate(EXAMPLES):
        here = packed.owners == place
        assert packed.ids[here].tolist() == ids
        assert packed.asked[here].tolist() == asked
        assert len(set(packed.segments[here].tolist())) == len(here.any(1).nonzero()) == 1
    assert torch.equal(packed.ids == 0, packed.owners == -1)
    assert torch.equal(packed.ids == 0, packed.segments == 0)
    assert packed.filled == sum(LENGTHS) / (2 * ROW)
    empty = pack([], 8)
    assert empty.ids.shape == (0, 8)


def test_first_fit_decreasing_is_what_its_name_says() -> None:
    for seed in range(20):
        draw = torch.Generator().manual_seed(seed)
        lengths = torch.randint(1, 17, (int(torch.randint(0, 70, (), generator=draw)),), generator=draw).tolist()
        rows: list[list[int]] = []
        for thing in sorted(range(len(lengths)), key=lambda i, all_=lengths: (-all_[i], i)):
            fits = [row for row in rows if sum(lengths[i] for i in row) + lengths[thing] <= 16]
            (fits[0] if fits else rows.append([]) or rows[-1]).append(thing)
        assert first_fit_decreasing(lengths, 16) == rows


def test_places_begin_anew_and_padding_has_none() -> None:
    segments = torch.tensor([[1, 1, 1, 2, 3, 3, 0, 0], [4, 5, 5, 5, 5, 5, 5, 6]])
    assert places_within(segments).tolist() == [[0, 1, 2, 0, 0, 1, 0, 0], [0, 0, 1, 2, 3, 4, 5, 0]]
    assert others(segments).shape == (2, 1, 8, 8)
    assert not others(segments)[0, 0, 1, :3].any()
    assert others(segments)[0, 0, 1, 3:].all()


def test_what_cannot_be_kept_apart_is_refused() -> None:
    packed = pack(EXAMPLES, ROW)
    for model, why in (
        (ours("bert", places=32), "both directions"),
        (attach(ours("gpt"), "prompt:length=3", seed=0), "words before a row"),
        (attach(ours("gpt"), "deep-prompt:length=2", seed=0), "words before a row|whole row"),
    ):
        with pytest.raises(MetaftError, match=why):
            log_probabilities(model.double().eval(), packed)
    plain = ours("gpt")
    _, before = read_on(plain, torch.tensor([[4, 5]]))
    with pytest.raises(MetaftError, match="goes on from what was read"):
        read_on(
            type("Segmented", (), {"last_states": lambda _, ids: plain.last_states(ids, ids)})(), packed.ids, before
        )
    with pytest.raises(MetaftError, match="a text of 26 words, and this transformer has 24 places"):
        log_probabilities(plain, pack([([5] * 26, [False] * 25 + [True])], ROW))


def test_examples_that_do_not_fit_are_refused() -> None:
    for example, why in (
        (([], []), "has 0 words, and a row has 1 to 4"),
        (([5] * 5, [False] * 5), "has 5 words, and a row has 1 to 4"),
        (([5, 6], [True, True]), "the first not asked"),
        (([5, 6], [False]), r"\(1, 2\)"),
        (([5, 0], [False, True]), "no number 0"),
    ):
        with pytest.raises(MetaftError, match=why):
            pack([example], 4)  # type: ignore[list-item]
