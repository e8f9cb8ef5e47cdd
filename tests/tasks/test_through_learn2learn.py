"""learn2learn's task sets as a family: the same tasks for the same numbers, split as its users split them."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import metaft
from metaft.tasks.through_learn2learn import Learn2LearnTasks

CLASSES, EXAMPLES = 8, 6


def numbered(l2l, labels=None, dtype=torch.float32):
    """Examples that carry their class and their place within it."""
    kind = torch.arange(CLASSES).repeat_interleave(EXAMPLES)
    x = torch.stack([kind, torch.arange(EXAMPLES).repeat(CLASSES)], dim=1).to(dtype)
    data = list(zip(x, kind.tolist() if labels is None else [labels[k] for k in kind], strict=True))
    return l2l.data.MetaDataset(Listed(data))


class Listed(torch.utils.data.Dataset):
    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.data[index]


def taskset(l2l, k=4, fused=True, consecutive=True, num_tasks=-1, dataset=None, replacement=False):
    data = numbered(l2l) if dataset is None else dataset
    t = l2l.data.transforms
    choose = [t.FusedNWaysKShots(data, n=3, k=k, replacement=replacement)] if fused else [
        t.NWays(data, n=3), t.KShots(data, k=k, replacement=replacement)
    ]  # fmt: skip
    order = [t.ConsecutiveLabels(data)] if consecutive else []
    return l2l.data.Taskset(data, [*choose, t.LoadData(data), t.RemapLabels(data), *order], num_tasks=num_tasks)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.tensors(), b.tensors(), strict=True))


@pytest.mark.parametrize("num_tasks", [-1, 7])
def test_a_batch_is_pure_in_seed_and_index(l2l, num_tasks):
    source = taskset(l2l, num_tasks=num_tasks)
    family = metaft.families.learn2learn(source, 2, 2, seed=3)
    later = family.batch(7, 4)
    source.sample()
    family.batch(2, 9)
    again = metaft.families.learn2learn(taskset(l2l, num_tasks=num_tasks), 2, 2, seed=3)
    assert same(again.batch(7, 4), later)
    assert same(family.batch(7, 4), later)
    assert not same(family.batch(8, 4), later)
    assert not same(metaft.families.learn2learn(source, 2, 2, seed=4).batch(7, 4), later)
    assert not same(metaft.families.learn2learn(source, 2, 2, seed=3, split="test").batch(7, 4), later)


def test_another_process_draws_the_same_tasks(l2l):
    code = (
        "from metaft.data.compat import learn2learn_module\n"
        "from tests.tasks.test_through_learn2learn import metaft, taskset\n"
        "batch = metaft.families.learn2learn(taskset(learn2learn_module(), fused=False), 2, 2, seed=5).batch(11, 3)\n"
        "print(batch.support_x.tolist(), batch.query_y.tolist())"
    )
    here = Path(__file__).parents[2]
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=here).stdout
    batch = metaft.families.learn2learn(taskset(l2l, fused=False), 2, 2, seed=5).batch(11, 3)
    assert other.strip() == f"{batch.support_x.tolist()} {batch.query_y.tolist()}"


def test_global_random_states_stay(l2l):
    family = metaft.families.learn2learn(taskset(l2l), 2, 2)
    state = lambda: (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    before = state()
    family.batch(0, 5)
    unchanged = state() == before  # outside of the assertion, which would write out the difference
    assert unchanged


def test_random_loading_is_repeatable_too(l2l):
    class Noisy(Listed):
        def __getitem__(self, index):
            x, y = self.data[index]
            return x + torch.rand(2) + np.random.rand() + random.random(), y

    noisy = l2l.data.MetaDataset(Noisy([(torch.zeros(2), i // EXAMPLES) for i in range(CLASSES * EXAMPLES)]))
    family = metaft.families.learn2learn(taskset(l2l, dataset=noisy), 2, 2)
    first = family.batch(0, 3)
    assert same(family.batch(0, 3), first)
    assert len(first.support_x.unique()) == first.support_x.numel()


def recording(source):
    """The same task set, and a list of the tasks it will be asked for."""
    drawn = []

    class Recording:
        dataset, num_tasks, task_transforms = source.dataset, source.num_tasks, source.task_transforms
        sample_task_description = staticmethod(source.sample_task_description)

        @staticmethod
        def get_task(description):
            drawn.append(source.get_task(description))
            return drawn[-1]

    return Recording(), drawn


@pytest.mark.parametrize("consecutive", [True, False])
def test_support_and_query_are_those_of_its_examples(l2l, consecutive):
    """learn2learn's examples/vision/maml_miniimagenet.py: the even places of a task adapt, the odd ones evaluate."""
    source, drawn = recording(taskset(l2l, consecutive=consecutive))
    batch = Learn2LearnTasks(source, shots=2, queries=2).batch(0, 5)
    for task, (data, labels) in enumerate(drawn[-5:]):
        adaptation = np.zeros(data.size(0), dtype=bool)
        adaptation[np.arange(2 * 3) * 2] = True
        support, query = torch.from_numpy(adaptation), torch.from_numpy(~adaptation)
        expected = data[support], labels[support], data[query], labels[query]
        assert all(torch.equal(t[task], e) for t, e in zip(batch.tensors(), expected, strict=True))


def test_one_shot_sets_are_those_of_partition_task(l2l):
    source, drawn = recording(taskset(l2l, k=5))
    batch = Learn2LearnTasks(source, shots=1, queries=4).batch(0, 5)
    for task, (data, labels) in enumerate(drawn[-5:]):
        (px, py), (rx, ry) = l2l.data.utils.partition_task(data, labels, shots=1)
        for x, y, their_x, their_y in (
            (batch.support_x[task], batch.support_y[task], px, py),
            (batch.query_x[task], batch.query_y[task], rx, ry),
        ):
            by_label = y.sort(stable=True)
            assert torch.equal(by_label.values, their_y)
            assert torch.equal(x[by_label.indices], their_x)


@pytest.mark.parametrize(("shots", "queries"), [(1, 1), (1, 5), (2, 3), (4, 2), (5, 1)])
@pytest.mark.parametrize("fused", [True, False])
def test_tasks_are_balanced_disjoint_and_labelled_right(l2l, shots, queries, fused):
    family = metaft.families.learn2learn(taskset(l2l, k=shots + queries, fused=fused), shots, queries)
    assert (family.outputs, family.input_shape, family.kind) == (3, (2,), "classification")
    batch = family.batch(3, 20)
    assert batch.support_x.shape == (20, 3 * shots, 2)
    assert batch.query_x.shape == (20, 3 * queries, 2)
    for sx, sy, qx, qy in zip(*batch.tensors(), strict=True):
        assert torch.bincount(sy).tolist() == [shots] * 3
        assert torch.bincount(qy).tolist() == [queries] * 3
        rows = [tuple(row) for row in torch.cat([sx, qx]).tolist()]
        assert len(set(rows)) == len(rows)
        name_of = dict(zip(sy.tolist(), sx[:, 0].tolist(), strict=True))
        assert [name_of[y] for y in qy.tolist()] == qx[:, 0].tolist()


def test_a_finite_task_set_has_so_many_tasks_and_remembers_nothing(l2l):
    source = taskset(l2l, num_tasks=4)
    batch = metaft.families.learn2learn(source, 2, 2).batch(0, 60)
    assert len({str(x.tolist()) for x in batch.support_x}) == 4
    assert source.sampled_descriptions == {}


def test_evaluated_with_another_seed_and_meta_trained_on(l2l, tmp_path):
    family = metaft.families.learn2learn(taskset(l2l), 2, 2, dataset="numbers")
    told = family.describe()
    assert json.loads(json.dumps(told)) == told
    model = metaft.models.build("mlp", outputs=3, input_shape=family.input_shape, seed=0, hidden=(8,))
    learner = metaft.learners.MAML(model, metaft.SGD(0.1), 1)
    one, other = (metaft.evaluate(learner, family, tasks=10, seed=seed) for seed in (1, 2))
    assert one.family["seed"] == 1
    assert not torch.equal(one.per_task, other.per_task)
    before = {name: value.clone() for name, value in learner.params.items()}
    metaft.meta_train(learner, family, iterations=2, tasks=4, seed=0, out=tmp_path / "run")
    assert any(not torch.equal(before[name], value) for name, value in learner.params.items())


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda lib: [1, 2], "Taskset is needed, not list"),
        (lambda lib: taskset(lib, k=3), "need 4 examples a class, this task set gives .3, 3, 3.: use KShots"),
        (lambda lib: taskset(lib, k=4, replacement=True), "with replacement"),
        (lambda lib: taskset(lib, dataset=numbered(lib, labels="abcdefgh")), "labelled with text"),
        (lambda lib: taskset(lib, dataset=numbered(lib, dtype=torch.uint8)), "torch.uint8: add a transform to float"),
        (lambda lib: lib.data.Taskset(numbered(lib), without_remapping(lib)), "add RemapLabels"),
    ],
)
def test_a_task_set_that_does_not_do_is_refused(l2l, made, says):
    with pytest.raises(metaft.MetaftError, match=says):
        metaft.families.learn2learn(made(l2l), 2, 2).batch(0, 50)


def without_remapping(l2l):
    data = numbered(l2l)
    return [l2l.data.transforms.FusedNWaysKShots(data, n=3, k=4), l2l.data.transforms.LoadData(data)]


def test_counts_below_one_are_refused(l2l):
    with pytest.raises(metaft.MetaftError, match="at least 1"):
        metaft.families.learn2learn(taskset(l2l), 0, 4)
