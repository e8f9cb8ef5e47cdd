"""Dialogues divided by prompt: what a prompt falls to hangs on its words and a seed, not on what stands beside it.

So a policy, its reward model and its data of another kind keep to one division: a prompt that one is tested on no other
has been trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from metaft.data.dialogues.conversation import Prompt
from metaft.data.splits import ALL, SPLITS
from metaft.data.texts.division import plain
from metaft.errors import MetaftError, nearest
from metaft.seeds import require_seed

SHARES = {"test": 0.1, "val": 0.1}
"""Split → its share of prompts; the rest is for training."""
NAMES = (*SPLITS, ALL)


def check_split(split: str) -> None:
    """Refuse an unknown split.

    Args:
        split: "train", "val", "test" or "all".

    Raises:
        MetaftError: naming the nearest one.
    """
    if split not in NAMES:
        raise MetaftError(f"unknown split {split!r} of dialogues{nearest(str(split), NAMES)}")


def key(prompt: Prompt) -> str:
    """What a prompt is divided by: what the user says first, without case and punctuation.

    Dialogues that begin alike are often one dialogue, longer and shorter, and stay together.

    Args:
        prompt: of one turn or several.

    Returns:
        A text.
    """
    first = next((turn.text for turn in prompt if turn.role == "user"), prompt[0].text)
    return plain(first)[0] or first


def divided(prompts: Sequence[Prompt], seed: int, where: str) -> list[str]:
    """The split of each prompt.

    Each `key` is a number in [0, 1): below 0.1 is for testing, below 0.2 for validation. Where none is, the key of the
    lowest number is.

    Args:
        prompts: some prompts.
        seed: which division.
        where: they come from, for the message.

    Returns:
        "train", "val" or "test", for each.

    Raises:
        MetaftError: if there are not three different keys.
    """
    require_seed(seed)
    keys = [key(prompt) for prompt in prompts]
    drawn = {one: _draw(one, seed) for one in dict.fromkeys(keys)}
    if len(drawn) < len(SPLITS):
        raise MetaftError(
            f"{where} has {len(drawn)} different prompts; {len(SPLITS)} are needed for train, val and test"
        )
    of: dict[str, str] = {}
    order = sorted(drawn, key=lambda one: (drawn[one], one))
    bound = 0.0
    for split, share in SHARES.items():
        bound += share
        rest = order[len(of) :]
        left = len(SHARES) - list(SHARES).index(split)  # at least one key for each split behind
        count = sum(drawn[one] < bound for one in rest)
        of |= dict.fromkeys(rest[: min(max(count, 1), len(rest) - left)], split)
    return [of.get(one, "train") for one in keys]


def _draw(text: str, seed: int) -> float:
    whole = hashlib.sha256(f"{seed}\n{text}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(whole[:8], "big") / 2**64
