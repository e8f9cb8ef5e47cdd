"""Shared by all tests: one thread, so that test processes side by side do not fight over two cores; learn2learn."""

import pytest
import torch

from metaft.data.compat import learn2learn_module
from metaft.errors import MetaftError

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The whole grid of methods takes longer than all other tests together."""
    parser.addoption("--whole-grid", action="store_true", help="every scope × rule × objective × estimator")


@pytest.fixture(autouse=True)
def drawn_alike() -> None:
    """Weights that a test draws without a seed of its own are the same in any order, on any machine."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def l2l():
    """The real learn2learn; `.ci/run` sees to it that it is there."""
    try:
        return learn2learn_module()
    except MetaftError as error:
        pytest.skip(str(error))
