"""The language model against Hugging Face's with the same weights, its gradient, and its training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

from metaft.assembly.backbone import load_backbone
from metaft.cli import cli
from metaft.data.texts.tokenizer import of_file
from metaft.errors import MetaftError
from metaft.language.causal import Causal
from metaft.language.learner import LanguageLearner
from metaft.language.masked import Masked, MaskedAndOrder
from metaft.language.model import LanguageModel
from metaft.language.passages import Passages
from metaft.language.samples import generated
from metaft.models import build
from metaft.tasks.batch import IGNORE
from tests.language.test_passages import corpus

transformers = pytest.importorskip("transformers")
OURS = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "feed_forward.up": "intermediate.dense",
    "feed_forward.down": "output.dense",
    "feed_forward_norm": "output.LayerNorm",
}


def model(shape: str, order: bool = False, **options: Any) -> LanguageModel:
    small = {"layers": 2, "width": 16, "heads": 2, "vocabulary": 60, "places": 40} | options
    return LanguageModel(build("transformer", outputs=1, seed=0, shape=shape, **small), order)


def test_it_answers_as_bert_of_hugging_face() -> None:
    ours = model("bert", order=True, separator=3).double()
    config = transformers.BertConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=40, hidden_act="gelu", pad_token_id=0,
    )  # fmt: skip
    theirs = transformers.BertForPreTraining(config).double().eval()
    own = theirs.state_dict()
    to = {
        "bert.embeddings.word_embeddings.weight": "transformer.embedding.words.weight",
        "bert.embeddings.position_embeddings.weight": "transformer.embedding.places.weight",
        "bert.embeddings.token_type_embeddings.weight": "transformer.embedding.segments.weight",
        "cls.predictions.decoder.weight": "transformer.embedding.words.weight",
        "cls.predictions.bias": "words.bias",
        "cls.predictions.decoder.bias": "words.bias",
    }
    for kind in ("weight", "bias"):
        to[f"bert.embeddings.LayerNorm.{kind}"] = f"transformer.embedding.norm.{kind}"
        to[f"cls.predictions.transform.dense.{kind}"] = f"words.change.0.{kind}"
        to[f"cls.predictions.transform.LayerNorm.{kind}"] = f"words.change.2.{kind}"
        to[f"bert.pooler.dense.{kind}"] = f"order.0.{kind}"
        to[f"cls.seq_relationship.{kind}"] = f"order.2.{kind}"
        for layer in range(2):
            for name, other in OURS.items():
                to[f"bert.encoder.layer.{layer}.{other}.{kind}"] = f"transformer.blocks.{layer}.{name}.{kind}"
    weights = dict(ours.named_parameters())
    with torch.no_grad():
        for value in weights.values():
            value.normal_(std=0.3, generator=torch.Generator().manual_seed(1))
    theirs.load_state_dict({name: weights[to[name]] if name in to else value for name, value in own.items()})
    ids = torch.randint(5, 60, (3, 12), generator=torch.Generator().manual_seed(2))
    ids[:, 6] = ids[:, -1] = 3
    ids[2, 9:] = 0
    ids[2, 8] = 3
    kinds = torch.tensor([[0] * 7 + [1] * 5] * 3)
    said = theirs(input_ids=ids, token_type_ids=kinds, attention_mask=(ids != 0).long())
    scores, order = ours.eval()(ids)
    real = ids != 0
    assert torch.allclose(scores[real], said.prediction_logits[real], atol=1e-10)
    assert torch.allclose(order, said.seq_relationship_logits, atol=1e-10)


@pytest.mark.parametrize(
    ("objective", "shape", "kind"),
    [(Masked(), "bert", "wordpiece"), (MaskedAndOrder(), "bert", "wordpiece"), (Causal(), "gpt", "bpe")],
)
def test_the_loss_is_the_mean_over_passages_and_its_gradient_plain_autograds(
    objective: Any, shape: str, kind: str
) -> None:
    own = corpus(kind)
    order = objective.order
    network = model(shape, order, vocabulary=own.tokenizer.vocabulary, **({"separator": 3} if order else {})).double()
    learner = LanguageLearner(network)
    batch = Passages(own, objective, length=16).batch(0, 5)
    out = learner.meta_gradient(batch)
    losses = []
    for x, y, swapped in zip(batch.query_x, batch.query_y, batch.order, strict=True):  # alone, all words scored
        scores, told = network.train()(x[None])
        loss = F.cross_entropy(scores[0], y, ignore_index=IGNORE)
        losses.append(loss if told is None else loss + F.cross_entropy(told, swapped[None]))
    total = torch.stack(losses).mean()
    assert torch.allclose(out.losses, torch.stack(losses), rtol=1e-12)
    grads = torch.autograd.grad(total, list(network.parameters()))
    for (name, _), expected in zip(network.named_parameters(), grads, strict=True):
        assert torch.allclose(out.grads[name], expected, rtol=1e-10, atol=1e-14), name
    halves = [learner.meta_gradient(part) for part in (batch[:2], batch[2:])]  # as ranks share it
    for name, whole in out.grads.items():
        assert torch.allclose(0.4 * halves[0].grads[name] + 0.6 * halves[1].grads[name], whole, atol=1e-14)


def test_perplexity_of_a_network_that_knows_nothing_is_the_number_of_words() -> None:
    own = corpus("bpe")
    size = own.tokenizer.vocabulary
    network = model("gpt", vocabulary=size)
    with torch.no_grad():
        network.transformer.embedding.words.weight.zero_()
    family = Passages(own, Causal(), length=16)
    found = family.score(LanguageLearner(network), 40, "cpu")
    assert math.isclose(found.metric, size, rel_tol=1e-5)
    assert found.score == -found.metric
    assert found.ci95 < 1e-3 * size
    again = family.score(LanguageLearner(model("gpt", vocabulary=size)), 40, "cpu")
    assert found.more["words_right"] != again.more["words_right"] or found.metric != again.metric


def test_what_is_asked_and_how_the_network_reads_have_to_agree() -> None:
    with pytest.raises(MetaftError, match="shape=bert"):
        model("gpt", order=True)


def test_words_that_are_said_depend_on_those_before_alone() -> None:
    network = model("gpt").eval()
    ids = torch.randint(5, 60, (2, 6), generator=torch.Generator().manual_seed(2))
    longer = generated(network, ids, 5, choices=1)
    assert torch.equal(longer[:, :6], ids)
    assert torch.equal(longer[:, 6], network(ids)[0][:, -1].argmax(-1))
    assert torch.equal(longer[:, 8], network(longer[:, :8])[0][:, -1].argmax(-1))
    assert torch.equal(longer, generated(network, longer[:, :8], 3, choices=1))
    assert torch.equal(generated(network, ids, 5, seed=1), generated(network, ids, 5, seed=1))


LETTER = "The sea was calm that evening. Nobody spoke of the storm, and the lamps were lit one by one. "


def test_from_the_command_line_to_a_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "letters.txt").write_text("\n".join([LETTER * 3, "Rain fell on the village. " * 5] * 12))
    small = ["--iterations", "4", "--batch-size", "4", "--length", "16", "--quiet", "--validate-tasks", "4"]
    small += ["--dataset", "letters.txt", "--model", "transformer:layers=1,width=8,heads=2"]
    run = lambda *words: CliRunner().invoke(cli, ["pretrain", *small, *words])
    for objective in ("masked", "masked+order", "causal", "masked:share=0.3,whole_words=true"):
        out = f"runs/{objective[:8]}{objective[-4:]}"
        tokenizer = "bpe:size=270" if objective == "causal" else "wordpiece:size=80"
        done = run("--objective", objective, "--tokenizer", tokenizer, "--out", out)
        assert done.exit_code == 0, done.output
        assert (tmp_path / out / "tokenizer.json").exists()
        network = load_backbone(tmp_path / out)
        assert network.states(torch.tensor([[2, 9, 3]]))[-1].shape == (1, 3, 8)
        assert network.tokenizer.digest == of_file(tmp_path / out).digest
        tests = ["--dataset", "intents", "--tokenizer", out, "--tasks", "2", "--queries", "2", "--seeds", "1"]
        made = ["compare", f"class-means:backbone={out}", f"fine-tuning:backbone={out},steps=1"]
        scored = CliRunner().invoke(cli, [*made, *tests, "--out", f"{out}-compared"])
        assert scored.exit_code == 0, scored.output
    listed = CliRunner().invoke(cli, ["runs", "runs"])
    assert "perplexity" in listed.output
    assert "perplexity" in CliRunner().invoke(cli, ["show", "runs/causalusal"]).output
    for more, said in {
        ("--objective", "mask"): "unknown objective 'mask'; did you mean 'masked'",
        ("--objective", "causal", "--shots", "5"): "has no use for it",
        ("--objective", "causal", "--model", "transformer:shape=bert"): "asks for shape=gpt or shape=llama",
        ("--objective", "causal", "--model", "conv4"): "words are said by a transformer",
        ("--objective", "causal", "--dataset", "intentions.txt"): "intentions.txt",
        ("--objective", "causal", "--length", "600"): "say transformer:places=600",
    }.items():
        done = run(*more, "--out", "other")
        assert (done.exit_code, said in done.output) == (2, True), done.output
    assert not (tmp_path / "other").exists()


def test_a_run_that_stops_goes_on_to_the_same_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "letters.txt").write_text("\n".join([LETTER] * 40))
    words = ["pretrain", "--dataset", "letters.txt", "--objective", "masked+order", "--batch-size", "4", "--quiet"]
    words += [
        "--length",
        "16",
        "--model",
        "transformer:layers=1,width=8,heads=2,dropout=0.1",
        "--checkpoint-every",
        "2",
    ]
    words += ["--tokenizer", "wordpiece:size=80", "--validate-tasks", "4"]
    assert CliRunner().invoke(cli, [*words, "--iterations", "6", "--out", "whole"]).exit_code == 0
    assert CliRunner().invoke(cli, [*words, "--iterations", "6", "--out", "parts"]).exit_code == 0
    for folder in sorted((tmp_path / "parts" / "checkpoints").iterdir())[1:]:  # as if it had been killed
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    assert CliRunner().invoke(cli, [*words, "--iterations", "6", "--out", "parts", "--resume"]).exit_code == 0
    one, other = (load_backbone(tmp_path / name, "last").state_dict() for name in ("whole", "parts"))
    for name, value in one.items():
        if not name.startswith("head"):
            assert torch.equal(value, other[name]), name


def test_minilm_is_one_of_our_transformers() -> None:
    theirs = build("hf:minilm", outputs=2, seed=0).eval()
    own = {name: value for name, value in theirs.model.state_dict().items() if "position_ids" not in name}
    options = {"layers": 6, "width": 384, "heads": 12, "vocabulary": 30_522, "places": 512, "separator": 102}
    ours = build("transformer", outputs=2, seed=0, shape="bert", **options).eval()
    to = {"word_embeddings": "words", "position_embeddings": "places", "token_type_embeddings": "segments"}
    names = {f"embeddings.{other}.weight": f"embedding.{name}.weight" for other, name in to.items()}
    for kind in ("weight", "bias"):
        names[f"embeddings.LayerNorm.{kind}"] = f"embedding.norm.{kind}"
        for layer in range(6):
            for name, other in OURS.items():
                names[f"encoder.layer.{layer}.{other}.{kind}"] = f"blocks.{layer}.{name}.{kind}"
    left = ours.load_state_dict({names[name]: value for name, value in own.items()}, strict=False)
    assert (left.missing_keys, left.unexpected_keys) == (["head.weight", "head.bias"], [])
    ids = torch.randint(1000, 30_000, (3, 12), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[:, -1], ids[1, 5] = 101, 102, 102
    ids[2, 8:] = 0
    ids[2, 7] = 102
    with torch.no_grad():
        for one, other in zip(ours.states(ids), theirs.states(ids), strict=True):
            torch.testing.assert_close(one[ids != 0], other[ids != 0], rtol=0, atol=1e-5)
