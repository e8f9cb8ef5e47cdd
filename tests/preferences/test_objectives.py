"""What tuning descends, held to formulas written out text by text."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.parts import NEEDED
from metaft.preferences import policy as policies
from metaft.preferences.dpo import DPO
from metaft.preferences.families import PackedInstructions, calibration_error
from metaft.preferences.objective import TuningObjective
from metaft.preferences.reward import Reward
from metaft.preferences.sft import SFT
from metaft.tables import TUNING
from tests.preferences.small import PLACES, answers, pairs, texts, tuning

OBJECTIVES: dict[str, TuningObjective] = {
    "sft": SFT(),
    "reward": Reward(),
    "centred": Reward(centre=0.3),
    "dpo": DPO(beta=0.4),
    "smoothed": DPO(beta=0.4, label_smoothing=0.2),
    "robust": DPO(beta=0.4, form="robust", label_smoothing=0.2),
    "ipo": DPO(beta=0.4, form="ipo"),
    "by the word": DPO(beta=0.4, form="ipo", normalised=True),
}


def by_hand(learner: Any, rows: list[int]) -> Tensor:
    """The losses of examples, each text by a forward pass of its own, as the papers have them."""
    objective, found = learner.objective, []
    network = learner.policy.module.model

    def said(text: tuple[tuple[int, ...], tuple[int, ...]], params: dict[str, Tensor]) -> Tensor:
        prompt, answer = text
        ids = torch.tensor([[*prompt, *answer]])
        with torch.no_grad():
            before = {n: p.clone() for n, p in network.named_parameters()}
            network.load_state_dict(params, strict=False)
            scores = network.words(ids)[0].log_softmax(-1)
            network.load_state_dict(before)
        return sum((scores[len(prompt) + i - 1, w] for i, w in enumerate(answer)), torch.zeros((), dtype=scores.dtype))

    for row in rows:
        if objective.data == "instructions":
            found.append(-float(said(texts()[row], learner.params)))
            continue
        two = texts()[2 * row : 2 * row + 2]
        if objective.is_reward:
            r = [network(torch.tensor([[*prompt, *answer]])).item() for prompt, answer in two]
            found.append(math.log1p(math.exp(r[1] - r[0])) + objective.centre * (r[0] + r[1]) ** 2)
            continue
        start = {**learner.params, **learner.start}
        ratio = [said(text, learner.params) - said(text, start) for text in two]
        if objective.normalised:
            ratio = [r / len(answer) for r, (_, answer) in zip(ratio, two, strict=True)]
        h = float(ratio[0] - ratio[1])
        if objective.form == "ipo":
            found.append((h - 1 / (2 * objective.beta)) ** 2)
        else:
            sigmoid = 1 / (1 + math.exp(-objective.beta * h))
            eps = objective.label_smoothing
            right, wrong = -math.log(sigmoid), -math.log(1 - sigmoid)
            robust = ((1 - eps) * right - eps * wrong) / (1 - 2 * eps)
            found.append(robust if objective.form == "robust" else (1 - eps) * right + eps * wrong)
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_are_the_formulas(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, family = tuning(OBJECTIVES[name]), answers() if name == "sft" else pairs()
    draw = torch.Generator().manual_seed(0)
    for weight in learner.trains:  # away from the start
        learner.params[weight] = learner.params[weight] + 0.2 * torch.randn(
            learner.params[weight].shape, generator=draw, dtype=torch.float64
        )
    learner.policy.module.model.load_state_dict(learner.params)
    rows = [3, 0, 5, 1]
    batch = family.of(rows)
    expected = by_hand(learner, rows)
    if name == "sft":  # all words of a batch count alike
        words = torch.tensor([len(texts()[row][1]) for row in rows])
        assert learner.scores(batch)["loss"].mean() == pytest.approx(float(expected.sum() / words.sum()), rel=1e-6)
        assert torch.allclose(learner.scores(batch)["sum"], expected, rtol=1e-10)
    else:
        assert torch.allclose(learner.scores(batch)["loss"], expected, rtol=1e-9)
    # In portions as large as one text, the same.
    whole = learner.meta_gradient(batch)
    monkeypatch.setattr(policies, "WORDS", 1)
    alone = learner.meta_gradient(batch)
    assert torch.allclose(whole.losses, alone.losses, rtol=1e-10)
    for weight in learner.trains:
        assert torch.allclose(whole.grads[weight], alone.grads[weight], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_slopes_are_those_of_finite_differences(name: str) -> None:
    learner, family = tuning(OBJECTIVES[name]), answers() if name == "sft" else pairs()
    draw = torch.Generator().manual_seed(1)
    for weight in learner.trains:
        learner.params[weight] = learner.params[weight] + 0.1 * torch.randn(
            learner.params[weight].shape, generator=draw, dtype=torch.float64
        )
    batch, found = family.of(range(5)), learner.meta_gradient(family.of(range(5)))
    way = {n: torch.randn(g.shape, generator=draw, dtype=torch.float64) for n, g in found.grads.items()}
    slope = sum(float((found.grads[n] * way[n]).sum()) for n in way)
    at = lambda step: float(
        learner.scores(batch, {**learner.params, **{n: learner.params[n] + step * way[n] for n in way}})["loss"].mean()
    )
    assert (at(1e-7) - at(-1e-7)) / 2e-7 == pytest.approx(slope, rel=2e-5, abs=1e-8)


def test_dpo_at_the_start_knows_nothing() -> None:
    learner = tuning(DPO(beta=0.7))
    found = learner.scores(pairs().of(range(7)))
    assert torch.allclose(found["loss"], torch.full((7,), math.log(2), dtype=torch.float64))
    assert float(found["scores"].abs().max()) < 1e-12


def test_dpo_asks_its_reference_once_of_each_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, asked = tuning(DPO()), []
    kept = DPO.referred

    def counted(self: DPO, policy: Any, params: Any, batch: Any) -> Tensor:
        if all(torch.equal(params[n], learner.start[n]) for n in learner.trains):
            asked.append(batch.tasks)
        return kept(self, policy, params, batch)

    monkeypatch.setattr(DPO, "referred", counted)
    learner.reference(pairs().of([0, 1, 2]))
    learner.reference(pairs().of([2, 1, 4]))
    assert sum(asked) == 4


def test_a_reference_is_the_start_also_where_the_start_does_something() -> None:
    """A start that is not the bare network: a LoRA that was tuned before."""
    learner = tuning(DPO())
    learner.params = {n: p + 0.1 if n in learner.trains else p for n, p in learner.params.items()}
    first = learner.reference(pairs().of([0]))
    fresh = tuning(DPO())
    assert first is not None
    assert torch.allclose(first, fresh.objective.referred(fresh.policy, fresh.params, pairs().of([0])))


def test_frozen_weights_are_held_once() -> None:
    learner = tuning(DPO())
    network = dict(learner.policy.module.model.named_parameters())
    assert all(learner.params[name].data_ptr() == p.data_ptr() for name, p in network.items())
    assert set(learner.start) == set(learner.trains)


@pytest.mark.parametrize("scope", ["lora", "all"])
def test_only_what_is_tuned_has_a_slope(scope: str) -> None:
    learner = tuning(SFT(), scope=scope)
    found = learner.meta_gradient(answers().of(range(4)))
    assert set(found.grads) == set(learner.trains)
    unreached = [n for n, g in found.grads.items() if not bool(g.any())]
    assert all("head" in n or "places" in n for n in unreached), unreached


def test_every_objective_is_in_the_table_and_says_what_it_takes() -> None:
    for name in TUNING:
        options = TUNING.options(name)
        assert not any(option.default is NEEDED for option in options.values())
        assert all(option.help for option in options.values())


@pytest.mark.parametrize(
    "asked",
    ["dpo:beta=0", "dpo:label_smoothing=0.5", "dpo:form=hinge", "dpo:form=ipo,label_smoothing=0.1", "reward:centre=-1",
     "dpo:bta=1", "dppo"],
)  # fmt: skip
def test_what_is_out_of_range_is_refused(asked: str) -> None:
    with pytest.raises(MetaftError):
        TUNING.make(asked)


def test_calibration_error() -> None:
    """Pairs of one certainty, of which so many are right."""
    margin = torch.tensor([1.0] * 6 + [-1.0] * 4, dtype=torch.float64)
    certainty = 1 / (1 + math.exp(-1.0))
    assert calibration_error(margin) == pytest.approx(abs(0.6 - certainty))
    assert calibration_error(torch.tensor([100.0, 50.0])) == pytest.approx(0.0, abs=1e-12)


def test_validation_counts_a_tie_as_half() -> None:
    class Even:
        def scores(self, batch: Any) -> dict[str, Tensor]:
            return {"loss": torch.zeros(batch.tasks), "scores": torch.zeros(batch.tasks, 2)}

    assert pairs().score(Even(), 100, "cpu").more["accuracy"] == 0.5


def test_packed_rows_are_the_texts_alone() -> None:
    """The sum over all words, and the slopes of its mean, however texts lie in rows."""
    alone, packed = answers(), PackedInstructions(texts(), PLACES, "small", "train")
    assert len(packed) < len(alone)
    learner = tuning(SFT())
    one, other = (learner.meta_gradient(family.of(range(len(family)))) for family in (alone, packed))
    assert float(one.loss) == pytest.approx(float(other.loss), rel=1e-6)  # weights are float32
    assert all(torch.allclose(one.grads[name], other.grads[name], rtol=1e-5, atol=1e-9) for name in one.grads)
    assert alone.score(learner, 100, "cpu").metric == pytest.approx(packed.score(learner, 100, "cpu").metric, rel=1e-9)


def test_an_objective_is_one_file_and_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SLiC's hinge (Zhao et al. 2023), as somebody else would add it."""
    (tmp_path / "one_objective.py").write_text(
        "from dataclasses import dataclass\n"
        "from metaft.preferences.dpo import DPO\n\n\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Hinge(DPO):\n"
        '    """max(0, width − β · margin).\n\n    Args:\n        width: of the margin that is enough.\n    """\n\n'
        "    width: float = 1.0\n\n"
        "    def loss(self, ratio):\n"
        "        return (self.width - self.beta * (ratio[:, 0] - ratio[:, 1])).clamp(min=0)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(TUNING.rows, "hinge", "one_objective:Hinge")  # type: ignore[arg-type]
    assert "width" in TUNING.options("hinge")
    learner = tuning(TUNING.make("hinge:width=3,beta=0.5"))
    found = learner.meta_gradient(pairs().of(range(4)))
    assert float(found.loss) == pytest.approx(3.0)
    assert any(bool(g.any()) for g in found.grads.values())


def test_the_order_is_the_same_wherever_a_file_lies() -> None:
    here, there = (replace(pairs(), name=f"{folder}/pairs.jsonl") for folder in ("here", "there"))
    assert torch.equal(here.batch(3, 5).query_x, there.batch(3, 5).query_x)
