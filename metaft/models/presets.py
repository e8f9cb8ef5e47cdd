"""Named sizes of the transformer, as published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metaft.errors import MetaftError, nearest

USUAL: dict[str, Any] = {"shape": "bert", "layers": 4, "width": 256, "heads": 4, "places": 512}
"""Of a transformer of which nothing is said."""

PRESETS: dict[str, dict[str, Any]] = {
    # Turc et al. 2019, "Well-read students learn better", table 1; base is Devlin et al. 2019's.
    "bert-tiny": {"shape": "bert", "layers": 2, "width": 128, "heads": 2, "places": 512},
    "bert-mini": {"shape": "bert", "layers": 4, "width": 256, "heads": 4, "places": 512},
    "bert-small": {"shape": "bert", "layers": 4, "width": 512, "heads": 8, "places": 512},
    "bert-medium": {"shape": "bert", "layers": 8, "width": 512, "heads": 8, "places": 512},
    "bert-base": {"shape": "bert", "layers": 12, "width": 768, "heads": 12, "places": 512},
    # Wang et al. 2020, MiniLM of 6 layers.
    "minilm": {"shape": "bert", "layers": 6, "width": 384, "heads": 12, "places": 512},
    # Radford et al. 2019, table 2.
    "gpt2": {"shape": "gpt", "layers": 12, "width": 768, "heads": 12, "places": 1024},
    # Karpathy's llama2.c, and Allal et al. 2025, SmolLM2.
    "stories15m": {"shape": "llama", "layers": 6, "width": 288, "heads": 6, "inner": 768, "places": 256},
    "smollm2-135m": {"shape": "llama", "layers": 30, "width": 576, "heads": 9, "key_heads": 3, "inner": 1536,
                     "places": 8192},
}  # fmt: skip
"""Name → options of the transformer; the vocabulary is the data's."""


def sizes(preset: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The sizes of a transformer.

    Args:
        preset: a name of `PRESETS`, or None.
        given: options that go before it; None stands for nothing.

    Returns:
        Option → value.

    Raises:
        MetaftError: if there is no such preset.
    """
    if preset is not None and preset not in PRESETS:
        raise MetaftError(f"unknown preset {preset!r} of a transformer{nearest(preset, PRESETS)}")
    named = USUAL if preset is None else PRESETS[preset]
    return {**named, **{name: value for name, value in given.items() if value is not None}}
