"""What a student descends to become like its teacher: pure functions, one loss an example; their mean is the loss.

All follow one convention. Divergences are **summed over classes** (or features); the mean that the caller takes is over
**examples** alone. The soft-target loss carries its factor **T²**, whatever the weight of the labels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from metaft.distillation.choices import require_temperature, require_weight
from metaft.errors import MetaftError
from metaft.tasks.answers import log_probabilities


def soft_targets(scores: Tensor, teacher_scores: Tensor, temperature: float) -> Tensor:
    """T² · KL(teacher ‖ student), both at temperature T, summed over classes (Hinton et al. 2015, §2).

    The gradient by a score is T·(q − p), of a size that hardly changes with T, as q − p shrinks like 1/T.

    Args:
        scores: ``[..., classes]``, the student's logits.
        teacher_scores: like ``scores``, the teacher's; no gradient is wanted of them.
        temperature: T > 0.

    Returns:
        ``[...]``, nats times T².

    Raises:
        MetaftError: if T is not positive, or the shapes differ.

    Hinton, Vinyals, Dean: Distilling the knowledge in a neural network, arXiv:1503.02531.
    """
    require_temperature(temperature)
    require_alike(scores, teacher_scores)
    own, taught = (log_probabilities(s.div(temperature)) for s in (scores, teacher_scores))
    shares = taught.exp()
    # Not F.kl_div, which torch.func.vmap cannot batch over tasks. A class that cannot be (−inf) has no share: 0 · ∞.
    return temperature**2 * (shares * torch.where(shares > 0, taught - own, torch.zeros_like(own))).sum(-1)


def labels(scores: Tensor, truth: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy to the labels, ``smoothing`` of whose mass is spread over all classes (Szegedy et al. 2016, §7).

    Args:
        scores: ``[examples, classes]``.
        truth: ``int64 [examples]``.
        smoothing: in [0, 1); 0 for plain labels.

    Returns:
        ``[examples]``, nats.

    Raises:
        MetaftError: if the smoothing is out of range.
    """
    if not 0 <= smoothing < 1:
        raise MetaftError(f"label_smoothing must lie in [0, 1), not {smoothing!r}")
    return F.cross_entropy(scores, truth, reduction="none", label_smoothing=smoothing)


def mixed(soft: Tensor, hard: Tensor, label_weight: float) -> Tensor:
    """(1 − w) · what the teacher says + w · what the labels say; at 0 and at 1 exactly one of them.

    Args:
        soft: ``[examples]``, the loss to the teacher, its T² included.
        hard: ``[examples]``, the loss to the labels.
        label_weight: w in [0, 1], the weight of the *labels*.

    Returns:
        ``[examples]``.

    Raises:
        MetaftError: if w is out of range.
    """
    require_weight(label_weight)
    if label_weight in (0, 1):  # 0 · ∞ is NaN: what has no weight is not looked at
        return hard if label_weight else soft
    return (1 - label_weight) * soft + label_weight * hard


def matching_logits(scores: Tensor, teacher_scores: Tensor) -> Tensor:
    """½ ‖z − v‖² between the student's logits and the teacher's (Bucilă et al. 2006; Hinton et al. 2015, §2.1).

    For T → ∞ the soft-target loss becomes this, divided by the number of classes, of logits whose mean is taken off.

    Args:
        scores: ``[..., classes]``.
        teacher_scores: like ``scores``.

    Returns:
        ``[...]``.

    Raises:
        MetaftError: if the shapes differ.
    """
    require_alike(scores, teacher_scores)
    return (scores - teacher_scores).square().sum(-1) / 2


def matching_hidden(features: Tensor, teacher_features: Tensor, *, cosine: bool = False) -> Tensor:
    """½ ‖h − g‖² between hidden representations (FitNets: Romero et al. 2015, eq. 3), or 1 − cos(h, g).

    Both features have the same width: a narrower or wider student passes through a learned linear map first.

    Args:
        features: ``[..., width]``, the student's, after that map.
        teacher_features: like ``features``.
        cosine: compare directions alone: half the squared distance of the vectors at length 1.

    Returns:
        ``[...]``.

    Raises:
        MetaftError: if the shapes differ.
    """
    if features.shape != teacher_features.shape:
        raise MetaftError(
            f"hidden representations of student {list(features.shape)} and teacher {list(teacher_features.shape)} "
            "differ; map the student's linearly to the teacher's width first"
        )
    if cosine:
        return 1 - F.cosine_similarity(features, teacher_features, dim=-1)
    return (features - teacher_features).square().sum(-1) / 2


def require_alike(scores: Tensor, teacher_scores: Tensor) -> None:
    """Refuse scores of other classes, or for other examples, than the teacher's.

    Raises:
        MetaftError: then.
    """
    if scores.shape[-1] != teacher_scores.shape[-1]:
        raise MetaftError(
            f"the student tells {scores.shape[-1]} classes apart and the teacher {teacher_scores.shape[-1]}: "
            "distillation needs the same classes in both"
        )
    if scores.shape != teacher_scores.shape:
        raise MetaftError(
            f"scores of student {list(scores.shape)} and teacher {list(teacher_scores.shape)} differ in shape"
        )
