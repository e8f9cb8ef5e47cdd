"""Run a notebook's cells in order and keep what they show, without Jupyter: docs/few_shot_in_ten_minutes.ipynb.

Command: python -m experiments.notebook
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot

NOTEBOOK = Path(__file__).parents[1] / "docs/few_shot_in_ten_minutes.ipynb"
Output = dict[str, Any]


def read(file: Path = NOTEBOOK) -> dict[str, Any]:
    """A notebook, format 4."""
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def executed(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cells with what they show now: what was printed, pyplot's figures, the value of the last line.

    Args:
        cells: of a notebook; code runs in one namespace, in the current directory.

    Returns:
        The same cells with other outputs.

    Raises:
        Exception: whatever a cell raises.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    done, count = [], 0
    for cell in cells:
        if cell["cell_type"] == "code":
            count += 1
            cell = {**cell, "execution_count": count, "outputs": _outputs("".join(cell["source"]), names, count)}
        done.append(cell)
    return done


def _outputs(source: str, names: dict[str, Any], count: int) -> list[Output]:
    body, last = ast.parse(source).body, None
    if isinstance(body[-1], ast.Expr):
        last = ast.Expression(body.pop().value)
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.Module(body, []), f"<cell {count}>", "exec"), names)
        if last is not None:
            value = eval(compile(last, f"<cell {count}>", "eval"), names)
    found: list[Output] = []
    if printed.getvalue():
        found.append({"output_type": "stream", "name": "stdout", "text": printed.getvalue().splitlines(True)})
    for number in pyplot.get_fignums():
        file, figure = io.BytesIO(), pyplot.figure(number)
        figure.savefig(file, format="png", dpi=72, bbox_inches="tight", metadata={"Software": None})
        shown = {"image/png": base64.b64encode(file.getvalue()).decode(), "text/plain": ["<Figure>"]}
        found.append({"output_type": "display_data", "data": shown, "metadata": {}})
        pyplot.close(figure)
    if value is not None:
        shown = {"text/plain": repr(value).splitlines(True)}
        if (page := getattr(value, "_repr_html_", None)) is not None:
            shown["text/html"] = page().splitlines(True)
        found.append({"output_type": "execute_result", "execution_count": count, "data": shown, "metadata": {}})
    return found


def main() -> None:
    """Run the notebook in an empty folder and write it with its outputs."""
    notebook = read()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        notebook["cells"] = executed(notebook["cells"])
    NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written: {os.path.relpath(NOTEBOOK)}, {NOTEBOOK.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
