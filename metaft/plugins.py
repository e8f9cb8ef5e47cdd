"""Parts of the user's own, named by an import path such as ``mypackage.mymodule:MyLearner``."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from metaft.errors import MetaftError, nearest
from metaft.parts import Asked, read, read_options
from metaft.tables import BACKBONES

FOREIGN = "hf:"
"""Begins the names of models of Hugging Face."""
PRETRAINED = ("stories260k",)
"""Pretrained networks of ours."""

# What the process has read from files: import paths are not to be followed from there unasked.
_from_files: dict[str, str] = {}
_JOINED = re.compile(r"\+(?=\w+=)")
"""Between options; in a file's name a + stays as it is."""
_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def is_import_path(name: str) -> bool:
    """Whether a name is an import path ``package.module:Name`` rather than an entry of a table.

    Args:
        name: as given to ``--dataset``, ``--model`` or ``--learner``.

    Returns:
        True for Python names joined by dots, a colon and one more Python name.
    """
    return _PATH.fullmatch(name) is not None and name.partition(":")[0] not in BACKBONES


def named_part(text: str, kind: str) -> Asked:
    """A part's name and options; the name may be an import path.

    Args:
        text: ``name``, ``name:option=value,…``, or an import path ``package.module:Name``, likewise with options.
        kind: what it is called in messages, such as "learner".

    Returns:
        Both; nothing is checked yet.

    Raises:
        MetaftError: if an option is malformed or given twice.
    """
    if others := image_network(text):
        return others
    path = _path(text)
    if path:
        return Asked(path, read_options(f"{kind} {text!r}", text[len(path) + 1 :]))
    return read(text, kind)


def foreign(text: str | None) -> Asked | None:
    """The pretrained model that a name asks for.

    Args:
        text: ``hf:NAME``, ``hf:FOLDER`` or a name of `PRETRAINED`, with options as in ``hf:minilm:weights=random``.
            Several are joined by commas, or by ``+`` where the name is itself an option of something, as in
            ``class-means:backbone=hf:minilm:features=-4..+combine=average,centre=support``.

    Returns:
        Name or folder, and options; None for another kind of name.

    Raises:
        MetaftError: if an option is malformed or given twice.
    """
    if not is_foreign(text):
        return None
    asked = str(text).removeprefix(FOREIGN)
    path, _, rest = asked.rpartition(":")
    if path and "=" in rest:
        return Asked(path, read_options(f"model {text!r}", rest.replace("+", ",")))
    return Asked(asked)


def is_foreign(text: str | None) -> bool:
    """Whether a name asks for a pretrained model and for no run or network of a table."""
    return text is not None and (text.startswith(FOREIGN) or text.partition(":")[0] in PRETRAINED)


def image_network(text: str | None) -> Asked | None:
    """The published network of images that a name asks for.

    Args:
        text: ``torchvision:NAME`` or ``timm:NAME``, with options as in ``torchvision:resnet18:size=64,layer=layer3``;
            they are joined by commas, or by ``+`` where the name is itself an option of something.

    Returns:
        ``torchvision:NAME``, and options; None for another kind of name.

    Raises:
        MetaftError: if an option is malformed or given twice.
    """
    library, _, asked = str(text).partition(":")
    if text is None or library not in BACKBONES:
        return None
    network, _, rest = asked.partition(":")
    return Asked(f"{library}:{network}", read_options(f"model {text!r}", _JOINED.sub(",", rest)))


def is_network(text: str | None) -> bool:
    """Whether a name asks for a network that is no run's: a published one, or one of the user's own code."""
    return text is not None and (is_foreign(text) or image_network(text) is not None or bool(_path(text)))


def _path(text: str) -> str:
    """The import path that a text begins with, options left out; nothing if there is none."""
    name = ":".join(text.split(":")[:2])
    return name if is_import_path(name) and not is_foreign(text) else ""


def _paths(text: str) -> set[str]:
    """The import paths that a text names; parts that are joined by ``+``, such as callbacks, name one each."""
    return {path for piece in (text, *text.split("+")) if (path := _path(piece))}


def load_attribute(path: str) -> Any:
    """Import what an import path names; modules of the current directory are found too, after all installed ones.

    Importing a module runs it. An import path that was read from a file is therefore refused, unless this user has
    loaded it before, typed it as well, or has said so by ``METAFT_OWN_CODE=1``.

    Args:
        path: ``package.module:Name``.

    Returns:
        The attribute.

    Raises:
        MetaftError: if the path has another form or is not trusted, the module is absent or fails, or has no such
            attribute.
    """
    if not is_import_path(path):
        raise MetaftError(f"{path!r} is not an import path; expected the form mypackage.mymodule:Name")
    require_trust(path)
    module_name, _, name = path.partition(":")
    module = _import(module_name)
    if not hasattr(module, name):
        public = [known for known in vars(module) if not known.startswith("_")]
        raise MetaftError(f"module {module_name!r} has no {name!r}{nearest(name, public) if public else ''}")
    from metaft.data import cache

    cache.note(_fact(path))
    return getattr(module, name)


def found_in_file(text: str, file: object) -> None:
    """Note a text that a file holds, in case it is an import path: files come from strangers.

    Args:
        text: a setting's value.
        file: where it stands, for the message.
    """
    for path in _paths(text):
        _from_files.setdefault(path, str(file))


def trust(text: str) -> None:
    """Take back :func:`found_in_file`: the user has named the same import path in a command.

    Args:
        text: a setting's value.
    """
    for path in _paths(text):
        _from_files.pop(path, None)


def require_trust(text: str) -> None:
    """Refuse an import path that was only ever read from a file.

    Args:
        text: a setting's value.

    Raises:
        MetaftError: if it is one.
    """
    from metaft.data import cache

    for path in _paths(text) if os.environ.get("METAFT_OWN_CODE", "0") in ("", "0") else ():
        if path in _from_files and not cache.noted(_fact(path)):
            raise MetaftError(
                f"{_from_files[path]} names code that would be imported and run, {path}; if you trust it, set "
                "METAFT_OWN_CODE=1 (once; it is remembered)"
            )


def _fact(path: str) -> str:
    return f"own-code-{quote(path, safe='')}"


def call(path: str, made: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a function or class of the user's own; whatever it raises becomes one line that names it.

    Args:
        path: its import path, for the message.
        made: the function or class.
        arguments: by name.

    Returns:
        What it returns.

    Raises:
        MetaftError: if it raises.
    """
    try:
        return made(**arguments)
    except MetaftError:
        raise
    except Exception as error:
        raise MetaftError(f"{path} failed: {_line(error)}") from error


def _import(name: str) -> Any:
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())  # stays, as the module may import others of that folder later
    try:
        return importlib.import_module(name)
    except MetaftError:
        raise
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise MetaftError(f"module {name!r} cannot be imported: {_line(error)}") from error
        raise MetaftError(
            f"there is no module {error.name!r}, neither installed nor in the current directory {os.getcwd()}"
        ) from error
    except Exception as error:
        raise MetaftError(f"module {name!r} cannot be imported: {_line(error)}") from error


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
