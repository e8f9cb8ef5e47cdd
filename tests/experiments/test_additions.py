"""The plan of additions names what there is, and its page and pictures hold what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from experiments.additions.__main__ import PARTS
from experiments.additions.optimiser_memory import measured, of_adam, trained
from experiments.additions.page import draw, write
from experiments.additions.plan import BASELINE, PLAN, label_of, learners, search_words, starts, train_words
from metaft.additions.attach import read
from metaft.learners.spec import labels, parse
from metaft.settings.config import RunConfig, validated
from metaft.tables import ADDITIONS

COMPARED = [part for part in PARTS if part not in ("search", "spectrum", "images")]


def starts_of(part: str) -> list[tuple[str, str]]:
    return starts("transfer" if part in PLAN["transfer"] else part)


@pytest.mark.parametrize(("addition", "start"), sorted({one for part in COMPARED for one in starts_of(part)}))
def test_every_start_is_a_run_that_can_be_trained(addition: str, start: str, tmp_path: Path) -> None:
    words = train_words(addition, start, 0, tmp_path / "run")
    pairs = zip(words[1::2], words[2::2], strict=False)
    given = {n.removeprefix("--").replace("-", "_"): v for n, v in pairs if n not in ("--out", "--quiet")}
    config = validated(RunConfig, given)
    assert config.iterations == PLAN["starts"][start]["iterations"]
    assert config.addition is not None
    assert [ADDITIONS.asked(part) for part in read(config.addition)]


@pytest.mark.parametrize("label", PLAN["search"])
def test_every_setting_tried_can_be_trained(label: str, tmp_path: Path) -> None:
    words = search_words(label, tmp_path / "run")
    pairs = zip(words[1::2], words[2::2], strict=False)
    given = {n.removeprefix("--").replace("-", "_"): v for n, v in pairs if n not in ("--out", "--quiet")}
    assert validated(RunConfig, given).iterations == PLAN["search"][label]["iterations"]


@pytest.mark.parametrize("part", COMPARED)
def test_every_learner_is_named_as_a_comparison_reads_it(part: str, tmp_path: Path) -> None:
    done = starts_of(part)
    named = learners(part, done, tmp_path)
    specs = [parse(f"{spec}{',' if ':' in spec else ':'}label={label}") for label, spec in named.items()]
    assert next(iter(named)) == BASELINE
    assert len(set(labels(specs))) == len(specs) > len(done)


def test_adam_keeps_two_numbers_a_parameter() -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    of_all = trained(model, scope="all")
    assert sum(p.numel() for p in of_all.values()) == 6 * 5 + 5  # without the head
    of_lora = trained(model, addition="lora:rank=2")
    assert sum(p.numel() for p in of_lora.values()) == 2 * (6 + 5)
    for params in (of_all, of_lora):
        assert measured(params.values()) == of_adam(sum(p.numel() for p in params.values()))


def row(shots: int, mean: float) -> dict[str, Any]:
    score = {"mean": mean, "ci95": 0.01}
    return {"score": score, "seeds": {"low": mean - 0.01, "high": mean + 0.01}, "gap": {"mean": 0.04, "ci95": 0.01},
            "verdict": "better", "adapts": 1920, "seconds_per_task": 0.1, "peak_bytes": 10**8, "shots": shots,
            "steps": [[mean, 0.01]] * 11}  # fmt: skip


def test_the_page_holds_the_parts_that_were_run_and_no_others(tmp_path: Path) -> None:
    write(tmp_path, 3)
    assert "## " not in (tmp_path / "additions.md").read_text()

    for part in ("shots", "rank", "adapted", "trec"):
        named = learners(part, starts_of(part), tmp_path)
        rows = {label: {"shots": {str(n): row(n, 0.9 + 0.001 * n) for n in (1, 5)}} for label in named}
        (tmp_path / f"additions-{part}.json").write_text(json.dumps({"results": rows}))
        took = {"seconds": [10.4, 9.6, 11.0], "iterations": [60] * 3, "parameters": 12289, "validation": [0.85] * 3}
        notes = {"results": {label_of(*one): took for one in starts_of(part)}, "differences": {}}
        (tmp_path / f"additions-{part}-training.json").write_text(json.dumps(notes))
    draw(tmp_path)
    write(tmp_path, 3)
    page = (tmp_path / "additions.md").read_text()
    assert page.count("lora on all matrices, ProtoNet with a schedule | 12,289 | 90.10 ± 1.00 | 89.10–91.10 |") == 2
    assert "| 10, 10, 11 |" in page
    assert "94, is not reached" in page
    assert "trec, 1 shot" in page
    table, _, gone = page.partition("not run yet:")
    assert "clinc150" not in table.replace("CLINC150", "")
    assert "clinc150" in gone
    assert "adapter" not in gone  # it is in the table of this test
    assert (tmp_path / "additions-parameters.png").exists()
    assert not (tmp_path / "additions-steps.png").exists()


def test_singular_values_are_drawn_and_counted_kind_by_kind(tmp_path: Path) -> None:
    ends = ("self.query", "self.key", "self.value", "attention.output.dense", "intermediate.dense")
    energy = {str(rank): 0.1 * (n + 1) for n, rank in enumerate(PLAN["spectrum"]["ranks"])}
    matrices = {
        f"layer.{layer}.{end}.weight": {"effective_rank": 100.0 + layer, "of": 384, "relative": 0.02, "energy": energy}
        for layer in range(2)
        for end in ends
    }
    values = torch.linspace(2, 0.1, 20).tolist()
    found = {
        "results": matrices, "run": {"command": "metaft pretrain", "seconds": 12.3, "iterations": 5},
        "singular_values": {"query": [values, values]},
        "adam": {"right": {"parameters": 10, "bytes": 80, "measured": 80},
                 "wrong": {"parameters": 10, "bytes": 80, "measured": 90}},
    }  # fmt: skip
    (tmp_path / "additions-spectrum.json").write_text(json.dumps(found))
    draw(tmp_path)
    write(tmp_path, 3)
    page = (tmp_path / "additions.md").read_text()
    assert "| query | 10.0% | 20.0% | 30.0% | 40.0% | 50.0% | 100 | 2.0% |" in page
    assert "| right | 10 |" in page
    assert "| wrong |" not in page
    assert (tmp_path / "additions-low-rank.png").exists()
