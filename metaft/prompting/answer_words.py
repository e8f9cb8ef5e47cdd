"""What a language model would say first for each class of a task."""

from __future__ import annotations

from functools import lru_cache

from torch import Tensor

from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError
from metaft.prompting.continuations import numbers
from metaft.prompting.pattern import Pattern
from metaft.prompting.text_lookup import Texts
from metaft.prompting.verbalizer import Verbalizer, described, words_for


class AnswerWords:
    """The piece of the tokenizer that the word of a class begins with, where it stands behind a pattern.

    Of several words of a class the first stands for it, as in a demonstration of in-context learning; of a word of
    several pieces the first piece.

    Args:
        texts: finds the texts of tasks, which are written by the pattern (see ``metaft.assembly.own_words``).
        pattern: how they are written.
        words: class → words; a class that is not among them has its own name.
        tokenizer: of the language model; tasks hold its numbers.
    """

    def __init__(self, texts: Texts, pattern: Pattern, words: Verbalizer, tokenizer: Tokenizer) -> None:
        self.texts, self.pattern, self.words, self.tokenizer = texts, pattern, words, tokenizer
        self._piece = lru_cache(maxsize=None)(self._first_piece)

    def pieces(self, support_x: Tensor, support_y: Tensor) -> list[int]:
        """Of one task.

        Args:
            support_x: ``int64 [support, places]``, 0 for padding.
            support_y: ``int64 [support]``, padding labelled `IGNORE`.

        Returns:
            A number of the tokenizer for each class.

        Raises:
            MetaftError: if the words of two classes begin with one piece, or a word does not begin with a piece of its
                own behind the pattern.
        """
        names = [self.texts.called(name) for name in self.texts.classes(support_x, support_y)]
        said = [words[0] for words in words_for(names, self.words)]
        found = [self._piece(word) for word in said]
        for place, piece in enumerate(found):
            other = found.index(piece)
            if other != place:
                raise MetaftError(
                    f"classes {names[other]!r} and {names[place]!r}: their words {said[other]!r} and {said[place]!r} "
                    f"both begin with the piece {self.tokenizer.words[piece]!r}, by which they cannot be told apart; "
                    "give them other words, in [words] of a file of patterns"
                )
        return found

    def describe(self) -> dict[str, str]:
        """Its settings, flat."""
        return {"pattern": self.pattern.text, "words": described(self.words)}

    def _first_piece(self, word: str) -> int:
        prompt = self.pattern.prompt(("a", "a") if self.pattern.takes_pairs else "a")
        before, whole = numbers(self.tokenizer, [prompt, prompt + self.pattern.gap + word])
        if whole[: len(before)] != before or len(whole) == len(before):
            raise MetaftError(
                f"behind pattern {self.pattern.name or self.pattern.text!r} the word {word!r} does not begin with a "
                "piece of its own; give another word, or a pattern with a space before {answer}"
            )
        return whole[len(before)]
