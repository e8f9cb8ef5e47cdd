"""A trained network from a run directory, for learners that start from one."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from metaft import models
from metaft.assembly.meta_learner import load_run, run_config
from metaft.assembly.networks import build_classifier, build_model, with_addition
from metaft.assembly.shape import of_classifier, of_learner
from metaft.data.texts.tokenizer import Tokenizer, of_file
from metaft.distillation.student import MAP
from metaft.errors import MetaftError, nearest
from metaft.inner.adapt import network
from metaft.language.build import language_model
from metaft.learners.maml import MAML
from metaft.learners.metric.episodic import EpisodicLearner
from metaft.learners.supervised import Supervised
from metaft.models.pretrained import PACKAGES, STORIES
from metaft.plugins import FOREIGN, foreign
from metaft.preferences.policy import VALUE
from metaft.runs import checkpoint
from metaft.runs.directory import RunDirectory, read_record
from metaft.runs.frozen_base import filled
from metaft.runs.own_adapters import with_own_adapters
from metaft.runs.recorded import recorded_config
from metaft.settings.distill import DistillConfig, GenerationConfig
from metaft.settings.pretrain import PretrainConfig, SupervisedConfig
from metaft.settings.tune import NOTHING, TuneConfig


def load_backbone(path: str | Path, weights: str = "best") -> nn.Module:
    """The network of a run with its trained weights, in evaluation mode.

    Args:
        path: a run directory of ``metaft pretrain``, ``metaft meta-train``, ``metaft tune`` or ``metaft distill`` (its
            best generation by validation), or of one generation.
        weights: "best" by validation (the last ones of a run that was never validated), or "last".

    Returns:
        The network; batch norm has the running statistics of pretraining, or those that a learner that compares
        gathered. With an inner loop none are gathered, and batch norm serves by the statistics of a batch alone.

    Raises:
        MetaftError: if there is no such run, it has no checkpoint yet, or that does not fit the run's settings.
    """
    config = recorded_config(path)
    if isinstance(config, TuneConfig):
        return _tuned(path, config, weights)
    if not isinstance(config, SupervisedConfig):
        return _meta_trained(path, weights)
    if isinstance(config, PretrainConfig) and config.on_words:
        return _language(path, config, weights)
    if isinstance(config, DistillConfig) and not isinstance(config, GenerationConfig):
        return load_backbone(best_generation(path), weights)
    run = RunDirectory(path)
    stored = checkpoint.load_newest(run.checkpoints)
    family = of_classifier(path, run.record()).family
    learner = Supervised(build_classifier(with_own_adapters(config, path), family))
    stored = filled(stored, learner.params)
    chosen = {name: value for name, value in stored.chosen(weights).items() if not name.startswith(MAP)}
    checkpoint.require_fit(chosen, learner.params, stored.path)
    learner.params = chosen
    return learner.trained()


def _language(path: str | Path, config: PretrainConfig, weights: str) -> nn.Module:
    """The transformer of a language model, with a fresh head; what says words is left out."""
    run = RunDirectory(path)
    stored, own = checkpoint.load_newest(run.checkpoints), of_file(run.path, str(path))
    model = language_model(config, own.vocabulary, own.bounds()[1])
    chosen = stored.chosen(weights)
    checkpoint.require_fit(chosen, dict(model.named_parameters()), stored.path)
    model.load_state_dict(chosen)
    found = model.with_head(config.seed).eval()
    found.tokenizer = Tokenizer(own.text, own.name)
    return found


def tuned_network(config: TuneConfig) -> nn.Module:
    """The network that is tuned, with its initial weights.

    Args:
        config: the settings.

    Returns:
        The network, with what is put into it and a head of one output, in evaluation mode.

    Raises:
        MetaftError: if there is no such network, or it has no place for an addition.
    """
    if foreign(config.model):
        model = models.build(config.model, outputs=1, seed=config.seed)
    elif Path(config.model).is_dir():
        model = load_backbone(config.model)
    else:
        known = (STORIES, *(f"{FOREIGN}{package}" for package in PACKAGES))
        raise MetaftError(f"unknown model {config.model!r}{nearest(config.model, known)}; or a run directory")
    addition = None if config.addition == NOTHING else config.addition
    return with_addition(model, addition, "nothing", config.seed).eval()


def _tuned(path: str | Path, config: TuneConfig, weights: str) -> nn.Module:
    model = tuned_network(with_own_adapters(config, path))
    own = dict(model.named_parameters())
    stored = filled(checkpoint.load_newest(RunDirectory(path).checkpoints), own)
    chosen = {name: value for name, value in stored.chosen(weights).items() if not name.startswith(VALUE)}
    checkpoint.require_fit(chosen, own, stored.path)
    model.load_state_dict(chosen, strict=False)
    return model


def best_generation(path: str | Path) -> Path:
    """The run directory of the generation that validation preferred.

    Args:
        path: of a distillation.

    Raises:
        MetaftError: if that is not finished.
    """
    folder = Path(path)
    best = read_record(folder).get("best_generation")
    if type(best) is not int:
        raise MetaftError(
            f"the distillation {path} is not finished, so no generation is the best: go on with metaft distill "
            f"--resume --out {path}, or name one, such as {folder / 'generation-0'}"
        )
    return folder / f"generation-{best}"


def calibrated(model: nn.Module, images: Tensor) -> nn.Module:
    """A copy of a network whose batch norm has the running statistics of some images; without them, a random network
    has those of its construction, mean 0 and variance 1.

    Args:
        model: the network.
        images: of *training* classes, ``[images, *input]``, float.

    Returns:
        The copy, in evaluation mode.
    """
    found = copy.deepcopy(model).train()
    for part in found.modules():
        if isinstance(part, _BatchNorm):
            part.reset_running_stats()
            part.momentum = 1.0
    with torch.no_grad():
        found(images)
    return found.eval()


def _meta_trained(path: str | Path, weights: str) -> nn.Module:
    family = of_learner(path, run_config(path)).family
    config, learner = load_run(path, weights, family)
    if isinstance(learner, EpisodicLearner):
        # Its head, which that learner left out, is fresh.
        model = build_model(with_own_adapters(config, path), family, config.seed)
        model.load_state_dict(learner.network(), strict=False)
        if learner.features.mode == "running":
            return model.eval()
    elif isinstance(learner, MAML):
        model = copy.deepcopy(learner.model.module)
        # What is learned for each step: as before the first one, where fine-tuning begins.
        own = {n: p[0] if n in learner.per_step else p for n, p in network(learner.params).items()}
        model.load_state_dict(own, strict=False)
    else:
        raise MetaftError(f"{path} holds a {learner.name} learner, which has no network to start from")
    for part in model.modules():
        if isinstance(part, _BatchNorm):
            part.track_running_stats = False
            part.running_mean = part.running_var = part.num_batches_tracked = None
    return model.eval()
