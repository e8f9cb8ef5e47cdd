"""results/reliability.json and the page made from it: one section a command, each measured on its own."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from experiments.pages import render
from metaft.environment import environment
from metaft.files import write_atomically

ORDER = ("kills", "files", "damage", "disk", "signals", "ranks", "fuzz", "overhead", "speed-up")
"""Sections in the order of the page; others follow."""


results_option = click.option("--results", type=click.Path(path_type=Path), help="folder to write reliability.* into")


def keep(
    results: Path | None, name: str, command: str, rows: Sequence[Sequence[object]], details: Any = None,
    **filled: object,
) -> None:  # fmt: skip
    """Put one section into the record, its title and note as sections.toml has them.

    Args:
        results: the folder of results; None to keep nothing.
        name: of the section.
        command: that measured it.
        rows: of its table.
        details: further JSON-able numbers, such as each failure with its seed.
        filled: what stands in brackets in the note.
    """
    if results is not None:
        told = tomllib.loads(Path(__file__).with_name("sections.toml").read_text(encoding="utf-8"))[name]
        note = told["note"].format(**filled)
        write_section(results, name, told["title"], command, told["heads"], rows, note, details)


def write_section(
    results: str | Path, name: str, title: str, command: str, heads: Sequence[str], rows: Sequence[Sequence[object]],
    note: str, details: Any = None,
) -> None:  # fmt: skip
    """Put one section into the record, and make the page anew.

    Args:
        results: the folder of results.
        name: of the section; replaces an earlier one of that name.
        title: its heading.
        command: that measured it.
        heads: of its table.
        rows: of its table.
        note: what it shows, in words.
        details: further JSON-able numbers, such as each failure with its seed.
    """
    file = Path(results) / "reliability.json"
    sections = json.loads(file.read_bytes()) if file.exists() else {}
    sections[name] = {
        "title": title,
        "command": command,
        "heads": list(heads),
        "rows": [[str(cell) for cell in row] for row in rows],
        "note": note,
        "details": details,
        "measured": environment(),
    }
    write_atomically(file, json.dumps(sections, indent=1, ensure_ascii=False).encode() + b"\n")
    write_atomically(file.with_suffix(".md"), page(sections).encode())


def page(sections: Mapping[str, Any]) -> str:
    """The page in Markdown.

    Args:
        sections: as ``write_section`` keeps them.

    Returns:
        Markdown.
    """
    names = [*(name for name in ORDER if name in sections), *sorted(sections.keys() - set(ORDER))]
    text = render("benchmarks/reliability/page.md.j2", sections=[sections[name] for name in names])
    return text.rstrip() + "\n"
