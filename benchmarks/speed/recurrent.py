"""The recurrent row: an LSTM that reads a task's points as a sequence, beside a plain loop in torch."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.speed.problem import Problem
from benchmarks.speed.reference import plain
from benchmarks.speed.row import gradient_row
from metaft.tasks.sinusoid import Sinusoids

PLAIN = "plain loop"


class Reader(nn.Module):
    """torch's own LSTM over the points of a task, a linear answer at each.

    Args:
        width: of the LSTM's state.
    """

    def __init__(self, width: int = 40) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, width, batch_first=True)
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``[examples, 1]``, read in their order → ``[examples, 1]``."""
        return self.head(self.lstm(x.unsqueeze(0))[0].squeeze(0))


def problem(tasks: int = 25, steps: int = 1) -> Problem:
    """10 + 10 points of a sinusoid as two sequences, 1 step of 0.01."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        model = Reader()
    return Problem(model, Sinusoids().batch(0, tasks), "regression", lr=0.01, steps=steps)


# ``torch.autograd.grad`` through ``functional_call``, task by task.
ROWS = {
    "recurrent": gradient_row("LSTM of 40, 25 tasks, sequences of 10 points, 1 step", problem,
                              {PLAIN: lambda work: partial(plain, work)}, rivals=(PLAIN,), target=1, rate="product")
}  # fmt: skip
