"""A few-shot learner as scikit-learn knows classifiers and regressors: fit to a support set, predict queries."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d, validate_data
from torch import Tensor

from metaft.errors import MetaftError
from metaft.estimator import saved
from metaft.estimator.images import Ink
from metaft.estimator.inputs import Inputs, count_of, require_kind
from metaft.estimator.nearest import nearest
from metaft.estimator.numbers import NumberInputs
from metaft.estimator.source import Reading, Source, fitting, open_source
from metaft.estimator.texts import TextInputs, of_one_length
from metaft.learners import ANY_WAYS
from metaft.learners.learner import Learner, Predictor
from metaft.tasks.answers import answered, probabilities
from metaft.tasks.family import Kind

PORTION = 512
"""Queries that are answered together where no answer depends on the others: it bounds memory."""


class FewShotEstimator(BaseEstimator):
    """What the classifier and the regressor have in common.

    Args:
        learner: a run directory, a learner as `metaft compare` reads it, or a folder that was saved.
        image_size: height and width to which pictures are scaled; a run has its own.
        colours: "grey" or "rgb", likewise.
        ink: of drawings, for runs on drawn characters, which know ink as bright: "dark" ink on bright paper, "bright"
            ink on dark paper, or "auto", told image by image.
    """

    _kind: ClassVar[Kind]

    def __init__(
        self,
        learner: str | Path = "nearest-neighbour",
        *,
        image_size: int | None = None,
        colours: str | None = None,
        ink: Ink = "auto",
    ) -> None:
        self.learner = learner
        self.image_size = image_size
        self.colours = colours
        self.ink = ink

    @property
    def transductive(self) -> bool:
        """Whether the answer to one query depends on the other queries of the same call."""
        check_is_fitted(self)
        return bool(self._live()[0].transductive)

    def nearest_support(self, X: Any) -> np.ndarray | None:
        """The nearest support example of each query.

        Args:
            X: queries, as for ``predict``.

        Returns:
            ``int64 [queries]``, rows of the support set; None where a learner of one's own reads texts.
        """
        check_is_fitted(self)
        learner = self._live()[0]
        found = [nearest(learner, *self._alike(part)) for part in self._read(X).split(PORTION)]
        return None if not found or found[0] is None else torch.cat(cast(list[Tensor], found)).numpy()

    def save(self, folder: str | Path) -> Path:
        """Write all that answers need into one folder, for ``metaft.load``: weights, preprocessing and support set.

        Args:
            folder: new, or empty. Tensors are written as safetensors, the rest as text; nothing in it is executed. A
                published model (``hf:…``) is named, not copied.

        Returns:
            The folder.

        Raises:
            MetaftError: if the folder holds something, or cannot be written.
        """
        check_is_fitted(self)
        saved.write(folder, self, self._source(), self._live()[1])
        return Path(folder)

    def task(self) -> tuple[Learner, Tensor, Tensor]:
        """The learner and the support set that it was fit to.

        Returns:
            The learner, the examples ``[examples, *input]`` as it takes them, and ``int64 [examples]`` labels, which
            count ``classes_``; or values ``[examples, targets]``.
        """
        check_is_fitted(self)
        return self._live()[0], self.support_x_, self.support_y_

    def check(self) -> Self:
        """Make the learner once, so that what is wrong with it is said before any data is read.

        Returns:
            The estimator.

        Raises:
            MetaftError: if there is no such learner, or an option is unknown.
        """
        source = self._source()
        self._require_kind(source)
        source.make(source.bound or 2, self._kind, source.inputs(None, self._reading), None)
        return self

    @property
    def _reading(self) -> Reading:
        return Reading(self.image_size, self.colours, self.ink)

    @property
    def _names(self) -> list[str]:
        """Of the classes, as a prompt writes them."""
        return [str(name) for name in getattr(self, "classes_", ())]

    def _source(self) -> Source:
        return saved.source(self.learner) if saved.is_saved(self.learner) else open_source(self.learner)

    def _require_kind(self, source: Source) -> None:
        if source.kind not in (None, self._kind):
            other = "FewShotRegressor" if source.kind == "regression" else "FewShotClassifier"
            raise MetaftError(
                f"{self.learner} was trained for {source.kind}s; metaft.load makes the estimator that suits it, {other}"
            )

    def _support(self, X: Any) -> tuple[Source, Inputs, Any]:
        """The source, how examples are read, and the examples as scikit-learn has looked at them."""
        source = self._source()
        self._require_kind(source)
        inputs = source.inputs(X, self._reading)
        require_kind(X, inputs.kind, str(self.learner))
        if not isinstance(inputs, NumberInputs):
            for name in ("n_features_in_", "feature_names_in_"):  # of another support set
                self.__dict__.pop(name, None)
            return source, inputs, X
        return source, inputs, validate_data(self, inputs.select(X), dtype="numeric")

    def _take(self, source: Source, inputs: Inputs, x: Tensor, y: Tensor, outputs: int) -> None:
        """Take the support set: adapt to it, once."""
        learner, weights = source.make(outputs, self._kind, inputs, x, self._names)
        cut = fitting(inputs, learner)
        if isinstance(cut, TextInputs) and (cut.pattern or (cut.most is not None and x.shape[-1] > cut.most)):
            x = cut.read(self._texts)
        self.inputs_, self.support_x_, self.support_y_ = cut, x, y
        self._made = (learner, weights, learner.adapt(x.unsqueeze(0), y.unsqueeze(0)))

    def _live(self) -> tuple[Learner, dict[str, Tensor], Predictor]:
        """The learner, its weights, and what it has made of the support set; made again after unpickling or loading."""
        if "_made" not in self.__dict__:
            outputs = len(self.classes_) if self._kind == "classification" else self.support_y_.shape[-1]
            source, inputs, x = self._source(), self.inputs_, self.support_x_
            learner, weights = source.make(outputs, self._kind, inputs, x, self._names)
            predictor = learner.adapt(self.support_x_.unsqueeze(0), self.support_y_.unsqueeze(0))
            self._made = (learner, weights, predictor)
        return self._made

    def _read(self, X: Any) -> Tensor:
        inputs = self.inputs_
        if isinstance(inputs, NumberInputs):
            X = validate_data(self, inputs.select(X), reset=False, dtype="numeric")
        else:
            require_kind(X, inputs.kind, str(self.learner))
            if not count_of(X):
                raise MetaftError("there are no queries")
        return inputs.read(X)

    def _alike(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Support set and queries; texts have as many places in both."""
        if self.inputs_.kind != "texts":
            return self.support_x_, queries
        support, queries = of_one_length(self.support_x_, queries)
        return support, queries

    @torch.no_grad()
    def _answers(self, X: Any) -> Tensor:
        """What the learner says of queries, ``[queries, outputs]``."""
        x = self._read(X)
        learner, _, predictor = self._live()
        portions = [x] if learner.transductive else list(x.split(PORTION))
        found = []
        for part in portions:
            support, queries = self._alike(part)
            again = support.shape != self.support_x_.shape  # longer texts than any of the support set
            answer = learner.adapt(support.unsqueeze(0), self.support_y_.unsqueeze(0)) if again else predictor
            found.append(answer(queries.unsqueeze(0))[0])
        return torch.cat(found).detach()

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_made", None)  # what runs: made again from the learner's name
        return state

    def __sklearn_is_fitted__(self) -> bool:
        return "support_x_" in self.__dict__

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        asked = [f"{name}={value!r}" for name, value in self.get_params().items() if name != "learner"]
        default = [f"{name}={value!r}" for name, value in type(self)().get_params().items() if name != "learner"]
        told = [repr(str(self.learner)), *(one for one in asked if one not in default)]
        return f"{type(self).__name__}({', '.join([*told, *self._fitted_as()])})"[:N_CHAR_MAX]

    def _fitted_as(self) -> list[str]:
        if not self.__sklearn_is_fitted__():
            return []
        mode = "transductive" if self.transductive else "inductive"
        return [mode, self._told()]

    def _told(self) -> str:
        """The support set, in words."""
        raise NotImplementedError


class FewShotClassifier(ClassifierMixin, FewShotEstimator):
    """A classifier that learns from the few examples of its support set.

    Args:
        learner: a run directory, a learner as `metaft compare` reads it, or a folder that was saved.
        image_size: height and width to which pictures are scaled; a run has its own.
        colours: "grey" or "rgb", likewise.
        ink: of drawings, for runs on drawn characters, which know ink as bright: "dark" ink on bright paper, "bright"
            ink on dark paper, or "auto", told image by image.

    Attributes:
        classes_: the labels, in order.
        transductive: whether the answer to one query depends on the other queries of the same call.
    """

    _kind = "classification"
    classes_: np.ndarray

    def fit(self, X: Any, y: Any) -> Self:
        """Take a support set.

        Args:
            X: the examples. Images: a list of paths or of pictures of Pillow, or an array or tensor. Texts: a list,
                array or series. Rows: an array or a frame.
            y: their labels, one each.

        Returns:
            The classifier.

        Raises:
            MetaftError: for examples that cannot be read, one class, or more classes than a head is bound to.
        """
        source, inputs, X = self._support(X)
        if y is None:
            raise MetaftError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        check_classification_targets(y)
        labels = column_or_1d(y, warn=True)
        classes, codes = np.unique(labels, return_inverse=True)
        if len(labels) != count_of(X):
            raise MetaftError(f"{count_of(X)} examples and {len(labels)} labels: expected one label an example")
        if labels.dtype.kind == "f" and not np.isfinite(labels).all():
            raise MetaftError("y has NaN or infinite values; give each example a label")
        if len(classes) < 2:
            raise MetaftError(f"the support set has examples of one class only ({_some(classes)}); give two or more")
        _require_ways(source, classes)
        self.classes_ = classes
        self._texts = X if isinstance(inputs, TextInputs) else None
        self._take(source, inputs, inputs.read(X), torch.from_numpy(codes.astype(np.int64)), len(classes))
        del self._texts
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The class of each query.

        Args:
            X: queries, as for ``fit``.

        Returns:
            ``[queries]``, labels of ``classes_``.

        Raises:
            MetaftError: for queries that cannot be read, or a score that is no number.
        """
        return self._classes_of(self._scores(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """How probable each class is: the softmax of the learner's scores, which nothing has calibrated.

        Args:
            X: queries, as for ``fit``.

        Returns:
            ``[queries, classes]``, in the order of ``classes_``.

        Raises:
            MetaftError: as ``predict``.
        """
        return self._probabilities_of(self._scores(X))

    def answer(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """The class of each query and how probable each is, by one pass.

        Args:
            X: queries, as for ``fit``.

        Returns:
            As ``predict`` and ``predict_proba``.
        """
        scores = self._scores(X)
        return self._classes_of(scores), self._probabilities_of(scores)

    def plot(self, X: Any, y: Any = None) -> Any:
        """A picture of images with their answers, the support set above.

        Args:
            X: queries, as for ``fit``.
            y: their labels, where they are known.

        Returns:
            A ``matplotlib.figure.Figure``; a notebook shows it.

        Raises:
            MetaftError: as ``predict``, or for examples other than images.
        """
        from metaft.estimator.picture import picture  # matplotlib is loaded where something is drawn

        check_is_fitted(self)
        return picture(self, X, y)

    def _classes_of(self, scores: Tensor) -> np.ndarray:
        return np.asarray(self.classes_[answered(scores)[0].numpy()])

    @staticmethod
    def _probabilities_of(scores: Tensor) -> np.ndarray:
        return np.asarray(probabilities(scores.double()).numpy())

    def _scores(self, X: Any) -> Tensor:
        check_is_fitted(self)
        scores = self._answers(X)[:, : len(self.classes_)]  # a head may tell more classes apart
        none = answered(scores)[1]
        if bool(none.any()):
            raise MetaftError(f"the learner has no answer to query {int(none.nonzero()[0, 0])}: a score is no number")
        return scores

    def _told(self) -> str:
        counts = torch.bincount(self.support_y_).tolist()
        each = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
        return f"{len(counts)} classes × {each} support {'example' if each == '1' else 'examples'}"


class FewShotRegressor(RegressorMixin, FewShotEstimator):
    """A regressor that learns from the few examples of its support set.

    Args:
        learner: a run directory on a regression, a learner that solves one (``feature-extraction:head=ridge``), or a
            folder that was saved.
        image_size, colours, ink: as for `FewShotClassifier`.

    Attributes:
        transductive: whether the answer to one query depends on the other queries of the same call.
    """

    _kind = "regression"

    def fit(self, X: Any, y: Any) -> Self:
        """Take a support set.

        Args:
            X: the examples, as for `FewShotClassifier`.
            y: their values, ``[examples]`` or ``[examples, targets]``.

        Returns:
            The regressor.

        Raises:
            MetaftError: for examples that cannot be read, or more or fewer targets than a run was trained on.
        """
        source, inputs, X = self._support(X)
        if y is None:
            raise MetaftError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        values = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        self._one_target = values.ndim == 1
        values = values.reshape(len(values), -1)
        if len(values) != count_of(X):
            raise MetaftError(f"{count_of(X)} examples and {len(values)} values: expected one value an example")
        if source.bound not in (None, values.shape[1]):
            raise MetaftError(f"{self.learner} predicts {source.bound} targets, and y has {values.shape[1]}")
        targets = inputs.read_targets(values) if isinstance(inputs, NumberInputs) else torch.from_numpy(values).float()
        self._texts = X if isinstance(inputs, TextInputs) else None
        self._take(source, inputs, inputs.read(X), targets, values.shape[1])
        del self._texts
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The values of each query, in the units of the support set's.

        Args:
            X: queries, as for ``fit``.

        Returns:
            ``[queries]`` or ``[queries, targets]``, as ``fit`` was given them.

        Raises:
            MetaftError: for queries that cannot be read.
        """
        check_is_fitted(self)
        answers, inputs = self._answers(X), self.inputs_
        values = inputs.targets(answers) if isinstance(inputs, NumberInputs) else answers.double().numpy()
        return values[:, 0] if self._one_target else values

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _told(self) -> str:
        count, targets = self.support_y_.shape
        return f"{targets} {'target' if targets == 1 else 'targets'}, {count} support examples"


def _require_ways(source: Source, classes: np.ndarray) -> None:
    """Refuse more classes than a head is bound to, before anything is computed."""
    if source.bound is not None and len(classes) > source.bound:
        run = source.spec.target
        raise MetaftError(
            f"{run} tells at most {source.bound} classes apart, and the support set has {len(classes)} "
            f"({_some(classes)}): leave some out, train one with --ways {len(classes)}, or take a learner of any "
            f"number: class-means:backbone={run}, or one trained as {', '.join(sorted(ANY_WAYS))}"
        )


def _some(classes: np.ndarray) -> str:
    return ", ".join(map(str, classes[:3])) + (", …" if len(classes) > 3 else "")
