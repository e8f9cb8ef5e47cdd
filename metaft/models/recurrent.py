"""Recurrent layers that take their weights as they are now."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class _ReadEachTime:
    """Torch's recurrent layers keep a list of their weights from when they were made or set.

    What computes a weight anew (weight norm, say) is not in it, and a list that changes while code is compiled would
    carry tensors of a transform out of it.
    """

    _flat_weights_names: list[str]

    @property
    def _flat_weights(self) -> list[Tensor]:
        return [getattr(self, name) for name in self._flat_weights_names]

    @_flat_weights.setter
    def _flat_weights(self, weights: list[Tensor]) -> None:
        pass

    def __setattr__(self, name: str, value: Any) -> None:
        nn.Module.__setattr__(self, name, value)  # type: ignore[arg-type]  # without RNNBase's own


def read_weights_each_time(layer: nn.RNNBase) -> None:
    """Let a recurrent layer read its weights in each forward pass.

    Args:
        layer: changed in place; of another class afterwards.
    """
    vars(layer).pop("_flat_weights", None)
    kind = type(layer)
    if kind not in _reading and not issubclass(kind, _ReadEachTime):
        make: Any = type
        _reading[kind] = make(kind.__name__, (_ReadEachTime, kind), {})
    layer.__class__ = _reading.get(kind, kind)


_reading: dict[type[nn.RNNBase], type[nn.RNNBase]] = {}
