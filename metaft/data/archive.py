"""Reading small drawings out of a folder or a zip, without unpacking and without trusting either."""

from __future__ import annotations

import io
import lzma
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from metaft.data.picture import shown
from metaft.errors import MetaftError

# Omniglot's drawings are 105×105 pixels of one bit, a few hundred bytes each.
SIDE = 105
MAX_BYTES = 64 * 1024
MAX_FILES = 100_000
MAX_ARCHIVE_BYTES = 32 * 2**20
"""Three times Omniglot's larger archive; the list of a zip's files is read before anything else can be checked."""
_READ_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,  # an encrypted member, a nesting too deep
    NotImplementedError,  # an exotic compression
    ValueError,
    struct.error,
    LookupError,
    TypeError,
    ArithmeticError,
)


class Files:
    """The files of a folder or zip, by their names with ``/`` between the parts.

    Args:
        path: the folder or zip, for messages.
        names: the files' names.
        read: name → content.
    """

    def __init__(self, path: Path, names: list[str], read: Callable[[str], bytes]) -> None:
        self.path = path
        self.names = names
        self._read = read

    def read(self, name: str) -> bytes:
        """The content of one file.

        Raises:
            MetaftError: if it cannot be read or is larger than 64 KiB.
        """
        try:
            content = self._read(name)
        except _READ_ERRORS as error:
            raise MetaftError(f"{self.path}: {name} cannot be read ({_line(error)}); fetch it again") from error
        if len(content) > MAX_BYTES:
            raise MetaftError(f"{self.path}: {name} is larger than {MAX_BYTES} bytes, so not a drawing")
        return content

    def ink(self, name: str) -> NDArray[np.bool_]:
        """Decode one drawing.

        Args:
            name: of a PNG with dark ink on a light ground.

        Returns:
            ``bool [105, 105]``, true where there is ink.

        Raises:
            MetaftError: if it is not such a PNG, or nothing is drawn on it.
        """
        content = self.read(name)
        bomb = Image.DecompressionBombWarning
        try:
            with (
                warnings.catch_warnings(action="error", category=bomb),
                Image.open(io.BytesIO(content), formats=("PNG",)) as image,
            ):
                # The size stands in the header: refuse before anything is decoded.
                if image.size != (SIDE, SIDE):
                    width, height = image.size
                    raise MetaftError(f"{self.path}: {name} has {width}×{height} pixels, expected {SIDE}×{SIDE}")
                ink = np.asarray(shown(image, f"{self.path}: {name}").convert("L")) < 128
        except MetaftError:
            raise
        except (*_READ_ERRORS, SyntaxError, Image.DecompressionBombError, bomb) as error:
            raise MetaftError(f"{self.path}: {name} is not a readable PNG image; fetch it again") from error
        if ink.all() or not ink.any():
            raise MetaftError(f"{self.path}: {name} holds no drawing, all of it is {'ink' if ink.all() else 'ground'}")
        return ink


@contextmanager
def open_files(path: Path) -> Iterator[Files]:
    """Open a folder or a zip for reading; hidden files and macOS's own are left out.

    Args:
        path: of the folder or zip.

    Yields:
        Its files.

    Raises:
        MetaftError: if it is neither, is truncated, or holds absurdly many or large files.
    """
    if path.is_dir():
        yield Files(path, _folder_names(path), lambda name: _read_bounded(path / name))
        return
    if not path.is_file():
        raise MetaftError(f"{path} does not exist: expected a folder or a zip file")
    try:
        if path.stat().st_size > MAX_ARCHIVE_BYTES:
            raise MetaftError(f"{path} is larger than {MAX_ARCHIVE_BYTES >> 20} MiB, so not an archive of drawings")
        archive = zipfile.ZipFile(path)
    except MetaftError:
        raise
    except _READ_ERRORS as error:
        raise MetaftError(f"{path} is not a complete zip file ({_line(error)}); fetch it again") from error
    with archive:
        members = [m for m in archive.infolist() if m.filename and not m.is_dir() and not _hidden(m.filename)]
        names = [member.filename for member in members]
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise MetaftError(f"{path} holds {name} twice")
            seen.add(name)
        large = [m.filename for m in members if m.file_size > MAX_BYTES and m.filename.endswith(".png")]
        if len(names) > MAX_FILES or large:
            what = f"{large[0]} is larger than {MAX_BYTES} bytes" if large else f"{len(names)} files"
            raise MetaftError(f"{path}: {what}, so not an archive of drawings")

        def read(name: str) -> bytes:
            # Bounded although the size was checked: what a zip's directory declares may be untrue.
            with archive.open(name) as member:
                return member.read(MAX_BYTES + 1)

        yield Files(path, names, read)


def shrink(ink: NDArray[np.bool_], size: int) -> Tensor:
    """Scale drawings down by Pillow's anti-aliasing Lanczos filter, the one MAML's experiments name.

    Args:
        ink: ``bool [n, 105, 105]``.
        size: side of the result in pixels, 8 to 105.

    Returns:
        ``uint8 [n, 1, size, size]``, 255 = ink.

    Raises:
        MetaftError: if the size is out of range.
    """
    check_size(size)
    out = np.empty((len(ink), 1, size, size), np.uint8)
    for row, drawing in zip(out, ink, strict=True):
        grey = Image.fromarray(drawing.astype(np.uint8) * np.uint8(255))
        row[0] = np.asarray(grey.resize((size, size), Image.Resampling.LANCZOS))
    return torch.from_numpy(out)


def check_size(size: int) -> None:
    """Refuse a side length that is not a whole number from 8 to 105.

    Raises:
        MetaftError: then.
    """
    if isinstance(size, bool) or not isinstance(size, int) or not 8 <= size <= SIDE:
        raise MetaftError(f"image size must be a whole number from 8 to {SIDE}, not {size!r}")


def _folder_names(path: Path) -> list[str]:
    names: list[str] = []
    for file in path.rglob("*"):
        name = file.relative_to(path).as_posix()
        if not _hidden(name) and file.is_file():
            names.append(name)
        if len(names) > MAX_FILES:
            raise MetaftError(f"{path} holds more than {MAX_FILES} files, so not a folder of drawings")
    return sorted(names)


def _read_bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
