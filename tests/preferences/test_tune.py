"""``metaft tune`` from the command line, on the stories model and a few short examples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from metaft.assembly.backbone import load_backbone
from metaft.assembly.causal_model import causal_model
from metaft.cli import cli
from metaft.data.locate import find
from metaft.models.pretrained import STORIES
from metaft.runs import checkpoint
from metaft.runs.recorded import recorded_config
from metaft.training import loop

pytestmark = pytest.mark.skipif(
    find(STORIES, None, lambda root: root / STORIES if (root / STORIES).is_dir() else None) is None,
    reason="there is no folder stories260k in the data root",
)
OBJECTIVES = ("sft", "sft:packed=true", "reward", "dpo:beta=0.5", "ppo:words=4,epochs=2,minibatches=2")
SMALL = ("--model", "stories260k", "--template", "none", "--batch-size", "4", "--threads", "1", "--validate-every", "2",
         "--log-every", "1", "--validate-tasks", "4", "--length", "40")  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned by")
    names = [f"{who} {what}" for who in ("Tom", "Lily", "Ben", "Mia") for what in ("ran", "sat", "sang", "hid", "ate")]
    rows = [{"prompt": f"{name} and", "chosen": "was happy.", "rejected": "was sad now."} for name in names]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    rows = [{"prompt": row["prompt"], "answer": row["chosen"]} for row in rows]
    (folder / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "rewarding.py").write_text(
        "def long(prompt, answer):\n    return float(len(answer))\n\n\n"
        "def many(prompts, answers):\n    return [float(len(a)) for a in answers]\n\n\n"
        "def nothing(prompt, answer):\n    return None\n"
    )
    return folder


def tune(data: Path, objective: str, out: Path, *more: str, iterations: int = 4) -> Result:
    kind = "answers" if objective.startswith(("sft", "ppo")) else "pairs"
    reward = ("--reward", "rewarding:long") if objective.startswith("ppo") and "--reward" not in more else ()
    how = (
        "--objective",
        objective,
        "--dataset",
        str(data / f"{kind}.jsonl"),
        "--out",
        str(out),
        *SMALL,
        *reward,
        *more,
    )
    return CliRunner().invoke(cli, ["tune", *how, "--iterations", str(iterations)], catch_exceptions=True)


@pytest.fixture
def here(data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(data)
    monkeypatch.syspath_prepend(data)
    return data


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_run_moves_what_is_put_in_and_is_a_model_again(objective: str, here: Path, tmp_path: Path) -> None:
    found = tune(here, objective, tmp_path / "run")
    assert found.exit_code == 0, found.output
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    told = {name for row in rows for name in row if row["kind"] == "train"}
    assert {"sft": "perplexity", "rew": "accuracy", "dpo": "margin", "ppo": "kl"}[objective[:3]] in told
    base, model = causal_model("stories260k")[0], load_backbone(tmp_path / "run", "last")
    stored = checkpoint.load_newest(tmp_path / "run" / "checkpoints")
    own = dict(model.named_parameters())
    for name, p in base.named_parameters():
        assert name.startswith("head.") or torch.equal(p, own[name]), name
    assert {"lora" in name or name.startswith(("head.", "value.")) for name in stored.weights} == {True}
    assert any(bool(p.any()) for name, p in own.items() if name.endswith("lora.B"))
    again, tokenizer = causal_model(str(tmp_path / "run"))
    assert tokenizer.vocabulary == 512
    assert again.words(torch.tensor([[1, 5]])).shape == (1, 2, 512)
    assert recorded_config(tmp_path / "run").command == "tune"


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("at", [1, 3])
def test_a_stopped_run_goes_on_to_the_same_end(
    objective: str, at: int, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the middle of a rollout, which the checkpoint holds."""
    assert tune(here, objective, tmp_path / "whole").exit_code == 0

    class Stopping(loop.StopRequest):
        def __enter__(self) -> Stopping:
            self.count = 0
            return self

        @property
        def signum(self) -> int:
            self.count += 1
            return 15 if self.count > 2 * at else 0

        @signum.setter
        def signum(self, value: int) -> None:
            pass

    with monkeypatch.context() as patched:
        patched.setattr(loop, "StopRequest", Stopping)
        stopped = tune(here, objective, tmp_path / "parted")
    assert stopped.exit_code == 128 + 15, stopped.output
    resumed = CliRunner().invoke(cli, ["tune", "--resume", "--out", str(tmp_path / "parted")], catch_exceptions=False)
    assert resumed.exit_code == 0, resumed.output
    whole, parted = (checkpoint.load_newest(tmp_path / name / "checkpoints") for name in ("whole", "parted"))
    assert whole.progress["iteration"] == parted.progress["iteration"] == 4
    assert all(torch.equal(value, parted.weights[name]) for name, value in whole.weights.items())
    kept = {name for name in whole.optimiser if name.startswith("kept/")}
    assert bool(kept) == objective.startswith(("dpo", "ppo"))  # a reference is asked once, also by a run that goes on
    assert all(torch.equal(whole.optimiser[name], parted.optimiser[name]) for name in kept)
    assert all(
        torch.equal(value, parted.optimiser[name]) for name, value in whole.optimiser.items() if "rand" not in name
    )


def test_a_reward_model_is_what_ppo_climbs(here: Path, tmp_path: Path) -> None:
    assert tune(here, "reward", tmp_path / "reward", iterations=2).exit_code == 0
    found = tune(here, OBJECTIVES[-1], tmp_path / "ppo", "--reward", str(tmp_path / "reward"), iterations=2)
    assert found.exit_code == 0, found.output


def test_a_run_goes_on_from_another(here: Path, tmp_path: Path) -> None:
    """The reference is then the tuned start, not the bare network."""
    assert tune(here, "sft", tmp_path / "sft", "--outer-lr", "0.01", iterations=2).exit_code == 0
    more = ("--model", str(tmp_path / "sft"), "--addition", "none", "--scope", "lora")
    assert tune(here, "dpo", tmp_path / "dpo", *more, iterations=2).exit_code == 0
    first = json.loads((tmp_path / "dpo" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(0.6931, abs=1e-3)
    names = set(dict(load_backbone(tmp_path / "dpo").named_parameters()))
    assert names == set(dict(load_backbone(tmp_path / "sft").named_parameters()))


@pytest.mark.parametrize(
    ("objective", "more", "said"),
    [
        ("dpoo", (), "unknown objective 'dpoo'; did you mean 'dpo'"),
        ("dpo:beta=-1", (), "beta"),
        ("ppo", ("--reward", "rewarding:absent"), "has no 'absent'"),
        ("ppo", ("--reward", "rewarding:nothing"), "gave 'None' for an answer; expected a finite number"),
        ("ppo", ("--reward", "nowhere"), "there is no such run"),
        ("ppo:minibatches=5", (), "batch_size = 4"),
        ("sft", ("--reward", "rewarding:long"), "sft asks for no reward"),
        ("sft", ("--scope", "nose"), "nose"),
        ("sft", ("--scope", "head"), "that is the head of texts alone"),
        ("sft", ("--model", "nothing"), "unknown model 'nothing'"),
        ("sft", ("--addition", "lora:rank=0"), "rank"),
        ("sft", ("--template", "chat"), "unknown chat template 'chat'"),
        ("sft", ("--dataset", "dpo-demo"), "holds preferences, not instructions"),
    ],
)
def test_what_cannot_be_is_one_line(
    objective: str, more: tuple[str, ...], said: str, here: Path, tmp_path: Path
) -> None:
    found = tune(here, objective, tmp_path / "run", *more)
    assert found.exit_code != 0
    assert said in (found.output or str(found.exception)).replace("\n", " ") or said in str(found.exception)


def test_ppo_needs_a_reward(here: Path, tmp_path: Path) -> None:
    how = [
        "tune",
        "--objective",
        "ppo",
        "--dataset",
        str(here / "answers.jsonl"),
        "--out",
        str(tmp_path / "run"),
        *SMALL,
    ]
    found = CliRunner().invoke(cli, how)
    assert "needs what an answer is worth" in found.output + str(found.exception)


def test_many_answers_are_given_at_once_to_a_function_that_takes_them(here: Path, tmp_path: Path) -> None:
    for name in ("long", "many"):
        assert tune(here, OBJECTIVES[-1], tmp_path / name, "--reward", f"rewarding:{name}", iterations=2).exit_code == 0
    one, other = (checkpoint.load_newest(tmp_path / name / "checkpoints") for name in ("long", "many"))
    assert all(torch.equal(value, other.weights[name]) for name, value in one.weights.items())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_run_is_scored_beside_its_start(objective: str, here: Path, tmp_path: Path) -> None:
    assert tune(here, objective, tmp_path / "run", "--outer-lr", "0.01").exit_code == 0
    for split in ("val", "test"):
        words = ["evaluate", str(tmp_path / "run"), "--tasks", "20", "--split", split]
        found = CliRunner().invoke(cli, words, catch_exceptions=False)
        assert found.exit_code == 0, found.output
    scores = json.loads((tmp_path / "run" / "evaluation-val.json").read_text())["scores"]
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    best = max((row for row in rows if row["kind"] == "validation"), key=lambda row: (row["best"], row["iteration"]))
    name = {"sft": "perplexity", "rew": "loss", "dpo": "loss", "ppo": "reward"}[objective[:3]]
    assert scores["tuned"]["metric"] == pytest.approx(best[name], rel=1e-5)
    if name != "reward" and objective[:3] != "rew":  # what answers
        assert all(0 <= scores[one]["more"]["in form"] <= 1 for one in ("start", "tuned"))
        assert scores["start"]["more"]["kl"] == 0.0
        assert abs(scores["tuned"]["more"]["kl"]) > 0
    if objective.startswith("dpo"):
        assert scores["start"]["metric"] == pytest.approx(0.693147, rel=1e-5)
        assert scores["longer"]["more"]["accuracy"] == 0.0  # "was happy." is shorter than "was sad now."


def test_a_tuned_run_has_no_ways(here: Path, tmp_path: Path) -> None:
    assert tune(here, "sft", tmp_path / "run", iterations=1).exit_code == 0
    found = CliRunner().invoke(cli, ["evaluate", str(tmp_path / "run"), "--ways", "3"])
    assert "--ways: a run of metaft tune has no tasks" in found.output + str(found.exception)
