"""Passages of a corpus, and what is asked of them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from metaft.data.texts import tokenizer
from metaft.errors import MetaftError
from metaft.language.causal import Causal
from metaft.language.corpus import TokenCorpus, tokenised
from metaft.language.masked import Masked, MaskedAndOrder
from metaft.language.passages import Passages, Words
from metaft.tasks.batch import IGNORE

LINES = [
    ["The lion sleeps tonight. It dreams of the sea!", "Nobody wakes a sleeping lion, do they?"],
    ["One word. " * 40, "Twenty unbelievable misunderstandings were unhappily rewritten. " * 12],
    ["Short."],
    ["A village of fishermen lies behind the hill. " * 30],
]


def corpus(kind: str = "wordpiece", size: int = 60) -> TokenCorpus:
    texts = [text for document in LINES for text in document]
    return tokenised(LINES, tokenizer.trained(texts, size if kind == "wordpiece" else 270, kind), "lines")


def words(own: TokenCorpus, document: int) -> list[int]:
    return own.ids[own.offsets[document] : own.offsets[document + 1]].tolist()


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_documents_are_packed_as_the_tokenizer_writes_them(kind: str) -> None:
    own = corpus(kind)
    for at, document in enumerate(LINES):
        plain = [i for text in document for i in own.tokenizer.encode([f"{text}\n"])[0].tolist()[1:-1]]
        assert words(own, at) == plain
    if kind == "bpe":  # nothing is lost
        assert own.tokenizer.decode(words(own, 0)) == "\n".join(LINES[0]) + "\n"


def test_sentences_end_with_their_mark_or_their_paragraph() -> None:
    own = corpus()
    said = [own.tokenizer.words[i] for i in words(own, 0)]
    ends = own.ends[own.offsets[0] : own.offsets[1]].tolist()
    assert [word for word, end in zip(said, ends, strict=True) if end] == [".", "!", "?"]


@pytest.mark.parametrize("length", [12, 40])
@pytest.mark.parametrize("objective", [Masked(), Masked(whole_words=True, share=0.3), MaskedAndOrder()])
def test_masked_words_are_a_share_and_the_rest_stands(objective: Masked, length: int) -> None:
    own = corpus()
    family = Passages(own, objective, length=length, seed=3)
    for index in range(4):
        batch = family.batch(index, 8)
        x, y = batch.query_x, batch.query_y
        asked = y != IGNORE
        plain = torch.where(asked, y, x)
        special = torch.isin(plain, own.tokenizer.specials)
        assert x.shape == (8, length)
        assert not bool((asked & special).any())
        counts = (~special).sum(1)
        if not objective.whole_words:
            assert torch.equal(asked.sum(1), (0.15 * counts).round().clamp(min=1).long())
        else:  # a word is asked for as a whole
            begins = ~own.tokenizer.continues[plain] | special | special.roll(1, 1)
            for row, first in zip(asked.tolist(), begins.tolist(), strict=True):
                assert all(row[i] == row[i - 1] for i in range(1, length) if not first[i])
        for row in plain.tolist():
            _is_of_a_document(own, row, objective.order)


def _is_of_a_document(own: TokenCorpus, row: list[int], order: bool) -> None:
    """``[CLS] words [SEP]`` with words that stand so in one document, or two parts of them in either order."""
    begin, end = own.tokenizer.number("[CLS]"), own.tokenizer.number("[SEP]")
    while row[-1] == 0:
        row = row[:-1]
    assert row[0] == begin
    assert row[-1] == end
    inner = row[1:-1]
    whole = [words(own, i) for i in range(len(LINES))]
    within = lambda part: any(part == one[i : i + len(part)] for one in whole for i in range(len(one)))
    if not order:
        assert within(inner)
        return
    assert inner.count(end) == 1
    at = inner.index(end)
    one, other = inner[:at], inner[at + 1 :]
    assert one
    assert other
    assert within(one + other) or within(other + one)


def test_swapped_segments_are_said_to_be() -> None:
    own = corpus()
    batch = Passages(own, MaskedAndOrder(), length=24, seed=1).batch(0, 64)
    plain = torch.where(batch.query_y != IGNORE, batch.query_y, batch.query_x)
    whole = [words(own, i) for i in range(len(LINES))]
    within = lambda part: any(part == one[i : i + len(part)] for one in whole for i in range(len(one)))
    seen = set()
    for row, swapped in zip(plain.tolist(), batch.order.tolist(), strict=True):
        one, other = _segments(own, row)
        assert within(other + one if swapped else one + other)
        seen.add(swapped)
    assert seen == {0, 1}


def _segments(own: TokenCorpus, row: list[int]) -> tuple[list[int], list[int]]:
    first, second = (place for place, number in enumerate(row) if number == own.tokenizer.number("[SEP]"))
    return row[1:first], row[first + 1 : second]


def test_segments_are_parted_where_a_sentence_ends() -> None:
    own = corpus()
    batch = Passages(own, MaskedAndOrder(), length=40, seed=1).batch(0, 32)
    plain = torch.where(batch.query_y != IGNORE, batch.query_y, batch.query_x)
    marks = {own.tokenizer.number(mark) for mark in ".!?"}
    for row, swapped in zip(plain.tolist(), batch.order.tolist(), strict=True):
        one, other = reversed(_segments(own, row)) if swapped else _segments(own, row)
        whole, size = [*one, *other], len(one) + len(other)
        middle = [place for place in range(1, size) if size / 4 <= place <= 3 * size / 4]
        assert one[-1] in marks or not any(whole[place - 1] in marks for place in middle)
        assert size / 4 - 1 <= len(one) <= 3 * size / 4


def test_torn_sentences_do_not_tell_the_order() -> None:
    own = tokenised([["One red lion. "] * 99], corpus().tokenizer, "lions")
    batch = Passages(own, MaskedAndOrder(), length=60, seed=1).batch(0, 16)
    plain = torch.where(batch.query_y != IGNORE, batch.query_y, batch.query_x)
    sentence = own.ids[: own.ends.tolist().index(True) + 1].tolist()
    for row in plain.tolist():
        for segment in _segments(own, row):
            assert segment == sentence * (len(segment) // len(sentence))


def test_of_the_chosen_eight_in_ten_are_hidden_and_one_is_another() -> None:
    own = corpus(size=200)
    family = Passages(own, Masked(share=0.5), length=64)
    batches = [family.batch(i, 32) for i in range(30)]
    x, y = (torch.cat([getattr(b, name) for b in batches]) for name in ("query_x", "query_y"))
    asked = y != IGNORE
    count = float(asked.sum())
    hidden = float((x[asked] == own.tokenizer.number("[MASK]")).sum()) / count
    same = float((x[asked] == y[asked]).sum()) / count
    deviation = (0.8 * 0.2 / count) ** 0.5
    assert abs(hidden - 0.8) < 5 * deviation
    assert abs(same - 0.1) < 5 * deviation + 1 / 60  # one in so many is drawn again


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_the_next_word_is_asked_for(kind: str) -> None:
    own = corpus(kind)
    begin, end = own.tokenizer.number("[CLS]"), own.tokenizer.number("[SEP]")
    whole = [[begin, *words(own, i), end] for i in range(len(LINES))]
    family = Passages(own, Causal(), length=16, seed=5)
    for index in range(5):
        batch = family.batch(index, 8)
        for x, y in zip(batch.query_x.tolist(), batch.query_y.tolist(), strict=True):
            size = sum(number != IGNORE for number in y)
            passage = [*x[:size], y[size - 1]]
            assert passage[1:] == y[:size]
            assert any(passage == one[i : i + len(passage)] for one in whole for i in range(len(one)))
            assert set(y[size:]) <= {IGNORE}
    batch = family.batch(0, 8 * len(family))  # in some epochs every document's beginning and end come
    first = [own.ids[own.offsets[i]] for i in range(len(LINES))]
    begun = batch.query_x[:, 0] == begin
    assert {*batch.query_y[begun, 0].tolist()} == {*map(int, first)}
    assert bool((batch.query_y == end).any())


def test_an_epoch_has_every_document_and_passages_are_pure_in_their_number() -> None:
    own = corpus()
    family = Passages(own, Causal(), length=16, seed=5)
    again = Passages(replace(own, name=f"elsewhere/{own.name}"), Causal(), length=16, seed=5)
    for index in (0, 3, 11):
        one, other = family.batch(index, 6), again.batch(index, 6)
        assert torch.equal(one.query_x, other.query_x)
        assert torch.equal(one.query_y, other.query_y)
    assert not torch.equal(family.batch(0, 6).query_x, family.batch(1, 6).query_x)
    count = len(family._spans)
    rows = family._spans[:, 2].unique()
    drawn = [family.batch(epoch, count) for epoch in range(2)]
    spans = torch.searchsorted(own.offsets, family._spans[:, 2].contiguous(), right=True) - 1
    for batch in drawn:
        assert batch.document is not None
        assert torch.equal(batch.document.sort().values, spans.sort().values)
        assert not torch.equal(batch.document, spans)
    starts = [{*map(tuple, batch.query_x[:, :4].tolist())} for batch in drawn]
    assert starts[0] != starts[1]  # passages begin somewhere else in each epoch
    assert count == sum(-(-int(n) // 15) for n in own.lengths if n > 1)
    assert len(rows) == int((own.lengths > 1).sum())


def test_a_joined_corpus_says_what_each_part_comes_to() -> None:
    class Knows:
        def scores(self, batch: object) -> dict[str, torch.Tensor]:
            assert isinstance(batch, Words)
            assert batch.document is not None
            one = torch.ones(batch.tasks)
            return {"loss": batch.document + one, "words": 2 * one, "right": one, "order": one * torch.nan}

    own = replace(corpus(), parts={"first": 2, "second": 2})
    more = Passages(own, Causal(), length=16).score(Knows(), 40, "cpu").more
    assert set(more) == {"words_right", "perplexity_first", "perplexity_second"}
    assert 1.6 < more["perplexity_first"] < 2.8 < more["perplexity_second"]  # e^0.5 to e, then e^2


def test_a_passage_that_is_too_short_to_ask_anything_is_refused() -> None:
    with pytest.raises(MetaftError, match="length must be a whole number of at least 7"):
        Passages(corpus(), MaskedAndOrder(), length=6)
    with pytest.raises(MetaftError, match="holds no words"):
        tokenised([[]], corpus().tokenizer, "nothing")


def test_bytes_are_put_together_the_same_way_in_every_process(tmp_path: Path) -> None:
    said = "from tests.language.test_passages import corpus; print(corpus('bpe').tokenizer.digest)"
    done = subprocess.run(
        [sys.executable, "-c", said], capture_output=True, text=True, check=True, env=_apart(tmp_path)
    )
    assert done.stdout == f"{corpus('bpe').tokenizer.digest}\n"


def _apart(cache: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONHASHSEED": "1", "METAFT_CACHE": str(cache)}
