"""The row of in-context learning: queries a second behind 16 demonstrations, beside Hugging Face's plain loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.clock import Entrant
from benchmarks.speed.row import US, Prepared, Row, attempt
from metaft.models.hugging_face import HuggingFace
from metaft.models.hugging_face_files import ATTENTION, library
from metaft.prompting.log_probability import Ids, log_probabilities

THEM = "Hugging Face"
SHAPE = {"hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
         "intermediate_size": 1536}  # fmt: skip
VOCABULARY, DEMONSTRATIONS, WORDS, QUERIES, ANSWERS = 49_152, 16, 30, 24, 2
SMALL = {**SHAPE, "num_hidden_layers": 2}


def prompts(queries: int = QUERIES) -> tuple[Ids, list[Ids], list[Ids]]:
    """Demonstrations, queries of 20 to 40 words, and answers of one word each, all of random words."""
    draw = torch.Generator().manual_seed(0)
    some = lambda count: tuple(torch.randint(5, VOCABULARY, (count,), generator=draw).tolist())
    asked = [some(20 + i % 21) for i in range(queries)]
    return some(DEMONSTRATIONS * WORDS), asked, [some(1) for _ in range(ANSWERS)]


def llama(small: bool, attention: str) -> Any:
    """A network of SmolLM2-135M's shape with its scores of words, its weights the same every time."""
    transformers = library()
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, tie_word_embeddings=True, pad_token_id=0, max_position_embeddings=2048,
        **(SMALL if small else SHAPE),
    )  # fmt: skip
    config._attn_implementation = attention
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.LlamaForCausalLM(config).eval()


def with_metaft(
    small: bool = False, queries: int = QUERIES, dtype: torch.dtype = torch.float32
) -> Callable[[], Tensor]:
    """What all queries share is read once."""
    model = HuggingFace(llama(small, ATTENTION).model, 1, causal=True).to(dtype).eval()
    shared, asked, answers = prompts(queries)
    pairs = [(shared + query, answer) for query in asked for answer in answers]
    return lambda: log_probabilities(model, pairs).reshape(queries, ANSWERS)


def with_hugging_face(
    small: bool = False, queries: int = QUERIES, dtype: torch.dtype = torch.float32
) -> Callable[[], Tensor]:
    """One pass a query over its whole prompt, with fused attention; scores of words at its last place alone."""
    model = llama(small, "sdpa").to(dtype)
    shared, asked, answers = prompts(queries)
    words = torch.tensor([answer[0] for answer in answers])

    @torch.no_grad()
    def compute() -> Tensor:
        found = [model(torch.tensor([shared + query]), logits_to_keep=1).logits[0, -1] for query in asked]
        return torch.stack(found).log_softmax(-1)[:, words].double()

    return compute


MAKERS = {US: with_metaft, THEM: with_hugging_face}
TIMED = {US: QUERIES, THEM: 2}
"""Queries of one call: the loop's time is the same for each."""


def difference() -> float:
    """The largest relative difference of log-probabilities, two layers, four queries, float64."""
    mine, other = (make(small=True, queries=4, dtype=torch.float64)() for make in MAKERS.values())
    return float((mine - other).abs().max() / other.abs().max())


def prepare(name: str, quick: bool) -> Prepared:
    """The row's entrants."""
    error = attempt(difference) if name == THEM else 0.0
    made = attempt(lambda: MAKERS[name](small=quick, queries=TIMED[name])) if not isinstance(error, str) else error
    if isinstance(made, str):
        return Prepared(None, made)
    agreement = error if isinstance(error, float) and name == THEM else None
    return Prepared(Entrant(made, units=TIMED[name]), None, agreement)


ROWS = {
    "in-context": Row(
        "In context: 16 demonstrations of 30 words, two answers, SmolLM2-135M's shape, 24 queries", "query",
        (US, THEM), prepare, rivals=(THEM,), target=8, rate="product",
    )
}  # fmt: skip
