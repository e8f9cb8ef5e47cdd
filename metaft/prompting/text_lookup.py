"""From the numbers of a task back to its texts, and to what its classes are called."""

from __future__ import annotations

import itertools
from typing import Any, Protocol

import torch
from torch import Tensor

from metaft.data.texts.labelled_texts import PADDING, LabelledTokens, Text
from metaft.errors import MetaftError
from metaft.tasks.batch import IGNORE


class Texts(Protocol):
    """What writes texts needs to know of tasks, which hold numbers; see `TextLookup`."""

    @property
    def dataset(self) -> str:
        """What the data set is called; empty where there is none."""

    @property
    def pairs(self) -> bool:
        """Whether its texts are pairs."""

    def texts(self, ids: Tensor) -> list[Text]:
        """The texts themselves."""

    def classes(self, ids: Tensor, labels: Tensor) -> list[str]:
        """What the labels of a task are called."""

    def called(self, name: str) -> str:
        """A class as a prompt writes it."""


class TextLookup:
    """Texts and classes of a data set by the numbers of their words.

    Args:
        tokens: the data set; texts that are the same numbers are one text, the first of them.
        dataset: what it is called.

    Raises:
        MetaftError: if it does not know its texts.
    """

    def __init__(self, tokens: LabelledTokens, dataset: str = "") -> None:
        if len(tokens.texts) != len(tokens):
            raise MetaftError("these texts are known as numbers alone; use a data set of texts, such as intents")
        self.tokens, self.dataset = tokens, dataset
        self._rows: dict[bytes, list[int]] | None = None
        self._class = torch.repeat_interleave(torch.arange(len(tokens.counts)), tokens.counts).tolist()

    @classmethod
    def of(cls, family: Any) -> TextLookup:
        """That of a family of tasks.

        Args:
            family: draws tasks of texts.

        Raises:
            MetaftError: if it draws others.
        """
        tokens = getattr(family, "images", None)
        if not isinstance(tokens, LabelledTokens):
            raise MetaftError("these tasks have no texts; use a data set such as intents")
        return cls(tokens, str(getattr(family, "dataset", "")))

    @property
    def names(self) -> tuple[str, ...]:
        """Of all classes."""
        return self.tokens.names

    @property
    def pairs(self) -> bool:
        """Whether its texts are pairs."""
        return isinstance(self.tokens.texts[0], tuple)

    def called(self, name: str) -> str:
        """A class without the group before its name: ``banking/pin_change`` is ``pin_change``."""
        group, slash, rest = name.partition("/")
        return rest if slash and group in self.tokens.groups else name

    def rows(self, ids: Tensor) -> list[list[int]]:
        """Where texts stand in the data set.

        Args:
            ids: ``int64 [texts, places]``, 0 for padding.

        Returns:
            Of each text all places, the first first.

        Raises:
            MetaftError: if a text is not in it.
        """
        if self._rows is None:
            ends = self.tokens.offsets.tolist()
            words = self.tokens.ids.to(torch.int64).numpy()
            self._rows = {}
            for row, (begin, end) in enumerate(itertools.pairwise(ends)):
                self._rows.setdefault(words[begin:end].tobytes(), []).append(row)
        found = []
        for text in ids.to("cpu", torch.int64):
            key = text[text != PADDING].numpy().tobytes()
            if key not in self._rows:
                raise MetaftError(
                    f"a text of a task is none of the {len(self.tokens):,} of {self.dataset or 'its data set'}; "
                    "its words cannot be written into a prompt"
                )
            found.append(self._rows[key])
        return found

    def texts(self, ids: Tensor) -> list[Text]:
        """The texts themselves, ``int64 [texts, places]`` → texts."""
        return [self.tokens.texts[rows[0]] for rows in self.rows(ids)]

    def classes(self, ids: Tensor, labels: Tensor) -> list[str]:
        """What the labels of a task are called.

        Args:
            ids: of the support set, ``int64 [support, places]``.
            labels: ``int64 [support]``.

        Returns:
            A name for each label from 0 on.

        Raises:
            MetaftError: if a label has no text in the support set.
        """
        of_label: dict[int, list[set[int]]] = {}
        for rows, label in zip(self.rows(ids), labels.tolist(), strict=True):
            if label != IGNORE:
                of_label.setdefault(label, []).append({self._class[row] for row in rows})
        missing = next((label for label in range(max(of_label) + 1) if label not in of_label), None)
        if missing is not None:
            raise MetaftError(f"class {missing} of a task has no support example, so that nothing says its name")
        found: list[str] = []
        for _, sets in sorted(of_label.items()):
            # A text that stands in two classes tells neither; the others of its class do.
            common = set.intersection(*sets) or min(sets, key=len)
            free = [self.names[number] for number in sorted(common) if self.names[number] not in found]
            found.append(free[0] if free else self.names[min(common)])
        return found
