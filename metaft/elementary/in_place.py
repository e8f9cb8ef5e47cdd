"""Changes in place of what a function did not make itself: they stay its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metaft.elementary.levels import captured

if TYPE_CHECKING:
    from metaft.elementary.mode import Elementary

Handler = Callable[..., Any]


def _in_place(mode: Elementary, func: Handler, /, x: Any, *args: Any, **kwargs: Any) -> Any:
    """A change in place: of what the function was given, a copy is changed, and met wherever the tensor is used."""
    if not isinstance(x, Tensor) or not captured(x):
        return func(x, *args, **kwargs)
    mine = mode.keep(x, x.clone())
    found = func(mine, *args, **kwargs)
    # The tensor itself: ``self.count += 1`` stores it, and the copy must not outlive the transform.
    return x if found is mine else found


_CHANGES = [
    getattr(torch.Tensor, name)
    for name in dir(torch.Tensor)
    if name.endswith("_") and not name.endswith("__") and not name.startswith("_") and name != "requires_grad_"
] + [torch.Tensor.__setitem__]

IN_PLACE: dict[Any, Handler] = dict.fromkeys(_CHANGES, _in_place)
