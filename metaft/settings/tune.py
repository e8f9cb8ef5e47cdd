"""The settings of ``metaft tune``."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from metaft.plugins import named_part
from metaft.processors import cores
from metaft.seeds import DivisionSeed
from metaft.settings.config import CommandSettings
from metaft.settings.family import Settings
from metaft.settings.train import EarlyStopping, LoopSettings, with_outer
from metaft.tables import TUNING

NOTHING = "none"
USUAL = {
    "sft": "self-instruct+user-oriented",
    "reward": "dpo-demo",
    "dpo": "dpo-demo",
    "ppo": "self-instruct+user-oriented",
}
"""Objective → the data set where none is given and it is no instructions."""
OF_TUNING = {"outer": "adamw", "outer_lr": 1e-4, "schedule": "cosine", "clip": 1.0}


class TunedBySettings(Settings):
    """What a model is tuned by."""

    objective: str = "sft"
    """what is descended: sft, reward, dpo, ppo, or with options: dpo:beta=0.05,form=ipo (metaft parts tuning)"""
    dataset: str = "self-instruct+user-oriented"
    """instructions or preferences: a name (metaft data), or your own .jsonl, .json or .csv; several joined by +; ppo
    takes prompts: of any of these, a .txt with one a line, or beginnings of plain texts such as tinystories"""
    reward: str | None = None
    """ppo: what an answer is worth: a run of metaft tune --objective reward, or your own module:NAME, a function
    (prompt, answer) → number [needed]"""
    prompt_words: int = Field(8, ge=1, le=100_000)
    """ppo: how many words of a plain text are a prompt"""
    data_root: str | None = None
    """folder with the data sets; else METAFT_DATA, else ./data"""
    split_seed: DivisionSeed = 0
    """how prompts are divided into train, val and test"""
    template: str | None = None
    """how turns are written as one text: chatml, alpaca, plain, none, or a file .jinja [the model's own]"""
    length: int = Field(512, ge=8, le=100_000)
    """words of a prompt and its answer; of longer ones the oldest turns are left out, then the rest is cut"""


class TunedModelSettings(Settings):
    """Which network is tuned, and what of it."""

    model: str = "hf:smollm2"
    """a network that goes on with texts: hf:smollm2, hf:FOLDER, stories260k, or a run of metaft pretrain --objective
    causal or of metaft tune"""
    addition: str = "lora:rank=8"
    """what is put into it: lora, adapter, prefix, …, with options; several joined by + (metaft parts addition); or
    none, which is what --scope alone takes"""
    scope: str | None = None
    """what moves: all, head, attention, last:K, biases, lora, … or a name pattern; a reward's head always moves [what
    is put in; where that is none, all]"""


class TuneLoopSettings(LoopSettings, EarlyStopping):
    """The training loop."""

    default_iterations = 200

    iterations: int | None = Field(None, ge=1, le=10**10)
    """minibatches"""
    batch_size: int = Field(8, ge=1, le=1_000_000)
    """examples a minibatch: answers, or pairs of them"""
    log_every: int = Field(5, ge=1)
    """iterations between rows of metrics"""
    validate_every: int = Field(50, ge=1)
    """iterations between validations"""
    validate_tasks: int = Field(100, ge=2, le=10**7)
    """examples of the validation part that are scored"""
    checkpoint_every: int = Field(50, ge=1)
    """iterations between checkpoints"""


SECTIONS: dict[str, type[Settings]] = {
    "data": TunedBySettings,
    "model": TunedModelSettings,
    "train": TuneLoopSettings,
}


class TuneConfig(CommandSettings, TunedBySettings, TunedModelSettings, TuneLoopSettings):
    """Everything ``metaft tune`` can be told."""

    command = "tune"
    makes = "OBJECTIVE"
    sections = SECTIONS

    @property
    def default_name(self) -> str:
        """Of a run directory where none is given."""
        return f"{self.dataset}-{named_part(self.objective, 'objective').name}".replace("/", "-")

    @property
    def counted(self) -> str:  # type: ignore[override]
        """What a minibatch holds."""
        return "answers"

    @property
    def tasks(self) -> int:
        """What the training loop counts in: examples."""
        return self.batch_size

    @property
    def diagnose(self) -> bool:
        """There are no inner steps to diagnose."""
        return False

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_objective(cls, given: dict[str, Any]) -> dict[str, Any]:
        asked = TUNING.asked(str(given.get("objective") or "sft"))
        given = {name: value for name, value in given.items() if value is not None}
        usual: dict[str, Any] = {"threads": cores()}
        if asked.name in USUAL:
            usual["dataset"] = USUAL[asked.name]
        if "scope" in given:  # of the network itself; what is put in would lie idle
            usual["addition"] = NOTHING
        # One network, and products large enough for every core.
        if (given.get("reward") is None) == (asked.name == "ppo"):
            needs = "needs what an answer is worth: --reward RUN, or --reward mymodule:function"
            idle = f"{asked.name} asks for no reward; leave it out, or take --objective ppo"
            raise ValueError(
                f"objective = ppo: it {needs}" if asked.name == "ppo" else f"reward = {given['reward']}: {idle}"
            )
        return with_outer(given, {**OF_TUNING, **usual})
