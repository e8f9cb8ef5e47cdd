"""What is shown on the terminal: waiting, progress, and at the end the result, where things lie, what to do next."""

from __future__ import annotations

import contextlib
import shlex
from typing import Any

from rich.console import Console

from metaft.cli.screen import print_facts, print_table
from metaft.commands.opening import Opening
from metaft.environment import program
from metaft.inner.scope import SCOPE_HEADS, shortened
from metaft.language.corpus import TokenCorpus
from metaft.learners.learner import MetaLearner as Learner
from metaft.settings.config import RunConfig
from metaft.settings.pretrain import PretrainConfig
from metaft.settings.tune import TuneConfig
from metaft.training.loop import TrainResult


def preparing(run: Opening[Any]) -> contextlib.AbstractContextManager[object]:
    """Show on a terminal that data are read; print nothing elsewhere.

    Args:
        run: what they are read for.
    """
    console, text = Console(stderr=True), f"preparing {run.config.dataset} (what was read or drawn once is kept) …"
    return console.status(text) if run.progress and console.is_terminal else contextlib.nullcontext()


def show_scope(learner: Learner) -> None:
    """Print what adapts and what is meta-trained, unless that is everything.

    Args:
        learner: about to be trained.
    """
    rows = shortened(learner.scope_rows())
    if any(row[2] != "adapts" or row[3] != "meta-trained" for row in rows):
        print_table(SCOPE_HEADS, rows)


def show(result: TrainResult, config: RunConfig, learner: Learner) -> None:
    """Print a table and the next commands.

    Args:
        result: of the run.
        config: its settings.
        learner: what was trained.
    """
    steps = learner.describe().get("steps")
    inner = "" if steps is None else f", {steps} inner {'step' if steps == 1 else 'steps'}"
    where = shlex.quote(str(result.out))
    shape = f"{config.ways}-way {config.shots}-shot" if result.metric == "accuracy" else f"{config.shots} shots"
    print_facts(
        {
            "task": f"{config.dataset}, {shape}",
            "learner": f"{config.learner}, {config.model}{inner}",
            "iterations": f"{result.iterations:,} of {config.tasks} tasks in {result.seconds:,.1f} s",
            f"validation {result.metric}": _best(result, "transductive" if learner.transductive else "inductive"),
            "run directory": str(result.out),
            "next": f"{program()} evaluate {where}\n{program()} tensorboard {where}",
        }
    )


def show_pretrained(result: TrainResult, config: PretrainConfig, classes: int) -> None:
    """Print a table and the next commands.

    Args:
        result: of the run.
        config: its settings.
        classes: how many were told apart.
    """
    where = shlex.quote(str(result.out))
    learners = " ".join(f"{name}:backbone={where}" for name in ("class-means", "fine-tuning", "head-first"))
    print_facts(
        {
            "trained on": f"{config.dataset}, {classes:,} classes",
            "network": f"{config.model}, {config.head} head",
            "iterations": f"{result.iterations:,} of {config.batch_size} examples in {result.seconds:,.1f} s",
            f"validation, {config.ways}-way {config.shots}-shot by class means": _best(result, "inductive"),
            "run directory": str(result.out),
            "next": f"{program()} compare {learners} --dataset {config.dataset}\n{program()} tensorboard {where}",
        }
    )


def show_language(result: TrainResult, config: PretrainConfig, corpus: TokenCorpus) -> None:
    """Print a table and the next commands.

    Args:
        result: of the run.
        config: its settings.
        corpus: what it was trained on.
    """
    where = shlex.quote(str(result.out))
    learners = " ".join(f"{name}:backbone={where}" for name in ("class-means", "fine-tuning"))
    seen = result.iterations * config.batch_size * config.length
    best = "–" if result.best is None else f"{result.best:.2f}, at iteration {result.best_iteration}"
    print_facts(
        {
            "trained on": f"{config.dataset}, {len(corpus.ids):,} words of {corpus.tokenizer.name}",
            "network": f"{config.model}, {config.objective}",
            "iterations": f"{result.iterations:,} of {config.batch_size} passages in {result.seconds:,.1f} s",
            "words seen": f"{seen:,}, {seen / max(result.seconds, 1e-9):,.0f}/s",
            "perplexity on held-out text": best,
            "run directory": str(result.out),
            "next": f"{program()} compare {learners} --dataset intents --tokenizer {where}\n"
            f"{program()} tensorboard {where}",
        }
    )


def show_tuned(result: TrainResult, config: TuneConfig, learner: Learner) -> None:
    """Print a table and the next commands.

    Args:
        result: of the run.
        config: its settings.
        learner: what was tuned.
    """
    where, told = shlex.quote(str(result.out)), learner.describe()
    best = "–" if result.best is None else f"{result.best:.4g}, at iteration {result.best_iteration}"
    onward = f"{program()} complete {where} PROMPT\n" if told["learner"] != "reward" else ""
    print_facts(
        {
            "tuned by": f"{config.dataset}, {config.objective}",
            "network": f"{config.model}, {told['tuned']:,} of {told['parameters']:,} parameters",
            "iterations": f"{result.iterations:,} of {config.batch_size} examples in {result.seconds:,.1f} s",
            f"validation {result.metric} at the lowest loss": best,
            "run directory": str(result.out),
            "next": f"{onward}{program()} tensorboard {where}",
        }
    )


def _best(result: TrainResult, mode: str) -> str:
    if result.best is None:
        return "–"
    score = f"{100 * result.best:.2f}%" if result.metric == "accuracy" else f"{result.best:.4f}"
    return f"{score} ({mode}), at iteration {result.best_iteration}"
