"""Labels that are not certain, against binary cross-entropy and what the papers' losses are least at."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from metaft.assembly.tuning import build_tuning
from metaft.data.dialogues.conversation import Preference, digest
from metaft.data.dialogues.load import is_offensive, preferences
from metaft.data.locate import find
from metaft.errors import MetaftError
from metaft.models.pretrained import STORIES
from metaft.preferences.dpo import DPO
from metaft.preferences.examples import Pairs
from metaft.preferences.reward import Reward
from metaft.preferences.soft_labels import expected
from metaft.settings.tune import TuneConfig
from tests.preferences.small import pairs, tuning

with_stories = pytest.mark.skipif(
    find(STORIES, None, lambda root: root / STORIES if (root / STORIES).is_dir() else None) is None,
    reason="there is no folder stories260k in the data root",
)
TARGETS = (0.9, 1.0, 0.5, 0.0, 0.25, 0.7, 1.0)


def scored(objective: Any, targets: tuple[float, ...] | None = TARGETS) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses and scores of seven pairs, away from the start."""
    learner = tuning(objective)
    draw = torch.Generator().manual_seed(0)
    learner.params = {
        name: p + 0.3 * torch.randn(p.shape, generator=draw, dtype=p.dtype) if name in learner.trains else p
        for name, p in learner.params.items()
    }
    learner.policy.module.model.load_state_dict(learner.params)
    family = pairs() if targets is None else replace(pairs(), targets=targets)
    found = learner.scores(family.of(range(7)))
    return found["loss"], found["scores"]


@pytest.mark.parametrize("objective", [DPO(beta=0.4), Reward()])
def test_they_are_the_targets_of_a_cross_entropy(objective: Any) -> None:
    loss, scores = scored(objective)
    target = torch.tensor(TARGETS).double()  # as they are held, in float32
    theirs = F.binary_cross_entropy_with_logits(scores[:, 0] - scores[:, 1], target, reduction="none")
    assert float(loss.std()) > 0.01
    torch.testing.assert_close(loss, theirs, rtol=1e-10, atol=0)


@pytest.mark.parametrize(
    "objective", [DPO(beta=0.4), DPO(form="ipo"), DPO(form="robust", label_smoothing=0.1), Reward()]
)
def test_certain_ones_are_plain_labels(objective: Any) -> None:
    plain, _ = scored(objective, None)
    assert torch.equal(scored(objective, (1.0,) * 7)[0], plain)
    assert torch.equal(scored(replace(objective, soft_labels=False))[0], plain)
    texts = pairs().texts
    turned = [texts[2 * row + side] for row in range(7) for side in (1, 0)]
    family = replace(pairs(), texts=turned, targets=(0.0,) * 7)
    learner = tuning(objective)
    torch.testing.assert_close(
        learner.scores(family.of(range(7)))["loss"], learner.scores(pairs().of(range(7)))["loss"]
    )


def test_one_uncertainty_for_all_is_label_smoothing() -> None:
    smoothed, _ = scored(DPO(beta=0.4, label_smoothing=0.25), None)
    torch.testing.assert_close(scored(DPO(beta=0.4), (0.75,) * 7)[0], smoothed, rtol=1e-12, atol=0)


def test_ipo_is_least_where_the_margin_is_as_sure_as_the_label() -> None:
    """(2p − 1) / 2β, by the derivative of the mean of both squares."""
    beta, p = 0.3, torch.tensor([0.9, 0.5, 0.2], dtype=torch.float64)
    ratio = torch.stack([(2 * p - 1) / (2 * beta), torch.zeros(3)], -1).requires_grad_()
    (slope,) = torch.autograd.grad(expected(DPO(beta=beta, form="ipo").loss, ratio, p).sum(), ratio)
    torch.testing.assert_close(slope, torch.zeros_like(slope))


def test_slopes_reach_what_is_tuned() -> None:
    learner, family = tuning(Reward()), replace(pairs(), targets=TARGETS)
    batch = family.of(range(7))
    found = learner.meta_gradient(batch)
    name = max(found.grads, key=lambda one: float(found.grads[one].norm()))
    assert isinstance(batch, Pairs)
    way = found.grads[name] / found.grads[name].norm()
    at = lambda step: float(
        learner.scores(batch, {**learner.params, name: learner.params[name] + step * way})["loss"].mean()
    )
    assert (at(1e-6) - at(-1e-6)) / 2e-6 == pytest.approx(float(found.grads[name].norm()), rel=1e-5)


def written(folder: Path, **more: Any) -> Path:
    rows = [
        {"prompt": f"{i} and {i}?", "chosen": f"It is {2 * i}.", "rejected": f"No, {i}", "preference": i / 40, **more}
        for i in range(41)
    ]
    file = folder / "labels.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def test_a_file_says_them(tmp_path: Path) -> None:
    found = preferences(written(tmp_path), "all")
    assert [one.probability for one in found] == [i / 40 for i in range(41)]
    assert found[10].likelier_first == ("No, 10", "It is 20.", 0.75)
    assert digest([found[0]]) != digest([replace(found[0], probability=0.5)])
    plain = json.dumps([[["user", "0 and 0?"]], "a", "b"]).encode() + b"\n"
    assert digest([Preference(found[0].prompt, "a", "b")]) == hashlib.sha256(plain).hexdigest()  # as older runs wrote


@pytest.mark.parametrize("given", [1.5, -0.1, "sure", True, [0.5]])
def test_what_is_no_probability_is_refused_by_line(given: object, tmp_path: Path) -> None:
    with pytest.raises(MetaftError, match=r"line 1: 'preference' is .*; expected the probability"):
        preferences(written(tmp_path, preference=given), "all")


@with_stories
def test_they_are_tuned_by_the_likelier_answer_first(tmp_path: Path) -> None:
    file = written(tmp_path)
    config = lambda objective: TuneConfig(
        objective=objective, dataset=str(file), model="stories260k", template="none", length=60
    )
    soft, hard = (build_tuning(config(f"dpo:soft_labels={name}")).train for name in ("true", "false"))
    batch, plain = (family.of(range(len(family))) for family in (soft, hard))  # type: ignore[union-attr]
    own = preferences(file, "train")
    assert isinstance(batch, Pairs)
    assert isinstance(plain, Pairs)
    torch.testing.assert_close(batch.target, torch.tensor([max(one.probability, 1 - one.probability) for one in own]))  # type: ignore[operator, type-var]
    turned = torch.tensor([one.probability < 0.5 for one in own])  # type: ignore[operator]
    assert 0 < int(turned.sum()) < len(own)
    assert torch.equal(batch.ids[turned], plain.ids[turned].flip(1))
    assert torch.equal(batch.ids[~turned], plain.ids[~turned])
    assert bool((plain.target == 1).all())


@with_stories
def test_what_is_not_to_be_shown_is_not(tmp_path: Path) -> None:
    file = written(tmp_path)
    how = {"objective": "dpo", "model": "stories260k", "template": "none", "length": 60}
    assert build_tuning(TuneConfig(dataset=str(file), **how)).train.voice is not None
    file = written(tmp_path, offensive=True)
    assert build_tuning(TuneConfig(dataset=str(file), **how)).train.voice is None
    assert is_offensive(f"dpo-demo+{file}")
    assert not is_offensive("dpo-demo")


def test_a_set_is_known_for_it() -> None:
    assert is_offensive("hh-harmless")
    assert is_offensive("dpo-demo+hh-harmless")
    assert not is_offensive("dpo-demo+tinystories")
