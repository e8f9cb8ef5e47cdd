"""Matching networks with full context embeddings: examples are seen beside each other (Vinyals et al. 2016, §2.1.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metaft.errors import MetaftError
from metaft.learners.metric.episodic import Comparison, EpisodicLearner, feature_width, require_classes
from metaft.learners.metric.matching import SCALE, Attention
from metaft.models.functional import BatchNormMode
from metaft.seeds import require_seed
from metaft.tasks.batch import IGNORE
from metaft.tasks.family import Kind

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


class ContextAttention(Comparison):
    """Attention between examples in full context.

    Args:
        context: embeds both sets.
        attention: compares them.
    """

    def __init__(self, context: FullContext, attention: Attention) -> None:
        super().__init__()
        self.context, self.attention = context, attention

    def forward(self, support: Tensor, support_y: Tensor, queries: Tensor, outputs: int) -> Tensor:
        """As ``Comparison``, but that the order of the support set matters."""
        known, asked = self.context(support, support_y != IGNORE, queries)
        answers: Tensor = self.attention(known, support_y, asked, outputs)
        return answers

    def describe(self) -> dict[str, object]:
        """Its scale, and how often a query reads the support set."""
        return {**self.attention.describe(), "reads": self.context.reads}


def matching_fce(
    model: nn.Module,
    *,
    reads: int = 5,
    learned_scale: bool = False,
    seed: int = 0,
    batch_norm: BatchNormMode = "running",
    kind: Kind = "classification",
) -> EpisodicLearner:
    """Matching networks whose features, by LSTMs, depend on the whole support set, read in the order it comes in.

    Vinyals, Blundell, Lillicrap, Kavukcuoglu & Wierstra 2016, "Matching networks for one shot learning", §2.1.2 and
    appendix A. Support examples come shot by shot, the classes in a random order that is the same for each shot;
    theirs is not told. A support set in another order, grouped by class for instance, is unlike what it was trained on.

    Deviations: appendix A leaves K, the number of reads, open; it is 5. ``learned_scale`` is as in ``matching``.

    Args:
        model: any module whose last block is a linear head, which is left out.
        reads: K, how often a query reads the support set.
        learned_scale: whether cosines are multiplied by a meta-trained number, at first 10.
        seed: of the LSTMs' initial weights; torch's global random state is left as it was.
        batch_norm: "running", "transductive" or "inductive" (see ``TaskFeatures``).
        kind: must be "classification".

    Returns:
        The learner.

    Raises:
        MetaftError: for a regression, an unknown option, no reads, or a network without a linear head.
    """
    require_classes(kind, "matching-fce")
    if reads < 1:
        raise MetaftError(f"reads must be 1 or more, not {reads}; without any it is 'matching'")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(require_seed(seed))
        context = FullContext(feature_width(model), reads)
    attention = Attention(SCALE, learned=True) if learned_scale else Attention()
    return EpisodicLearner("matching-fce", model, ContextAttention(context, attention), batch_norm, kind)
