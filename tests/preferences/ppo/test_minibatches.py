"""Every text once an epoch, in an order that is a function of the update's number."""

from __future__ import annotations

import pytest

from metaft.errors import MetaftError
from metaft.preferences.ppo.minibatches import MinibatchOrder


@pytest.mark.parametrize(("texts", "minibatches"), [(8, 4), (10, 4), (5, 5), (7, 1)])
def test_every_text_is_used_once_an_epoch(texts: int, minibatches: int) -> None:
    order = MinibatchOrder(texts, minibatches, epochs=3, seed=1)
    assert order.updates == 3 * minibatches
    orders = []
    for epoch in range(6):  # two rollouts
        parts = [order.rows(epoch * minibatches + k).tolist() for k in range(minibatches)]
        whole = [row for part in parts for row in part]
        assert sorted(whole) == list(range(texts))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        orders.append(tuple(whole))
    assert len(set(orders)) == 6
    assert [order.place(n)[0] for n in (0, order.updates - 1, order.updates)] == [0, 0, 1]
    assert order.place(order.updates + minibatches) == (1, 1, 0)


def test_orders_are_functions_of_seed_and_number() -> None:
    rows = lambda seed, update: MinibatchOrder(50, 2, 2, seed).rows(update).tolist()
    assert rows(3, 9) == rows(3, 9)
    assert rows(3, 9) != rows(4, 9)


def test_what_does_not_do_is_one_line() -> None:
    with pytest.raises(MetaftError, match="3 texts cannot be parted into 4 minibatches; take 3 at most"):
        MinibatchOrder(3)
    with pytest.raises(MetaftError, match="epochs must be"):
        MinibatchOrder(8, epochs=0)
