"""Instructions, preferences and prompts as they lie on the disk, and which split each prompt falls to.

What hh-harmless holds is offensive: its tests look at counts and digests alone.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaft.data.dialogues import division, human_assistant
from metaft.data.dialogues.conversation import Instruction, Preference, Turn, digest
from metaft.data.dialogues.load import described, instructions, load, preferences
from metaft.data.dialogues.prompts import prompts
from metaft.data.dialogues.sets import SETS
from metaft.errors import MetaftError
from tests.text.real import real_root

USER = lambda text: Turn("user", text)
ASKED = (USER("Who?"),)
SEVERAL = (Turn("system", "Be short."), USER("Who?"), Turn("assistant", "She."), USER("When?"))
MESSAGES = [{"role": turn.role, "content": turn.text} for turn in SEVERAL]
FROM = [{"from": {"user": "human", "assistant": "gpt"}.get(t.role, t.role), "value": t.text} for t in SEVERAL]
SAID = {"role": "assistant", "content": " Now. "}
LATER = {"role": "assistant", "content": "Later."}
HH = "\n\nHuman: Who?\n\nAssistant: She.\n\nHuman: When?\n\nAssistant:"


def put(folder: Path, rows: list[Any], name: str = "own.jsonl") -> Path:
    file = folder / name
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return file


@pytest.mark.parametrize(
    ("row", "meant"),
    [
        ({"instruction": " Who? ", "input": "", "output": "She."}, Instruction(ASKED, "She.")),
        ({"instruction": "Who?", "output": "She.", "score": 3}, Instruction(ASKED, "She.")),
        ({"instruction": "Add.", "input": "1 2", "output": "3"}, Instruction((USER("Add.\n\n1 2"),), "3")),
        ({"instruction": "Add.", "context": "1 2", "response": "3"}, Instruction((USER("Add.\n\n1 2"),), "3")),
        (
            {"instruction": "When?", "output": "Now.", "system": "Be short.", "history": [["Who?", "She."]]},
            Instruction(SEVERAL, "Now."),
        ),
        ({"prompt": "Who?", "completion": "She."}, Instruction(ASKED, "She.")),
        ({"prompt": "Who?", "answer": "She."}, Instruction(ASKED, "She.")),
        ({"prompt": "Who?", "response": "She."}, Instruction(ASKED, "She.")),
        ({"prompt": MESSAGES, "completion": [SAID]}, Instruction(SEVERAL, "Now.")),
        ({"messages": [*MESSAGES, SAID]}, Instruction(SEVERAL, "Now.")),
        ({"conversations": [*FROM, {"from": "gpt", "value": "Now."}]}, Instruction(SEVERAL, "Now.")),
        ({"prompt": "Who?", "chosen": "She.", "rejected": "He."}, Preference(ASKED, "She.", "He.")),
        ({"prompt": MESSAGES, "chosen": "Now.", "rejected": "Later."}, Preference(SEVERAL, "Now.", "Later.")),
        ({"prompt": MESSAGES, "chosen": [SAID], "rejected": [LATER]}, Preference(SEVERAL, "Now.", "Later.")),
        (
            {"prompt": MESSAGES, "chosen": [*MESSAGES, SAID], "rejected": [*MESSAGES, LATER]},
            Preference(SEVERAL, "Now.", "Later."),
        ),
        (
            {"chosen": [*MESSAGES, SAID], "rejected": [*MESSAGES, LATER]},
            Preference(SEVERAL, "Now.", "Later."),
        ),
        (
            {"conversations": FROM, "chosen": {"from": "gpt", "value": "Now."}, "rejected": LATER},
            Preference(SEVERAL, "Now.", "Later."),
        ),
        ({"chosen": f"{HH} Now.", "rejected": f"{HH} Later."}, Preference(SEVERAL[1:], "Now.", "Later.")),
    ],
)
def test_fields_that_people_use(row: dict[str, Any], meant: Any, tmp_path: Path) -> None:
    assert load(put(tmp_path, [row]), "all") == [meant]
    assert prompts(put(tmp_path, [row]), "all") == [meant.prompt]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "Who?", "reply": "She."}, "found the fields question, reply; expected instruction"),
        ({"prompt": "Who?"}, "found the fields prompt; expected instruction"),
        ({"prompt": "Who?", "chosen": "She."}, "no 'rejected' beside the other answer; found: prompt, chosen"),
        ({"chosen": "She.", "rejected": "He."}, "no prompt; found: chosen, rejected"),
        ({"prompt": "Who?", "answer": "  "}, "'answer' is empty"),
        ({"prompt": "", "answer": "She."}, "'prompt' is empty"),
        ({"prompt": "Who?", "answer": 3}, "'answer' is 3, not a text"),
        ({"prompt": "Who?", "answer": None}, "'answer' is null, not a text"),
        ({"prompt": "Who?", "chosen": "She.", "rejected": "She. "}, "'chosen' and 'rejected' are equal"),
        ({"prompt": "Who?", "chosen": "", "rejected": "She."}, "'chosen' is empty"),
        ({"messages": MESSAGES}, "the dialogue ends with the user's turn"),
        ({"messages": [SAID]}, "the prompt is empty"),
        ({"messages": [*MESSAGES, SAID, SAID]}, "the prompt ends with the assistant's turn"),
        ({"messages": []}, "'messages' is an empty list, not a list of turns"),
        ({"messages": "Who?"}, "'messages' is a text, not a list of turns"),
        (
            {"messages": [{"role": "usr", "content": "a"}, SAID]},
            "turn 1 of 'messages': unknown role 'usr'; did you mean",
        ),
        ({"messages": [{"role": "user"}, SAID]}, "turn 1 of 'messages': no 'content'; found: role"),
        ({"messages": [{"role": "user", "content": ["a"]}, SAID]}, "'content' is a list, not a text"),
        ({"messages": [{"role": "user", "content": " "}, SAID]}, "'content' is empty"),
        ({"prompt": MESSAGES, "chosen": MESSAGES, "rejected": [LATER]}, "'chosen' ends with the user's turn"),
        ({"chosen": [*MESSAGES, SAID], "rejected": [*MESSAGES[1:], LATER]}, "answer different prompts"),
        ({"prompt": "Who?", "chosen": [*MESSAGES, SAID], "rejected": [LATER]}, "does not begin with the row's prompt"),
        ({"chosen": f"{HH} Now.", "rejected": HH}, "'rejected' is empty in its last turn"),
        ({"instruction": "Who?", "output": "She.", "history": ["a"]}, "'history' is not a list of pairs"),
        ('{"prompt": "Who?", }', "not JSON"),
        ("[1, 2]", "list, not a JSON object"),
    ],
)
def test_a_row_that_is_none_is_named_by_file_and_line(row: Any, said: str, tmp_path: Path) -> None:
    good = {"prompt": "What?", "chosen": "a", "rejected": "b"}
    if isinstance(row, dict) and not {"chosen", "rejected"} & set(row):
        good = {"prompt": "What?", "answer": "a"}
    with pytest.raises(MetaftError) as error:
        load(put(tmp_path, [good, "", row]), "all")
    assert f"{tmp_path / 'own.jsonl'}, line 3" in str(error.value)
    assert said in str(error.value)
    if not isinstance(row, dict):
        return
    file = tmp_path / "own.json"
    file.write_text(f"\n[\n{json.dumps(good)},\n\n{json.dumps(row, indent=1)}]\n")
    with pytest.raises(MetaftError) as error:
        load(file, "all")
    assert f"{file}, line 5" in str(error.value)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"prompt": "a"}', "not a JSON list of objects; one object a line is called .jsonl"),
        (b'[\n{"prompt": "a", "answer": "b"},\n{"prompt": }]', "line 3: not JSON"),
        (b'[\n{"prompt": "a", "answer": "b"},\n]', "line 3: not JSON"),
        (b'[\n{"prompt": "a", "answer": "b"}\n', "line 3: not JSON"),
        (b'[\n{"prompt": "a", "answer": "b"}]\n[]', "line 3: something stands behind"),
        (b'[\n{"prompt": "a",\n "answer": "b"},\n\n 3]', "line 5: int, not a JSON object"),
        (b"[]", "holds no dialogue"),
        (b'[{"prompt": "\xff"}]', "not a text file in UTF-8"),
    ],
)
def test_a_list_that_is_none_is_named_by_its_line(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    file.write_bytes(content)
    with pytest.raises(MetaftError, match=said):
        load(file, "all")


def _csv(file: Path, rows: list[dict[str, Any]]) -> None:
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]), delimiter="\t" if file.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], Any]] = {
    ".json": lambda file, rows: file.write_text(json.dumps(rows, indent=2)),
    ".jsonl": lambda file, rows: file.write_text("\n".join(map(json.dumps, rows))),
    ".jsonl.gz": lambda file, rows: file.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode())),
    ".csv": _csv,
    ".tsv": _csv,
}


@pytest.mark.parametrize("ending", WRITERS)
def test_all_kinds_of_files_hold_the_same(ending: str, tmp_path: Path) -> None:
    rows = [
        {"instruction": f"Say {i}, twice", "input": "" if i % 2 else f'a "b" {i}', "output": f"{i}, {i}"}
        for i in range(9)
    ]
    file = tmp_path / f"own{ending}"
    WRITERS[ending](file, rows)
    found = instructions(file, "all")
    assert [one.answer for one in found] == [f"{i}, {i}" for i in range(9)]
    assert [one.prompt[0].text for one in found][:2] == ['Say 0, twice\n\na "b" 0', "Say 1, twice"]
    assert digest(found) == digest(
        Instruction((USER("\n\n".join(filter(None, (row["instruction"], row["input"])))),), row["output"])
        for row in rows
    )


def test_a_table_names_the_line_of_a_bad_row(tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text('prompt;answer\nWho?;"She;\nor he"\nWhen?;\n')
    with pytest.raises(MetaftError, match=r"own\.csv, line 4: 'answer' is empty"):
        load(file, "all")
    file.write_text("prompt,prompt,answer\n1,2,3\n")
    with pytest.raises(MetaftError, match="two columns are called 'prompt'"):
        load(file, "all")


def test_kinds_are_not_mixed(tmp_path: Path) -> None:
    answer, pair = {"prompt": "Who?", "answer": "a"}, {"prompt": "Who?", "chosen": "a", "rejected": "b"}
    with pytest.raises(MetaftError, match="line 2: a preference, and the first row is an instruction"):
        load(put(tmp_path, [answer, pair]), "all")
    one, other = put(tmp_path, [answer], "one.jsonl"), put(tmp_path, [pair], "two.jsonl")
    with pytest.raises(MetaftError, match=r"mixes instructions and preferences \(one.jsonl: instr"):
        load(f"{one}+{other}", "all")
    with pytest.raises(MetaftError, match="holds preferences, not instructions; take alpaca-demo"):
        instructions(other, "all")
    with pytest.raises(MetaftError, match="holds instructions, not preferences; take hh-harmless"):
        preferences(one, "all")


def test_repeats_are_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"prompt": f"{i % 4}?", "answer": "a"} for i in range(9)]
    file = put(tmp_path, [*rows, {"prompt": "0?", "answer": "b"}])
    assert len(load(file, "all")) == 5
    assert "5 examples of 10 left out that repeat another" in caplog.text
    assert described(file)["left_out"] == {"repeat another": 5}
    pair = {"prompt": "Who?", "chosen": "a", "rejected": "b"}
    both = put(tmp_path, [pair, pair | {"chosen": "b", "rejected": "a"}])
    assert len(load(both, "all")) == 2
    assert "of 1 pair of answers either is chosen once; they are kept" in caplog.text


def test_a_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    assert len(load(put(tmp_path, [{"prompt": "a", "answer": "b"}]), "all")) == 1
    assert len(load(put(tmp_path, [{"prompt": str(i), "answer": "b"} for i in range(3)]), "all")) == 3


def own(folder: Path, count: int, name: str = "own.jsonl", kind: str = "answer") -> Path:
    more = {"answer": lambda i: {"answer": f"a{i}"}, "pair": lambda i: {"chosen": f"a{i}", "rejected": "b"}}[kind]
    return put(folder, [{"prompt": f"Question {i % count}?", **more(i)} for i in range(2 * count)], name)


@pytest.mark.parametrize("count", [3, 4, 10, 400])
def test_a_prompt_is_in_one_split(count: int, tmp_path: Path) -> None:
    for seed in range(5):
        parts = {split: load(own(tmp_path, count), split, seed=seed) for split in ("train", "val", "test")}
        assert sum(map(len, parts.values())) == 2 * count
        found = {split: {one.prompt for one in examples} for split, examples in parts.items()}
        assert all(found.values())
        assert sum(map(len, found.values())) == count
        if count == 400:
            assert 20 < len(found["val"]) < 60
            assert 20 < len(found["test"]) < 60


def test_a_prompt_falls_to_the_same_split_wherever_it_stands(tmp_path: Path) -> None:
    few, more = own(tmp_path, 60, "few.jsonl"), own(tmp_path, 200, "more.jsonl", "pair")
    for split in ("train", "val", "test"):
        known = {one.prompt for one in load(few, "all")}
        assert {one.prompt for one in load(few, split)} == {one.prompt for one in load(more, split)} & known
    tests = [tuple(one.prompt for one in load(more, "test", seed=seed)) for seed in (0, 0, 1)]
    assert tests[0] == tests[1] != tests[2]


def test_dialogues_that_begin_alike_stay_together() -> None:
    turns = [(USER(f"{i}?"), Turn("assistant", f"{n}"), USER("And then?")) for i in range(50) for n in range(3)]
    of = division.divided([turn[: 1 + 2 * (i % 2)] for i, turn in enumerate(turns)], 0, "these")
    assert all(len(set(of[i : i + 3])) == 1 for i in range(0, 150, 3))
    assert division.key((Turn("system", "x"), USER("Who, then?!"))) == division.key((USER("who then"),))
    assert division.key((USER("+"),)) != division.key((USER("-"),))
    with pytest.raises(MetaftError, match="these has 2 different prompts; 3 are needed"):
        division.divided([turns[0], turns[1], turns[3]], 0, "these")


def test_unknown_names_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METAFT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    for asked, said in (
        ("alpacademo", "unknown set of dialogues 'alpacademo'; did you mean 'alpaca-demo'"),
        ("dolly-sample+dolly-sample", "'dolly-sample' is asked for twice"),
        ("dolly-sample", "dolly-sample was not found under .*no file instructions/dolly_sample.jsonl"),
        (str(tmp_path), "is a folder; give a file .json"),
        (tmp_path / "none.json", "cannot read .*none.json"),
        (put(tmp_path, ["a"], "own.xml"), "expected a file .json, .jsonl, .csv, .tsv"),
    ):
        with pytest.raises(MetaftError, match=said):
            load(asked, "train")
    with pytest.raises(MetaftError, match="unknown split 'valid' of dialogues; did you mean 'val'"):
        load("dolly-sample", "valid")


@pytest.mark.parametrize(
    ("name", "examples", "left_out", "starts"),
    [
        ("alpaca-demo", 985, {"repeat another": 14}, "62e59351d39aa070"),
        ("dolly-sample", 151, {}, "37671440ac49df2f"),
        ("self-instruct", 175, {}, "5af0098bc2973ab0"),
        ("user-oriented", 252, {}, "7adab3d1002b6a09"),
        ("hh-harmless", 2303, {"have an empty answer": 4, "differ before the last answer": 5}, "25db8673f6696108"),
        ("dpo-demo", 295, {"repeat another": 5}, "4657648612033ff4"),
    ],
)
def test_shipped_sets_hold_what_they_say(name: str, examples: int, left_out: dict[str, int], starts: str) -> None:
    """The digests are of texts that plain ``json`` and ``str.split`` took out of the files."""
    root = real_root(SETS[name].file)
    found = load(name, "all", root)
    assert len(found) == examples
    assert digest(found).startswith(starts)
    told: Any = described(name, root)
    assert (told["sets"], told["kind"], told["left_out"]) == ([name], SETS[name].kind, left_out)
    assert sum(part["examples"] for part in told["splits"].values()) == examples
    for split, part in told["splits"].items():
        own = load(name, split, root)
        assert part["digest"] == digest(own)
        assert 0.07 * examples < len(own) or split == "val"
        assert all(one.prompt[-1].role == "user" for one in own)
    assert SETS[name].where(root) == str(root / SETS[name].file)


def test_frames_are_taken_off() -> None:
    root = real_root(SETS["dolly-sample"].file, SETS["self-instruct"].file)
    found = instructions("dolly-sample+self-instruct", "all", root)
    assert len(found) == 151 + 175
    texts = [text for one in found for text in (one.prompt[0].text, one.answer)]
    assert not any("###" in text or "Below is an instruction" in text for text in texts)
    assert found[0].prompt == (USER("Why is Citizen Kane considered the Best Film?"),)
    assert any("\n\n" in one.prompt[0].text for one in found[:151])


def test_turns_of_hh_are_told_apart() -> None:
    assert human_assistant.turns(f"{HH} Now:\n\nHumans: all", "here") == (
        *SEVERAL[1:],
        Turn("assistant", "Now:\n\nHumans: all"),
    )
    root = real_root(SETS["hh-harmless"].file)
    found = preferences("hh-harmless", "all", root)
    assert sum(len(one.prompt) == 1 for one in found) == 658
    assert max(len(one.prompt) for one in found) == 35
    assert not any("\n\nHuman:" in text for one in found for text in (one.chosen, one.rejected))


def test_prompts_of_files_and_plain_texts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "own.txt"
    file.write_text("Once upon a time\n\n There was \nOnce upon a time\n" + "\n".join(f"Line {i}" for i in range(30)))
    found = prompts(file, "all")
    assert found[:2] == [(USER("Once upon a time"),), (USER("There was"),)]
    assert len(found) == 32
    parts = [prompts(file, split) for split in ("train", "val", "test")]
    assert sorted(p[0].text for part in parts for p in part) == sorted(p[0].text for p in found)
    rows = [{"prompt": "Who?"}, {"prompt": MESSAGES}, {"messages": [*MESSAGES, SAID]}, {"messages": MESSAGES}]
    assert prompts(put(tmp_path, rows), "all") == [ASKED, SEVERAL]
    with pytest.raises(MetaftError, match=r"own\.jsonl, line 2: no field 'prompt'; found: text"):
        prompts(put(tmp_path, [{"prompt": "Who?"}, {"text": "What?"}]), "all")
    with pytest.raises(MetaftError, match="unknown prompts 'tinystory'; did you mean 'tinystories'"):
        prompts("tinystory", "train")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(MetaftError, match="holds no prompt"):
        prompts(tmp_path / "empty.txt", "all")


def test_prompts_of_shipped_data(caplog: pytest.LogCaptureFixture) -> None:
    root = real_root("tinystories/valid.jsonl.gz", "sst2/sentences/dev.tsv", SETS["hh-harmless"].file)
    stories = prompts("tinystories", "val", root, words=5)
    assert all(len(one) == 1 and len(one[0].text.split()) == 5 for one in stories)
    assert (USER("Once upon a time, in"),) in stories
    reviews = prompts("sst2", "val", root, words=20)
    assert f"{872 - len(reviews)} texts of 872 left out that have no more than 20 words" in caplog.text
    assert prompts("hh-harmless", "test", root) == [one.prompt for one in preferences("hh-harmless", "test", root)]
    with pytest.raises(MetaftError, match="words"):
        prompts("sst2", "val", root, words=0)
