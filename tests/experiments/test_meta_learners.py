"""experiments/meta_learners: what is planned, what a run's files say, what the page makes of it."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.jobs import work
from experiments.meta_learners import __main__ as command
from experiments.meta_learners.collect import untrained
from experiments.meta_learners.facts import facts, mean
from experiments.meta_learners.jobs import forget_scores, scores_folder, scoring_job
from experiments.meta_learners.page import page, settings_told
from experiments.meta_learners.plan import (
    SUITES,
    Training,
    plan,
    read_plan,
    settings_of,
    stem,
    with_scheme,
)
from experiments.meta_learners.plots import curves_figure, spread
from experiments.plans import chosen_names
from metaft.cli import cli
from metaft.commands.compare.compare import CELLS
from metaft.commands.sweep.processes import Job
from metaft.errors import MetaftError
from metaft.runs.directory import read_record
from tests.experiments.meta_learners_parts import gap_lines, report, table_of

HERE = Path(command.__file__).parent
TIMES = "method | course"
COURSES, METHODS = read_plan(HERE / "plan.toml")


def test_every_method_can_be_trained_as_planned(tmp_path: Path) -> None:
    trainings, refused = plan(list(METHODS.values()), COURSES, 2, dict.fromkeys(COURSES, 2.0), tmp_path)
    assert refused == {}
    assert len({training.folder for training in trainings}) == len(trainings)
    half = len(trainings) // 2
    assert {training.seed for training in trainings[:half]} == {0}, "all methods with one seed before any with two"


def test_a_short_training_of_many_steps_is_not_compiled() -> None:
    engines = [settings_of(METHODS["imaml"], COURSES["5-way"], minutes).get("engine") for minutes in (2, 10)]
    assert engines == ["eager", None]


def test_published_numbers_stand_at_places_of_the_tables() -> None:
    places = {place for suite in SUITES.values() for place in suite.places()}
    for method in METHODS.values():
        assert set(method.published) <= places | {"mode", "source", "tasks", "notes"}
        assert set(method.courses) | set(method.settings) | set(method.choose) | set(method.test_steps) <= set(COURSES)


def test_a_misspelt_method_is_told_the_nearest() -> None:
    assert chosen_names(METHODS, "anil, protonet", "method") == ["anil", "protonet"]
    with pytest.raises(MetaftError, match="unknown method 'protonets'; did you mean 'protonet'"):
        chosen_names(METHODS, "protonets", "method")


def test_a_training_with_other_settings_is_not_taken_for_this_one(tmp_path: Path) -> None:
    maml, course = METHODS["maml"], COURSES["5-way"]
    training = plan([maml], {"5-way": course}, 1, {"5-way": 1.0}, tmp_path)[0][0]
    training.folder.mkdir(parents=True)
    other = {**training.settings, "inner_lr": 0.125}
    text = "\n".join(f"{name} = {json.dumps(value)}" for name, value in other.items())
    (training.folder / "config.toml").write_text(text)
    changed = dataclasses.replace(maml, settings={"5-way": {"inner_lr": 0.25}})
    with pytest.raises(MetaftError, match=r"inner_lr = 0\.125, and is now to be made with 0\.25"):
        plan([changed], {"5-way": course}, 1, {"5-way": 1.0}, tmp_path)


@settings(deadline=None)
@given(st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=15), st.floats(0.001, 0.06))
def test_labels_keep_their_order_and_distance(heights: list[float], least: float) -> None:
    found = spread(np.array(heights), least)
    assert (found >= -1e-9).all()
    assert (found <= 1 + 1e-9).all()
    for i, j in itertools.combinations(range(len(heights)), 2):
        assert abs(found[i] - found[j]) >= least - 1e-9
        if heights[i] < heights[j]:
            assert found[i] < found[j]


def test_labels_with_room_stay() -> None:
    heights = np.array([0.9, 0.1, 0.5])
    np.testing.assert_allclose(spread(heights, 0.1), heights)


def test_the_picture_labels_every_line_with_its_last_score() -> None:
    curves = {f"m{i}": np.array([[1.0, 0.5], [10.0, 0.9 + i / 1000]]) for i in range(14)}
    axes = curves_figure(curves, "title", "accuracy").axes[0]
    assert [text.get_text() for text in axes.texts] == [f"m{i} {90 + i / 10:.1f}" for i in range(14)]


def write_run(folder: Path, seconds: float, scores: list[float]) -> Training:
    """A finished run with a validation every 10 iterations and one at the end."""
    rows = []
    for k, score in enumerate(scores):
        end = k == len(scores) - 1
        if not end:
            row = {"kind": "train", "iteration": 10 * (k + 1), "seconds": 2.0 * (k + 1), "accuracy_after": 0.1 * k}
            rows.append(row)
        rows.append({"kind": "validation", "iteration": 10 * (k + 1) - 3 * end, "accuracy": score})
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    record = {"state": "finished", "iteration": 10 * len(scores) - 3, "seconds": seconds,
              "settings": {"train": {"tasks": 16}}, "best_validation_accuracy": max(scores)}  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    return Training(METHODS["maml"], COURSES["5-way"], 0, 1.0, {}, folder)


def test_facts_are_what_the_run_logged(tmp_path: Path) -> None:
    one = facts(write_run(tmp_path / "a", 9.0, [0.2, 0.4, 0.6, 0.5]))
    assert (one.iterations, one.tasks, one.seconds, one.validation) == (37, 592, 9.0, 0.6)
    np.testing.assert_allclose(one.curve, [[2, 0.2], [4, 0.4], [6, 0.6], [9, 0.5]])
    assert one.training == pytest.approx(0.1)  # of 0, 0.1 and 0.2
    assert one.late == pytest.approx(0.5 - 0.45)  # at 4.5 s it stood a quarter of the way from 0.4 to 0.6
    two = facts(write_run(tmp_path / "b", 11.0, [0.4, 0.5]))
    both = mean([one, two])
    np.testing.assert_allclose(both.curve, [[2, 0.3], [10, 0.5]])
    assert both.iterations == (37 + 17) / 2
    assert facts(write_run(tmp_path / "c", 3.0, [0.4, 0.5])).late is None  # the first validation came at two thirds


def test_published_numbers_stand_beside_the_mode_they_belong_to() -> None:
    heads, rows = table_of(report(), "method | mode")
    assert heads[2:] == ["5-way 1-shot", "published", "5-way 5-shot", "published"]
    assert [row[:2] for row in rows] == [["MAML", "inductive"], ["MAML", "transductive"]]
    assert rows[0][2].startswith("91.50 ±")
    assert rows[0][2].endswith("(91.00–92.00)")
    assert [row[3] for row in rows] == ["–", "98.7 ± .4 (transductive)"]


def test_sinusoid_scores_are_read_after_steps_1_and_10() -> None:
    _, rows = table_of(report(), "method | shots")
    assert [row[1:3] for row in rows] == [["5", "1"], ["5", "10"], ["10", "1"], ["10", "10"]]
    assert rows[0][3].startswith("10.500")
    assert rows[1][3].startswith("1.500")
    assert [row[-1] for row in rows] == ["1.13 ± .18", "–", "–", "–"]


def test_a_median_of_waves_that_diverged_is_no_number() -> None:
    def told(*medians: float) -> str:
        first = report()
        waves = first.scores["sinusoid"][0]
        steps = tuple((dataclasses.replace(waves.steps[0][0], median=median),) * 11 for median in medians)
        scores = {"sinusoid": [dataclasses.replace(waves, steps=steps)]}
        return table_of(dataclasses.replace(first, scores=scores), "method | shots")[1][0][4]

    assert told(0.1, 0.3) == "0.200 (0.100–0.300)"
    assert told(0.1, 1e18, 51.0) == "over 50 in 2 of 3 seeds"


def test_the_page_says_what_methods_were_told(tmp_path: Path) -> None:
    courses, methods = read_plan(Path(command.__file__).parent / "plan.toml")
    wanted = [methods[key] for key in ("maml", "fomaml", "anil", "reptile", "matching-scaled")]
    told = settings_told(plan(wanted, courses, 2, dict.fromkeys(courses, 1.0), tmp_path)[0])
    assert told == [
        "MAML 5-way: `test_steps = 1`",
        "FOMAML 5-way: `test_steps = 1`",
        "MAML 20-way: `steps = 1`",
        "ANIL 20-way: `steps = 1`",
        "Reptile 20-way: `test_steps = 12`",
        "Matching Networks, learned scale any-way: `learned_scale = true`",
    ]
    assert f"but for {'; '.join(told)}.\n" in page(report(), [], "", told)
    assert "each method's own" not in page(report(), [], "")


def test_training_and_test_tasks_are_in_the_same_mode() -> None:
    """Whatever mode the published number is of."""
    told = report()
    (inductive,) = {one.mode for one in told.scores["5-way"]} - {told.held_against("5-way", "maml")}
    row = told.row("5-way", "maml", told.modes("maml", ["5-way"])[0], 1)
    assert row is not None
    assert row.mode == inductive, "this report's mode of training is not the published one"
    (line,) = gap_lines(told)
    assert f"test {100 * row.score.mean:.1f} (inductive)" in line


def test_a_gap_of_more_than_a_point_is_explained_and_no_other() -> None:
    (line,) = gap_lines(report())
    assert "5-way 1-shot 91.5 for 98.7 (−7.2, transductive)" in line
    assert "5-shot" not in line
    assert "100 training tasks, 2 a second" in line
    assert "1,000 tasks, 10 times as many" in line
    assert "training tasks 95.0, validation 93.0" in line
    assert "changed by +21.9 points" in line


def test_the_page_says_modes_times_and_what_is_absent() -> None:
    text = page(report(), ["5-way"], "metaft meta-train")
    for word in (
        "1 minutes (5-way)",
        " one seed;",
        "*(?)*",
        "meta_learners-1min-sinusoid-1min-5-way.png",
        "drawn at random over all alphabets",
        "- x: why",
        "## Why the gaps",
        "--minutes 1",
    ):
        assert word in text


def test_a_program_that_fails_is_said_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails = "import sys; print('Error: no such thing'); sys.exit(2)"
    work([Job("bad", ("-c", fails), tmp_path / "a.log"), Job("good", ("-c", "print(1)"), tmp_path / "b.log")], 1)
    assert "failed: bad: Error: no such thing" in capsys.readouterr().out
    assert (tmp_path / "b.log").read_text() == "1\n"


def in_this_process(jobs: Sequence[Job], at_once: int) -> None:
    """What the programs would do, without the seconds that starting them takes."""
    for job in jobs:
        with pytest.raises(SystemExit) as end:
            cli.main(list(job.words[3:]))
        assert end.value.code == 0


def test_from_plan_to_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = (HERE / "plan.toml").read_text()
    (tmp_path / "plan.toml").write_text(shipped.replace('"sinusoid"\nval', '"sinusoid"\nengine = "eager"\nval'))
    monkeypatch.setattr(command, "HERE", tmp_path)
    monkeypatch.setattr(command, "work", in_this_process)
    words = ["--minutes", "0.02", "--sinusoid-minutes", "0.01", "--seeds", "1", "--tasks", "4", "--only", "maml"]
    words += ["--settings", "sinusoid", "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    done = CliRunner().invoke(command.main, words)
    assert done.exit_code == 0, done.output
    assert "1 of 1 trainings to do: 0.01 minutes" in done.output
    assert read_record(tmp_path / "runs" / "sinusoid-0.01min" / "maml-0")["state"] == "finished"
    stored = (tmp_path / "results" / "meta_learners-0.02min-sinusoid-0.01min.json").read_text()
    assert json.loads(stored)["results"]["scores"]["sinusoid 5 shots: maml inductive"]["count"] == 4
    assert str(tmp_path) not in stored
    monkeypatch.setattr(command, "work", lambda jobs, at_once: pytest.fail("all is done") if jobs else None)
    again = CliRunner().invoke(command.main, words)
    assert again.exit_code == 0, again.output
    # Where the work folder is gone, the page itself says that it is done.
    first = (tmp_path / "results" / "meta_learners-0.02min-sinusoid-0.01min.md").read_text()
    elsewhere = CliRunner().invoke(
        command.main, [*words, "--add", "--remark", "So.", "--runs", str(tmp_path / "empty")]
    )
    assert elsewhere.exit_code == 0, elsewhere.output
    assert "0 of 1 trainings to do, 1 kept" in elsewhere.output
    added = (tmp_path / "results" / "meta_learners-0.02min-sinusoid-0.01min.md").read_text()
    assert (
        added.replace("So.\n\n", "").replace(" Put together with `--add`; `origins` there says from what.", "") == first
    )
    # A scoring that was cut short is absent from the tables, and the page says so.
    (kept,) = (tmp_path / "runs").glob(f"sinusoid-0.01min/scores/*/maml/{CELLS}")
    kept.write_text("".join(kept.read_text().splitlines(keepends=True)[:1]))
    assert CliRunner().invoke(command.main, [*words, "--page"]).exit_code == 0
    text = (tmp_path / "results" / "meta_learners-0.02min-sinusoid-0.01min.md").read_text()
    assert "- maml on sinusoid test tasks: scoring has not come to its end" in text
    assert "| MAML | 5 |" not in text
    assert "- any-way: Proto-MAML, ProtoNet, " in text
    # A training that failed is absent for its own reason, and does not wait to be trained.
    failed = tmp_path / "runs" / "sinusoid-0.01min" / "anil-0"
    failed.mkdir()
    (failed / "run.json").write_text('{"state": "failed"}')
    (failed.parent / "logs").mkdir(exist_ok=True)
    (failed.parent / "logs" / "anil-0.log").write_text("Error: no such thing\n")
    assert "ANIL" in next(line for line in text.splitlines() if line.startswith("- sinusoid: "))
    assert CliRunner().invoke(command.main, [*words, "--page"]).exit_code == 0
    text = (tmp_path / "results" / "meta_learners-0.02min-sinusoid-0.01min.md").read_text()
    assert "- anil sinusoid seed 0: Error: no such thing" in text
    assert "ANIL" not in next(line for line in text.splitlines() if line.startswith("- sinusoid: "))


def test_the_time_table_says_how_far_seeds_were_apart() -> None:
    told = report()
    ran = told.facts["maml", "5-way"][0]
    assert table_of(told, TIMES)[1][0][4:6] == ["AMD EPYC", "10"]
    other = dataclasses.replace(ran, iterations=1030, seed=1)
    both = dataclasses.replace(told, facts={("maml", "5-way"): [ran, other]})
    assert table_of(both, TIMES)[1][0][4:6] == ["AMD EPYC", "520 (10–1,030)"]
    other = dataclasses.replace(other, processor="Intel Xeon")
    both = dataclasses.replace(told, facts={("maml", "5-way"): [ran, other]})
    assert table_of(both, TIMES)[1][0][4] == "AMD EPYC (0), Intel Xeon (1)"


def test_scores_of_one_course_on_several_processors_stand_apart() -> None:
    told = report()
    assert "by processor" not in page(told, [], "")
    first = told.facts["maml", "5-way"][0]
    other = dataclasses.replace(first, iterations=1030, seed=1, processor="Intel Xeon")
    both = dataclasses.replace(told, facts={("maml", "5-way"): [first, other]})
    assert table_of(both, "course | processor")[1] == [
        ["5-way", "AMD EPYC", "MAML", "0", "10", "91.00", "91.00"],
        ["5-way", "Intel Xeon", "MAML", "1", "1,030", "92.00", "92.00"],
    ]
    assert "by processor" in page(both, [], "")


def test_the_page_of_what_is_asked_has_the_plain_name() -> None:
    assert stem({"5-way": 10, "sinusoid": 0.7}, "maml") == "meta_learners"
    assert stem({"5-way": 2, "sinusoid": 0.7}, "alphabets") == "meta_learners-2min-alphabets"
    assert stem({"5-way": 10, "sinusoid": 5}, "maml") == "meta_learners-sinusoid-5min"


def test_what_failed_is_not_said_to_wait(tmp_path: Path) -> None:
    several = [METHODS[name] for name in ("maml", "anil", "boil")]
    trainings, _ = plan(several, {"5-way": COURSES["5-way"]}, 1, {"5-way": 2.0}, tmp_path)
    done = {("anil", "5-way"): trainings[1:2]}
    assert untrained(trainings, done) == {"5-way: MAML, BOIL": "not trained for 2 minutes yet"}
    assert untrained(trainings[:2], done) == {"5-way: MAML": "not trained for 2 minutes yet"}


def test_a_split_of_characters_is_trained_on_and_tested_on(tmp_path: Path) -> None:
    courses = with_scheme(COURSES, "vinyals")
    trainings, _ = plan([METHODS["maml"]], courses, 1, dict.fromkeys(COURSES, 2.0), tmp_path)
    assert {t.course.name: t.scheme for t in trainings} == {"5-way": "vinyals", "20-way": "vinyals", "sinusoid": None}
    assert trainings[0].folder == tmp_path / "5-way-vinyals-2min" / "maml-0"
    words = scoring_job(SUITES["5-way"], trainings[:1], 4).words
    assert words[words.index("--scheme") + 1] == "vinyals"


def test_scores_of_a_training_to_be_made_anew_are_forgotten(tmp_path: Path) -> None:
    trainings, _ = plan([METHODS["maml"]], {"5-way": COURSES["5-way"]}, 3, {"5-way": 2.0}, tmp_path)
    file = scores_folder(SUITES["5-way"], trainings[0], 4) / CELLS
    forget_scores(trainings, {"5-way": 4})
    assert not file.exists()
    file.parent.mkdir(parents=True)
    file.write_text('{"seed": 0, "shots": 1}\n{"seed": 1, "shots": 1}\n{"seed": 1, "shots": 5}\n')
    forget_scores(trainings[1:], {"5-way": 4})
    assert file.read_text() == '{"seed": 0, "shots": 1}\n'
