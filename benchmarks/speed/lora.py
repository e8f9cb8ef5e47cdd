"""The rows of LoRA: MAML over LoRA and a head on a BERT of MiniLM's shape, beside peft's LoRA in a plain loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks.peers.entrants import cores
from benchmarks.speed.clock import Entrant
from benchmarks.speed.row import US, Prepared, Row, attempt
from metaft.additions import attach, freeze_base
from metaft.inner.rules import SGD
from metaft.learners.maml import MAML
from metaft.models.hugging_face import HuggingFace
from metaft.models.hugging_face_files import ATTENTION, library
from metaft.tasks.batch import TaskBatch

THEM = "peft in a loop"
SHAPE = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
VOCABULARY, RANK, STEPS, RATE = 4096, 4, 3, 0.1
WAYS, QUERIES, TASKS, PLACES = 5, 5, 4, 24
WORDS = (5, 17)
"""A text has so many words, or more, up to one fewer: 44% of the places, as of intents in MiniLM's words."""

Params = dict[str, Tensor]


def tasks(count: int = TASKS) -> TaskBatch:
    """5-way 1-shot, 5 queries a class, texts of random words, padded to 24."""
    draw = torch.Generator().manual_seed(0)

    def texts(examples: int) -> Tensor:
        ids = torch.randint(5, VOCABULARY, (TASKS, examples, PLACES), generator=draw)
        return ids * (torch.arange(PLACES) < torch.randint(*WORDS, (TASKS, examples, 1), generator=draw))

    support, query = texts(WAYS), texts(WAYS * QUERIES)
    labels = torch.arange(WAYS).expand(TASKS, WAYS)
    return TaskBatch(support, labels, query, labels.repeat(1, QUERIES))[:count]


def bert(attention: str) -> Any:
    """The network without dropout, its weights the same every time."""
    transformers = library()
    config = transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, pad_token_id=0, **SHAPE
    )
    config._attn_implementation = attention
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.BertModel(config, add_pooling_layer=False)


def ours() -> nn.Module:
    """The network with LoRA beside queries and values, the base frozen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = HuggingFace(bert(ATTENTION), WAYS, causal=False)
    return freeze_base(attach(network, f"lora:rank={RANK}", seed=0))


class Theirs(nn.Module):
    """The same with peft's LoRA; the mean over words, a linear head.

    Args:
        own: whose added weights and head it takes.
    """

    def __init__(self, own: nn.Module) -> None:
        super().__init__()
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["query", "value"], bias="none")
        self.model, self.head = get_peft_model(bert("eager"), config), nn.Linear(SHAPE["hidden_size"], WAYS)
        given = dict(own.named_parameters())
        with torch.no_grad():
            for name, p in self.named_parameters():
                if p.requires_grad:
                    p.copy_(given[as_ours(name)])

    def forward(self, ids: Tensor) -> Tensor:
        """``int64 [examples, places]`` → ``[examples, 5]``."""
        mask = (ids != 0).long()
        states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(states.dtype)
        return self.head((states * weights).sum(1) / weights.sum(1))


def as_ours(name: str) -> str:
    """What a parameter of theirs is called in our network."""
    name = name.replace("model.base_model.model.", "model.")
    return name.replace("lora_A.default.weight", "lora.A").replace("lora_B.default.weight", "lora.B")


def with_metaft(first_order: bool, double: bool = False) -> Callable[[], Params]:
    """As ``metaft meta-train``: uncompiled for texts, tasks divided among one worker a core."""
    estimator = "first-order" if first_order else "exact"
    learner = MAML(ours().to(torch.float64 if double else torch.float32), SGD(RATE), STEPS, estimator=estimator,
                   memory="graph", workers=cores())  # fmt: skip
    batch = tasks(2 if double else TASKS)
    return lambda: learner.meta_gradient(batch).grads


def with_peft(first_order: bool, double: bool = False) -> Callable[[], Params]:
    """Task by task with ``functional_call``, as peft has no inner loop."""
    model = Theirs(ours()).to(torch.float64 if double else torch.float32)
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    batch = tasks(2 if double else TASKS)
    loss = lambda params, x, y: F.cross_entropy(functional_call(model, params, (x,)), y)

    def compute() -> Params:
        total = [torch.zeros_like(p) for p in named.values()]
        for support_x, support_y, query_x, query_y in zip(*batch.tensors(), strict=True):
            params = dict(named)
            for _ in range(STEPS):
                grads = torch.autograd.grad(
                    loss(params, support_x, support_y), list(params.values()), create_graph=not first_order
                )
                params = {n: p - RATE * g for (n, p), g in zip(params.items(), grads, strict=True)}
                if first_order:
                    params = {n: p.detach().requires_grad_() for n, p in params.items()}
            wanted = params if first_order else named
            found = torch.autograd.grad(loss(params, query_x, query_y), list(wanted.values()))
            total = [t + g / batch.tasks for t, g in zip(total, found, strict=True)]
        return {as_ours(n): g for n, g in zip(named, total, strict=True)}

    return compute


MAKERS = {US: with_metaft, THEM: with_peft}


def difference(first_order: bool) -> float:
    """Relative difference of both gradients, float64."""
    mine, other = (make(first_order, double=True)() for make in MAKERS.values())
    apart = sum((mine[n] - other[n]).square().sum() for n in other)
    return float((apart / sum(g.square().sum() for g in other.values())).sqrt())


def preparing(first_order: bool) -> Callable[[str, bool], Prepared]:
    """The row's ``prepare``."""

    def prepare(name: str, quick: bool) -> Prepared:
        error = attempt(lambda: difference(first_order)) if name == THEM else 0.0
        made = attempt(lambda: MAKERS[name](first_order)) if not isinstance(error, str) else error
        if isinstance(made, str):
            return Prepared(None, made)
        agreement = error if isinstance(error, float) and name == THEM else None
        return Prepared(Entrant(made, threads=1 if name == US else None), None, agreement)

    return prepare


ROWS = {
    f"lora{'-first-order' if first else ''}": Row(
        f"LoRA of rank 4 and a head on a BERT of MiniLM's shape, 4 tasks, 5 queries, 3 steps"
        f"{', first-order' if first else ''}", "meta-gradient", (US, THEM), preparing(first), rivals=(THEM,),
        target=2.5, rate="product", first_order=first,
    )
    for first in (False, True)
}  # fmt: skip
