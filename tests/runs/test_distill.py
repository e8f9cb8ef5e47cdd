"""Generations in one run directory: they are taught, chosen, scored, resumed bit for bit; mistakes are one line."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from metaft.distillation.teacher import Teacher, mean_probabilities
from metaft.errors import MetaftError
from metaft.runs import checkpoint, distill_data, generations
from metaft.runs.backbone import load_backbone
from metaft.runs.config import load_config, to_toml, validated
from metaft.runs.distill import distill, prepare
from metaft.runs.distill_config import DistillConfig, GenerationConfig, generation_config
from metaft.runs.distill_data import build_data
from metaft.runs.distill_report import Report
from metaft.runs.held_out import HeldOut
from metaft.runs.listing import summarise_run
from metaft.runs.metrics import read_rows
from metaft.runs.pretrain import pretrain
from metaft.runs.pretrain_config import PretrainConfig
from metaft.runs.stopping import StoppedRun
from metaft.tasks.minibatches import Minibatch, Minibatches
from tests.runs import own_images

DATASET = "tests.runs.own_images:images"
SMALL: dict[str, Any] = {
    "dataset": DATASET, "model": "mlp", "hidden": 12, "ways": 3, "queries": 4, "iterations": 12, "batch_size": 12,
    "outer_lr": 0.01, "log_every": 4, "validate_every": 5, "validate_tasks": 6, "checkpoint_every": 3,
    "validation": "classification", "validation_share": 3, "test_share": 3, "test_tasks": 8, "generations": 2,
    "label_weight": 0.3,
}  # fmt: skip
CLOCK = ("seconds", "tasks_per_second")


def settings(**more: Any) -> DistillConfig:
    return validated(DistillConfig, {**SMALL, **more})


def run(out: Path, resume: bool = False, **more: Any) -> Report:
    return distill(settings(**more), out, resume=resume, progress=False)


def numbers(out: Path) -> dict[str, Any]:
    """What a distillation came to, but for the clock."""
    results = json.loads((out / "distillation.json").read_text())["results"]
    return {name: {k: v for k, v in row.items() if k != "seconds"} for name, row in results.items()}


def rows(out: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in read_rows(out / "metrics.jsonl")]


def require_equal(one: Path, other: Path) -> None:
    """Weights, optimisers, logs and scores of all generations, bit for bit."""
    names = sorted(path.name for path in one.glob("generation-*"))
    assert names == sorted(path.name for path in other.glob("generation-*"))
    for name in names:
        first, second = (checkpoint.load_newest(path / name / "checkpoints") for path in (one, other))
        for part in checkpoint.PARTS:
            a, b = getattr(first, part), getattr(second, part)
            assert a.keys() == b.keys()
            assert all(torch.equal(value, b[entry]) for entry, value in a.items())
        assert rows(one / name) == rows(other / name)
    assert numbers(one) == numbers(other)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "line"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metaft.runs.loop.draw_episode", lambda *args: None)
        run(out)
    return out


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Asks for a stop at a minibatch of a generation, told by the seed of its order."""
    asked: dict[str, int] = {}
    plain = Minibatches.batch

    def batch(self: Minibatches, index: int, tasks: int) -> Minibatch:
        if (self.seed, index, tasks) == (asked.get("seed"), asked.get("at"), SMALL["batch_size"]) and asked["at"]:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(self, index, tasks)

    monkeypatch.setattr(Minibatches, "batch", batch)

    def ask(generation: int, at: int) -> None:
        asked.update(seed=generation_config(settings(), generation, 1, 4.0).seed, at=at)

    return ask


@pytest.mark.parametrize(("generation", "at"), [(0, 4), (1, 7), (2, 10)])
def test_a_line_killed_within_a_generation_ends_as_one_that_never_stopped(
    generation: int, at: int, trained: Path, tmp_path: Path, stop: Any
) -> None:
    out = tmp_path / "stopped"
    stop(generation, at)
    with pytest.raises(StoppedRun, match="distill --resume --out"):
        run(out)
    assert summarise_run(out).state == "stopped"
    assert not (out / "distillation.json").exists()
    assert not (out / f"generation-{generation + 1}").exists()
    stop(generation, 0)
    run(out, resume=True)
    require_equal(trained, out)


class Killed(BaseException):
    """As sudden as a power cut."""


@pytest.mark.parametrize("moment", ["generation-1 begins", "generation-1: validation", "scoring"])
def test_a_line_killed_between_generations_ends_as_one_that_never_stopped(
    moment: str, trained: Path, tmp_path: Path
) -> None:
    def watch(line: str) -> None:
        if line.replace(":", "", 1).startswith(moment) or line.startswith(moment):
            raise Killed

    out = tmp_path / "killed"
    with pytest.raises(Killed):
        distill(settings(), out, progress=False, watch=watch)
    assert summarise_run(out).state == "interrupted"
    run(out, resume=True)
    require_equal(trained, out)


def test_each_generation_is_a_network_of_its_own_and_its_teacher_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, str]] = []

    class Watched(Teacher):
        def __init__(self, models: Any, *rest: Any) -> None:
            super().__init__(models, *rest)
            asked.append((self, self.digest))
            assert models not in self.models
            assert not any(part.training for model in self.models for part in model.modules())

    monkeypatch.setattr(generations, "Teacher", Watched)
    report = run(tmp_path / "a", model="conv4", hidden=4, cache="off")
    assert len({id(g.network) for g in report.line.generations}) == 3
    for teacher, digest in asked:
        assert Teacher(teacher.models[0], (1, 16, 16)).digest == digest  # not the digest kept since
    states = [g.network.state_dict() for g in report.line.generations]
    starts = [checkpoint.load_newest(g.path / "checkpoints").weights for g in report.line.generations]
    assert not any(torch.equal(states[0][name], states[k][name]) for k in (1, 2) for name in starts[0])
    seeds = [load_config(g.path / "config.toml", None, GenerationConfig).seed for g in report.line.generations]
    assert len(set(seeds)) == 3


def test_generation_k_learns_from_the_best_weights_of_generation_k_minus_1(trained: Path) -> None:
    for k in (1, 2):
        best = load_backbone(trained / f"generation-{k - 1}")
        said = json.loads((trained / f"generation-{k}" / "run.json").read_text())["settings"]["learner"]
        assert said["teacher"] == Teacher(best, (1, 16, 16)).digest


def test_the_scores_are_those_of_the_networks_on_the_test_examples(trained: Path) -> None:
    test = distill_data.tested_on(settings())
    assert isinstance(test, HeldOut)
    x = test.images.images.float() / 255
    with torch.no_grad():
        scores = torch.stack([load_backbone(trained / f"generation-{k}")(x) for k in range(3)])
    found = numbers(trained)
    for k in range(3):
        wrong = sum(int(s.argmax() != y) for s, y in zip(scores[k], test.labels, strict=True))
        assert found[f"generation {k}"]["errors"] == wrong
        assert found[f"generation {k}"]["test"] == pytest.approx(1 - wrong / len(x))
    same = sum(int(a.argmax() == b.argmax()) for a, b in zip(scores[1], scores[2], strict=True))
    assert found["generation 2"]["agreement"] == pytest.approx(same / len(x))
    together = scores.softmax(-1).mean(0)
    wrong = int((together.argmax(-1) != test.labels).sum())
    assert found["generations 0–2"]["errors"] == wrong
    torch.testing.assert_close(mean_probabilities(scores).softmax(-1), together)


def test_train_validation_and_test_share_no_image(trained: Path) -> None:
    data, test = build_data(settings()), distill_data.tested_on(settings())
    sets = [f.images.images.flatten(1).tolist() for f in (data.train, data.probe, test)]  # type: ignore[union-attr]
    assert [len(images) for images in sets] == [36, 18, 18]
    assert len({tuple(image) for images in sets for image in images}) == 72


def test_the_log_tells_calibration_agreement_and_entropy(trained: Path) -> None:
    validation = [row for row in rows(trained / "generation-1") if row["kind"] == "validation"]
    assert len(validation) == 3
    assert all({"accuracy", "ece", "entropy", "agreement"} <= row.keys() for row in validation)
    line = rows(trained)
    assert [(row["kind"], row["iteration"]) for row in line] == [("generation", k) for k in range(3)]
    assert {"test", "validation", "ece", "agreement", "soft_label_entropy"} <= line[2].keys()
    assert list((trained / "tensorboard").glob("events.out.tfevents.*"))
    assert (trained / "soft_labels.png").read_bytes()[:4] == b"\x89PNG"


def test_the_best_by_validation_is_recorded_and_is_the_backbone(trained: Path) -> None:
    record = json.loads((trained / "run.json").read_text())
    scores = [summarise_run(trained / f"generation-{k}").best for k in range(3)]
    assert record["best_generation"] == scores.index(max(scores))  # type: ignore[type-var]
    best = load_backbone(trained).state_dict()
    chosen = load_backbone(trained / f"generation-{record['best_generation']}").state_dict()
    assert all(torch.equal(value, chosen[name]) for name, value in best.items())


def test_a_line_that_is_not_finished_has_no_best_network(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "c")
    record = json.loads((tmp_path / "c/run.json").read_text())
    del record["best_generation"]
    (tmp_path / "c/run.json").write_text(json.dumps(record))
    with pytest.raises(MetaftError, match="is not finished, so no generation is the best"):
        load_backbone(tmp_path / "c")


def test_a_temperature_is_chosen_by_validation(tmp_path: Path) -> None:
    report = run(tmp_path / "a", temperature="1,8", iterations=40)
    record = json.loads((tmp_path / "a/run.json").read_text())
    tried = {t: run(tmp_path / f"at-{t}", temperature=t, iterations=40, generations=1) for t in ("1", "8")}
    scores = {t: summarise_run(found.line.out / "generation-1").best for t, found in tried.items()}
    assert record["temperatures"] == scores
    chosen = max(("1", "8"), key=lambda t: scores[t] or 0)
    assert {g.temperature for g in report.line.generations[1:]} == {float(chosen)}
    one, other = (
        checkpoint.load_newest(path / "generation-1/checkpoints")
        for path in (tmp_path / "a", tmp_path / f"at-{chosen}")
    )
    assert all(torch.equal(value, other.weights[name]) for name, value in one.weights.items())


@pytest.mark.parametrize("moment", ["temperature-8: begins", "temperature 1 is", "temperature 8 is", "generation-2: b"])
def test_a_choice_of_temperature_that_was_killed_ends_as_one_that_was_not(moment: str, tmp_path: Path) -> None:
    def watch(line: str) -> None:
        if line.startswith(moment):
            raise Killed

    run(tmp_path / "whole", temperature="1,8")
    try:
        distill(settings(temperature="1,8"), tmp_path / "killed", progress=False, watch=watch)
    except Killed:
        run(tmp_path / "killed", resume=True, temperature="1,8")
    require_equal(tmp_path / "whole", tmp_path / "killed")


def test_it_stops_when_validation_no_longer_improves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.5, 0.6, 0.6, 0.55, 0.9])
    plain = generations.Generations.generation

    def scored(self: Any, *args: Any) -> Any:
        return dataclasses.replace(plain(self, *args), best=next(scores))

    monkeypatch.setattr(generations.Generations, "generation", scored)
    report = run(tmp_path / "a", generations=4, patience=2, iterations=2)
    assert [g.number for g in report.line.generations] == [0, 1, 2, 3]
    assert report.line.best.number == 1
    assert json.loads((tmp_path / "a/distillation.json").read_text())["stopped"].startswith("stops: no better")


def test_more_generations_may_be_added_later(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "more")
    run(tmp_path / "more", resume=True, generations=3)
    run(tmp_path / "three", generations=3)
    require_equal(tmp_path / "three", tmp_path / "more")
    with pytest.raises(MetaftError, match=r"begun with label_weight = 0\.3, not 0\.4"):
        run(tmp_path / "more", resume=True, generations=3, label_weight=0.4)


def test_a_run_from_elsewhere_is_generation_0(trained: Path, tmp_path: Path) -> None:
    first = trained / "generation-0"
    report = run(tmp_path / "a", teacher=str(first))
    assert not (tmp_path / "a/generation-0").exists()
    one, other = (checkpoint.load_newest(path / "generation-2/checkpoints") for path in (trained, tmp_path / "a"))
    assert all(torch.equal(value, other.weights[name]) for name, value in one.weights.items())
    assert report.line.best.number > 0
    assert report.line.generations[0].best == pytest.approx(report.rows[0].validation)
    assert numbers(trained)["generation 0"]["errors"] == numbers(tmp_path / "a")["generation 0"]["errors"]


def test_a_teacher_that_changed_is_not_gone_on_with(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "generation-0", tmp_path / "t")
    run(tmp_path / "a", teacher=str(tmp_path / "t"), generations=1)
    shutil.rmtree(tmp_path / "t")
    shutil.copytree(trained / "generation-1", tmp_path / "t")
    with pytest.raises(MetaftError, match="is another network than the one the run was begun with"):
        run(tmp_path / "a", resume=True, teacher=str(tmp_path / "t"), generations=1)


def test_few_shot_tasks_of_other_classes_may_choose(tmp_path: Path) -> None:
    report = run(tmp_path / "a", validation="few-shot", model="conv4", hidden=4, generations=1)
    assert report.rows[0].count == 8
    assert report.rows[0].errors is None
    assert report.rows[1].agreement is not None
    validation = [row for row in rows(tmp_path / "a/generation-1") if row["kind"] == "validation"]
    assert all("agreement" in row and "ece" not in row for row in validation)
    # Generation 0 is what metaft pretrain makes.
    shared = {name: value for name, value in SMALL.items() if name in PretrainConfig.model_fields}
    pretrain(validated(PretrainConfig, {**shared, "model": "conv4", "hidden": 4}), tmp_path / "p", progress=False)
    one, other = (
        checkpoint.load_newest(path / "checkpoints") for path in (tmp_path / "p", tmp_path / "a/generation-0")
    )
    assert all(torch.equal(value, other.best[name]) for name, value in one.best.items())


def test_controls_train_what_they_say(trained: Path, tmp_path: Path) -> None:
    first = checkpoint.load_newest(trained / "generation-0/checkpoints").best
    for control in ("dkpp", "cwtm", "longer", "smoothing"):
        config = settings(control=control, generations=1)
        data, _ = prepare(config)
        own = generation_config(config, 1, 3, 4.0)
        learner = generations.build_student(own, data, load_backbone(trained / "generation-0"))
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


def test_generation_0_may_be_another_network(tmp_path: Path) -> None:
    config = settings(
        teacher_hidden=20, teacher_epochs=5, teacher_dropout=0.5, epochs=2, iterations=None, generations=1
    )
    report = distill(config, tmp_path / "a", progress=False)
    widths = [g.network.state_dict()["0.weight"].shape[0] for g in report.line.generations]
    assert widths == [20, 12]
    counts = [json.loads((g.path / "run.json").read_text())["iteration"] for g in report.line.generations]
    assert counts == [15, 6]  # 36 images in minibatches of 12
    assert any(isinstance(part, torch.nn.Dropout) for part in report.line.generations[0].network.modules())


def test_what_served_to_match_hidden_representations_is_no_part_of_the_network(tmp_path: Path) -> None:
    report = run(tmp_path / "a", loss="hidden", teacher_hidden=20, generations=1)
    stored = checkpoint.load_newest(tmp_path / "a/generation-1/checkpoints").best
    assert stored["distillation.map.weight"].shape == (20, 12)
    assert report.line.generations[1].network.state_dict().keys() == stored.keys() - {
        "distillation.map.weight",
        "distillation.map.bias",
    }
