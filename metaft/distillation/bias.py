"""A class that no student has seen an example of: its bias is raised until it is answered as often as it occurs."""

from __future__ import annotations

import torch
from torch import Tensor

from metaft.errors import MetaftError


def bias_correction(scores: Tensor, labels: Tensor, left_out: int) -> float:
    """How much to add to one class's score (to its bias) so that it is answered as often as it occurs.

    An example is answered with that class once the correction exceeds its margin, the best other score minus this
    class's. So the correction lies between two neighbours of the sorted margins; no search is needed.

    Hinton et al. 2015 (§3) raise the bias of the digit left out by 3.5, which "optimizes overall performance on the
    *test* set". Here it matches frequencies, and on *validation* examples: give those.

    Args:
        scores: ``[examples, classes]``, the student's, of validation examples.
        labels: ``int64 [examples]``; all that counts is how many are of the class.
        left_out: the class.

    Returns:
        The correction, positive for a class that is answered too seldom.

    Raises:
        MetaftError: if there is no such class, or not one validation example of it.
    """
    if not 0 <= left_out < scores.shape[-1]:
        raise MetaftError(f"class {left_out} is none of {scores.shape[-1]}")
    wanted = int((labels == left_out).sum())
    if wanted == 0:
        raise MetaftError(f"no validation example is of class {left_out}: how often it occurs cannot be told from them")
    others = scores.double().clone()
    others[:, left_out] = -torch.inf
    margins = others.amax(-1) - scores[:, left_out].double()
    # No correction helps a class that cannot be (−inf), and none is needed where no other can.
    finite = margins[margins.isfinite()]
    if not len(finite):
        return 0.0
    margins = margins.nan_to_num(torch.inf).clamp(finite.min() - 1, finite.max() + 1).sort().values
    if wanted == len(margins):
        return float(margins[-1]) + 1.0
    return float(margins[wanted - 1] + margins[wanted]) / 2
