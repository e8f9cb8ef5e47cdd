"""What torch.func cannot differentiate at all, and the way out, in place of torch's own words."""

from __future__ import annotations

import re

from metaft.errors import MetaftError

# What torch says → what to do; {0} is the function that it names.
REFUSALS: dict[str, str] = {
    r"derivative for '?(?:aten::)?(\w+)'? is not implemented": (
        "torch has no second derivative of this network or loss ({0} has no derivative): use estimator 'first-order' "
        "or 'finite-difference', or write that function out in elementary operations"
    ),
    r"saved tensor hooks": (
        "torch.utils.checkpoint (gradient checkpointing) cannot be differentiated by torch.func: call the function "
        "itself; memory='flat' keeps the activations of one inner step alone as it is"
    ),
    r"must override the setup_context staticmethod": (
        "an autograd.Function without setup_context cannot be differentiated by torch.func: give it one (and "
        "generate_vmap_rule = True), or use another layer (nn.LocalResponseNorm for nn.CrossMapLRN2d)"
    ),
}


def refusal(error: Exception) -> Exception:
    """The error to raise for one of torch's.

    Args:
        error: what a computation of one task raised.

    Returns:
        A refusal with its reason, if torch cannot differentiate what was asked; otherwise the error itself.
    """
    for pattern, message in REFUSALS.items():
        found = re.search(pattern, str(error))
        if found:
            return MetaftError(message.format(*found.groups()))
    return error
