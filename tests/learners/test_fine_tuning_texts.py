"""Fine-tuning on texts: nothing that is saved on padding, or on features computed once, changes an answer."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call

import metaft
from metaft.learners.answering import last_answers
from metaft.learners.fine_tuning import HEADS_AT_ONCE, FineTuning
from metaft.models import build
from metaft.models.heads import with_new_head
from metaft.outer import chunks
from metaft.tasks.batch import TaskBatch

WAYS = 2


def network() -> nn.Module:
    small = {"vocabulary": 20, "layers": 2, "width": 8, "heads": 2}
    return build("transformer", outputs=3, seed=0, **small).double()


def tasks(count: int, queries: int = 8) -> TaskBatch:
    draw = torch.Generator().manual_seed(0)

    def texts(examples: int) -> torch.Tensor:
        ids = torch.randint(1, 20, (count, examples, 12), generator=draw)
        lengths = torch.randint(1, 10, (count, examples, 1), generator=draw)
        return ids.masked_fill(torch.arange(12) >= lengths, 0)

    label = lambda n: torch.arange(WAYS).repeat(count, n // WAYS)
    return TaskBatch(texts(4), label(4), texts(queries), label(queries), layout="sequences")


def by_autograd(batch: TaskBatch, task: int, names: tuple[str, ...], steps: int) -> torch.Tensor:
    """Answers of one task after so many steps, with torch alone, padding and all."""
    model = with_new_head(network(), WAYS, 0, "zeros").eval()
    params = {name: p.detach() for name, p in model.named_parameters()}
    for _ in range(steps):
        moving = {n: params[n].clone().requires_grad_() for n in params if n.startswith(names)}
        scores = functional_call(model, params | moving, (batch.support_x[task],))
        grads = torch.autograd.grad(nn.functional.cross_entropy(scores, batch.support_y[task]), list(moving.values()))
        params |= {n: p.detach() - 0.5 * g for (n, p), g in zip(moving.items(), grads, strict=True)}
    return functional_call(model, params, (batch.query_x[task],)).detach()


@pytest.mark.parametrize(
    ("scope", "schedule", "names"),
    [("all", "together", ("",)), ("none", "together", ("head",)), ("last:2", "together", ("head", "blocks.1", "norm"))],
)
def test_answers_are_those_of_plain_autograd(scope: str, schedule: str, names: tuple[str, ...]) -> None:
    batch = tasks(3)
    learner = FineTuning(network(), rate=0.5, steps=2, scope=scope, schedule=schedule)
    expected = torch.stack([by_autograd(batch, task, names, 2) for task in range(3)])
    atol = 1e-10
    torch.testing.assert_close(learner.curve(batch)[-1], expected, atol=atol, rtol=0)
    torch.testing.assert_close(
        learner.adapt(batch.support_x, batch.support_y)(batch.query_x), expected, atol=atol, rtol=0
    )
    torch.testing.assert_close(last_answers(learner, batch)[0], expected, atol=atol, rtol=0)


def test_head_first_takes_up_the_course_of_features_computed_once() -> None:
    batch = tasks(2)
    path = FineTuning(network(), rate=0.5, steps=4, schedule="head-first", head_steps=2).curve(batch)
    alone = FineTuning(network(), rate=0.5, steps=2, scope="none").curve(batch)
    torch.testing.assert_close(path[:3], alone, atol=1e-12, rtol=0)
    assert float((path[4] - path[2]).abs().max()) > 1e-4


def test_a_large_network_is_adapted_to_few_tasks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, learner = tasks(5), FineTuning(network(), rate=0.5, steps=1)
    together = learner.curve(batch)
    adapts = sum(p.numel() for name, p in learner.params.items() if not name.startswith("head"))
    assert chunks.bounded_size(batch, adapts) == 5
    monkeypatch.setattr(chunks, "MOST_ADAPTED", 2 * adapts)
    assert chunks.bounded_size(batch, adapts) == 2
    seen: list[int] = []
    walk = FineTuning._walk
    counted = lambda self, net, x, *more: (seen.append(len(x)), walk(self, net, x, *more))[1]
    monkeypatch.setattr(FineTuning, "_walk", counted)
    torch.testing.assert_close(learner.curve(batch), together, atol=1e-12, rtol=0)
    torch.testing.assert_close(learner.adapt(batch.support_x, batch.support_y)(batch.query_x), together[-1])
    assert seen == [2, 2, 1, 2, 2, 1]


def test_queries_go_to_the_tasks_they_belong_to_where_the_last_chunk_is_smaller() -> None:
    images = torch.rand(HEADS_AT_ONCE + 4, 4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(WAYS).repeat(len(images), 2)
    model = build("conv4", outputs=3, input_shape=(1, 8, 8), seed=0, hidden=4)
    learner = metaft.learners.build("fine-tuning", model, scope="none", steps=1)
    answers = learner.adapt(images, labels)(images)
    torch.testing.assert_close(answers, learner.curve(TaskBatch(images, labels, images, labels))[-1])
