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
from metaft.data.texts.labelled_texts import PADDING, LabelledTexts, LabelledTokens
from metaft.errors import MetaftError, first_line, nearest
from metaft.validate import require_count

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
FILE = "tokenizer.json"
PIECE = 4096
SIGNS, SPACES = ("$", "#"), ("", "Ġ", "▁")
"""What marks the first and the second word of a relation; and how tokenizers write a space before a word."""
PADS = ("pad", "padding", "endoftext")
"""What number 0 may be called; no text has such a word in it."""


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

    def encode(self, texts: Sequence[str], most: int | None = None) -> tuple[Tensor, Tensor]:
        """Texts as numbers, packed.

        Args:
            texts: some texts.
            most: how many words a text may have; what is longer is cut, the last word kept, and it is said how many
                those are. None for any number.

        Returns:
            ``int32 [words]``, and ``int64 [texts + 1]``, where each text begins and the last one ends.
        """
        found = [encoding.ids for encoding in self._own.encode_batch(list(texts))]
        if most is not None:
            long = sum(len(ids) > most for ids in found)
            found = [ids if len(ids) <= most else [*ids[: most - 1], ids[-1]] for ids in found]
            if long:
                say(f"{counted(long, 'text')} of {len(texts):,} cut to the {most} words that the model has places for")
        lengths = np.fromiter((len(ids) for ids in found), np.int64, len(found))
        ids = np.fromiter(itertools.chain.from_iterable(found), np.int32, int(lengths.sum()))
        return torch.from_numpy(ids), torch.from_numpy(np.concatenate([[0], lengths.cumsum()]))

    def number(self, word: str) -> int | None:
        """The number of a word; None if it has none."""
        found = self._own.token_to_id(word)
        return None if found is None else int(found)

    def signs(self) -> tuple[tuple[int, ...], ...]:
        """The numbers of the signs that mark words, ``$ … $`` and ``# … #``, alone and with a space before them.

        Raises:
            MetaftError: if it does not know one of them.
        """
        found = []
        for sign in SIGNS:
            numbers = (self.number(space + sign) for space in SPACES)
            found.append(tuple(number for number in numbers if number is not None))
            if not found[-1]:
                raise MetaftError(f"tokenizer {self.name} has no word {sign!r}, so that it cannot mark words")
        return tuple(found)

    def decode(self, ids: Sequence[int]) -> str:
        """The text that numbers stand for; padding and special words are left out."""
        return str(self._own.decode([int(i) for i in ids if int(i) != PADDING]))


def trained(texts: Sequence[str], size: int = PIECE) -> Tokenizer:
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
        return Entry({"size": torch.tensor(size)}, (_train(texts, size),))

    return Tokenizer(cache.cached(f"wordpiece-{content}", build).names[0], f"wordpiece:size={size}")


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
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise MetaftError(f"cannot read tokenizer {file}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise MetaftError(f"{file} is not a tokenizer: {first_line(error)}") from None
    return _checked(text, name or str(path), file)


def _checked(text: str, name: str, file: Path) -> Tokenizer:
    try:
        found = Tokenizer(text, name)
        word = found._own.id_to_token(PADDING)
    except Exception as error:
        raise MetaftError(f"{file} is not a tokenizer: {first_line(error)}") from None
    if str(word).strip("[]<>|").lower() not in PADS:
        raise MetaftError(f"{file}: number {PADDING} is {word!r}; here it stands for padding")
    return found


def of_model(path: str) -> Tokenizer:
    """The tokenizer of a pretrained model.

    Args:
        path: its name or folder, see `pretrained.folder_of`.

    Returns:
        The tokenizer.

    Raises:
        MetaftError: as `of_file`, and if there is no such model.
    """
    from metaft.models import gguf, stories
    from metaft.models.pretrained import STORIES, folder_of

    folder = folder_of(path)
    if path == STORIES:
        return _checked(stories.tokenizer_text(), path, folder)
    if not (folder / FILE).is_file() and (file := gguf.file_of(folder)) is not None:
        return _of_gguf(file, file.stat().st_mtime_ns, f"hf:{path}")
    return of_file(folder, f"hf:{path}")


@functools.lru_cache(maxsize=2)
def _of_gguf(file: Path, written: int, name: str) -> Tokenizer:
    from metaft.models import gguf

    return _checked(gguf.tokenizer_text(file), name, file)


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
        ids, offsets = tokenizer.encode(texts.texts, most)
        return Entry({"ids": ids, "offsets": offsets}, ())

    _KNOWN[tokenizer.digest] = tokenizer
    held = cache.cached(f"tokens-{tokenizer.digest}-{content}", build).tensors
    counts, meaning = torch.tensor(texts.counts), (tokenizer.vocabulary, tokenizer.digest)
    return LabelledTokens(held["ids"], held["offsets"], counts, texts.names, *meaning, texts.groups)


KINDS = ("wordpiece", "hf", "stories260k", "file")

_KNOWN: dict[str, Tokenizer] = {}


def known(digest: str) -> Tokenizer:
    """The tokenizer by which texts of this process were made numbers.

    Args:
        digest: `LabelledTokens.words` of those texts.

    Raises:
        MetaftError: if their numbers were not made here.
    """
    if digest not in _KNOWN:
        raise MetaftError(f"the tokenizer {digest} of these texts is not known, only the numbers of their words")
    return _KNOWN[digest]


def asked(text: str, texts: Sequence[str]) -> Tokenizer:
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
    if kind == "hf" or text == "stories260k":
        return of_model(rest or text)
    if Path(text).exists():
        return of_file(text)
    raise MetaftError(f"unknown tokenizer {text!r}{nearest(kind, KINDS)}; or the path of a tokenizer.json")
