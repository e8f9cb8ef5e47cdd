"""What each generation is told and shown: settings, controls, data that share nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from metaft.assembly.backbone import load_backbone
from metaft.commands.distill import data as distill_data
from metaft.commands.distill import generations
from metaft.commands.distill.data import build_data
from metaft.commands.distill.distill import prepare
from metaft.errors import MetaftError
from metaft.runs import checkpoint
from metaft.settings.config import load_config, to_toml, validated
from metaft.settings.distill import DistillConfig, GenerationConfig, generation_config
from tests.runs import own_images
from tests.runs.distilled import run, settings


def test_train_validation_and_test_share_no_image(distilled: Path) -> None:
    data, test = build_data(settings()), distill_data.tested_on(settings())
    sets = [f.images.images.flatten(1).tolist() for f in (data.train, data.probe, test)]  # type: ignore[union-attr]
    assert [len(images) for images in sets] == [36, 18, 18]
    assert len({tuple(image) for images in sets for image in images}) == 72


def test_controls_train_what_they_say(distilled: Path, tmp_path: Path) -> None:
    first = checkpoint.load_newest(distilled / "generation-0/checkpoints").best
    for control in ("dkpp", "cwtm", "longer", "smoothing"):
        config = settings(control=control, generations=1)
        data, _ = prepare(config)
        own = generation_config(config, 1, 3, 4.0)
        learner = generations.build_student(own, data, load_backbone(distilled / "generation-0"))
        said = learner.describe()
        fresh = not any(torch.equal(value, first[name]) for name, value in learner.params.items() if "weight" in name)
        assert fresh == (control != "longer")
        assert said["label_smoothing"] == (0.1 if control == "smoothing" else 0.0)
        assert said.get("control", "none") == (control if control in ("dkpp", "cwtm") else "none")
        assert ("teacher" in said) == (control in ("dkpp", "cwtm"))


def test_a_class_left_out_is_seen_by_the_teacher_alone(tmp_path: Path) -> None:
    config = settings(leave_out="train-2", generations=1)
    data = build_data(config)
    seen = [data.minibatches(generation_config(config, k, 3, 4.0)).images.counts.tolist() for k in (0, 1)]
    assert seen == [[6] * 6, [6, 6, 0, 6, 6, 6]]
    report = run(tmp_path / "a", leave_out="train-2", generations=1)
    (corrected, _) = report.derived
    assert corrected.name == "generation 1 corrected"
    assert corrected.bias_correction is not None
    assert report.rows[1].left_out_errors is not None


def test_label_noise_is_in_the_training_images_alone() -> None:
    noisy, clean = build_data(settings(label_noise=0.5)), build_data(settings())
    assert torch.equal(noisy.probe.labels, clean.probe.labels)
    assert torch.equal(noisy.probe.images.images, clean.probe.images.images)
    assert noisy.train.describe()["noise_fraction"] == 0.5
    own = {
        tuple(image): int(y)
        for image, y in zip(clean.train.images.images.flatten(1).tolist(), labels(clean), strict=True)
    }
    moved = [
        own[tuple(image)] != int(y)
        for image, y in zip(noisy.train.images.images.flatten(1).tolist(), labels(noisy), strict=True)
    ]
    assert sum(moved) == 18


def labels(data: Any) -> torch.Tensor:
    return torch.repeat_interleave(torch.arange(6), data.train.images.counts)


def test_too_few_test_classes_are_told_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(own_images.CLASSES, "test", 2)
    with pytest.raises(MetaftError, match="test"):
        prepare(settings(validation="few-shot"))


def test_units_of_an_mlp_are_no_channels() -> None:
    def widths(**more: Any) -> tuple[int, int | None]:
        found = validated(DistillConfig, {"dataset": "mnist", **more})
        return found.hidden, found.teacher_hidden

    assert widths() == (800, 1200)
    assert widths(teacher_model="conv4") == (800, 64)
    assert widths(model="conv4") == (64, 64)
    assert widths(model="conv4", teacher_model="mlp") == (64, 1200)
    assert widths(control="longer") == (800, None)


def test_settings_survive_their_file(tmp_path: Path) -> None:
    for config in (
        settings(),
        settings(temperature="1,4", teacher_hidden=30, epochs=2, iterations=None),
        validated(DistillConfig, {"dataset": "mnist"}),
    ):
        (tmp_path / "c.toml").write_text(to_toml(config))
        assert load_config(tmp_path / "c.toml", None, DistillConfig) == config
        for k in (0, 1):
            own = generation_config(config, k, 10, 4.0)
            (tmp_path / "g.toml").write_text(to_toml(own))
            assert load_config(tmp_path / "g.toml", None, GenerationConfig) == own
