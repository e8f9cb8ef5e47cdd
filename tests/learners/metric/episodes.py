"""Small tasks and learners that the tests of this folder share."""

import torch

from metaft.learners.metric import in_context_transformer, matching, matching_fce, protonet, r2d2
from metaft.models import MLP, Conv4
from metaft.tasks.batch import IGNORE, TaskBatch

SIZE = 16
METHODS = {
    "protonet": (protonet, {}),
    "protonet-cosine": (protonet, {"distance": "cosine"}),
    "matching": (matching, {}),
    "matching-scaled": (matching, {"learned_scale": True}),
    "matching-fce": (matching_fce, {"reads": 2}),
    "r2d2": (r2d2, {}),
    "r2d2-mean": (r2d2, {"fit": "mean", "regularisation": 0.1}),
    "r2d2-fixed": (r2d2, {"fit": "mean", "regularisation": 0.1, "fixed_regularisation": True}),
    "in-context-transformer": (in_context_transformer, {"token_width": 16}),
}


def network(dtype=torch.float64):
    torch.manual_seed(0)
    return Conv4(1, SIZE, 3, hidden=6).to(dtype)


def make(name, **options):
    method, own = METHODS[name]
    return method(network(), **{**own, **options})


def mlp():
    torch.manual_seed(0)
    return MLP(1, 1, std=0.5).double()


def tasks(count=4, ways=3, shots=2, queries=3, seed=1):
    rng = torch.Generator().manual_seed(seed)
    kinds = torch.rand(count, 1, ways, 1, SIZE, SIZE, generator=rng, dtype=torch.float64)
    noise = torch.rand(count, shots + queries, ways, 1, SIZE, SIZE, generator=rng, dtype=torch.float64)
    images = (kinds + 0.5 * noise).view(count, -1, 1, SIZE, SIZE)
    labels = torch.arange(ways).repeat(count, shots + queries)
    cut = ways * shots
    return TaskBatch(images[:, :cut], labels[:, :cut], images[:, cut:], labels[:, cut:])


def ragged():
    """Tasks of which the first has one way less, and the second one shot less."""
    parts = [t.clone() for t in tasks().tensors()]
    for x, y in ((parts[0], parts[1]), (parts[2], parts[3])):
        x[0, y[0] == 2] = 0
        y[0, y[0] == 2] = IGNORE
    parts[0][1, -3:], parts[1][1, -3:] = 0, IGNORE
    return TaskBatch(*parts)


def features(support=6, queries=5, width=4, ways=3, seed=0, count=2):
    """Features, labels and queries without any network."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(count, support, width, generator=rng, dtype=torch.float64)
    y = torch.arange(ways).repeat(count, support // ways)
    return x, y, torch.randn(count, queries, width, generator=rng, dtype=torch.float64)
