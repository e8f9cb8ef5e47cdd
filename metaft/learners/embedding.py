"""From the images of a task to their features, by a network that stays as it is."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaft.data.texts.labelled_texts import PADDING, padded_length
from metaft.errors import MetaftError, nearest
from metaft.inner.batching import over_tasks
from metaft.learners.kept_features import kept_features
from metaft.models.comparing import of_texts
from metaft.models.functional import BatchNormMode, Functional, Params
from metaft.models.layers import PENULTIMATE, RAW, Combine, LayerFeatures
from metaft.models.quantised_layers import packed_weights
from metaft.models.text_vector import reads_texts

Centre = Literal["none", "support", "base"]
Normalise = Literal["none", "l2"]
MOST_VALUES, MOST_WORDS = 2**18, 2**13
"""Input values, or places of texts, in one forward pass on a CPU, whatever the number of tasks: it bounds memory."""
MOST_KEPT = 2**25
"""Numbers of the texts' or images' features that are kept for tasks to come: 128 MiB of float32."""


class Embedding:
    """Features of support and query sets; centred, then normalised, as in SimpleShot (Wang et al. 2019, §3.1).

    Args:
        model: the network; copied, and run in evaluation mode. None for raw inputs.
        features: which layers (see ``LayerFeatures``); by default the penultimate, raw inputs without a network.
        combine: how several layers become one vector.
        batch_norm: "running", "inductive" (the support set's statistics) or "transductive".
        centre: what is subtracted: "none", the task's mean "support" feature, or the mean of the "base" classes.
        normalise: "none" or "l2" (to unit length).
        base: ``[width]``, the mean feature of the training classes.

    Raises:
        MetaftError: if an option is unknown, a layer does not exist, or `base` is missing.
    """

    def __init__(
        self,
        model: nn.Module | None,
        features: str | None = None,
        combine: Combine = "concatenate",
        batch_norm: BatchNormMode = "running",
        centre: Centre = "none",
        normalise: Normalise = "none",
        base: Tensor | None = None,
    ) -> None:
        for name, value, known in (("centre", centre, Centre), ("normalise", normalise, Normalise)):
            if value not in get_args(known):
                raise MetaftError(f"unknown {name} {value!r}{nearest(value, get_args(known))}")
        if (centre == "base") != (base is not None):
            raise MetaftError(
                "centre='base' needs the mean feature of the training classes: give backbone=DIRECTORY of a run "
                "or backbone=hf:minilm (in Python, base=base_mean(…))"
                if base is None
                else f"a base mean is given and centre={centre!r} does not use it; say centre='base'"
            )
        self.features = features or (RAW if model is None else PENULTIMATE)
        self.combine, self.centre, self.normalise, self.base = combine, centre, normalise, base
        self.network = Functional(LayerFeatures(model, self.features, combine), batch_norm)
        self._weights: list[tuple[Tensor, int]] = []
        self._known: dict[bytes, Tensor] = {}
        self._width = 0
        self._blind_to_padding = RAW not in self.features and reads_texts(model)
        self._keeps_images = RAW not in self.features and getattr(model, "is_published", False)
        told = getattr(model, "identity", None) if self._blind_to_padding or self._keeps_images else None
        self._identity = f"{told()} {self.features} {combine}" if told is not None else ""

    @torch.no_grad()
    def support(self, params: Params, x: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the support sets.

        Args:
            params: of the network.
            x: ``[tasks, support, *input]``.
            counted: ``bool [tasks, support]``, false for padding.

        Returns:
            ``[tasks, support, width]``, and the centre of each task, ``[tasks or 1, 1, width]``.
        """
        if self._by_task:
            found = over_tasks(lambda x, counted: self.network(params, x, counted=counted), (0, 0))(x, counted)
        else:
            found = self.all(params, x)
        if self.centre == "base":
            centre = self._fitting_base(found)
        elif self.centre == "support":
            weight = counted.unsqueeze(-1).to(found.dtype)
            centre = (found * weight).sum(-2, keepdim=True) / weight.sum(-2, keepdim=True)
        else:
            centre = found.new_zeros(1, 1, 1)
        return self.transformed(found, centre), centre

    @torch.no_grad()
    def queries(
        self, params: Params, support_x: Tensor, counted: Tensor, x: Tensor, query_counted: Tensor, centre: Tensor
    ) -> Tensor:
        """Features of the query sets.

        Args:
            params: of the network.
            support_x: ``[tasks, support, *input]``, for batch norm.
            counted: ``bool [tasks, support]``.
            x: ``[tasks, queries, *input]``.
            query_counted: ``bool [tasks, queries]``, false for padding.
            centre: as `support` gave it.

        Returns:
            ``[tasks, queries, width]``.
        """
        if self._by_task:
            answer = lambda s, q, sc, qc: self.network.query(params, s, q, sc, qc)
            found = over_tasks(answer, (0, 0, 0, 0))(support_x, x, counted, query_counted)
        else:
            found = self.all(params, x)
        return self.transformed(found, centre)

    def describe(self) -> dict[str, object]:
        """Its settings, flat."""
        normalises = self.network.normalises
        return {
            "features": self.features,
            **({"combine": self.combine} if "+" in self.features else {}),
            "batch_norm": self.network.batch_norm if normalises else "none",
            "centre": self.centre,
            "normalise": self.normalise,
        }

    @property
    def _by_task(self) -> bool:
        return self.network.normalises and self.network.batch_norm != "running"

    @torch.no_grad()
    def all(self, params: Params, x: Tensor) -> Tensor:
        """Features of examples that all pass through alike, so that tasks need not be told apart.

        Args:
            params: of the network.
            x: ``[tasks, examples, *input]``.

        Returns:
            ``[tasks, examples, width]``, neither centred nor normalised.
        """
        flat = x.flatten(0, 1)
        if self._blind_to_padding and not flat.is_floating_point() and flat.device.type == "cpu":
            return of_texts(partial(self._texts, params), flat).unflatten(0, x.shape[:2])
        if self._keeps_images and flat.device.type == "cpu":
            return self._images(params, flat).unflatten(0, x.shape[:2])
        return self._apart(params, flat).unflatten(0, x.shape[:2])

    def _apart(self, params: Params, flat: Tensor) -> Tensor:
        """Features of examples, as many at a time as memory bears."""
        size = max(1, MOST_VALUES // max(flat[0].numel(), 1)) if flat.device.type == "cpu" else len(flat)
        return torch.cat([self.network(params, part) for part in flat.split(size)])

    def _images(self, params: Params, images: Tensor) -> Tensor:
        """Each image is computed once, though it stands in many tasks: published networks are large."""
        known = self._kept(params)
        names = [hashlib.sha256(image.contiguous().numpy().data).digest() for image in images]
        new = {name: i for i, name in enumerate(names) if name not in known}
        if new:
            found = self._apart(params, images[torch.tensor(list(new.values()))])
            self._width = found.shape[-1]
            known |= dict(zip(new, found, strict=True))
        return torch.stack([known[name] for name in names])

    def _kept(self, params: Params) -> dict[bytes, Tensor]:
        """What is known of examples that were seen, while the weights are the same."""
        now = [(value, value._version) for value in params.values()]  # a change in place counts a version on
        alike = len(now) == len(self._weights) and all(
            value is other and version == before
            for (value, version), (other, before) in zip(now, self._weights, strict=True)
        )
        if not alike:
            weights = {**params, **packed_weights(self.network.module)}
            weights |= self.network.buffers if self._keeps_images else {}
            self._weights, self._known = now, kept_features(self._identity, weights)
        if len(self._known) * self._width > MOST_KEPT:
            self._known.clear()
        return self._known

    def _texts(self, params: Params, ids: Tensor) -> Tensor:
        """Each text is computed once, though it stands in many tasks; texts of like length together."""
        known = self._kept(params)
        different, places = torch.unique(ids, dim=0, return_inverse=True)
        lengths = (different != PADDING).sum(-1)
        names = [row[:length].tobytes() for row, length in zip(different.numpy(), lengths.tolist(), strict=True)]
        new = torch.tensor([i for i, name in enumerate(names) if name not in known], dtype=torch.int64)
        new = new[lengths[new].argsort(stable=True)]
        for part in new.split(max(1, MOST_WORDS // max(ids.shape[-1], 1))) if len(new) else ():
            longest = min(padded_length(int(lengths[part[-1]])), ids.shape[-1])
            found = self.network(params, different[part, :longest])
            self._width = found.shape[-1]
            known |= {names[i]: vector for i, vector in zip(part.tolist(), found, strict=True)}
        return torch.stack([known[name] for name in names])[places]

    def transformed(self, found: Tensor, centre: Tensor) -> Tensor:
        """Centre and normalise features.

        Args:
            found: ``[tasks, examples, width]``.
            centre: ``[tasks or 1, 1, width]``.

        Returns:
            ``[tasks, examples, width]``.

        Raises:
            MetaftError: for texts without a network.
        """
        if not found.is_floating_point():
            raise MetaftError(
                "texts without a network are numbers of words, which are not near or far; give a network, such as "
                "backbone=hf:minilm or backbone=DIRECTORY (in Python, model=…)"
            )
        if self.centre != "none":
            found = found - centre
        return F.normalize(found, dim=-1) if self.normalise == "l2" else found

    def _fitting_base(self, found: Tensor) -> Tensor:
        assert self.base is not None
        if self.base.shape != found.shape[-1:]:
            raise MetaftError(f"base must have shape [{found.shape[-1]}] like a feature, got {list(self.base.shape)}")
        return self.base.to(found)[None, None]
