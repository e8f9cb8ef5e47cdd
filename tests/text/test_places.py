"""Texts longer than a network has places for: cut where nobody asks for more words, and it is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from metaft.assembly.tasks import build_family
from metaft.assembly.words import networks_of
from metaft.cli import cli
from metaft.errors import MetaftError
from metaft.learners.spec import parse
from metaft.models.places import places_of
from metaft.settings.config import RunConfig, validated

SMALL = "transformer:layers=1,width=8,heads=2,places=20"


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Half of the texts have 7 words, half 27, special words among them."""
    rows = [{"text": "word " * (5 + 20 * (i % 2)), "label": f"c{i % 16}"} for i in range(160)]
    file = tmp_path / "texts.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def family(texts: Path, networks: list[str] | None = None, **more: Any) -> Any:
    told = {"dataset": "texts", "data_root": str(texts), "ways": 2, "queries": 2, **more}
    return build_family(validated(RunConfig, told), "all", 0, networks=networks)


def bert(folder: Path, places: int) -> str:
    transformers = pytest.importorskip("transformers", reason="the extra text is not installed")
    shape = {"vocab_size": 30, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    config = transformers.AutoConfig.for_model("bert", **shape, num_attention_heads=2, max_position_embeddings=places)
    config.save_pretrained(folder)
    return f"hf:{folder}"


@pytest.mark.parametrize(
    ("model", "places"),
    [
        ("transformer", 512),
        (SMALL, 20),
        ("transformer:rotary=true", None),
        ("transformer:shape=llama,places=8", None),
        ("transformer:shape=llama,rotary=false,places=8", 8),
        ("stories260k", None),
        ("conv4:pool=max", None),
        ("mine.networks:Net", None),
    ],
)
def test_places_are_known_beforehand(model: str, places: int | None) -> None:
    assert places_of(model) == places


def test_places_of_one_of_theirs_are_its_settings(tmp_path: Path) -> None:
    assert places_of(bert(tmp_path, 40)) == 40
    with pytest.raises(MetaftError, match="there is no pretrained model"):
        places_of(f"hf:{tmp_path / 'none'}")


def test_texts_are_cut_to_the_fewest_places(texts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    theirs = bert(tmp_path, 24)
    whole = family(texts, [])
    assert (whole.input_shape, "max_words" in whole.describe(), caplog.text) == ((32,), False, "")
    cut = family(texts, [theirs, SMALL, "stories260k"])
    assert (cut.input_shape, cut.describe()["max_words"]) == ((20,), 20)
    assert int(cut.images.lengths.max()) == 20
    assert cut.batch(0, 2).query_x.shape[-1] in (8, 16, 20)
    assert "80 texts of 160 cut to the 20 words" in caplog.text
    assert family(texts, model=SMALL).input_shape == (20,)


def test_texts_that_fit_are_padded_no_further_than_there_are_places(texts: Path) -> None:
    tight = family(texts, ["transformer:places=28"])
    assert tight.input_shape == (28,)
    assert int(tight.images.lengths.max()) == 27


def test_more_words_are_left_where_they_are_asked_for(texts: Path, tmp_path: Path) -> None:
    assert family(texts, [SMALL], max_words=26).input_shape == (26,)
    asked = ["meta-train", "--dataset", "texts", "--data-root", str(texts), "--max-words", "26", "--ways", "2"]
    asked += [
        "--learner",
        "protonet",
        "--model",
        SMALL,
        "--queries",
        "2",
        "--iterations",
        "1",
        "--out",
        str(tmp_path / "run"),
    ]
    done = CliRunner().invoke(cli, asked)
    assert (done.exit_code, "a text of 26 words, and this transformer has 20 places" in done.stderr) == (2, True)


def test_a_comparison_is_cut_for_its_own_learners_and_says_it_once(
    texts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    specs = [parse("class-means:backbone=random"), parse("class-means:backbone=hf:minilm"), parse("nearest-neighbour")]
    assert networks_of(specs, validated(RunConfig, {"model": SMALL})) == [SMALL, "hf:minilm"]
    words = ["compare", "class-means:backbone=random", "--dataset", "texts", "--data-root", str(texts), "--tasks", "2"]
    words += [
        "--ways",
        "2",
        "--queries",
        "2",
        "--model",
        SMALL,
        "--shots",
        "1,2",
        "--seeds",
        "2",
        "--out",
        str(tmp_path / "out"),
    ]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    assert caplog.text.count("cut to the 20 words") == 1
