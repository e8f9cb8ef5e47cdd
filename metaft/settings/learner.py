"""The settings of what adapts and how: the network, the method and its four parts."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from metaft.settings.family import Settings


class ModelSettings(Settings):
    """Which network is adapted."""

    model: str = Field("conv4", description="network: conv4, resnet12, mlp, or your own: package.module:NAME")
    hidden: int = Field(64, ge=1, le=65_536, description="channels or units of a hidden layer, or of the first block")
    pool: Literal["stride", "max"] = Field("stride", description="how conv4 halves the image")
    widths: Literal["wide", "doubling"] = Field(
        "wide", description="resnet12's blocks: hidden × 1, 2.5, 5, 10 or hidden × 1, 2, 4, 8"
    )


class LearnerSettings(Settings):
    """How a task is learned, and how the meta-gradient is obtained."""

    learner: str = Field(
        "maml",
        description="method: maml, fomaml, anil, boil, reptile, imaml, meta-sgd, maml++, cavia, proto-maml, "
        "meta-curvature, protonet, matching, matching-fce, r2d2, in-context, or your own: package.module:NAME",
    )
    steps: int | None = Field(1, ge=0, le=10_000, description="inner gradient steps in training")
    inner_lr: float | None = Field(2.0, gt=0, le=1e6, description="inner learning rate on the mean support loss")
    scope: str | None = Field(
        None, description="what adapts: all, head, body, biases, first:K, last:K or a name pattern [the method's own]"
    )
    meta_scope: str | None = Field(
        None, description="what is meta-trained, likewise; rates: what the rule learns [all,rates]"
    )
    rule: Literal["sgd", "momentum", "adam", "rmsprop", "meta-sgd", "lslr", "meta-curvature"] | None = Field(
        None, description="how an inner step moves [the method's own]"
    )
    objective: Literal["task", "l2", "l2-after", "kl"] | None = Field(
        None,
        description="what the inner loop descends: the loss, or with a pull to the start (l2-after: after the last "
        "step, as in iMAML's code) [the method's own]",
    )
    objective_weight: float | None = Field(None, gt=0, le=1e9, description="strength of that pull [the method's own]")
    estimator: Literal["exact", "first-order", "finite-difference", "implicit", "reptile"] | None = Field(
        None, description="how the meta-gradient is obtained [the method's own]"
    )
    solver_iterations: int | None = Field(
        None, ge=1, le=10**6, description="implicit: conjugate-gradient iterations a task [imaml: 5, else 20]"
    )
    context: int | None = Field(None, ge=1, le=65_536, description="cavia: numbers that adapt [100 for images, else 5]")
    epochs: int | None = Field(None, ge=1, le=10**6, description="maml++: parts of the run, to anneal by [150]")
    multi_step_epochs: int | None = Field(
        None, ge=0, le=10**6, description="maml++: so many begin with a loss after every step [10; natural images 15]"
    )
    first_order_epochs: int | None = Field(
        None, ge=0, le=10**6, description="maml++: so many begin with first-order gradients [50]"
    )
    distance: Literal["euclidean", "cosine"] | None = Field(None, description="protonet: to class means [euclidean]")
    learned_scale: bool = Field(
        False, description="matching, matching-fce: cosines times a meta-trained number, at first 10"
    )
    reads: int | None = Field(
        None, ge=1, le=1000, description="matching-fce: how often a query reads the support set [5]"
    )
    regularisation: float | None = Field(None, gt=0, le=1e9, description="r2d2: the penalty to begin with [1]")
    fixed_regularisation: bool = Field(False, description="r2d2: the penalty stays, as in its code")
    fit: Literal["sum", "mean"] | None = Field(
        None, description="r2d2: what of the squared errors stands against the penalty [sum]"
    )
    layers: int | None = Field(None, ge=1, le=100, description="in-context: blocks of the transformer [2]")
    token_width: int | None = Field(None, ge=1, le=65_536, description="in-context: numbers a token [64]")
    heads: int | None = Field(None, ge=1, le=1024, description="in-context: of its attention [4]")
    batch_norm: Literal["transductive", "inductive", "running", "per-step"] | None = Field(
        None,
        description="whose statistics normalise the queries: the query batch's, the support set's, or those gathered "
        "in training (not with an inner loop; per-step: after each step, maml++) [the method's own; with an inner "
        "loop: transductive, maml++: per-step, else running]",
    )
    memory: Literal["flat", "checkpoints", "graph"] = Field(
        "flat", description="run inner steps again in the reverse pass, or keep their graph"
    )
    engine: Literal["compile", "eager", "higher"] = Field(
        "compile", description="compile the meta-gradient (worth it beyond a minute), or not; or through higher"
    )
    workers: Literal["auto"] | int = Field(
        "auto", description="threads that share a meta-update's tasks; from images of 64×64 on, its operators"
    )

    @model_validator(mode="after")
    def _sane_workers(self) -> Self:
        if self.workers != "auto" and not 1 <= self.workers <= 1024:
            raise ValueError(f"workers = {self.workers}: should be 'auto' or 1 to 1024")
        return self
