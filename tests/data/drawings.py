"""Small worlds to read: drawn PNG files in Omniglot's layout, as folders and zips."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from metaft.data import omniglot, splits


def png(seed: int, side: int = 105, mode: str = "1") -> bytes:
    """A few dark lines on white."""
    rng = np.random.default_rng(seed)
    image = Image.new(mode, (side, side), 1 if mode == "1" else "white")
    ImageDraw.Draw(image).line([tuple(p) for p in rng.integers(0, side, (6, 2)).tolist()], fill=0, width=3)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def pixels(content: bytes) -> np.ndarray:
    """True where ink is, by way of RGB: independent of the reader under test."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))[..., 0] == 0


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_zip(
    path: Path, files: Mapping[str, bytes], prefix: str = "", compression: int = zipfile.ZIP_DEFLATED
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(prefix + name, content)
    return path


@contextmanager
def served(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A web server on this machine that stands in for the network; yields its address."""
    monkeypatch.delenv("METAFT_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


class ToyOmniglot:
    """Three alphabets of two or three characters in place of the fifty, with digests of their own."""

    LAYOUT = (("background", "Alpha", 2, 7), ("background", "Beta", 3, 1), ("evaluation", "Gamma", 2, 9))

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.parts: dict[str, dict[str, bytes]] = {"background": {}, "evaluation": {}}
        rows, whole, seed = [], hashlib.sha256(), 0
        for part, alphabet, count, first in self.LAYOUT:
            digest = hashlib.sha256()
            for c in range(count):
                for d in range(1, 21):
                    seed += 1
                    content = png(seed)
                    self.parts[part][f"{alphabet}/character{c + 1:02d}/{first + c:04d}_{d:02d}.png"] = content
                    bits = np.packbits(pixels(content)).tobytes()
                    digest.update(bits)
                    whole.update(bits)
            rows.append(f"{part} {alphabet} {count} {first} {digest.hexdigest()[:16]}")
        lists = {
            "omniglot": rows,
            "omniglot_torchmeta": ["train Alpha 1-2", "val Beta 1-3", "test Gamma 1-2"],
            "omniglot_vinyals": ["train Alpha 1-2", "train Beta 1-1", "val Beta 2-3", "test Gamma 1-2"],
        }
        monkeypatch.setattr(splits, "_lines", lambda name: lists[name])
        monkeypatch.setattr(omniglot, "DIGEST", whole.hexdigest())
        forget()

    def folders(self, root: Path) -> Path:
        for part, files in self.parts.items():
            write_folder(root / f"images_{part}", files)
        return root

    def zips(self, root: Path, **how: int) -> Path:
        for part, files in self.parts.items():
            write_zip(root / f"images_{part}.zip", files, f"images_{part}/", **how)
        return root


def forget() -> None:
    """Empty every in-process memory of the data rooms."""
    for memory in (splits.alphabets, splits.characters, splits.classes, splits._assignment, omniglot._images):
        memory.cache_clear()


def real_root() -> Path:
    """The folder of real data; skips the test where there is none."""
    given = os.environ.get("METAFT_DATA")
    if not given or not (Path(given) / "omniglot").is_dir():
        pytest.skip("METAFT_DATA names no folder with omniglot/")
    return Path(given)
