"""The plan of additions names what there is."""

from __future__ import annotations

from pathlib import Path

from experiments.additions.__main__ import PLAN, learners, starts, train_words
from metaft.additions.attach import read
from metaft.learners.spec import labels, parse
from metaft.settings.config import RunConfig, validated
from metaft.tables import ADDITIONS


def test_every_start_is_a_run_that_can_be_trained(tmp_path: Path) -> None:
    for addition, start in starts():
        words = train_words(addition, start, 0, tmp_path / "run")
        pairs = zip(words[1::2], words[2::2], strict=False)
        given = {n.removeprefix("--").replace("-", "_"): v for n, v in pairs if n not in ("--out", "--quiet")}
        config = validated(RunConfig, given)
        assert config.iterations == PLAN["starts"][start]["iterations"]
        assert config.addition is not None
        assert [ADDITIONS.asked(part) for part in read(config.addition)]


def test_every_learner_is_named_as_a_comparison_reads_it(tmp_path: Path) -> None:
    done = list(starts())
    specs = [parse(f"{spec}{',' if ':' in spec else ':'}label={label}") for label, spec in learners(done, tmp_path)]
    assert len(set(labels(specs))) == len(specs) >= len(done)
