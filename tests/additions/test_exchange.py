"""Exchange with peft and transformers: answers are theirs, both ways."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from metaft.additions import attach
from metaft.additions.exchange import HEAD, to_hugging_face, to_peft
from metaft.additions.peft_folder import CONFIG, WEIGHTS
from metaft.errors import MetaftError
from metaft.models.quantised import quantise
from tests.additions.test_additions import made, network_of

transformers = pytest.importorskip("transformers", reason="the extra text is not installed")
HALVES = {"hf-bert": ("query", "value"), "hf-gpt2": ("c_attn",), "hf-llama": ("q_proj", "v_proj")}
WAYS = (
    "lora:rank=2", "lora:rank=3,alpha=5", "lora:rank=4,alpha=2,stabilised=yes", "lora:rank=2,alpha=0.5,on=all",
    "lora:rank=2,on=down", "ia3", "ia3:feed_forward=no",
)  # fmt: skip


def theirs(network: nn.Module, folder: Path) -> nn.Module:
    """The network, with what peft reads from a folder."""
    peft = pytest.importorskip("peft", reason="peft is not installed")
    other: Any = copy.deepcopy(network)
    peft.PeftModel.from_pretrained(other.model, folder)  # which puts its layers into the model itself
    return other.eval()


def with_addition(model: str, addition: str) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    """A network, the same with an addition that has moved, and texts."""
    network, x = network_of(model), made("lora", model)[2].query_x[0]
    added, draw = attach(network, addition), torch.Generator().manual_seed(3)
    for name, p in added.named_parameters():
        if name not in dict(network.named_parameters()):
            p.data += 0.3 * torch.randn(p.shape, generator=draw, dtype=p.dtype)
    assert not torch.allclose(added(x), network(x))
    return network, added, x


@pytest.mark.parametrize("addition", WAYS)
@pytest.mark.parametrize("model", HALVES)
def test_peft_answers_as_we_do(model: str, addition: str, tmp_path: Path) -> None:
    network, added, x = with_addition(model, addition)
    to_peft(added, tmp_path, base="somewhere")
    torch.testing.assert_close(theirs(network, tmp_path)(x), added(x), rtol=1e-9, atol=1e-9)
    told = json.loads((tmp_path / CONFIG).read_text())
    assert told["base_model_name_or_path"] == "somewhere"
    assert {path.name for path in tmp_path.iterdir()} == {CONFIG, WEIGHTS, HEAD}
    assert set(load_file(tmp_path / HEAD)) == {"head.weight", "head.bias"}


@pytest.mark.parametrize("addition", WAYS)
@pytest.mark.parametrize("model", HALVES)
def test_what_we_write_we_read(model: str, addition: str, tmp_path: Path) -> None:
    network, added, x = with_addition(model, addition)
    to_peft(added, tmp_path / "one")
    again = attach(network, f"peft:{tmp_path / 'one'}")
    torch.testing.assert_close(again(x), added(x), rtol=1e-12, atol=1e-12)
    assert sum(p.numel() for n, p in again.named_parameters() if ".peft." in n) >= sum(
        p.numel() for n, p in added.named_parameters() if n not in dict(network.named_parameters())
    )
    to_peft(again, tmp_path / "two")
    assert load_file(tmp_path / "one" / WEIGHTS).keys() == load_file(tmp_path / "two" / WEIGHTS).keys()
    torch.testing.assert_close(attach(network, f"peft:{tmp_path / 'two'}")(x), added(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(copy.deepcopy(again)(x), added(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"use_rslora": True}, {"rank": {}}, {"ia3": True}])
@pytest.mark.parametrize("model", HALVES)
def test_we_answer_as_peft_does(model: str, options: dict[str, Any], tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    network, x = network_of(model), made("lora", model)[2].query_x[0]
    other: Any = copy.deepcopy(network)
    last = HALVES[model][-1]
    if "ia3" in options:
        down = {"hf-bert": "layer.0.output.dense", "hf-gpt2": "mlp.c_proj", "hf-llama": "down_proj"}[model]
        config = peft.IA3Config(target_modules=[last, down], feedforward_modules=[down])
    else:
        more = {"rank_pattern": {f"1.*{last}": 4}, "alpha_pattern": {f"1.*{last}": 7}} if "rank" in options else options
        config = peft.LoraConfig(r=2, lora_alpha=3, target_modules=list(HALVES[model]), lora_dropout=0.1, **more)
    library = peft.get_peft_model(other.model, config)
    draw = torch.Generator().manual_seed(3)
    for name, p in library.named_parameters():
        if "lora_" in name or "ia3_" in name:
            p.data += 0.3 * torch.randn(p.shape, generator=draw, dtype=p.dtype)
    library.save_pretrained(tmp_path)
    ours = attach(network, f"peft:{tmp_path}").eval()
    assert not torch.allclose(ours(x), network(x))
    torch.testing.assert_close(ours(x), other.eval()(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("addition", ["lora:rank=2,on=all", "ia3", None])
@pytest.mark.parametrize("model", HALVES)
def test_transformers_reads_merged_weights(model: str, addition: str | None, tmp_path: Path) -> None:
    network, added, x = with_addition(model, addition or "lora")
    added = added if addition else network
    before = copy.deepcopy(added.state_dict())
    to_hugging_face(added, tmp_path, tokenizer="{}")
    other: Any = network_of(model)
    other.model = transformers.AutoModel.from_pretrained(tmp_path, attn_implementation="eager", dtype=torch.float64)
    if getattr(other.model, "pooler", None) is not None:
        other.model.pooler = None
    other.head.load_state_dict({n.removeprefix("head."): v for n, v in load_file(tmp_path / HEAD).items()})
    other.model.set_attn_implementation("metaft")
    # Theirs computes norms and positions of a Llama in float32, which `network_of` does not.
    tolerance = 1e-5 if model == "hf-llama" else 1e-9
    torch.testing.assert_close(other.eval()(x), added(x), rtol=tolerance, atol=1e-6)
    assert (tmp_path / "tokenizer.json").read_text() == "{}"
    assert "metaft" not in (tmp_path / "config.json").read_text()
    assert all(torch.equal(value, before[name]) for name, value in added.state_dict().items())


def test_a_quantised_base_is_widened(tmp_path: Path) -> None:
    network, x = quantise(network_of("hf-gpt2")), made("lora", "hf-gpt2")[2].query_x[0]
    added = attach(network, "ia3")
    to_hugging_face(added, tmp_path / "whole")
    other: Any = network_of("hf-gpt2")
    other.model.load_state_dict(load_file(tmp_path / "whole" / "model.safetensors"))
    torch.testing.assert_close(other(x), added(x), rtol=1e-9, atol=1e-9)
    to_peft(attach(network, "lora:rank=2"), tmp_path / "beside")
    assert torch.allclose(attach(network, f"peft:{tmp_path / 'beside'}")(x), network(x))


def written(folder: Path, config: dict[str, Any], values: dict[str, torch.Tensor]) -> str:
    """A folder as peft writes it."""
    folder.mkdir(exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config))
    save_file(values, folder / WEIGHTS)
    return f"peft:{folder}"


def test_what_has_no_place_is_refused(tmp_path: Path) -> None:
    network = network_of("hf-bert")
    where = "base_model.model.encoder.layer.0.attention.self.query"
    low = {f"{where}.lora_A.weight": torch.zeros(2, 8), f"{where}.lora_B.weight": torch.zeros(8, 2)}
    told = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["query"]}

    def refused(config: dict[str, Any], values: dict[str, torch.Tensor], message: str) -> None:
        with pytest.raises(MetaftError, match=message):
            attach(network, written(tmp_path / "folder", config, values))

    attach(network, written(tmp_path / "folder", told, low))
    refused(told | {"target_modules": ["query", "kye"]}, low, "target 'kye' has no values")
    refused(told | {"use_dora": True}, low, "peft's use_dora = True cannot be taken over")
    refused(told | {"modules_to_save": ["pooler"]}, low, "peft's modules_to_save")
    refused(told | {"bias": "all"}, low, "biases that peft trained along")
    refused(told | {"peft_type": "LOHA"}, low, "holds LOHA of peft; only LORA, IA3")
    refused(told, {}, "holds nothing")
    refused(
        told,
        low | {"base_model.model.pooler.weight": torch.zeros(1)},
        r"'base_model.model.pooler.weight' in .* no place",
    )
    refused(told, {n: v for n, v in low.items() if "lora_A" in n}, r"lacks base_model.*query.lora_B.weight")
    refused(
        told, {n.replace("layer.0", "layer.7"): v for n, v in low.items()}, r"values for 'encoder.layer.7.*no linear"
    )
    refused(told, low | {f"{where}.lora_A.weight": torch.zeros(2, 9)}, "are 2 × 9, and the layer there needs 2 × 8")
    (tmp_path / "folder" / WEIGHTS).write_bytes(b"nothing of the kind")
    with pytest.raises(MetaftError, match="is damaged"):
        attach(network, f"peft:{tmp_path / 'folder'}")
    (tmp_path / "folder" / WEIGHTS).unlink()
    with pytest.raises(MetaftError, match="pickled files are not read"):
        attach(network, f"peft:{tmp_path / 'folder'}")
    with pytest.raises(MetaftError, match="needs a folder; give one that peft has written, as in peft:FOLDER"):
        attach(network, "peft")


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MetaftError, match="a Transformer is no model of Hugging Face's"):
        to_peft(attach(network_of("bert"), "lora"), tmp_path / "x")
    with pytest.raises(MetaftError, match="has no addition"):
        to_peft(network_of("hf-bert"), tmp_path / "x")
    both = attach(network_of("hf-bert"), "lora+ia3")
    with pytest.raises(MetaftError, match="has the additions ia3, lora; name one"):
        to_peft(both, tmp_path / "x")
    to_peft(both, tmp_path / "one", name="ia3")
    with pytest.raises(MetaftError, match="'lora' sits on 'head' too"):
        to_peft(attach(network_of("hf-bert"), "lora:on=head"), tmp_path / "x")
    assert not (tmp_path / "x").exists()
