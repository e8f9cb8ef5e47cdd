from __future__ import annotations

from pathlib import Path

import pytest

from metaft.training import loop
from tests.runs.distilled import run


@pytest.fixture(autouse=True)
def _no_picture(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing an episode takes longer than these small runs; one test asks for it."""
    if "picture" not in request.fixturenames:
        monkeypatch.setattr(loop, "draw_episode", lambda *args: None)


@pytest.fixture
def picture() -> None:
    """Ask for the picture of an episode."""


@pytest.fixture(scope="session")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished distillation of two generations; to be copied, not changed."""
    out = tmp_path_factory.mktemp("runs") / "line"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metaft.training.loop.draw_episode", lambda *args: None)
        run(out)
    return out
