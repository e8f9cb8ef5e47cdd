"""Every layer and function of torch: many tasks together give the meta-gradient that plain autograd gives one by one.

Here each is compared once or twice, in two inner steps; ``--whole-grid`` makes all comparisons, and
``python -m experiments.any_module`` writes them down, compiled code too.
"""

from __future__ import annotations

import zlib

import pytest

from metaft.errors import MetaftError
from tests.any_module import attention, norms
from tests.any_module.cases import CASES, NO_FUNCTION, NO_LAYER, REFUSED, every_function, every_layer
from tests.any_module.comparisons import Ways, comparisons, difference, tolerance
from tests.any_module.reference import Params

# Old names of functions, and operators that torch batches one by one, are tried as well.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*performance drop", "ignore:.*deprecated", "ignore:`torch.nn.utils.weight_norm`"
)
COMPUTED = [name for name in CASES if name not in REFUSED]
# Norms have other statistics in evaluation, attention has ways of its own.
OTHERWISE_IN_EVALUATION = [str(c) for c in (*norms.CASES, *attention.CASES) if not c.random and str(c) not in REFUSED]
FIRST_OF_CLASS = list({CASES[name].of: name for name in reversed(COMPUTED)}.values())
# One for each way the engine has with layers: all comparisons are made of these.
WHOLLY = (
    "LayerNorm", "BatchNorm1d", "BatchNorm2d: on images", "InstanceNorm1d: tracked, affine", "LSTM: at the entrance",
    "MultiheadAttention: padding, with weights", "TransformerEncoder: on words with padding", "Embedding: padding",
    "EmbeddingBag: mean, offsets", "Conv2d: on images", "MaxPool2d", "Dropout", "Dropout2d: on images",
    "TransformerEncoderLayer: dropout", "parametrizations.spectral_norm", "AdaptiveLogSoftmaxWithLoss",
    "Module: a count in a buffer", "Module: a way that depends on data",
)  # fmt: skip
# One compilation for norms, attention, embeddings and dropout, one for recurrent layers, one for images.
COMPILED = ("TransformerEncoder: on words with padding, dropout", "LSTM: at the entrance", "BatchNorm2d: on images")
REFUSED_BY_TORCH = COMPILED[:2]
"""They run uncompiled: torch's tracer stops at a message of its own check, and at the storage of a batched tensor."""
OTHER_WAYS = ("checkpoints", "first-order", "first-order alone", "finite-difference", "implicit", "chunks", "workers")


def test_no_layer_and_no_function_is_left_out():
    tried = {case.of for case in CASES.values()}
    assert [name for name in every_layer() if name not in tried and name not in NO_LAYER] == []
    assert [name for name in every_function() if f"F.{name}" not in tried and name not in NO_FUNCTION] == []


def test_what_is_left_out_is_there():
    assert set(NO_LAYER) <= set(every_layer())
    assert set(NO_FUNCTION) <= set(every_function())


@pytest.mark.parametrize("name", COMPUTED)
def test_together_as_by_plain_autograd(name):
    case = CASES[name]
    ways = Ways(case, steps=2)
    together = ways.together()
    # Random layers: alone each task draws what it draws together; plain autograd has other numbers.
    close(together, ways.plain(chunk=1).grads if case.random else ways.autograd())
    close((ways.learner if case.kind else ways.plain)(memory="graph").grads, together)
    if case.random == "training":
        still = Ways(case, training=False, steps=2)
        close(still.together(), still.autograd())


@pytest.mark.parametrize("name", OTHERWISE_IN_EVALUATION)
def test_in_evaluation_as_by_plain_autograd(name):
    still = Ways(CASES[name], training=False, steps=2)
    close(still.together(), still.autograd())


@pytest.mark.parametrize("name", FIRST_OF_CLASS)
def test_one_more_way(name, request):
    """Each class by one other way, which one by its name; all ways with ``--whole-grid``."""
    ways = [way for way in OTHER_WAYS if way in table(name)]
    compare(name, ways if request.config.getoption("--whole-grid") else [ways[zlib.crc32(name.encode()) % len(ways)]])


@pytest.mark.share(5)
@pytest.mark.parametrize("name", WHOLLY)
def test_all_ways(name):
    compare(name, list(table(name)))


# A network with a norm is compiled in `make test` too (tests/outer/test_meta_gradient.py).
@pytest.mark.long
@pytest.mark.parametrize("name", COMPILED)
def test_compiled_as_eager(name, caplog):
    case = CASES[name]
    made = comparisons(Ways(case, steps=2), Ways(case, training=False, steps=2), compiled=True)
    assert made["learner compiled"]() <= tolerance("learner compiled")
    assert ("running uncompiled" in caplog.text) == (name in REFUSED_BY_TORCH)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line_with_the_way_out(name):
    case = CASES[name]
    for way in ("plain", "learner") if case.kind else ("plain",):
        with pytest.raises(MetaftError, match=REFUSED[name]) as refusal:
            getattr(Ways(case, steps=2), way)()
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["CTCLoss", "F.ctc_loss"])
def test_first_order_is_a_way_out(name):
    ways = Ways(CASES[name], steps=2)
    close(ways.plain(estimator="first-order").grads, ways.autograd(second=False))


def table(name: str):
    case = CASES[name]
    return comparisons(Ways(case, steps=2), Ways(case, training=False, steps=2))


def compare(name: str, ways: list[str]) -> None:
    made = table(name)
    errors = {way: made[way]() for way in ways}
    assert {way: error for way, error in errors.items() if not error <= tolerance(way)} == {}


def close(ours: Params, theirs: Params) -> None:
    assert difference(ours, theirs) <= tolerance("autograd")
