"""Recurrent layers and cells: one layer or two, both directions, projections, batches first or second, packed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.any_module.case import Between, Case, layer, normal

VARIANTS = {
    "": {},
    "two layers": {"num_layers": 2},
    "both directions": {"bidirectional": True},
    "two layers, both directions, batch first": {"num_layers": 2, "bidirectional": True, "batch_first": True},
    "no bias, batch first": {"bias": False, "batch_first": True},
}


class OverCells(nn.Module):
    """A cell run over a sequence ``[examples, tokens, features]``; the last state."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for token in x.unbind(1):
            state = self.cell(token, state)
        return state[0] if isinstance(state, tuple) else state


class LastState(nn.Module):
    """A recurrent layer of which the last state is used, or what it began from is learned."""

    def __init__(self, layer: nn.Module, learned_start: bool = False) -> None:
        super().__init__()
        self.layer = layer
        if learned_start:
            self.start = nn.Parameter(torch.randn(1, 1, 3))

    def forward(self, x: Tensor) -> Tensor:
        start = self.start.expand(1, len(x), 3).contiguous() if hasattr(self, "start") else None
        if start is not None and isinstance(self.layer, nn.LSTM):
            start = (start, start.tanh())
        _, last = self.layer(x, start)
        return (last[1] if isinstance(last, tuple) else last)[0]


class Packed(nn.Module):
    """A recurrent layer on packed sequences of several lengths."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        lengths = torch.tensor([1 + i % x.shape[1] for i in range(len(x))])
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.layer(packed)[0], batch_first=True, total_length=x.shape[1])[0]


class Alone(nn.Module):
    """The layer at the entrance of the network, as an LSTM on sequences is used."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0][:, -1])


def recurrent(of: str, variant: str, tokens: int = 3, **options) -> Case:
    batch_axis = 0 if options.get("batch_first") else 1
    return layer(
        lambda: getattr(nn, of)(2, 3, **options),
        tokens,
        2,
        of=of,
        variant=variant,
        batch_axis=batch_axis,
        random="training" if options.get("dropout") else "",
    )


CASES: list[Case] = [
    *(recurrent(of, name, **options) for of in ("RNN", "GRU", "LSTM") for name, options in VARIANTS.items()),
    recurrent("RNN", "relu", nonlinearity="relu", batch_first=True),
    *(
        recurrent(of, "dropout between two layers", num_layers=2, dropout=0.4, batch_first=True)
        for of in ("RNN", "GRU", "LSTM")
    ),
    recurrent("LSTM", "projections", proj_size=2, batch_first=True),
    recurrent("LSTM", "projections, two layers, both directions", proj_size=2, num_layers=2, bidirectional=True),
    *(
        layer(lambda of=of: LastState(getattr(nn, of)(2, 3, batch_first=True)), 3, 2, of=of, variant="last state")
        for of in ("RNN", "GRU", "LSTM")
    ),
    *(
        layer(
            lambda of=of: LastState(getattr(nn, of)(2, 3, batch_first=True), learned_start=True),
            3,
            2,
            of=of,
            variant="learned first state",
        )
        for of in ("RNN", "GRU", "LSTM")
    ),
    *(
        layer(lambda of=of: Packed(getattr(nn, of)(2, 3, batch_first=True)), 3, 2, of=of, variant="packed")
        for of in ("RNN", "GRU", "LSTM")
    ),
    *(
        Case(of, lambda of=of: Alone(getattr(nn, of)(2, 3, batch_first=True)), "at the entrance", x=normal(4, 2))
        for of in ("RNN", "GRU", "LSTM")
    ),
    *(
        layer(lambda of=of, bias=bias: OverCells(getattr(nn, of)(2, 3, bias=bias)), 3, 2, of=of, variant=name)
        for of in ("RNNCell", "GRUCell", "LSTMCell")
        for name, bias in (("", True), ("no bias", False))
    ),
    layer(lambda: OverCells(nn.RNNCell(2, 3, nonlinearity="relu")), 3, 2, of="RNNCell", variant="relu"),
    Case(
        "LSTM",
        lambda: Between(nn.Sequential(nn.LayerNorm(2), Inside(nn.LSTM(2, 3, batch_first=True)), nn.LayerNorm(3)), 3, 2),
        "between layer norms",
    ),
]


class Inside(nn.Module):
    """The answers of a recurrent layer, for a ``Sequential``."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]
