"""Where to compute: the processor, or an accelerator."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from metaft.errors import MetaftError, nearest

DeviceName = Literal["auto", "cpu", "cuda", "mps"]


def device_of_name(name: str) -> torch.device:
    """The device that is asked for.

    Args:
        name: "cpu", "cuda", "mps" (Apple's), or "auto": CUDA where there is a device of it, else the CPU.

    Returns:
        The device.

    Raises:
        MetaftError: for another name, or a device that is not there.
    """
    if name not in get_args(DeviceName):
        raise MetaftError(f"unknown device {name!r}{nearest(name, get_args(DeviceName))}")
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(name, True):
        raise MetaftError(f"device = {name!r}: no {name.upper()} device is available; use --device cpu")
    return torch.device("cuda" if name == "auto" and torch.cuda.is_available() else name.replace("auto", "cpu"))
