"""The kernels for convolutions of small images, against torch's own convolutions in float64."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import grad, jvp, vjp
from torch.fx import Graph

from metaft.inner.batching import channels_last
from metaft.outer.compiled import compile_if_possible, compiler_found
from metaft.outer.kernels import convolutions

needs_compiler = pytest.mark.skipif(not compiler_found(), reason="no C++ compiler")
LAST = torch.channels_last
aten = torch.ops.aten
ONE, THREE = (1, 1), (3, 3)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@needs_compiler
@settings(max_examples=40, deadline=None)
@given(
    number=st.integers(1, 9),
    before=st.sampled_from([1, 2, 3, 5, 16, 20, 32, 64, 80]),
    after=st.sampled_from([16, 32, 48, 64, 80]),
    size=st.tuples(st.integers(1, 15), st.integers(1, 15)),
    taps=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pad=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    biased=st.booleans(),
    last=st.booleans(),
    wide=st.booleans(),
    threads=st.sampled_from([1, 2]),
)
def test_convolutions_and_their_gradients_are_torchs(
    number: int,
    before: int,
    after: int,
    size: tuple[int, int],
    taps: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    biased: bool,
    last: bool,
    wide: bool,
    threads: int,
) -> None:
    assert convolutions.load()
    if any(s + 2 * p < t for s, p, t in zip(size, pad, taps, strict=True)):
        return  # torch refuses these
    x, weight = draw(number, before, *size), draw(after, before, *taps, seed=1)
    bias = draw(after, seed=2) if biased else None
    expected = F.conv2d(x, weight, bias, stride, pad)
    gradient = draw(*expected.shape, seed=3)
    settings = list(stride), list(pad), [1, 1], False, [0, 0], 1
    of_x, of_weight, _ = aten.convolution_backward(gradient, x, weight, [after], *settings, [True, True, True])

    def check(found: Tensor, expected: Tensor, terms: int) -> None:
        assert found.is_contiguous(memory_format=LAST)
        assert found.dtype == (torch.float64 if wide else torch.float32)
        far = (1e-14 if wide else 4e-6) * terms**0.5  # rounding grows like a walk at random
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=far * 8)

    def given_as(t: Tensor) -> Tensor:
        t = t if wide else t.float()
        return t.contiguous(memory_format=LAST) if last else t

    x, weight, gradient = (given_as(t) for t in (x, weight, gradient))
    bias = bias if bias is None or wide else bias.float()
    own, own_threads = torch.ops.metaft, torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        check(own.convolution(x, weight, bias, *stride, *pad), expected, before * taps[0] * taps[1])
        check(own.convolution_weight(gradient, x, *taps, *stride, *pad), of_weight, number * size[0] * size[1])
        if before % 16 == 0:
            check(own.convolution_input(gradient, weight, *size, *stride, *pad), of_x, after * taps[0] * taps[1])
    finally:
        torch.set_num_threads(own_threads)


@needs_compiler
def test_many_images_are_added_up_exactly_and_in_parts() -> None:
    """Enough of them for every division of the work into parts, and for float32 to show how it adds."""
    assert convolutions.load()
    for before in (1, 32):
        x, gradient = draw(300, before, 24, 24) + 1, draw(300, 32, 24, 24, seed=1) + 1
        small = [t.float().contiguous(memory_format=LAST) for t in (gradient, x)]
        expected = torch.nn.grad.conv2d_weight(x, (32, before, 3, 3), gradient, padding=1)
        found = torch.ops.metaft.convolution_weight(*small, *THREE, *ONE, *ONE)
        assert ((found - expected).abs().max() / expected.abs().max()).item() < 4e-6


@needs_compiler
def test_nothing_beyond_the_images_is_read() -> None:
    assert convolutions.load()

    def hidden(*shape: int) -> Tensor:
        n, c, h, w = shape
        whole = torch.full((n * c * h * w + 256,), float("nan"))
        part = whole[128:-128].view(n, h, w, c).permute(0, 3, 1, 2)
        part.fill_(1.0)
        return part

    own = torch.ops.metaft
    for before, stride in itertools.product((1, 16), (1, 2)):
        x, weight = hidden(2, before, 5, 7), hidden(32, before, 3, 3)
        shape = F.conv2d(x, weight, None, stride, 1).shape
        for found in (
            own.convolution(x, weight, None, stride, stride, *ONE),
            own.convolution_weight(hidden(*shape), x, *THREE, stride, stride, *ONE),
            own.convolution_input(hidden(*shape), hidden(32, 16, 3, 3), 5, 7, stride, stride, *ONE),
        ):
            assert found.isfinite().all()


@needs_compiler
def test_channels_that_fill_no_vector_are_refused() -> None:
    assert convolutions.load()
    x, weight, gradient = draw(1, 3, 5, 5), draw(5, 3, 3, 3), draw(1, 5, 5, 5)
    both = *ONE, *ONE
    with pytest.raises(RuntimeError, match="5 channels"):
        torch.ops.metaft.convolution(x, weight, None, *both)
    with pytest.raises(RuntimeError, match="3 channels"):
        torch.ops.metaft.convolution_input(gradient, weight, 5, 5, *both)
    with pytest.raises(RuntimeError, match="neither"):
        torch.ops.metaft.convolution_weight(gradient, x, *THREE, *both)


@needs_compiler
def test_what_does_not_fit_together_is_refused() -> None:
    assert convolutions.load()
    x, weight, both = draw(2, 16, 5, 5), draw(16, 32, 3, 3), (*ONE, *ONE)
    with pytest.raises(RuntimeError, match="types or channels differ"):
        torch.ops.metaft.convolution(x, weight, None, *both)
    with pytest.raises(RuntimeError, match="types or channels differ"):
        torch.ops.metaft.convolution_weight(x, draw(2, 16, 5, 5).float(), *THREE, *both)
    with pytest.raises(RuntimeError, match="or empty"):
        torch.ops.metaft.convolution_input(x[:0], weight, 5, 5, *both)
    with pytest.raises(RuntimeError, match="missing value for argument 'pad_x'"):
        torch.ops.metaft.convolution(x, draw(16, 16, 3, 3), None, 1, *ONE)


def gradient_of(x: Tensor, *weights: Tensor, stride: int, padding: int = 1) -> tuple[Tensor, ...]:
    """Of a small network's loss, towards its weights."""

    def loss(weights: tuple[Tensor, ...]) -> Tensor:
        hidden = x
        for weight in weights:
            hidden = F.conv2d(hidden, weight, weight[:, 0, 0, 0], stride, padding).tanh()
        return hidden.square().sum()

    found: tuple[Tensor, ...] = grad(loss)(weights)
    return found


def product_with(x: Tensor, *weights: Tensor, stride: int, padding: int = 1) -> tuple[Tensor, ...]:
    """The Hessian of that loss times the weights."""

    def of_weights(*weights: Tensor) -> tuple[Tensor, ...]:
        return gradient_of(x, *weights, stride=stride, padding=padding)

    found: tuple[Tensor, ...] = vjp(of_weights, *weights)[1](weights)
    return found


def forward_product_with(x: Tensor, *weights: Tensor, stride: int, padding: int = 1) -> tuple[Tensor, ...]:
    """The same, forward over reverse."""

    def of_weights(*weights: Tensor) -> tuple[Tensor, ...]:
        return gradient_of(x, *weights, stride=stride, padding=padding)

    found: tuple[Tensor, ...] = jvp(of_weights, weights, weights)[1]
    return found


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """How many convolutions of a compiled graph are the library's, and how many ours."""
    found: list[tuple[int, int]] = []
    replace = convolutions.Convolutions.__call__

    def watched(self: convolutions.Convolutions, graph: Graph) -> None:
        replace(self, graph)
        weights = graph.find_nodes(op="call_function", target=torch.ops.metaft.convolution_weight.default)
        assert all(node.meta["val"].shape[2:] == (3, 3) for node in weights)  # and no tap more
        targets = [str(node.target) for node in graph.nodes if "convolution" in str(node.target)]
        found.append((sum("aten" in t for t in targets), sum("metaft" in t for t in targets)))

    monkeypatch.setattr(convolutions.Convolutions, "__call__", watched)
    monkeypatch.setattr(convolutions.Convolutions, "uuid", lambda self: None)  # not from torch's cache
    return found


@needs_compiler
@pytest.mark.parametrize(
    ("function", "zeros", "size", "stride"),
    [
        (gradient_of, 0, 9, 1),
        pytest.param(gradient_of, 0, 11, 3, marks=pytest.mark.long),
        pytest.param(product_with, 0, 9, 1, marks=pytest.mark.long),
        pytest.param(product_with, 0, 9, 2, marks=pytest.mark.long),
        pytest.param(product_with, 0, 8, 2, marks=pytest.mark.long),
        pytest.param(product_with, 0, 11, 3, marks=pytest.mark.long),
        # With the zeros that x would change by.
        pytest.param(forward_product_with, 2, 8, 2, marks=pytest.mark.long),
    ],
)
def test_compiled_derivatives_use_the_kernels_alone(
    function: Callable[..., tuple[Tensor, ...]], zeros: int, size: int, stride: int, left: list[tuple[int, int]]
) -> None:
    """Every derivative of every layer: torch computes a tap too many where strides do not divide the image."""
    x, weights = draw(5, 1, size, size), [draw(16, 1, 3, 3), draw(32, 16, 3, 3), draw(16, 32, 3, 3)]
    x, weights = channels_last(x), [0.3 * channels_last(weight) for weight in weights]
    expected = function(x, *weights, stride=stride)

    def compiled(x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        return function(x, *weights, stride=stride)

    found = compile_if_possible(compiled)(x, *weights)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    library, ours = left[0]
    assert library == zeros
    assert ours >= 8


@pytest.mark.long
@needs_compiler
def test_other_convolutions_stay_the_librarys(left: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    image, line = draw(2, 16, 9, 9).contiguous(memory_format=LAST), draw(2, 16, 9)
    square, half = (draw(16, channels, 3, 3).contiguous(memory_format=LAST) for channels in (16, 8))

    def compiled(image: Tensor, plain: Tensor, line: Tensor, square: Tensor, half: Tensor, few: Tensor) -> list[Tensor]:
        return [
            F.conv2d(image, square, dilation=2),
            F.conv2d(image, half, groups=2),
            F.conv3d(image[:, :, None], square[:, :, None]),
            F.conv2d(plain, square),  # channels first
            F.conv1d(line, square[..., 0]),
            F.conv2d(image, few),
            F.conv_transpose2d(image, square, groups=1, dilation=2),
            F.conv2d(image, square),  # ours
        ]

    given = image, draw(2, 16, 9, 9), line, square, half, draw(5, 16, 3, 3).contiguous(memory_format=LAST)
    found, expected = compile_if_possible(compiled)(*given), compiled(*given)
    torch.testing.assert_close(found, expected)
    assert left == [(7, 1)]

    monkeypatch.setattr(convolutions, "MOST", image.numel() - 1)
    torch.testing.assert_close(compile_if_possible(lambda x, w: F.conv2d(x, w))(image, square), expected[-1])
    assert left[1] == (1, 0)


@pytest.mark.long
@needs_compiler
def test_one_number_may_stand_for_both_axes() -> None:
    x, weight = (draw(*shape).contiguous(memory_format=LAST) for shape in ((2, 16, 9, 9), (16, 16, 3, 3)))
    large = draw(2, 16, 17, 17).contiguous(memory_format=LAST)

    def compiled(x: Tensor, weight: Tensor, large: Tensor) -> list[Tensor]:
        once, twice = ([2], [1]), ([2, 2], [1, 1])
        back = aten.convolution_backward(x, large, weight, [16], *once, [1], False, [0], 1, [True] * 3)
        wide = aten.convolution(x, weight, None, *twice, [1, 1], True, [0, 0], 1)
        return [
            F.conv2d(x, weight, padding="valid"),
            aten.convolution(x, weight, None, *once, [1], False, [0], 1),
            wide - aten.convolution(x, weight, None, *once, [1], True, [0], 1),
            *back,
        ]

    torch.testing.assert_close(compile_if_possible(compiled)(x, weight, large), compiled(x, weight, large))


CUTS: list[Callable[[Tensor], Tensor]] = [
    lambda c: c[:, :, :-1, :-1],
    lambda c: c.narrow(-1, 1, 3),
    lambda c: aten.slice.Tensor(c, 2, 0, None, 2),
    lambda c: aten.slice.Tensor(c, -2, 0, 3),
    lambda c: aten.slice.Tensor(c, 2),
    lambda c: c[:, :, 1:, ::2],
    lambda c: torch.stack((c[..., :3, :2], c[..., 1:4, :2])),
    lambda c: c[:, :, :3, :3].sum() + c[0, 0, 4, 4],
]


@needs_compiler
def test_however_a_weights_gradient_is_cut_it_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cut is of a gradient of its own."""
    images, gradients = (
        [draw(*shape, seed=seed).contiguous(memory_format=LAST) for seed in range(len(CUTS))]
        for shape in ((5, 16, 8, 8), (5, 16, 6, 6))
    )

    def compiled(images: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        return [
            cut(F.conv2d(x.permute(1, 0, 2, 3), of_y.permute(1, 0, 2, 3), padding=1)) * 2
            for cut, x, of_y in zip(CUTS, images, gradients, strict=True)
        ]

    monkeypatch.setattr(convolutions.Convolutions, "uuid", lambda self: None)  # not from torch's cache
    torch.testing.assert_close(compile_if_possible(compiled)(images, gradients), compiled(images, gradients))


@pytest.mark.long
@needs_compiler
def test_gradients_that_the_library_must_compute_are_left_to_it_together(left: list[tuple[int, int]]) -> None:
    image, weight = (draw(*shape).contiguous(memory_format=LAST) for shape in ((2, 3, 9, 9), (16, 3, 3, 3)))

    cotangent = draw(2, 16, 7, 7).contiguous(memory_format=LAST)

    def compiled(image: Tensor, weight: Tensor, cotangent: Tensor) -> tuple[Tensor, ...]:
        pull = vjp(lambda x, w: F.conv2d(x, w).sin(), image, weight)[1]
        found: tuple[Tensor, ...] = pull(cotangent)
        return found

    torch.testing.assert_close(
        compile_if_possible(compiled)(image, weight, cotangent), compiled(image, weight, cotangent)
    )
    assert left == [(1, 1)]


@needs_compiler
def test_very_deep_sums_stay_the_librarys(left: list[tuple[int, int]]) -> None:
    image, weight = (draw(*shape).contiguous(memory_format=LAST) for shape in ((1, 48, 14, 14), (16, 48, 14, 14)))
    torch.testing.assert_close(compile_if_possible(lambda x, w: F.conv2d(x, w))(image, weight), F.conv2d(image, weight))
    assert left == [(1, 0)]
