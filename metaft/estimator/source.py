"""Where a learner comes from, and what it reads: a run directory, a learner's name with options, or a saved folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from metaft import learners
from metaft.assembly.backbone import best_generation
from metaft.assembly.learners import PATTERN, make_learner, weights_digest
from metaft.assembly.meta_learner import run_config
from metaft.assembly.networks import room_for_words
from metaft.assembly.shape import SHORTEST, Shape, no_texts, of_classifier, of_learner
from metaft.data.texts import tokenizer
from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError
from metaft.estimator.images import ImageInputs, Ink
from metaft.estimator.inputs import Inputs, kind_of, listed
from metaft.estimator.numbers import NumberInputs
from metaft.estimator.texts import TextInputs
from metaft.estimator.written_texts import WrittenLookup, WrittenTexts
from metaft.learners.embedding import Embedding
from metaft.learners.learner import Learner
from metaft.learners.spec import RANDOM, Spec, parse
from metaft.models.backbones.source import source as image_source
from metaft.plugins import foreign, image_network, is_foreign, is_network
from metaft.prompting.pattern_files import find_pattern
from metaft.runs.directory import read_record
from metaft.runs.reading import entries
from metaft.runs.recorded import recorded_config
from metaft.settings.config import CommandSettings, RunConfig, validated
from metaft.settings.defaults import BY_DATASET, KINDS
from metaft.settings.distill import DistillConfig, GenerationConfig
from metaft.settings.pretrain import PretrainConfig
from metaft.tables import LEARNERS
from metaft.tasks.family import Kind
from metaft.tasks.table import COLUMNS, Columns

DRAWN = ("characters", "digits")
"""Kinds of data sets whose images are bright ink on black paper."""
PUBLISHED_SIZE = 224
"""Likewise for a published network, which most are trained with."""
PICTURE_SIZE = int(BY_DATASET["folder"]["image_size"])
"""Pixels to which pictures are scaled where no run says it."""


@dataclass(frozen=True)
class Reading:
    """How a user wants examples read, where the learner leaves it open.

    Args:
        image_size: height and width, in pixels.
        colours: "grey" or "rgb".
        ink: of drawings, see `ImageInputs`.
    """

    image_size: int | None = None
    colours: str | None = None
    ink: Ink = "auto"


@dataclass(frozen=True)
class Source:
    """A learner that is named, not made yet.

    Args:
        spec: what was asked for.
        run: the run directory whose network it stands on; None for a published one, or none.
        config: that run's settings.
        shape: of that run's examples.
        bound: to how many classes or values its head is bound; None for any.
        kind: of that learner's tasks; None where it takes both.
        weights_sha256: of the weights that it is to stand on; None for any.
    """

    spec: Spec
    run: Path | None = None
    config: CommandSettings | None = None
    shape: Shape | None = None
    bound: int | None = None
    kind: Kind | None = None
    weights_sha256: str | None = None

    @property
    def reads(self) -> str | None:
        """The kind of its inputs; None where it takes several."""
        if self.images is not None:
            return "images"
        if self.config is None and self.published is None:
            return None
        return self.inputs(None, Reading()).kind

    @property
    def published(self) -> str | None:
        """The pretrained model that it stands on, as it was asked for."""
        backbone = self.spec.options.get("backbone")
        return backbone if self.spec.kind != "run" and is_foreign(backbone) else None

    @property
    def images(self) -> str | None:
        """The published network of images that it stands on, as it was asked for."""
        backbone = self.spec.options.get("backbone")
        return backbone if self.spec.kind != "run" and image_network(backbone) is not None else None

    @property
    def writes_prompts(self) -> bool:
        """Whether the learner reads the texts themselves."""
        return self.spec.kind == "table" and "texts" in learners.options(LEARNERS[self.spec.target])

    @property
    def _tokenizer(self) -> Tokenizer | None:
        """Of a pretrained network on words."""
        if (others := foreign(self.published)) is not None:
            return tokenizer.of_model(others.name)
        on_words = isinstance(self.config, PretrainConfig) and self.config.on_words
        return tokenizer.of_file(self.run) if on_words and self.run is not None else None

    def make(
        self, outputs: int, kind: Kind, inputs: Inputs, x: Tensor | None, names: Sequence[str] = ()
    ) -> tuple[Learner, dict[str, Tensor]]:
        """Make the learner.

        Args:
            outputs: classes to tell apart, or values to predict.
            kind: of the task.
            inputs: how its examples are read.
            x: ``[examples, *input]``; None where they are not known yet.
            names: of the classes, for a learner that writes them.

        Returns:
            The learner, and all the weights that it stands on.

        Raises:
            MetaftError: for unknown options, or a run that cannot be read.
        """
        if self.spec.kind == "run" and self.shape is not None:
            shape = self.shape
        else:
            own = inputs.tokenizer if isinstance(inputs, TextInputs) else self._tokenizer
            words = None if own is None else no_texts(own)
            of_none = (inputs.channels, inputs.size, inputs.size) if isinstance(inputs, ImageInputs) else (SHORTEST,)
            of_one = of_none if x is None else tuple(x.shape[1:])
            pairs = isinstance(inputs, WrittenTexts) and inputs.pairs
            lookup = WrittenLookup(tuple(names), pairs) if inputs.kind == "texts" else None
            shape = Shape(outputs, of_one, words, kind, lookup)
        if self.writes_prompts and kind == "regression":
            raise MetaftError(f"learner {self.spec.text} answers with words and predicts no values; use a classifier")
        config = validated(RunConfig, {"workers": 1})
        try:
            learner, weights = make_learner(self.spec, 0, shape.family, config, None)
        except MetaftError:
            raise
        except (ArithmeticError, ValueError, TypeError, RuntimeError) as error:
            raise MetaftError(f"learner {self.spec.text} cannot be made: {type(error).__name__}: {error}") from error
        if self.weights_sha256 not in (None, weights_digest(weights)):
            raise MetaftError(
                f"learner {self.spec.text} stands on other weights than those that it was saved with; "
                "save the estimator again"
            )
        return learner, weights

    def inputs(self, given: Any, how: Reading) -> Inputs:
        """How examples are read.

        Args:
            given: the user's, of which the kind is told where the learner takes several; None where none are at hand.
            how: what the user asks for.

        Returns:
            That of the run, or of the published network; else by what is given.

        Raises:
            MetaftError: for a wish that contradicts the run.
        """
        if self.writes_prompts:
            return WrittenTexts(_are_pairs(given))
        if self._tokenizer is not None:
            by = self.spec.options.get(PATTERN)
            pattern = None if by is None else find_pattern(by, "", _are_pairs(given))[1]
            return TextInputs(self._tokenizer, pattern=pattern)
        if self.config is None:
            return self._by_kind(given, how)
        found = self._of_run(how)
        if isinstance(found, ImageInputs):
            colours = "grey" if found.channels == 1 else "rgb"
            for name, asked, own in (("image_size", how.image_size, found.size), ("colours", how.colours, colours)):
                if asked not in (None, own):
                    raise MetaftError(f"{name} = {asked}: {self.run} was trained with {own}; leave it out")
        return found

    def _of_run(self, how: Reading) -> Inputs:
        assert self.run is not None
        config, shape = self.config, self.shape
        assert shape is not None
        dataset = str(getattr(config, "dataset", ""))
        if shape.images is not None:
            told = entries(read_record(self.run), "settings", "family")
            most = told.get("max_words")
            return TextInputs(Tokenizer(shape.images.tokenizer, str(told.get("tokenizer"))), most)
        if len(shape.input_shape) == 1:
            return NumberInputs(self._columns(config) if dataset == "table" else None)
        if len(shape.input_shape) == 3 and shape.input_shape[1] == shape.input_shape[2]:
            return ImageInputs(shape.input_shape[0], shape.input_shape[1], KINDS.get(dataset) in DRAWN, how.ink)
        raise MetaftError(
            f"{self.run} was trained on examples of shape {list(shape.input_shape)}, which are neither square images "
            "nor texts nor rows of numbers; use its learner in Python: metaft.assembly.meta_learner.load_run"
        )

    def _columns(self, config: CommandSettings | None) -> Columns:
        """Those of a run on a table; runs that do not keep them have them told by the table once more."""
        assert self.run is not None
        if (self.run / COLUMNS).exists():
            return Columns.read(self.run)
        from metaft.assembly.tasks import build_family

        assert isinstance(config, RunConfig)
        columns = getattr(build_family(config, "val", config.seed), "columns", None)
        assert isinstance(columns, Columns)
        return columns

    def _by_kind(self, given: Any, how: Reading) -> Inputs:
        """As the user's examples are."""
        exact = self.spec.kind == "table"
        kind = "numbers" if given is None else kind_of(given)
        if kind == "texts":
            raise MetaftError(
                f"learner {self.spec.text}: texts without a network are numbers of words, which are not near or far; "
                f"give a network that reads them, {self.spec.target}:backbone=hf:minilm or backbone=RUN"
            )
        if kind == "numbers" and self.images is None:
            return NumberInputs(None, exact)
        shape = tuple(getattr(given, "shape", ()))
        own = shape[-2] if len(shape) == 4 and shape[-1] in (1, 3, 4) else shape[-1] if len(shape) > 2 else None
        grey = len(shape) == 3 or (len(shape) == 4 and 1 in (shape[1], shape[-1]))
        colours = how.colours or ("grey" if grey else "rgb")
        wanted = PICTURE_SIZE if self.images is None else image_source(self.images).size or PUBLISHED_SIZE
        return ImageInputs({"grey": 1}.get(colours, 3), how.image_size or own or wanted, ink=how.ink)


def _are_pairs(given: Any) -> bool:
    """Whether examples are pairs of texts, as far as the first one says."""
    return given is not None and kind_of(given) == "texts" and isinstance(listed(given)[0], tuple)


def open_source(text: str | Path) -> Source:
    """Find out what a learner's name stands for; nothing is made yet.

    Args:
        text: a run directory, or a learner as `metaft compare` reads it.

    Returns:
        The source.

    Raises:
        MetaftError: if there is no such run or learner.
    """
    spec = parse(str(text)).at(0)
    if spec.kind == "run":
        return of_run(spec, run_config(spec.target))
    where = spec.options.get("backbone")
    if where == RANDOM:
        raise MetaftError(
            f"learner {spec.text}: backbone={RANDOM} is a control for comparisons and has learned nothing; give a run "
            "(backbone=RUN) or a published model (backbone=hf:minilm, backbone=torchvision:resnet18)"
        )
    return Source(spec) if where is None or is_network(where) else of_backbone(spec, Path(where))


def of_run(spec: Spec, config: RunConfig) -> Source:
    """A meta-trained learner.

    Args:
        spec: of its run directory.
        config: its settings.
    """
    shape = of_learner(spec.target, config)
    free = config.method in learners.ANY_WAYS and shape.kind == "classification"
    return Source(spec, Path(spec.target), config, shape, None if free else shape.outputs, shape.kind)


def of_backbone(spec: Spec, run: Path) -> Source:
    """A learner on the network of a run.

    Args:
        spec: its name and options.
        run: the run directory, of a learner or of a network.
    """
    config = recorded_config(run)
    if isinstance(config, DistillConfig) and not isinstance(config, GenerationConfig):
        run = best_generation(run)
        spec = dataclasses.replace(spec, options={**spec.options, "backbone": str(run)})
        config = recorded_config(run)
    if isinstance(config, PretrainConfig) and config.on_words:
        return Source(spec, run, config)
    shape = of_learner(run, config) if isinstance(config, RunConfig) else of_classifier(run, read_record(run))
    return Source(spec, run, config, shape, kind=shape.kind if shape.kind == "regression" else None)


def fitting(inputs: Inputs, learner: Learner) -> Inputs:
    """Texts are cut to the words that a learner's network has places for; and end as it reads them.

    Args:
        inputs: as the source says.
        learner: that was made of it.
    """
    if not isinstance(inputs, TextInputs):
        return inputs
    room = next((room for part in modules_of(learner) if (room := room_for_words(part)) is not None), None)
    most = min((limit for limit in (inputs.most, room) if limit is not None), default=None)
    goes_on = any(getattr(part, "causal", False) for one in modules_of(learner) for part in one.modules())
    return dataclasses.replace(inputs, most=most, goes_on=goes_on)


def modules_of(learner: Any) -> list[nn.Module]:
    """The modules of a learner's network."""
    embedding = getattr(learner, "embedding", None)
    held = embedding.network if isinstance(embedding, Embedding) else getattr(learner, "model", None)
    features = getattr(learner, "features", None)
    found = (getattr(held, "module", None), getattr(features, "module", None))
    return [part for part in found if isinstance(part, nn.Module)]
