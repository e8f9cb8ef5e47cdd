"""A resumed run goes on with all that its result depends on, or is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from click.testing import CliRunner, Result

import metaft
from metaft.cli import cli
from metaft.data.images import LabelledImages
from metaft.errors import MetaftError
from metaft.runs.directory import RunDirectory
from metaft.runs.resuming import may_change, require_same_config
from metaft.settings.config import CommandSettings, RunConfig, to_toml, validated
from metaft.settings.distill import DistillConfig, GenerationConfig
from metaft.settings.pretrain import PretrainConfig
from metaft.training.loop import meta_train
from tests.runs.fakes import LinearMaml, Sinusoids

FREE = {"iterations", "minutes", "patience", "device", "threads", "workers", "checkpoint_every", "callbacks"}
LINE = {"generations", "patience", "device", "threads", "checkpoint_every", "callbacks"}
MARKS = """
import torch
from metaft.data.images import LabelledImages

def marks(split, shade=0):
    drawn = torch.arange(8 * 20 * 64, dtype=torch.int64).remainder(251).to(torch.uint8).view(160, 1, 8, 8) + shade
    return LabelledImages(drawn, torch.full((8,), 20), tuple(f"{split}{i}" for i in range(8)))
"""


def other(value: Any, annotation: Any) -> Any:
    """Another value of a setting, of its kind."""
    choices = [c for c in get_args(annotation) if isinstance(c, str)]
    choices += [c for part in get_args(annotation) for c in get_args(part) if isinstance(c, str)]
    if choices:
        return next((choice for choice in choices if choice != value), 3)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 if isinstance(value, int) or value >= 1 else value / 2 + 0.2
    kinds = str(annotation)
    return 3 if "int" in kinds else 0.5 if "float" in kinds else "another"


@pytest.mark.parametrize("old", [False, True], ids=["record", "record of an older metaft"])
@pytest.mark.parametrize("kind", [RunConfig, PretrainConfig, DistillConfig, GenerationConfig])
def test_every_setting_is_compared(kind: type[CommandSettings], old: bool, tmp_path: Path) -> None:
    config = validated(kind, {})
    run = RunDirectory(tmp_path)
    run.write_record(state="stopped", kind=kind.command, **({} if old else {"config": config.model_dump()}))
    (tmp_path / "config.toml").write_text(to_toml(config))
    require_same_config(tmp_path, config)
    free = LINE if kind is DistillConfig else FREE | LINE if kind is GenerationConfig else FREE
    assert set(may_change(kind)) == free
    for name, field in kind.model_fields.items():
        before = getattr(config, name)
        changed = config.model_copy(update={name: other(before, field.annotation)})
        assert getattr(changed, name) != before, name
        if name in free:
            require_same_config(tmp_path, changed)
        else:
            with pytest.raises(MetaftError, match=f"begun with {name} = .*leave {name} as it was, or give another out"):
                require_same_config(tmp_path, changed)


def test_a_config_that_was_edited_by_hand_is_noticed(tmp_path: Path) -> None:
    config = validated(RunConfig, {})
    RunDirectory(tmp_path).write_record(state="finished", kind="meta-train", config=config.model_dump())
    (tmp_path / "config.toml").write_text(to_toml(config.model_copy(update={"test_steps": 7})))
    with pytest.raises(MetaftError, match="begun with test_steps = 3, not 7"):
        require_same_config(tmp_path, config.model_copy(update={"test_steps": 7}))


def command(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture
def _marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_marks.py").write_text(MARKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


SMALL = ["--dataset", "own_marks:marks", "--model", "mlp", "--hidden", 4, "--queries", 2, "--validate-tasks", 2]


@pytest.mark.usefixtures("_marks")
def test_meta_training_on_other_tasks_is_not_gone_on_with() -> None:
    begin = ["meta-train", "--learner", "protonet", *SMALL, "--ways", 2, "--train-ways", 4, "--tasks", 1, "--quiet"]
    assert command(*begin, "--iterations", 2, "--out", "r").exit_code == 0
    before = Path("r/run.json").read_text(), Path("r/config.toml").read_text()
    for words, said in {
        "--ways 5 --iterations 30": "begun with ways = 2, not 5",
        "--train-ways 3": "begun with train_ways = 4, not 3",
        "--shots 2": "begun with shots = 1, not 2",
        "--seed 1": "begun with seed = 0, not 1",
        "--split-seed 1": "begun with split_seed = 0, not 1",
        "--scheme x": "begun with scheme = alphabets, not x",
        "--batch-norm inductive": "begun with batch_norm = none, not inductive",
        "--distance cosine": "begun with learner = protonet, not protonet:distance=cosine",
        "--test-tasks 7": "begun with test_tasks = 600, not 7",
        "--validate-every 7": "begun with validate_every = 250, not 7",
    }.items():
        done = command("meta-train", "--resume", "--out", "r", *words.split())
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
        assert said in done.stderr
    assert before == (Path("r/run.json").read_text(), Path("r/config.toml").read_text())
    more = ["--iterations", 3, "--threads", 2, "--workers", 1, "--checkpoint-every", 5, "--device", "cpu"]
    assert command("meta-train", "--resume", "--out", "r", "--quiet", *more).exit_code == 0
    assert json.loads(Path("r/run.json").read_text())["iteration"] == 3


@pytest.mark.usefixtures("_marks")
def test_what_evaluate_does_is_not_changed_by_resuming() -> None:
    begin = ["meta-train", *SMALL, "--engine", "eager", "--ways", 2, "--tasks", 1, "--iterations", 1, "--quiet"]
    assert command(*begin, "--out", "r").exit_code == 0
    before = Path("r/config.toml").read_bytes()
    done = command("meta-train", "--resume", "--out", "r", "--test-steps", 4)
    assert done.exit_code == 2
    assert "begun with test_steps = none, not 4" in done.stderr
    assert Path("r/config.toml").read_bytes() == before


@pytest.mark.usefixtures("_marks")
@pytest.mark.parametrize("name", ["pretrain", "distill"])
def test_pretraining_and_distillation_likewise(name: str) -> None:
    begin = [name, *SMALL, "--ways", 2, "--batch-size", 4, "--iterations", 1, "--quiet"]
    begin += ["--test-tasks", 2] if name == "distill" else []
    assert command(*begin, "--out", "r").exit_code == 0, command(*begin, "--out", "r2").output
    changes = {
        "--batch-size 8": "batch_size = 4, not 8",
        "--shift 1": "shift = 0, not 1",
        "--ways 3": "ways = 2, not 3",
    }
    changes |= {"--temperature 9": "temperature = 4, not 9"} if name == "distill" else {}
    for words, said in changes.items():
        done = command(name, "--resume", "--out", "r", *words.split())
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
        assert f"begun with {said}" in done.stderr


@pytest.mark.usefixtures("_marks")
def test_data_that_have_changed_are_not_gone_on_with() -> None:
    begin = ["meta-train", "--learner", "protonet", *SMALL, "--ways", 2, "--tasks", 1, "--iterations", 1, "--quiet"]
    assert command(*begin, "--out", "r").exit_code == 0
    record = json.loads(Path("r/run.json").read_text())
    Path("r/run.json").write_text(json.dumps({**record, "first_task_sha256": "0" * 64}))
    done = command("meta-train", "--resume", "--out", "r", "--iterations", 2)
    assert (done.exit_code, done.stderr.splitlines()[-1][:38]) == (2, "Error: the data are not those that the")


def images(shots: int = 1, seed: int = 0, split: str = "train") -> Any:
    drawn = LabelledImages(torch.zeros(60, 1, 4, 4, dtype=torch.uint8), torch.full((3,), 20), ("a", "b", "c"))
    return metaft.families.episodes_of(drawn, 2, shots, 2, split, seed)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"family": Sinusoids(seed=5)}, "family seed = 0, not 5"),
        ({"validation": Sinusoids(seed=5)}, "validation seed = 1, not 5"),
        ({"validation": None}, "begun with validation tasks"),
        ({"seed": 3}, "train seed = 0, not 3"),
        ({"average": 0.5}, "train average = 0.0, not 0.5"),
        ({"validate_tasks": 9}, "train validate_tasks = 2, not 9"),
    ],
)
def test_runs_from_python_likewise(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    how: dict[str, Any] = {"family": Sinusoids(seed=0), "validation": Sinusoids(seed=1), "seed": 0, "validate_tasks": 2}
    how |= {"iterations": 1, "tasks": 2, "out": tmp_path, "progress": False}
    meta_train(LinearMaml(), **how)
    meta_train(LinearMaml(), **how | {"resume": True, "iterations": 2, "checkpoint_every": 7})
    with pytest.raises(MetaftError, match=said):
        meta_train(LinearMaml(), **how | {"resume": True, "iterations": 3} | changed)


def test_a_record_of_an_older_metaft_says_nothing_of_validation(tmp_path: Path) -> None:
    meta_train(LinearMaml(), Sinusoids(), 1, 2, out=tmp_path, progress=False, validate_tasks=2)
    record = json.loads((tmp_path / "run.json").read_text())
    del record["settings"]["validation"]
    (tmp_path / "run.json").write_text(json.dumps(record))
    meta_train(LinearMaml(), Sinusoids(), 2, 2, out=tmp_path, progress=False, resume=True, validation=Sinusoids(),
               validate_tasks=2)  # fmt: skip
