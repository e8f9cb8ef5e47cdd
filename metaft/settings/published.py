"""Which published rates and steps hold for a run (see ``defaults.toml``)."""

from __future__ import annotations

import re

from metaft.plugins import is_import_path
from metaft.settings.defaults import BY_METHOD, KINDS, Defaults

MANY = 10
"""From so many ways on, what was published for 20 ways holds."""

CHANGES_TEST = ("steps", "scope", "rule", "objective", "estimator")
"""With one of these given a method is another one, and as many steps are taken at test as in training."""


def method_defaults(given: Defaults) -> Defaults:
    """What a method's paper says about rate and steps for tasks of this kind.

    Args:
        given: settings as given, not checked yet; ``learner``, ``dataset`` and ``ways`` are looked at.

    Returns:
        Setting → value, for those that differ from the data set's own.
    """
    published = BY_METHOD.get(str(given.get("learner") or "maml"), {})
    dataset = str(given.get("dataset") or "glyphs")
    kind, ways = KINDS.get(dataset), str(given.get("ways", ""))
    if kind == "regression":
        return published.get("regression", {})
    found = dict(published.get("images", {}))
    if kind == "characters" and given.get("fewest_ways") is None and "-" not in ways:
        found |= published.get("many classes", {})
    if is_import_path(dataset) or kind == "texts":
        found.pop("test_steps", None)  # nobody published any for it
    if kind == "natural":
        found |= published.get("natural", {})
    elif (most := re.search(r"\d+\s*$", ways)) and int(most[0][:9]) >= MANY:
        found |= published.get("many ways", {})
    return found
