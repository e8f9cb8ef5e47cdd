"""Optional methods that go with another: a subclass that replaces the one has left the other behind."""

from __future__ import annotations


def keeps_up(given: object, companion: str, method: str) -> bool:
    """Whether an object's companion of a method belongs to the method that it has.

    Args:
        given: the object; one that has the method replaced on itself has no companion.
        companion: the optional name.
        method: the name of what it goes with.

    Returns:
        True if, from the object's class upwards, the companion is met no later than the method. What a wrapper hands
        through by ``__getattr__`` does not count.
    """
    if method in getattr(given, "__dict__", {}):
        return False
    for kind in type(given).__mro__:
        if companion in vars(kind) or method in vars(kind):
            return companion in vars(kind)
    return False
