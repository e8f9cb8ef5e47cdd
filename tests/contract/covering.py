"""A few points of a grid that meet every pair of values, for products that are too long to try out."""

import itertools
import random


def every(axes: dict[str, tuple]) -> list[dict]:
    """All points.

    Args:
        axes: name → values.

    Returns:
        The points, name → value.
    """
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def covering(axes: dict[str, tuple], more: int = 0, seed: int = 0) -> list[dict]:
    """Points such that each two values of different axes meet in one of them at least.

    Args:
        axes: name → values.
        more: so many further points, drawn at random.
        seed: of all draws.

    Returns:
        The points, name → value.
    """
    draw = random.Random(seed)
    points = every(axes)
    draw.shuffle(points)
    pairs = lambda point: set(itertools.combinations(sorted(point.items()), 2))
    missing = set().union(*map(pairs, points))
    found = []
    while missing:
        best = max(points, key=lambda point: len(pairs(point) & missing))
        found.append(best)
        missing -= pairs(best)
    others = [point for point in points if point not in found]
    return found + others[:more]
