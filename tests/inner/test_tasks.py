"""One task and many are the same function; a layout changes no value."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from metaft.inner.batching import channels_last, has_large_images, laid_out, over_tasks
from metaft.models import build
from metaft.models.functional import Functional
from metaft.tasks.batch import TaskBatch


def episodes(tasks: int, channels: int = 3, size: int = 16) -> TaskBatch:
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(tasks, 10, channels, size, size, generator=draw, dtype=torch.float64)
    labels = torch.arange(5).repeat(tasks, 2)
    return TaskBatch(images[:, :5], labels[:, :5], images[:, 5:], labels[:, 5:])


def test_a_single_task_is_as_it_would_be_among_others() -> None:
    scale = {"a": torch.tensor(3.0)}
    x = torch.randn(4, 5)
    lifted = over_tasks(lambda p, x: {"sum": (p["a"] * x).sum(), "x": x}, (None, 0))
    together = lifted(scale, x)
    alone = [lifted(scale, x[t : t + 1]) for t in range(4)]
    for name in ("sum", "x"):
        torch.testing.assert_close(torch.cat([one[name] for one in alone]), together[name])


def test_an_argument_may_be_absent() -> None:
    lifted = over_tasks(lambda x, mask: x if mask is None else x * mask, (0, None))
    assert lifted(torch.ones(1, 2), None).shape == (1, 2)


def test_channels_last_moves_memory_and_nothing_else() -> None:
    for shape in ((2, 5, 3, 8, 6), (4, 1, 7, 7), (64, 1, 3, 3)):
        x = torch.randn(shape)
        y = channels_last(x)
        assert torch.equal(x, y)
        assert y.stride(-3) == 1
        assert channels_last(y) is y or shape[-3] == 1
        part = y[..., ::2, :]  # channels are last, but there are gaps
        assert channels_last(part).movedim(-3, -1).is_contiguous()
        assert torch.equal(channels_last(part), part)


def test_only_images_on_a_cpu_are_laid_out_anew() -> None:
    batch = episodes(2)
    params = {"conv.weight": torch.randn(4, 3, 3, 3), "head.weight": torch.randn(5, 4)}
    moved, laid = laid_out(params, batch)
    assert moved["conv.weight"].stride(1) == 1
    assert moved["head.weight"] is params["head.weight"]
    assert torch.equal(laid.query_x, batch.query_x)
    flat = TaskBatch(*(t.flatten(2) if t.dim() > 2 else t for t in batch.tensors()))
    assert laid_out(params, flat) == (params, flat)


def test_fused_batch_norm_outside_of_vmap_has_the_same_second_derivatives_as_the_one_written_out() -> None:
    model = Functional(build("conv4", outputs=5, input_shape=(3, 16, 16), seed=0, hidden=4, pool="max").double())
    params, batch = model.params(), episodes(2)

    def product(p: dict[str, Tensor], x: Tensor, y: Tensor) -> dict[str, Tensor]:
        loss = lambda p: torch.nn.functional.cross_entropy(model(p, x), y)
        return torch.func.vjp(torch.func.grad(loss), p)[1](p)[0]

    # All inside the vmap, where batch norm is written out, against one task at a time, where it is fused.
    written = torch.func.vmap(product, (None, 0, 0))(params, batch.support_x, batch.support_y)
    for t in range(2):
        fused = product(params, batch.support_x[t], batch.support_y[t])
        for name, value in fused.items():
            torch.testing.assert_close(value, written[name][t], rtol=1e-8, atol=1e-10)


def asking(*shape: int) -> TaskBatch:
    """Tasks with queries of a shape, without their memory."""
    x, y = torch.empty(1).expand(shape), torch.zeros(shape[:2], dtype=torch.int64)
    return TaskBatch(x, y, x, y)


def test_mini_imagenets_queries_are_large_and_omniglots_are_not() -> None:
    assert has_large_images(asking(1, 75, 3, 84, 84))
    assert has_large_images(asking(0, 75, 3, 84, 84))
    assert has_large_images(asking(1, 5, 3, 84, 84)), "few or many, so that all tasks of a data set are alike"
    assert has_large_images(asking(1, 700, 1, 28, 28))
    assert not has_large_images(asking(32, 75, 1, 28, 28))
    assert not has_large_images(asking(10**4, 100, 1))


def test_what_an_example_is_can_be_said_and_is_likeliest_by_its_axes_else() -> None:
    volumes = asking(2, 5, 4, 4, 4)
    assert volumes.example_layout == "images"
    said = replace(volumes, layout="vectors")
    assert not has_large_images(replace(asking(1, 5, 3, 84, 84), layout="vectors"))
    for part in (said[:1], said.with_keys(0), said.drawn(), said.after(2), said.to("cpu")):
        assert part.example_layout == "vectors"
    tokens = TaskBatch(*(torch.zeros(2, 3, 7, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.int64)) * 2)
    assert tokens.example_layout == "sequences"
    assert asking(2, 3, 7).example_layout == "vectors"
    assert asking(2, 3, 7, 8).example_layout == "sequences"
