"""A published network of images as one of ours: images in, features of one of its layers, a linear head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from metaft.errors import MetaftError, nearest
from metaft.models.anatomy import COMPOSITE
from metaft.models.backbones.preparation import Preparation

EXAMPLES = 2


class ImageBackbone(nn.Module):
    """The features of a layer of a published network, averaged over positions, and a linear head.

    By default those are what its own classifier is given. Layers behind the one that is asked for do not run, and are
    left out. Nothing works in place, so that tasks can be computed together.

    Args:
        model: the network, with its own classifier; changed.
        classifier: the name of that layer.
        preparation: what it wants of an image.
        outputs: how many numbers the head answers with.
        layer: whose answer the features are; None for what the classifier is given.
        whose: stands at the beginning of a message.

    Raises:
        MetaftError: if there is no such layer, it does not run, or holds no features.
    """

    head_layer = "head"
    is_published = True
    """Large, and others' own: features of an image are kept."""

    def __init__(
        self,
        model: nn.Module,
        classifier: str,
        preparation: Preparation,
        outputs: int,
        layer: str | None = None,
        whose: str = "the network",
    ) -> None:
        super().__init__()
        names = [name for name, _ in model.named_modules() if name]
        if layer is not None and layer not in names:
            hint = nearest(layer, names).partition("; known")[0]
            raise MetaftError(f"{whose} has no layer {layer!r}{hint}; it has {', '.join(names)}")
        for part in model.modules():
            if getattr(part, "inplace", False):
                part.inplace = False  # type: ignore[assignment]
        self.preparation, self.layer, self.model, self.whose = preparation, layer, model, whose
        if layer is None:
            _replace(model, classifier)
        found = self._probed(whose)
        self.channels_last = found.dim() == 4 and found.shape[1] == found.shape[2] != found.shape[3]
        self.head = nn.Linear(self._pooled(found).shape[1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Answers for images.

        Args:
            x: ``[examples, 1 or 3, height, width]`` in [0, 1].

        Returns:
            ``[examples, outputs]``.
        """
        return self.head(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """What the head is given.

        Args:
            x: as in `forward`.

        Returns:
            ``[examples, width]``.
        """
        return self._pooled(self._run(self.preparation(x)))

    def identity(self) -> str:
        """All that its answers depend on beside its weights and statistics."""
        prepared = f"{self.preparation.size} {self.preparation.interpolation}"
        return f"{self.whose} {self.layer} {prepared} {self.channels_last} {self.model!r}"

    def _run(self, prepared: Tensor) -> Tensor:
        """The layer's answer, or the network's without its classifier."""
        if self.layer is None:
            return _first(self.model(prepared))
        # Registered last, and for this pass alone: what others have hooked to the layer has been done by then.
        stop = self.model.get_submodule(self.layer).register_forward_hook(_stop)
        try:
            self.model(prepared)
        except _Reached as reached:
            return _first(reached.value)
        finally:
            stop.remove()
        raise MetaftError(f"layer {self.layer!r} does not run in the network's forward pass; name another")

    def _pooled(self, value: Tensor) -> Tensor:
        if value.dim() == 3:
            return value.mean(1)
        if value.dim() > 3:
            return value.mean((1, 2)) if self.channels_last else value.flatten(2).mean(2)
        return value

    @torch.no_grad()
    def _probed(self, whose: str) -> Tensor:
        """What the layer answers for random images; layers that do not run for that are left out."""
        size, training = self.preparation.size, self.model.training
        x = torch.rand(EXAMPLES, 3, size, size, generator=torch.Generator().manual_seed(0))
        ran: set[str] = set()
        hooks = [
            part.register_forward_pre_hook(lambda *_, name=name: ran.add(name))
            for name, part in self.model.named_modules(remove_duplicate=False)
        ]
        self.model.eval()
        try:
            found = self._run(x)
        except (RuntimeError, AssertionError, ValueError) as error:
            if isinstance(error, MetaftError):
                raise MetaftError(f"{whose}: {error.message}") from None
            raise MetaftError(f"{whose} takes no images of {size}×{size}: {error}; give another size=") from None
        finally:
            for hook in hooks:
                hook.remove()
        if found.dim() < 2 or len(found) != EXAMPLES:
            raise MetaftError(
                f"{whose}: layer {self.layer!r} holds {list(found.shape)} for {EXAMPLES} images, and not features of "
                "each; name another"
            )
        left_out = _left_out(self.model, ran)
        if left_out and not torch.equal(self._run(x), found):  # one is used though it does not run
            for owner, name, part in left_out:
                setattr(owner, name, part)
        self.model.train(training)
        return found


class _Reached(Exception):
    """No mistake: the layer has answered, and what comes behind it is not asked for."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


def _stop(module: nn.Module, inputs: Any, output: Any) -> None:
    raise _Reached(output)


def _first(value: Any) -> Tensor:
    while isinstance(value, tuple | list) and value:  # attention gives its weights as well
        value = value[0]
    if not isinstance(value, Tensor):
        raise MetaftError(f"it answers with {type(value).__name__}, not with a tensor; name another layer")
    return value


def _replace(model: nn.Module, name: str) -> None:
    owner, _, own = name.rpartition(".")
    setattr(model.get_submodule(owner), own, nn.Identity())


def _left_out(model: nn.Module, ran: set[str]) -> list[tuple[nn.Module, str, nn.Module]]:
    """Put nothing in the place of layers with parameters that did not run; what was where, to bring it back."""
    left: list[tuple[nn.Module, str, nn.Module]] = []
    inside = tuple(f"{n}." for n, part in model.named_modules() if isinstance(part, COMPOSITE) and n in ran)
    for name, part in list(model.named_modules()):
        below = any(other == name or other.startswith(f"{name}.") for other in ran)
        gone = any(part is other for _, _, held in left for other in held.modules())
        if name and not below and not gone and not name.startswith(inside) and any(True for _ in part.parameters()):
            owner, _, own = name.rpartition(".")
            left.append((model.get_submodule(owner), own, part))
            _replace(model, name)
    return left
