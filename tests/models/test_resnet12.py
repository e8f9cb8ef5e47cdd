import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import metaft
from metaft.learners import MAML
from metaft.models import Functional, ResNet12, build
from metaft.models.blocks import blocks


class PlainBlock(nn.Module):
    """Three 3×3 convolutions with batch norm and a 1×1 shortcut, then LeakyReLU and 2×2 max-pooling."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        widths = (before, after, after)
        parts: list[nn.Module] = []
        for width in widths:
            parts += [nn.Conv2d(width, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.1)]
        self.path = nn.Sequential(*parts[:-1])
        self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))
        self.end = nn.Sequential(nn.LeakyReLU(0.1), nn.MaxPool2d(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.path(x) + self.shortcut(x))


class PlainResNet12(nn.Sequential):
    """The ResNet-12 of few-shot learning without DropBlock (Lee et al. 2019, MetaOptNet; widths of Chen et al. 2021).

    Args:
        outputs: ways.
        widths: channels of the four blocks.
    """

    def __init__(self, outputs: int, widths: tuple[int, ...] = (64, 128, 256, 512)) -> None:
        blocks = [PlainBlock(before, after) for before, after in zip((3, *widths), widths, strict=False)]
        super().__init__(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], outputs))


@pytest.mark.parametrize(
    ("widths", "parameters"),
    # Each block: 9(bm + 2m²) + bm weights and 8m of batch norm; the head 5·640 + 5, or 5·512 + 5.
    [("wide", (64, 160, 320, 640)), ("doubling", (64, 128, 256, 512))],
)
def test_parameters_are_those_of_the_papers_widths(widths, parameters):
    model = build("resnet12", outputs=5, input_shape=(3, 84, 84), seed=0, widths=widths)
    expected, before = 5 * parameters[-1] + 5, 3
    for m in parameters:
        expected += 9 * (before * m + 2 * m * m) + before * m + 8 * m
        before = m
    assert sum(p.numel() for p in model.parameters()) == expected
    if widths == "wide":
        assert 12.4e6 < expected < 12.5e6  # the 12.4 million that the literature gives
    assert blocks(dict(model.named_parameters())) == [*(f"features.{i}" for i in range(4)), "head"]


def test_answers_are_those_of_a_network_written_out_plainly():
    torch.manual_seed(0)
    theirs = PlainResNet12(5, (4, 8, 16, 32)).double().train()
    ours = ResNet12(3, 32, 5, hidden=4, widths="doubling").double().train()
    shapes = [p.shape for p in theirs.parameters()]
    assert [p.shape for p in ours.parameters()] == shapes
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.copy_(other)
    x = torch.rand(6, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(Functional(ours)(dict(ours.named_parameters()), x), theirs(x))
    assert ours.features(x).shape == (6, 32)


def test_a_meta_gradient_goes_through_it():
    model = build("resnet12", outputs=3, input_shape=(1, 16, 16), seed=0, hidden=2, widths="doubling").double()
    learner = MAML(model, metaft.SGD(lr=0.01), 1)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 6, 1, 16, 16, dtype=torch.float64, generator=generator)
    y = torch.arange(3).repeat(2, 2)
    out = learner.meta_gradient(metaft.TaskBatch(x, y, x.flip(1), y.flip(1)))
    name, size = "features.3.path.conv3.weight", 1e-5
    direction = torch.randn(learner.params[name].shape, dtype=torch.float64, generator=generator)
    start, losses = learner.params[name], []
    for sign in (1, -1):
        learner.params = learner.params | {name: start + sign * size * direction}
        adapted = learner.curve(metaft.TaskBatch(x, y, x.flip(1), y.flip(1)))[-1]
        losses.append(F.cross_entropy(adapted.flatten(0, 1), y.flip(1).flatten()))
    assert float((losses[0] - losses[1]) / (2 * size)) == pytest.approx(
        float((out.grads[name] * direction).sum()), rel=1e-5
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"input_shape": (3, 12, 12)}, "at least 16×16"),
        ({"input_shape": (3, 32, 16)}, "resnet12 needs square images"),
        ({"widths": "wid"}, "did you mean 'wide'"),
        ({"depth": 18}, "no option 'depth'"),
    ],
)
def test_mistakes(options, said):
    with pytest.raises(metaft.MetaftError, match=said):
        build("resnet12", **{"outputs": 5, "input_shape": (3, 32, 32), "seed": 0} | options)


def test_it_is_drawn_by_hes_rule():
    weight = build("resnet12", outputs=5, input_shape=(3, 32, 32), seed=0).features[0].path.conv2.weight
    assert isinstance(weight, nn.Parameter)
    assert float(weight.detach().std()) == pytest.approx((2 / (1 + 0.1**2) / (64 * 9)) ** 0.5, rel=0.02)
