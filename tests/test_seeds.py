"""Two seeds are two streams of random numbers, or the second is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import metaft
from metaft.additions import attach
from metaft.additions.context import Context
from metaft.cli import cli
from metaft.commands.sweep.grid import read_grid
from metaft.data.draws import draws
from metaft.data.images import LabelledImages
from metaft.distillation.loss import DistillationLoss
from metaft.errors import MetaftError
from metaft.learners import FineTuning, NearestNeighbour
from metaft.learners.heads import build_head
from metaft.learners.spec import read_seeds
from metaft.models import build
from metaft.models.heads import with_cosine_head, with_new_head
from metaft.seeds import require_seed
from metaft.settings.config import RunConfig, validated
from metaft.tasks.minibatches import Minibatches
from metaft.tasks.random import generator

REFUSED = (-1, 2**32, 2**32 + 7, 2**63, 2**64, 1.0, 0.5, True, np.float64(1), np.bool_(True))
IMAGES = LabelledImages(torch.zeros(60, 1, 8, 8, dtype=torch.uint8), torch.full((3,), 20), ("a", "b", "c"))
MLP = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
TAKES_A_SEED: dict[str, Callable[[Any], object]] = {
    "a stream": lambda seed: generator(seed, "x", 0),
    "sinusoid": lambda seed: metaft.families.sinusoid(shots=2, queries=2, seed=seed),
    "episodes": lambda seed: metaft.families.episodes_of(IMAGES, 2, 1, 1, seed=seed),
    "ragged episodes": lambda seed: metaft.families.episodes_of(IMAGES, (2, 3), 1, 1, seed=seed),
    "minibatches": lambda seed: Minibatches(IMAGES, 0, seed, "x", "train", {}),
    "model": lambda seed: build("mlp", outputs=2, input_shape=(3,), seed=seed),
    "own model": lambda seed: build("torch.nn:Linear", outputs=2, input_shape=(3,), seed=seed),
    "new head": lambda seed: with_new_head(MLP, 3, seed, "random"),
    "cosine head": lambda seed: with_cosine_head(MLP, seed),
    "context": lambda seed: attach(MLP, Context(3), seed),
    "fine-tuning": lambda seed: FineTuning(MLP, seed=seed),
    "forest": lambda seed: build_head("forest", seed=seed),
    "in-context-transformer": lambda seed: metaft.learners.build("in-context-transformer", MLP, seed=seed),
    "matching-fce": lambda seed: metaft.learners.build("matching-fce", MLP, seed=seed),
    "distillation": lambda seed: DistillationLoss(seed=seed),
    "evaluate": lambda seed: metaft.evaluate(
        NearestNeighbour(), metaft.families.episodes_of(IMAGES, 2, 1, 1), 2, seed=seed
    ),
}


@pytest.mark.parametrize("name", TAKES_A_SEED)
@pytest.mark.parametrize("seed", REFUSED, ids=repr)
def test_what_is_no_seed_is_refused(name: str, seed: object) -> None:
    with pytest.raises(MetaftError, match="a seed should be a whole number, from 0 to 4294967295"):
        TAKES_A_SEED[name](seed)


@pytest.mark.parametrize("seed", [0, 2**32 - 1, np.int64(3), np.uint32(2**32 - 1)], ids=repr)
def test_seeds(seed: int) -> None:
    assert require_seed(seed) == int(seed)
    assert type(require_seed(seed)) is int


@pytest.mark.parametrize("text", ["-1", "4294967296", "1.0", "1_0"])
@pytest.mark.parametrize("how", ["meta-train --seed", "evaluate RUN --seed", "pretrain --seed", "distill --seed",
                                 "compare nearest-neighbour --seed", "compare nearest-neighbour --seeds"])  # fmt: skip
def test_the_command_line_refuses_them_in_one_line(
    how: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "RUN").mkdir()
    (tmp_path / "RUN" / "run.json").write_text("{}")
    (tmp_path / "RUN" / "config.toml").write_text('dataset = "sinusoid"')
    done = CliRunner().invoke(cli, [*how.split(), f"{text},3" if how.endswith("seeds") else text])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("Error: seed")


def test_a_grid_refuses_them(tmp_path: Path) -> None:
    grid = tmp_path / "grid.toml"
    grid.write_text('command = "validate"\nlearner = "nearest-neighbour"\nseeds = [0, 4294967296]\n')
    with pytest.raises(MetaftError, match="seeds = 4294967296"):
        read_grid(grid)


@pytest.mark.parametrize("seed", [1.0, 1.5, "1.0", True, 2**32, -1])
def test_settings_refuse_them(seed: object) -> None:
    with pytest.raises(MetaftError, match=r"^seed = "):
        validated(RunConfig, {"seed": seed})
    assert validated(RunConfig, {"seed": " 7"}).seed == validated(RunConfig, {"seed": np.int64(7)}).seed == 7
    if seed not in (-1, 2**32):
        with pytest.raises(MetaftError, match=r"^split_seed = "):
            validated(RunConfig, {"split_seed": seed})


def test_seeds_of_a_comparison() -> None:
    assert read_seeds("3") == (0, 1, 2)
    with pytest.raises(MetaftError, match="seeds = 4294967296"):
        read_seeds("0,4294967296")


def test_published_seeds_keep_their_streams() -> None:
    assert generator(0, "sinusoid/train", 0).integers(10**6, size=3).tolist() == [814637, 668556, 333834]
    assert generator(2**32 - 1, "x", 5).integers(10**6, size=3).tolist() == [734684, 169445, 42699]
    assert draws(2**40, "x").integers(10**6, size=3).tolist() == [488568, 812169, 233337]


def test_divisions_take_any_whole_number() -> None:
    first = [draws(seed, "x").integers(2**63) for seed in (0, 1, 2**32, 2**32 + 1, 2**64, 2**128, np.int64(2))]
    assert len(set(map(int, first))) == len(first)
    for seed in (-1, True, 1.0):
        with pytest.raises(MetaftError, match="a whole number, 0 or more"):
            draws(seed, "x")  # type: ignore[arg-type]
