"""What a table of named parts is: a name, options that are the signature, help that is the docstring."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib import import_module
from typing import Any, Generic, Literal, TypeVar, Unpack, cast, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from metaft.errors import MetaftError, nearest

T = TypeVar("T")
Builder = Callable[..., Any]
NEEDED = inspect.Parameter.empty
"""Stands for the default of an option that has to be given."""


@dataclass(frozen=True)
class Asked:
    """A part as it is asked for: ``name:option=value,option=value``.

    Args:
        name: of the part.
        options: option → value, as text.
    """

    name: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        told = ",".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.name}:{told}" if told else self.name


@dataclass(frozen=True)
class Option:
    """What a part can be told.

    Args:
        name: of the option.
        annotation: its type.
        default: without it; `NEEDED` where there is none.
        help: what the docstring says of it, on one line.
    """

    name: str
    annotation: Any
    default: Any
    help: str


class Table(Mapping[str, Callable[..., T]], Generic[T]):
    """Parts of one kind by name; a part is imported when it is first looked up, so that names cost nothing.

    Args:
        kind: what one of them is called in messages, such as "rule".
        what: what they are, in one line.
        rows: name → ``"module:attribute"``, a function or class that makes the part.
        supplied: parameters that the caller gives and that are no options, such as the network.
        doc: whose docstring tells of options that a part's own leaves out.
        bare: part → the option that all behind its colon is, as the path in ``peft:PATH``.
    """

    def __init__(
        self, kind: str, what: str, rows: Mapping[str, str], supplied: tuple[str, ...] = (), doc: str = "",
        bare: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.kind, self.what, self.rows, self.supplied, self.doc = kind, what, rows, frozenset(supplied), doc
        self.bare = bare or {}

    def __getitem__(self, name: str) -> Callable[..., T]:
        self.require(name)
        return cast(Callable[..., T], load(self.rows[name]))

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, name: object) -> bool:
        return name in self.rows

    def require(self, name: str) -> None:
        """Refuse a name that is not in the table.

        Args:
            name: as given.

        Raises:
            MetaftError: naming the nearest one.
        """
        if name not in self.rows:
            raise MetaftError(f"unknown {self.kind} {name!r}{nearest(name, self.rows)}")

    def asked(self, text: str) -> Asked:
        """Read and check what is asked for.

        Args:
            text: ``name`` or ``name:option=value,…``.

        Returns:
            The same, apart.

        Raises:
            MetaftError: if the name or an option is unknown, or a value does not fit.
        """
        found = self._read(text)
        self.require(found.name)
        if found.options:
            convert(f"{self.kind} {found.name!r}", self[found.name], found.options, self.supplied)
        return found

    def make(self, text: str, **supplied: Any) -> T:
        """Make a part.

        Args:
            text: ``name`` or ``name:option=value,…``.
            supplied: what the caller gives. The part takes those that it has a parameter for and that the text does not
                speak of.

        Returns:
            The part.

        Raises:
            MetaftError: as `asked`, or whatever the part refuses.
        """
        found = self._read(text)
        builder = self[found.name]
        given = convert(f"{self.kind} {found.name!r}", builder, found.options, self.supplied)
        known = signature(builder)
        return builder(**{name: value for name, value in supplied.items() if name in known} | given)

    def _read(self, text: str) -> Asked:
        name, _, rest = text.partition(":")
        if rest and name in self.bare:
            return Asked(name, {self.bare[name]: rest.removeprefix(f"{self.bare[name]}=")})
        return read(text, self.kind)

    def options(self, name: str) -> dict[str, Option]:
        """The options of one part.

        Args:
            name: of the part.

        Returns:
            Option → what there is to know of it.
        """
        builder = self[name]
        told = (arguments(load(self.doc)) if self.doc else {}) | arguments(builder)
        return {
            n: Option(n, p.annotation, p.default, told.get(n, ""))
            for n, p in options(builder).items()
            if n not in self.supplied
        }

    def summary(self, name: str) -> str:
        """The first sentence of a part's docstring, on one line."""
        builder = self[name]
        own = builder.__doc__ if isinstance(builder, partial) and builder.__doc__ != partial.__doc__ else None
        text = own or inspect.getdoc(_unbound(builder)) or ""
        return " ".join(text.partition("\n\n")[0].split()).rstrip(".").replace("**", "")

    def own_options(self, name: str) -> list[str]:
        """The options of one part that not every part of the table has by the table's ``doc``."""
        shared = arguments(load(self.doc)) if self.doc else {}
        return [option for option in self.options(name) if option not in shared]


def told(part: object, without: Collection[str] = ()) -> dict[str, Any]:
    """The options in which a part differs from its default.

    Args:
        part: a dataclass.
        without: fields that are no options.

    Returns:
        Option → value.
    """
    if not dataclasses.is_dataclass(part):
        return {}
    own = {f.name: (getattr(part, f.name), f.default) for f in dataclasses.fields(part) if f.name not in without}
    return {name: value for name, (value, default) in own.items() if value != default}


@lru_cache(maxsize=512)
def load(row: str) -> Any:
    """What a row of a table names.

    Args:
        row: ``"module:attribute"``.

    Returns:
        The attribute.
    """
    module, _, attribute = row.partition(":")
    return getattr(import_module(module), attribute)


def read(text: str, kind: str = "part") -> Asked:
    """Take ``name:option=value,option=value`` apart.

    Args:
        text: a piece without ``=`` belongs to the value before it (``scope=head,biases``). Among the options of
            another part its own are joined by ``;``, as in ``fine-tuning:addition=lora:rank=4;alpha=8,steps=5``.
        kind: what it is called, for the message.

    Returns:
        Name and options; nothing is checked yet.

    Raises:
        MetaftError: if an option is malformed or given twice.
    """
    name, _, rest = text.partition(":")
    return Asked(name, read_options(f"{kind} {text!r}", rest.replace(";", ",")))


def read_options(whose: str, text: str) -> dict[str, str]:
    """Take ``option=value,option=value`` apart.

    Args:
        whose: stands at the beginning of a message.
        text: a piece without ``=`` belongs to the value before it.

    Returns:
        Option → value.

    Raises:
        MetaftError: if an option is malformed or given twice.
    """
    found: dict[str, str] = {}
    last = ""
    for piece in text.split(",") if text else []:
        name, equals, value = piece.partition("=")
        if not equals and last:
            found[last] += f",{piece}"
            continue
        last = name.strip().replace("-", "_")
        if not equals or not last.isidentifier():
            raise MetaftError(f"{whose}: expected name:option=value,option=value, not {piece!r}")
        if last in found:
            raise MetaftError(f"{whose}: option {last!r} is given twice")
        found[last] = value.strip()
    return found


def options(builder: Builder) -> dict[str, inspect.Parameter]:
    """The options of a builder by name: all its parameters but ``model``, annotations resolved.

    Args:
        builder: a function or class; ``**parts: Unpack[Parts]`` has the options of ``Parts``, None standing for the
            builder's own choice.

    Returns:
        The parameters.
    """
    found: dict[str, inspect.Parameter] = {}
    for name, p in signature(builder).items():
        if p.kind is p.VAR_KEYWORD and get_origin(p.annotation) is Unpack:
            parts = get_type_hints(get_args(p.annotation)[0])
            found |= {n: inspect.Parameter(n, p.KEYWORD_ONLY, default=None, annotation=a) for n, a in parts.items()}
        elif name != "model" and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            found[name] = p
    return found


def signature(builder: Builder) -> Mapping[str, inspect.Parameter]:
    """The parameters of a builder, annotations resolved."""
    if not (isinstance(builder, type) and dataclasses.is_dataclass(builder)):
        return inspect.signature(builder, eval_str=True).parameters
    hints = get_type_hints(builder)  # a field's in the module of the class that has it, which may be another one
    found = inspect.signature(builder).parameters
    return {name: p.replace(annotation=hints.get(name, p.annotation)) for name, p in found.items()}


def convert(whose: str, builder: Builder, given: Mapping[str, Any], supplied: frozenset[str] = frozenset()) -> Any:
    """Check options against a builder's signature and convert those given as text.

    Args:
        whose: stands at the beginning of a message, such as ``learner 'maml'``.
        builder: has the options.
        given: option → value.
        supplied: parameters that are no options.

    Returns:
        Option → value of the annotated type.

    Raises:
        MetaftError: if an option is unknown or a value cannot be converted.
    """
    known = {name: p for name, p in options(builder).items() if name not in supplied}
    found = {}
    for name, value in given.items():
        if name not in known:
            hint = nearest(name, known) if known else "; it has none"
            raise MetaftError(f"{whose} has no option {name!r}{hint}")
        found[name] = _from_text(whose, known[name], value) if isinstance(value, str) else value
    return found


def arguments(builder: Builder) -> dict[str, str]:
    """What a docstring's ``Args:`` says of each argument.

    Args:
        builder: a function or class.

    Returns:
        Argument → its description on one line.
    """
    text = inspect.getdoc(_unbound(builder)) or ""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    found: dict[str, str] = {}
    for entry in re.split(r"^ {4}(?=\S)", section[1] if section else "", flags=re.MULTILINE):
        names, colon, told = entry.partition(":")
        if colon:
            found |= {name.strip(): " ".join(told.split()) for name in names.split(",")}
    return found


def _unbound(builder: Builder) -> Builder:
    return builder.func if isinstance(builder, partial) else builder


def _from_text(whose: str, option: inspect.Parameter, text: str) -> Any:
    if option.annotation in (option.empty, Any):
        return text
    words = get_args(option.annotation) if get_origin(option.annotation) is Literal else ()
    if words and text not in words:
        raise MetaftError(f"{whose} has no {option.name} {text!r}{nearest(text, words)}")
    several = any(get_origin(one) is tuple for one in (option.annotation, *get_args(option.annotation)))
    given: Any = text.split(",") if several else text
    kind: TypeAdapter[Any] = TypeAdapter(option.annotation, config=ConfigDict(arbitrary_types_allowed=True))
    try:
        return kind.validate_python(given)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"].removeprefix("Input ")
        raise MetaftError(f"{whose}: {option.name} = {text}: {reason}") from None
