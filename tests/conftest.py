"""Shared by all tests: one thread, so that test processes side by side do not fight over two cores; learn2learn."""

from collections import Counter

import pytest
import torch

from metaft.data.compat import learn2learn_module
from metaft.errors import MetaftError

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The whole grid of methods takes longer than all other tests together."""
    parser.addoption("--whole-grid", action="store_true", help="every scope × rule × objective × estimator")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the cases of a test marked ``share(k)``, ``make test`` runs every k-th; the others are long.

    Parametrized tests come in the order of the product, so that each value of each parameter is among those that run,
    where k divides none of their numbers. Tests of one file begin at different cases.
    """
    seen = Counter[str]()
    for item in items:
        if mark := item.get_closest_marker("share"):
            test = item.nodeid.partition("[")[0]
            if (seen[test] + len(test)) % mark.args[0] and len(items) > 1:
                item.add_marker(pytest.mark.long)
            seen[test] += 1


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
