"""Runs where ``trl`` is installed: the DPO loss of pairs by its trainer, and the slopes of the policy's weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

import metaft  # noqa: F401  (torchvision beside another torch)

from datasets import Dataset  # isort: skip
from tokenizers import Tokenizer, models, pre_tokenizers  # isort: skip
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast  # isort: skip
from trl import DPOConfig, DPOTrainer  # isort: skip


def main(folder: str) -> None:
    """Read ``pairs.safetensors`` and both models beside it, write ``answer.safetensors``."""
    given, asked = load_file(f"{folder}/pairs.safetensors"), json.loads(Path(folder, "asked.json").read_text())
    model, reference = (AutoModelForCausalLM.from_pretrained(f"{folder}/{which}") for which in ("policy", "reference"))
    words = {f"w{i}": i for i in range(1, 50)} | {"[PAD]": 0}
    plain = Tokenizer(models.WordLevel(words, unk_token="w1"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="[PAD]", eos_token="w2", unk_token="w1")
    rows = [{"prompt": "w3", "chosen": "w4", "rejected": "w5"}] * 2
    config = DPOConfig(
        output_dir=f"{folder}/trained", report_to=[], use_cpu=True, loss_type=asked["loss_type"], beta=asked["beta"],
        label_smoothing=asked["label_smoothing"], gradient_checkpointing=False, bf16=False,
    )  # fmt: skip
    trainer = DPOTrainer(
        model, reference, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
    )
    ids = given["ids"].transpose(0, 1).flatten(0, 1)  # theirs has all chosen answers first
    inputs = {
        "input_ids": ids,
        "attention_mask": (ids != 0).long(),
        "completion_mask": given["asked"].transpose(0, 1).flatten(0, 1).long(),
    }
    network = trainer.model.eval()
    loss = trainer._compute_loss(network, inputs, return_outputs=False)
    loss.backward()
    slopes = {name: p.grad.contiguous() for name, p in network.named_parameters() if p.grad is not None}
    save_file({"loss": loss.detach().reshape(1), **slopes}, f"{folder}/answer.safetensors")


main(sys.argv[1])
