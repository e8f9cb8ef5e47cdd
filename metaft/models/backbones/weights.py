"""Weights of networks in files of others: only tensors are read, nothing is executed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from metaft.errors import MetaftError, first_line

SAFE, PICKLED = ".safetensors", (".pth", ".pt", ".bin", ".ckpt", ".tar")
HOLDERS = ("state_dict", "model", "model_state_dict")
"""Under which a file of torch may hold the weights, beside other things."""
PARALLEL = "module."
"""Begins all names of a network that was trained in several processes."""
COUNTED = "num_batches_tracked"
"""Of batch norm; older files do not have it, and nothing is computed from it."""
SHOWN = 5


def file_of(path: Path, whose: str) -> Path:
    """The file with the weights.

    Args:
        path: that file, or a folder that has one.
        whose: stands at the beginning of a message.

    Raises:
        MetaftError: if there is none, or which it is is not clear.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise MetaftError(f"{whose}: there is no file or folder of weights {path}")
    held = sorted(file for file in path.iterdir() if file.suffix in (SAFE, *PICKLED))
    found = [file for file in held if file.suffix == SAFE] or held
    if len(found) != 1:
        many = ", ".join(file.name for file in found[:SHOWN]) or "none"
        raise MetaftError(f"{whose}: the folder {path} should have one file of weights, it has {many}; name the file")
    return found[0]


def read_weights(path: Path, whose: str) -> dict[str, Tensor]:
    """Tensors by name.

    Args:
        path: of safetensors; or what ``torch.save`` made of a dict of tensors, perhaps under a name of `HOLDERS`.
        whose: stands at the beginning of a message.

    Returns:
        The tensors, on the CPU.

    Raises:
        MetaftError: if it cannot be read, or holds anything but tensors.
    """
    try:
        if path.suffix == SAFE:
            return safetensors.torch.load_file(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, safetensors.SafetensorError) as error:
        raise MetaftError(f"{whose}: the weights {path} cannot be read: {first_line(error)}") from None
    except torch.serialization.pickle.UnpicklingError:
        raise MetaftError(
            f"{whose}: {path} holds Python objects beside tensors, which are not loaded, as that could run code; save "
            "the weights alone: torch.save(model.state_dict(), FILE), or as safetensors"
        ) from None
    found = next((found[name] for name in HOLDERS if _is_dict(found) and _is_dict(found.get(name))), found)
    if not _is_dict(found) or not all(isinstance(value, Tensor) for value in found.values()) or not found:
        raise MetaftError(f"{whose}: {path} holds no weights: expected tensors by name, as model.state_dict() has them")
    if all(name.startswith(PARALLEL) for name in found):
        found = {name.removeprefix(PARALLEL): value for name, value in found.items()}
    return dict(found)


def _is_dict(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) for name in value)


def put_in(model: nn.Module, given: Mapping[str, Tensor], free: Sequence[str], whose: str) -> None:
    """Give a network the weights of a file.

    Args:
        model: the network; changed.
        given: tensors by name.
        free: layers whose weights may be absent, or others; those are left as they are.
        whose: stands at the beginning of a message.

    Raises:
        MetaftError: naming what is missing, what is not the network's, and what has another shape.
    """
    own = model.state_dict()
    is_free = lambda name: any(name.startswith(f"{layer}.") for layer in free)
    fits = lambda name: name in own and own[name].shape == given[name].shape
    missing = [n for n in own if n not in given and not is_free(n) and not n.endswith(COUNTED)]
    others = [n for n in given if n not in own and not is_free(n) and not n.endswith(COUNTED)]
    shapes = [
        f"{n} {list(given[n].shape)}, not {list(own[n].shape)}"
        for n in own
        if n in given and not fits(n) and not is_free(n)
    ]
    told = [
        f"{len(names)} {what}: {', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''}"
        for what, names in (("missing", missing), ("not of this network", others), ("of another shape", shapes))
        if names
    ]
    if told:
        raise MetaftError(f"{whose}: the weights are another network's; {'; '.join(told)}")
    model.load_state_dict({name: value for name, value in given.items() if fits(name)}, strict=False)
