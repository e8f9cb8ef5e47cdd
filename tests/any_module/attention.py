"""Attention: the function, the layer with all its options, and the transformers made of it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.any_module.case import Case, function, integers, layer

CAUSAL = torch.ones(3, 3, dtype=torch.bool).triu(1)


def padding(x: Tensor) -> Tensor:
    """A mask ``[examples, 3]`` that leaves a token or two of some examples out."""
    return torch.arange(3) >= (1 + torch.arange(len(x)) % 3).unsqueeze(1)


def attend(call, variant: str, random: str = "", **options) -> Case:
    """Self-attention of 3 tokens of 4 features by ``call(layer, x)``; examples come first where the options say so."""
    return layer(
        lambda: nn.MultiheadAttention(4, 2, **options),
        3,
        4,
        of="MultiheadAttention",
        variant=variant,
        call=call,
        batch_axis=0 if options.get("batch_first") else 1,
        random=random,
    )


def itself(**options):
    return lambda layer, x: layer(x, x, x, **options)


def with_weights(layer: nn.Module, x: Tensor, **options) -> Tensor:
    """Answers and weights side by side: gradients go through both."""
    out, weights = layer(x, x, x, **options)
    return torch.cat([out.flatten(1), weights.flatten(1)], dim=1)


def sdpa(variant: str, random: str = "", heads: int = 2, shared: int = 2, **options) -> Case:
    """``scaled_dot_product_attention`` with learned queries, keys and values."""

    def call(x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        split = lambda y, heads: y.unflatten(-1, (heads, -1)).transpose(1, 2)
        given = {n: o(x) if callable(o) else o for n, o in options.items()}
        return F.scaled_dot_product_attention(split(x @ q, heads), split(x @ k, shared), split(x @ v, shared), **given)

    of = "F.scaled_dot_product_attention"
    return function(
        of, call, 3, 4, variant=variant, q=(4, 2 * heads), k=(4, 2 * shared), v=(4, 2 * shared), random=random
    )


def encoder(variant: str, call=None, stack: int = 0, random: str = "", **options) -> Case:
    settings = {"dim_feedforward": 5, "dropout": 0.0, "batch_first": True} | options
    one = lambda: nn.TransformerEncoderLayer(4, 2, **settings)
    build = (lambda: nn.TransformerEncoder(one(), stack, norm=nn.LayerNorm(4))) if stack else one
    return layer(
        build,
        3,
        4,
        of="TransformerEncoder" if stack else "TransformerEncoderLayer",
        variant=variant,
        random=random,
        batch_axis=0 if settings["batch_first"] else 1,
        **({"call": call} if call else {}),
    )


def decoder(variant: str, call=None, stack: int = 0, **options) -> Case:
    settings = {"dim_feedforward": 5, "dropout": 0.0, "batch_first": True} | options
    one = lambda: nn.TransformerDecoderLayer(4, 2, **settings)
    build = (lambda: nn.TransformerDecoder(one(), stack, norm=nn.LayerNorm(4))) if stack else one
    both = lambda layer, x: layer(x[:, :3], x[:, 3:])
    return layer(
        build, 5, 4, of="TransformerDecoder" if stack else "TransformerDecoderLayer", variant=variant, call=call or both
    )


class Words(nn.Module):
    """Tokens, of which 0 is padding, embedded and encoded; the mean over words."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4, padding_idx=0)
        one = nn.TransformerEncoderLayer(4, 2, 5, dropout, activation="gelu", batch_first=True, norm_first=True)
        self.encoder, self.head = nn.TransformerEncoder(one, 2, enable_nested_tensor=False), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out = self.encoder(self.embed(x), src_key_padding_mask=x == 0)
        words = (x != 0).unsqueeze(-1).to(out.dtype)
        return self.head((out * words).sum(1) / words.sum(1))


def some_padding(examples: int, g: torch.Generator) -> Tensor:
    x = integers(1, 7, 4)(examples, g)
    return x.where(torch.arange(4) < 1 + torch.arange(examples).unsqueeze(1) % 4, 0)


def multi_head(x: Tensor, into: Tensor, bias: Tensor, out: Tensor) -> Tensor:
    return F.multi_head_attention_forward(
        x, x, x, 4, 2, into, bias, None, None, False, 0.0, out, None, training=True, need_weights=False
    )[0]


transformer = lambda: nn.Transformer(4, 2, 1, 1, 5, 0.0, batch_first=True)
two = lambda layer, x: layer(x[:, :3], x[:, 3:])

CASES: list[Case] = [
    attend(itself(need_weights=False), "", batch_first=True),
    attend(itself(need_weights=False), "batch second"),
    attend(with_weights, "with weights", batch_first=True),
    attend(lambda layer, x: with_weights(layer, x, average_attn_weights=False), "a weight a head", batch_first=True),
    attend(itself(need_weights=False, attn_mask=CAUSAL), "mask", batch_first=True),
    attend(itself(need_weights=False, attn_mask=CAUSAL, is_causal=True), "causal", batch_first=True),
    attend(lambda layer, x: with_weights(layer, x, attn_mask=CAUSAL), "mask, with weights", batch_first=True),
    attend(itself(need_weights=False, attn_mask=torch.eye(3, dtype=torch.float64)), "added mask", batch_first=True),
    attend(
        lambda layer, x: layer(x, x, x, key_padding_mask=padding(x), need_weights=False), "padding", batch_first=True
    ),
    attend(
        lambda layer, x: with_weights(layer, x, key_padding_mask=padding(x)), "padding, with weights", batch_first=True
    ),
    attend(
        lambda layer, x: layer(x, x, x, key_padding_mask=padding(x), attn_mask=CAUSAL, need_weights=False),
        "padding and mask",
        batch_first=True,
    ),
    attend(itself(need_weights=False), "no bias", bias=False, batch_first=True),
    attend(itself(need_weights=False), "bias on keys and values", add_bias_kv=True, batch_first=True),
    attend(itself(need_weights=False), "zero attention", add_zero_attn=True, batch_first=True),
    attend(
        lambda layer, x: layer(x, x[..., :3], x[..., 1:3], need_weights=False),
        "other widths of keys and values",
        kdim=3,
        vdim=2,
        batch_first=True,
    ),
    attend(lambda layer, x: layer(x[:, :2], x[:, 1:], x[:, 1:], need_weights=False), "across", batch_first=True),
    attend(itself(need_weights=False), "dropout", dropout=0.3, batch_first=True, random="training"),
    attend(with_weights, "dropout, with weights", dropout=0.3, batch_first=True, random="training"),
    sdpa(""),
    sdpa("causal", is_causal=True),
    sdpa("mask", attn_mask=~CAUSAL),
    sdpa("mask an example", attn_mask=lambda x: ~padding(x)[:, None, None, :]),
    sdpa("added mask", attn_mask=torch.eye(3, dtype=torch.float64)),
    sdpa("scale", scale=0.3),
    sdpa("grouped queries", enable_gqa=True, heads=4),
    sdpa("dropout", dropout_p=0.3, random="always"),
    function(
        "F.scaled_dot_product_attention", lambda x: F.scaled_dot_product_attention(x, x, x), 3, 4, variant="one head"
    ),
    function("F.multi_head_attention_forward", multi_head, 3, 4, batch_axis=1, into=(12, 4), bias=(12,), out=(4, 4)),
    encoder(""),
    encoder("norm first", norm_first=True),
    encoder("gelu", activation="gelu"),
    encoder("batch second", batch_first=False),
    encoder("no bias", bias=False),
    encoder("mask", lambda layer, x: layer(x, src_mask=CAUSAL)),
    encoder(
        "causal", lambda layer, x: layer(x, src_mask=nn.Transformer.generate_square_subsequent_mask(3), is_causal=True)
    ),
    encoder("padding", lambda layer, x: layer(x, src_key_padding_mask=padding(x))),
    encoder("dropout", dropout=0.3, random="training"),
    encoder("", stack=2),
    encoder("norm first, gelu", stack=2, norm_first=True, activation="gelu"),
    encoder("padding", lambda layer, x: layer(x, src_key_padding_mask=padding(x)), stack=2),
    encoder("dropout", stack=2, dropout=0.3, random="training"),
    decoder(""),
    decoder("norm first, gelu", norm_first=True, activation="gelu"),
    decoder("causal", lambda layer, x: layer(x[:, :3], x[:, 3:], tgt_mask=CAUSAL, tgt_is_causal=True)),
    decoder("", stack=2),
    layer(transformer, 5, 4, of="Transformer", call=two),
    layer(
        transformer,
        5,
        4,
        of="Transformer",
        variant="masks",
        call=lambda layer, x: layer(x[:, :2], x[:, 2:], tgt_mask=CAUSAL, tgt_key_padding_mask=padding(x) & False),
    ),
    Case("TransformerEncoder", Words, "on words with padding", x=some_padding),
    Case("TransformerEncoder", lambda: Words(0.2), "on words with padding, dropout", x=some_padding, random="training"),
]
