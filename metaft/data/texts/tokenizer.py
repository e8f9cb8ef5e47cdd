"""From texts to numbers of words: a tokenizer trained on texts, or the one of a pretrained model."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tokenizers
import torch
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor

from metaft.data import cache
from metaft.data.cache import Entry
from metaft.data.notes import counted, say
from metaft.data.texts.labelled_texts import PADDING, LabelledTexts, LabelledTokens, Text, parts_of
from metaft.errors import MetaftError, first_line, nearest
from metaft.validate import require_count

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
FILE = "tokenizer.json"
PIECE = 4096


@dataclass(frozen=True)
class Tokenizer:
    """Numbers for words, by the library ``tokenizers``.

    Args:
        text: the tokenizer as JSON, in that library's form.
        name: what it was asked for as.
    """

    text: str = field(repr=False)
    name: str

    @functools.cached_property
    def _own(self) -> tokenizers.Tokenizer:
        made = tokenizers.Tokenizer.from_str(self.text)
        made.no_padding()
        made.no_truncation()
        return made

    @property
    def vocabulary(self) -> int:
        """Numbers are below this."""
        return int(self._own.get_vocab_size())

    @functools.cached_property
    def digest(self) -> str:
        """A short digest of the tokenizer, 16 hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    def encode(self, texts: Sequence[Text], most: int | None = None) -> tuple[Tensor, Tensor]:
        """Texts as numbers, packed.

        Args:
            texts: some texts, or pairs of texts.
            most: how many words a text may have; what is longer is cut, the last word kept, and it is said how many
                those are. Of a pair the longer is cut first. None for any number.

        Returns:
            ``int32 [words]``, and ``int64 [texts + 1]``, where each text begins and the last one ends.
        """
        ids, offsets, long = self.cut(texts, most)
        _say_cut(long, len(texts), most)
        return ids, offsets

    def cut(self, texts: Sequence[Text], most: int | None) -> tuple[Tensor, Tensor, int]:
        """As `encode`, and how many texts were cut, which is not said."""
        encodings = self._own.encode_batch(list(texts))
        found = [encoding.ids for encoding in encodings]
        long = 0
        if most is not None:
            long = sum(len(ids) > most for ids in found)
            found = [encoding.ids if len(encoding) <= most else _cut(encoding, most) for encoding in encodings]
        lengths = np.fromiter((len(ids) for ids in found), np.int64, len(found))
        ids = np.fromiter(itertools.chain.from_iterable(found), np.int32, int(lengths.sum()))
        return torch.from_numpy(ids), torch.from_numpy(np.concatenate([[0], lengths.cumsum()])), long

    def decode(self, ids: Sequence[int]) -> str:
        """The text that numbers stand for; padding and special words are left out."""
        return str(self._own.decode([int(i) for i in ids if int(i) != PADDING]))


def trained(texts: Sequence[Text], size: int = PIECE) -> Tokenizer:
    """A WordPiece tokenizer trained on texts (Schuster & Nakajima 2012), lower case, as BERT's.

    Args:
        texts: to count words in.
        size: of the vocabulary, at most.

    Returns:
        The tokenizer; the same for the same texts. A text begins with ``[CLS]`` and ends with ``[SEP]``.

    Raises:
        MetaftError: if the size does not hold the special words.
    """
    require_count(size, "size of the vocabulary", len(SPECIAL) + 1)
    content = hashlib.sha256(json.dumps([size, list(texts)]).encode()).hexdigest()[:32]

    def build() -> Entry:
        parts = tuple(part for text in texts for part in parts_of(text))
        return Entry({"size": torch.tensor(size)}, (_train(parts, size),))

    return Tokenizer(cache.cached(f"wordpiece-{content}", build).names[0], f"wordpiece:size={size}")


def _say_cut(long: int, texts: int, most: int | None) -> None:
    if long:
        say(f"{counted(long, 'text')} of {texts:,} cut to the {most} words that one may have")


def _cut(encoding: tokenizers.Encoding, most: int) -> list[int]:
    """The first words of a text and the last; of a pair the first of both, the longer cut first, and special ones."""
    ids, whose = encoding.ids, encoding.sequence_ids
    first, second = whose.count(0), whose.count(1)
    room = most - (len(ids) - first - second)
    if not second or room < 2:
        return [*ids[: most - 1], ids[-1]]
    kept = min(first, max(room - second, (room + 1) // 2))
    left = {0: kept, 1: room - kept}
    cut = []
    for number, sequence in zip(ids, whose, strict=True):
        if sequence is not None:
            left[sequence] -= 1
        if sequence is None or left[sequence] >= 0:
            cut.append(number)
    return cut


def _train(texts: Sequence[str], size: int) -> str:
    made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # The library numbers the pieces within words in the order of a hash table, and breaks ties by number: named
    # beforehand, they have the same numbers every time.
    characters = sorted({c for text in texts for c in made.normalizer.normalize_str(text) if not c.isspace()})
    known = [*SPECIAL, *(f"##{c}" for c in characters)]
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=known, show_progress=False)
    made.train_from_iterator(texts, trainer)
    # Those that were named are special words to it; in another of the same vocabulary they are pieces.
    plain = tokenizers.Tokenizer(models.WordPiece(made.get_vocab(), unk_token="[UNK]"))
    plain.normalizer, plain.pre_tokenizer, plain.decoder = made.normalizer, made.pre_tokenizer, decoders.WordPiece()
    plain.add_special_tokens(list(SPECIAL))
    ends = [(word, plain.token_to_id(word)) for word in ("[CLS]", "[SEP]")]
    plain.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return str(plain.to_str())


def of_file(path: str | Path, name: str = "") -> Tokenizer:
    """A tokenizer from a file ``tokenizer.json``, or the folder that holds one.

    Args:
        path: of either.
        name: what it was asked for as; the path if nothing is given.

    Returns:
        The tokenizer.

    Raises:
        MetaftError: if there is none, it cannot be read, or its number 0 is not padding.
    """
    file = Path(path) / FILE if Path(path).is_dir() else Path(path)
    try:
        found = Tokenizer(file.read_text(encoding="utf-8"), name or str(path))
        word = found._own.id_to_token(PADDING)
    except OSError as error:
        raise MetaftError(f"cannot read tokenizer {file}: {error.strerror or error}") from None
    except Exception as error:
        raise MetaftError(f"{file} is not a tokenizer: {first_line(error)}") from None
    if str(word).strip("[]<>|").lower() not in ("pad", "padding"):
        raise MetaftError(f"{file}: number {PADDING} is {word!r}; here it stands for padding")
    return found


def tokenised(texts: LabelledTexts, tokenizer: Tokenizer, most: int | None = None) -> LabelledTokens:
    """Texts as numbers of words, made once and kept in the cache.

    Args:
        texts: of one split.
        tokenizer: gives the numbers.
        most: how many words a text may have; None for any number.

    Returns:
        The same texts, classes and groups.
    """
    content = hashlib.sha256(json.dumps([texts.texts, most]).encode()).hexdigest()[:32]

    def build() -> Entry:
        ids, offsets, long = tokenizer.cut(texts.texts, most)
        return Entry({"ids": ids, "offsets": offsets, "cut": torch.tensor(long)}, ())

    held = cache.cached(f"tokens-{tokenizer.digest}-{content}", build).tensors
    if most is not None:
        _say_cut(int(held["cut"]), len(texts.texts), most)
    counts, meaning = torch.tensor(texts.counts), (tokenizer.vocabulary, tokenizer.digest)
    return LabelledTokens(held["ids"], held["offsets"], counts, texts.names, *meaning, texts.groups, texts.shared)


KINDS = ("wordpiece", "hf", "file")


def asked(text: str, texts: Sequence[Text]) -> Tokenizer:
    """A tokenizer as it is asked for.

    Args:
        text: ``wordpiece`` or ``wordpiece:size=8192``, trained on ``texts``; ``hf:NAME``, that of a pretrained model;
            or the path of a file or folder.
        texts: to train on.

    Returns:
        The tokenizer.

    Raises:
        MetaftError: if there is no such tokenizer.
    """
    kind, _, rest = text.partition(":")
    if kind == "wordpiece":
        name, _, size = rest.partition("=")
        if rest and (name != "size" or not size.isdigit()):
            raise MetaftError(f"tokenizer {text!r}: expected wordpiece or wordpiece:size=4096")
        return trained(texts, int(size) if rest else PIECE)
    if kind == "hf":
        from metaft.models.pretrained import folder_of

        return of_file(folder_of(rest), text)
    if Path(text).exists():
        return of_file(text)
    raise MetaftError(f"unknown tokenizer {text!r}{nearest(kind, KINDS)}; or the path of a tokenizer.json")
