"""An in-context learner: a transformer reads the support set and answers the queries, all in one forward pass."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaft.errors import MetaftError
from metaft.learners.heads.head import never, targets
from metaft.learners.metric.episodic import Comparison, EpisodicLearner, feature_width
from metaft.models.functional import BatchNormMode
from metaft.models.heads import head_name
from metaft.seeds import require_seed
from metaft.tasks.batch import IGNORE
from metaft.tasks.family import Kind

EXPANSION = 2
"""How much wider a block's feed-forward layer is than the block."""


class Block(nn.Module):
    """Attention, then a feed-forward layer, each on normalised tokens and added to them (pre-norm).

    Keys and values are the support tokens' alone: queries do not see each other, and the support does not see them.

    Args:
        width: of a token.
        heads: of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.value, self.out = (nn.Linear(width, width) for _ in range(3))
        self.key = nn.Linear(width, width, bias=False)  # a bias would add the same to all of a query's scores
        self.feed_forward = nn.Sequential(
            nn.Linear(width, EXPANSION * width), nn.GELU(), nn.Linear(EXPANSION * width, width)
        )

    def forward(self, tokens: Tensor, support: int, counted: Tensor | None) -> Tensor:
        """Mix tokens.

        Args:
            tokens: ``[batch, support + queries, width]``.
            support: how many are the support set's.
            counted: ``bool [batch, support]``, false for padding; all count if None.

        Returns:
            As many tokens.
        """
        seen = self.attention_norm(tokens)
        parts = self.query(seen), self.key(seen[:, :support]), self.value(seen[:, :support])
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mask = None if counted is None else counted[:, None, None, :]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        tokens = tokens + self.out(mixed.transpose(1, 2).flatten(2))
        out: Tensor = tokens + self.feed_forward(self.forward_norm(tokens))
        return out


class SupportSetTransformer(Comparison):
    """Support examples with their labels, and queries without, are tokens; nothing tells their positions.

    Args:
        features: width of a feature vector.
        values: how many numbers a regression answers with; None for classes.
        layers: blocks.
        width: of a token.
        heads: of the attention; must divide the width.
    """

    def __init__(self, features: int, values: int | None, layers: int, width: int, heads: int) -> None:
        super().__init__()
        self.shape = {"layers": layers, "token_width": width, "heads": heads}
        self.embed = nn.Linear(features, width)
        self.asked = nn.Parameter(0.1 * torch.randn(width))
        # Of classes a token says "this one" or "another one"; a value is embedded as it is.
        self.label = nn.Embedding(2, width) if values is None else nn.Linear(values, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.read = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, values or 1, bias=values is not None))

    def forward(self, support: Tensor, support_y: Tensor, queries: Tensor, outputs: int) -> Tensor:
        """As ``Comparison``; for classes, the same transformer answers "is it this one?" for each in turn."""
        seen, asked = self.embed(support), self.embed(queries) + self.asked
        if support_y.is_floating_point():
            return self._read(seen + self.label(support_y), asked, None)
        rows, present = targets(support_y, outputs)
        known = seen.unsqueeze(1) + self.label(rows.mT.long())  # [tasks, classes, support, width]
        counted = (support_y != IGNORE).repeat_interleave(outputs, 0)
        answers = self._read(known.flatten(0, 1), asked.repeat_interleave(outputs, 0), counted)
        return never(answers.unflatten(0, (-1, outputs)).squeeze(-1).mT, present)

    def _read(self, known: Tensor, asked: Tensor, counted: Tensor | None) -> Tensor:
        tokens, count = torch.cat([known, asked], dim=1), known.shape[1]
        for block in self.blocks:
            tokens = block(tokens, count, counted)
        read: Tensor = self.read(tokens[:, count:])
        return read

    def describe(self) -> dict[str, object]:
        """Its size."""
        return {**self.shape}


def in_context_transformer(
    model: nn.Module,
    *,
    layers: int = 2,
    token_width: int = 64,
    heads: int = 4,
    seed: int = 0,
    batch_norm: BatchNormMode = "running",
    kind: Kind = "classification",
) -> EpisodicLearner:
    """A transformer over features of the support set, with labels, and of the queries: it learns by reading.

    The way few-shot prompting works, as a learner: nothing is fitted to a task. For values it is the transformer
    neural process of Nguyen & Grover 2022 (§3.2, the diagonal one, without its predicted variance); for images it
    follows the in-context classifiers of Fifty et al. 2024 ("Context-aware meta-learning", §3) and Kirsch et al. 2022.

    Deviations: those give every class a code (learned, random or equiangular) and rely on training to make the answer
    independent of which class got which. Here the same transformer looks at a task once for every class, with labels
    reduced to "this class" and "another class", so that permuting the labels permutes the answers, exactly, and any
    number of ways can be told apart; tokens are as many times more, which small tasks do not feel. The network is
    trained along (Fifty et al. freeze a large pretrained one).

    Args:
        model: any module whose last block is a linear head, which is left out.
        layers: blocks of attention and feed-forward layer.
        token_width: how many numbers a token is.
        heads: of the attention; must divide the width.
        seed: of the transformer's initial weights; torch's global random state is left as it was.
        batch_norm: "running", "transductive" or "inductive" (see ``TaskFeatures``).
        kind: "classification" or "regression".

    Returns:
        The learner.

    Raises:
        MetaftError: for sizes that do not fit, or a network without a linear head.
    """
    if min(layers, token_width, heads) < 1 or token_width % heads:
        raise MetaftError(
            f"layers, token_width and heads must be 1 or more and heads must divide the width, "
            f"not layers={layers}, token_width={token_width}, heads={heads}"
        )
    values = model.get_submodule(head_name(model)).out_features if kind == "regression" else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(require_seed(seed))
        transformer = SupportSetTransformer(feature_width(model), values, layers, token_width, heads)  # type: ignore[arg-type]
    return EpisodicLearner("in-context-transformer", model, transformer, batch_norm, kind)
