"""What is made once for an object and goes with it: compiled functions of a learner's loss, say."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Made = TypeVar("Made")
NAME = "_metaft_kept"
MOST = 64
_of_others: OrderedDict[int, tuple[object, Kept]] = OrderedDict()


class Kept:
    """A small store in an object's own dictionary, freed with the object; a copy of the object starts an empty one.

    A store of the module's would hold every learner that was ever made, since what is kept refers to its owner.
    """

    def __init__(self) -> None:
        self._made: OrderedDict[Hashable, Any] = OrderedDict()

    def once(self, name: Hashable, make: Callable[[], Made]) -> Made:
        """What was made under this name, or what is made now; of many the latest are kept."""
        if name not in self._made:
            self._made[name] = make()
            while len(self._made) > MOST:
                self._made.popitem(last=False)
        self._made.move_to_end(name)
        found: Made = self._made[name]
        return found

    def __contains__(self, name: Hashable) -> bool:
        return name in self._made

    def __deepcopy__(self, memo: dict[int, Any]) -> Kept:
        return Kept()

    def __reduce__(self) -> tuple[type[Kept], tuple[()]]:
        return Kept, ()


def kept(owner: object) -> Kept:
    """The store of an object.

    Args:
        owner: a function, a bound method (its object is the owner) or an object.

    Returns:
        The store, the same one as long as the object lives. Objects without a dictionary share a small one.
    """
    while hasattr(owner, "__self__") and not isinstance(owner.__self__, type(None)):
        owner = owner.__self__
    try:
        return vars(owner).setdefault(NAME, Kept())
    except (TypeError, AttributeError):
        pass
    if id(owner) not in _of_others:
        _of_others[id(owner)] = owner, Kept()  # held, so that its number stays its own
        while len(_of_others) > MOST:
            _of_others.popitem(last=False)
    return _of_others[id(owner)][1]
