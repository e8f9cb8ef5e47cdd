"""A table's groups become regression tasks; checked against the csv module and numpy, row by row."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch

import metaft


def write(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def file(tmp_path):
    """Twelve groups of 8 to 19 rows in random order; each target tells its row."""
    rng = np.random.default_rng(0)
    rows = [[f"g{g}", f"{rng.normal():.6f}", str(g * 100 + i), "1"] for g in range(12) for i in range(8 + g)]
    rng.shuffle(rows)
    return write(tmp_path / "t.csv", ["school", "hours", "score", "same"], rows)


def read(file):
    with open(file, newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def family(file, **options):
    return metaft.families.table(
        file, **{"group": "school", "target": "score", "shots": 3, "queries": 5, "standardise": False} | options
    )


def test_a_task_is_one_group_and_its_rows_are_the_files(file):
    rows = {(float(r["hours"]), float(r["score"])): r["school"] for r in read(file)}
    seen = set()
    for split in ("train", "val", "test"):
        made = family(file, split=split)
        batch = made.batch(4, 60)
        assert (made.outputs, made.input_shape, made.kind) == (1, (2,), "regression")
        assert batch.support_x.shape == (60, 3, 2)
        assert batch.query_y.shape == (60, 5, 1)
        x, y = torch.cat([batch.support_x, batch.query_x], 1), torch.cat([batch.support_y, batch.query_y], 1)
        assert (x[..., 1] == 1).all()
        groups = set()
        for task in range(60):
            points = [
                (round(a, 6), b) for a, b in zip(x[task, :, 0].double().tolist(), y[task, :, 0].tolist(), strict=True)
            ]
            assert len(set(points)) == 8
            owners = {rows[min(rows, key=lambda p, q=q: abs(p[0] - q[0]) + abs(p[1] - q[1]))] for q in points}
            assert len(owners) == 1
            groups |= owners
        assert groups == set(made.names)
        assert not groups & seen
        seen |= groups
    assert len(seen) == 12


def test_batches_are_pure_and_every_row_is_drawn(file):
    made = family(file)
    assert all(
        torch.equal(a, b) for a, b in zip(made.batch(2, 9).tensors(), family(file).batch(2, 9).tensors(), strict=True)
    )
    assert not torch.equal(made.batch(2, 9).query_x, dataclasses.replace(made, seed=1).batch(2, 9).query_x)
    drawn = {float(v) for v in made.batch(0, 2000).query_y.flatten()}
    assert drawn == {float(r["score"]) for r in read(file) if r["school"] in made.names}


def test_only_training_groups_are_measured_for_standardising(file):
    raw, scaled = family(file, split="test"), family(file, split="test", standardise=True)
    train = family(file, split="train")
    for ours, theirs, known in ((scaled.x, raw.x, train.x), (scaled.y, raw.y, train.y)):
        mean, spread = known.mean(0, dtype=np.float64), known.std(0, dtype=np.float64)
        np.testing.assert_allclose(ours, (theirs - mean) / np.where(spread > 0, spread, 1), atol=1e-5)
    standard = family(file, standardise=True)
    np.testing.assert_allclose(standard.y.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(standard.y.std(0), 1, atol=1e-6)


def test_columns_several_targets_and_a_split_column(tmp_path):
    parts = ["train", "train", "val", "test", "test", "val"]
    rows = [[f"{i % 6}", parts[i % 6], i, 2 * i, "text", -i] for i in range(60)]
    file = write(tmp_path / "t.csv", ["id", "part", "a", "b", "note", "c"], rows)
    made = metaft.families.table(
        file, group="id", target="b,c", features=["a"], split_column="part", split="test", shots=2, queries=3
    )
    assert made.names == ("3", "4")
    assert (made.outputs, made.input_shape) == (2, (1,))
    told = made.describe()
    assert json.loads(json.dumps(told)) == told
    assert told["split_by"] == "part"
    other = metaft.families.table(file, group="id", target="b,c", features="a", split_column="part", shots=2, queries=3)
    assert other.names == ("0", "1")


def cell(row, column, value):
    def spoil(rows):
        rows[row][column] = value

    return spoil


MISTAKES = {
    "text": (cell(3, 1, "many"), {}, r"t.csv, line 5: column 'hours' is 'many', not a number"),
    "missing": (cell(0, 2, " "), {}, "line 2: column 'score' is empty"),
    "nan": (cell(1, 2, "nan"), {}, "line 3: column 'score' is nan; expected a finite number"),
    "no group": (cell(2, 0, ""), {}, "line 4: column 'school' is empty"),
    "short row": (lambda rows: rows[4].pop(), {}, "line 6: 2 values, the header names 3 columns"),
    "target": (None, {"target": "scor"}, "no column 'scor'; did you mean 'score'"),
    "group": (None, {"group": "scool"}, "no column 'scool'; did you mean 'school'"),
    "feature": (None, {"features": "hour"}, "no column 'hour'; did you mean 'hours'"),
    "two roles": (None, {"features": "hours,score"}, "column 'score' of .* is given two roles"),
    "nothing left": (None, {"target": "score,hours"}, "no column left to predict 'score' from"),
    "empty name": (None, {"features": "hours,"}, "features = 'hours,'"),
    "small group": (None, {"shots": 8}, r"group '\d' has 10 rows, but 8 shots \+ 5 queries need 13"),
    "split": (None, {"split": "tset"}, "did you mean 'test'"),
    "two groups": (lambda rows: rows.__delitem__(slice(20, None)), {}, "2 groups of .* at least 3"),
    "shots": (None, {"shots": 0}, "at least 1"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_name_the_line_and_column(tmp_path, name):
    rows = [[f"{i // 10}", f"{i / 10}", f"{i}"] for i in range(60)]
    spoil, options, said = MISTAKES[name]
    if spoil:
        spoil(rows)
    file = write(tmp_path / "t.csv", ["school", "hours", "score"], rows)
    with pytest.raises(metaft.MetaftError, match=said) as error:
        family(file, **options)
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"school,hours,score\n", "no rows below its header"),
        (b"school,score,score\n1,2,3\n", "two columns are called 'score'"),
        (b"school,hours,score\n1,\xff,3\n", "not a text file in UTF-8"),
        (b'school,hours,score\n1,"2,3\n', "not a CSV table"),
        (b"school,hours,score\n1," + b"9" * 200_000 + b",3\n", "not a CSV table"),
    ],
)
def test_files_that_are_no_tables(tmp_path, content, said):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(metaft.MetaftError, match=said):
        family(tmp_path / "t.csv")
    with pytest.raises(metaft.MetaftError, match="cannot read the table"):
        family(tmp_path / "absent.csv")


def test_a_group_in_two_splits_is_a_leak(tmp_path):
    rows = [["a", "train", 1, 2], ["b", "val", 1, 2], ["c", "test", 1, 2], ["a", "test", 1, 2]]
    file = write(tmp_path / "t.csv", ["g", "part", "x", "y"], rows)
    with pytest.raises(metaft.MetaftError, match="line 5: group 'a' is in both train and test"):
        metaft.families.table(file, group="g", target="y", split_column="part", shots=1, queries=1)
    file = write(tmp_path / "u.csv", ["g", "x", "y", "z"], [["a", 1, 2, 3]])
    with pytest.raises(metaft.MetaftError, match="line 2: column 'z' is '3'; expected train, val, test"):
        metaft.families.table(file, group="g", target="y", split_column="z", shots=1, queries=1)
