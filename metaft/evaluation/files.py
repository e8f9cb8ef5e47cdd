"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from metaft.errors import MetaftError


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write beside the target, flush to disk, then rename over it; missing parent folders are made.

    Args:
        path: the file to make or replace.
        content: its bytes.

    Raises:
        MetaftError: if the file cannot be written (no space, no permission); what was there before stays.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        raise MetaftError(f"cannot write {target}: {error.strerror or error}; choose another place") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
