"""Activations: every class and function that works element by element, or along one axis."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.any_module.case import Case, function, layers

PLAIN = [
    "CELU",
    "ELU",
    "GELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "Mish",
    "PReLU",
    "ReLU",
    "ReLU6",
    "SELU",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Identity",
]
FUNCTIONS = [
    "celu",
    "elu",
    "gelu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "logsigmoid",
    "mish",
    "relu",
    "relu6",
    "selu",
    "silu",
    "sigmoid",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "celu_",
    "elu_",
    "hardtanh_",
    "leaky_relu_",
    "relu_",
    "selu_",
]

CASES: list[Case] = [
    *(layers(name, 6, scale=1.5)("") for name in PLAIN),
    layers("CELU", 6)("alpha 0.5", alpha=0.5),
    layers("ELU", 6)("in place", alpha=0.7, inplace=True),
    layers("GELU", 6)("tanh", approximate="tanh"),
    layers("ReLU", 6)("in place", inplace=True),
    layers("SiLU", 6)("in place", inplace=True),
    layers("Mish", 6)("in place", inplace=True),
    layers("Hardswish", 6)("in place", inplace=True),
    layers("LeakyReLU", 6)("slope 0.3, in place", 0.3, inplace=True),
    layers("Softplus", 6)("beta 2, threshold 1", beta=2, threshold=1),
    layers("PReLU", 4, 3)("a slope a channel", 4),
    layers("Threshold", 6)("", 0.1, 0.3),
    layers("Threshold", 6)("in place", 0.1, 0.3, inplace=True),
    layers("GLU", 6)(""),
    layers("GLU", 4, 3)("over channels", dim=1),
    *(layers(name, 6)("", dim=-1) for name in ("Softmax", "LogSoftmax", "Softmin")),
    layers("Softmax", 4, 3)("over channels", dim=1),
    layers("Softmax2d", 3, 2, 2)(""),
    layers("RReLU", 6, random="training")(""),
    layers("RReLU", 6, random="training")("in place", inplace=True),
    *(function(f"F.{name}", getattr(F, name), 6, scale=1.5) for name in FUNCTIONS),
    function("F.threshold", lambda x: F.threshold(x, 0.1, 0.3), 6),
    function("F.threshold_", lambda x: F.threshold_(x, 0.1, 0.3), 6),
    function("F.glu", F.glu, 6),
    function("F.prelu", F.prelu, 6, weight=(1,)),
    *(
        function(f"F.{name}", lambda x, name=name: getattr(F, name)(x, dim=-1), 6)
        for name in ("softmax", "log_softmax", "softmin")
    ),
    function("F.rrelu", lambda x: F.rrelu(x, training=True), 6, random="always"),
    function("F.rrelu", lambda x: F.rrelu(x), 6, variant="not in training"),
    function("F.rrelu_", lambda x: F.rrelu_(x, training=True), 6, random="always"),
    function("F.gumbel_softmax", lambda x: F.gumbel_softmax(x, tau=0.8), 6, random="always"),
    function(
        "F.gumbel_softmax", lambda x: F.gumbel_softmax(x, hard=True), 6, variant="hard", random="always", held=True
    ),
    function("F.normalize", F.normalize, 6),
    function("F.normalize", lambda x: F.normalize(x, p=3, dim=1), 4, 3, variant="p 3, over channels"),
    function("F.cosine_similarity", lambda x: F.cosine_similarity(x[:, 0], x[:, 1], dim=1), 2, 4, 3),
    function("F.pairwise_distance", lambda x: F.pairwise_distance(x[:, 0], x[:, 1]).unsqueeze(1), 2, 4),
    function(
        "F.pairwise_distance", lambda x: F.pairwise_distance(x[:, 0], x[:, 1], 1.5).unsqueeze(1), 2, 4, variant="p 1.5"
    ),
    function("F.pdist", lambda x: x + F.pdist(x).sum() / 10, 4),
    function("F.pdist", lambda x: x + F.pdist(x, p=1).square().sum() / 100, 4, variant="p 1"),
    layers("CosineSimilarity", 2, 4, 3, call=lambda layer, x: layer(x[:, 0], x[:, 1]))("", dim=1),
    layers("PairwiseDistance", 2, 4, call=lambda layer, x: layer(x[:, 0], x[:, 1]).unsqueeze(1))(""),
    layers("PairwiseDistance", 2, 4, call=lambda layer, x: layer(x[:, 0], x[:, 1]))("p 1", p=1.0, keepdim=True),
    layers("PairwiseDistance", 2, 4, call=lambda layer, x: layer(x[:, 0], x[:, 1]))("p ∞", p=torch.inf, keepdim=True),
]
