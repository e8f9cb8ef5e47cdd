"""Chat templates: how turns are written as one text, and which of its words are an answer's."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from metaft.data.dialogues.conversation import Prompt, Turn
from metaft.data.notes import say
from metaft.data.text import decoded
from metaft.data.texts import reading
from metaft.data.texts.labelled_texts import PADDING
from metaft.data.texts.tokenizer import Tokenizer
from metaft.errors import MetaftError, first_line, nearest
from metaft.language.chat_templates import CHATML, SHIPPED
from metaft.models import gguf, gguf_file
from metaft.models.pretrained import STORIES, folder_of
from metaft.plugins import foreign
from metaft.validate import require_count

Ids = tuple[int, ...]
Asked = Literal["last", "all"]
FILE, SETTINGS = "chat_template.jinja", "tokenizer_config.json"
"""Where a folder of Hugging Face holds its template: in a file, or among its tokenizer's settings."""
ENDING = ".jinja"
_NOWHERE = "\ue000"
"""A sign that no text has."""


@dataclass(frozen=True)
class ChatTemplate:
    """A template of Jinja2, rendered in its sandbox as Hugging Face does: without files, Python or the time of day.

    An answer's words are its own and the mark that ends it. White space behind that mark belongs to the next turn.

    Args:
        name: what it was asked for as.
        text: the template.
        begin: what it is told as ``bos_token``.
        end: what it is told as ``eos_token``.
    """

    name: str
    text: str = field(repr=False)
    begin: str = ""
    end: str = ""

    def rendered(self, turns: Prompt, opened: bool = False) -> str:
        """Turns as one text.

        Args:
            turns: what is said.
            opened: whether what stands before the assistant's next answer follows.

        Returns:
            The text.

        Raises:
            MetaftError: if the template cannot be rendered, or refuses the turns.
        """
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        try:
            return str(
                _compiled(self.text).render(
                    messages=messages, add_generation_prompt=opened, bos_token=self.begin, eos_token=self.end
                )
            )
        except MetaftError:
            raise
        except Exception as error:  # whatever a stranger's template leads to
            raise MetaftError(f"chat template {self.name}: {first_line(error)}; take another (--template)") from None

    def opened(self, prompt: Prompt, tokenizer: Tokenizer) -> Ids:
        """The numbers of a prompt behind which an answer begins.

        Args:
            prompt: what is said.
            tokenizer: gives the numbers.

        Returns:
            The numbers, what stands before the answer among them.

        Raises:
            MetaftError: as `rendered`, and if there are none.
        """
        found = _numbers(self.rendered(prompt, opened=True), tokenizer)
        if not found:
            raise MetaftError(f"chat template {self.name} writes nothing before an answer; take {', '.join(SHIPPED)}")
        return found

    def parts(self, prompt: Prompt, answer: str, tokenizer: Tokenizer) -> tuple[Ids, Ids]:
        """The numbers of a prompt, and of its answer with the mark that ends it.

        Together they are those of the whole text; where a word would reach over the beginning of the answer, the two
        are read apart, as when a model writes the answer itself, and it is said.

        Args:
            prompt: what is said.
            answer: what the assistant says next.
            tokenizer: gives the numbers.

        Returns:
            Both.

        Raises:
            MetaftError: as `rendered`; and if the template writes a prompt otherwise once it is answered.
        """
        first, last = self._together(self._pieces((*prompt, Turn("assistant", answer)), "last"), tokenizer)
        return first, last

    def masked(
        self, prompt: Prompt, answer: str, tokenizer: Tokenizer, asked: Asked = "last"
    ) -> tuple[Ids, tuple[bool, ...]]:
        """The numbers of the whole, and which of them the assistant says.

        Args:
            prompt: what is said.
            answer: what the assistant says next.
            tokenizer: gives the numbers.
            asked: in the "last" answer, or in "all" of them.

        Returns:
            Both, equally long.

        Raises:
            MetaftError: as `parts`.
        """
        pieces = self._together(self._pieces((*prompt, Turn("assistant", answer)), asked), tokenizer)
        return (
            tuple(number for piece in pieces for number in piece),
            tuple(place % 2 == 1 for place, piece in enumerate(pieces) for _ in piece),
        )

    def fitted(self, prompt: Prompt, answer: str, tokenizer: Tokenizer, length: int) -> Cut:
        """As `parts`, no longer than ``length``: the oldest turns are left out first, then `cut` cuts what is left.

        What the system says stays as long as anything else can go; what the template begins with stays too.

        Args:
            prompt: what is said.
            answer: what the assistant says next.
            tokenizer: gives the numbers.
            length: the most numbers there may be.

        Returns:
            Both, and what was lost.

        Raises:
            MetaftError: as `parts`; and for a length below 2.
        """
        require_count(length, "length", 2)
        whole = prompt
        before, behind = self.parts(prompt, answer, tokenizer)
        while len(before) + len(behind) > length and (shorter := _without_oldest(prompt)) != prompt:
            prompt = shorter
            before, behind = self.parts(prompt, answer, tokenizer)
        marks = self._marks(prompt, before, tokenizer) if len(before) + len(behind) > length else (0, 0)
        found = cut(before, behind, length, *marks)
        return Cut(found.prompt, found.answer, len(whole) - len(prompt), found.prompt_words, found.answer_words)

    def _marks(self, prompt: Prompt, ids: Ids, tokenizer: Tokenizer) -> tuple[int, int]:
        """How many numbers of a prompt stand before what its last turn says, and how many behind it."""
        sides = self.rendered((*prompt[:-1], Turn(prompt[-1].role, _NOWHERE)), opened=True).partition(_NOWHERE)
        before, behind = each_numbers(sides[::2], tokenizer)
        alike = lambda one, other: next(
            (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one)
        )
        return alike(before, ids), alike(behind[::-1], ids[::-1])

    def _pieces(self, turns: Prompt, asked: Asked) -> list[str]:
        """The whole text in pieces: something, an answer, something, an answer, and so on."""
        if asked not in get_args(Asked):
            raise MetaftError(f"unknown answers {str(asked)!r}{nearest(str(asked), get_args(Asked))}")
        whole, found, at = self.rendered(turns), list[str](), 0
        answers = [place for place, turn in enumerate(turns) if turn.role == "assistant"]
        for place in answers if asked == "all" else answers[-1:]:
            before, behind = self.rendered(turns[:place], opened=True), self.rendered(turns[: place + 1])
            own = behind[len(before) :].rstrip()
            if not (behind.startswith(before) and whole.startswith(behind) and own):
                raise MetaftError(
                    f"chat template {self.name} writes a dialogue otherwise once it goes on, so that it cannot be told "
                    f"which words are answer {answers.index(place) + 1} of {len(answers)}; take another (--template "
                    f"{' or '.join(SHIPPED)}){' or the last answer alone' if place != answers[-1] else ''}"
                )
            if own.endswith(turns[place].text):  # nothing marks its end but perhaps a line's
                own = behind[len(before) :]
            found += [whole[at : len(before)], own]
            at = len(before) + len(own)
        return found

    def _together(self, pieces: Sequence[str], tokenizer: Tokenizer) -> list[Ids]:
        """The numbers of pieces of a text, those of the whole if no word reaches over from one to the next."""
        ends = list(itertools.accumulate(pieces))
        *before, whole = each_numbers(ends, tokenizer)
        bounds = [0, *map(len, before), len(whole)]
        if bounds != sorted(bounds) or any(whole[: len(ids)] != ids for ids in before):
            say(f"chat template {self.name}: words reach over the beginnings of answers; these are read apart")
            found = each_numbers(pieces, tokenizer)
        else:
            found = [whole[begin:end] for begin, end in itertools.pairwise(bounds)]
        if not found[0]:
            raise MetaftError(f"chat template {self.name} writes nothing before an answer; take {', '.join(SHIPPED)}")
        return found


@dataclass(frozen=True)
class Cut:
    """A prompt and an answer that fit, and what was lost.

    Args:
        prompt: its numbers.
        answer: its numbers.
        turns: how many turns were left out.
        prompt_words: how many words of the prompt were cut off (without those of whole turns).
        answer_words: how many of the answer.
    """

    prompt: Ids
    answer: Ids
    turns: int = 0
    prompt_words: int = 0
    answer_words: int = 0


def cut(prompt_ids: Ids, answer_ids: Ids, length: int, head: int = 0, foot: int = 0) -> Cut:
    """Cut a prompt at its beginning and an answer at its end, so that both fit.

    Where both are long, each has half; what one does not need is the other's.

    Args:
        prompt_ids: the prompt's numbers.
        answer_ids: the answer's.
        length: the most numbers there may be.
        head: how many numbers of the prompt stay before what is cut, such as a template's marks, if there is room.
        foot: how many stay behind it.

    Returns:
        Both, and how many words were lost.

    Raises:
        MetaftError: for a length below 2.
    """
    require_count(length, "length", 2)
    answers = min(len(answer_ids), max(length - len(prompt_ids), (length + 1) // 2))
    room = min(len(prompt_ids), length - answers)
    kept = head if head + foot < room < len(prompt_ids) else 0
    prompt = prompt_ids[:kept] + prompt_ids[len(prompt_ids) - (room - kept) :]
    return Cut(prompt, answer_ids[:answers], 0, len(prompt_ids) - len(prompt), len(answer_ids) - answers)


def template(asked: str | Path | None, model: str, tokenizer: Tokenizer) -> ChatTemplate:
    """A chat template as it is asked for.

    Args:
        asked: one of `SHIPPED`, or the path of a file ``.jinja``; None for the model's own, and where it has none for
            "plain", which is said.
        model: its name, as `metaft.assembly.causal_model.causal_model` takes it.
        tokenizer: of the model; says what a text begins and ends with, where the model does not.

    Returns:
        The template.

    Raises:
        MetaftError: if there is no such template, or it cannot be read.
    """
    own = of_model(model, tokenizer)
    if asked is None:
        if own is not None and own.text:
            return own
        say(f"{model} brings no chat template; 'plain' is taken, Question: … Answer: … (--template)")
        asked = "plain"
    if asked == "chatml" and tokenizer.find(CHATML[0]) is None:
        say(f"tokenizer {tokenizer.name} has no word {CHATML[0]!r}: the marks of 'chatml' are many words in it")
    if asked in SHIPPED:
        return _checked(ChatTemplate(str(asked), SHIPPED[str(asked)], *_bounds(tokenizer)))
    path = Path(asked).expanduser()
    if path.suffix.lower() != ENDING or not path.is_file():
        missing = f"{path} does not exist" if path.suffix.lower() == ENDING else f"unknown chat template {str(asked)!r}"
        raise MetaftError(f"{missing}{nearest(str(asked), SHIPPED)}; or the path of a file {ENDING}")
    text = decoded(reading.content(path), path, "a template of Jinja2")
    bounds = _bounds(tokenizer) if own is None else (own.begin, own.end)
    return _checked(ChatTemplate(str(path), text, *bounds))


def of_model(model: str, tokenizer: Tokenizer) -> ChatTemplate | None:
    """The template that a model brings: in its GGUF file, or in its folder.

    Args:
        model: "hf:smollm2", "hf:FOLDER", perhaps with options; others bring none.
        tokenizer: of the model.

    Returns:
        The template, its text empty where there is none but its special words are known; None where nothing is known.

    Raises:
        MetaftError: if a file cannot be read.
    """
    others = foreign(model)
    if others is None or others.name == STORIES:
        return None
    folder = folder_of(others.name)
    if (file := gguf.file_of(folder)) is not None:
        told = gguf_file.facts(file)
        ends = [told.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")]
        words = [tokenizer.words[number] if isinstance(number, int) else "" for number in ends]
        return _checked(ChatTemplate(model, str(told.get("tokenizer.chat_template") or ""), *words))
    settings = _settings(folder / SETTINGS)
    text = settings.get("chat_template")
    if (folder / FILE).is_file():
        text = decoded(reading.content(folder / FILE), folder / FILE, "a template of Jinja2")
    if isinstance(text, list):  # several by name
        named = {one.get("name"): one.get("template") for one in text if isinstance(one, dict)}
        text = named.get("default")
    begin, end = (_word(settings.get(name)) for name in ("bos_token", "eos_token"))
    return _checked(ChatTemplate(model, text if isinstance(text, str) else "", begin, end))


def _settings(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    text = decoded(reading.content(file), file, "a JSON object")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MetaftError(f"{file} is not JSON ({first_line(error)}); fetch it again") from None
    return found if isinstance(found, dict) else {}


def _word(told: object) -> str:
    """A special word as a tokenizer's settings tell it: itself, or with more about it."""
    found = told.get("content") if isinstance(told, dict) else told
    return found if isinstance(found, str) else ""


def _bounds(tokenizer: Tokenizer) -> tuple[str, str]:
    """What a tokenizer puts before a text, and the word that ends one; empty where there is none."""
    first = tokenizer.encode([""])[0].tolist()
    try:
        begin, end = tokenizer.bounds()
    except MetaftError:
        return "", ""
    return tokenizer.words[begin] if first[:1] == [begin] else "", tokenizer.words[end]


def _without_oldest(prompt: Prompt) -> Prompt:
    """A prompt without its oldest question and the answers to it; the same where it has one question."""
    system = tuple(itertools.takewhile(lambda turn: turn.role == "system", prompt))
    rest = prompt[len(system) :]
    later = next((place for place, turn in enumerate(rest) if place and turn.role == "user"), 0)
    return system + rest[later:]


def each_numbers(texts: Sequence[str], tokenizer: Tokenizer) -> list[Ids]:
    """Texts as numbers, without special words around them.

    Args:
        texts: some texts.
        tokenizer: gives the numbers.

    Raises:
        MetaftError: if a text holds what stands for padding.
    """
    ids, offsets = tokenizer.pieces(texts)
    if (ids == PADDING).any():
        raise MetaftError(
            f"a text holds {tokenizer.words[PADDING]!r}, number {PADDING} of tokenizer {tokenizer.name}, which stands "
            "for padding; take it out of the template or the texts"
        )
    numbers = ids.tolist()
    return [tuple(numbers[begin:end]) for begin, end in itertools.pairwise(offsets.tolist())]


def _numbers(text: str, tokenizer: Tokenizer) -> Ids:
    return each_numbers([text], tokenizer)[0]


def _checked(made: ChatTemplate) -> ChatTemplate:
    """Refuse a template that is none."""
    try:
        _compiled(made.text)
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f", line {line}" if line else ""
        raise MetaftError(f"chat template {made.name}{where}: not a template of Jinja2 ({first_line(error)})") from None
    return made


class _Generation(Extension):
    """``{% generation %} … {% endgeneration %}``, by which some templates say what an answer is: passed over."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """What stands between the two."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@functools.lru_cache(maxsize=16)
def _compiled(text: str) -> Template:
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    made.filters["tojson"] = _json
    made.globals |= {"raise_exception": _refused, "strftime_now": _no_time}
    return made.from_string(text)


def _json(value: object, ensure_ascii: bool = False, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _refused(message: str) -> NoReturn:
    raise TemplateError(message)


def _no_time(form: str) -> NoReturn:
    raise TemplateError(
        "asks for the time of day (strftime_now), by which the same dialogue would differ from day to day"
    )
