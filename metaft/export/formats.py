"""The files that a graph is written to: ONNX, and torch.export's own."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from metaft.errors import MetaftError, first_line
from metaft.export.program import Program

ABSENT = re.compile(r"No ONNX function found for <OpOverload\(op='(?:aten\.)?([\w.]+)'")


def onnx(program: Program) -> bytes:
    """The graph as ONNX has it, weights within.

    Args:
        program: the graph.

    Returns:
        The content of a file.

    Raises:
        MetaftError: if the packages are absent, or ONNX has no such operation.
    """
    try:
        import onnxscript  # noqa: F401 -- torch's exporter stands on it
    except ImportError:
        raise MetaftError("format onnx needs onnx and onnxscript: pip install 'metaft[export]'") from None
    with _quiet():
        # ONNX has no distances of pairs; torch's exporter knows no other way to write them.
        plain = program.exported.run_decompositions({torch.ops.aten.cdist.default: _distances})
        try:
            made = torch.onnx.export(
                plain, dynamo=True, verbose=False, input_names=[*program.inputs], output_names=[*program.outputs]
            )
        except Exception as error:
            absent = ABSENT.search(str(error))
            why = f"it has no operation {absent[1]}" if absent else first_line(error)
            raise MetaftError(f"ONNX cannot hold this learner: {why}; --format torch-export can") from error
        assert made is not None
        content: bytes = made.model_proto.SerializeToString()
    return content


def torch_export(program: Program) -> bytes:
    """The graph as ``torch.export.load`` reads it.

    Args:
        program: the graph.

    Returns:
        The content of a file.
    """
    content = io.BytesIO()
    with _quiet():
        torch.export.save(program.exported, content)
    return content.getvalue()


FORMATS: dict[str, tuple[str, Callable[[Program], bytes]]] = {
    "onnx": ("predictor.onnx", onnx),
    "torch-export": ("predictor.pt2", torch_export),
}
"""Format → the name of its file, and what makes it."""


def _distances(a: Tensor, b: Tensor, p: float = 2.0, compute_mode: int | None = None) -> Tensor:
    """Euclidean distances of all pairs, without the product that cancels digits."""
    assert p == 2.0
    return (a.unsqueeze(-2) - b.unsqueeze(-3)).square().sum(-1).sqrt()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say of themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
