"""A BERT and a GPT of four million parameters, trained on all corpora: makes results/pretraining.{md,json,png}.

Command: python -m experiments.pretraining   (trains what is not trained, side by side; goes on with what was stopped)
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import torch

from experiments.jobs import program, work
from experiments.pages import folder_option, render, results_option
from experiments.plans import require_same, state_of
from experiments.pretraining.curves import draw
from experiments.training import HERE
from metaft.data.texts import corpora
from metaft.errors import MetaftError
from metaft.evaluation.plots import save
from metaft.evaluation.report import write_result
from metaft.files import write_atomically
from metaft.language.build import SEPARATOR, language_model, passages
from metaft.language.learner import LanguageLearner
from metaft.runs import checkpoint
from metaft.runs.directory import RunDirectory, read_record
from metaft.runs.reading import read_rows
from metaft.runs.recorded import option_words, recorded_config
from metaft.settings.pretrain import PretrainConfig

PLAN = tomllib.loads((HERE / "pretraining" / "plan.toml").read_text(encoding="utf-8"))
PASSAGES = 1024


@click.command()
@folder_option("runs", "runs/pretraining", "work folder")
@results_option
@click.option("--jobs", default=2, show_default=True, help="trainings side by side, one core each")
@click.option("--iterations", type=int, help="minibatches  [default: as in the plan]")
def main(runs: Path, results: Path, jobs: int, iterations: int | None) -> None:
    """Train what is not trained, score both on held-out text, and write the page."""
    more = {} if iterations is None else {"iterations": iterations}
    settings = {name: {**PLAN["training"], **own, **more} for name, own in PLAN["models"].items()}
    open_ones = []
    for name, own in settings.items():
        require_same(runs / name, "pretrain", own)
        if (state := state_of(runs / name)) != "finished":
            open_ones.append(program(name, _words(own, runs / name, state != "absent"), runs / name, runs / name))
    work(open_ones, jobs)
    if failed := [name for name in settings if state_of(runs / name) != "finished"]:
        raise MetaftError(f"not trained: {', '.join(failed)}; the same command goes on")
    found = {name: scored(runs / name) for name in settings}
    rows = {name: read_rows(runs / name / "metrics.jsonl") for name in settings}
    save(draw(rows), results / "pretraining.png")
    extra = {"curves": {name: [row for row in one if row.get("kind") == "validation"] for name, one in rows.items()}}
    write_result(results / "pretraining.json", found, "python -m experiments.pretraining", [0], extra)
    page = render("experiments/pretraining/page.md.j2", models=found, corpora=corpora.CORPORA, plan=PLAN)
    write_atomically(results / "pretraining.md", page.encode())
    click.echo(f"written: {results}/pretraining.md, .json, .png")


def _words(settings: Mapping[str, Any], out: Path, again: bool) -> list[str]:
    if again:
        return ["pretrain", "--resume", "--quiet", "--out", str(out)]
    given = [word for name, value in settings.items() for word in option_words(name, value)]
    return ["pretrain", *given, "--quiet", "--out", str(out)]


def scored(out: Path) -> dict[str, Any]:
    """A model on held-out text.

    Args:
        out: its run directory.

    Returns:
        Perplexity on all of it and by corpus, shares that are right, samples, and what the training was.
    """
    config, record = recorded_config(out), read_record(out)
    assert isinstance(config, PretrainConfig)
    held = passages(config, "val")
    own = held.corpus.tokenizer
    learner = LanguageLearner(language_model(config, own.vocabulary, own.number(SEPARATOR)))
    learner.params = checkpoint.load_newest(RunDirectory(out).checkpoints).chosen("best")
    whole = held.score(learner, PASSAGES, "cpu")
    alone = {}
    for part in corpora.names(config.dataset):
        family = passages(config.model_copy(update={"dataset": part, "tokenizer": str(out)}), "val")
        one = family.score(learner, min(PASSAGES, len(family)), "cpu")
        alone[part] = {"perplexity": one.metric, "ci95": one.ci95, **one.more, "passages": min(PASSAGES, len(family))}
    iterations = int(str(record["iteration"]))
    return {
        "perplexity": whole.metric,
        "ci95": whole.ci95,
        **whole.more,
        "by_corpus": alone,
        "parameters": sum(p.numel() for p in learner.params.values()),
        "iterations": iterations,
        "words_seen": iterations * config.batch_size * config.length,
        "seconds": record["seconds"],
        "corpus_words": len(passages(config, "train").corpus.ids),
        "objective": config.objective,
        "model": config.model,
        "tokenizer": config.tokenizer,
        "samples": held.samples(learner, torch.device("cpu")),
    }


if __name__ == "__main__":
    main()
