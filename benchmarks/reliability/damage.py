"""Damage to a run's newest checkpoint, in every way and place: it must fall back to the one before, saying so."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from benchmarks.reliability.child import KILL_BEFORE, train
from benchmarks.reliability.trials import SHORT, Tally, finish
from experiments.heard import heard
from metaft.errors import MetaftError
from metaft.runs import checkpoint

FILES = (*(f"{part}.safetensors" for part in checkpoint.PARTS), "progress.json")


def damaged_checkpoints(folder: Path, each: int, seed: int) -> Tally:
    """Damage each file of the newest of two checkpoints.

    Args:
        folder: for runs.
        each: truncated lengths, and flipped bits, to try a file, evenly spread and at random.
        seed: of the bits.

    Returns:
        The counts by kind of damage.
    """
    tally, draw, out = Tally(), random.Random(seed), folder / "damage"
    train(out, SHORT)
    before, newest = sorted((out / "checkpoints").iterdir())
    for name in FILES:
        file, content = newest / name, (newest / name).read_bytes()
        older = (before / name).read_bytes()
        lengths = range(0, len(content), max(1, len(content) // each))
        bits = [draw.randrange(8 * len(content)) for _ in range(each)]
        trials = [
            ("truncated", [content[:n] for n in lengths]),
            ("a bit flipped", [flipped(content, bit) for bit in bits]),
            ("empty", [b""]),
            ("all zeros", [bytes(len(content))]),
            ("a block of zeros", [content[:n] + bytes(len(content[n : n + 512])) + content[n + 512 :]
                                  for n in lengths[:: max(1, each // 50)] if any(content[n : n + 512])]),
            ("too long", [content + b"\0", content + content]),
            ("another checkpoint's", [older] if older != content else []),
            ("missing", [None]),
        ]  # fmt: skip
        for kind, contents in trials:
            for number, changed in enumerate(contents):
                file.unlink() if changed is None else file.write_bytes(changed)
                tally.add(kind, falls_back(out / "checkpoints", before, newest), file=name, number=number)
        file.unlink(missing_ok=True)
        file.mkdir()
        tally.add("a folder instead", falls_back(out / "checkpoints", before, newest), file=name)
        file.rmdir()
        file.write_bytes(content)
    return tally


def damaged_and_resumed(folder: Path, tally: Tally) -> None:
    """Damage the newest checkpoint of a run, then resume it to its end by the command; then damage both."""
    whole, partial = folder / "whole-short", folder / "partial"
    calls = train(whole, SHORT).calls
    # Killed when the third checkpoint is there, and iterations are left to do.
    train(partial, SHORT, nth=calls * 7 // 8, action=KILL_BEFORE)
    for name in FILES:
        for kind, change in (("cut", lambda c: c[: len(c) // 2]), ("flipped", lambda c: flipped(c, 8 * (len(c) - 9)))):
            out = folder / "resumed"
            shutil.copytree(partial, out)
            file = max((out / "checkpoints").iterdir()) / name
            file.write_bytes(change(file.read_bytes()))
            tally.add("damaged, then resumed to the same end", finish(out, whole, SHORT), file=name, damage=kind)
            shutil.rmtree(out)
    for path in (partial / "checkpoints").iterdir():
        (path / "progress.json").write_bytes(b"{}")
    ended = train(partial, SHORT)
    *warnings, last = ended.said.strip().splitlines()
    good = ended.code == 2 and last.startswith(f"Error: all {len(warnings)} checkpoints")
    tally.add("all damaged: an error in one line, code 2", "" if good else ended.said[-300:])


def falls_back(folder: Path, before: Path, newest: Path) -> str:
    """Whether the one before is read, and a warning names the damaged one; what is wrong, or an empty text."""
    with heard("metaft.runs.checkpoint", alone=True) as said:
        try:
            found = checkpoint.load_newest(folder)
        except MetaftError as error:
            return f"refused: {error.message}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    if found.path != before:
        return "not noticed"
    return "" if any(newest.name in line for line in said) else "nothing was said"


def flipped(content: bytes, bit: int) -> bytes:
    """The content with one bit the other way."""
    return content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :]
