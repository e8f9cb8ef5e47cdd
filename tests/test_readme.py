"""What the README shows works as it stands."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import metaft
from metaft.cli import cli

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


MINE = textwrap.dedent(README[README.index("  import torch\n\n\n  class BlurredMeans") :].partition("  ```\n")[0])


@pytest.mark.parametrize("ways", ["5", "3-7"])
def test_a_learner_of_ones_own_is_compared(ways: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    words = ["compare", "nearest-neighbour", "mine:BlurredMeans:width=5", "--dataset", "glyphs", "--tasks", "10"]
    done = CliRunner().invoke(cli, [*words, "--ways", ways])
    assert done.exit_code == 0, done.output
    assert "blurred means" in done.output or "BlurredMeans" in done.output


def test_a_task_of_few_ways_is_answered_as_it_is_alone() -> None:
    """Tasks of a batch have as many ways and shots as the largest of them; what is padded must change no answer."""
    names: dict[str, Any] = {}
    exec(MINE, names)
    family = metaft.families.episodes("glyphs", ways=(3, 7), shots=(1, 5), queries=2, split="test", seed=3)
    batch = family.batch(0, 8)
    assert (batch.support_y == -100).any()
    learner = names["BlurredMeans"]()
    together = learner.curve(batch)[0]
    for task in range(batch.tasks):
        real, asked = batch.support_y[task] != -100, batch.query_y[task] != -100
        x, y = batch.support_x[task][real], batch.support_y[task][real]
        alone = learner.adapt(x[None], y[None])(batch.query_x[task][asked][None])[0]
        torch.testing.assert_close(together[task][asked][:, : alone.shape[-1]], alone)
        blurred = learner.blur(x).flatten(1)
        means = torch.stack([blurred[y == c].mean(0) for c in range(int(y.max()) + 1)])
        expected = -torch.cdist(learner.blur(batch.query_x[task][asked]).flatten(1), means)
        torch.testing.assert_close(alone, expected)


def test_the_python_example_names_what_exists() -> None:
    code = README[README.index("import metaft\n") :].partition("```")[0]
    for name in ("families.episodes", "models.build", "learners.MAML", "SGD", "meta_train", "evaluate"):
        assert f"metaft.{name}" in code
        part = metaft
        for word in name.split("."):
            part = getattr(part, word)
