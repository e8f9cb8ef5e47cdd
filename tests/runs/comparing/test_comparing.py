"""What is compared, what the tables say, and mistakes in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from metaft.assembly.tasks import build_family
from metaft.assembly.unseen import require_unseen
from metaft.commands.compare.compare import PICTURES, compare_in, read_cells
from metaft.commands.compare.files import clear
from metaft.errors import MetaftError
from metaft.settings.config import RunConfig, validated
from tests.runs.comparing.shared import WAVES, metaft


def test_runs_and_a_random_start_on_waves() -> None:
    learners = ["waves-{seed}", "waves-{seed}:steps=4,label=longer", "maml:backbone=random,steps=2,inner_lr=0.01"]
    result = metaft("compare", *learners, *WAVES, "--shots", "5,10", "--seeds", 2, "--baseline", "maml", "--out", "c1")
    assert result.exit_code == 0, result.stderr
    assert "better" in result.stdout or "±" in result.stdout
    page = json.loads(Path("c1/comparison.json").read_text())
    assert list(page["results"]) == ["waves", "longer", "maml"]
    assert page["seeds"] == [0, 1]
    assert page["results"]["waves"]["shots"]["5"]["seeds"]["seeds"] == 2
    assert page["results"]["maml"]["shots"]["5"]["gap"] is None
    assert len(page["results"]["longer"]["shots"]["10"]["steps"]) == 5
    cells = read_cells(Path("c1/results.jsonl"))
    assert len(cells) == 3 * 2 * 2
    assert {cell.tasks_sha256 for cell in cells if cell.shots == 5} == {page["tasks_sha256"]["5"]}
    scores = {cell.seed: cell.result.mean for cell in cells if (cell.label, cell.shots) == ("waves", 10)}
    assert scores[0] != scores[1]
    assert all((Path("c1") / name).read_bytes()[:4] == b"\x89PNG" for name in PICTURES.values())
    assert len([*Path("c1").glob("against_*.svg"), *Path("c1").glob("against_*.pdf")]) == 2 * len(PICTURES)
    report = Path("c1/comparison.html").read_text()
    assert report.count("<svg") == len(PICTURES) + 1, "and the curves as they were fitted"
    assert report.count('class="sortable"') == 2
    assert Path("c1/comparison.csv").read_text().count("\n") == 1 + 3 * 2
    assert r"\toprule" in Path("c1/comparison.tex").read_text()
    assert "| longer |" in Path("c1/comparison.md").read_text()
    assert {folder.name for folder in Path("c1/tensorboard").iterdir()} == {"waves", "longer", "maml", "comparison"}
    assert all(len(list(folder.iterdir())) == 1 for folder in Path("c1/tensorboard").iterdir())
    Path("c1/notes.html").touch()
    clear(Path("c1"))
    assert {path.name for path in Path("c1").iterdir()} == {".lock", "notes.html"}, "nothing of the user's"


@pytest.mark.usefixtures("undrawn")
def test_a_run_scores_as_evaluate_says() -> None:
    assert metaft("compare", "waves-0", *WAVES, "--out", "c2").exit_code == 0
    told = metaft("evaluate", "waves-0", "--tasks", 8, "--seed", 1000, "--json", "alone.json")
    assert told.exit_code == 0, told.stderr
    alone = json.loads(Path("alone.json").read_text())["results"]["maml"]
    (cell,) = read_cells(Path("c2/results.jsonl"))
    assert cell.result.mean == alone["mean"]
    assert cell.seed is None, "nothing is random about a run without {seed}"


@pytest.mark.usefixtures("undrawn")
def test_a_run_takes_the_steps_that_it_has_for_the_test() -> None:
    shutil.copytree("waves-0", "waves-more")
    config = Path("waves-more/config.toml")
    config.write_text(config.read_text().replace("[evaluate]\n", "[evaluate]\ntest_steps = 3\n"))
    assert metaft("compare", "waves-more", "waves-more:steps=1,label=fewer", *WAVES, "--out", "steps").exit_code == 0
    page = json.loads(Path("steps/comparison.json").read_text())["results"]
    assert [len(page[name]["shots"]["10"]["steps"]) for name in ("waves-more", "fewer")] == [4, 2]


@pytest.mark.parametrize("dataset", ["glyphs", "mini-imagenet"])
def test_published_steps_of_one_method_are_not_those_of_every_learner(
    dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Asked(Exception):
        pass

    def asked(*given: object) -> None:
        raise Asked(given[-1])

    assert validated(RunConfig, {"dataset": dataset}).test_steps is not None
    for name, what in (
        ("build_family", lambda *_, **__: None),
        ("with_shots", lambda *_: {}),
        ("build_entrants", asked),
    ):
        monkeypatch.setattr(f"metaft.commands.compare.compare.{name}", what)
    for given in (None, 7):
        with pytest.raises(Asked, match=f"^{given}$"):
            compare_in("none", ["nearest-neighbour"], dataset=dataset, test_steps=given)


@pytest.mark.usefixtures("undrawn")
def test_images_and_a_learner_of_ones_own() -> None:
    call = ["compare", "own_compared:Mine:scale=2", "nearest-neighbour", "--dataset", "own_compared:marks"]
    result = metaft(*call, "--ways", 3, "--queries", 2, "--tasks", 6, "--shots", "1,4", "--seeds", "4,2", "--out", "c3")
    assert result.exit_code == 0, result.stderr
    cells = read_cells(Path("c3/results.jsonl"))
    assert [cell.seed for cell in cells if cell.label == "Mine"] == [4, 4, 2, 2], "it has a seed, so it is given one"
    assert [cell.seed for cell in cells if cell.label == "nearest-neighbour"] == [None, None]
    assert cells[0].result.learner["scale"] == 2.0
    assert cells[0].result.per_task.tolist() == cells[-2].result.per_task.tolist(), "the same rule"


@pytest.mark.usefixtures("undrawn")
def test_interrupted_then_resumed() -> None:
    call = ["compare", "own_compared:Mine", "nearest-neighbour", "--dataset", "own_compared:marks", "--ways", 3]
    call += ["--queries", 2, "--tasks", 6, "--seeds", 2, "--out"]
    assert metaft(*call, "whole").exit_code == 0
    Path("stop").touch()
    stopped = metaft(*call, "parts")
    Path("stop").unlink()
    assert stopped.exit_code == 130
    assert "1 of 3 evaluations are kept in parts; go on with --resume" in stopped.stderr
    (kept,) = Path("parts/results.jsonl").read_text().splitlines()
    refused = metaft(*call, "parts")
    assert refused.exit_code == 2
    assert "already holds a comparison; give --resume" in refused.stderr
    assert metaft(*call, "parts", "--resume").exit_code == 0
    assert Path("parts/results.jsonl").read_text().splitlines()[0] == kept, "not made again"

    def scores(folder: str) -> list[object]:
        cells = read_cells(Path(folder) / "results.jsonl")
        return [(cell.label, cell.seed, cell.tasks_sha256, cell.result.per_task.tolist()) for cell in cells]

    assert scores("parts") == scores("whole")
    assert metaft(*call, "parts", "--overwrite").exit_code == 0
    assert Path("parts/results.jsonl").read_text().splitlines()[0] != kept, "made anew: other times"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("nearest-neighbor", "did you mean 'nearest-neighbour'"),
        ("nearest-neighbour:kk=9", "learner 'nearest-neighbour' has no option 'kk'; did you mean 'k'?"),
        ("waves-7", "unknown learner 'waves-7'"),
        ("waves-{seed} --seeds 3", "no run in waves-2"),
        ("waves-0:step=3", "a run directory has no option 'step'; did you mean 'steps'?"),
        ("waves-0:weights=worst", "should be 'best' or 'last'"),
        ("waves-0:steps=-1", "steps = -1"),
        ("waves-0 --baseline wave-0", "the baseline 'wave-0' does not take part; did you mean 'waves-0'?"),
        ("waves-0 waves-0", "given twice"),
        ("waves-0 --shots 0", "shots = 0: should be whole numbers of at least 1"),
        ("waves-0 --seeds none", "seeds = none"),
        ("waves-0 --out waves-0", "is not empty and holds no comparison"),
        ("waves-0 --out new --resume", "no comparison in new to resume"),
        ("waves-0 --resume --overwrite", "exclude each other"),
        ("waves-0 --dataset glyphs", "of another kind"),
        ("maml", "needs a network; give backbone=DIRECTORY"),
        ("maml:backbone=random,rule=sdg", "unknown rule 'sdg'; did you mean 'sgd'?"),
        ("maml:backbone=random,steps=few", "steps = few: should be a valid integer"),
        ("own_compared:Nine", "has no 'Nine'; did you mean 'Mine'?"),
        ("own_compared:Mine:scale=big", "scale = big: should be a valid number"),
        ("own_compared:OWNS", "has no 'OWNS'"),
        ("own_compared:Path", "is no learner: it has no transductive"),
        ("", "Missing argument"),
    ],
)
def test_bad_input_is_one_line_before_any_work(command: str, said: str) -> None:
    data = [] if "--dataset" in command else list(WAVES)
    before = sorted(Path().iterdir())
    result = metaft("compare", *command.split(), *data)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert [path for path in sorted(Path().iterdir()) if path.name != "__pycache__"] == [
        path for path in before if path.name != "__pycache__"
    ]


def record(folder: str, dataset: str, **family: object) -> str:
    """A run directory that says only what it was trained on."""
    Path(folder).mkdir(exist_ok=True)
    told = {"family": {"dataset": dataset, "split": "train", **family}}
    (Path(folder) / "run.json").write_text(json.dumps({"settings": told}))
    return folder


def test_seen_classes_are_refused() -> None:
    settings = {"dataset": "own_compared:marks", "ways": 3, "queries": 2}
    config = validated(RunConfig, settings)
    tests = build_family(config, "test", config.seed)
    with pytest.raises(MetaftError, match=r"chosen on 4 of the test classes \(mark12, mark13, mark14, …\)"):
        require_unseen(record("chosen", "own_compared:marks", scheme="alphabets"), config, tests)
    with pytest.raises(MetaftError, match="trained on 8 of the test classes"):
        require_unseen(record("cheat", "own_compared:marks", split="test"), config, tests)
    require_unseen(record("elsewhere", "glyphs"), config, tests)
    result = metaft("compare", "./chosen", "--dataset", "own_compared:marks", "--ways", 3, "--queries", 2)
    assert result.exit_code == 2
    assert "of the test classes" in result.stderr


def test_another_division_of_omniglot_is_refused() -> None:
    config = validated(RunConfig, {"dataset": "omniglot", "scheme": "alphabets"})
    try:
        tests = build_family(config, "test", config.seed)
    except MetaftError as error:
        pytest.skip(f"needs Omniglot: {error}")
    require_unseen(record("same", "omniglot", scheme="alphabets", rotations=True), config, tests)
    with pytest.raises(MetaftError, match="scheme vinyals; test it on classes divided likewise"):
        require_unseen(record("other", "omniglot", scheme="vinyals", rotations=False), config, tests)


@pytest.mark.usefixtures("undrawn")
def test_the_table_says_what_a_verdict_is_of() -> None:
    call = ["compare", "nearest-neighbour", "own_compared:Mine", "own_compared:Mine:scale=3,label=many"]
    data = ["--dataset", "own_compared:marks", "--ways", 3, "--queries", 2, "--tasks", 5]
    assert metaft(*call, *data, "--out", "said-one").exit_code == 0
    page = Path("said-one/comparison.md").read_text()
    assert ", these weights" in page
    assert "ranges over tasks." in page
    assert metaft(*call, *data, "--seeds", 3, "--out", "said-three").exit_code == 0
    page = Path("said-three/comparison.md").read_text()
    assert ", these weights" not in page
    assert "ranges over tasks and seeds" in page
    stored = json.loads(Path("said-three/comparison.json").read_text())
    gap = stored["results"]["many"]["shots"]["1"]["gap"]
    assert (gap["ranges_over"], gap["about"], gap["seeds"]) == ("tasks and seeds", "the method", [3, 1])
    assert (
        metaft(*call, *data, "--seeds", 3, "--baseline", "many", "--paired-seeds", "--out", "said-pairs").exit_code == 0
    )
    stored = json.loads(Path("said-pairs/comparison.json").read_text())
    assert stored["results"]["Mine"]["shots"]["1"]["gap"]["paired"] is True
    assert stored["results"]["nearest-neighbour"]["shots"]["1"]["gap"]["paired"] is False


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("linearised:backbone=random,steps=5", "25 of 5 will not do; give head_steps=2 (1 to 4 will do), or steps=50"),
        ("head-first:backbone=random,steps=1", "25 of 1 will not do; give steps=50"),
        ("head-first:backbone=random,head_steps=0", "0 of 50 will not do; give head_steps=25 (1 to 49 will do)"),
        ("head-first:backbone=random,scope=all,!head", "the scope 'all,!head' leaves the head out; give another scope"),
        ("fine-tuning:backbone=random,rate=0,head_rate=1", "must be a positive finite number, not 0.0"),
        ("fine-tuning:backbone=random,rule=meta-sgd", "for fine-tuning, use 'sgd'"),
        ("fine-tuning:backbone=random,steps=-1", "inner steps must be a whole number of at least 0, not -1"),
        ("fine-tuning:backbone=random,stepz=3", "did you mean 'steps'?"),
        ("nearest-neighbour:k=0", "k"),
        ("feature-extraction:backbone=random,head=svn", "did you mean 'svm'?"),
        ("own_compared:Mine:scale=big", "scale = big"),
        ("class-means:backbone=runs/none-{seed}", "no run in runs/none-0"),
    ],
)
def test_among_many_learners_a_mistake_names_its_own_as_it_was_given(given: str, said: str) -> None:
    many = ["nearest-neighbour", "nearest-neighbour:metric=cosine", "class-means:backbone=random", given]
    tasks = ["--dataset", "own_compared:marks", "--ways", 2, "--queries", 2, "--tasks", 2]
    done = metaft("compare", *many, *tasks, "--out", "nine")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert said in done.stderr
    assert given.replace("{seed}", "0") in done.stderr
