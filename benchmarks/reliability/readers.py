"""The readers that meet files from strangers, each with a few sound files to spoil."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from metaft.data import archive, csv_table, decode, mnist
from metaft.evaluation import lake
from metaft.runs import checkpoint
from metaft.runs.reading import read_json, read_rows
from metaft.settings import config
from metaft.training.state import TrainState


@dataclass(frozen=True)
class Reader:
    """A reader and what it reads.

    Args:
        files: name → sound content; one of them is spoiled at a time.
        read: reads the folder that holds them; returns, or raises MetaftError.
    """

    files: Mapping[str, bytes]
    read: Callable[[Path], object]


def readers() -> dict[str, Reader]:
    """The table: every format that is read from a file."""
    return {
        "zip of drawings": Reader({"a.zip": _zip(zipfile.ZIP_DEFLATED)}, lambda at: _all_drawings(at / "a.zip")),
        "zip, not packed": Reader({"a.zip": _zip(zipfile.ZIP_STORED)}, lambda at: _all_drawings(at / "a.zip")),
        "PNG drawing": Reader({"a/x.png": _image("PNG", "1", archive.SIDE)}, lambda at: _all_drawings(at / "a")),
        "PNG": Reader({"x.png": _image("PNG", "RGB", 40)}, lambda at: decode.decode([at / "x.png"], 16)),
        "JPEG": Reader({"x.jpg": _image("JPEG", "RGB", 40)}, lambda at: decode.decode([at / "x.jpg"], 16)),
        "GIF": Reader({"x.gif": _image("GIF", "P", 40)}, lambda at: decode.decode([at / "x.gif"], 16)),
        "BMP": Reader({"x.bmp": _image("BMP", "RGB", 24)}, lambda at: decode.decode([at / "x.bmp"], 16)),
        "WebP": Reader({"x.webp": _image("WEBP", "RGB", 40)}, lambda at: decode.decode([at / "x.webp"], 16)),
        "PPM": Reader({"x.ppm": _image("PPM", "RGB", 24)}, lambda at: decode.decode([at / "x.ppm"], 16)),
        "idx": Reader({"x": _idx()}, lambda at: mnist.read_idx(at / "x")),
        "idx.gz": Reader({"x.gz": gzip.compress(_idx(), mtime=0)}, lambda at: mnist.read_idx(at / "x.gz")),
        "CSV": Reader({"x.csv": _csv()}, lambda at: csv_table.read_table(at / "x.csv", ["town"], None)),
        "checkpoint": Reader(_checkpoint(), lambda at: checkpoint.load_newest(at)),
        "checkpoint, sealed by a stranger": Reader({"run": _record()}, _restore_sealed),
        "safetensors, sealed by a stranger": Reader({"run": _tensors()}, _restore_tensors),
        "run.json": Reader({"run.json": _run_json()}, lambda at: read_json(at / "run.json")),
        "metrics.jsonl": Reader({"m.jsonl": b'{"loss": 0.5, "a": [1, 2]}\n' * 9}, lambda at: read_rows(at / "m.jsonl")),
        "config.toml": Reader({"c.toml": _toml()}, lambda at: config.load_config(at / "c.toml")),
        "class labels of Lake's runs": Reader({"t": _labels()}, _lake_labels),
    }


def _image(kind: str, mode: str, side: int) -> bytes:
    image = Image.new(mode, (side, side), 1 if mode in "1P" else "white")
    ImageDraw.Draw(image).line([(1, 2), (side - 3, side // 2), (5, side - 2)], fill=0, width=3)
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def _zip(compression: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as file:
        for name in ("a/x.png", "a/y.png", "notes.txt"):
            file.writestr(name, _image("PNG", "1", archive.SIDE))
    return out.getvalue()


def _all_drawings(path: Path) -> None:
    with archive.open_files(path) as files:
        for name in files.names:
            files.ink(name)


def _idx() -> bytes:
    values = np.arange(300, dtype=np.uint8)
    return struct.pack(">BBBB3I", 0, 0, 8, 3, 3, 10, 10) + values.tobytes()


def _csv() -> bytes:
    rows = [f"{town},{x / 3:.4f},{x * x},{-x}e-3" for town in ("Bern", "Ürzig", '"a, b"') for x in range(9)]
    return "\n".join(["town,x,y,z", *rows]).encode()


def _stored() -> tuple[TrainState, checkpoint.Checkpoint]:
    torch.manual_seed(0)
    weights = {"a.weight": torch.randn(3, 2), "a.bias": torch.randn(3)}
    state = TrainState.start(weights, 0.9, torch.device("cpu"))
    state.step({name: torch.ones_like(w) for name, w in weights.items()}, 1e-3)
    state.keep_best(0.5)
    return state, state.checkpoint()


def _checkpoint() -> dict[str, bytes]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = checkpoint.save(Path(folder), _stored()[1])
        return {f"{path.name}/{file.name}": file.read_bytes() for file in path.iterdir()}


def _record() -> bytes:
    return json.dumps(_stored()[1].progress).encode()


def _restore_sealed(at: Path) -> None:
    """What a stranger writes into the record and seals again must be refused by meaning, not by checksum."""
    state, stored = _stored()
    try:
        progress = json.loads((at / "run").read_bytes())
        folder = checkpoint.save(at / "c", checkpoint.Checkpoint({"iteration": 1}, stored.weights))
        record = {"format": 1, "files": {}, "progress": progress}
        record["files"] = json.loads((folder / "progress.json").read_bytes())["files"]
        sealed = {**record, "sha256": checkpoint._digest(checkpoint._canonical(record))}
        (folder / "progress.json").write_bytes(checkpoint._canonical(sealed))
    except (ValueError, RecursionError):
        return  # not what a stranger could have sealed
    found = checkpoint.load_newest(at / "c")
    state.restore(checkpoint.Checkpoint(found.progress, stored.weights, stored.average, stored.best, stored.optimiser))


def _tensors() -> bytes:
    import safetensors.torch

    return safetensors.torch.save(dict(_stored()[1].optimiser))


def _restore_tensors(at: Path) -> None:
    state, stored = _stored()
    content = (at / "run").read_bytes()
    folder = checkpoint.save(at / "c", stored)
    (folder / "optimiser.safetensors").write_bytes(content)
    record: dict[str, Any] = json.loads((folder / "progress.json").read_bytes())
    del record["sha256"]
    record["files"]["optimiser"] = checkpoint._digest(content)
    sealed = {**record, "sha256": checkpoint._digest(checkpoint._canonical(record))}
    (folder / "progress.json").write_bytes(checkpoint._canonical(sealed))
    state.restore(checkpoint.load_newest(at / "c"))


def _run_json() -> bytes:
    return json.dumps({"command": "metaft", "settings": {"train": {"seed": 0}}, "history": [1, {"a": None}]}).encode()


def _toml() -> bytes:
    return config.to_toml(config.validated(config.RunConfig, {"dataset": "sinusoid"})).encode()


def _labels() -> bytes:
    return "\n".join(f"run01/test/item{i:02d}.png run01/training/class{21 - i:02d}.png" for i in range(1, 21)).encode()


def _lake_labels(at: Path) -> None:
    content = (at / "t").read_bytes()
    lake._labels(archive.Files(at, ["run01/class_labels.txt"], lambda name: content), "", "run01")
