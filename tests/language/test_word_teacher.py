"""A language model that learns from another one's words: its loss by hand, its training, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch.func import functional_call

from metaft.assembly.backbone import load_backbone
from metaft.assembly.word_teacher import word_teacher
from metaft.cli import cli
from metaft.data.locate import find
from metaft.data.texts import tokenizer
from metaft.distillation.loss import DistillationLoss
from metaft.errors import MetaftError
from metaft.language.causal import Causal
from metaft.language.corpus import tokenised
from metaft.language.learner import LanguageLearner
from metaft.language.masked import Masked
from metaft.language.model import LanguageModel
from metaft.language.passages import Passages
from metaft.language.teacher import WordTeacher
from metaft.models import build
from metaft.runs import checkpoint
from metaft.tasks.batch import IGNORE
from tests.language.test_passages import LINES, corpus

TEMPERATURE, LABELS = 3.0, 0.25


def model(shape: str, seed: int, **options: Any) -> LanguageModel:
    small = {"layers": 1, "width": 8, "heads": 2, "vocabulary": 60, "places": 40} | options
    return LanguageModel(build("transformer", outputs=1, seed=seed, shape=shape, **small), seed=seed).double()


@pytest.mark.parametrize(("shape", "objective"), [("bert", Masked(share=0.4)), ("gpt", Causal())])
def test_the_loss_mixes_the_words_and_the_teachers(shape: str, objective: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metaft.language.teacher.PLACES", 24)  # two passages at once
    batch = Passages(corpus(), objective, length=12).batch(0, 5)
    above, student = model(shape, 1), model(shape, 2)
    with torch.no_grad():
        for value in above.parameters():
            value.mul_(3)
    expected_scores = above(batch.query_x)[0].detach()
    loss = DistillationLoss(temperature=TEMPERATURE, label_weight=LABELS)
    learner = LanguageLearner(student, WordTeacher(above.with_head(0).double(), "one"), loss)
    leaves = {name: p.detach().clone().requires_grad_() for name, p in student.named_parameters()}
    scores = functional_call(student, leaves, (batch.query_x,))[0]
    total: Any = 0
    for passage in range(5):
        asked = batch.query_y[passage] != IGNORE
        own, taught = scores[passage][asked], expected_scores[passage][asked]
        hard = F.cross_entropy(own, batch.query_y[passage][asked])
        soft = F.kl_div((own / TEMPERATURE).log_softmax(-1), (taught / TEMPERATURE).softmax(-1), reduction="batchmean")
        total = total + (LABELS * hard + (1 - LABELS) * TEMPERATURE**2 * soft) / 5
    grads = torch.autograd.grad(total, list(leaves.values()))
    found = learner.meta_gradient(batch)
    torch.testing.assert_close(found.loss, total.detach(), atol=1e-10, rtol=0)
    for name, gradient in zip(leaves, grads, strict=True):
        torch.testing.assert_close(found.grads[name], gradient, atol=1e-10, rtol=1e-8)


def test_it_is_another_teacher_if_a_weight_is_another() -> None:
    one, other = (model("bert", 1).with_head(0) for _ in range(2))
    assert WordTeacher(one, "a").digest == WordTeacher(other, "b").digest
    with torch.no_grad():
        other.word_head.bias[0] += 1  # type: ignore[union-attr, operator, index]
    assert WordTeacher(one, "a").digest != WordTeacher(other, "b").digest


def test_texts_begin_and_end_as_their_tokenizer_has_it() -> None:
    assert corpus("bpe").tokenizer.bounds() == tuple(map(corpus("bpe").tokenizer.number, ("[CLS]", "[SEP]")))
    if find("stories260k", None, lambda root: root if (root / "stories260k").is_dir() else None) is None:
        pytest.skip("the stories model is not here")
    own = tokenizer.asked("stories260k", ())
    assert own.bounds() == (own.number("<s>"), own.number("</s>")) == (1, 2)
    passages = Passages(tokenised(LINES, own, "lines"), Causal(), length=16)
    teacher = word_teacher("stories260k", passages)
    batch = passages.batch(0, 3)
    assert teacher(batch.query_x, batch.query_y != IGNORE).shape[-1] == own.vocabulary == 512


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A teacher, and a command that pretrains."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sea.txt").write_text("\n\n".join(["The sea was calm. Nobody spoke of the storm, or the rain."] * 40))
    small = [
        "pretrain",
        "--dataset",
        "sea.txt",
        "--batch-size",
        "4",
        "--length",
        "16",
        "--quiet",
        "--validate-tasks",
        "4",
    ]
    small += ["--checkpoint-every", "2", "--threads", "1"]

    def run(*words: str, layers: int = 1) -> Any:
        size = f"transformer:layers={layers},width=8,heads=2"
        return CliRunner().invoke(cli, [*small, "--model", size, "--iterations", "6", *words])

    made = run("--objective", "causal", "--tokenizer", "bpe:size=270", "--out", "above", layers=2)
    assert made.exit_code == 0, made.output
    return run


def test_from_the_command_line_and_on_to_the_same_end(runs: Any, tmp_path: Path) -> None:
    taught = ["--objective", "causal", "--teacher", "above", "--temperature", "2", "--label-weight", "0.3"]
    for out in ("whole", "parts"):
        done = runs(*taught, "--out", out)
        assert done.exit_code == 0, done.output
    config = (tmp_path / "whole/config.toml").read_text()
    assert 'tokenizer = "above"' in config
    assert (tmp_path / "whole/tokenizer.json").read_text() == (tmp_path / "above/tokenizer.json").read_text()
    for folder in sorted((tmp_path / "parts/checkpoints").iterdir())[1:]:  # as if it had been killed
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    done = runs(*taught, "--out", "parts", "--resume")
    assert done.exit_code == 0, done.output
    one, other = (checkpoint.load_newest(tmp_path / name / "checkpoints") for name in ("whole", "parts"))
    for part in checkpoint.PARTS:
        values, others = getattr(one, part), getattr(other, part)
        assert values.keys() == others.keys()
        assert all(torch.equal(value, others[name]) for name, value in values.items())
    alone = runs("--objective", "causal", "--tokenizer", "above", "--out", "alone")
    assert alone.exit_code == 0, alone.output
    taught_last, untaught = one.chosen("last"), checkpoint.load_newest(tmp_path / "alone/checkpoints").chosen("last")
    assert any(not torch.equal(value, untaught[name]) for name, value in taught_last.items())
    assert load_backbone(tmp_path / "whole").says_words


def test_a_teacher_that_changed_is_told(runs: Any, tmp_path: Path) -> None:
    taught = ["--objective", "causal", "--teacher", "above"]
    assert runs(*taught, "--out", "one").exit_code == 0
    again = ["--objective", "causal", "--tokenizer", "one", "--out", "above", "--overwrite", "--seed", "5"]
    assert runs(*again, layers=2).exit_code == 0
    done = runs(*taught, "--iterations", "8", "--out", "one", "--resume")
    assert (done.exit_code, "teacher" in done.stderr) == (2, True), done.output


def test_what_does_not_fit_is_one_line(runs: Any) -> None:
    causal = ("--objective", "causal", "--teacher", "above")
    assert runs("--objective", "masked", "--tokenizer", "above", "--out", "bert").exit_code == 0
    for words, said in {
        (*causal, "--tokenizer", "bpe:size=280"): "the same numbers are other words; use --tokenizer above",
        ("--objective", "masked", "--teacher", "above"): "its student has to be asked the same",
        (*causal[:2], "--teacher", "bert"): "says hidden words (--objective masked)",
        (*causal, "--length", "600", "--model", "transformer:layers=1,width=8,heads=2,places=600"): "has 512 places",
        (*causal[:2], "--teacher", "below"): "below",
        ("--objective", "causal", "--label-weight", "0.9"): "there is none; give --teacher",
        ("--dataset", "intents", "--teacher", "above"): "metaft distill teaches classes",
    }.items():
        done = runs(*words, "--out", "other")
        assert (done.exit_code, said in done.stderr) == (2, True), done.output


def test_a_network_without_words_teaches_none(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra text is not installed")
    shape = {"vocab_size": 60, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "pad_token_id": 0}
    more = {"num_attention_heads": 2, "max_position_embeddings": 40}
    transformers.AutoConfig.for_model("bert", **shape, **more).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(corpus().tokenizer.text)
    with pytest.raises(MetaftError, match="says no words; use a run of metaft pretrain"):
        word_teacher(f"hf:{tmp_path}:weights=random", Passages(corpus(), Masked(), length=12))


def test_rows_that_stand_for_no_word_are_cut() -> None:
    above, ids = model("bert", 1).with_head(0), torch.arange(1, 25).reshape(2, 12)
    asked = torch.rand(2, 12, generator=torch.Generator().manual_seed(0)) < 0.5
    whole, cut = WordTeacher(above, "wide")(ids, asked), WordTeacher(above, "wide", 57)(ids, asked)
    assert cut.shape == (int(asked.sum()), 57)
    assert torch.equal(cut, whole[:, :57])
