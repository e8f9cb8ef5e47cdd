"""The table of data sets: what there is, where it was found, under which licence, and how to load it.

Those of texts have their rows in `metaft.data.texts.table`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from metaft.data import cache, cifar_fs, image_folder, mini_imagenet, mnist, omniglot, splits
from metaft.data.images import LabelledImages, together
from metaft.data.splits import Division
from metaft.data.texts import reading
from metaft.data.texts.labelled_texts import LabelledTexts
from metaft.data.texts.table import TEXTS, TextSet
from metaft.errors import MetaftError, nearest
from metaft.parts import load

ImageLoader = Callable[..., LabelledImages]


@dataclass(frozen=True)
class DatasetInfo:
    """One data set.

    Args:
        name: as given to ``--dataset``.
        description: one line.
        counts: how much there is, in words.
        licence: and whose.
        splits: the splits' names.
        schemes: the ways to split it, by name; empty where there is just one.
        channels: of its images, 1 grey or 3 colour; 0 where it has no images.
        where: takes the data root, returns the place in words or ``None`` when it is not there.
        load: takes split, root and options, returns the images; ``None`` for a family that has no images.
        texts: takes split and options, returns the texts; ``None`` for other data sets.
        groups: what groups of its classes are called, such as "domain"; empty where there are none.
        max_words: that a text may have, unless another number is asked for; None for any.
        tasks: ``"module:function"``, what draws tasks of texts, where they are no episodes; else empty.
        division: takes the same, and tells how the classes are divided, where that depends on the user's own; else
            ``None``.
    """

    name: str
    description: str
    counts: str
    licence: str
    splits: tuple[str, ...]
    schemes: tuple[str, ...]
    channels: int
    where: Callable[[str | Path | None], str | None]
    load: ImageLoader | None = None
    division: Callable[..., Division] | None = None
    texts: Callable[..., LabelledTexts] | None = None
    groups: str = ""
    max_words: int | None = None
    tasks: str = ""

    @property
    def takes_root(self) -> bool:
        """Whether its files are looked for under a data root."""
        load = self.load or self.texts
        return load is not None and "root" in inspect.signature(load).parameters

    @property
    def options(self) -> dict[str, object]:
        """The options that :func:`load_images` takes for this data set, with their defaults."""
        load = self.load or self.texts
        taken = {} if load is None else inspect.signature(load).parameters
        return {name: option.default for name, option in taken.items() if name not in ("split", "root")}


def load_images(name: str, split: str, root: str | Path | None = None, **options: object) -> LabelledImages:
    """Load one split of a data set of images.

    Args:
        name: of the data set.
        split: ``"train"``, ``"val"`` or ``"test"``; or ``"all"``, the classes of all three.
        root: where files are looked for first.
        options: of this data set, such as ``scheme`` and ``rotations`` of Omniglot.

    Returns:
        The images.

    Raises:
        MetaftError: for an unknown data set, split or option, and whatever the data set itself refuses.
    """
    info = dataset(name)
    if info.load is None:
        images = ", ".join(other.name for other in DATASETS.values() if other.load)
        raise MetaftError(f"{name} has no images to draw episodes from; data sets of images: {images}")
    splits.check_split(split, or_all=True)
    for option in options:
        if option not in info.options:
            raise MetaftError(f"unknown option {option!r} of data set {name}{nearest(option, info.options)}")
    if split == splits.ALL and splits.ALL not in info.splits:
        return together([info.load(one, root=root, **options) for one in info.splits])
    return info.load(split, root=root, **options)


def dataset(name: str) -> DatasetInfo:
    """Look up a data set.

    Args:
        name: as in the table.

    Returns:
        Its entry.

    Raises:
        MetaftError: if there is none of that name.
    """
    if name not in DATASETS:
        raise MetaftError(f"unknown data set {name!r}{nearest(name, DATASETS)}")
    return DATASETS[name]


def _omniglot_where(root: str | Path | None) -> str | None:
    parts = omniglot.where(root)
    return None if parts is None else ", ".join(map(str, parts))


def _mnist_where(root: str | Path | None) -> str | None:
    found = mnist.where(root)
    return None if found is None else str(found["test"][0].parent)


def _glyphs(
    split: str,
    *,
    root: str | Path | None = None,
    alphabets: int | None = None,
    seed: int = 0,
    size: int = 28,
    rotations: bool = True,
) -> LabelledImages:
    generator = _glyph_module()
    sources = Path(str(generator.__file__)).parent.glob("glyph*.py")
    key = f"glyphs-{split}-{alphabets!r}-{seed!r}-{size!r}-{cache.file_digest(*sources)}"
    drawn = cache.cached_images(key, lambda: generator.load(split, alphabets=alphabets, seed=seed, size=size))
    return drawn.with_rotations() if rotations else drawn


def _glyph_module() -> ModuleType:
    return import_module("metaft.data.glyphs")


def _built_in(root: str | Path | None) -> str:
    return "built in"


def _of_texts(row: TextSet) -> DatasetInfo:
    def where(root: str | Path | None) -> str | None:
        if not row.files:
            return "wherever --data-root says" if row.division else "built in"
        base = reading.place(row.name, row.files, root)
        return None if base is None else str((base / row.files[0]).parent)

    return DatasetInfo(
        name=row.name,
        description=row.description,
        counts=row.counts,
        licence=row.licence,
        splits=(*splits.SPLITS, splits.ALL) if row.division else splits.SPLITS,
        schemes=row.schemes,
        channels=0,
        where=where,
        division=load(row.division) if row.division else None,
        texts=load(row.load),
        groups=row.groups,
        max_words=row.max_words,
        tasks=row.tasks,
    )


DATASETS = {
    info.name: info
    for info in (
        DatasetInfo(
            name="glyphs",
            description="invented characters made of pen strokes, as many alphabets as you like",
            counts="1,199 / 253 / 497 characters × 20 drawings (train / val / test), ×4 by rotation; made on first use",
            licence="MIT (this project)",
            splits=splits.SPLITS,
            schemes=(),
            channels=1,
            where=_built_in,
            load=_glyphs,
        ),
        DatasetInfo(
            name="omniglot",
            description="handwritten characters of 50 alphabets (Lake et al. 2015)",
            counts="964 + 659 characters × 20 drawings, ×4 by rotation",
            licence="MIT (Brenden Lake)",
            splits=splits.SPLITS,
            schemes=tuple(splits.SCHEMES),
            channels=1,
            where=_omniglot_where,
            load=omniglot.load,
        ),
        DatasetInfo(
            name="mini-imagenet",
            description="100 classes of ImageNet, natural images (split of Ravi & Larochelle 2017)",
            counts="64 / 16 / 20 classes × 600 images (train / val / test), 84×84",
            licence="images: ImageNet's terms, to be fetched by yourself; class lists: MIT (Twitter)",
            splits=splits.SPLITS,
            schemes=(),
            channels=3,
            where=mini_imagenet.where,
            load=mini_imagenet.load,
        ),
        DatasetInfo(
            name="cifar-fs",
            description="the 100 classes of CIFAR-100, natural images (Bertinetto et al. 2019)",
            counts="64 / 16 / 20 classes × 600 images (train / val / test), 32×32",
            licence="images: none stated by their authors; class lists: MIT (Tristan Deleu)",
            splits=splits.SPLITS,
            schemes=(),
            channels=3,
            where=cifar_fs.where,
            load=cifar_fs.load,
        ),
        DatasetInfo(
            name="mnist",
            description="handwritten digits (LeCun et al. 1998), for testing what was trained on other images",
            counts="10 digits, 10,000 images (test)",
            licence="CC BY-SA 3.0 (Yann LeCun, Corinna Cortes)",
            splits=("test",),
            schemes=(),
            channels=1,
            where=_mnist_where,
            load=mnist.load,
        ),
        DatasetInfo(
            name="folder",
            description="your own images, one folder a class: --dataset folder --data-root PATH",
            counts="yours; divided by subfolders train, val, test, by lists train.txt, …, or 64 : 16 : 20 by a seed; "
            "--split all takes all classes together",
            licence="yours",
            splits=(*splits.SPLITS, splits.ALL),
            schemes=(),
            channels=3,
            where=lambda root: "wherever --data-root says",
            load=image_folder.load,
            division=image_folder.division,
        ),
        DatasetInfo(
            name="table",
            description="regression from a CSV file: --dataset table --data-root FILE --group COLUMN --target COLUMN",
            counts="yours; a group a task, groups divided by a column or 64 : 16 : 20 by a seed",
            licence="yours",
            splits=splits.SPLITS,
            schemes=(),
            channels=0,
            where=lambda root: "wherever --data-root says",
        ),
        *map(_of_texts, TEXTS.values()),
        DatasetInfo(
            name="sinusoid",
            description="regression of random sine waves (Finn et al. 2017)",
            counts="unlimited, drawn task by task",
            licence="MIT (this project)",
            splits=(),
            schemes=(),
            channels=0,
            where=_built_in,
        ),
    )
}
