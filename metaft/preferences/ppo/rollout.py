"""Answers of a policy, and all that its updates need of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from metaft.data.texts.labelled_texts import PADDING
from metaft.errors import MetaftError


@dataclass(frozen=True)
class Rollout:
    """Texts of a policy, on the leading axis; all tensors, so that it can be kept in a checkpoint.

    Args:
        prompts: ``int64 [texts, prompt's places]``, 0 for padding, at the end.
        answers: ``int64 [texts, places]``, likewise.
        mask: ``bool [texts, places]``, true at an answer's words.
        log_probs: log π_old of the answers' words, ``[texts, places]``, 0 at padding, as all that follow.
        reference_log_probs: log π_ref of them, likewise.
        values: V_old of the state before each word, likewise.
        scores: of the answers, ``[texts]``.
        rewards: of each word, ``[texts, places]``.
        advantages: likewise.
        returns: what values are to be, likewise.
    """

    prompts: Tensor
    answers: Tensor
    mask: Tensor
    log_probs: Tensor
    reference_log_probs: Tensor
    values: Tensor
    scores: Tensor
    rewards: Tensor
    advantages: Tensor
    returns: Tensor

    def __len__(self) -> int:
        return len(self.prompts)

    def to(self, device: torch.device | str) -> Rollout:
        """The same on another device."""
        return Rollout(**{name: value.to(device) for name, value in self.as_dict().items()})

    def __getitem__(self, texts: slice | Tensor) -> Rollout:
        """Some of the texts: a slice, or ``int64 [texts]``."""
        return Rollout(**{name: value[texts] for name, value in self.as_dict().items()})

    def as_dict(self) -> dict[str, Tensor]:
        """The tensors by name."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    @classmethod
    def from_dict(cls, tensors: Mapping[str, Tensor]) -> Rollout:
        """What `as_dict` gave, perhaps read from a stranger's file.

        Args:
            tensors: by name.

        Raises:
            MetaftError: if one is absent or too many, or they do not agree with each other.
        """
        names = [entry.name for entry in fields(cls)]
        if set(tensors) != set(names):
            raise MetaftError(f"a rollout has {', '.join(names)}; these are {', '.join(sorted(tensors))}")
        made = cls(**tensors)
        shapes = {name: tuple(value.shape) for name, value in tensors.items()}
        of_words = [name for name in names if name not in ("prompts", "scores")]
        agree = (
            made.prompts.dim() == made.answers.dim() == 2
            and all(shapes[name] == shapes["answers"] for name in of_words)
            and shapes["scores"] == shapes["prompts"][:1] == shapes["answers"][:1]
        )
        if not agree:
            raise MetaftError(f"the tensors of a rollout do not agree: {shapes}")
        kinds = {"prompts": "int64", "answers": "int64", "mask": "bool"}
        wrong = [name for name, value in tensors.items() if not _is(value, kinds.get(name, "floating-point"))]
        if wrong:
            raise MetaftError(f"tensors of a rollout are of another kind: {', '.join(wrong)}")
        if not torch.equal(made.mask, made.answers != PADDING):
            raise MetaftError("the mask of a rollout does not say where its answers have words")
        return made


def _is(value: Tensor, kind: str) -> bool:
    return value.is_floating_point() if kind == "floating-point" else str(value.dtype) == f"torch.{kind}"


def joined(prompts: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
    """Whole texts, answers right behind their prompts.

    Args:
        prompts: ``int64 [texts, prompt's places]``, 0 for padding, at the end.
        answers: ``int64 [texts, places]``, likewise.

    Returns:
        ``int64 [texts, all places]``, 0 for padding, at the end, as wide as the longest; and ``bool`` of that shape,
        true at the words of answers.
    """
    lengths, own = (prompts != PADDING).sum(-1), (answers != PADDING).sum(-1)
    ids = torch.cat([prompts, torch.full_like(answers, PADDING)], dim=-1)
    ids = ids.scatter(-1, lengths[:, None] + torch.arange(answers.shape[-1], device=answers.device), answers)
    ends = lengths + own
    ids = ids[:, : int(ends.max()) if len(ends) else 0]
    place = torch.arange(ids.shape[-1], device=ids.device)
    return ids, (place >= lengths[:, None]) & (place < ends[:, None])
