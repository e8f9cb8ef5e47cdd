"""Metric learners through the training loop and the commands: resumed, on several ranks, at other ways and shots."""

import json

import pytest
import torch
from click.testing import CliRunner
from torch.func import functional_call

from metaft.assembly.backbone import load_backbone
from metaft.assembly.meta_learner import load_run
from metaft.cli import cli
from metaft.models.heads import without_head
from metaft.runs import checkpoint
from metaft.settings.config import RunConfig, validated
from metaft.tasks.episodes import Episodes
from metaft.training import loop
from metaft.training.loop import meta_train
from tests.distributed.threads import on_ranks
from tests.learners.metric.episodes import make, tasks
from tests.runs.own_images import images

OWN = ["--dataset", "tests.runs.own_images:images", "--image-size", "16", "--hidden", "6"]
SHORT = ["--ways", "3", "--train-ways", "5", "--queries", "3", "--tasks", "2", "--iterations", "4"]
SHORT += ["--log-every", "2", "--validate-every", "2", "--validate-tasks", "6", "--checkpoint-every", "2", "--quiet"]


@pytest.fixture(autouse=True)
def _no_picture(monkeypatch):
    monkeypatch.setattr(loop, "draw_episode", lambda *args: None)


def metaft(*args):
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert result.exit_code == 0, result.stderr
    return result.stdout


class Crashing(Episodes):
    """Episodes that end the run at the sixth batch."""

    def batch(self, index, tasks):
        if index == 5:
            raise RuntimeError("crash")
        return super().batch(index, tasks)


@pytest.mark.parametrize("name", ["protonet", "in-context-transformer"])
def test_a_crashed_run_resumes_bit_for_bit(tmp_path, name):
    def run(out, kind, **more):
        learner = make(name)
        learner.params = {n: p.float() for n, p in learner.params.items()}
        family = kind(images("train"), 4, 1, 2)
        how = {"average": 0.9, "log_every": 2, "validate_every": 3, "validate_tasks": 6, "checkpoint_every": 4}
        meta_train(learner, family, 9, 2, out=out, validation=Episodes(images("val"), 3, 1, 2, split="val"),
                   progress=False, **how, **more)  # fmt: skip
        return learner.params

    whole = run(tmp_path / "whole", Episodes)
    with pytest.raises(RuntimeError, match="crash"):
        run(tmp_path / "parts", Crashing)
    resumed = run(tmp_path / "parts", Episodes, resume=True)
    assert all(torch.equal(whole[n], resumed[n]) for n in whole)
    one, other = (checkpoint.load_newest(tmp_path / out / "checkpoints") for out in ("whole", "parts"))
    for part in checkpoint.PARTS:
        found = getattr(one, part)
        assert all(torch.equal(found[n], getattr(other, part)[n]) for n in found), part
    start = make(name).params
    assert not any(torch.equal(one.weights[n], p.float()) for n, p in start.items() if "running" in n)


def test_ranks_agree_on_the_gradient_and_on_what_was_gathered():
    learners = [make("protonet") for _ in range(2)]
    batch = tasks(count=5)

    def job(world):
        share = world.share(batch)
        out = learners[world.place.rank].meta_gradient(share.batch)
        return out, world.agree(out, share, 0.0, 0)[0]

    (one, first), (other, second) = on_ranks(2, job)
    assert torch.equal(first.loss, torch.cat([one.losses, other.losses]).mean())
    for part in ("grads", "gathered"):
        for n, found in getattr(first, part).items():
            expected = 0.4 * getattr(one, part)[n] + 0.6 * getattr(other, part)[n]
            torch.testing.assert_close(found, expected)
            assert torch.equal(found, getattr(second, part)[n])
    assert first.gathered.keys() == one.gathered.keys() != set()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "draw_episode", lambda *args: None)
        for name in ("protonet", "matching", "matching-fce", "r2d2", "in-context-transformer"):
            metaft("meta-train", "--learner", name, *OWN, *SHORT, "--out", folder / name)
    return folder


@pytest.mark.parametrize("name", ["protonet", "matching", "matching-fce", "r2d2", "in-context-transformer"])
def test_a_run_is_evaluated_at_other_ways_and_shots(runs, name):
    record = json.loads((runs / name / "run.json").read_text())
    assert record["settings"]["family"]["ways"] == 5
    for ways, shots in ((2, 5), (3, 1)):
        told = metaft(
            "evaluate", runs / name, "--ways", ways, "--shots", shots, "--tasks", 8, "--json", runs / "r.json"
        )
        assert f"{ways}-way {shots}-shot · inductive" in told
        family = next(iter(json.loads((runs / "r.json").read_text())["results"].values()))["family"]
        assert (family["ways"], family["shots"]) == (ways, shots)
    assert "transductive" in metaft("evaluate", runs / name, "--batch-norm", "transductive", "--tasks", 8)


def test_runs_are_compared_at_other_ways(runs):
    asked = [*OWN[:4], "--ways", 2, "--shots", "1,5", "--queries", 3, "--tasks", 8]
    told = metaft("compare", runs / "protonet", runs / "in-context-transformer", *asked, "--out", runs / "compared")
    assert "2-way 1-shot" in told
    assert "2-way 5-shot" in told


def test_inner_steps_are_refused_where_there_are_none(runs):
    run = runs / "protonet"
    for call in (
        ["evaluate", run, "--steps", 3],
        ["compare", f"{run}:steps=3", *OWN[:4], "--ways", 2, "--queries", 3, "--out", runs / "no"],
    ):
        result = CliRunner().invoke(cli, [str(word) for word in call])
        assert result.exit_code == 2, result.stdout
        assert "steps = 3: learner 'protonet' has no inner steps; leave it out" in result.stderr
    assert not (runs / "no").exists()


def test_saved_and_loaded_scores_are_equal(runs, tmp_path):
    scores = []
    for _ in range(2):
        metaft("evaluate", runs / "r2d2", "--tasks", 8, "--json", tmp_path / "r.json")
        scores.append(json.loads((tmp_path / "r.json").read_text())["results"]["r2d2"]["per_task"])
    assert scores[0] == scores[1]
    _, learner = load_run(runs / "r2d2")
    batch = Episodes(images("test"), 3, 1, 3).batch(0, 4)
    assert torch.equal(learner.curve(batch), load_run(runs / "r2d2")[1].curve(batch))


@pytest.mark.long
def test_a_sweep_over_a_setting_of_a_metric_learner(tmp_path):
    grid = tmp_path / "grid.toml"
    grid.write_text(
        'command = "meta-train"\nseeds = [0]\n[base]\nlearner = "protonet"\ndataset = "tests.runs.own_images:images"\n'
        "image_size = 16\nhidden = 4\nways = 3\nqueries = 3\ntasks = 2\niterations = 2\nvalidate_tasks = 4\n"
        '[grid]\ndistance = ["euclidean", "cosine"]\n'
    )
    metaft("sweep", grid, "--out", tmp_path / "sweep", "--jobs", 1, "--quiet")
    assert "cosine" in (tmp_path / "sweep/sweep.md").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--learner", "maml", "--train-ways", "10"], "has a head for 5 ways and cannot train on others"),
        (["--learner", "maml", "--batch-norm", "running"], "learner 'maml' gathers none"),
        (["--learner", "protonet", "--rule", "adam"], "learner 'protonet' has no option 'rule'"),
        (["--learner", "protonet", "--dataset", "sinusoid"], "this is a regression"),
        (
            ["--learner", "in-context-transformer", "--dataset", "sinusoid", "--train-ways", "9"],
            "a regression has no ways",
        ),
        (["--learner", "in-context-transformer", "--token-width", "30"], "heads must divide the width"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(tmp_path, words, said):
    result = CliRunner().invoke(cli, ["meta-train", *words, "--out", str(tmp_path / "r")])
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_running_statistics_that_were_not_gathered_are_not_used(tmp_path):
    out = tmp_path / "r"
    metaft("meta-train", "--learner", "protonet", *OWN, *SHORT, "--batch-norm", "inductive", "--out", out)
    result = CliRunner().invoke(cli, ["evaluate", str(out), "--batch-norm", "running"])
    assert result.exit_code == 2
    assert "gathered no running statistics" in result.stderr


def test_published_numbers_of_ways_are_the_default_where_there_are_classes_enough():
    told = lambda **given: validated(RunConfig, {"learner": "protonet", **given})
    assert (told().train_ways, told().tasks) == (60, 1)
    assert told(train_ways=20, tasks=4).train_ways == 20
    assert told(ways="3-7").train_ways is None
    assert told(dataset="tests.runs.own_images:images").train_ways is None
    assert validated(RunConfig, {"learner": "maml"}).train_ways is None


@pytest.mark.parametrize("mode", ["running", "transductive"])
def test_its_network_is_a_backbone_for_other_learners(tmp_path, mode):
    out = tmp_path / "run"
    metaft("meta-train", "--learner", "protonet", *OWN, *SHORT, "--batch-norm", mode, "--out", out)
    _, learner = load_run(out)
    network = load_backbone(out)
    x = torch.rand(7, 1, 16, 16)
    statistics = [b for b in network.buffers() if b.is_floating_point()]
    assert bool(statistics) == (mode == "running")
    trained = functional_call(learner.features.module.eval(), learner.network(), (x,))
    if mode == "running":
        torch.testing.assert_close(without_head(network)(x), trained)
    own = f"class-means:backbone={out}" + ",batch_norm=transductive" * (mode != "running")
    few = ["--ways", "3", "--queries", "3", "--tasks", "4", "--no-curves"]
    assert "class-means" in metaft("compare", own, out, *OWN, *few, "--out", tmp_path / "compared")
