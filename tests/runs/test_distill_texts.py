"""Distillation of classes of texts: by held-out examples, by few-shot tasks, and as the data set divides them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from metaft.assembly.backbone import load_backbone
from metaft.assembly.tasks import SMALLEST, build_family
from metaft.cli import cli
from metaft.commands.distill import data as distill_data
from metaft.commands.distill.distill import distill
from metaft.commands.distill.generations import build_student
from metaft.data.label_noise import with_label_noise
from metaft.data.leave_out import leave_out
from metaft.data.texts import labelled_texts, tokenizer
from metaft.data.texts.labelled_texts import LabelledTexts, LabelledTokens
from metaft.distillation.student import Student
from metaft.errors import MetaftError
from metaft.settings.config import validated
from metaft.settings.distill import DistillConfig, generation_config
from tests.runs.distilled import require_equal

CLASSES, EACH = 12, 10
SMALL: dict[str, Any] = {
    "dataset": "texts", "model": "transformer:layers=1,width=8,heads=2", "ways": 2, "queries": 2, "iterations": 6,
    "batch_size": 12, "log_every": 3, "validate_every": 3, "validate_tasks": 4, "checkpoint_every": 3,
    "validation": "classification", "validation_share": 2, "test_share": 2, "test_tasks": 4,
}  # fmt: skip


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Texts of two to eight words, of which the first tells the class."""
    lines = [
        {"text": f"thing{label} is" + f" number {i}" * (i % 4), "label": f"c{label}"}
        for label in range(CLASSES)
        for i in range(EACH)
    ]
    file = tmp_path / "texts.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


def settings(texts: Path, **more: Any) -> DistillConfig:
    return validated(DistillConfig, {**SMALL, "data_root": str(texts), **more})


def tokens() -> LabelledTokens:
    own = LabelledTexts.of({"a": ["one two", "three"], "b": ["four five six", "seven"], "c": ["eight"]})
    return tokenizer.tokenised(own, tokenizer.trained(own.texts, 100))


def told(examples: LabelledTokens) -> list[list[int]]:
    """The words of each text."""
    taken: Tensor = examples.take(torch.arange(len(examples)))
    return [[number for number in row if number] for row in taken.tolist()]


def test_some_texts_are_kept_class_by_class() -> None:
    whole = tokens()
    every = told(whole)
    kept = whole.keep(torch.tensor([1, 2, 4]), torch.tensor([1, 1, 1]))
    assert told(kept) == [every[1], every[2], every[4]]
    assert kept.labels.tolist() == [0, 1, 2]
    left = leave_out(whole, ["b"])
    assert (told(left), left.counts.tolist()) == ([every[0], every[1], every[4]], [2, 0, 1])
    noisy = with_label_noise(whole, "pairwise", 0.5, seed=1)
    assert told(noisy.images) == [every[row] for row in noisy.sources.tolist()]  # type: ignore[arg-type]
    assert int(noisy.wrong.sum()) == 2


def test_texts_are_answered_in_portions_that_fit_and_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tokens()
    sizes = lambda most: sorted(map(len, whole.portions(most)))
    assert (sizes(100), sizes(2)) == ([5], [1, 2, 2])
    monkeypatch.setattr(labelled_texts, "PLACES", 16)
    portions = whole.portions(100)
    assert torch.equal(torch.cat(portions).sort().values, torch.arange(5))
    assert max(len(rows) * whole.take(rows).shape[-1] for rows in portions) <= 16
    assert torch.equal(whole.each(lambda x: (x != 0).sum(-1, keepdim=True), 2)[:, 0], whole.lengths)


def test_a_student_learns_from_the_answers_of_its_teacher(texts: Path, tmp_path: Path) -> None:
    config = settings(texts, label_weight=0.0, temperature="2", seed=3)
    data = distill_data.build_data(config)
    parts = (data.train.images, data.validation.images, distill_data.tested_on(config).images)  # type: ignore[union-attr]
    assert [len(part) for part in parts] == [48, 16, 16]  # 8 classes of 10 texts
    report = distill(config, tmp_path / "run", progress=False)
    teacher, student = report.line.generations
    assert (tmp_path / "run/generation-1/tokenizer.json").exists()
    learner = build_student(generation_config(config, 1, 4, 2.0), data, teacher.network)
    assert isinstance(learner, Student)
    batch = data.minibatches(generation_config(config, 1, 4, 2.0)).batch(0, 12)
    found = learner.losses(learner.params, batch)
    ids = batch.query_x.flatten(0, 1)
    taught, own = ((net(ids) / 2).log_softmax(-1) for net in (teacher.network, learner.module))
    expected = 4 * (taught.exp() * (taught - own)).sum(-1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    again = load_backbone(tmp_path / "run")
    assert isinstance(again, nn.Module)
    with torch.no_grad():
        best = report.line.best.network
        torch.testing.assert_close(again(ids), best(ids))
    assert student.best is not None
    compared = ["compare", f"class-means:backbone={tmp_path / 'run'}", "--dataset", "texts", "--data-root", str(texts)]
    compared += ["--ways", "2", "--queries", "2", "--tasks", "2", "--seeds", "1", "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(cli, compared).exit_code == 0


def test_it_goes_on_to_the_same_end(texts: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    distill(settings(texts), one, progress=False)
    distill(settings(texts), other, progress=False)
    for file in (other / "distillation.json", other / "generation-1/checkpoints/00000006.safetensors"):
        file.unlink(missing_ok=True)
    record = json.loads((other / "generation-1/run.json").read_text())
    (other / "generation-1/run.json").write_text(json.dumps(record | {"state": "stopped"}))
    distill(settings(texts), other, resume=True, progress=False)
    require_equal(one, other)


@pytest.mark.parametrize(
    "more", [{"validation": "few-shot"}, {"scheme": "examples"}, {"loss": "hidden"}, {"label_noise": 0.2}]
)
def test_other_ways_to_choose_and_to_match(more: dict[str, Any], texts: Path, tmp_path: Path) -> None:
    config = settings(texts, **more)
    report = distill(config, tmp_path / "run", progress=False)
    assert all(0 <= row.test <= 1 for row in report.rows)
    if "scheme" in more:  # all splits have all classes, and the data set's own examples of them
        test = distill_data.tested_on(config).images  # type: ignore[union-attr]
        assert test.classes == CLASSES
        assert test.digest == build_family(config.model_copy(update=SMALLEST), "test", 0).images.digest  # type: ignore[attr-defined]


def test_a_teacher_of_other_words_is_refused(texts: Path, tmp_path: Path) -> None:
    distill(settings(texts), tmp_path / "run", progress=False)
    config = settings(texts, teacher=str(tmp_path / "run"), tokenizer="wordpiece:size=60")
    with pytest.raises(MetaftError, match="the same numbers are other words"):
        distill(config, tmp_path / "other", progress=False)
    distill(settings(texts, teacher=str(tmp_path / "run")), tmp_path / "other", progress=False)


def test_a_pretrained_teacher_brings_its_words() -> None:
    config = validated(DistillConfig, {"dataset": "intents", "teacher_model": "hf:minilm"})
    assert (config.model, config.tokenizer) == ("transformer", "hf:minilm")
