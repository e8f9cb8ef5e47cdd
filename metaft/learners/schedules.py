"""Schedules of fine-tuning: which parameters move at which step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Names = tuple[str, ...]
Plan = Sequence[Names]
Blocks = Callable[[], Sequence[Names]]


def together(adapts: Names, head: Names, steps: int, head_steps: int, blocks: Blocks) -> Plan:
    """Everything at every step."""
    return [adapts] * steps


def head_first(adapts: Names, head: Names, steps: int, head_steps: int, blocks: Blocks) -> Plan:
    """The head alone, then everything: linear probing, then fine-tuning (LP-FT: Kumar et al. 2022, §3.4)."""
    alone = min(head_steps, steps)
    return [head] * alone + [adapts] * (steps - alone)


def rotating(adapts: Names, head: Names, steps: int, head_steps: int, blocks: Blocks) -> Plan:
    """One block a step, from the head down and round again: block coordinate descent (Wright 2015, alg. 1)."""
    order = list(reversed(blocks()))
    return [order[k % len(order)] for k in range(steps)]


# name → (what adapts, those of it in the head, steps, steps of the head alone, what adapts block by block as the blocks
# run) → names that move at each step
SCHEDULES: dict[str, Callable[[Names, Names, int, int, Blocks], Plan]] = {
    "together": together,
    "head-first": head_first,
    "rotating": rotating,
}
