"""What docs/any_module.md shows works, and what it says is refused is what is refused."""

from __future__ import annotations

import re
from pathlib import Path

from metaft.elementary.mode import TABLE
from metaft.elementary.random_functions import without_a_stream
from tests.any_module.cases import REFUSED

PAGE = (Path(__file__).parent.parent / "docs/any_module.md").read_text(encoding="utf-8")


def test_the_example_runs() -> None:
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert code
    exec(code[1], {})


def test_every_refusal_is_on_the_page() -> None:
    refused = PAGE.partition("## What is refused")[2]
    for name, way_out in REFUSED.items():
        what = {"max norm": "max_norm", "scaled by frequency": "scale_grad_by_freq"}.get(name.partition(": ")[2], name)
        assert what in refused, name
        assert way_out.removeprefix("without ") in refused, name
    for function in (f for f, handler in TABLE.items() if handler is without_a_stream):
        assert f"`{function.__name__}`" in refused
