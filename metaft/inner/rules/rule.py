"""What an inner-loop rule is: one step as a differentiable map over an explicit state."""

from __future__ import annotations

from typing import ClassVar, Protocol

from torch import Tensor

Params = dict[str, Tensor]
State = dict[str, Params]

# Meta-parameters that belong to the rule and not to the network (learned rates) carry this prefix;
# a colon cannot stand in a module's own parameter name given by attribute.
LEARNED = "rule:"


class Rule(Protocol):
    """A frozen value; its state travels beside the parameters, so that the same adjoint serves every rule.

    ``uses_gradient`` says whether the step's Jacobian depends on the gradient's value (it does not for plain SGD).

    With ``rates_by_step`` what is learned has a leading axis over steps: step k uses the k-th, those beyond them the
    last. ``counts_steps`` says whether a step depends on its number k in another way; if not, one is compiled for all.
    """

    @property
    def uses_gradient(self) -> bool:
        """Whether the step's Jacobian depends on the gradient's value."""
        ...

    @property
    def counts_steps(self) -> bool:
        """Whether a step depends on its number k in another way than by its rates."""
        ...

    @property
    def rates_by_step(self) -> bool:
        """Whether what is learned has a leading axis over steps."""
        ...

    def learned(self, params: Params) -> Params:
        """The rule's own meta-parameters at their start, named ``rule:…``; empty for most rules."""
        ...

    def init(self, params: Params) -> State:
        """The state before the first step."""
        ...

    def step(self, k: int, params: Params, state: State, grads: Params, learned: Params) -> tuple[Params, State]:
        """Take step k = 0, 1, … of one task."""
        ...


class Plain:
    """The common case: nothing learned, nothing remembered, linear in the gradient."""

    uses_gradient: ClassVar[bool] = False
    counts_steps: ClassVar[bool] = True  # right for every rule, if slower for those that do not
    rates_by_step: ClassVar[bool] = False

    def learned(self, params: Params) -> Params:
        """Nothing."""
        return {}

    def init(self, params: Params) -> State:
        """Nothing."""
        return {}
