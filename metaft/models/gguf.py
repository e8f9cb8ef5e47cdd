"""Models in a GGUF file, the form of llama.cpp: weights widened to float32 by Hugging Face's code, or as they lie."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from metaft.errors import MetaftError, first_line
from metaft.models.gguf_quantised import Names, read_quantised


def file_of(folder: Path) -> Path | None:
    """The GGUF file of a folder.

    Args:
        folder: of a model.

    Returns:
        The file; None where there is ``config.json``, or no such file.

    Raises:
        MetaftError: if there are several.
    """
    if (folder / "config.json").is_file():
        return None
    found = sorted(folder.glob("*.gguf"))
    if len(found) > 1:
        raise MetaftError(f"{folder} holds {len(found)} GGUF files ({found[0].name}, …); keep the one to be read")
    return found[0] if found else None


def read(file: Path, pretrained: bool, attention: str, quantised: bool = False) -> Any:
    """A model without its matrix of words.

    Args:
        file: the GGUF file.
        pretrained: with its weights, or drawn anew.
        attention: what our attention is called among theirs.
        quantised: whether its matrices remain as they lie in the file.

    Returns:
        The model, float32 but for those.

    Raises:
        MetaftError: if the package ``gguf`` is missing, the file is damaged, or it lacks weights of the model.
    """
    with _readable(file):
        return _model(file, pretrained, attention, quantised)


def config(file: Path) -> Any:
    """The settings of a model, in the form of the library ``transformers``.

    Args:
        file: the GGUF file.

    Raises:
        MetaftError: as `read`.
    """
    with _readable(file):
        return _config(file)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    if importlib.util.find_spec("gguf") is None:
        raise MetaftError(f"{file.name} needs a package: pip install --no-deps gguf==0.19")
    library: Any = importlib.import_module("gguf")
    plain = library.GGUFReader
    library.GGUFReader = _parsed  # which ``transformers`` asks each time
    try:
        yield
    except MetaftError:
        raise
    except Exception as error:  # whatever a damaged file leads to
        raise MetaftError(f"{file} cannot be read: {first_line(error)}") from None
    finally:
        library.GGUFReader = plain


def _parsed(path: str | Path) -> Any:
    """A reader that has parsed the file: its words, tens of thousands, take seconds."""
    return _reader(str(path), Path(path).stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _reader(path: str, written: int) -> Any:
    from gguf.gguf_reader import GGUFReader

    return GGUFReader(path)


def _config(file: Path) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)


def _model(file: Path, pretrained: bool, attention: str, quantised: bool) -> Any:
    from transformers import AutoModel, AutoModelForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    config = _config(file)
    config._attn_implementation = attention
    how: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": attention, "trust_remote_code": False}
    if quantised:
        return read_quantised(file, config, how)
    if not pretrained:
        return AutoModel.from_config(config, **how)
    with torch.random.fork_rng(devices=[]):  # what is drawn for weights that the file has counts for nothing
        model = AutoModel.from_config(config, **how)
    # ``from_pretrained`` reads such files too, and asks for one more package to do so. The names in the file are those
    # of the model with its matrix of words.
    with torch.device("meta"):
        whole = AutoModelForCausalLM.from_config(config)
    with redirect_stderr(StringIO()):  # a bar of progress
        held = load_gguf_checkpoint(
            str(file), return_tensors=True, model_to_load=Names(whole), torch_dtype=torch.float32
        )
    own = {name.removeprefix(f"{whole.base_model_prefix}."): value for name, value in held["tensors"].items()}
    missing, _ = model.load_state_dict(own, strict=False)
    if missing:
        raise MetaftError(f"{file.name} lacks {len(missing)} weights of a {type(model).__name__}, such as {missing[0]}")
    return model


def tokenizer_text(file: Path) -> str:
    """The tokenizer in a GGUF file.

    Args:
        file: the GGUF file.

    Returns:
        The tokenizer as JSON, in the form of the library ``tokenizers``.

    Raises:
        MetaftError: if there is none, or the library of Hugging Face is missing.
    """
    try:
        from transformers.integrations.gguf import convert_gguf_tokenizer, get_gguf_tokenizer
    except ImportError:
        raise MetaftError("models of Hugging Face need the extra text: pip install 'metaft[text]'") from None
    try:
        architecture, told, _ = get_gguf_tokenizer(str(file))
        return str(convert_gguf_tokenizer(architecture, told)[0].to_str())
    except Exception as error:
        raise MetaftError(f"{file} holds no tokenizer that can be read: {first_line(error)}") from None
