"""results/reliability.json and the page made from it: one section a command, each measured on its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metaft.environment import environment
from metaft.evaluation.report import markdown_table
from metaft.files import write_atomically

ORDER = ("kills", "files", "damage", "disk", "signals", "ranks", "fuzz", "overhead", "speed-up")
"""Sections in the order of the page; others follow."""


def write_section(
    results: str | Path,
    name: str,
    title: str,
    command: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[object]],
    note: str,
    details: Any = None,
) -> None:
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


def _told(failure: Any) -> str:
    """A failure in words: what was tried, and how it ended."""
    return (
        ", ".join(f"{name} {value}" for name, value in failure.items()) if isinstance(failure, dict) else str(failure)
    )


def page(sections: dict[str, Any]) -> str:
    """The page in Markdown.

    Args:
        sections: as ``write_section`` keeps them.

    Returns:
        Markdown.
    """
    parts = ["# Runs that can be trusted\n"]
    known = [name for name in ORDER if name in sections]
    for section in (sections[name] for name in [*known, *sorted(sections.keys() - set(known))]):
        measured = section["measured"]
        machine, versions = measured["machine"], measured["versions"]
        parts.append(f"## {section['title']}\n\n{section['note']}\n")
        parts.append(markdown_table(section["heads"], section["rows"]))
        details = section["details"]
        failures = details.get("failures", ()) if isinstance(details, dict) else ()
        parts += [f"\nNot as it should be: {_told(one)}." for one in failures]
        parts.append(
            f"\n`{section['command']}`, {measured['date'][:10]}, commit {measured['commit']}, {machine['cpu']}, "
            f"{machine['cores']} cores, torch {versions['torch']}, Python {versions['python']}.\n"
        )
    return "\n".join(parts).rstrip() + "\n"
