"""A tiny policy and tiny examples, in float64."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch

from metaft.additions import attach
from metaft.preferences.families import InstructionFamily, PreferenceFamily
from metaft.preferences.learner import Tuning
from metaft.preferences.objective import TuningObjective
from tests.prompting.small import network

PLACES = 20


def model(addition: str | None = "lora:rank=2", seed: int = 0) -> Any:
    """A GPT of two layers with what is put into it, away from where that does nothing."""
    made: Any = network() if addition is None else attach(network(), addition, seed)
    torch.manual_seed(seed)
    made.head = torch.nn.Linear(16, 1)
    with torch.no_grad():
        for name, p in made.named_parameters():
            if "lora" in name:
                p.copy_(0.3 * torch.randn_like(p))
    return made.double().eval()


@lru_cache(maxsize=1)
def texts() -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """Prompts and answers of many lengths; those of a pair have one prompt."""
    draw = np.random.default_rng(0)
    found = []
    for _ in range(7):
        prompt = tuple(draw.integers(1, 300, draw.integers(1, 9)).tolist())
        found += [(prompt, tuple(draw.integers(1, 300, draw.integers(1, 9)).tolist())) for _ in range(2)]
    return tuple(found)


def pairs() -> PreferenceFamily:
    """Seven pairs."""
    return PreferenceFamily(texts(), PLACES, "small", "train")


def answers() -> InstructionFamily:
    """Fourteen answers."""
    return InstructionFamily(texts(), PLACES, "small", "train")


def tuning(objective: TuningObjective, addition: str | None = "lora:rank=2", scope: str = "lora") -> Tuning:
    """A learner of which LoRA moves, or all that a text runs through."""
    made = model(addition)
    return Tuning(made, [n for n, _ in made.named_parameters() if scope in n or scope == "all"], objective)
