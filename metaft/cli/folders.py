"""The type of an option that names a folder to write to."""

from __future__ import annotations

from typing import Any

import click

from metaft.files import folder_path


class OutFolder(click.Path):
    """A folder to write to; one that cannot be made is refused before anything else is looked at."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check it, without making it."""
        return str(folder_path(value, param.opts[0] if param is not None else "--out"))
