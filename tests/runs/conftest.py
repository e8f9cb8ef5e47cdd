from __future__ import annotations

import pytest

from metaft.runs import loop


@pytest.fixture(autouse=True)
def _no_picture(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing an episode takes longer than these small runs; one test asks for it."""
    if "picture" not in request.fixturenames:
        monkeypatch.setattr(loop, "draw_episode", lambda *args: None)


@pytest.fixture
def picture() -> None:
    """Ask for the picture of an episode."""
