"""Runs where the library ``adapters`` is installed, and not metaft: the last states of a network with its adapters."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import adapters
import torch
from adapters.methods.modeling import Adapter, ParallelAdapter, PHMLayer
from safetensors.torch import load_file, save_file
from transformers import AutoModel


def main(folder: str) -> None:
    """Read ``given.safetensors`` and ``theirs.json`` in a model's folder, write ``answer.safetensors``."""
    given = load_file(f"{folder}/given.safetensors")
    config, options = json.loads(Path(folder, "theirs.json").read_text(encoding="utf-8"))
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    adapters.init(model)
    model.add_adapter("own", config=getattr(adapters, config)(**options))
    model.set_active_adapters("own")
    with torch.no_grad():
        places = [part for part in model.modules() if isinstance(part, Adapter | ParallelAdapter)]
        for number, place in enumerate(places):
            for part, layer in {"down": place.adapter_down[0], "up": place.adapter_up}.items():
                own = lambda name, n=number, part=part: given.pop(f"{n}.{part}{name}")
                if isinstance(layer, PHMLayer):
                    layer.W_left.copy_(own("_left"))
                    layer.W_right.copy_(own("_right"))
                    layer.b.copy_(own("_bias"))
                    model.base_model.shared_parameters["own"]["phm_rule"].copy_(given[f"{number}.A"])
                else:
                    layer.weight.copy_(own(""))
                    layer.bias.copy_(own("_bias"))
        ids = given.pop("ids")
        assert all(name.endswith(".A") for name in given), list(given)
        states = model(input_ids=ids, attention_mask=(ids != 0).long()).last_hidden_state
    save_file({"states": states.contiguous()}, f"{folder}/answer.safetensors")


main(sys.argv[1])
