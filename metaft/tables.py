"""All tables of named parts: a new part is one file and one row here.

Nothing is imported for a name; ``metaft parts`` lists them.
"""

from __future__ import annotations

from collections import ChainMap
from typing import Any

from metaft.parts import Table

RULES: Table[Any] = Table(
    "rule",
    "how an inner step moves what adapts",
    {
        "sgd": "metaft.inner.rules.sgd:SGD",
        "momentum": "metaft.inner.rules.momentum:Momentum",
        "adam": "metaft.inner.rules.adam:Adam",
        "rmsprop": "metaft.inner.rules.rmsprop:RMSProp",
        "meta-sgd": "metaft.inner.rules.meta_sgd:MetaSGD",
        "lslr": "metaft.inner.rules.lslr:LSLR",
        "meta-curvature": "metaft.inner.rules.meta_curvature:MetaCurvature",
    },
    supplied=("lr", "steps"),
)

OBJECTIVES: Table[Any] = Table(
    "objective",
    "what an inner step descends",
    {
        "task": "metaft.inner.objectives:TaskLoss",
        "l2": "metaft.inner.objectives:L2ToStart",
        "l2-after": "metaft.inner.objectives:L2AfterSteps",
        "kl": "metaft.inner.objectives:KLToStart",
        "kl-words": "metaft.inner.objectives:KLOfWords",
    },
    supplied=("predict", "words"),
)

ESTIMATORS: Table[Any] = Table(
    "estimator",
    "how the meta-gradient is obtained",
    {
        "exact": "metaft.outer.exact:Exact",
        "first-order": "metaft.outer.first_order:FirstOrder",
        "finite-difference": "metaft.outer.finite_difference:FiniteDifference",
        "implicit": "metaft.outer.implicit:Implicit",
        "reptile": "metaft.outer.reptile:Reptile",
    },
)

ADDITIONS: Table[Any] = Table(
    "addition",
    "parameters that are put into a network",
    {
        "context": "metaft.additions.context:Context",
        "lora": "metaft.additions.lora:LoRA",
        "ia3": "metaft.additions.ia3:IA3",
        "prompt": "metaft.additions.prompt:Prompt",
        "prompt-pool": "metaft.additions.prompt_pool:PromptPool",
        "conditional-prompt": "metaft.additions.conditional_prompt:ConditionalPrompt",
        "input-map": "metaft.additions.input_map:InputMap",
        "adapter": "metaft.additions.adapter:Adapter",
        "compacter": "metaft.additions.compacter:Compacter",
        "prefix": "metaft.additions.prefix:Prefix",
        "deep-prompt": "metaft.additions.deep_prompt:DeepPrompt",
        "peft": "metaft.additions.peft_folder:PeftFolder",
    },
    bare={"peft": "folder"},
)

CALIBRATIONS: Table[Any] = Table(
    "calibration",
    "how a prompt's own leaning is taken out of its answers",
    {
        "contextual": "metaft.prompting.calibration:Contextual",
        "domain": "metaft.prompting.calibration:Domain",
        "batch": "metaft.prompting.calibration:Batch",
    },
)

CHOICES: Table[Any] = Table(
    "choice",
    "which support examples a prompt shows",
    {
        "nearest": "metaft.prompting.choices.nearest:Nearest",
        "validation": "metaft.prompting.choices.validation:Validation",
    },
)

WORD_OBJECTIVES: Table[Any] = Table(
    "objective",
    "what a language model is asked of a passage",
    {
        "masked": "metaft.language.masked:Masked",
        "masked+order": "metaft.language.masked:MaskedAndOrder",
        "causal": "metaft.language.causal:Causal",
    },
)

TUNING: Table[Any] = Table(
    "objective",
    "what a language model is tuned by",
    {
        "sft": "metaft.preferences.sft:SFT",
        "reward": "metaft.preferences.reward:Reward",
        "dpo": "metaft.preferences.dpo:DPO",
        "ppo": "metaft.preferences.ppo.tuning:PPOTuning",
    },
)

OUTER: Table[Any] = Table(
    "outer optimiser",
    "how a meta-update moves what is meta-trained",
    {"adam": "metaft.training.optimisers.adam:Adam"}
    | {
        name.lower(): f"metaft.training.optimisers.through_torch:{name}"
        for name in (
            "SGD", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "Adafactor", "RMSprop", "Rprop", "ASGD",
        )
    },
)  # fmt: skip

CALLBACKS: Table[Any] = Table(
    "callback",
    "what is told of a run as it goes",
    {
        "csv": "metaft.training.callbacks.csv_table:CsvTable",
        "wandb": "metaft.training.callbacks.weights_and_biases:WeightsAndBiases",
        "mlflow": "metaft.training.callbacks.mlflow_run:MlflowRun",
    },
)

MODELS: Table[Any] = Table(
    "model",
    "networks",
    {
        "conv4": "metaft.models.conv4:Conv4",
        "mlp": "metaft.models.mlp:MLP",
        "resnet12": "metaft.models.resnet12:ResNet12",
        "transformer": "metaft.models.transformer:Transformer",
    },
    supplied=("inputs", "outputs", "channels", "size"),
)

BACKBONES: Table[Any] = Table(
    "backbone",
    "libraries of networks of images that others have trained: torchvision:resnet18:size=64",
    {
        "torchvision": "metaft.models.backbones.through_torchvision:Torchvision",
        "timm": "metaft.models.backbones.through_timm:Timm",
    },
    supplied=("network",),
    doc="metaft.models.backbones.source:Source",
)

HEADS: Table[Any] = Table(
    "head",
    "what feature-extraction fits to the features",
    {
        "logistic": "metaft.learners.heads.logistic:Logistic",
        "ridge": "metaft.learners.heads.ridge:Ridge",
        "svm": "metaft.learners.heads.svm:SVM",
        "forest": "metaft.learners.heads.forest:Forest",
        "nearest-mean": "metaft.learners.heads.nearest_mean:NearestMean",
    },
    supplied=("seed", "solver"),
)

COMPOSITIONS: Table[Any] = Table(
    "learner",
    "gradient-based meta-learners: addition × scope × rule × objective × estimator",
    {
        "maml": "metaft.learners.compositions.maml:maml",
        "fomaml": "metaft.learners.compositions.fomaml:fomaml",
        "anil": "metaft.learners.compositions.anil:anil",
        "boil": "metaft.learners.compositions.boil:boil",
        "reptile": "metaft.learners.compositions.reptile:reptile",
        "imaml": "metaft.learners.compositions.imaml:imaml",
        "meta-sgd": "metaft.learners.compositions.meta_sgd:meta_sgd",
        "cavia": "metaft.learners.compositions.cavia:cavia",
        "meta-curvature": "metaft.learners.compositions.meta_curvature:meta_curvature",
        "maml++": "metaft.learners.compositions.maml_plus_plus:maml_plus_plus",
        "proto-maml": "metaft.learners.compositions.proto_maml:proto_maml",
    },
    supplied=("model", "kind", "workers", "seed"),
    doc="metaft.learners.compositions.compose:Parts",
)

METRIC: Table[Any] = Table(
    "learner",
    "meta-learners that compare or read: no inner gradient",
    {
        "protonet": "metaft.learners.metric.protonet:protonet",
        "matching": "metaft.learners.metric.matching:matching",
        "matching-fce": "metaft.learners.metric.full_context:matching_fce",
        "r2d2": "metaft.learners.metric.r2d2:r2d2",
        "in-context-transformer": "metaft.learners.metric.in_context_transformer:in_context_transformer",
    },
    supplied=("model", "kind", "workers", "seed"),
)

FROZEN: Table[Any] = Table(
    "learner",
    "learners that are not meta-trained: they use a network as it is, or none",
    {
        "nearest-neighbour": "metaft.learners.nearest_neighbour:NearestNeighbour",
        "class-means": "metaft.learners.class_means:ClassMeans",
        "feature-extraction": "metaft.learners.feature_extraction:FeatureExtraction",
        "fine-tuning": "metaft.learners.fine_tuning:FineTuning",
        "head-first": "metaft.learners.fine_tuning:head_first",
        "rotating": "metaft.learners.fine_tuning:rotating",
        "linearised": "metaft.learners.fine_tuning:linearised",
        "in-context": "metaft.learners.in_context:InContext",
    },
    supplied=("model", "kind", "workers", "seed", "outputs", "base", "texts", "answers"),
    doc="metaft.learners.fine_tuning:FineTuning",
)

META_TRAINED: Table[Any] = Table(
    "learner",
    "meta-trained learners",
    ChainMap(METRIC.rows, COMPOSITIONS.rows),  # type: ignore[arg-type]
    tuple(COMPOSITIONS.supplied),
    COMPOSITIONS.doc,
)

LEARNERS: Table[Any] = Table(
    "learner",
    "every way to use a support set",
    ChainMap(METRIC.rows, COMPOSITIONS.rows, FROZEN.rows),  # type: ignore[arg-type]
    tuple(FROZEN.supplied),
    META_TRAINED.doc,
)

TABLES: dict[str, Table[Any]] = {
    "learner": LEARNERS,
    "rule": RULES,
    "objective": OBJECTIVES,
    "estimator": ESTIMATORS,
    "addition": ADDITIONS,
    "calibration": CALIBRATIONS,
    "choice": CHOICES,
    "words": WORD_OBJECTIVES,
    "tuning": TUNING,
    "outer": OUTER,
    "callback": CALLBACKS,
    "head": HEADS,
    "model": MODELS,
    "backbone": BACKBONES,
}
"""Kind of part → its table."""
