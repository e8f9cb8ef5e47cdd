"""A head that begins as a language model's own scores of the words of each task's classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from metaft.errors import MetaftError
from metaft.inner.rules import Params
from metaft.models.text_vector import TextVector
from metaft.models.words import require_goes_on
from metaft.prompting.answer_words import AnswerWords
from metaft.tasks.batch import IGNORE

PLACE = ("last", None)
"""Which place a text's vector is taken at, and to which length it is scaled, where it is what words are scored by."""


class WordStart:
    """w_c is the output vector of the word of class c, and b_c = 0.

    Before the first step a class scores as its word does behind the pattern: s(c|x) = M(v(c) | P(x)) (PET: Schick &
    Schütze 2021, "Exploiting cloze questions for few-shot text classification and natural language inference", §3.1;
    LM-BFF: Gao, Fisch & Chen 2021, "Making pre-trained language models better few-shot learners", eq. 1).

    Deviations: the answer's place is the next one of a causal model, not a mask; the rows are copies, which move by
    themselves if the head adapts, where the papers' stay the words' embeddings; no loss of language modelling beside.

    Args:
        model: a causal network that says words; its features are the last layer's at the last place.
        answers: the words of classes.

    Raises:
        MetaftError: if the network says no words, its features are others, or no words are given.
    """

    def __init__(self, model: nn.Module, answers: AnswerWords | None) -> None:
        require_goes_on(model, "head 'words'")
        vector: Any = getattr(model, "vector", None)
        if not isinstance(vector, TextVector) or vector.features not in ("last", "-1") or (
            (vector.pool, vector.length) != PLACE
        ):  # fmt: skip
            raise MetaftError(
                "head 'words' scores the last layer's state at the last place, and this network's features are others; "
                "leave features, pool and length out"
            )
        if answers is None:
            raise MetaftError(
                "head 'words' begins as the scores of the classes' words behind a pattern, and there is none; give "
                "one, such as pattern=review, and a pretrained backbone (in Python, "
                "answers=metaft.prompting.AnswerWords(…))"
            )
        self.model, self.answers = model, answers

    @torch.no_grad()
    def of_tasks(self, head: Params, x: Tensor, y: Tensor) -> Params:
        """The heads of some tasks.

        Args:
            head: a head's parameters, ``weight [ways, width]`` and perhaps ``bias [ways]``, by name.
            x: ``int64 [tasks, support, places]``, 0 for padding, written by the pattern.
            y: ``int64 [tasks, support]``, ``IGNORE`` for padding.

        Returns:
            Theirs, ``[tasks, ways, width]`` and ``[tasks, ways]``; 0 for classes that a task does not have.

        Raises:
            MetaftError: as `AnswerWords.pieces`.
        """
        model: Any = self.model
        found = {name: value.new_zeros(len(x), *value.shape) for name, value in head.items()}
        (rows,) = (value for name, value in found.items() if name.rpartition(".")[2] == "weight")
        for own, task_x, task_y in zip(rows, x, y, strict=True):
            counted = task_y != IGNORE
            pieces = self.answers.pieces(task_x[counted], task_y[counted])
            own[: len(pieces)] = model.word_vectors(torch.tensor(pieces, device=x.device))
        return found
