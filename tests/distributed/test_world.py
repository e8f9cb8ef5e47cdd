from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest
import torch

import metaft
from metaft.distributed.place import Place, place
from metaft.distributed.share import Share
from metaft.distributed.world import ALONE
from metaft.errors import MetaftError
from metaft.evaluation import evaluate as evaluation
from metaft.evaluation.validation import validate
from metaft.tasks.batch import TaskBatch
from metaft.tasks.sinusoid import Sinusoids
from tests.distributed.threads import ThreadRank, Wire, on_ranks
from tests.runs.fakes import LinearMaml

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "3", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}


def numbered(tasks: int) -> TaskBatch:
    x = torch.arange(tasks, dtype=torch.float64)[:, None, None].expand(tasks, 2, 1)
    return TaskBatch(x, x, x, x)


def test_place_reads_what_torchrun_sets() -> None:
    assert place({}) == Place()
    assert Place().first
    extra = {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RESTART_COUNT": "4"}
    found = place({**TORCHRUN, **extra, "TORCHELASTIC_USE_AGENT_STORE": "True"})
    assert found == Place(1, 3, 1, 2, "10.0.0.1", 29500, 4, True)
    assert not found.first


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"WORLD_SIZE": None},
            "MASTER_PORT but not WORLD_SIZE; start several ranks with torchrun",
        ),
        ({"RANK": "3"}, "RANK = 3 needs a WORLD_SIZE above it, not 3"),
        ({"RANK": "-1"}, "RANK = -1: should be a whole number"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE = 0: should be a whole number of at least 1"),
        ({"MASTER_PORT": "99999"}, "MASTER_PORT = 99999: should be at most 65535"),
    ],
)
def test_a_wrong_environment_is_one_line(change: dict[str, str | None], said: str) -> None:
    env = {name: value for name, value in {**TORCHRUN, **change}.items() if value is not None}
    with pytest.raises(MetaftError, match=said):
        place(env)


@pytest.mark.parametrize("tasks", [1, 2, 5, 25, 32])
@pytest.mark.parametrize("size", [2, 3, 4, 7, 40])
def test_every_task_is_done_once_and_weights_add_up(tasks: int, size: int) -> None:
    batch = numbered(tasks)
    shares = [ThreadRank(rank, size, Wire(size)).share(batch) for rank in range(size)]
    done = [int(t) for share in shares if share.counts for t in share.batch.support_x[:, 0, 0]]
    assert done == list(range(tasks))
    assert sum(share.weight for share in shares) == pytest.approx(1)
    counts = [share.batch.tasks if share.counts else 0 for share in shares]
    assert max(counts) - min(counts) <= 1
    assert all(share.batch.tasks == 1 and share.weight == 0 for share in shares if not share.counts)
    mean = sum(share.weighted(share.batch.query_x.mean()) for share in shares)
    torch.testing.assert_close(mean, batch.query_x.mean())
    whole = sum(share.placed(share.batch.query_x[:, 0, 0]) for share in shares)
    assert torch.equal(torch.as_tensor(whole), batch.query_x[:, 0, 0])


def test_a_share_that_does_not_count_spreads_no_nan() -> None:
    share = Share(numbered(1), 0, 4, counts=False)
    assert float(share.weighted(torch.tensor(torch.nan))) == 0
    assert share.placed(torch.tensor([torch.nan])).tolist() == [0, 0, 0, 0]


def maml(dtype: torch.dtype = torch.float64) -> metaft.learners.MAML:
    model = metaft.models.build("mlp", outputs=1, input_shape=(1,), seed=0, hidden=(8, 8)).to(dtype)
    return metaft.learners.MAML(model, rule=metaft.SGD(lr=0.02), steps=3, kind="regression")


@pytest.mark.parametrize(("tasks", "size"), [(7, 2), (7, 3), (7, 4), (3, 5), (1, 2)])
def test_the_gradient_of_all_ranks_is_that_of_one(tasks: int, size: int) -> None:
    batch = TaskBatch(*(t.double() for t in Sinusoids().batch(3, tasks).tensors()))
    learner = maml()
    expected = learner.meta_gradient(batch)

    def job(world: ThreadRank) -> Any:
        share = world.share(batch)
        out, seconds = world.agree(learner.meta_gradient(share.batch), share, 1e5 + 1 / 3 + world.place.rank, 0)
        return out, seconds

    found = on_ranks(size, job)
    for out, seconds in found:
        assert seconds == 1e5 + 1 / 3
        torch.testing.assert_close(out.loss, expected.loss, rtol=1e-12, atol=0)
        torch.testing.assert_close(out.losses, expected.losses, rtol=1e-12, atol=0)
        for name, grad in expected.grads.items():
            assert float((out.grads[name] - grad).norm() / grad.norm()) < 1e-12
            assert torch.equal(out.grads[name], found[0][0].grads[name])


def test_the_clock_of_rank_0_survives_float32() -> None:
    learner, batch = maml(torch.float32), Sinusoids().batch(0, 4)

    def job(world: ThreadRank) -> float:
        share = world.share(batch)
        return world.agree(learner.meta_gradient(share.batch), share, 123456.789012, 0)[1]

    assert on_ranks(2, job) == [pytest.approx(123456.789012, abs=1e-6)] * 2


def test_a_signal_to_any_rank_stops_all_after_the_same_iteration() -> None:
    learner, batch = maml(), TaskBatch(*(t.double() for t in Sinusoids().batch(0, 4).tensors()))

    def job(world: ThreadRank) -> list[int]:
        share, heard = world.share(batch), []
        for i in range(3):
            signum = 15 if world.place.rank == 2 and i >= 1 else 0
            world.agree(learner.meta_gradient(share.batch), share, 0.0, signum)
            heard.append(world.stopping(signum))
        return heard

    assert on_ranks(3, job) == [[0, 15, 15]] * 3
    assert ALONE.stopping(2) == 2


@pytest.mark.parametrize(("tasks", "size"), [(130, 2), (130, 3), (40, 3)])
def test_evaluation_is_that_of_one_process_bit_for_bit(tasks: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = LinearMaml()
    expected = evaluation.evaluate(learner, Sinusoids(split="test"), tasks)
    reported: list[tuple[int, int]] = []

    def job(world: ThreadRank) -> Any:
        batches = evaluation.draw(Sinusoids(split="test"), tasks)
        return evaluate_on(world, learner, batches, tasks, lambda done, of: reported.append((done, of)))

    for result in on_ranks(size, job):
        assert torch.equal(result.per_task, expected.per_task)
        assert result.steps == expected.steps
        assert result.metric == expected.metric == "mse"
        assert result.answering_seconds > 0
    assert reported[-1] == (tasks, tasks) if tasks <= 50 * size else reported


def evaluate_on(world: ThreadRank, learner: Any, batches: Any, tasks: int, progress: Any) -> Any:
    """evaluate_batches in a world of threads: each looks its own up."""
    JOINED.world = world
    return evaluation.evaluate_batches(learner, batches, tasks, family={}, progress=progress)


class _Joined:
    def __init__(self) -> None:
        import threading

        self._local = threading.local()

    @property
    def world(self) -> Any:
        return getattr(self._local, "world", ALONE)

    @world.setter
    def world(self, world: Any) -> None:
        self._local.world = world


JOINED = _Joined()


@pytest.fixture(autouse=True)
def _threads_join_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "join", lambda: JOINED.world)


def test_validation_is_that_of_one_process_bit_for_bit() -> None:
    learner = LinearMaml()
    expected = validate(learner, Sinusoids(split="val"), 120)
    assert on_ranks(3, lambda w: validate(learner, Sinusoids(split="val"), 120, world=w)) == [expected] * 3


def test_nothing_to_do_is_nothing_on_all_ranks() -> None:
    assert [r.numel() for r in on_ranks(2, lambda w: w.map_tasks(lambda b, i: torch.zeros(1, b.tasks), []))] == [0, 0]


def test_what_rank_0_has_reaches_all() -> None:
    content = bytes(range(256)) * 3
    assert on_ranks(3, lambda w: w.from_first(content if w.first else b"old")) == [content] * 3
    assert on_ranks(2, lambda w: w.from_first(b"" if w.first else b"x")) == [b"", b""]


def test_a_rank_with_other_settings_is_named() -> None:
    on_ranks(3, lambda w: w.require_same("settings", b"a"))
    with pytest.raises(MetaftError, match="rank 2 has other settings than rank 0"):
        on_ranks(4, lambda w: w.require_same("settings", b"b" if w.place.rank >= 2 else b"a"))


def test_means_over_shares_are_means_over_the_batch() -> None:
    def job(world: ThreadRank) -> list[float]:
        share = world.share(numbered(5))
        return world.mean([float(share.batch.query_x.mean()), 1.0], share)

    for found in on_ranks(3, job):
        assert found == pytest.approx([2.0, 1.0], rel=1e-12)


def test_ranks_draw_random_numbers_of_their_own() -> None:
    before = torch.get_rng_state()

    def drawn(rank: int, iteration: int) -> float:
        ThreadRank(rank, 2, Wire(2)).seed(5, iteration)
        return float(torch.rand(()))

    values = [drawn(rank, iteration) for iteration in (0, 1) for rank in (0, 1)]
    assert len(set(values)) == 4
    assert [drawn(0, 0), drawn(1, 0)] == values[:2]
    torch.set_rng_state(before)


def test_more_ranks_than_accelerators_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    world = ThreadRank(0, 2, Wire(2))
    world.place = Place(0, 2, 0, 2)
    with pytest.raises(MetaftError, match=r"2 ranks on this machine, but 1 CUDA.*--nproc-per-node=1"):
        world.device(torch.device("cuda"))
    assert world.device(torch.device("cpu")) == torch.device("cpu")


def test_a_process_on_its_own_joins_nothing() -> None:
    code = (
        "import metaft, torch.distributed as d\n"
        "from metaft.distributed.ranks import join\n"
        "from metaft.distributed.world import ALONE\n"
        "import sys\n"
        "assert join() is ALONE and not d.is_initialized() and 'metaft.distributed.liveness' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PATH": "", "OMP_NUM_THREADS": "1"})


def test_stretches_follow_each_other() -> None:
    shares = [ThreadRank(rank, 3, Wire(3)).share(numbered(11)) for rank in range(3)]
    assert all(a.start + a.batch.tasks == b.start for a, b in pairwise(shares))
