"""The pull to what a pretrained network says of words, against plain autograd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

import metaft
from metaft.commands.sweep.grid import read_grid
from metaft.errors import MetaftError
from metaft.language.model import LanguageModel
from metaft.learners.fine_tuning import FineTuning
from metaft.models import build
from metaft.models.heads import with_new_head
from metaft.models.words import words_of
from metaft.tasks.batch import IGNORE, TaskBatch

WAYS, WEIGHT = 2, 0.3


def pretrained(shape: str, vocabulary: int = 12) -> Any:
    """A small language model with weights that say something, ready for tasks."""
    small = {"vocabulary": vocabulary, "layers": 2, "width": 8, "heads": 2}
    model = LanguageModel(build("transformer", outputs=1, seed=0, shape=shape, **small))
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(value.numel())) / 4)
    return model.double().eval()


def tasks() -> TaskBatch:
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(1, 12, (2, 2, 4, 6), generator=draw)
    x[0, :, ::2, 4:] = 0
    y = torch.arange(WAYS).repeat(2, 2)
    return TaskBatch(x[0], y, x[1], y, layout="sequences")


def words_by_hand(model: LanguageModel, params: dict[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
    """What the language model says where its transformer has other parameters."""
    own = {f"transformer.{name}": value for name, value in params.items() if not name.startswith("head")}
    return functional_call(model, own, (ids,))[0]


def descended(language: Any, model: nn.Module, start: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
    """The parameters after two steps, with torch alone."""
    params = start
    for _ in range(2):
        before, now = (words_by_hand(language, own, x).log_softmax(-1) for own in (start, params))
        places = x != 0
        pull = F.kl_div(now[places], before[places], reduction="batchmean", log_target=True)
        loss = F.cross_entropy(functional_call(model, params, (x,)), y) + WEIGHT * pull
        grads = torch.autograd.grad(loss, list(params.values()), materialize_grads=True, create_graph=True)
        params = {name: p - 0.5 * g for (name, p), g in zip(params.items(), grads, strict=True)}
    return params


@pytest.mark.parametrize("shape", ["bert", "gpt"])
def test_steps_are_those_of_plain_autograd(shape: str) -> None:
    language, batch = pretrained(shape), tasks()
    network = pretrained(shape).with_head(0).double()
    learner = FineTuning(network, rate=0.5, steps=2, objective="kl-words", weight=WEIGHT)
    model = with_new_head(network, WAYS, 0, "zeros")
    answers = []
    for x, y, query, _ in zip(*batch.tensors(), strict=True):
        params = descended(language, model, dict(model.named_parameters()), x, y)
        answers.append(functional_call(model, params, (query,)).detach())
    torch.testing.assert_close(learner.curve(batch)[-1], torch.stack(answers), atol=1e-10, rtol=0)


def test_a_meta_gradient_is_that_of_plain_autograd() -> None:
    language, batch = pretrained("gpt"), tasks()
    model = with_new_head(pretrained("gpt").with_head(0).double(), WAYS, 0)
    learner = metaft.learners.MAML(model, metaft.SGD(0.5), 2, objective=f"kl-words:weight={WEIGHT}")
    start = dict(model.named_parameters())
    total: Any = 0
    for x, y, query, truth in zip(*batch.tensors(), strict=True):
        params = descended(language, model, start, x, y)
        total = total + F.cross_entropy(functional_call(model, params, (query,)), truth) / batch.tasks
    plain = torch.autograd.grad(total, list(start.values()))
    ours = learner.meta_gradient(batch).grads
    for name, gradient in zip(start, plain, strict=True):
        torch.testing.assert_close(ours[name], gradient, atol=1e-10, rtol=1e-8)


def test_padded_examples_and_places_count_nowhere() -> None:
    network = pretrained("gpt").with_head(0).double()
    learner: Any = FineTuning(network, steps=1, objective="kl-words", weight=WEIGHT)
    start = learner.params
    moved = {name: value * 1.1 for name, value in start.items()}
    nothing = lambda params, x, y: torch.zeros((), dtype=torch.float64)
    x, y = tasks().support_x[0], torch.tensor([0, 1, 0, IGNORE])
    value = learner.objective(nothing, moved, start, x, y)
    assert float(value) > 1e-3
    torch.testing.assert_close(learner.objective(nothing, moved, start, x[:3], y[:3]), value)
    torch.testing.assert_close(learner.objective(nothing, moved, start, F.pad(x, (0, 3)), y), value)
    assert float(learner.objective(nothing, start, start, x, y)) == 0


def test_a_language_model_says_the_same_words_with_a_head_of_classes() -> None:
    language = pretrained("bert")
    ids = tasks().support_x[0]
    expected = language(ids)[0]
    network = language.with_head(0)
    torch.testing.assert_close(network.words(ids), expected)
    assert not any("word_head" in name for name in network.state_dict())
    assert not any("word_head" in name for name, _ in network.named_parameters())


def test_while_the_head_alone_moves_there_is_no_pull() -> None:
    network, batch = pretrained("gpt").with_head(0).double(), tasks()
    how: dict[str, Any] = {"rate": 0.5, "steps": 3, "schedule": "head-first", "head_steps": 2}
    free = FineTuning(network, **how).curve(batch)
    held = FineTuning(network, objective="kl-words", **how).curve(batch)
    torch.testing.assert_close(held[:3], free[:3], atol=1e-12, rtol=0)


def test_a_heavier_pull_leaves_the_words_nearer_to_the_start() -> None:
    network, batch = pretrained("gpt").with_head(0).double(), tasks()
    words = words_of(network)
    assert words is not None

    def moved(objective: str) -> float:
        learner = FineTuning(network, rate=0.2, steps=5, objective=objective)
        *_, last = learner._walk(learner._network(WAYS), batch.support_x[:1], batch.support_y[:1], 5, False)
        own = last.args[0]  # type: ignore[attr-defined]
        params = learner.params | {name: value[0] for name, value in own.items()}
        before, now = (words(p, batch.support_x[0]).log_softmax(-1) for p in (learner.params, params))
        return float((before.exp() * (before - now)).sum(-1).mean())

    free, little, much = (moved(text) for text in ("task", "kl-words:weight=0.1", "kl-words:weight=3"))
    assert free > little > 3 * much > 0


@pytest.mark.parametrize(
    ("network", "options", "said"),
    [
        (nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), {}, "needs a network that says words"),
        (
            build("transformer", outputs=2, seed=0, vocabulary=9, width=8, heads=2),
            {"scope": "head"},
            "which scope .head. leaves as it is",
        ),
        (build("transformer", outputs=2, seed=0, vocabulary=9, width=8, heads=2), {"weight": 0.0}, "weight"),
    ],
)
def test_what_does_not_go_together_is_one_line(network: nn.Module, options: dict[str, Any], said: str) -> None:
    with pytest.raises(MetaftError, match=said):
        FineTuning(network, objective="kl-words", **options)


@pytest.mark.parametrize(
    ("kind", "tied", "says"), [("llama", True, True), ("llama", False, False), ("bert", True, False)]
)
def test_of_theirs_causal_ones_of_one_matrix_say_words(kind: str, tied: bool, says: bool, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra text is not installed")
    shape = {"vocab_size": 12, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "pad_token_id": 0}
    more = {"num_attention_heads": 2, "max_position_embeddings": 40, "tie_word_embeddings": tied}
    transformers.AutoConfig.for_model(kind, **shape, **more).save_pretrained(tmp_path)
    model = build(f"hf:{tmp_path}:weights=random", outputs=WAYS, seed=0)
    assert (words_of(model) is not None) is says
    if says:
        curve = FineTuning(model, steps=1, objective="kl-words").curve(tasks())
        assert bool(curve.isfinite().all())


def test_its_weight_is_swept(tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text(
        """command = "validate"
learner = "fine-tuning:backbone=random,objective=kl-words"
seeds = [0]
[base]
dataset = "intents"
model = "transformer:layers=1,width=8,heads=2"
[grid]
weight = [0.1, 1.0]
"""
    )
    learners = [member.learner for member in read_grid(tmp_path / "grid.toml").members]
    assert [str(text).rpartition("weight=")[2] for text in learners] == ["0.1", "1.0"]
