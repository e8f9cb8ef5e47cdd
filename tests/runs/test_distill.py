"""Generations in one run directory: they are taught, chosen and scored as they say."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from metaft.assembly.backbone import load_backbone
from metaft.commands.distill import data as distill_data
from metaft.commands.distill import generations
from metaft.commands.distill.distill import distill
from metaft.commands.pretrain import pretrain
from metaft.distillation.teacher import Teacher, mean_probabilities
from metaft.evaluation.held_out import HeldOut
from metaft.runs import checkpoint
from metaft.runs.listing import summarise_run
from metaft.settings.config import load_config, validated
from metaft.settings.distill import GenerationConfig
from metaft.settings.pretrain import PretrainConfig
from tests.runs.distilled import SMALL, numbers, rows, run, settings


def test_each_generation_is_a_network_of_its_own_and_its_teacher_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, str]] = []

    class Watched(Teacher):
        def __init__(self, models: Any, *rest: Any, **how: Any) -> None:
            super().__init__(models, *rest, **how)
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


def test_generation_k_learns_from_the_best_weights_of_generation_k_minus_1(distilled: Path) -> None:
    for k in (1, 2):
        best = load_backbone(distilled / f"generation-{k - 1}")
        said = json.loads((distilled / f"generation-{k}" / "run.json").read_text())["settings"]["learner"]
        assert said["teacher"] == Teacher(best, (1, 16, 16)).digest


def test_the_scores_are_those_of_the_networks_on_the_test_examples(distilled: Path) -> None:
    test = distill_data.tested_on(settings())
    assert isinstance(test, HeldOut)
    x = test.images.images.float() / 255
    with torch.no_grad():
        scores = torch.stack([load_backbone(distilled / f"generation-{k}")(x) for k in range(3)])
    found = numbers(distilled)
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


def test_the_log_tells_calibration_agreement_and_entropy(distilled: Path) -> None:
    validation = [row for row in rows(distilled / "generation-1") if row["kind"] == "validation"]
    assert len(validation) == 3
    assert all({"accuracy", "ece", "entropy", "agreement"} <= row.keys() for row in validation)
    line = rows(distilled)
    assert [(row["kind"], row["iteration"]) for row in line] == [("generation", k) for k in range(3)]
    assert {"test", "validation", "ece", "agreement", "soft_label_entropy"} <= line[2].keys()
    assert list((distilled / "tensorboard").glob("events.out.tfevents.*"))
    assert (distilled / "soft_labels.png").read_bytes()[:4] == b"\x89PNG"


def test_the_best_by_validation_is_recorded_and_is_the_backbone(distilled: Path) -> None:
    record = json.loads((distilled / "run.json").read_text())
    scores = [summarise_run(distilled / f"generation-{k}").best for k in range(3)]
    assert record["best_generation"] == scores.index(max(scores))  # type: ignore[type-var]
    best = load_backbone(distilled).state_dict()
    chosen = load_backbone(distilled / f"generation-{record['best_generation']}").state_dict()
    assert all(torch.equal(value, chosen[name]) for name, value in best.items())


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


def test_a_run_from_elsewhere_is_generation_0(distilled: Path, tmp_path: Path) -> None:
    first = distilled / "generation-0"
    report = run(tmp_path / "a", teacher=str(first))
    assert not (tmp_path / "a/generation-0").exists()
    one, other = (checkpoint.load_newest(path / "generation-2/checkpoints") for path in (distilled, tmp_path / "a"))
    assert all(torch.equal(value, other.weights[name]) for name, value in one.weights.items())
    assert report.line.best.number > 0
    assert report.line.generations[0].best == pytest.approx(report.rows[0].validation)
    assert numbers(distilled)["generation 0"]["errors"] == numbers(tmp_path / "a")["generation 0"]["errors"]


def test_few_shot_tasks_of_other_classes_may_choose(tmp_path: Path) -> None:
    report = run(tmp_path / "a", validation="few-shot", model="conv4", hidden=4, generations=1)
    assert report.rows[0].count == 8
    assert report.rows[0].errors is None
    assert report.rows[1].agreement is not None
    validation = [row for row in rows(tmp_path / "a/generation-1") if row["kind"] == "validation"]
    assert all("agreement" in row and "ece" not in row for row in validation)
    # Generation 0 is what metaft pretrain makes.
    names = set(PretrainConfig.model_fields) - {"label_weight"}  # there it is of words
    shared = {name: value for name, value in SMALL.items() if name in names}
    pretrain(validated(PretrainConfig, {**shared, "model": "conv4", "hidden": 4}), tmp_path / "p", progress=False)
    one, other = (
        checkpoint.load_newest(path / "checkpoints") for path in (tmp_path / "p", tmp_path / "a/generation-0")
    )
    assert all(torch.equal(value, other.best[name]) for name, value in one.best.items())


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
