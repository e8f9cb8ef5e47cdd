"""Archives made to do harm: nothing is unpacked to the disk, and nothing is taken that is not a small drawing."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import tracemalloc
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaft.data import archive
from metaft.errors import MetaftError
from tests.data.drawings import pixels, png, write_zip


def read_all(path: Path) -> dict[str, np.ndarray]:
    with archive.open_files(path) as files:
        return {name: files.ink(name) for name in files.names}


def bomb(size: int) -> bytes:
    """A PNG whose header promises a square of this size, with a valid checksum, and whose data is short."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "C:\\evil.png", "\\\\host\\evil.png"]
)
def test_names_that_lead_elsewhere_write_nothing(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    drawn = read_all(write_zip(inside / "a.zip", {name: png(1)}))
    assert [ink.shape for ink in drawn.values()] == [(105, 105)] * len(drawn)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.zip", "inside"]


def test_links_and_devices_in_a_zip_are_just_content(tmp_path: Path) -> None:
    for mode in (0o120777, 0o020666, 0o010666):  # a link, a character device, a pipe
        info = zipfile.ZipInfo("x.png")
        info.external_attr = mode << 16
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
            file.writestr(info, b"/etc/passwd")
        with pytest.raises(MetaftError, match=r"x\.png is not a readable PNG"):
            read_all(tmp_path / "a.zip")


def test_pipes_and_devices_in_a_folder_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(1))
    os.mkfifo(tmp_path / "y.png")
    (tmp_path / "z.png").symlink_to("/dev/zero")
    (tmp_path / "round").symlink_to(tmp_path)
    drawn = read_all(tmp_path)
    assert list(drawn) == ["x.png"]
    assert np.array_equal(drawn["x.png"], pixels(png(1)))


def test_what_a_zip_declares_is_not_believed(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"x.png": bytes(10**7)})
    with pytest.raises(MetaftError, match="larger than 65536 bytes"):
        read_all(path)
    # The directory now says that it is small.
    content = path.read_bytes().replace(struct.pack("<I", 10**7), struct.pack("<I", 1000))
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(MetaftError):
        read_all(path)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_zip_in_a_zip_stays_packed(tmp_path: Path) -> None:
    inner = write_zip(tmp_path / "inner.zip", {f"{i}": bytes(10**6) for i in range(3)}).read_bytes()
    with pytest.raises(MetaftError, match="not a readable PNG"):
        read_all(write_zip(tmp_path / "a.zip", {"x.png": inner}))


def test_files_that_share_their_bytes(tmp_path: Path) -> None:
    """A bomb without nesting (Fifield 2019): many entries, one content."""
    path = write_zip(tmp_path / "a.zip", {"x00.png": png(1)}, compression=zipfile.ZIP_STORED)
    with zipfile.ZipFile(path, "a") as file:
        first = file.infolist()[0]
        for i in range(1, 50):
            again = zipfile.ZipInfo(f"x{i:02d}.png")
            again.header_offset, again.CRC = first.header_offset, first.CRC
            again.compress_size = again.file_size = first.file_size
            file.filelist.append(again)
            file.NameToInfo[again.filename] = again
        file._didModify = True
    with pytest.raises(MetaftError, match="cannot be read"):
        read_all(path)


def test_a_name_twice(tmp_path: Path) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        warnings.simplefilter("ignore")
        file.writestr("x.png", png(1))
        file.writestr("x.png", png(2))
    with pytest.raises(MetaftError, match=r"holds x\.png twice"):
        read_all(tmp_path / "a.zip")


def test_many_names_and_one_of_them_twice_is_found_at_once(tmp_path: Path) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        warnings.simplefilter("ignore")
        for i in range(20_000):
            file.writestr(f"{i}", b"")
        file.writestr("19999", b"")
    with pytest.raises(MetaftError, match="holds 19999 twice"):
        read_all(tmp_path / "a.zip")


def test_too_many_files_and_too_large_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "a.zip", {f"{i}.png": png(1) for i in range(4)})
    monkeypatch.setattr(archive, "MAX_FILES", 3)
    with pytest.raises(MetaftError, match="4 files, so not an archive of drawings"):
        read_all(path)
    os.truncate(path, archive.MAX_ARCHIVE_BYTES + 1)
    with pytest.raises(MetaftError, match="larger than 32 MiB"):
        read_all(path)


@pytest.mark.parametrize("flag", [0, 0x800])
def test_names_that_are_no_utf8(tmp_path: Path, flag: int) -> None:
    path = write_zip(tmp_path / "a.zip", {"xxxx.png": png(1)})
    content = path.read_bytes().replace(b"xxxx.png", b"\xff\xfe\x1b\x07.png")
    if flag:  # the directory's entry claims that it is UTF-8
        at = content.index(b"PK\x01\x02") + 8
        content = content[:at] + struct.pack("<H", flag) + content[at + 2 :]
    path.write_bytes(content)
    with contextlib.suppress(MetaftError):
        assert len(read_all(path)) == 1


def test_an_empty_name(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"x.png": png(1)})
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02")
    struct.pack_into("<HHH", content, at + 28, 0, 0, 5)  # no name, and a remark of five bytes
    path.write_bytes(content)
    assert read_all(path) == {}


@pytest.mark.parametrize("size", [106, 20_000, 2**31 - 1])
def test_an_image_bomb_is_refused_by_its_header_without_a_warning(tmp_path: Path, size: int) -> None:
    path = write_zip(tmp_path / "a.zip", {"x.png": bomb(size)})
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MetaftError, match=r"x\.png (has|is not)"):
            read_all(path)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_text_chunk_that_unpacks_to_much(tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.new("1", (105, 105), 1).save(out, "PNG")
    content = out.getvalue()
    data = b"Comment\0\0" + zlib.compress(bytes(5 * 10**7), 9)
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    at = content.index(b"IDAT") - 4
    path = write_zip(tmp_path / "a.zip", {"x.png": content[:at] + chunk + content[at:]})
    tracemalloc.start()
    with pytest.raises(MetaftError):
        read_all(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
