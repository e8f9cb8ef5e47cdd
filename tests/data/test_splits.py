import json
import os
from itertools import combinations
from pathlib import Path

import pytest

from metaft.data import splits
from metaft.errors import MetaftError

COUNTS = {
    "alphabets": (792, 172, 659),
    "vinyals": (1028, 172, 423),
    "torchmeta": (1028, 172, 423),
    "maml": (1100, 100, 423),
}


def listed(scheme):
    return {split: splits.classes(scheme, split) for split in splits.SPLITS}


@pytest.mark.parametrize("scheme", splits.SCHEMES)
def test_each_character_is_in_just_one_split(scheme):
    held = listed(scheme)
    assert tuple(len(held[split]) for split in splits.SPLITS) == COUNTS[scheme]
    for one, other in combinations(splits.SPLITS, 2):
        assert not set(held[one]) & set(held[other])
    assert set().union(*held.values()) == set(splits.characters())


def test_the_data_set_has_its_known_size():
    parts = [a.part for a in splits.alphabets().values()]
    assert (parts.count("background"), parts.count("evaluation")) == (30, 20)
    assert [len(splits.characters(part)) for part in splits.PARTS] == [964, 659]
    assert len(set(splits.characters())) == 1623


def test_alphabets_scheme_keeps_alphabets_whole_and_evaluation_for_test():
    held = {split: {name.split("/")[0] for name in names} for split, names in listed("alphabets").items()}
    known = splits.alphabets()
    assert [len(held[split]) for split in splits.SPLITS] == [25, 5, 20]
    assert {known[a].part for a in held["test"]} == {"evaluation"}
    assert {known[a].part for a in held["train"] | held["val"]} == {"background"}
    assert not held["train"] & held["val"]


def test_the_random_split_mixes_alphabets_and_stays_as_it_was():
    held = listed("maml")
    assert len({name.split("/")[0] for name in held["test"]}) > 40
    # A changed order would change published results without a word.
    assert held["val"][:3] == (
        "Anglo-Saxon_Futhorc/character10",
        "Anglo-Saxon_Futhorc/character20",
        "Arcadian/character23",
    )


def test_unknown_names():
    with pytest.raises(MetaftError, match="did you mean 'torchmeta'"):
        splits.classes("torchmet", "train")
    with pytest.raises(MetaftError, match="did you mean 'test'"):
        splits.classes("vinyals", "tets")


def published(folder):
    path = Path(os.environ.get("METAFT_DATA", "")) / "splits" / folder
    if "METAFT_DATA" not in os.environ or not path.is_dir():
        pytest.skip(f"METAFT_DATA holds no splits/{folder}")
    return path


@pytest.mark.parametrize("split", splits.SPLITS)
def test_vinyals_is_the_published_list_with_its_rotations(split):
    lines = (published("omniglot_vinyals") / f"{split}.txt").read_text().split()
    ours = [f"{name}/rot{turn:03d}" for name in splits.classes("vinyals", split) for turn in (0, 90, 180, 270)]
    assert len(lines) == len(ours)
    assert set(lines) == set(ours)


@pytest.mark.parametrize("split", splits.SPLITS)
def test_torchmeta_is_the_published_list(split):
    parts = json.loads((published("omniglot_torchmeta") / f"{split}.json").read_text())
    theirs = [f"{a}/{c}" for part in parts.values() for a, characters in part.items() for c in characters]
    assert sorted(theirs) == sorted(splits.classes("torchmeta", split))
    for part, held in parts.items():
        assert all(splits.alphabets()[alphabet].part == part for alphabet in held)
