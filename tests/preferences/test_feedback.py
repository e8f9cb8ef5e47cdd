"""A judge against a plain loop of Hugging Face's model, and what its labels and revisions become."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from metaft.assembly.causal_model import chat_model
from metaft.cli import cli
from metaft.cli.judge import principle_names
from metaft.commands import judge as judging
from metaft.commands import revise as revising
from metaft.data.dialogues.conversation import Turn
from metaft.data.dialogues.load import instructions, preferences
from metaft.data.locate import find
from metaft.errors import MetaftError
from metaft.language.chat_model import ChatModel
from metaft.models.pretrained import STORIES
from metaft.preferences.feedback import principle as principles
from metaft.preferences.feedback.agreement import place_bias, report, share
from metaft.preferences.feedback.judge import LEAD, Judge, Pair, Verdicts, water_level, written
from metaft.preferences.feedback.portions import unfinished_of
from metaft.preferences.feedback.principle import find_principle, names, read
from metaft.preferences.feedback.revision import Revised, Reviser
from metaft.preferences.feedback.rules import rule_scores
from tests.prompting.small import words

with_stories = pytest.mark.skipif(
    find(STORIES, None, lambda root: root / STORIES if (root / STORIES).is_dir() else None) is None,
    reason="there is no folder stories260k in the data root",
)
PAIRS: list[Pair] = [
    ((Turn("user", "What does the king like?"),), "The red house.", "My neighbour sells an old car."),
    ((Turn("user", "Hello"), Turn("assistant", "A dog."), Turn("user", "Which?")), "The old one, of the king.", "No"),
    ((Turn("system", "Be brief."), Turn("user", "Is it old?")), "Yes", "It has seen a review " * 6),
]
HELPFUL = find_principle("helpful")


@pytest.fixture(scope="module")
def llama() -> Any:
    """Hugging Face's, random, by its own class."""
    transformers = pytest.importorskip("transformers", reason="the extra text is not installed")
    config = transformers.LlamaConfig(
        vocab_size=words().vocabulary, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=True, pad_token_id=0, initializer_range=0.4,
        max_position_embeddings=2048,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def ours(llama: Any, tmp_path_factory: pytest.TempPathFactory) -> ChatModel:
    """The same weights, read from a folder."""
    folder = tmp_path_factory.mktemp("llama")
    llama.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(words().text)
    return chat_model(f"hf:{folder}", "plain")


def log_p(llama: Any, ids: list[int], begin: int) -> float:
    """Σ log p of a text's words from one on, by one pass of Hugging Face's over it alone."""
    with torch.no_grad():
        said = llama(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(float(said[i - 1, ids[i]]) for i in range(begin, len(ids)))


def test_it_is_a_plain_loop_of_hugging_faces(llama: Any, ours: ChatModel) -> None:
    asked = (HELPFUL, find_principle("concise"))
    found = Judge(ours, asked)(PAIRS)
    assert found.first.shape == (3, 2, 2)
    for row, (prompt, one, other) in enumerate(PAIRS):
        dialogue = "\n\n".join(f"{turn.role.title()}: {turn.text}" for turn in prompt)
        mass = []
        for column, principle in enumerate(asked):
            for order, (a, b) in enumerate(((one, other), (other, one))):
                text = f"Question: {written(principle, dialogue, a, b)}\nAnswer: {LEAD}"
                text = ours.template.begin + text
                before = words().pieces([text])[0].tolist()
                both = [words().pieces([text + letter])[0].tolist() for letter in (" A", " B")]
                assert all(ids[: len(before)] == before for ids in both)
                p = [math.exp(log_p(llama, ids, len(before))) for ids in both]
                assert float(found.first[row, column, order]) == pytest.approx(p[order] / sum(p), rel=1e-4)
                mass.append(sum(p))
        assert float(found.letters[row]) == pytest.approx(sum(mass) / 4, rel=1e-4)
    assert torch.equal(found.preference, found.first.flatten(1).mean(-1))


def test_pairs_do_not_hang_on_each_other_and_orders_cancel(ours: ChatModel) -> None:
    judge = Judge(ours, (HELPFUL,))
    whole, alone = judge(PAIRS), Verdicts.joined([judge([pair]) for pair in PAIRS])
    torch.testing.assert_close(whole.first, alone.first, rtol=1e-5, atol=1e-7)
    turned = judge([(prompt, other, one) for prompt, one, other in PAIRS])
    torch.testing.assert_close(turned.preference, 1 - whole.preference, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(turned.first, 1 - whole.first.flip(-1), rtol=1e-6, atol=1e-9)


def test_rules_are_lengths_and_log_probabilities(llama: Any, ours: ChatModel) -> None:
    found = rule_scores(ours, PAIRS, 500)
    for row, (prompt, *answers) in enumerate(PAIRS):
        for side, answer in enumerate(answers):
            first, last = ours.template.parts(prompt, answer, words())
            said = log_p(llama, [*first, *last], len(first))
            assert float(found["likelier"][row, side]) == pytest.approx(said, rel=1e-4)
            assert float(found["likelier a word"][row, side]) == pytest.approx(said / len(last), rel=1e-4)
            assert float(found["longer"][row, side]) == len(words().pieces([answer])[0])


def test_what_is_too_long_is_cut_where_it_is_longest(ours: ChatModel) -> None:
    judge = Judge(ours, (HELPFUL,), length=2048)
    long = ((Turn("user", "the king " * 100 + "at last"),), "Short.", "a dog " * 60)
    branches, cut = judge.question(HELPFUL, *long)
    frame = len(judge.question(HELPFUL, (Turn("user", "x"),), "y", "z")[0][0][0])
    assert not cut
    judge = Judge(ours, (HELPFUL,), length=frame + 150)
    branches, cut = judge.question(HELPFUL, *long)
    assert cut
    assert frame + 100 < max(len(before) + len(behind) for before, behind in branches) <= frame + 150
    text = words().decode(branches[0][0])
    assert "Short." in text
    assert "at last" in text  # the end of the dialogue, and the beginnings of answers
    assert judge([*PAIRS, long]).cut == 1
    with pytest.raises(MetaftError, match="a judge's question needs more words"):
        Judge(ours, (HELPFUL,), length=frame + 20)([long])


@pytest.mark.parametrize(
    ("lengths", "room", "level"), [((5, 9, 100), 40, 26), ((10, 10), 40, 10), ((8, 8, 8), 12, 4), ((1, 50, 50), 21, 10)]
)
def test_water_level(lengths: tuple[int, ...], room: int, level: int) -> None:
    assert water_level(lengths, room) == level
    assert sum(min(one, level) for one in lengths) <= room


def test_what_the_place_does_is_told_from_what_the_answers_do() -> None:
    blind = Verdicts(torch.tensor([[[0.8, 0.2]]] * 4, dtype=torch.float64), torch.ones(4))
    assert place_bias(blind).first == pytest.approx(0.8)
    assert place_bias(blind).same_place == 1.0
    assert report(blind, {}, True).agreement["judge"].mean == 0.5
    sure = Verdicts(torch.tensor([[[0.9, 0.9]], [[0.1, 0.1]]], dtype=torch.float64), torch.ones(2))
    assert place_bias(sure).first == pytest.approx(0.5)
    assert place_bias(sure).same_place == 0.0
    found = report(sure, {"longer": torch.tensor([[2.0, 1.0], [2.0, 1.0]])}, True)
    assert found.agreement["judge"].mean == 0.5
    assert found.agreement["longer"].mean == 1.0
    assert found.rules["longer"].mean == 0.5
    assert found.certainty == pytest.approx(0.9)
    assert report(sure, {}, False).agreement == {}


def test_a_share_has_wilsons_interval() -> None:
    found = share(torch.tensor([1.0] * 70 + [-1.0] * 30))
    assert (found.mean, found.count, found.is_chance) == (0.7, 100, False)
    assert found.low == pytest.approx(0.6042, abs=1e-4)  # as statsmodels' proportion_confint(70, 100, method="wilson")
    assert found.high == pytest.approx(0.7811, abs=1e-4)
    assert share(torch.tensor([1.0, -1.0, 0.0])).is_chance


def test_a_reviser_answers_criticises_and_writes_anew(ours: ChatModel) -> None:
    """Each piece is what the model says behind the dialogue so far, by the same numbers."""
    ours, two = ours, (HELPFUL, find_principle("concise"))
    prompts = [pair[0] for pair in PAIRS]
    found = Reviser(ours, two, words=6, seed=3)(prompts, [4, 5, 6])
    one = next(one for one in found if isinstance(one, Revised))
    assert [step.principle for step in one.steps] == ["helpful", "concise"]
    assert one.steps[1].answer == one.steps[0].revision
    assert one.answer == one.steps[1].revision
    alone = Reviser(ours, two, words=6, seed=3)(prompts[:1], [4])
    assert alone[0] == found[0]
    assert Reviser(ours, two, words=6, seed=4)(prompts[:1], [4]) != alone
    assert Reviser(ours, two, words=6, length=30)(prompts[:1], [4]) == ["leave no room for what is to be written"]


@pytest.mark.parametrize("name", names())
def test_a_principle_is_one_file(name: str) -> None:
    found = find_principle(name)
    assert found.name == name
    assert all(isinstance(text, str) and text for text in vars(found).values())
    assert (principles.FOLDER / f"{name}.toml").read_text().startswith("# ")  # says where it is from


def test_a_new_principle_is_one_file_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "french.toml").write_text('principle = "A good answer is in French."')
    assert read(tmp_path / "french.toml") == find_principle(str(tmp_path / "french.toml"))
    assert find_principle("A good answer is in French.").critique == read(tmp_path / "french.toml").critique
    assert list(names()) == principle_names()
    monkeypatch.setattr(principles, "FOLDER", tmp_path)
    assert names() == ("french",)
    assert "in French" in find_principle("french").revision


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("principle = ", "is not valid TOML"),
        ('question = "Which?"', "has no principle"),
        ('principle = "x"\nquestoin = "Which?"', "unknown 'questoin'; did you mean 'question'"),
        ("principle = 3", "principle should be a text"),
    ],
)
def test_a_file_that_does_not_do_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(MetaftError, match=said):
        find_principle(str(tmp_path / "own.toml"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judged")
    rows = [
        {"prompt": f"{name} had a {toy} and", "chosen": "was very happy.", "rejected": "it was red.", "offensive": True}
        for name in ("Tom", "Lily", "Ben", "Mia")
        for toy in ("ball", "car", "dog", "hat")
    ]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "prompts.txt").write_text("\n".join(row["prompt"] for row in rows))  # type: ignore[misc]
    return folder


def called(*given: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, given), "--model", "stories260k", "--template", "text"])


@with_stories
def test_labels_are_what_tuning_reads(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.jsonl"
    told = called("judge", data / "pairs.jsonl", "--length", 400, "--limit", 12, "--out", out)
    assert told.exit_code == 0, told.output
    assert "agrees with people" in told.output
    assert "happy" not in told.output
    people, judged = preferences(data / "pairs.jsonl", "all"), preferences(out, "all")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(judged) == 12
    assert all(row["offensive"] for row in rows)
    agreed = 0
    for one, row in zip(judged, rows, strict=True):
        (same,) = [pair for pair in people if pair.prompt == one.prompt]
        assert {one.chosen, one.rejected} == {same.chosen, same.rejected}
        assert row["people_agree"] == (one.chosen == same.chosen)
        assert one.probability == pytest.approx(sum(row["orders"][0]) / 2, abs=1e-6)
        assert one.probability >= 0.5  # type: ignore[operator]
        agreed += row["people_agree"]
    record = json.loads((tmp_path / "labels.json").read_text())
    assert record["results"]["judge"]["agreement"]["judge"]["mean"] == pytest.approx(agreed / 12)
    assert record["settings"]["principles"][0]["name"] == "helpful"
    again = called("judge", data / "pairs.jsonl", "--out", out)
    assert isinstance(again.exception, MetaftError | SystemExit)
    assert "is there already" in again.output + str(again.exception)


@with_stories
def test_two_answers_are_written_where_there_are_none(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "own.jsonl"
    how = ("--answers-from", "stories260k", "--length", 400, "--words", 6, "--limit", 5)
    told = called("judge", data / "prompts.txt", *how, "--out", out)
    assert told.exit_code == 0, told.output
    assert "agrees with people" not in told.output
    found = preferences(out, "all")
    assert 0 < len(found) <= 5
    assert all(one.chosen != one.rejected for one in found)
    assert "people_agree" not in out.read_text()


@with_stories
def test_revisions_are_what_tuning_reads(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "sft.jsonl"
    told = called("revise", data / "prompts.txt", "--words", 8, "--limit", 9, "--principle", "concise", "--out", out)
    assert told.exit_code == 0, told.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [one.answer for one in instructions(out, "all")] == [row["steps"][-1]["revision"] for row in rows]
    assert set(rows[0]["steps"][0]) == {"principle", "answer", "critique", "revision"}
    assert json.loads((tmp_path / "sft.json").read_text())["results"]["revised"]["rows"] == len(rows)


WORK = {
    "judge": ("judge", "pairs.jsonl", "--length", 400, "--limit", 12),
    "judge its answers": ("judge", "prompts.txt", "--answers-from", "stories260k", "--length", 400, "--words", 6,
                          "--limit", 12),
    "revise": ("revise", "prompts.txt", "--words", 8, "--limit", 12, "--principle", "concise"),
}  # fmt: skip


@with_stories
@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize("torn", [False, True])
def test_what_was_stopped_goes_on_to_the_same_end(
    name: str, torn: bool, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    for module in (judging, revising):
        monkeypatch.setattr(module, "TOGETHER", 5)
    whole, part = tmp_path / "whole.jsonl", tmp_path / "part.jsonl"
    assert called(*WORK[name], "--out", whole).exit_code == 0
    asked = (Judge, "__call__") if name != "revise" else (Reviser, "__call__")
    own, count = getattr(*asked), [0]

    def dies(self: Any, *given: Any) -> Any:
        count[0] += 1
        if count[0] == 3:
            raise KeyboardInterrupt
        return own(self, *given)

    monkeypatch.setattr(*asked, dies)
    assert called(*WORK[name], "--out", part).exit_code != 0
    left = unfinished_of(part)
    assert left.exists()
    if torn:  # in the middle of a line
        left.write_bytes(left.read_bytes()[:-20])
    told = called(*WORK[name], "--out", part)
    assert "is unfinished; go on with --resume" in told.output + str(told.exception)
    told = called(*WORK[name], "--seed", 1, "--out", part, "--resume")
    assert "seed was 0, and is 1 now" in told.output + str(told.exception)
    before = count[0]
    assert called(*WORK[name], "--out", part, "--resume").exit_code == 0
    assert count[0] - before == 1 + torn  # of three portions two were kept
    assert part.read_bytes() == whole.read_bytes()
    results = [json.loads(file.with_suffix(".json").read_text())["results"] for file in (whole, part)]
    assert results[0] == results[1]
    assert not left.exists()
    told = called(*WORK[name], "--out", part, "--resume")
    assert "is finished; leave --resume out" in told.output + str(told.exception)


@with_stories
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("judge", "pairs.jsonl", "--resume"), "give it by --out"),
        (("judge", "pairs.jsonl", "--resume", "--out", "new.jsonl"), "was not begun"),
        (("judge", "pairs.jsonl", "--resume", "--overwrite", "--out", "new.jsonl"), "give one of them"),
        (("judge", "pairs.jsonl", "--principle", "helpfull"), "did you mean 'helpful'"),
        (("judge", "pairs.jsonl", "--limit", "0"), "limit"),
        (("judge", "prompts.txt"), "prompts.txt"),
        (("judge", "pairs.jsonl", "--out", "labels.csv"), "ends with .jsonl"),
        (("judge", "pairs.jsonl", "--seed", "-1"), "seed"),
        (("judge", "self-instruct"), "--answers-from MODEL"),
        (("revise", "prompts.txt", "--out", "sft.jsonl", "--temperature", "0"), "temperature"),
        (("revise", "nothing", "--out", "sft.jsonl"), "unknown prompts 'nothing'"),
    ],
)
def test_what_cannot_be_is_one_line(
    given: tuple[str, ...], said: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    told = called(*given)
    assert told.exit_code != 0
    assert said in told.output + str(told.exception)
