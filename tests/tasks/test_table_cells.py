"""Tables as pandas, R, polars and spreadsheets write them: row numbers are left out aloud, cells are numbers or not."""

import codecs
import math

import numpy as np
import pytest

import metaft
from metaft.data.csv_table import read_table
from metaft.errors import MetaftError

SHAPE = {"group": "g", "target": "y", "shots": 2, "queries": 2}


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Writes a table of 6 groups of 5 rows; ``cells(row)`` are put before g, x and y."""
    monkeypatch.chdir(tmp_path)

    def write(header="g,x,y", cells=lambda row: (), order=range(30)):
        lines = [header]
        for row in order:
            lines.append(",".join([*map(str, cells(row)), f"g{row // 5}", f"{row * row * 0.25 - 3}", f"{row}.5"]))
        (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
        return "t.csv"

    return write


def features(file="t.csv", **options):
    return metaft.families.table(file, **{**SHAPE, **options}).details["features"]


SHUFFLED = np.random.default_rng(0).permutation(30).tolist()
COUNTED = {
    "pandas": (",g,x,y", lambda row: [row]),
    "pandas, shuffled": (",g,x,y", lambda row: [SHUFFLED[row]]),
    "pandas, a part of a larger table": (",g,x,y", lambda row: [7 * row + 1000]),
    "pandas, tables put together": (",g,x,y", lambda row: [row % 5]),
    "pandas, real numbers": (",g,x,y", lambda row: [f"{row}.0"]),
    "pandas, read again": ("Unnamed: 0,g,x,y", lambda row: [row]),
    "pandas, twice": ("Unnamed: 0.1,Unnamed: 0,g,x,y", lambda row: [row, row]),
    "pandas, three times": (",Unnamed: 0.1,Unnamed: 0,g,x,y", lambda row: [row, row, row]),
    "pandas, reset_index": ("index,g,x,y", lambda row: [row]),
    "pandas, dates": (",g,x,y", lambda row: [f"2020-01-{row + 1:02d}"]),
    "R, write.csv": ('"",g,x,y', lambda row: [f'"{row + 1}"']),
    "R, names of rows": ('"",g,x,y', lambda row: [f'"Mazda {row}"']),
    "R, read again": ("X,g,x,y", lambda row: [row + 1]),
    "R, twice": ("X.1,X,g,x,y", lambda row: [row + 1, row + 1]),
    "R, readr": ("...1,g,x,y", lambda row: [row + 1]),
    "R, tibble": ("rownames,g,x,y", lambda row: [row + 1]),
    "polars": ("index,g,x,y", lambda row: [row]),
    "polars, earlier": ("row_nr,g,x,y", lambda row: [row]),
    "pyarrow": ("__index_level_0__,g,x,y", lambda row: [row]),
    "an id": ("id,g,x,y", lambda row: [row + 1]),
    "spaces": (" ,g,x,y", lambda row: [row]),
    "two empty columns": (",,g,x,y", lambda row: ["", ""]),
}


@pytest.mark.parametrize("kind", COUNTED)
def test_columns_that_only_count_rows_are_left_out_and_it_is_said(table, caplog, kind):
    header, cells = COUNTED[kind]
    table(header, cells)
    assert features() == "x"
    gone = header.replace('"', "").split(",")[:-3]
    assert caplog.text.count("left out") == len(gone)
    assert all(
        (f"column {name.strip()!r}" if name.strip() else f"column {i + 1}") in caplog.text
        for i, name in enumerate(gone)
    )


def test_the_tasks_are_those_of_the_table_without_the_column(table):
    made = metaft.families.table(table(",g,x,y", lambda row: [row]), **SHAPE).batch(0, 9)
    plain = metaft.families.table(table(), **SHAPE).batch(0, 9)
    assert all((one == other).all() for one, other in zip(made.tensors(), plain.tensors(), strict=True))


def test_a_row_number_behind_the_group_is_left_out_too(tmp_path, caplog):
    (tmp_path / "t.csv").write_text("g,id,x,y\n" + "".join(f"g{i // 5},{i},{i % 7},{i * i}\n" for i in range(30)))
    assert features(tmp_path / "t.csv") == "x"
    assert "column 'id' only numbers the rows: left out; if it is a feature, name it with --features" in caplog.text


def test_a_mistake_is_said_alone(table, caplog):
    table(",g,x,y", lambda row: [row])
    with open("t.csv", "a") as file:
        file.write("30,g5,2020_01,3\n")
    with pytest.raises(MetaftError, match="line 32: column 'x' is '2020_01', not a number"):
        features()
    assert not caplog.text


KEPT = {
    "a coordinate": ("X,g,x,y", lambda row: [f"{row * 0.5}"], "X,x"),
    "whole numbers that count nothing": ("X,g,x,y", lambda row: [row * row], "X,x"),
    "an index that repeats": ("index,g,x,y", lambda row: [row // 2], "index,x"),
    "an id that begins at 5": ("id,g,x,y", lambda row: [row + 5], "id,x"),
    "a name of its own": ("hours,g,x,y", lambda row: [row], "hours,x"),
}


@pytest.mark.parametrize("kind", KEPT)
def test_features_are_not_left_out(table, kind):
    header, cells, kept = KEPT[kind]
    assert features(table(header, cells)) == kept


def test_a_feature_that_counts_the_rows_is_kept_and_said(table, caplog):
    table("hours,g,x,y", lambda row: [row])
    assert features() == "hours,x"
    assert "column 'hours' counts the rows and is taken as a feature; if it is none, name the others" in caplog.text
    caplog.clear()
    assert features(features="hours,x") == "hours,x"
    assert not caplog.text


def test_the_only_feature_is_not_left_out(tmp_path, caplog):
    (tmp_path / "t.csv").write_text("X,g,y\n" + "".join(f"{row},g{row // 5},{row % 7}\n" for row in range(30)))
    assert features(tmp_path / "t.csv") == "X"
    assert "counts the rows and is taken as a feature" in caplog.text


def test_a_column_that_is_named_by_the_user_is_taken(table, caplog):
    table("index,g,x,y", lambda row: [row])
    assert features(features="index,x") == "index,x"
    assert metaft.families.table("t.csv", **{**SHAPE, "target": "index"}).describe()["target"] == "index"
    assert "left out" not in caplog.text


def test_measurements_without_a_name_are_refused(table):
    table(",g,x,y", lambda row: [f"{row * 0.37:.2f}"])
    with pytest.raises(MetaftError, match=r"column 1 has no name and numbers in it that count no rows, such as 0.37"):
        features()
    assert features(features="x") == "x"
    table("Unnamed: 3,g,x,y", lambda row: [f"{row * 0.37:.2f}"])
    with pytest.raises(MetaftError, match=r"column 1 has no name of its own \('Unnamed: 3'\)"):
        features()


def one(tmp_path, cell, quote=False):
    written = f'"{cell}"' if quote else cell
    (tmp_path / "t.csv").write_text(f"g,x,y\na,1,2\na,{written},3\n", encoding="utf-8")
    return read_table(tmp_path / "t.csv", ["g"], None).values[1, 0]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        *(("1e5", 1e5), ("1E-3", 1e-3), ("+2.5", 2.5), ("-.5", -0.5), ("7.", 7), ("007", 7), ("1.0e+02", 100)),
        *((" 1.5", 1.5), ("1.5  ", 1.5), ("\t3", 3), ("0", 0), ("-0.0", 0), ("3.4e38", 3.4e38), ("1e-400", 0)),
    ],
)
def test_numbers_that_spreadsheets_read(tmp_path, cell, value):
    assert one(tmp_path, cell) == value
    assert one(tmp_path, cell, quote=True) == value


REFUSED = [
    "2020_01",
    "1_000",
    "1_000.5",
    "1,5",
    "1,000",
    "1.000,5",
    "1 000",
    "1'000",
    "12%",
    "$5",
    "5 €",
    "TRUE",
    "false",
]
REFUSED += [
    "2020-01-31",
    "31.01.2020",
    "1/2",
    "12:30",
    "0x1A",
    "0b1",
    "1e",
    "e5",
    "1e5.5",
    "--1",
    "1-",
    "+",
    ".",
    "1d5",
]
REFUSED += [
    "\uff11\uff12",
    "\u0661\u0662",
    "\u0967",
    "\u00b2",
    "\u22125",
    "1\u00a0000",
    "\u20031",
    "1\u00a0",
    "NA",
    "N/A",
]
REFUSED += ["null", "None", "-", "?", "#N/A", "1j", "(5)", "=1+1", "1.2.3", "five"]


@pytest.mark.parametrize("cell", REFUSED)
def test_what_is_no_number_to_a_spreadsheet_is_refused_by_line_and_column(tmp_path, cell):
    with pytest.raises(MetaftError, match=r"t.csv, line 3: column 'x' is .*, not a number such as") as error:
        one(tmp_path, cell, quote=True)
    assert "\n" not in error.value.message


@pytest.mark.parametrize("cell", ["nan", "NaN", "-nan", "inf", "-Inf", "Infinity", "+infinity", "1e39", "-1e999"])
def test_what_is_not_finite_is_refused_too(tmp_path, cell):
    with pytest.raises(MetaftError, match=r"t.csv, line 3: column 'x' is .*; expected a finite number"):
        one(tmp_path, cell)


@pytest.mark.parametrize("cell", ["", "  ", "\t"])
def test_a_missing_value_is_refused(tmp_path, cell):
    with pytest.raises(MetaftError, match=r"t.csv, line 3: column 'x' is empty"):
        one(tmp_path, cell)


PLAIN = "g,x,y\na,1,2\nb,3,4\n"
WRITTEN = {
    "byte-order mark": codecs.BOM_UTF8 + PLAIN.encode(),
    "UTF-16": PLAIN.encode("utf-16"),
    "UTF-16, big end first": codecs.BOM_UTF16_BE + PLAIN.encode("utf-16-be"),
    "CRLF": PLAIN.replace("\n", "\r\n").encode(),
    "CR": PLAIN.replace("\n", "\r").encode(),
    "no end of the last line": PLAIN.encode().rstrip(),
    "blank lines": b"\n\ng,x,y\n\na,1,2\n  \n,,\nb,3,4\n\n\n",
    "remarks": b"# by me, today\n#again\ng,x,y\n# one\na,1,2\n# two, and three, and four, and five\nb,3,4\n",
    "quotes": b'"g","x","y"\n"a","1","2"\n"b","3","4"\n',
    "spaces": b"g, x, y\na, 1, 2\n b , 3 , 4\n",
    "spaces before quotes": b'g, "x", y\na, "1", 2\n"b", 3, "4"\n',
    "Excel's first line": b"sep=,\r\n" + PLAIN.encode(),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_tables_are_read_as_programs_write_them(tmp_path, kind):
    (tmp_path / "t.csv").write_bytes(WRITTEN[kind])
    read = read_table(tmp_path / "t.csv", ["g"], None)
    assert read.columns == ("x", "y")
    assert read.values.tolist() == [[1, 2], [3, 4]]
    assert read.texts == {"g": ["a", "b"]}


def test_quoted_cells_hold_commas_quotes_and_line_ends(tmp_path):
    (tmp_path / "t.csv").write_text('g,x,y\n"a, the ""first""\nof all",1,2\nb,many,4\n')
    with pytest.raises(MetaftError, match="line 4: column 'x' is 'many'"):
        read_table(tmp_path / "t.csv", ["g"], None)
    read = read_table(tmp_path / "t.csv", ["g"], ["y"])
    assert read.texts["g"] == ['a, the "first"\nof all', "b"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"g;x;y\na;1,5;2\n",
            "its columns are separated by semicolons; expected commas between columns and points in d",
        ),
        (b"g\tx\ty\na\t1\t2\n", "its columns are separated by tabs"),
        (b"g|x|y\na|1|2\n", "its columns are separated by bars"),
        (b"sep=;\ng;x;y\n", "its columns are separated by semicolons"),
        ("g\tx\ty\na\t1\t2\n".encode("utf-16"), "its columns are separated by tabs"),
        ("g,x,y\nZürich,1,2\n".encode("latin-1"), r"not a text file in UTF-8 \(byte 7, in line 2\); save it as UTF-8"),
        (PLAIN.encode("utf-16-le"), "it holds zero bytes, as UTF-16 does"),
        (b"PK\x03\x04\xff\xfe\x00", "not a text file in UTF-8"),
        (b"g,x,y\na,1,5,2\n", r"line 2: 4 values, the header names 3 columns; R writes names of rows so .*decimals"),
        (b'"g","x","y"\n"1","a",1,2\n', r"line 2: 4 values, .* R writes names of rows so .row.names = FALSE leaves"),
        (b"g,x,y\na,1,2\na,1,5,2\n", "line 3: 4 values, the header names 3 columns"),
        (b"g,x,y\na,1,2\n# b,1,2\n", "line 3: begins with '#' and is as long as a row"),
        (b"\n \n", "is empty; expected a CSV table"),
    ],
)
def test_files_of_another_form_are_refused_in_one_line(tmp_path, content, said):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(MetaftError, match=said) as error:
        read_table(tmp_path / "t.csv", ["g"], None)
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    "words",
    [("Train", "Val", "Test"), ("training", "valid", "testing"), ("TRAIN", "dev", "eval"), ("train", "eval", "test")],
)
def test_a_split_column_has_the_usual_names_too(tmp_path, caplog, words):
    rows = [f"g{group},{words[group % 3]},{group}.5,{i}" for group in range(6) for i in range(5)]
    (tmp_path / "t.csv").write_text("\n".join(["g,part,x,y", *rows]))
    for number, split in enumerate(("train", "val", "test")):
        family = metaft.families.table(tmp_path / "t.csv", **SHAPE, split_column="part", split=split)
        assert family.names == (f"g{number}", f"g{number + 3}")
    assert f"column 'part': taken '{words[0]}' for train, '{words[1]}' for val" in caplog.text


def test_two_groups_have_a_way_out_and_small_ones_can_be_left_out(tmp_path, caplog):
    rows = [f"g{group},{group}.5,{i}" for group, size in enumerate((9, 9, 3)) for i in range(size)]
    (tmp_path / "t.csv").write_text("\n".join(["g,x,y", *rows]))
    read = lambda **options: metaft.families.table(tmp_path / "t.csv", **{**SHAPE, **options})
    with pytest.raises(MetaftError, match=r"'g2' has 3 rows.* leave such groups out \(min_examples=4\)"):
        read(split="all")
    with pytest.raises(MetaftError, match=r"2 groups of .* at least 3 are needed; .*--split all"):
        read(min_examples=4)
    assert "1 group of 3 left out, having fewer than 4 rows, such as 'g2'" in caplog.text
    made = read(min_examples=4, split="all", standardise=False)
    assert made.names == ("g0", "g1")
    assert made.describe()["min_examples"] == 4
    assert sorted(map(float, made.y[:, 0])) == sorted([*range(9), *range(9)])
    with pytest.raises(MetaftError, match="no group has 99 rows; choose a smaller min_examples"):
        read(min_examples=99)


def test_a_constant_is_not_blown_up_by_a_rounding_error(tmp_path):
    """0.1 three times has a standard deviation of 1.4e-17."""
    parts = ["train"] * 5 + ["val"] * 2 + ["test"] * 2
    rows = [
        f"g{g},{part},{0.1 if part == 'train' else 0.3},{i},{i % 3}" for g, part in enumerate(parts) for i in range(7)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["g,part,x,z,y", *rows]))
    assert np.full(35, 0.1).std() > 0
    for split in ("train", "val", "test"):
        made = metaft.families.table(tmp_path / "t.csv", **SHAPE, split=split, split_column="part")
        assert np.abs(made.x).max() < 3
        assert all(map(math.isfinite, made.y.flatten().tolist()))
