"""Networks of square images."""

from __future__ import annotations

from typing import Any, Self

from torch import nn

from metaft.errors import MetaftError


class OfSquareImages(nn.Module):
    """A network whose first arguments are channels, size and outputs."""

    @classmethod
    def fitting(cls, outputs: int, input_shape: tuple[int, ...], **options: Any) -> Self:
        """The network for examples of a shape.

        Args:
            outputs: width of the answer.
            input_shape: ``(channels, size, size)``.
            options: its own.

        Returns:
            The network.

        Raises:
            MetaftError: if the examples are no square images, or as the network itself.
        """
        if len(input_shape) != 3 or input_shape[1] != input_shape[2]:
            raise MetaftError(
                f"{cls.__name__.lower()} needs square images [channels, size, size], not inputs of shape {input_shape}"
            )
        return cls(input_shape[0], input_shape[1], outputs, **options)
