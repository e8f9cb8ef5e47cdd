"""The settings of what adapts and how: the network, the method and its four parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from metaft.parts import Asked
from metaft.plugins import named_part
from metaft.settings.family import Settings
from metaft.settings.once import as_text, require_once


class ModelSettings(Settings):
    """Which network is adapted."""

    model: str = "conv4"
    """network: conv4, resnet12, mlp, transformer (texts); pretrained: torchvision:NAME, timm:NAME (images),
    hf:minilm, hf:smollm2, hf:FOLDER, stories260k (texts); or your own: package.module:NAME"""
    hidden: int = Field(64, ge=1, le=65_536)
    """channels or units of a hidden layer, or of the first block"""
    pool: Literal["stride", "max"] = "stride"
    """how conv4 halves the image"""
    widths: Literal["wide", "doubling"] = "wide"
    """resnet12's blocks: hidden × 1, 2.5, 5, 10 or hidden × 1, 2, 4, 8"""
    addition: str | None = None
    """what is put into the network: lora, ia3, adapter, prompt, prefix, …, with options as in lora:rank=4; several
    joined by + (metaft parts addition)"""
    frozen: Literal["base", "nothing"] | None = None
    """what of the network stays as it is: base, all but additions and head; or nothing [base, where there is an
    addition]"""


OF_LEARNERS = (
    "objective_weight", "solver_iterations", "context", "epochs", "multi_step_epochs", "first_order_epochs", "distance",
    "learned_scale", "reads", "regularisation", "fixed_regularisation", "fit", "layers", "token_width", "heads",
)  # fmt: skip
"""Options of single learners that once were settings: taken still, as ``learner:option=value``."""
FLAGS = ("learned_scale", "fixed_regularisation")
"""Those of them that are yes or no."""


OLDER_NAMES = {"in-context": "in-context-transformer"}
"""Meta-trained learners that were called something else; the name is a language model's now, which is not trained."""


def called_now(learner: str) -> str:
    """A meta-trained learner as it is called now.

    Args:
        learner: with or without options.
    """
    name, colon, options = learner.partition(":")
    return OLDER_NAMES.get(name, name) + colon + options


def with_options(given: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Settings whose learner has its own options with it, and no others.

    Args:
        given: setting → value; of `OF_LEARNERS`, what is None or False was not given.
        defaults: likewise, for options that are not given.

    Returns:
        The same without those settings; what any learner may be told stands beside it.

    Raises:
        MetaftError: if an option is given in both ways, and differently.
    """
    asked = named_part(str(given.get("learner") or "maml"), "learner")
    # What else is called so beside it is another thing, such as a teacher's temperature.
    known = {*OF_LEARNERS, *LearnerSettings.model_fields}
    require_once(given, "learner", {name: told for name, told in asked.options.items() if name in known})
    others = {name: value for name, value in given.items() if name not in OF_LEARNERS}
    moved = {n: as_text(given[n]) for n in OF_LEARNERS if given.get(n) is not None and given[n] is not False}
    own = {n: as_text(v) for n, v in (defaults or {}).items() if n in OF_LEARNERS}
    options = {**own, **asked.options, **moved}
    if not options:
        return others
    general = {n: options.pop(n) for n in list(options) if n in LearnerSettings.model_fields}
    return {**others, **general, "learner": str(Asked(asked.name, options))}


class LearnerSettings(Settings):
    """How a task is learned, and how the meta-gradient is obtained."""

    learner: str = "maml"
    """method: maml, fomaml, anil, boil, reptile, imaml, meta-sgd, maml++, cavia, proto-maml, meta-curvature, protonet,
    matching, matching-fce, r2d2, in-context-transformer, or your own: package.module:NAME; with its options:
    protonet:distance=cosine (metaft parts learner; --learner NAME --help)"""
    steps: int | None = Field(1, ge=0, le=10_000)
    """inner gradient steps in training"""
    inner_lr: float | None = Field(2.0, gt=0, le=1e6)
    """inner learning rate on the mean support loss"""
    scope: str | None = None
    """what adapts: all, head, body, biases, attention and other roles, first:K, last:K or a name pattern [the
    method's own]"""
    meta_scope: str | None = None
    """what is meta-trained, likewise; rates: what the rule learns [all,rates]"""
    rule: str | None = None
    """how an inner step moves: sgd, momentum, adam, rmsprop, meta-sgd, lslr, meta-curvature; with options:
    adam:beta1=0.5 [the method's own]"""
    objective: str | None = None
    """what the inner loop descends: task, the loss; l2 or kl, with a pull to the start; kl-words, to what it said of
    words; l2-after, pulled after the last step, as in iMAML's code; with options: l2:weight=2 [the method's own]"""
    estimator: str | None = None
    """how the meta-gradient is obtained: exact, first-order, finite-difference, implicit, reptile; with options:
    implicit:iterations=5 [the method's own]"""
    batch_norm: Literal["transductive", "inductive", "running", "per-step"] | None = None
    """whose statistics normalise the queries: the query batch's, the support set's, or those gathered in training (not
    with an inner loop; per-step: after each step, maml++) [the method's own; with an inner loop: transductive, maml++:
    per-step, else running]"""
    memory: Literal["flat", "checkpoints", "graph"] = "flat"
    """run inner steps again in the reverse pass, or keep their graph"""
    engine: Literal["compile", "eager", "higher"] = "compile"
    """compile the meta-gradient (worth it beyond a minute), or not; or through higher"""
    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = "auto"
    """threads that share a meta-update's tasks; from images of 64×64 on, its operators"""
