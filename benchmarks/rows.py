"""All rows of the speed table, in its order."""

from __future__ import annotations

from benchmarks import attention, conv4, episodes, recurrent, resnet12, sinusoid
from benchmarks.row import Row

ROWS: dict[str, Row] = {
    **sinusoid.ROWS,
    **conv4.ROWS,
    **resnet12.ROWS,
    **attention.ROWS,
    **recurrent.ROWS,
    **episodes.ROWS,
}
