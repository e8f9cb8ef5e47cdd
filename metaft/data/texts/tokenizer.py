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
SPACE, LINE = "Ġ", "Ċ"
"""What a space and the end of a line are written as where words are bytes."""
SIGNS, SPACES = ("$", "#"), ("", "Ġ", "▁")
"""What marks the first and the second word of a relation; and how tokenizers write a space before a word."""
BOUNDS = (("[CLS]", "[SEP]"), ("<s>", "</s>"), ("<|im_start|>", "<|im_end|>"))
"""What a text begins and ends with, by tokenizers' habits."""
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

    @functools.cached_property
    def words(self) -> tuple[str, ...]:
        """What each number stands for, as the tokenizer writes it; empty where a number stands for nothing."""
        return tuple(self._own.id_to_token(number) or "" for number in range(self.vocabulary))

    @functools.cached_property
    def specials(self) -> Tensor:
        """``int64 [special words]``: the numbers that stand for no text, padding among them."""
        added = self._own.get_added_tokens_decoder().items()
        return torch.tensor(sorted({PADDING, *(number for number, word in added if word.special)}))

    @functools.cached_property
    def ordinary(self) -> Tensor:
        """``int64 [words]``: all other numbers that stand for something."""
        special = set(self.specials.tolist())
        return torch.tensor([n for n, word in enumerate(self.words) if word and n not in special])

    @functools.cached_property
    def continues(self) -> Tensor:
        """``bool [vocabulary]``: whether a piece goes on with the word before it."""
        of_bytes = any(word.startswith(SPACE) for word in self.words)
        goes_on = (lambda w: not w.startswith((SPACE, LINE))) if of_bytes else (lambda w: w.startswith("##"))
        return torch.tensor([goes_on(word) for word in self.words])

    def number(self, word: str) -> int:
        """The number of a word.

        Args:
            word: as the tokenizer writes it, such as ``[MASK]``.

        Raises:
            MetaftError: if it has none.
        """
        found = self.find(word)
        if found is None:
            raise MetaftError(f"tokenizer {self.name} has no word {word!r}; use wordpiece, bpe, or BERT's own")
        return found

    def bounds(self) -> tuple[int, int]:
        """The numbers of the words that a text begins and ends with.

        Raises:
            MetaftError: if it has none.
        """
        for words in BOUNDS:
            begin, end = map(self.find, words)
            if begin is not None and end is not None:
                return begin, end
        raise MetaftError(f"tokenizer {self.name} has no words that a text begins and ends with; use wordpiece or bpe")

    def pieces(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Texts as numbers, packed, without the special words around them.

        Args:
            texts: some texts.

        Returns:
            As `encode`.
        """
        return _packed([one.ids for one in self._own.encode_batch_fast(list(texts), add_special_tokens=False)])

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
        return *_packed(found), long

    def find(self, word: str) -> int | None:
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
            numbers = (self.find(space + sign) for space in SPACES)
            found.append(tuple(number for number in numbers if number is not None))
            if not found[-1]:
                raise MetaftError(f"tokenizer {self.name} has no word {sign!r}, so that it cannot mark words")
        return tuple(found)

    def decode(self, ids: Sequence[int]) -> str:
        """The text that numbers stand for; padding and special words are left out."""
        return str(self._own.decode([int(i) for i in ids if int(i) != PADDING]))


def _packed(found: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    lengths = np.fromiter((len(ids) for ids in found), np.int64, len(found))
    ids = np.fromiter(itertools.chain.from_iterable(found), np.int32, int(lengths.sum()))
    return torch.from_numpy(ids), torch.from_numpy(np.concatenate([[0], lengths.cumsum()]))


def trained(texts: Sequence[Text], size: int = PIECE, kind: str = "wordpiece") -> Tokenizer:
    """A tokenizer trained on texts; the same for the same texts.

    A text begins with ``[CLS]`` and ends with ``[SEP]``.

    Args:
        texts: to count words in.
        size: of the vocabulary, at most.
        kind: "wordpiece", pieces of words in lower case as BERT's (Schuster & Nakajima 2012); or "bpe", pairs of bytes
            put together, as GPT's (Radford et al. 2019, §2.2), which loses nothing.

    Returns:
        The tokenizer.

    Raises:
        MetaftError: if the size does not hold the special words, and all bytes.
    """
    train, least = TRAINED[kind]
    require_count(size, f"size of the vocabulary of {kind}", least)
    content = hashlib.sha256(json.dumps([size, list(texts)]).encode()).hexdigest()[:32]

    def build() -> Entry:
        parts = tuple(part for text in texts for part in parts_of(text))
        return Entry({"size": torch.tensor(size)}, (train(parts, size),))

    return Tokenizer(cache.cached(f"{kind}-{content}", build).names[0], f"{kind}:size={size}")


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


def _bytes(texts: Sequence[str], size: int) -> str:
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    made.post_processor = _between(made)
    return str(made.to_str())


def _between(made: tokenizers.Tokenizer) -> processors.TemplateProcessing:
    """``[CLS] text [SEP]``, or two texts one after the other."""
    ends = [(word, made.token_to_id(word)) for word in ("[CLS]", "[SEP]")]
    return processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )


def _pieces_of_words(texts: Sequence[str], size: int) -> str:
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
    plain.post_processor = _between(plain)
    return str(plain.to_str())


TRAINED = {"wordpiece": (_pieces_of_words, len(SPECIAL) + 1), "bpe": (_bytes, len(SPECIAL) + 256)}
"""Kind of a trained tokenizer → how it is trained, and the smallest vocabulary it can have."""


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
        ids, offsets, long = tokenizer.cut(texts.texts, most)
        return Entry({"ids": ids, "offsets": offsets, "cut": torch.tensor(long)}, ())

    held = cache.cached(f"tokens-{tokenizer.digest}-{content}", build).tensors
    if most is not None:
        _say_cut(int(held["cut"]), len(texts.texts), most)
    counts, meaning = torch.tensor(texts.counts), (tokenizer.vocabulary, tokenizer.digest)
    return LabelledTokens(
        held["ids"], held["offsets"], counts, texts.names, *meaning, texts.groups, texts.shared, tokenizer.text, most,
        texts.texts,
    )  # fmt: skip


def is_trained(text: str) -> bool:
    """Whether a tokenizer that is asked for is trained on texts, see `asked`."""
    return text.partition(":")[0] in TRAINED


KINDS = (*TRAINED, "hf", "stories260k", "file")


def asked(text: str, texts: Sequence[Text]) -> Tokenizer:
    """A tokenizer as it is asked for.

    Args:
        text: ``wordpiece``, ``bpe`` or ``wordpiece:size=8192``, trained on ``texts``; ``hf:NAME``, that of a
            pretrained model; or the path of a file or folder.
        texts: to train on.

    Returns:
        The tokenizer.

    Raises:
        MetaftError: if there is no such tokenizer.
    """
    kind, _, rest = text.partition(":")
    if kind in TRAINED:
        name, _, size = rest.partition("=")
        if rest and (name != "size" or not size.isdigit()):
            raise MetaftError(f"tokenizer {text!r}: expected {kind} or {kind}:size=4096")
        return trained(texts, int(size) if rest else PIECE, kind)
    if kind == "hf" or text == "stories260k":
        return of_model(rest or text)
    if Path(text).exists():
        return of_file(text)
    raise MetaftError(f"unknown tokenizer {text!r}{nearest(kind, KINDS)}; or the path of a tokenizer.json")
