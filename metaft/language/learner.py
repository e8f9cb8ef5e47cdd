"""Training of a language model, as a learner that the training loop can drive."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from metaft.distillation.loss import DistillationLoss
from metaft.elementary.mode import Elementary
from metaft.errors import MetaftError
from metaft.language.model import LanguageModel
from metaft.language.passages import Words
from metaft.language.teacher import WordTeacher
from metaft.learners.learner import Predictor
from metaft.outer.mean_gradient import MetaGradient
from metaft.tasks.batch import IGNORE, TaskBatch


class LanguageLearner:
    """Says words at the places where they are asked for.

    The loss of a passage is the mean cross-entropy of its words, and that of its segments' order besides (Devlin et al.
    2019, §3.1): a mean over passages, so that ranks can share them. On a GPU it computes in bfloat16, weights stay
    float32.

    With a teacher, what a place costs is a mixture of that and of the distance to the teacher's distribution of words
    (Hinton et al. 2015, §2; of masked words DistilBERT, Sanh et al. 2019, §3).

    Args:
        model: the network; copied.
        teacher: whose words are learned from as well; None for none.
        loss: how the two are mixed; needed with a teacher.
    """

    name = "language-model"
    transductive = False

    def __init__(
        self, model: LanguageModel, teacher: WordTeacher | None = None, loss: DistillationLoss | None = None
    ) -> None:
        self.teacher, self.loss = teacher, loss
        self.module = copy.deepcopy(model)
        self.trains = tuple(name for name, _ in self.module.named_parameters())
        self.params = {name: p.detach().clone() for name, p in self.module.named_parameters()}
        self._draws = any(isinstance(part, nn.Dropout) and part.p > 0 for part in self.module.modules())

    def meta_gradient(self, batch: TaskBatch) -> MetaGradient:
        """The mean loss of passages and its gradient.

        Args:
            batch: passages, see `metaft.language.passages`.

        Returns:
            Loss, gradients and the loss of each passage.
        """
        leaves = {name: value.detach().requires_grad_() for name, value in self.params.items()}
        self.module.train()
        # Whatever draws has the passage's own numbers; where nothing draws, torch's layers run as they are.
        mode = Elementary(batch.drawn().keys) if self._draws else nullcontext()
        with torch.enable_grad(), mode:
            losses = self.losses(leaves, _words(batch))
            loss = losses.mean()
        grads = torch.autograd.grad(loss, list(leaves.values()))
        nothing = losses.new_empty(0)
        named = dict(zip(self.trains, grads, strict=True))
        return MetaGradient(loss.detach(), named, losses.detach(), nothing, nothing)

    def losses(self, params: dict[str, Tensor], batch: Words) -> Tensor:
        """What training descends the mean of.

        Args:
            params: of the network, by name.
            batch: the passages.

        Returns:
            ``[passages]``.
        """
        said, order, truth = self._said(params, batch)
        if self.teacher is None or self.loss is None:
            words = F.cross_entropy(said, truth, reduction="none")
        else:
            with _precision(batch.query_x.device):
                taught = _whole(self.teacher(batch.query_x, _asked(batch)))
            words = self.loss.losses(said, said, truth, taught, None)
        mean = _by_passage(words, batch) / _asked(batch).sum(1).clamp(min=1)
        return mean if order is None else mean + F.cross_entropy(order, batch.order, reduction="none")

    @torch.no_grad()
    def scores(self, batch: Words) -> dict[str, Tensor]:
        """What the network says, and what of it is right; in evaluation mode.

        Args:
            batch: the passages.

        Returns:
            Each ``[passages]``: ``loss``, the sum of its words' cross-entropies; ``words`` and ``right``, how many were
            asked for and said; ``order``, whether the order is right, NaN where none is told.
        """
        self.module.eval()
        said, order, truth = self._said(self.params, batch)
        right = (said.argmax(-1) == truth).to(said.dtype)
        return {
            "loss": _by_passage(F.cross_entropy(said, truth, reduction="none"), batch),
            "words": _asked(batch).sum(1),
            "right": _by_passage(right, batch),
            "order": right.new_full((batch.tasks,), torch.nan) if order is None else order.argmax(-1).eq(batch.order),
        }

    def _said(self, params: dict[str, Tensor], batch: Words) -> tuple[Tensor, Tensor | None, Tensor]:
        """Scores of words where they are asked for, those of both orders, and the words."""
        asked = _asked(batch)
        with _precision(batch.query_x.device):
            said, order = functional_call(self.module, params, (batch.query_x, asked))
        return _whole(said), None if order is None else _whole(order), batch.query_y[asked]

    def trained(self) -> LanguageModel:
        """The network with the weights as they are now, in evaluation mode."""
        model = copy.deepcopy(self.module).eval()
        model.load_state_dict(self.params)
        return model.to(next(iter(self.params.values())).device)

    @torch.no_grad()
    def curve(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        """Scores of all words at all places.

        Args:
            batch: passages.
            steps: ignored; nothing steps.

        Returns:
            ``[1, passages, places, vocabulary]``.
        """
        self.module.eval()
        return functional_call(self.module, self.params, (batch.query_x,))[0][None]

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        """Refused: a language model says words, and has no classes.

        Raises:
            MetaftError: always.
        """
        raise MetaftError(
            "a language model says words and tells no classes apart; give its run as a backbone: "
            "class-means:backbone=RUN, fine-tuning:backbone=RUN"
        )

    def adjoint_norms(self, batch: TaskBatch) -> list[float]:
        """Refused: without inner steps there is no adjoint.

        Raises:
            MetaftError: always.
        """
        raise MetaftError("training on words has no inner steps to diagnose")

    def scope_rows(self) -> list[list[str]]:
        """What is trained, a row a parameter."""
        return [[name, "×".join(map(str, p.shape)), "–", "trained"] for name, p in self.params.items()]

    def describe(self) -> dict[str, object]:
        """The settings that identify this learner."""
        return {
            "learner": self.name,
            "parameters": sum(p.numel() for p in self.params.values()),
            "adapts": 0,
            **({} if self.teacher is None else self.teacher.describe()),
            **(
                {}
                if self.loss is None
                else {name: getattr(self.loss, name) for name in ("temperature", "label_weight")}
            ),
        }


def _asked(batch: Words) -> Tensor:
    """``bool [passages, places]``: where words are asked for."""
    return batch.query_y != IGNORE


def _by_passage(values: Tensor, batch: Words) -> Tensor:
    """Sums over the words that are asked for, ``[passages]``."""
    return values.new_zeros(batch.tasks).index_add(0, _asked(batch).nonzero()[:, 0], values)


def _words(batch: TaskBatch) -> Words:
    if not isinstance(batch, Words):
        raise MetaftError(
            f"a language model is trained on passages (metaft.language.passages), not {type(batch).__name__}"
        )
    return batch


def _whole(scores: Tensor) -> Tensor:
    """Scores in no less than single precision, in which their logarithms are summed."""
    return scores.float() if scores.dtype == torch.bfloat16 else scores


def _precision(device: torch.device) -> AbstractContextManager[object]:
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()
