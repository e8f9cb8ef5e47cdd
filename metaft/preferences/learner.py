"""Tuning of a language model, as a learner that the training loop can drive."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from metaft.elementary.mode import Elementary
from metaft.errors import MetaftError
from metaft.inner.scope import table
from metaft.learners.learner import Predictor
from metaft.outer.mean_gradient import MetaGradient
from metaft.parts import told
from metaft.preferences.examples import Examples
from metaft.preferences.objective import TuningObjective
from metaft.preferences.policy import Params, Policy, portions
from metaft.tasks.batch import TaskBatch

EXAMPLES, REFERENCE, DIGEST = "examples", "reference", 20
"""What digests of examples, and what the reference said of each, are kept as; bytes of a digest."""


class Tuning:
    """A network that is tuned by an objective, in a scope of its parameters.

    The reference policy is the same network with what moves as it was at the start: frozen weights are held once. What
    the reference says of an example is asked once and kept in ``kept``, which a checkpoint holds: asked again beside
    other examples, it would be rounded otherwise.

    Args:
        model: the network; its weights are not copied, and never change.
        trains: the names of what moves.
        objective: what is descended.

    Raises:
        MetaftError: if nothing moves.
    """

    transductive = False

    def __init__(self, model: nn.Module, trains: Sequence[str], objective: TuningObjective) -> None:
        if not trains:
            raise MetaftError("nothing is tuned: the scope chooses no parameter")
        self.objective, self.trains = objective, tuple(trains)
        self.name = type(objective).__name__.lower()
        self.policy = Policy(model)
        self.params = self.policy.params
        self.start = {name: self.params[name].clone() for name in self.trains}
        self._draws = any(isinstance(part, nn.Dropout) and part.p > 0 for part in model.modules())
        self.kept: dict[str, Tensor] = {}
        self._watched: dict[str, float] = {}

    def meta_gradient(self, batch: TaskBatch) -> MetaGradient:
        """The mean loss of examples and its gradient.

        Args:
            batch: examples, see `metaft.preferences.examples`.

        Returns:
            Loss, gradients of what moves and the loss of each example.
        """
        examples = _examples(batch.drawn())
        reference = self.reference(examples)
        leaves = {name: self.params[name].detach().requires_grad_() for name in self.trains}
        keys, training = examples.keys, self._draws
        total = {name: torch.zeros_like(value) for name, value in leaves.items()}
        losses, seen = None, dict[str, Tensor]()
        self.policy.module.train(training)
        for rows, places in portions(examples.query_x):
            mode: Any = Elementary(_of_texts(keys, rows, examples)) if training else nullcontext()
            with torch.enable_grad(), mode:
                found, more = self._losses({**self.params, **leaves}, examples, rows, places, reference)
                part = found.sum() / examples.tasks
            # What a portion does not reach, such as the head of texts where words are said, has no slope.
            grads = torch.autograd.grad(part, list(leaves.values()), materialize_grads=True)
            torch._foreach_add_(list(total.values()), list(grads))
            losses = found.new_empty(examples.tasks) if losses is None else losses
            losses[rows] = found.detach()
            for name, value in more.items():
                seen.setdefault(name, value.new_empty((examples.tasks, *value.shape[1:])))[rows] = value.detach()
        self.policy.module.eval()
        assert losses is not None
        self._watched = summary(seen)
        nothing = losses.new_empty(0)
        return MetaGradient(losses.mean(), total, losses, nothing, nothing)

    def watched(self) -> dict[str, float]:
        """What the last batch told beside its loss, by name."""
        return self._watched

    @torch.no_grad()
    def scores(self, batch: Examples, params: Params | None = None) -> dict[str, Tensor]:
        """The loss of each example, and what else there is to tell, in evaluation mode.

        Args:
            batch: the examples.
            params: of the network; the learner's own if None.

        Returns:
            Each ``[examples, …]``.
        """
        reference = self.reference(batch)
        found: dict[str, Tensor] = {}
        for rows, places in portions(batch.query_x):
            losses, more = self._losses(params or self.params, batch, rows, places, reference)
            for name, value in {"loss": losses, **more}.items():
                found.setdefault(name, value.new_empty((batch.tasks, *value.shape[1:])))[rows] = value
        return found

    @torch.no_grad()
    def reference(self, batch: Examples) -> Tensor | None:
        """What the start says of examples; asked once of each.

        Args:
            batch: the examples.

        Returns:
            ``[examples, …]``; None if the objective asks nothing of it.
        """
        if not self.objective.has_reference:
            return None
        keys = [hashlib.sha1(row.cpu().numpy().tobytes(), usedforsecurity=False).digest() for row in batch.query_x]
        known = self._known()
        missing = torch.tensor([i for i, key in enumerate(keys) if key not in known], dtype=torch.long)
        start = {**self.params, **{name: value.to(batch.query_x.device) for name, value in self.start.items()}}
        for rows, places in portions(batch.query_x[missing]) if len(missing) else ():
            part = _cut(batch, missing[rows], places)
            said = self.objective.referred(self.policy, start, part).cpu()
            known |= {keys[row]: value for row, value in zip(missing[rows].tolist(), said, strict=True)}
        if len(missing):
            digests = torch.tensor(list(b"".join(known)), dtype=torch.uint8).view(-1, DIGEST)
            self.kept.update({EXAMPLES: digests, REFERENCE: torch.stack(list(known.values()))})
        return torch.stack([known[key] for key in keys]).to(batch.query_x.device)

    def _known(self) -> dict[bytes, Tensor]:
        """Digest of an example → what the reference said of it."""
        if not self.kept:
            return {}
        digests = bytes(self.kept[EXAMPLES].flatten().tolist())
        each = (digests[at : at + DIGEST] for at in range(0, len(digests), DIGEST))
        return dict(zip(each, self.kept[REFERENCE].cpu(), strict=True))

    def _losses(
        self, params: Params, batch: Examples, rows: Tensor, places: int, reference: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        rows = rows.to(batch.query_x.device)
        told = None if reference is None else reference[rows]
        return self.objective.losses(self.policy, params, _cut(batch, rows, places), told)

    def curve(self, batch: TaskBatch, steps: int | None = None) -> Tensor:
        """Scores of both answers of pairs; of single answers, how probable each is.

        Args:
            batch: the examples.
            steps: ignored; nothing steps.

        Returns:
            ``[1, pairs, 1, 2]``, or ``[1, texts, places, 1]``.
        """
        found = self.scores(_examples(batch))
        if "scores" in found:
            return found["scores"][None, :, None]
        return found["loss"].neg()[None, :, None, None].expand(1, *batch.query_x.shape[:2], 1)

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Predictor:
        """Refused: what is tuned says words, and has no classes.

        Raises:
            MetaftError: always.
        """
        raise MetaftError(
            f"a run of metaft tune ({self.name}) tells no classes apart; give it as a backbone: "
            "in-context:backbone=RUN, fine-tuning:backbone=RUN"
        )

    def adjoint_norms(self, batch: TaskBatch) -> list[float]:
        """Refused: without inner steps there is no adjoint.

        Raises:
            MetaftError: always.
        """
        raise MetaftError("tuning has no inner steps to diagnose")

    def scope_rows(self) -> list[list[str]]:
        """What is tuned, a row a parameter."""
        return [[*row[:2], "–", "tuned" if row[0] in self.trains else "frozen"] for row in table(self.params, (), ())]

    def describe(self) -> dict[str, object]:
        """The settings that identify this learner."""
        return {
            "learner": self.name,
            "objective": [type(self.objective).__name__, told(self.objective)],
            "parameters": sum(p.numel() for p in self.params.values()),
            "tuned": sum(self.params[name].numel() for name in self.trains),
            "adapts": 0,
        }


def summary(seen: dict[str, Tensor]) -> dict[str, float]:
    """Means over examples of what was told of them; of pairs' scores, who is right and by how much.

    Args:
        seen: name → ``[examples, …]``.

    Returns:
        Name → number.
    """
    found = {name: float(value.mean()) for name, value in seen.items() if value.dim() == 1}
    if (scores := seen.get("scores")) is not None:
        margin = scores[:, 0] - scores[:, 1]
        found |= {"accuracy": float((margin > 0).double().mean()), "margin": float(margin.mean())}
        found |= {"chosen": float(scores[:, 0].mean()), "rejected": float(scores[:, 1].mean())}
    if "sum" in found:
        found = {"perplexity": float((seen["sum"].sum() / seen["words"].sum()).exp())}
    return found


def _cut(batch: Examples, rows: Tensor, places: int) -> Any:
    """Some examples, as long as the longest of them."""
    shorter = lambda t: t[rows][..., :places] if t.shape[-1:] == batch.query_x.shape[-1:] and t.dim() > 1 else t[rows]
    return batch._each(shorter)


def _of_texts(keys: Tensor | None, rows: Tensor, batch: Examples) -> Tensor | None:
    """A key for every text of some examples: both answers of a pair draw the same."""
    if keys is None:
        return None
    return keys[rows].repeat_interleave(batch.query_x[0].numel() // batch.query_x.shape[-1])


def _examples(batch: TaskBatch) -> Examples:
    if not isinstance(batch, Examples):
        raise MetaftError(f"tuning takes examples of metaft.preferences, not {type(batch).__name__}")
    return batch
