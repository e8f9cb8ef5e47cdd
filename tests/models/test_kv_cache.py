"""Going on from what was read is reading all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from metaft.additions import attach
from metaft.errors import MetaftError
from metaft.models import build
from metaft.models.kv_cache import read_on

WORDS = torch.Generator().manual_seed(0)
SHARED = torch.randint(3, 30, (1, 7), generator=WORDS)
OWN = [torch.randint(3, 30, (length,), generator=WORDS) for length in (2, 5, 1, 4)]
FURTHER = [torch.randint(3, 30, (length,), generator=WORDS) for length in (3, 1, 2, 2)]


def rows(texts: list[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)


def ours(shape: str, **options: Any) -> Any:
    small = {"layers": 2, "width": 16, "heads": 4, "vocabulary": 40, "places": 24} | options
    return build("transformer", outputs=2, seed=0, shape=shape, **small).double().eval()


def theirs(kind: str, folder: Path) -> Any:
    transformers = pytest.importorskip("transformers", reason="the extra text is not installed")
    sizes = {
        "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 24},
        "llama": {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
                  "num_key_value_heads": 2, "max_position_embeddings": 24, "tie_word_embeddings": True},
    }  # fmt: skip
    config = transformers.AutoConfig.for_model(kind, vocab_size=40, pad_token_id=0, **sizes[kind])
    config.save_pretrained(folder)
    return build(f"hf:{folder}:weights=random", outputs=2, seed=0).double().eval()


@pytest.mark.parametrize("put_in", [None, "lora:rank=2", "prefix:length=3", "prompt:length=3"])
@pytest.mark.parametrize("kind", ["gpt", "llama", "key heads", "hf gpt2", "hf llama"])
def test_reading_on_is_reading_all(kind: str, put_in: str | None, tmp_path: Path) -> None:
    if kind.startswith("hf"):
        model = theirs(kind.removeprefix("hf "), tmp_path)
    else:
        model = ours("llama", key_heads=2) if kind == "key heads" else ours(kind)
    if put_in is not None:
        model = attach(model, put_in, seed=0).double().eval()
        for name, value in model.named_parameters():
            if name.endswith("lora.B"):
                value.data.normal_(generator=torch.Generator().manual_seed(1))
    exact = {"rtol": 0, "atol": 1e-12} if kind != "hf llama" else {"rtol": 0, "atol": 2e-6}  # its norms are float32
    _, shared = read_on(model, SHARED)
    own, after = read_on(model, rows(OWN), shared)
    order = torch.tensor([2, 0, 1, 1])
    further, last = read_on(model, rows(FURTHER), after.rows(order))
    joined, _ = read_on(model, rows(FURTHER), after.joined().rows(order))
    torch.testing.assert_close(joined, further, **exact)
    assert len(after.joined().parts) == len(shared.joined().parts) == 1
    plain = lambda *parts: model.last_states(torch.cat(parts)[None])[0]
    with torch.no_grad():
        for i, text in enumerate(OWN):
            torch.testing.assert_close(own[i, : len(text)], plain(SHARED[0], text)[7:], **exact)
        for i, (text, row) in enumerate(zip(FURTHER, order.tolist(), strict=True)):
            whole = plain(SHARED[0], OWN[row], text)[7 + len(OWN[row]) :]
            torch.testing.assert_close(further[i, : len(text)], whole, **exact)
    given = 3 if put_in == "prompt:length=3" else 0
    assert last.lengths.tolist() == [
        given + 7 + len(OWN[row]) + len(text) for row, text in zip(order.tolist(), FURTHER, strict=True)
    ]
    assert torch.equal(model.word_scores(plain(SHARED[0])), model.words(SHARED)[0])


def test_more_words_than_places_are_refused() -> None:
    model = ours("gpt", places=8)
    _, shared = read_on(model, SHARED)
    read_on(model, torch.tensor([[4]]), shared)
    with pytest.raises(MetaftError, match="a text of 9 words, and this transformer has 8 places"):
        read_on(model, torch.tensor([[4, 5]]), shared)
