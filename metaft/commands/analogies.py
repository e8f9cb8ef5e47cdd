"""Word geometry of some sources: questions read, vectors trained or loaded, answers scored and written."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

from metaft.assembly.word_vectors import require_source, word_vectors
from metaft.data.cache import file_digest
from metaft.data.texts import analogies
from metaft.data.texts.analogies import Questions
from metaft.environment import environment
from metaft.errors import MetaftError, nearest
from metaft.evaluation.analogies_report import Answered, answer, markdown, picture, results
from metaft.evaluation.report import write_result
from metaft.evaluation.style import save
from metaft.files import folder_path, write_atomically
from metaft.runs.contents import Contents
from metaft.runs.reading import dig, entries, read_json
from metaft.seeds import require_seed

TABLES, PAGE, PICTURE = "analogies.json", "analogies.md", "analogies-{}.png"
LONGEST = 60
"""Characters of a source in the name of its picture."""


def _is_ours(folder: Path) -> bool:
    with suppress(MetaftError):
        return isinstance(dig(read_json(folder / TABLES), "versions", "metaft"), str)
    return False


CONTENTS = Contents(
    "table of analogies",
    TABLES,
    (TABLES, PAGE, PICTURE.format("*")),
    is_ours=_is_ours,
    is_free=lambda names: not any(name == PAGE or fnmatch(name, PICTURE.format("*")) for name in names),
    resumed=False,
)


def solve(
    sources: Sequence[str],
    *,
    corpus: str = "openstax+children",
    questions: str | Path | None = None,
    draw: Sequence[str] = (),
    seed: int = 0,
    data_root: str | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Callable[[str], object] = lambda text: None,
) -> tuple[list[Answered], Questions]:
    """Answer analogies by the word vectors of some sources.

    Args:
        sources: as `metaft.assembly.word_vectors.word_vectors` takes them.
        corpus: of word2vec.
        questions: a file; ``questions-words.txt`` under the data root by default.
        draw: sections of the pictures, see `picture`.
        seed: of word2vec, and of a network that is drawn anew.
        data_root: where data are looked for first.
        out: the folder of table, page and pictures; nothing is written without it.
        overwrite: replace those that are there.
        progress: called with what is being done.

    Returns:
        The answers of each source, and the questions.

    Raises:
        MetaftError: for bad input, found before anything is trained; if a source knows the words of no question; or if
            the folder cannot be written.
    """
    require_seed(seed)
    if twice := next((name for name in sources if sources.count(name) > 1), None):
        raise MetaftError(f"source {twice!r} is asked for twice")
    if out is not None:
        CONTENTS.check(folder_path(out), resume=False, overwrite=overwrite)
    asked = analogies.load(questions, data_root)
    for name in draw:
        if name not in asked.sections:
            raise MetaftError(f"unknown section {name!r}{nearest(name, asked.sections)}")
    for source in sources:
        require_source(source, corpus)
    found = []
    for source in sources:
        progress(f"{source}: vectors …")
        vectors = word_vectors(source, corpus, seed, data_root, progress)
        progress(f"{source}: {len(asked.words):,} questions …")
        found.append(answer(vectors, asked))
        if not found[-1].covered.any():
            raise MetaftError(
                f"{source} knows all four words of none of the {len(asked.words):,} questions in {asked.file}; take "
                "vectors of more words, or other questions"
            )
    if out is not None:
        _write(Path(folder_path(out)), found, asked, draw, seed)
    return found, asked


def _write(folder: Path, found: Sequence[Answered], asked: Questions, draw: Sequence[str], seed: int) -> None:
    command = shlex.join(["metaft", *sys.argv[1:]])
    _remove_pictures(folder)
    pictures: dict[str, str] = {}
    for one in found:
        figure = picture(one.vectors, asked, draw)
        if figure is not None:
            short = re.sub(r"\W+", "-", one.vectors.name).strip("-")[-LONGEST:]
            names = (PICTURE.format(f"{short}{more}") for more in ("", *(f"-{n}" for n in range(2, len(found) + 1))))
            pictures[one.vectors.name] = next(name for name in names if name not in pictures.values())
            save(figure, folder / pictures[one.vectors.name])
    where = environment()
    versions = ", ".join(f"{name} {version}" for name, version in _versions(found, where["versions"]).items())
    made = f"Seed {seed}; {versions}; commit {where['commit']}; {where['date']}."
    write_atomically(folder / PAGE, markdown(found, asked, command, made, pictures).encode())
    file = {"file": Path(asked.file).name, "digest": file_digest(Path(asked.file)), "questions": len(asked.words)}
    write_result(folder / TABLES, results(found, asked), command, [seed], {"asked": file, "pictures": pictures})


def _remove_pictures(folder: Path) -> None:
    """Remove those of the table that is replaced, and no others."""
    if (folder / TABLES).exists():
        for name in entries(read_json(folder / TABLES), "pictures").values():
            if isinstance(name, str) and "/" not in name and fnmatch(name, PICTURE.format("*")):
                (folder / name).unlink(missing_ok=True)


def _versions(found: Sequence[Answered], ours: dict[str, str]) -> dict[str, str]:
    gensim = {str(one.vectors.facts["gensim"]) for one in found if "gensim" in one.vectors.facts}
    return {**ours, **({"gensim": gensim.pop()} if gensim else {})}
