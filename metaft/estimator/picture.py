"""A picture of queries with their answers, the support set above."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from metaft.errors import MetaftError
from metaft.estimator.inputs import Inputs, count_of
from metaft.evaluation.answer_picture import Shown, answer_figure


class Fitted(Protocol):
    """What is drawn of a classifier that has its support set."""

    classes_: np.ndarray
    inputs_: Inputs
    support_x_: Tensor
    support_y_: Tensor

    def answer(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """The class of each query, and how probable each class is."""


def picture(classifier: Fitted, X: Any, y: Any = None) -> Figure:
    """Draw queries of images with their answers.

    Args:
        classifier: fitted to images.
        X: queries, as for its ``predict``.
        y: their labels, where they are known.

    Returns:
        The figure: images as the learner sees them, framed in blue where the answer is right, in vermillion where it
        is wrong, in grey where nobody says.

    Raises:
        MetaftError: for examples other than images, or another number of labels than of queries.
    """
    if classifier.inputs_.kind != "images":
        raise MetaftError(f"plot draws images, and this learner reads {classifier.inputs_.kind}")
    labels = None if y is None else [str(label) for label in y]
    if labels is not None and len(labels) != count_of(X):
        raise MetaftError(f"{count_of(X)} queries and {len(labels)} labels: expected one label a query")
    answers, probabilities = classifier.answer(X)
    images = _pixels(classifier.inputs_.read(X))
    queries = [
        Shown(images[n], str(answer), float(probabilities[n].max()), labels[n] if labels else "")
        for n, answer in enumerate(answers)
    ]
    support: dict[str, list[np.ndarray]] = {}
    for image, code in zip(_pixels(classifier.support_x_), classifier.support_y_.tolist(), strict=True):
        support.setdefault(str(classifier.classes_[code]), []).append(image)
    return answer_figure(queries, support)


def _pixels(images: Tensor) -> np.ndarray:
    """``uint8 [images, height, width, 3]``; what is grey is drawn as ink on paper."""
    shown = 1 - images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
    return np.asarray((255 * shown.clamp(0, 1)).round().byte().permute(0, 2, 3, 1).cpu().numpy())
