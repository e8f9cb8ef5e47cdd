"""Prompts and prefixes as peft has them: its answers are ours, both ways."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from metaft.additions import attach
from metaft.additions.exchange import to_peft
from metaft.additions.peft_folder import CONFIG, WEIGHTS
from metaft.additions.peft_virtual import TABLE
from metaft.errors import MetaftError
from tests.additions.test_additions import made, network_of

pytest.importorskip("transformers", reason="the extra text is not installed")
PROMPTS = ("prompt:length=3", "prompt:length=2,made_by=lstm", "prompt:length=2,made_by=mlp,hidden=5")
PREFIXES = ("prefix:length=3", "prefix:length=2,reparametrise=4")
CAUSAL = ("hf-gpt2", "hf-llama")
WAYS = [
    *((model, addition) for model in (*CAUSAL, "hf-bert") for addition in PROMPTS),
    *((model, addition) for model in CAUSAL for addition in PREFIXES),
]


def with_addition(model: str, addition: str) -> tuple[nn.Module, nn.Module, Tensor]:
    """A network, the same with an addition that has moved, and texts with padding."""
    network, x = network_of(model), made("lora", model)[2].query_x[0]
    added, draw = attach(network, addition), torch.Generator().manual_seed(3)
    for name, p in added.named_parameters():
        if name not in dict(network.named_parameters()):
            p.data += 0.3 * torch.randn(p.shape, generator=draw, dtype=p.dtype)
    assert not torch.allclose(added(x), network(x), atol=1e-3)
    assert bool((x == 0).any())
    return network, added, x


def theirs(network: nn.Module, library: Any, x: Tensor, virtual: int) -> Tensor:
    """What peft makes of texts, and our vector and head behind it."""
    states = library.eval()(input_ids=x, attention_mask=(x != 0).long()).last_hidden_state[:, virtual:]
    ours: Any = network
    return ours.head(ours.vector([states], x))


@pytest.mark.parametrize(("model", "addition"), WAYS)
def test_peft_answers_as_we_do_and_we_read_what_we_write(model: str, addition: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    network, added, x = with_addition(model, addition)
    to_peft(added, tmp_path / "one", base="somewhere")
    told = json.loads((tmp_path / "one" / CONFIG).read_text())
    count = told["num_virtual_tokens"]
    assert count == len(load_file(tmp_path / "one" / WEIGHTS)[TABLE]) == (2 if "=2" in addition else 3)
    base = copy.deepcopy(network).model
    library = peft.PeftModel.from_pretrained(base, tmp_path / "one").double()
    behind = count if addition.startswith("prompt") else 0
    # The library keeps its table in float32.
    torch.testing.assert_close(theirs(network, library, x, behind), added(x), rtol=1e-6, atol=1e-6)

    again = attach(network, f"peft:{tmp_path / 'one'}").eval()
    torch.testing.assert_close(again(x), added(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(copy.deepcopy(again)(x), added(x), rtol=1e-12, atol=1e-12)
    to_peft(again, tmp_path / "two")
    one, two = (load_file(tmp_path / folder / WEIGHTS) for folder in ("one", "two"))
    assert torch.equal(one[TABLE], two[TABLE])
    library.save_pretrained(tmp_path / "three")
    back = attach(network, f"peft:{tmp_path / 'three'}").eval()
    torch.testing.assert_close(back(x), added(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "projected"])
@pytest.mark.parametrize("model", CAUSAL)
def test_we_answer_as_peft_does(model: str, kind: str, tmp_path: Path) -> None:
    """From folders that the library has made of its own, its small networks included."""
    peft = pytest.importorskip("peft", reason="peft is not installed")
    network, x = network_of(model), made("lora", model)[2].query_x[0]
    how: dict[str, Any] = {"task_type": "FEATURE_EXTRACTION", "num_virtual_tokens": 3}
    config = {
        "PROMPT_TUNING": lambda: peft.PromptTuningConfig(**how),
        "P_TUNING": lambda: peft.PromptEncoderConfig(**how, encoder_hidden_size=5),
        "PREFIX_TUNING": lambda: peft.PrefixTuningConfig(**how),
        "projected": lambda: peft.PrefixTuningConfig(**how, prefix_projection=True, encoder_hidden_size=5),
    }[kind]()
    torch.manual_seed(0)
    library = peft.get_peft_model(copy.deepcopy(network).model, config).double()
    library.save_pretrained(tmp_path)
    ours = attach(network, f"peft:{tmp_path}").eval()
    assert not torch.allclose(ours(x), network(x))
    behind = 3 if kind in ("PROMPT_TUNING", "P_TUNING") else 0
    torch.testing.assert_close(ours(x), theirs(network, library, x, behind), rtol=1e-6, atol=1e-6)


def test_the_vectors_are_learned_on(tmp_path: Path) -> None:
    network, added, x = with_addition("hf-gpt2", "prompt:length=2,made_by=mlp+prefix:length=2")
    for name, count in (("prompt", 1), ("prefix", 4)):
        to_peft(added, tmp_path / name, name=name)
        again = attach(network, f"peft:{tmp_path / name}")
        new = {n: p for n, p in again.named_parameters() if ".peft." in n}
        assert len(new) == count
        again(x).sum().backward()
        assert all(p.grad is not None and bool(p.grad.abs().max() > 0) for p in new.values())


@pytest.mark.parametrize(
    ("model", "addition", "said"),
    [
        ("hf-bert", "prompt:length=4,where=around", "peft's prompts stand before the text, none behind it"),
        ("hf-bert", "prefix", "peft runs prefixes in causal models alone"),
        ("hf-gpt2", "prefix:shift=no", "here shift=no"),
        ("hf-gpt2", "prompt-pool", "peft has nothing like PromptPool; it has lora, ia3, prompt before the text"),
        ("hf-gpt2", "conditional-prompt", "nothing like ConditionalPrompt; it has lora"),
        ("hf-gpt2", "deep-prompt", "nothing like DeepPrompt; it has lora"),
        ("hf-gpt2", "input-map", "nothing like InputMap there; it has lora"),
        ("hf-gpt2", "adapter", "nothing like Adapter there; it has lora"),
        ("hf-gpt2", "compacter:n=2", "nothing like Compacter there; it has lora"),
    ],
)
def test_what_has_no_counterpart_is_refused(model: str, addition: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(MetaftError, match=said) as caught:
        to_peft(attach(network_of(model), addition), tmp_path / "x")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x").exists()


def test_a_table_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    def refused(model: str, kind: str, values: dict[str, Tensor], said: str) -> None:
        (tmp_path / CONFIG).write_text(json.dumps({"peft_type": kind}))
        save_file(values, tmp_path / WEIGHTS)
        with pytest.raises(MetaftError, match=said):
            attach(network_of(model), f"peft:{tmp_path}")

    refused("hf-gpt2", "PROMPT_TUNING", {TABLE: torch.zeros(2, 9)}, "its values are 9 wide, and the vectors of words")
    refused("hf-gpt2", "PREFIX_TUNING", {TABLE: torch.zeros(2, 9)}, "9 wide, and the keys and values of all layers")
    refused("hf-gpt2", "P_TUNING", {TABLE: torch.zeros(2, 8), "more": torch.zeros(1)}, f"one table, {TABLE}, and here")
    refused("hf-gpt2", "PROMPT_TUNING", {TABLE: torch.zeros(8)}, f"one table, {TABLE}")
    refused("hf-gpt2", "MULTITASK_PROMPT_TUNING", {TABLE: torch.zeros(2, 8)}, "only LORA, IA3, PROMPT_TUNING")
    refused("mlp", "PROMPT_TUNING", {TABLE: torch.zeros(2, 8)}, "this MLP has none")
