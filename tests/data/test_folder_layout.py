"""Which folder is which class and split: usual names, lists as programs write them, what is passed over, small sets."""

import codecs
import unicodedata
import zlib

import numpy as np
import pytest
from PIL import Image

import metaft
from metaft.data import catalog, class_lists, image_folder, split_names
from metaft.data.folder_layout import layout
from metaft.errors import MetaftError


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / ".cache"))
    monkeypatch.delenv("METAFT_DATA", raising=False)


def fill(folder, images=1, suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(folder.name.encode()))
    for i in range(images):
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(folder / f"{i}{suffix}")
    return folder


def named(found):
    return {split: sorted(classes) for split, classes in found.items()}


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("Train", "Val", "Test"),
        ("01_train", "02_val", "03_test"),
        ("1. Training", "2. Dev", "3. Test"),
        ("TRAIN", "VAL", "TEST"),
        ("training", "validation", "testing"),
        ("Training", "Valid", "Evaluation"),
        ("train", "dev", "eval"),
        ("train", "eval", "test"),  # who has another for testing validates on "eval"
        ("meta_train", "meta-val", "MetaTest"),
        ("train_images", "valid set", "testset"),
    ],
)
def test_the_usual_names_of_splits_are_known_and_what_was_understood_is_said(tmp_path, caplog, train, val, test):
    for split, names in ((train, "ab"), (val, "cd"), (test, "ef")):
        for name in names:
            fill(tmp_path / split / name)
    (tmp_path / "__MACOSX").mkdir()
    assert named(image_folder.class_folders(tmp_path, 0)) == {
        "train": ["a", "b"],
        "val": ["c", "d"],
        "test": ["e", "f"],
    }
    assert f"taken '{train}' for train, '{val}' for val, '{test}' for test" in caplog.text
    assert sorted(image_folder.load("all", root=tmp_path, size=8).names) == list("abcdef")


def test_our_own_names_need_no_word(tmp_path, caplog):
    for split in ("train", "val", "test"):
        fill(tmp_path / split / f"of-{split}")
    image_folder.class_folders(tmp_path, 0)
    assert not caplog.text


def test_two_names_of_one_split_are_refused(tmp_path):
    for name in ("train", "val", "Validation", "test"):
        fill(tmp_path / name / f"of-{name}")
    with pytest.raises(MetaftError, match="'Validation' and 'val' both mean the val classes; keep one"):
        image_folder.class_folders(tmp_path, 0)


def test_a_split_that_is_not_there_is_named_with_its_usual_names(tmp_path):
    for name in ("Train", "Test"):
        fill(tmp_path / name / f"of-{name}")
    with pytest.raises(
        MetaftError, match=r"a folder 'Train' and 'Test' but no 'val' \(or val, valid, validation, dev\)"
    ):
        image_folder.class_folders(tmp_path, 0)


def test_a_class_that_is_called_train_is_a_class(tmp_path, caplog):
    """CIFAR-100 has one."""
    for name in ("bus", "car", "train", "ship"):
        fill(tmp_path / name)
    found = image_folder.class_folders(tmp_path, 0)
    assert sorted(name for names in found.values() for name in names) == ["bus", "car", "ship", "train"]
    assert "the folder 'train' has images in it, so it is taken for a class" in caplog.text


def test_folders_and_images_beside_the_classes_are_said(tmp_path, caplog):
    for split in ("train", "val", "test"):
        fill(tmp_path / split / f"of-{split}")
    fill(tmp_path / "unlabelled")
    (tmp_path / "train.txt").write_text("of-train")
    fill(tmp_path / "val", images=2)
    image_folder.class_folders(tmp_path, 0)
    assert "1 folder beside train, val, test passed over, such as 'unlabelled'" in caplog.text
    assert "train.txt not used" in caplog.text
    assert "2 images beside the class folders, in none of them, passed over, such as 0.png" in caplog.text


def test_one_folder_around_them_all_is_pointed_to(tmp_path):
    for name in "abc":
        fill(tmp_path / "birds" / name)
    with pytest.raises(MetaftError, match=r"but one folder, 'birds', with others inside; did you mean .*birds\?"):
        image_folder.class_folders(tmp_path, 0)


@pytest.fixture
def flat(tmp_path):
    for name in ("c00", "c01", "c02", "c03", "é", "#5", "two words"):
        fill(tmp_path / name)
    return tmp_path


def write_lists(folder, train, names=("train.txt", "val.txt", "test.txt")):
    for name, content in zip(names, (train, b"c02", b"c03"), strict=True):
        (folder / name).write_bytes(content)


LISTS = {
    "byte-order mark": codecs.BOM_UTF8 + b"c00\nc01\n",
    "UTF-16": "c00\r\nc01\r\n".encode("utf-16"),
    "UTF-16, big end first": codecs.BOM_UTF16_BE + "c00\nc01".encode("utf-16-be"),
    "UTF-32": "c00\nc01".encode("utf-32"),
    "CRLF": b"c00\r\nc01\r\n",
    "CR": b"c00\rc01\r",
    "blank lines and spaces": b"\n  c00  \n\t\n\nc01\t\n \n",
    "slashes": b"c00/\n./c01\\\n",
    "remarks": b"# the first two\nc00  # one\n#c03\nc01\t# two\n",
    "joined files": codecs.BOM_UTF8 + b"c00\n" + codecs.BOM_UTF8 + b"c01\n",
    "no-break spaces": "c00\u00a0\nc01\n".encode(),
}


@pytest.mark.parametrize("kind", LISTS)
def test_lists_are_read_as_programs_write_them(flat, kind):
    write_lists(flat, LISTS[kind])
    assert list(image_folder.class_folders(flat, 0)["train"]) == ["c00", "c01"]


def test_names_with_accents_signs_and_spaces(flat):
    write_lists(flat, "\n".join([unicodedata.normalize("NFD", "é"), "#5", "two words/"]).encode())
    assert list(image_folder.class_folders(flat, 0)["train"]) == ["é", "#5", "two words"]


@pytest.mark.parametrize(
    "names",
    [
        ("Train.txt", "VAL.TXT", "test.txt"),
        ("training.txt", "valid.txt", "testing.txt"),
        ("train.txt", "dev.txt", "eval.txt"),
    ],
)
def test_lists_have_the_usual_names_too(flat, caplog, names):
    write_lists(flat, b"c00", names)
    assert named(image_folder.class_folders(flat, 0)) == {"train": ["c00"], "val": ["c02"], "test": ["c03"]}
    assert f"taken '{names[0]}' for train, '{names[1]}' for val" in caplog.text
    assert "4 class folders in none of the lists, such as '#5'" in caplog.text
    assert sorted(image_folder.load("all", root=flat, size=8).names) == ["c00", "c02", "c03"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"c00\nC01\n", r"no folder for the listed class 'C01' \(train.txt, line 2\); did you mean 'c01'"),
        (b"c00/0.png 0\n", r"no folder for the listed class 'c00/0.png 0' \(train.txt, line 1\)"),
        (
            "Zürich\n".encode("latin-1"),
            r"train.txt is not a text file in UTF-8 \(byte 1, in line 1\); save it as UTF-8; expected one",
        ),
        ("c00\nc01".encode("utf-16-le"), "train.txt is not a text file in UTF-8 .it holds zero bytes"),
        (codecs.BOM_UTF8, "train.txt names no class"),
        (b"# nothing\r\n\r\n", "train.txt names no class"),
    ],
)
def test_lists_that_will_not_do(flat, content, said):
    write_lists(flat, content)
    with pytest.raises(MetaftError, match=said) as error:
        image_folder.class_folders(flat, 0)
    assert "\n" not in error.value.message


def test_lists_of_another_form_are_said_to_be_unread(flat, caplog):
    (flat / "train.csv").write_text("filename,label\n")
    image_folder.class_folders(flat, 0)
    assert "train.csv not read; lists of classes are files train.txt" in caplog.text


def test_tiff_is_read_and_other_files_are_counted_aloud(tmp_path, caplog):
    for name in "abc":
        fill(tmp_path / name, images=3)
        fill(tmp_path / name, images=5, suffix=".TIF")
    (tmp_path / "a" / "deep").mkdir()
    for name in ("a/x.heic", "a/deep/y.heic", "b/notes.txt", "c/raw"):
        (tmp_path / name).write_bytes(b"?")
    for name in ("a/.hidden.txt", "a/._0.png", "b/Thumbs.db", "c/desktop.ini"):
        (tmp_path / name).write_bytes(b"?")
    held = image_folder.load("all", root=tmp_path, size=8)
    assert held.counts.tolist() == [8, 8, 8]
    said = [line.message for line in caplog.records if "passed over" in line.message]
    assert len(said) == 1
    assert "4 files passed over as no image: 2 .heic, 1 .txt, 1 without an ending, such as" in said[0]


def test_a_class_of_none_but_other_files_says_what_they_are(tmp_path):
    for name in "abc":
        fill(tmp_path / name)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "1.heic").write_bytes(b"?")
    with pytest.raises(MetaftError, match=r"class folder .*d holds no image .*; it holds 1 \.heic; .*min_examples=1"):
        image_folder.load("all", root=tmp_path, size=8)
    assert image_folder.load("all", root=tmp_path, size=8, min_examples=1).names == ("a", "b", "c")


def test_a_folder_that_cannot_be_looked_into_is_no_empty_one(tmp_path, monkeypatch):
    fill(tmp_path / "a")

    def walk(folder, onerror):
        onerror(PermissionError(13, "Permission denied", str(folder / "inner")))
        return []

    monkeypatch.setattr("metaft.data.folder_files.os.walk", walk)
    with pytest.raises(MetaftError, match=r"cannot read the folder .*inner: Permission denied"):
        image_folder.files_of({"a": tmp_path / "a"})


def test_words_that_mean_no_split():
    assert all(split_names.split_of(name) is None for name in ("trains", "tester", "valley", "device", "a", "", "exam"))


def test_classes_of_too_few_images_are_left_out_before_the_division(tmp_path, caplog):
    for i in range(12):
        fill(tmp_path / f"c{i:02d}", images=1 if i in (3, 7) else 4)
    found = layout(tmp_path, 0, least=4)
    names = [f"c{i:02d}" for i in range(12) if i not in (3, 7)]
    assert {split: tuple(classes) for split, classes in found.folders.items()} == class_lists.by_seed(names, 0)
    assert "2 classes of 12 left out, having fewer than 4 images: c03 (1), c07 (1)" in caplog.text
    for split, name in (("train", "c03 c04"), ("val", "c05"), ("test", "c06")):
        (tmp_path / f"{split}.txt").write_text(name.replace(" ", "\n"))
    assert named(layout(tmp_path, 0, least=4).folders) == {"train": ["c04"], "val": ["c05"], "test": ["c06"]}
    (tmp_path / "val.txt").write_text("c07")
    with pytest.raises(MetaftError, match="no class of val has enough images; choose a smaller min_examples"):
        layout(tmp_path, 0, least=4)
    for wrong in (0, True, "4", 2.5):
        with pytest.raises(MetaftError, match="min_examples must be a whole number of at least 1"):
            layout(tmp_path, 0, least=wrong)


@pytest.fixture
def six(tmp_path):
    for i in range(6):
        fill(tmp_path / f"c{i}", images=20)
    return tmp_path


@pytest.mark.parametrize(
    ("split", "has", "ways"), [("train", "4 classes", 5), ("val", "1 class", 2), ("test", "1 class", 2)]
)
def test_a_small_folder_gets_one_message_with_all_that_can_be_done(six, split, has, ways):
    with pytest.raises(MetaftError) as error:
        metaft.families.episodes("folder", ways, 1, 5, split, root=six, size=8)
    said = error.value.message
    assert f"{ways} ways asked for, but folder ({split}) has only {has}: its 6 classes are divided 4 / 1 / 1" in said
    assert "by split_seed = 0, so the most ways possible are 1 in all three, and a task needs 2;" in said
    assert "divide them by hand in train.txt, val.txt and test.txt (up to --ways 2)" in said
    assert f"add classes ({ {5: 29, 2: 10}[ways] } are enough for {ways} ways)" in said
    assert f"metaft compare … --split all --ways {ways}" in said


def test_what_the_message_proposes_works(six, tmp_path):
    family = metaft.families.episodes("folder", 6, 1, 5, "all", root=six, size=8)
    assert family.batch(0, 2).support_x.shape == (2, 6, 3, 8, 8)
    with pytest.raises(MetaftError, match=r"folder \(all\) has only 6 classes; ask for ways=6 or fewer, or add"):
        metaft.families.episodes("folder", 7, 1, 5, "all", root=six, size=8)
    assert min(class_lists.sizes(29)) == 5 > min(class_lists.sizes(28))
    for split, names in (("train", "c0\nc1"), ("val", "c2\nc3"), ("test", "c4\nc5")):
        (six / f"{split}.txt").write_text(names)
    assert metaft.families.episodes("folder", 2, 1, 5, "test", root=six, size=8).images.names == ("c4", "c5")
    with pytest.raises(
        MetaftError, match=r"2 / 2 / 2 .train / val / test., as train.txt, val.txt, test.txt say, so the m"
    ):
        metaft.families.episodes("folder", 3, 1, 5, "test", root=six, size=8)


def test_two_classes_can_be_compared_on_all_together(tmp_path):
    for name in "ab":
        fill(tmp_path / name, images=6)
    with pytest.raises(MetaftError, match=r"2 class folders in .* at least 3 are needed; .*--split all"):
        metaft.families.episodes("folder", 2, 1, 5, root=tmp_path, size=8)
    assert metaft.families.episodes("folder", 2, 1, 5, "all", root=tmp_path, size=8).outputs == 2


def test_a_class_of_too_few_images_is_told_with_the_way_to_leave_it_out(six):
    (six / "c0" / "0.png").unlink()
    with pytest.raises(MetaftError, match=r"only 19 \(c0\): ask for fewer, or leave out the 1 of 6 .*min_examples=20"):
        metaft.families.episodes("folder", 2, 5, 15, "all", root=six, size=8)
    family = metaft.families.episodes("folder", 2, 5, 15, "all", root=six, size=8, min_examples=20)
    assert family.images.names == ("c1", "c2", "c3", "c4", "c5")
    assert family.describe()["min_examples"] == 20


def test_all_classes_of_a_published_set_are_those_of_its_splits():
    one, two, three = (catalog.load_images("glyphs", split, alphabets=1) for split in ("train", "val", "test"))
    held = catalog.load_images("glyphs", "all", alphabets=1)
    assert held.names == one.names + two.names + three.names
    assert held.classes == len(set(held.names))
    assert len(held.images) == int(held.counts.sum())
