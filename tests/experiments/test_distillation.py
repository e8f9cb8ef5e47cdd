"""The plan of the distillation experiments is sound; the page says what the numbers say, and no more."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from experiments.distillation.__main__ import write
from experiments.distillation.numbers import by_seed, gain, mean_of, points, verdict
from experiments.distillation.page import write_page
from experiments.distillation.plan import Run, folder_name, plan, read_plan, scored
from experiments.distillation.sections import GENERATIONS
from experiments.training import HERE
from metaft.errors import MetaftError
from metaft.learners.spec import parse

EXPERIMENTS = read_plan(HERE / "distillation" / "plan.toml")


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("short", [False, True])
def test_every_run_has_settings_that_its_command_takes(name: str, short: bool, tmp_path: Path) -> None:
    runs = plan(EXPERIMENTS[name], 2, short, tmp_path)
    folders = [run.folder for run in runs]
    assert len(set(folders)) == len(folders)
    seen: set[Path] = set()
    for run in runs:
        named = [str(value) for value in run.settings.values() if str(value).startswith(str(tmp_path))]
        assert run.follows == bool(named)
        assert all(any(Path(value).is_relative_to(folder) for folder in seen) for value in named), "trained before"
        assert all("{" not in str(value) for value in run.settings.values())
        seen |= {run.folder}
        assert str(tmp_path) not in run.shown
        assert "{" not in run.shown


def test_a_run_made_with_other_settings_is_refused(tmp_path: Path) -> None:
    run = plan(EXPERIMENTS["fewshot"], 1, True, tmp_path)[0]
    run.folder.mkdir(parents=True)
    (run.folder / "config.toml").write_text('dataset = "omniglot"\nsteps = 7\nseed = 0\n')
    with pytest.raises(MetaftError, match="was made with"):
        plan(EXPERIMENTS["fewshot"], 1, True, tmp_path)


def test_what_is_scored_are_learners_of_each_seed(tmp_path: Path) -> None:
    for experiment in EXPERIMENTS.values():
        for label, text in scored(experiment, tmp_path).items():
            filled = parse(f"{text}{',' if ':' in text else ':'}label={label}").at(1)
            path = filled.options.get("backbone", filled.target)
            names = [folder_name(name, {}, 1) for name in experiment.runs]
            assert any(name in Path(path).parts for name in names)
            assert filled.label == label


def test_numbers_are_paired_by_seed() -> None:
    rows = [{"run": "a", "seed": seed, "x": value} for seed, value in ((2, 0.5), (0, 0.25), (1, None))]
    first = {0: 0.2, 2: 0.3, 3: 0.9}
    found = by_seed(rows, "x", run="a")
    assert found == {0: 0.25, 2: 0.5}
    assert points(found, first) == pytest.approx([5, 20])
    half = stats.t.ppf(0.975, 1) * stats.sem([5, 20])
    assert gain(found, first) == f"+12.50 ± {half:.2f}"
    assert mean_of({0: 2.0}, 1) == "2.0"
    assert mean_of({}, 1) == "–"
    assert gain(found, found) == "–"


def test_what_is_within_the_seed_spread_is_called_so() -> None:
    assert verdict("a", [1.0, 1.1, 0.9]).endswith("clear on these examples")
    assert verdict("a", [1.0, 1.1, 0.9], over_examples=0.5).endswith("± ≤ 0.56), clear")
    assert verdict("a", [1.0, 1.1, 0.9], over_examples=2.0).endswith("clear on these examples")
    assert verdict("a", [1.0, -1.1, 0.4]).endswith("within the seed spread")
    assert verdict("a", [1.0]) == ""


def stub(seeds: int = 3) -> dict[str, Any]:
    """Numbers of the form that collect() gives."""
    draw = random.Random(0)

    def row(run: str, name: str, seed: int, **more: Any) -> dict[str, Any]:
        test = 0.9 + 0.01 * draw.random()
        return {"run": run, "name": name, "seed": seed, "level": {}, "test": test, "validation": test, "ece": 0.02,
                "errors": round(10_000 * (1 - test)), "count": 10_000, "seconds": 9.0, **more}  # fmt: skip

    every = range(seeds)
    left = {"left_out_errors": 30, "bias_correction": 2.5}
    mnist = [row(run, name, seed, **left) for seed in every for run in ("distilled", "labels", "without-3")
             for name in ("generation 0", "generation 1", "generation 1 corrected")]  # fmt: skip
    noise = [row(run, name, seed, level={"label_noise": share}) for seed in every for share in (0.0, 0.4)
             for run in ("generations", "longer", "smoothing") for name in GENERATIONS]  # fmt: skip
    again = [row("generations", name, seed) for seed in every for name in (*GENERATIONS, "generations 0–1")]
    again += [row(run, "generation 1", seed) for seed in every for run in ("dkpp", "cwtm", "longer", "smoothing")]
    on_tasks = {"ci95": 0.0123, "tasks": 200, "transductive": False}
    names = [f"{name} + {head}" for head in ("class means", "logistic") for name in (*GENERATIONS, "dkpp", "cwtm")]
    few = [{"label": name, "seed": seed, "accuracy": 0.9 + 0.01 * draw.random(), **on_tasks} for seed in every
           for name in names]  # fmt: skip
    maml = {"5 steps (teacher)": "slow", "1 step, alone": "alone", "1 step, taught": "taught"}
    trained = [row(run, run, seed, iterations=900) for seed in every for run in maml.values()]
    answered = [{"label": label, "seed": seed, "accuracy": 0.95, **on_tasks} for seed in every for label in maml]
    made = {"mnist": (mnist, []), "noise": (noise, []), "born-again": (again, few), "representation": (again, few),
            "fewshot": (trained, answered)}  # fmt: skip
    results = {
        name: {"title": experiment.title, "published": dict(experiment.published), "seeds": list(every),
               "rows": made[name][0], "scores": made[name][1], "commands": {"a": "metaft distill"}, "minutes": 3.0}
        for name, experiment in EXPERIMENTS.items()
    }  # fmt: skip
    return {"command": "python -m experiments.distillation", "machine": {"cpu": "a processor"}, "results": results}


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_page_is_made_of_the_numbers(seeds: int, tmp_path: Path) -> None:
    found = json.loads(json.dumps(stub(seeds)))
    write_page(found, tmp_path, {})
    text = (tmp_path / "distillation.md").read_text()
    for experiment in EXPERIMENTS.values():
        assert f"## {experiment.title}" in text
    for label in ("67", "146", "74", "109", "student, distilled"):
        assert label in text
    taught = by_seed(found["results"]["mnist"]["rows"], "errors", run="distilled", name="generation 1")
    assert mean_of(taught, 1) in text
    pictures = [line.split("](./")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert pictures
    assert all((tmp_path / picture).exists() for picture in pictures)
    assert "nan" not in text


def test_a_page_of_what_is_there_so_far(tmp_path: Path) -> None:
    found = stub()
    found["results"] = {"mnist": found["results"]["mnist"]}
    found["results"]["mnist"]["rows"] = [r for r in found["results"]["mnist"]["rows"] if r["run"] == "distilled"]
    write_page(found, tmp_path, {})
    text = (tmp_path / "distillation.md").read_text()
    assert "student, distilled" in text
    assert "Label noise" not in text
    assert "--only noise`" in text.split("## Absent")[1]


def test_an_experiment_whose_runs_are_gone_stays_on_the_page(tmp_path: Path) -> None:
    found = stub() | {"versions": {}, "commit": "abc", "date": "today"}
    del found["results"]["representation"]
    (tmp_path / "distillation.json").write_text(json.dumps(found))
    planned = {name: plan(experiment, 1, False, tmp_path / "runs") for name, experiment in EXPERIMENTS.items()}
    for _ in range(2):
        write(EXPERIMENTS, planned, False, tmp_path, tmp_path / "runs")
        page = json.loads((tmp_path / "distillation.json").read_text())
        assert set(page["results"]) == set(found["results"])
        assert page["results"]["mnist"]["rows"] == found["results"]["mnist"]["rows"]
        assert page["results"]["mnist"]["measured"]["commit"] == "abc"
    text = (tmp_path / "distillation.md").read_text()
    assert "3 minutes of one core of an a processor" in text
    assert "--only representation`" in text


def test_the_state_is_that_of_the_folder(tmp_path: Path) -> None:
    run = plan(EXPERIMENTS["mnist"], 1, True, tmp_path)[0]
    assert isinstance(run, Run)
    assert (run.state, run.words[0]) == ("absent", "distill")
    assert "--resume" not in run.words
    run.folder.mkdir(parents=True)
    (run.folder / "run.json").write_text('{"state": "stopped"}')
    assert run.state == "stopped"
    assert "--resume" in run.words
