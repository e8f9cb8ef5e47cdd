"""Calibrations as their papers write them, in probabilities."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from metaft.cli import cli
from metaft.tables import CALIBRATIONS

SCORES = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
EMPTY = torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
PRIOR = torch.randn(3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def found(name: str) -> torch.Tensor:
    calibration = CALIBRATIONS.make(name)
    asked = calibration.asks()
    answer: torch.Tensor = calibration(SCORES, EMPTY[: len(asked)], lambda: PRIOR)
    return answer.softmax(-1)


@pytest.mark.parametrize("name", ["contextual", "contextual:inputs=none|nothing"])
def test_contextual_is_zhaos(name: str) -> None:
    assert CALIBRATIONS.make(name).asks() == (("none", "nothing") if ":" in name else ("N/A", "[MASK]", ""))
    content_free = EMPTY[: 3 if ":" not in name else 2].softmax(-1).mean(0)  # eq. 1, W = diag(p)⁻¹
    expected = SCORES.softmax(-1) @ torch.diag(1 / content_free)
    torch.testing.assert_close(found(name), expected / expected.sum(-1, keepdim=True))


def test_domain_is_pointwise_mutual_information() -> None:
    expected = SCORES.exp() / PRIOR.exp()
    torch.testing.assert_close(found("domain"), expected / expected.sum(-1, keepdim=True))


def test_batch_divides_by_the_mean_over_queries_and_is_transductive() -> None:
    expected = SCORES.softmax(-1) / SCORES.softmax(-1).mean(0)
    torch.testing.assert_close(found("batch"), expected / expected.sum(-1, keepdim=True))
    assert [name for name in CALIBRATIONS if CALIBRATIONS.make(name).transductive] == ["batch"]


def test_a_calibration_of_ones_own_is_one_file_and_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pulled.py").write_text("""
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Pulled:
    \"\"\"To the mean over classes.

    Args:
        share: of the way.
    \"\"\"

    share: float = 0.5
    transductive: ClassVar[bool] = False

    def asks(self):
        return ()

    def __call__(self, scores, behind, prior):
        return scores + self.share * (scores.mean(-1, keepdim=True) - scores)
""")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(CALIBRATIONS.rows, "pulled", "pulled:Pulled")  # type: ignore[arg-type]
    run = lambda learner: CliRunner().invoke(
        cli, ["compare", f"in-context:backbone=stories260k,calibration={learner}", "--dataset", "intents",
              "--ways", "2", "--queries", "1", "--tasks", "2", "--out", str(tmp_path / learner[-4:])],
    )  # fmt: skip
    done = run("pulled:share=0.25")
    assert done.exit_code == 0, done.output
    assert "share" in CliRunner().invoke(cli, ["parts", "calibration", "pulled"]).stdout
    wrong = run("pulled:shares=1")
    assert wrong.exit_code == 2
    assert "did you mean 'share'" in wrong.stderr
    sys.modules.pop("pulled")
