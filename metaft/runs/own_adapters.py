"""What a run keeps of the files of others that its network begins from, so that it needs them no longer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from metaft.additions.attach import read
from metaft.additions.peft_folder import CONFIG, WEIGHTS
from metaft.models.backbones.source import stored, with_weights
from metaft.plugins import image_network
from metaft.runs.own_files import ADDITIONS, BACKBONE
from metaft.runs.reading import read_bytes
from metaft.settings.config import CommandSettings
from metaft.settings.distill import GenerationConfig
from metaft.tables import ADDITIONS as TABLE

PEFT = "peft"
Config = TypeVar("Config", bound=CommandSettings)


def adapter_files(config: object) -> dict[str, bytes]:
    """The weights that a published network of images has, and the folders that its additions begin from.

    Args:
        config: settings, of a network or not.

    Returns:
        Path in the run directory → content; of folders that are there.

    Raises:
        MetaftError: if a file cannot be read.
    """
    asked = getattr(config, "model", None)
    weights = None if image_network(asked) is None else stored(str(asked))
    return ({} if weights is None else {BACKBONE: weights}) | {
        f"{ADDITIONS}/{place}/{name}": read_bytes(folder / name, most=2**32)
        for place, folder in _folders(getattr(config, "addition", None))
        for name in (CONFIG, WEIGHTS)
        if _whole(folder)
    }


def with_own_adapters(config: Config, folder: str | Path) -> Config:
    """Settings that name the run's own copies of such files.

    Args:
        config: a run's settings.
        folder: the run directory; a generation's copies may lie in the distillation's.

    Returns:
        The settings; what the run has no copy of is named as before.
    """
    asked, model = getattr(config, "addition", None), getattr(config, "model", None)
    parts = read(asked) if asked is not None else []
    runs = [Path(folder), *(Path(folder).parents[:2] if isinstance(config, GenerationConfig) else ())]
    for place, _ in _folders(asked):
        own = next((own for run in runs if _whole(own := run / ADDITIONS / str(place))), None)
        parts[place] = parts[place] if own is None else f"{PEFT}:{own}"
    found, changed = "+".join(parts) or None, dict[str, str | None]()
    if found != asked:
        changed["addition"] = found
    if image_network(model) is not None and (weights := [run / BACKBONE for run in runs if (run / BACKBONE).is_file()]):
        changed["model"] = with_weights(str(model), weights[0])
    return config.model_copy(update=changed) if changed else config


def _folders(asked: str | None) -> Iterator[tuple[int, Path]]:
    """Which of several additions begin from a folder, and from which."""
    for place, text in enumerate(read(asked) if asked is not None else []):
        if (name := text.partition(":")[0]) == PEFT:
            yield place, Path(TABLE.asked(text).options.get(TABLE.bare[name], ""))


def _whole(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (CONFIG, WEIGHTS))
