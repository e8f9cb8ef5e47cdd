"""The changing part of a run: weights, optimiser, moving average, best so far; to and from a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.runs.checkpoint import Checkpoint, require_fit
from metaft.runs.older_names import as_named_now
from metaft.training.optimisers.adam import Adam
from metaft.training.optimisers.optimiser import OuterOptimiser, State

KEPT = "kept/"
"""What names begin with of what a learner keeps, among the entries of a checkpoint."""


@contextmanager
def kept_as_it_was(kept: dict[str, Tensor] | None) -> Iterator[None]:
    """Put back what a learner keeps from update to update: what is tried in between leaves no trace.

    Args:
        kept: its own dictionary; None if it keeps nothing.
    """
    before = dict(kept or {})
    try:
        yield
    finally:
        if kept is not None:
            kept.clear()
            kept.update(before)


@dataclass
class Progress:
    """Where a run stands.

    Args:
        iteration: meta-updates made.
        seconds: time spent on them.
        window_loss: sum of the losses since the last row of metrics.
        window: how many those are.
        best_score: best validation score, larger is better.
        best_iteration: when it was reached.
        metrics_offset: length of the metrics file, in bytes.
    """

    iteration: int = 0
    seconds: float = 0.0
    window_loss: float = 0.0
    window: int = 0
    best_score: float | None = None
    best_iteration: int | None = None
    metrics_offset: int = 0


@dataclass
class TrainState:
    """Meta-parameters and what trains them.

    Args:
        weights: the meta-parameters; updated in place.
        moments: what the optimiser keeps about each weight, such as running means of its gradient, by weight.
        decay: of the moving average; 0 for none.
        average: the moving average of the weights, or empty.
        optimiser: how an update moves the weights.
        best: the weights of the best validation, or empty.
        progress: where the run stands.
        kept: what the learner keeps from update to update beside its weights, such as a rollout; its own dictionary,
            which it changes in place. None if it keeps nothing.
    """

    weights: dict[str, Tensor]
    moments: dict[str, State]
    decay: float
    average: dict[str, Tensor]
    optimiser: OuterOptimiser = field(default_factory=Adam)
    best: dict[str, Tensor] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    kept: dict[str, Tensor] | None = None

    @classmethod
    def start(
        cls, params: dict[str, Tensor], decay: float, device: torch.device, optimiser: OuterOptimiser | None = None
    ) -> TrainState:
        """The state before the first update.

        Args:
            params: the learner's initial meta-parameters; copied.
            decay: of the moving average; 0 for none.
            device: where to train.
            optimiser: how an update moves the weights; Adam if None.

        Returns:
            The state.

        Raises:
            MetaftError: if there is nothing to train.
        """
        if not params:
            raise MetaftError("this learner has no meta-parameters to train; evaluate it as it is")
        weights = {name: p.detach().to(device, copy=True).contiguous() for name, p in params.items()}
        average = {name: w.clone() for name, w in weights.items()} if decay else {}
        return cls(weights, {}, decay, average, optimiser or Adam())

    @property
    def scored(self) -> dict[str, Tensor]:
        """The weights that are validated and handed out: the moving average where there is one."""
        return self.average or self.weights

    def share_of_latest(self, update: int) -> float:
        """The share of the latest weights in their moving average.

        Args:
            update: how many updates there are with this one. At first the share is large: with a long memory the
                random initial weights would linger.
        """
        return 1 - min(self.decay, (1 + update) / (10 + update))

    def pack_moments(self, names: Sequence[str]) -> tuple[Tensor, Tensor, Tensor] | None:
        """Make Adam's means of some weights one vector each, of which `moments` are views from now on.

        Args:
            names: of the weights.

        Returns:
            The means of gradient and squared gradient, ``[numbers]`` each, and the updates counted for each weight,
            ``[names]``; None, and nothing is changed, if there are no names, the weights are not all float32 or all
            float64, or they have not had the same number of updates.
        """
        weights = [self.weights[name] for name in names]
        moments = [self.moments.get(name) or self.optimiser.start(self.weights[name]) for name in names]
        precisions, updates = {weight.dtype for weight in weights}, {float(kept["step"]) for kept in moments}
        if len(precisions) != 1 or len(updates) != 1 or not precisions <= {torch.float32, torch.float64}:
            return None
        mean, square = (torch.cat([kept[entry].reshape(-1) for kept in moments]) for entry in ("exp_avg", "exp_avg_sq"))
        counts = torch.stack([kept["step"] for kept in moments])
        sizes = [weight.numel() for weight in weights]
        views = zip(names, weights, counts, mean.split(sizes), square.split(sizes), strict=True)
        for name, weight, count, one, other in views:
            self.moments[name] = {"step": count, "exp_avg": one.view_as(weight), "exp_avg_sq": other.view_as(weight)}
        return mean, square, counts

    @torch.no_grad()
    def step(self, grads: dict[str, Tensor], lr: float, gathered: Mapping[str, Tensor] | None = None) -> None:
        """One update, and one of the moving average.

        Args:
            grads: named like the weights; a weight without one stays as it is.
            lr: the learning rate.
            gathered: new values of weights that are not trained, such as running statistics.

        Raises:
            MetaftError: if a gradient has another shape than its weight.
        """
        named = [name for name in self.weights if name in grads]
        weights = [self.weights[name] for name in named]
        for name, weight in zip(named, weights, strict=True):
            if grads[name].shape != weight.shape:  # the function below would read beyond it
                raise MetaftError(
                    f"the gradient of {name!r} has shape {tuple(grads[name].shape)}, the weight {tuple(weight.shape)}"
                )
            if name not in self.moments:
                self.moments[name] = self.optimiser.start(weight)
        self.optimiser.step(weights, [grads[name] for name in named], [self.moments[name] for name in named], lr)
        for name, value in (gathered or {}).items():
            self.weights[name].copy_(value)
        self.progress.iteration += 1
        if self.average:
            share = self.share_of_latest(self.progress.iteration)
            torch._foreach_lerp_(list(self.average.values()), list(self.weights.values()), share)

    def keep_best(self, score: float) -> bool:
        """Remember the scored weights if this validation is the best so far.

        Args:
            score: larger is better; the earliest wins a tie.

        Returns:
            Whether it is.
        """
        if self.progress.best_score is not None and not score > self.progress.best_score:
            return False
        self.progress.best_score, self.progress.best_iteration = score, self.progress.iteration
        self.best = {name: w.clone() for name, w in self.scored.items()}
        return True

    def checkpoint(self) -> Checkpoint:
        """The state as it can be written to disk."""
        optimiser = {"random/torch": torch.get_rng_state()}
        device = next(iter(self.weights.values())).device
        if device.type == "cuda":
            optimiser["random/cuda"] = torch.cuda.get_rng_state(device)
        for name, kept in self.moments.items():
            for entry, value in kept.items():
                optimiser[f"{entry}/{name}"] = value.clone() if value._is_view() else value
        optimiser |= {f"{KEPT}{name}": value for name, value in (self.kept or {}).items()}
        return Checkpoint(asdict(self.progress), self.weights, self.average, self.best, optimiser)

    def restore(self, stored: Checkpoint) -> None:
        """Become the state of a checkpoint.

        Args:
            stored: of the same architecture.

        Raises:
            MetaftError: if it is of another architecture or was trained with other settings.
        """
        where: Path | str = stored.path or "given"
        progress, stored = _progress(stored, where), as_named_now(stored, self.weights)
        require_fit(stored.weights, self.weights, where)
        if bool(stored.average) != bool(self.average):
            raise MetaftError(f"checkpoint {where} and this run differ in whether weights are averaged")
        for part in (stored.average, stored.best):
            if part:
                require_fit(part, self.weights, where)
        optimiser, device = dict(stored.optimiser), next(iter(self.weights.values())).device
        moments = {n: _moments(optimiser, n, self.optimiser.like(weight), where) for n, weight in self.weights.items()}
        try:
            torch.set_rng_state(optimiser.pop("random/torch"))
            if (cuda := optimiser.pop("random/cuda", None)) is not None and device.type == "cuda":
                torch.cuda.set_rng_state(cuda, device)
        except (KeyError, TypeError, RuntimeError):
            raise MetaftError(f"checkpoint {where} has no state of the random numbers") from None
        kept = {
            name: optimiser.pop(name) for name in list(optimiser) if name.startswith(KEPT) and self.kept is not None
        }
        if optimiser:
            raise MetaftError(f"checkpoint {where} has an unknown entry {min(optimiser)!r} of the optimiser")
        for to, own in ((self.weights, stored.weights), (self.average, stored.average)):
            for name, tensor in to.items():
                tensor.copy_(own[name])
        if self.kept is not None:
            self.kept.clear()
            self.kept.update({name.removeprefix(KEPT): value.to(device) for name, value in kept.items()})
        self.best = {name: w.to(device) for name, w in stored.best.items()}
        self.moments = {n: {entry: value.to(device) for entry, value in m.items()} for n, m in moments.items() if m}
        self.progress = progress


def _progress(stored: Checkpoint, where: object) -> Progress:
    """Where the run stands; a stranger's checkpoint may say anything."""
    known = {entry.name: entry for entry in fields(Progress)}
    for name, value in stored.progress.items():
        kinds = (int, float) if name in ("seconds", "window_loss", "best_score") else (int,)
        absent = name.startswith("best_") and value is None
        sound = absent or (type(value) in kinds and (value >= 0 or name in ("window_loss", "best_score")))
        if name not in known or not sound or (type(value) is int and value >= 2**63):
            raise MetaftError(f"checkpoint {where} does not say where its run stands: {name} = {str(value)[:40]}")
    return Progress(**stored.progress)


def _moments(optimiser: dict[str, Tensor], name: str, like: State, where: object) -> State:
    """Take what is kept about one weight out of the stored entries: all that there should be, or nothing."""
    found = {entry: optimiser.pop(f"{entry}/{name}") for entry in like if f"{entry}/{name}" in optimiser}
    sound = all(e in found and (found[e].shape, found[e].dtype) == (t.shape, t.dtype) for e, t in like.items())
    if found and not sound:
        raise MetaftError(f"checkpoint {where} is of another optimiser: see {name!r}")
    return found
