"""Export a learner as a graph of tensors: adapted to a support set, or fit and predict together."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metaft.commands.predict.predict import fitted
from metaft.data.texts.tokenizer import FILE as TOKENIZER
from metaft.environment import environment
from metaft.errors import MetaftError
from metaft.estimator import saved
from metaft.estimator.estimator import FewShotClassifier
from metaft.estimator.images import ImageInputs
from metaft.estimator.inputs import Inputs
from metaft.estimator.source import Reading, Source, fitting, open_source
from metaft.estimator.texts import TextInputs
from metaft.export.formats import FORMATS
from metaft.export.program import Program, fit_and_predict, predictor
from metaft.files import clear_disk_errors, folder_path, write_atomically
from metaft.learners.learner import Learner
from metaft.plain_json import write_json
from metaft.settings.config import RunConfig

CARD = "predictor.json"
PLACES = 6
"""Of a sample text."""


def export_predictor(
    learner: str,
    out: str | Path,
    form: str,
    support: str | Path | None = None,
    ways: int | None = None,
    **options: Any,
) -> list[Path]:
    """Write a graph that answers queries, and beside it how they are read.

    Args:
        learner: as for `metaft.commands.predict.predict.predict`.
        out: the folder; new, or empty.
        form: "onnx" or "torch-export".
        support: the support set that it is adapted to; None for one of its own (a saved folder), or for a graph that
            takes the support set too.
        ways: how many classes such a graph tells apart; a run's own if None.
        options: of ``predict``: how files are read.

    Returns:
        The files.

    Raises:
        MetaftError: for a learner or support set that cannot be read, or a learner that is no graph.
    """
    folder = folder_path(out)
    if folder.exists() and any(folder.iterdir()):
        raise MetaftError(f"{out} is not empty; name a new folder by --out")
    name, write = FORMATS[form]
    told: dict[str, Any] = {"program": "metaft", "learner": learner}
    if support is None and not saved.is_saved(learner):
        reading = {key: options[key] for key in ("image_size", "colours", "ink") if options.get(key) is not None}
        made, inputs, program, more = _whole(learner, ways, Reading(**reading))
    else:
        if ways is not None:
            raise MetaftError("--ways: the support set says how many classes there are; leave it out")
        made, inputs, program, more = _adapted(learner, support, options)
    content = write(program)
    told |= {"mode": "transductive" if made.transductive else "inductive"} | more
    told |= {"file": name, "sha256": hashlib.sha256(content).hexdigest(), "format": form}
    told |= {"inputs": program.inputs, "outputs": list(program.outputs), "preprocessing": inputs.describe()}
    told |= {"versions": environment()["versions"]}
    with clear_disk_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / name, content)
    if isinstance(inputs, TextInputs):
        write_atomically(folder / TOKENIZER, inputs.tokenizer.text.encode())
    write_json(folder / CARD, told)
    return sorted(folder.iterdir())


def _adapted(
    learner: str, support: str | Path | None, options: dict[str, Any]
) -> tuple[Learner, Inputs, Program, dict[str, Any]]:
    made = fitted(learner, support, **options)[0]
    own, x, y = made.task()
    classes = isinstance(made, FewShotClassifier)
    outputs = len(made.classes_) if isinstance(made, FewShotClassifier) else y.shape[-1]
    program = predictor(own, x, y, outputs, made.inputs_.kind == "texts")
    more: dict[str, Any] = {"support": {"examples": len(x)}}
    if isinstance(made, FewShotClassifier):
        more |= {"classes": made.classes_.tolist()}
    return own, made.inputs_, program, more | {"task": "classification" if classes else "regression"}


def _whole(learner: str, ways: int | None, reading: Reading) -> tuple[Learner, Inputs, Program, dict[str, Any]]:
    source = open_source(learner)
    if source.reads is None or (source.reads == "numbers" and source.config is None):
        raise MetaftError(
            f"{learner} does not say what it reads; give --support, whose examples do, or a network, backbone=RUN"
        )
    inputs, kind = source.inputs(None, reading), source.kind or "classification"
    outputs = _outputs(source, ways)
    sample = _sample(source, inputs)
    own, _ = source.make(outputs, kind, inputs, sample)
    inputs = fitting(inputs, own)
    program = fit_and_predict(own, sample, outputs, kind, inputs.kind == "texts")
    return own, inputs, program, {"support": "an input", "task": kind, "ways" if kind[0] == "c" else "targets": outputs}


def _outputs(source: Source, ways: int | None) -> int:
    """How many classes, or values, a graph answers with."""
    if source.kind == "regression":
        if ways is not None:
            raise MetaftError("--ways: a regression has none; leave it out")
        assert source.shape is not None
        return source.shape.outputs
    own = source.config.ways if isinstance(source.config, RunConfig) else None
    if ways is None and own is None:
        raise MetaftError(f"{source.spec.text} tells any number of classes apart: say how many with --ways")
    found = int(ways or own or 0)
    if found < 2:
        raise MetaftError(f"--ways {found}: give two or more")
    if source.bound is not None and found > source.bound:
        raise MetaftError(f"--ways {found}: {source.spec.text} tells at most {source.bound} classes apart")
    return found


def _sample(source: Source, inputs: Inputs) -> Tensor:
    """Examples of the right shape, to be followed through the learner; what they hold changes nothing."""
    draw = torch.Generator().manual_seed(0)
    if isinstance(inputs, TextInputs):
        return torch.randint(1, inputs.tokenizer.vocabulary, (4, PLACES), generator=draw)
    if isinstance(inputs, ImageInputs):
        return torch.rand(4, inputs.channels, inputs.size, inputs.size, generator=draw)
    assert source.shape is not None
    return torch.rand(4, *source.shape.input_shape, generator=draw)
