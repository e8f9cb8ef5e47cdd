"""What a run's training classes look like to its network, for learners that centre features (SimpleShot)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from metaft.assembly.tasks import SMALLEST, build_family
from metaft.errors import MetaftError
from metaft.learners.class_means import base_mean
from metaft.plugins import is_network
from metaft.runs.recorded import recorded_config
from metaft.settings.config import RunConfig
from metaft.settings.learner import ModelSettings
from metaft.settings.pretrain import PretrainConfig, SupervisedConfig
from metaft.tasks.episodes import Episodes


def base_feature(path: str | Path, model: nn.Module, options: Mapping[str, str], config: RunConfig) -> Tensor:
    """The mean feature of the classes that a run was trained on, or of the training classes of the data set.

    Args:
        path: the run directory of a pretrained or meta-trained network; or that of a language model, or a pretrained
            model's name, which say no classes.
        model: that network.
        options: of the learner; ``features`` and ``combine`` say which features.
        config: how the test tasks are drawn.

    Returns:
        ``[width]``, over all training examples.

    Raises:
        MetaftError: if the run was not trained on classes, these are absent, or its network has no running statistics.
    """
    own = config if is_network(str(path)) else recorded_config(path)
    network = own.model if isinstance(own, ModelSettings) and own is not config else str(path)
    if isinstance(own, PretrainConfig) and own.on_words:
        own = config
    if not isinstance(own, RunConfig | SupervisedConfig):
        raise MetaftError(f"centre=base: {path} does not say which classes its network was trained on")
    family = build_family(own.model_copy(update=SMALLEST), "train", own.seed, networks=[network])
    if not isinstance(family, Episodes):
        raise MetaftError(f"centre=base: {path} was trained on {own.dataset}, which has no classes")
    how = {name: options[name] for name in ("features", "combine") if name in options}
    return base_mean(model, family.images, **how)  # type: ignore[arg-type]
