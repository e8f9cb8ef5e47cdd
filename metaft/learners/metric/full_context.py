"""Full context embeddings: every example is embedded in view of the whole support set (Vinyals et al. 2016, §2.1.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Sides = tuple[Tensor, Tensor]


class Cell(nn.Module):
    """A long short-term memory cell whose state may be wider than what it puts out.

    Args:
        width: of the input, of the cell and of what it puts out.
        state: how wide is what it sees beside the input.
    """

    def __init__(self, width: int, state: int) -> None:
        super().__init__()
        self.gates = nn.Linear(width + state, 4 * width)

    def forward(self, x: Tensor, state: Tensor, cell: Tensor) -> Sides:
        """One step.

        Args:
            x: ``[..., width]``.
            state: ``[..., state]``.
            cell: ``[..., width]``.

        Returns:
            What it puts out and the cell, ``[..., width]`` each.
        """
        write, keep, new, show = self.gates(torch.cat([x, state], -1)).chunk(4, -1)
        cell = keep.sigmoid() * cell + write.sigmoid() * new.tanh()
        return show.sigmoid() * cell.tanh(), cell


class FullContext(nn.Module):
    """g: the support set read forwards and backwards; f: a query that reads the support set K times (appendix A).

    The support set is read in the order it comes in, which changes the answers.

    Args:
        width: of a feature vector.
        reads: K, how often a query looks at the support set.
    """

    def __init__(self, width: int, reads: int) -> None:
        super().__init__()
        self.reads = reads
        self.forwards, self.backwards, self.reading = Cell(width, width), Cell(width, width), Cell(width, 2 * width)

    def forward(self, support: Tensor, real: Tensor, queries: Tensor) -> Sides:
        """Embed both sets.

        Args:
            support: ``[tasks, support, width]``, g′ of the paper.
            real: ``bool [tasks, support]``, false for padding, which changes nothing.
            queries: ``[tasks, queries, width]``, f′ of the paper.

        Returns:
            Both in context, of the same shapes.
        """
        places = range(support.shape[1])
        known = support + _run(self.forwards, support, real, places) + _run(self.backwards, support, real, places[::-1])
        return known, self._read(known, real, queries)

    def _read(self, support: Tensor, real: Tensor, queries: Tensor) -> Tensor:
        """Equations 3 to 6."""
        state, cell = torch.zeros_like(queries), torch.zeros_like(queries)
        for _ in range(self.reads):
            scores = (state @ support.mT).masked_fill(~real.unsqueeze(1), -torch.inf)
            seen = scores.softmax(-1) @ support
            out, cell = self.reading(queries, torch.cat([state, seen], -1), cell)
            state = out + queries
        return state


def _run(step: Cell, support: Tensor, real: Tensor, order: range) -> Tensor:
    """What a cell puts out for each support example, one after the other in the given order."""
    out, cell = torch.zeros_like(support[:, 0]), torch.zeros_like(support[:, 0])
    found: dict[int, Tensor] = {}
    for place in order:
        here = real[:, place, None]
        moved = step(support[:, place], out, cell)
        out, cell = (torch.where(here, new, old) for new, old in zip(moved, (out, cell), strict=True))
        found[place] = out
    return torch.stack([found[place] for place in sorted(found)], dim=1)
