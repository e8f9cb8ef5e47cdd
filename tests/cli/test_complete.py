"""``metaft complete``: what it prints, where a prompt may come from, what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from metaft.cli import cli

STORY = "Once upon a time"


def run(*words: str, **more: Any) -> Any:
    return CliRunner().invoke(cli, ["complete", *words], **more)


def test_a_story_goes_on() -> None:
    done = run("stories260k", STORY, "--words", "8", "--answers", "there,a big cat")
    assert done.exit_code == 0, done.output
    assert f"{STORY}, there was" in done.stdout
    rows = {line.strip().split("  ")[0]: line.split() for line in done.stdout.splitlines() if line.startswith("  ")}
    (there, cat) = rows["there"], rows["a big cat"]
    assert float(there[-3]) > float(cat[-3])
    assert float(there[-2]) + float(cat[-2]) == pytest.approx(100, abs=0.02)
    assert int(there[-1]) < int(cat[-1])


def test_prompts_from_pipes_files_and_with_line_breaks(tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("One day,\nTom\n")
    words = ("--words", "6", "--choices", "5", "--seed", "3")
    told = [
        run("stories260k", f"@{tmp_path / 'prompt.txt'}", *words),
        run("stories260k", "-", *words, input="One day,\nTom\n"),
        run("stories260k", r"One day,\nTom", *words),
    ]
    assert {(one.exit_code, one.stdout) for one in told} == {(0, told[0].stdout)}
    assert told[0].stdout.startswith("One day,\nTom")
    assert run("stories260k", r"One day,\nTom", *words[:-1], "4").stdout != told[0].stdout


def test_a_run_of_ones_own_goes_on(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\n".join(["the king sees the queen and the queen sees the king"] * 60))
    small = ["--tokenizer", "bpe:size=300", "--length", "12", "--batch-size", "2", "--iterations", "2", "--quiet"]
    small += ["--validate-tasks", "2", "--model", "transformer:shape=gpt,layers=1,width=8,heads=2,places=16"]
    out = str(tmp_path / "run")
    made = CliRunner().invoke(
        cli, ["pretrain", "--dataset", str(tmp_path / "text.txt"), *small, "--objective", "causal", "--out", out]
    )
    assert made.exit_code == 0, made.output
    done = run(out, "the king", "--words", "3", "--answers", "queen,king")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("the king")
    rows = [f"{name} number {i} sees the house,{name}" for name in ("king", "queen") for i in range(3)]
    (tmp_path / "own.csv").write_text("\n".join(["text,label", *rows]))
    words = ["compare", f"in-context:backbone={out},shots=0,pattern=text", "--dataset", "texts", "--data-root",
             str(tmp_path / "own.csv"), "--tokenizer", out, "--split", "all", "--ways", "2", "--queries", "1",
             "--tasks", "2", "--seeds", "1", "--out", str(tmp_path / "compared")]  # fmt: skip
    words.insert(2, f"fine-tuning:backbone={out},pattern=text,head=words,steps=1")
    compared = CliRunner().invoke(cli, words)
    assert compared.exit_code == 0, compared.output
    assert "fine-tuning" in compared.output
    long = run(out, "the king " * 9)
    assert (long.exit_code, long.stdout, long.stderr.count("\n")) == (2, "", 1)
    assert "longer than the 16 places that this model has; shorten it" in long.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stories260k", " "], "the prompt is empty"),
        (["stories260k", "-"], "the prompt is empty"),
        (["stories260k", "@absent.txt"], "cannot read the prompt absent.txt: No such file"),
        (["stories260", STORY], "unknown model 'stories260'; did you mean 'stories260k'"),
        (["hf:nothing", STORY], "there is no pretrained model 'nothing'"),
        (["hf:minilm", STORY], "hf:minilm does not go on with a text"),
        (["stories260k", STORY, "--answers", "good,,bad"], "answer 2 of 3 is empty"),
        (["stories260k", STORY, "--answers", "good,good"], "answer 'good' is given twice"),
        (["stories260k", STORY, "--choices", "0"], "choices must be a whole number of at least 1"),
    ],
)
def test_mistakes_are_one_line(words: list[str], said: str) -> None:
    if words[0] == "hf:minilm":
        pytest.importorskip("transformers", reason="the extra text is not installed")
    done = run(*words, input="\n")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.output
    assert said in done.stderr
