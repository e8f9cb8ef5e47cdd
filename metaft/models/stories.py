"""stories260k: a Llama of 260,032 parameters that writes children's stories, from a file of llama2.c."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from tokenizers import decoders, models, normalizers, processors
from torch import Tensor

from metaft.errors import MetaftError, nearest
from metaft.models.pretrained import STORIES, folder_of
from metaft.models.transformer import Transformer
from metaft.validate import number

WEIGHTS, WORDS = "stories260K.bin", "tok512.bin"
HEADER = ("width", "inner", "layers", "heads", "key_heads", "vocabulary", "places")
OF_VECTOR = ("features", "combine", "pool", "length")
BEGIN = 1
"""The number of the word that every text begins with."""
_BYTES = 3
"""The number of byte 0; the others follow."""


def load(outputs: int, *, weights: str = "pretrained", **options: Any) -> Transformer:
    """The network, our `Transformer` in the shape of a Llama, its matrix of words that of its embedding.

    Args:
        outputs: how many numbers its head, which is drawn at random, answers with.
        weights: "pretrained", or "random" for the same network drawn anew.
        options: ``features``, ``combine``, ``pool`` and ``length``: what a text's vector is, see `TextVector`.

    Returns:
        The network.

    Raises:
        MetaftError: if the file is absent or not of this form, or an option is unknown.
    """
    known = ("weights", *OF_VECTOR)
    for name in options:
        if name not in known:
            raise MetaftError(f"{STORIES} has no option {name!r}{nearest(name, known)}; known: {', '.join(known)}")
    if weights not in ("pretrained", "random"):
        raise MetaftError(f"{STORIES}: weights = {weights}: should be 'pretrained' or 'random'")
    shape, held = _read(folder_of(STORIES) / WEIGHTS)
    how: dict[str, Any] = {"shape": "llama", **shape, **options}
    if how.get("length") is not None:
        how["length"] = number(how["length"], f"the length of {STORIES}'s vectors")
    made = Transformer(outputs=outputs, **how)
    made.tokenizer = STORIES
    if weights == "pretrained":
        made.load_state_dict({**made.state_dict(), **held})
    return made


def _read(file: Path) -> tuple[dict[str, int], dict[str, Tensor]]:
    """The network's shape, and its weights by our names."""
    try:
        content = file.read_bytes()
        numbers = struct.unpack_from(f"<{len(HEADER)}i", content)
        whole = torch.from_numpy(np.frombuffer(content, "<f4", offset=4 * len(HEADER)).copy())
    except OSError as error:
        raise MetaftError(f"cannot read {file}: {error.strerror or error}") from None
    except (struct.error, ValueError) as error:
        raise MetaftError(f"{file} is no file of weights of llama2.c: {error}") from None
    shape = dict(zip(HEADER, numbers, strict=True))
    width, inner, layers, words = (shape[name] for name in ("width", "inner", "layers", "vocabulary"))
    if min(numbers) < 1 or width % shape["heads"]:  # a negative vocabulary says that words have a matrix of their own
        raise MetaftError(f"{file} is no file of weights of llama2.c that can be read here: its header is {numbers}")
    size = width // shape["heads"]
    keys = size * shape["key_heads"]
    order = {
        "embedding.words.weight": (words, width), "attention_norm.weight": (layers, width),
        "attention.query.weight": (layers, width, width), "attention.key.weight": (layers, keys, width),
        "attention.value.weight": (layers, keys, width), "attention.output.weight": (layers, width, width),
        "feed_forward_norm.weight": (layers, width), "feed_forward.gate.weight": (layers, inner, width),
        "feed_forward.down.weight": (layers, width, inner), "feed_forward.up.weight": (layers, inner, width),
        "norm.weight": (width,), "rotary tables": (2, shape["places"], size // 2),
    }  # fmt: skip
    sizes = [int(np.prod(form)) for form in order.values()]
    if sum(sizes) != len(whole):
        raise MetaftError(f"{file} holds {len(whole):,} numbers, and its header speaks of {sum(sizes):,}")
    held: dict[str, Tensor] = {}
    for (name, form), part in zip(order.items(), whole.split(sizes), strict=True):
        value = part.reshape(form)
        if name in ("embedding.words.weight", "norm.weight"):
            held[name] = value
        elif name != "rotary tables":
            for layer, own in enumerate(value):
                turns = name in ("attention.query.weight", "attention.key.weight")
                held[f"blocks.{layer}.{name}"] = _halved(own, size) if turns else own
    return shape, held


def _halved(weight: Tensor, size: int) -> Tensor:
    """Rows of a head in another order: llama2.c turns numbers 2i and 2i + 1 together, we turn i and i + size/2."""
    return weight.unflatten(0, (-1, size // 2, 2)).transpose(1, 2).flatten(0, 2)


def tokenizer_text() -> str:
    """The tokenizer, in the form of the library ``tokenizers``: pieces of words, and bytes where there is none.

    Of two neighbours those are joined first whose word has the best score, as in sentencepiece. Number 0, the unknown
    word, stands for padding: what is unknown is spelled in bytes.

    Returns:
        The tokenizer as JSON.

    Raises:
        MetaftError: if the file is absent or not of this form.
    """
    pieces = _pieces(folder_of(STORIES) / WORDS)
    words = ["<pad>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words += [piece.replace(" ", "▁") for piece, _ in pieces[len(words) :]]
    numbers = {word: number for number, word in enumerate(words)}
    scores = {word: score for word, (_, score) in zip(words, pieces, strict=True)}
    joined = [
        (-scores[word], word[:cut], word[cut:])
        for word in words[_BYTES + 256 :]
        for cut in range(1, len(word))
        if word[:cut] in numbers and word[cut:] in numbers
    ]
    merges = [(left, right) for _, left, right in sorted(joined, key=lambda pair: pair[0])]
    made = tokenizers.Tokenizer(models.BPE(numbers, merges, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.add_special_tokens(words[:_BYTES])
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A </s> $B:1", special_tokens=[("<s>", BEGIN), ("</s>", BEGIN + 1)]
    )
    return str(made.to_str())


def _pieces(file: Path) -> list[tuple[str, float]]:
    """The words of a file of llama2.c and their scores."""
    found, at = [], 4
    try:
        content = file.read_bytes()
        while at < len(content):
            score, length = struct.unpack_from("<fi", content, at)
            found.append((content[at + 8 : at + 8 + length].decode(), score))
            at += 8 + length
    except OSError as error:
        raise MetaftError(f"cannot read {file}: {error.strerror or error}") from None
    except (struct.error, UnicodeDecodeError) as error:
        raise MetaftError(f"{file} is no file of words of llama2.c: {error}") from None
    if len(found) < _BYTES + 256:
        raise MetaftError(f"{file} is no file of words of llama2.c: it holds {len(found)} words")
    return found
