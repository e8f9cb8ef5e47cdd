"""The zoo: what is published is whole, small and told; ``zoo:NAME`` is read wherever a run directory is."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from click.testing import CliRunner, Result

import metaft
from experiments.zoo.__main__ import PLAN, TASKS
from metaft import zoo
from metaft.assembly.meta_learner import load_run
from metaft.cli import cli
from metaft.cli.zoo import score_text
from tests.estimator.runs import SHAPES, drawing, drawings

ROOT = Path(__file__).parents[2]
DRAWN, TEXTS, WAVES = "protonet-omniglot-5way", "protonet-intents", "maml-sinusoid"
ASKED = {"transfer cash to my account": "money", "is it raining outside": "sky"}
SAID = {"send some money to my mother": "money", "pay the bill": "money", "will it rain": "sky", "is it sunny": "sky"}


def metaft_(*words: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, words)])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, and no data set anywhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METAFT_DATA", str(tmp_path / "nothing"))
    return tmp_path


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The zoo with one entry, to be changed."""
    shutil.copytree(zoo.FOLDER / WAVES, tmp_path / "zoo" / WAVES)
    shutil.copy(zoo.FOLDER / zoo.SUMS, tmp_path / "zoo")
    monkeypatch.setattr(zoo, "FOLDER", tmp_path / "zoo")
    return tmp_path / "zoo" / WAVES


def test_all_of_the_plan_is_there_and_nothing_else() -> None:
    assert sorted(PLAN) == [*zoo.names()]
    folders = {file.parent.name for file in zoo.FOLDER.glob("*/*") if file.parent.name != "__pycache__"}
    assert folders == {*PLAN, *(file.parent.parent.name for file in zoo.FOLDER.glob("*/checkpoints/*"))}
    assert (ROOT / "zoo").resolve() == zoo.FOLDER.resolve()


@pytest.mark.parametrize("name", sorted(PLAN))
def test_an_entry_is_small_plain_and_told(name: str) -> None:
    card, entry = zoo.card(name), zoo.FOLDER / name
    files = [file for file in entry.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 500_000
    weights = [file for file in files if file.suffix == ".safetensors"]
    texts = [file.read_text(encoding="utf-8") for file in files if file.suffix in (".json", ".toml", ".md")]
    assert (len(weights), len(texts)) == (1, len(files) - 1)
    assert not [text for text in texts if re.search(r"[\"' =](/[a-z]+/|~/|[A-Z]:\\)", text)]
    with safetensors.safe_open(weights[0], "pt") as file:
        assert sum(file.get_tensor(key).numel() for key in file.keys()) == card["parameters"]  # noqa: SIM118
    assert card["name"] == name
    assert card["seed"] == 0
    assert all(card[key] for key in ("what", "data", "licence", "command", "trained", "versions"))
    assert f"metaft meta-train {PLAN[name]['train']} --out runs/{name}" == card["command"]
    told = (entry / "README.md").read_text(encoding="utf-8")
    for score, (words, _) in zip(card["scores"], PLAN[name]["scores"], strict=True):
        assert score["command"].split() == ["metaft", "evaluate", f"zoo:{name}", *words.split(), "--tasks", str(TASKS)]
        assert score["mode"] in ("transductive", "inductive")
        assert score["tasks"] == TASKS
        value = f"{100 * score['mean']:.2f} ± {100 * score['ci95']:.2f} %" if score["metric"] == "accuracy" else "±"
        assert value in told


def test_the_list_and_a_card() -> None:
    listed = metaft_("zoo").output
    assert all(f"zoo:{name}" in listed for name in PLAN)
    card = metaft_("zoo", TEXTS).output
    assert "CC BY 3.0" in card
    assert zoo.card(TEXTS)["command"] in card
    assert metaft_("zoo", f"zoo:{TEXTS}").output == card


def test_the_page_has_the_scores_of_the_cards() -> None:
    page = (ROOT / "docs/use.md").read_text(encoding="utf-8")
    for name in PLAN:
        score = zoo.card(name)["scores"][0]
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}`")]
        assert f"{score_text(score)} | {score['mode']} |" in row


@pytest.mark.parametrize(
    "words",
    [
        ("zoo", "mamel"), ("evaluate", "zoo:mamel"), ("compare", "zoo:mamel:steps=2"), ("show", "zoo:mamel"),
        ("compare", "class-means:backbone=zoo:mamel"), ("export", "zoo:mamel", "--out", "x"),
        ("export", "zoo:mamel", "--format", "onnx", "--out", "x"),
        ("predict", "zoo:mamel", "--support", "a", "--query", "b"),
    ],
)  # fmt: skip
def test_an_unknown_name_lists_those_there_are(words: tuple[str, ...], here: Path) -> None:
    done = metaft_(*words)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "no 'mamel' in the zoo" in done.stderr
    assert all(name in done.stderr for name in PLAN)


def test_what_was_changed_is_refused(copy: Path) -> None:
    (weights,) = copy.glob("checkpoints/*/weights.safetensors")
    sound = weights.read_bytes()
    weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    with pytest.raises(
        metaft.MetaftError, match=r"weights\.safetensors was changed, by the checksums; install metaft anew"
    ):
        metaft.load(f"zoo:{WAVES}")
    weights.write_bytes(sound)
    assert metaft.load(f"zoo:{WAVES}")
    (copy / "config.toml").rename(copy / "config.txt")
    with pytest.raises(metaft.MetaftError, match=r"config\.toml is missing"):
        load_run(f"zoo:{WAVES}")
    shutil.copy(copy / "config.txt", copy / "config.toml")
    with pytest.raises(metaft.MetaftError, match=r"config\.txt is not on the list"):
        load_run(f"zoo:{WAVES}")


def test_drawings_of_ones_own_without_any_data_set(here: Path) -> None:
    drawings(here / "support", SHAPES)
    drawings(here / "query", SHAPES, first=7)
    done = metaft_("predict", f"zoo:{DRAWN}", "--support", "support", "--query", "query", "--save", "kept")
    assert done.exit_code == 0, done.output
    right = int(re.findall(r"\((\d) of 8 right\)", done.output)[0])
    assert right >= 7
    queries = [drawing(shape, 7) for shape in SHAPES]
    support = [drawing(shape, number) for shape in SHAPES for number in (0, 1)]
    fitted = metaft.load(f"zoo:{DRAWN}").fit(support, np.repeat(SHAPES, 2))
    assert f"zoo:{DRAWN}" in repr(fitted)
    np.testing.assert_allclose(metaft.load("kept").predict_proba(queries), fitted.predict_proba(queries), atol=1e-5)


def test_texts_and_waves_of_ones_own() -> None:
    texts = metaft.load(f"zoo:{TEXTS}").fit([*SAID], [*SAID.values()])
    assert texts.predict([*ASKED]).tolist() == [*ASKED.values()]
    x = np.linspace(-4, 4, 10)[:, None]
    waves = metaft.load(f"zoo:{WAVES}:steps=10").fit(x, np.sin(x[:, 0]) * 3)
    asked = np.linspace(-3.5, 3.5, 20)[:, None]
    assert np.square(waves.predict(asked) - np.sin(asked[:, 0]) * 3).mean() < 0.5  # the wave's own is 4.5


def test_evaluate_scores_the_entry_and_writes_beside_the_user(here: Path) -> None:
    done = metaft_("evaluate", f"zoo:{WAVES}", "--tasks", 50, "--steps", 10)
    assert done.exit_code == 0, done.output
    (file,) = (here / "evaluations" / WAVES).glob("*.json")
    (result,) = json.loads(file.read_text())["results"].values()
    score = zoo.card(WAVES)["scores"][0]
    assert abs(result["mean"] - score["mean"]) < 2 * (result["ci95"] + score["ci95"])
    assert zoo.card(WAVES)  # nothing was written into the entry


def test_compare_show_and_a_backbone(here: Path) -> None:
    learners = (f"zoo:{DRAWN}", f"class-means:backbone=zoo:{DRAWN},normalise=none")
    done = metaft_("compare", *learners, "--dataset", "glyphs", "--tasks", 4, "--out", "found", "--no-curves")
    assert done.exit_code == 0, done.output
    told = json.loads((here / "found/comparison.json").read_text(encoding="utf-8"))
    assert str(zoo.FOLDER) not in json.dumps(told)
    assert DRAWN in done.output
    assert "iteration-0000005169  whole" in metaft_("show", f"zoo:{DRAWN}").output


def test_export_of_an_entry(here: Path) -> None:
    done = metaft_("export", f"zoo:{DRAWN}", "--format", "torch-export", "--ways", 3, "--out", "graph")
    assert done.exit_code == 0, done.output
    program = torch.export.load(here / "graph/predictor.pt2").module()
    x = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    probabilities = program(x, torch.tensor([2, 0, 1]), x)[1]
    assert probabilities.argmax(-1).tolist() == [2, 0, 1]


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(PLAN))
def test_the_scores_are_found_again(name: str, tmp_path: Path) -> None:
    for score in zoo.card(name)["scores"]:
        done = metaft_(*score["command"].split()[1:], "--json", tmp_path / "a.json", "--plot", tmp_path / "a.png")
        assert done.exit_code == 0, done.output
        (result,) = json.loads((tmp_path / "a.json").read_text())["results"].values()
        assert abs(result["mean"] - score["mean"]) < max(0.002, score["ci95"] / 10)
