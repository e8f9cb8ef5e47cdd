"""``metaft pretrain``: a classifier of all training classes, or a language model, in the loop of meta-training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metaft.assembly.frozen_base import frozen_base
from metaft.assembly.meta_learner import Parts
from metaft.assembly.networks import build_classifier
from metaft.assembly.tasks import SMALLEST, build_family
from metaft.assembly.word_teacher import word_teacher
from metaft.data.class_lists import require_disjoint
from metaft.distillation.loss import DistillationLoss
from metaft.distributed.place import place
from metaft.errors import MetaftError
from metaft.language.build import language_model, passages
from metaft.language.learner import LanguageLearner
from metaft.language.passages import Passages
from metaft.learners.supervised import Supervised
from metaft.models import require_known
from metaft.settings.pretrain import PretrainConfig, SupervisedConfig
from metaft.tasks.episodes import Episodes
from metaft.tasks.minibatches import Minibatches
from metaft.training.loop import TrainResult, meta_train


def require_place(config: PretrainConfig) -> None:
    """Refuse several ranks for what one process trains: a classifier's batch norm sees the whole minibatch.

    Args:
        config: the settings.

    Raises:
        MetaftError: if several ranks were started for a classifier.
    """
    if place().size > 1 and not config.on_words:
        raise MetaftError(
            "metaft pretrain divides passages of a corpus among ranks (--objective masked), and no classes: leave "
            "torchrun out"
        )


def build_language(config: PretrainConfig) -> Parts[Passages, LanguageLearner]:
    """Passages of a corpus, those of its held-out part, and the network with its initial weights.

    Args:
        config: the settings.

    Returns:
        The parts.

    Raises:
        MetaftError: for an unknown corpus, tokenizer or model, a corpus that is absent, or a teacher that does not fit.
    """
    train, validation = passages(config, "train"), passages(config, "val")
    own = train.corpus.tokenizer
    taught: dict[str, Any] = {}
    if config.teacher is not None:
        loss = DistillationLoss(temperature=config.temperature, label_weight=config.label_weight)
        taught = {"teacher": word_teacher(config.teacher, train), "loss": loss}
    model = language_model(config, own.vocabulary, own.bounds()[1])
    return Parts(train, validation, LanguageLearner(model, **taught))


def build_pretraining(config: SupervisedConfig) -> Parts[Minibatches, Supervised]:
    """Data, validation tasks over other classes, and the network with its initial weights.

    Args:
        config: the settings.

    Returns:
        The parts.

    Raises:
        MetaftError: for an unknown data set or model, data that is absent, or that is not images with classes.
    """
    require_known(config.model)
    drawn = build_family(config.model_copy(update=SMALLEST), "train", config.seed)
    validation = build_family(config, "val", config.seed)
    if not isinstance(drawn, Episodes):
        raise MetaftError(f"pretraining tells classes apart; {config.dataset} is not a data set of classes")
    if isinstance(validation, Episodes) and not drawn.images.shared:
        require_disjoint({"train": drawn.images.names, "val": validation.images.names}, config.dataset)
    train = Minibatches(drawn.images, config.shift, config.seed, config.dataset, "train", drawn.details)
    train.batch(0, config.batch_size)  # too few images for a minibatch: say so before any work
    learner = Supervised(build_classifier(config, train), label_smoothing=config.label_smoothing)
    return Parts(train, validation, learner, frozen_base(config.model, learner.module, learner.params))


def pretrain(
    config: PretrainConfig,
    out: str | Path,
    *,
    command: str | None = None,
    parts: Parts[Any, Any] | None = None,
    **how: Any,
) -> TrainResult:
    """Train a classifier, or a language model, into a run directory; the best by validation is kept: by few-shot
    accuracy on validation classes, or by perplexity on held-out text.

    Args:
        config: the settings.
        out: the run directory.
        command: what to record as the command.
        parts: as ``build_pretraining`` or ``build_language`` made them.
        how: ``resume``, ``overwrite`` and ``progress``, as for ``meta_train``.

    Returns:
        What the run came to.

    Raises:
        MetaftError: as ``meta_train``; or if several ranks were started for a classifier.
        StoppedRun: as ``meta_train``.
    """
    require_place(config)
    made, typed = (
        parts or (build_language if config.on_words else build_pretraining)(config),
        command or f"metaft pretrain --out {out}",
    )
    return meta_train(
        made.learner, made.train, out=out, validation=made.validation, config=config, command=typed, base=made.base,
        **how,
    )  # fmt: skip
