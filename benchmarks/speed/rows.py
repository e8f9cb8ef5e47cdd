"""All rows of the speed table, in its order."""

from __future__ import annotations

from benchmarks.speed import (
    attention,
    conv4,
    episodes,
    in_context,
    lora,
    pretraining,
    recurrent,
    resnet12,
    sinusoid,
    text_episodes,
)
from benchmarks.speed.row import Row

MODULES = (sinusoid, conv4, resnet12, attention, lora, recurrent, pretraining, in_context, episodes, text_episodes)
ROWS: dict[str, Row] = {name: row for module in MODULES for name, row in module.ROWS.items()}
