"""A folder with runs, in which every test of comparisons runs."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from metaft.evaluation.peak_memory import Peak
from tests.runs.comparing.shared import OWN, metaft


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two small runs on waves, seed 0 and 1, and a module of one's own."""
    folder = tmp_path_factory.mktemp("compare")
    for seed in (0, 1):
        call = ["meta-train", "--dataset", "sinusoid", "--engine", "eager", "--tasks", 4, "--iterations", 3, "--quiet"]
        out = ["--validate-tasks", 4, "--seed", seed, "--steps", 2, "--out", folder / f"waves-{seed}"]
        result = metaft(*call, *out)
        assert result.exit_code == 0, result.stderr
    (folder / "own_compared.py").write_text(OWN)
    return folder


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The collection of garbage before memory is measured takes longer than these small evaluations.
    monkeypatch.setattr("metaft.evaluation.benchmark.peak_memory", lambda: nullcontext(Peak()))
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(place))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pictures, which take longer than all else here."""
    for name in ("against_shots", "against_steps", "against_time"):
        monkeypatch.setattr(f"metaft.evaluation.comparison_plots.{name}", lambda comparison: None)
