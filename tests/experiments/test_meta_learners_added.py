"""experiments.meta_learners --add: what a page told is kept where it is the same, and joins what is new."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from experiments.meta_learners import __main__ as command
from experiments.meta_learners.collect import _by_suite
from experiments.meta_learners.kept import read_kept
from experiments.meta_learners.page import page, write_pages
from experiments.meta_learners.plan import Training, plan, read_plan
from experiments.meta_learners.report import Report
from experiments.meta_learners.scores import scored, together
from metaft.errors import MetaftError
from metaft.evaluation.statistics import summarise
from tests.experiments.meta_learners_parts import cell, report, table_of

COURSES, METHODS = read_plan(Path(command.__file__).parent / "plan.toml")


def of_maml(seeds: int, folder: Path) -> list[Training]:
    return plan([METHODS["maml"]], {"5-way": COURSES["5-way"]}, seeds, {"5-way": 2.0}, folder)[0]


def test_a_page_says_again_what_it_said(tmp_path: Path) -> None:
    told = dataclasses.replace(report(), remarks=("All of it on a train.",))
    assert "\nAll of it on a train.\n" in page(told, [], "")
    (training,) = of_maml(1, tmp_path)
    kept = read_kept(tmp_path / f"{write_pages(told, [training], tmp_path)}.json")
    assert [*told.scores["5-way"], *told.scores["sinusoid"]] == list(kept.scores)
    assert kept.commands == {"maml 5-way seed 0": training.command()}
    (one,) = kept.facts["maml", "5-way"]
    assert one.to_json() == told.facts["maml", "5-way"][0].to_json()
    suites = {suite: [score for score in kept.scores if score.suite == suite] for suite in ("5-way", "sinusoid")}
    again = dataclasses.replace(told, facts=kept.facts, scores=suites, remarks=kept.remarks)
    assert page(again, [], "") == page(told, [], "")
    (origin,) = kept.origins
    assert set(origin) == {"commit", "versions", "machine", "date"}
    added = dataclasses.replace(again, origins=kept.origins)
    twice = read_kept(tmp_path / f"{write_pages(added, [training], tmp_path)}.json")
    assert twice.origins[0] == origin
    assert len(twice.origins) == 2


def test_what_is_no_page_of_this_experiment_is_not_added_to(tmp_path: Path) -> None:
    with pytest.raises(MetaftError, match=r"there is no .* to add to; leave add out"):
        read_kept(tmp_path / "meta_learners.json")
    (tmp_path / "meta_learners.json").write_text('{"results": {}}')
    with pytest.raises(MetaftError, match=r"is not what experiments\.meta_learners writes"):
        read_kept(tmp_path / "meta_learners.json")


def test_seeds_scored_apart_come_together() -> None:
    tasks = {0: [0.5, 0.75, 1.0], 1: [0.25, 0.75, 0.75], 2: [0.5, 0.5, 1.0]}
    all_seeds, first, others = (
        scored("5-way", "maml", [cell("as trained", seed, 1, tasks[seed]) for seed in seeds])[0]
        for seeds in ((0, 1, 2), (0,), (1, 2))
    )
    both = together(first, others)
    assert (both.seeds, both.means, both.bound) == ((0, 1, 2), all_seeds.means, True)
    assert both.score.mean == pytest.approx(all_seeds.score.mean)
    assert both.score.ci95 == pytest.approx(sum(summarise(tasks[seed]).ci95 for seed in tasks) / 3)
    assert both.score.ci95 > all_seeds.score.ci95, "never narrower than with the tasks at hand"
    assert together(all_seeds, others).means == all_seeds.means
    changed = scored("5-way", "maml", [cell("as trained", 0, 1, [0.0, 0.0, 0.5])])[0]
    assert together(first, changed) == changed, "a seed that was made anew counts"
    with pytest.raises(MetaftError, match="are of 3 others; score on the same"):
        together(dataclasses.replace(first, tasks_sha256="other"), others)


def test_a_bound_is_marked_as_one_and_said() -> None:
    told = report()
    assert "≤" not in page(told, [], "")
    first = told.scores["5-way"][0]
    marked = dataclasses.replace(
        told, scores={"5-way": [dataclasses.replace(first, bound=True), *told.scores["5-way"][1:]]}
    )
    assert table_of(marked, "method | mode")[1][0][2].startswith("91.50 ± ≤")
    assert "\n± ≤: seeds were scored apart" in page(marked, [], "")
    waves = [dataclasses.replace(one, bound=True) for one in told.scores["sinusoid"]]
    assert "≤" not in page(dataclasses.replace(told, scores={**told.scores, "sinusoid": waves}), [], "")


def told_of_maml(seeds: tuple[int, ...], scored_with: tuple[int, ...]) -> Report:
    """A report of MAML at 5 ways alone, with trainings of some seeds and scores of others."""
    cells = [cell("as trained", seed, shots, [0.5, 0.75 + seed / 8]) for seed in scored_with for shots in (1, 5)]
    ran = [dataclasses.replace(report().facts["maml", "5-way"][0], seed=seed) for seed in seeds]
    return dataclasses.replace(
        report(), facts={("maml", "5-way"): ran}, scores={"5-way": scored("5-way", "maml", cells)}
    )


def test_only_trainings_with_the_same_settings_are_kept(tmp_path: Path) -> None:
    trainings = of_maml(3, tmp_path)
    other = dataclasses.replace(trainings[1], settings={**trainings[1].settings, "inner_lr": 9.0})
    made = [trainings[0], other, trainings[2]]
    file = tmp_path / f"{write_pages(told_of_maml((0, 1, 2), (0, 1, 2)), made, tmp_path)}.json"
    kept = read_kept(file).of(trainings, COURSES, METHODS)
    assert list(kept.commands) == ["maml 5-way seed 0", "maml 5-way seed 2"]
    assert [one.seed for one in kept.facts["maml", "5-way"]] == [0, 2]
    score, five_shots = kept.scores
    assert (score.shots, five_shots.shots, five_shots.seeds) == (1, 5, (0, 2))
    assert (score.seeds, score.means, score.bound) == ((0, 2), [0.625, 0.75], True)
    # A page without digests is held to its commands.
    content = json.loads(file.read_text())
    del content["digests"]
    file.write_text(json.dumps(content))
    assert list(read_kept(file).of(trainings, COURSES, METHODS).commands) == ["maml 5-way seed 0", "maml 5-way seed 2"]


@pytest.mark.parametrize("cpu", ["AMD EPYC 7763 64-Core Processor", "Intel(R) Xeon(R) CPU @ 2.20GHz", "unknown"])
def test_what_ran_on_another_processor_is_made_again_where_asked(
    cpu: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "environment", lambda: {"machine": {"cpu": cpu}})
    trainings = of_maml(3, tmp_path)
    told = told_of_maml((0, 1, 2), (0, 1, 2))
    here = command.short_name(cpu)
    # Whatever this test runs on: one training ran on the processor at hand, two on another.
    first, second, third = (dataclasses.replace(one, processor="another") for one in told.facts["maml", "5-way"])
    ran = {("maml", "5-way"): [first, dataclasses.replace(second, processor=here), third]}
    kept = read_kept(tmp_path / f"{write_pages(dataclasses.replace(told, facts=ran), trainings, tmp_path)}.json")
    assert kept.elsewhere(here) == ["maml 5-way seed 0", "maml 5-way seed 2"]
    names = command.ran_elsewhere(kept, trainings[:2], add=True)
    assert names == ["maml 5-way seed 0"], "seed 2 was not asked for"
    left = kept.without(names).of(trainings, COURSES, METHODS)
    assert list(left.commands) == ["maml 5-way seed 1", "maml 5-way seed 2"]
    assert left.scores[0].seeds == (1, 2)
    for add, only_page in ((False, False), (True, True)):
        with pytest.raises(MetaftError, match="give it with add and without page"):
            command.ran_elsewhere(kept, trainings, add, only_page)


def test_two_rows_of_one_learner(tmp_path: Path) -> None:
    rows = [METHODS["matching"], METHODS["matching-scaled"]]
    plain, scaled = plan(rows, {"any-way": COURSES["any-way"]}, 1, {"any-way": 2.0}, tmp_path)[0]
    assert plain.settings["learner"] == scaled.settings["learner"] == "matching"
    assert (plain.name, scaled.name) == ("matching any-way seed 0", "matching-scaled any-way seed 0")
    assert plain.folder != scaled.folder
    assert scaled.words()[:2] == ["--learner", "matching"]
    assert "--learned-scale" in scaled.words()


@pytest.mark.parametrize("change", [{"test_steps": {"5-way": 3}}, {"also": "running"}])
def test_other_ways_of_scoring_are_other_settings(tmp_path: Path, change: dict[str, object]) -> None:
    (training,) = of_maml(1, tmp_path)
    changed = dataclasses.replace(training, method=dataclasses.replace(training.method, **change))  # type: ignore[arg-type]
    assert changed.command() == training.command()
    assert changed.digest() != training.digest()


def test_the_default_given_is_the_default(tmp_path: Path) -> None:
    (training,) = of_maml(1, tmp_path)
    given = dataclasses.replace(training, settings={**training.settings, "inner_lr": 2.0})
    assert given.command() != training.command()
    assert given.digest() == training.digest()


def test_a_training_without_its_scores_is_not_kept(tmp_path: Path) -> None:
    trainings = of_maml(2, tmp_path)
    file = tmp_path / f"{write_pages(told_of_maml((0, 1), (0,)), trainings, tmp_path)}.json"
    assert list(read_kept(file).of(trainings, COURSES, METHODS).commands) == ["maml 5-way seed 0"]


def test_scores_of_other_test_tasks_are_not_added() -> None:
    one, *others = scored("5-way", "maml", [cell("as trained", 0, shots, [0.5, 1.0]) for shots in (1, 5)])
    changed = dataclasses.replace(one, key="anil", tasks_sha256="other")
    with pytest.raises(MetaftError, match="5-way 1 shots: maml transductive is of 2 test tasks and"):
        _by_suite([one, *others, changed], ["maml", "anil"])
    command.require_same_counts([one], {"5-way": 2, "20-way": 5})
    with pytest.raises(MetaftError, match="2 5-way test tasks, and 400 are asked for; give tasks=2"):
        command.require_same_counts([one], {"5-way": 400})


def test_the_mode_of_training_comes_first_whatever_other_suites_have() -> None:
    waves = scored("sinusoid", "anil", [cell("as trained", 0, 5, [1.0, 2.0], "inductive", 11)])
    images = scored("5-way", "anil", [cell(mode, 0, 1, [0.5, 1.0], mode) for mode in ("transductive", "inductive")])
    assert [one.mode for one in _by_suite([*waves, *images], ["anil"])["5-way"]] == ["transductive", "inductive"]


def test_waves_that_diverged_leave_no_interval_to_seeds_scored_apart() -> None:
    first, second = (
        scored("sinusoid", "maml", [cell("as trained", seed, 5, [1.0, 2.0], "inductive", 11)])[0] for seed in (0, 1)
    )
    assert together(first, second).score.ci95 == pytest.approx(first.score.ci95)
    lost = dataclasses.replace(second, steps=((dataclasses.replace(second.steps[0][-1], count=1, diverged=1),),))
    assert np.isnan(together(first, lost).score.ci95)
    assert together(first, lost).tasks == 2
