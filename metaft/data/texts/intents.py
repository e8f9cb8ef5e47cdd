"""Intents: 150 things that people ask an assistant for, 22,473 sentences of 10 domains; built in.

CLINC150 (Larson et al. 2019, "An evaluation dataset for intent classification and out-of-scope prediction"), CC BY 3.0;
see ``lists/LICENSE.clinc150``. Sentences of the training part that stand in the test part too, but for case and
punctuation, are left out; so are those of no intent.
"""

from __future__ import annotations

import functools
import lzma
from importlib import resources

from metaft.data.class_lists import by_seed
from metaft.data.splits import SPLITS, check_split
from metaft.data.texts.labelled_texts import LabelledTexts
from metaft.errors import MetaftError, nearest

SCHEMES = {
    "domains": "5 domains / home and work / banking, travel, kitchen and dining: test domains are new",
    "random": "96 / 24 / 30 intents at random, by --split-seed",
}
DOMAINS = {
    "train": ("auto_and_commute", "credit_cards", "meta", "small_talk", "utility"),
    "val": ("home", "work"),
    "test": ("banking", "kitchen_and_dining", "travel"),
}


def load(split: str, *, scheme: str = "domains", split_seed: int = 0) -> LabelledTexts:
    """Load the intents of one split.

    Args:
        split: "train", "val" or "test".
        scheme: which intents belong to which split, see ``SCHEMES``.
        split_seed: of the division, for scheme "random".

    Returns:
        The sentences, 144 to 150 an intent, named ``"banking/balance"``; their groups are the domains.

    Raises:
        MetaftError: for an unknown split or scheme.
    """
    check_split(split)
    if scheme not in SCHEMES:
        raise MetaftError(f"unknown scheme {scheme!r} of intents{nearest(scheme, SCHEMES)}")
    whole = _all()
    if scheme == "random":
        names = by_seed(whole.names, split_seed)[split]
    else:
        names = tuple(n for n, group in zip(whole.names, whole.groups, strict=True) if group in DOMAINS[split])
    return whole.select(names)


@functools.cache
def _all() -> LabelledTexts:
    packed = resources.files("metaft.data").joinpath("lists", "intents.tsv.xz").read_bytes()
    rows = [line.split("\t") for line in lzma.decompress(packed).decode().splitlines()]
    found: dict[tuple[str, str], list[str]] = {}
    for domain, intent, _part, text in rows:
        found.setdefault((domain, intent), []).append(text)
    names, groups = tuple(f"{domain}/{intent}" for domain, intent in found), tuple(domain for domain, _ in found)
    texts = tuple(text for own in found.values() for text in own)
    assert set(groups) == {domain for split in SPLITS for domain in DOMAINS[split]}
    return LabelledTexts(texts, tuple(map(len, found.values())), names, groups)
