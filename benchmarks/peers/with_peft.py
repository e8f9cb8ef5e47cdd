"""Runs where ``peft`` is installed: the last states of a network with its prefix."""

from __future__ import annotations

import sys

import torch
from peft import PrefixTuningConfig, TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModel


def main(folder: str) -> None:
    """Read ``given.safetensors`` in a model's folder, write ``answer.safetensors``."""
    given = load_file(f"{folder}/given.safetensors")
    ids = given.pop("ids")
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    layers = model.config.num_hidden_layers
    made = "0.hidden" in given
    length = len(given["0.embedding" if made else "0.key"])
    config = PrefixTuningConfig(
        task_type=TaskType.FEATURE_EXTRACTION, num_virtual_tokens=length, prefix_projection=made,
        encoder_hidden_size=len(given["0.hidden"]) if made else None,
    )  # fmt: skip
    model = get_peft_model(model, config).eval()
    encoder = model.prompt_encoder["default"]
    with torch.no_grad():
        if made:
            encoder.embedding.weight.copy_(given["0.embedding"])
            encoder.transform[0].weight.copy_(given["0.hidden"])
            encoder.transform[0].bias.copy_(given["0.hidden_bias"])
            for target, ending in ((encoder.transform[2].weight, ""), (encoder.transform[2].bias, "_bias")):
                target.copy_(torch.cat([given[f"{i}.{n}{ending}"] for i in range(layers) for n in ("key", "value")]))
        else:
            both = [given[f"{i}.{n}"] for i in range(layers) for n in ("key", "value")]
            encoder.embedding.weight.copy_(torch.cat(both, dim=-1))
        states = model(input_ids=ids, attention_mask=(ids != 0).long()).last_hidden_state
    save_file({"states": states.contiguous()}, f"{folder}/answer.safetensors")


main(sys.argv[1])
