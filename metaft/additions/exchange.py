"""Networks on models of Hugging Face's as folders that peft, or transformers, reads."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from metaft.additions.addition import Params
from metaft.additions.attach import placed
from metaft.additions.ia3 import ScaledInputs, ScaledOutputs
from metaft.additions.linear import is_transposed, sizes
from metaft.additions.lora import LoRA, LowRank
from metaft.additions.peft_folder import CONFIG, ENDINGS, PREFIX, WEIGHTS
from metaft.additions.peft_virtual import COUNTERPARTS, exported, is_virtual
from metaft.additions.selection import all_merged
from metaft.errors import MetaftError
from metaft.models.added import Added
from metaft.models.hugging_face import HuggingFace
from metaft.models.hugging_face_files import without_bars
from metaft.models.quantised_layers import widen
from metaft.plain_json import write_json

HEAD = "head.safetensors"
"""Our own layer of answers, which neither library has a place for."""
INSIDE = "model."


def to_peft(model: nn.Module, folder: str | Path, base: str = "", name: str | None = None, head: bool = True) -> None:
    """Write LoRA, (IA)³, a prompt or a prefix as peft reads it, and our head beside it.

    Of a prompt or prefix that a small network makes, what it makes is written.

    In Python: ``peft.PeftModel.from_pretrained(AutoModel.from_pretrained(…), folder)``.

    Args:
        model: a network on a model of Hugging Face's, with the addition.
        folder: where to; made if it is not there.
        base: the name or folder of that model, for who reads it.
        name: what the addition is called in it; None where there is one only.
        head: whether the network's head has learned something, and is written too.

    Raises:
        MetaftError: if it is another network, has no such addition or several, or peft has none like it.
    """
    network = _require_theirs(model)
    name = name or _only_addition(network)
    found = placed(network, name)
    values, told = (exported if is_virtual(found) else _of_layers)(network, name, found)
    told |= {"base_model_name_or_path": base or None, "inference_mode": True, "task_type": "FEATURE_EXTRACTION"}
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    save_file(values, place / WEIGHTS, {"format": "pt"})
    write_json(place / CONFIG, dict(sorted(told.items())))
    if head:
        _write_head(network, place)


def _of_layers(network: nn.Module, name: str, found: Mapping[str, Added]) -> tuple[Params, dict[str, Any]]:
    """Values and settings of what stands beside linear layers."""
    values: Params = {}
    pieces: dict[str, Added] = {}
    for site, added in found.items():
        if not site.startswith(INSIDE):
            raise MetaftError(f"{name!r} sits on {site or 'the network'!r} too, which is no layer of the model itself")
        layer = site.removeprefix(INSIDE)
        pieces[layer] = added
        values |= _theirs(layer, added, network.get_submodule(site), name)
    layers = {path.removeprefix(INSIDE): layer for path, layer in network.named_modules() if path.startswith(INSIDE)}
    transposed = any(is_transposed(layers[layer]) for layer in pieces)
    return values, _settings(pieces, layers) | {"fan_in_fan_out": transposed}


def to_hugging_face(model: nn.Module, folder: str | Path, tokenizer: str | None = None, head: bool = True) -> None:
    """Write a network's model with all additions merged, as ``AutoModel.from_pretrained(folder)`` reads it.

    Args:
        model: a network on a model of Hugging Face's; quantised weights are widened.
        folder: where to; made if it is not there. Our head lies in it too.
        tokenizer: the model's, as JSON; None for none.
        head: whether the network's head has learned something, and is written too.

    Raises:
        MetaftError: if it is another network, or has an addition that no weights can take in.
    """
    network: Any = copy.deepcopy(_require_theirs(model))
    network = all_merged(network)
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    if head:
        _write_head(network, place)
    widen(network)
    with without_bars():
        network.model.save_pretrained(place)
    if tokenizer is not None:
        (place / "tokenizer.json").write_text(tokenizer, encoding="utf-8")


def _require_theirs(model: nn.Module) -> HuggingFace:
    if not isinstance(model, HuggingFace):
        raise MetaftError(f"a {type(model).__name__} is no model of Hugging Face's (hf:…), which alone can be exported")
    return model


def _only_addition(model: nn.Module) -> str:
    names = sorted({path.rpartition(".")[2] for path in placed(model)})
    if len(names) != 1:
        what = f"has the additions {', '.join(names)}; name one" if names else "has no addition"
        raise MetaftError(f"this {type(model).__name__} {what}")
    return names[0]


def _theirs(layer: str, added: Added, module: nn.Module, name: str) -> Params:
    """Values by peft's names."""
    own = {n: p.detach().contiguous() for n, p in added.own().items()}
    if isinstance(added.piece, LowRank):
        return {f"{PREFIX}{layer}{ending}": own[n] for ending, n in ENDINGS["LORA"].items()}
    ending = f"{PREFIX}{layer}{next(iter(ENDINGS['IA3']))}"
    if isinstance(added.piece, ScaledInputs) and not added.piece.spread:
        return {ending: own["scale"].unsqueeze(0)}
    if isinstance(added.piece, ScaledOutputs):
        before = own["scale"].new_ones(sizes(module)[1] - len(own["scale"]))
        return {ending: torch.cat([before, own["scale"]]).unsqueeze(1)}
    kind = type(added.addition).__name__
    raise MetaftError(
        f"{name!r} at {layer!r} cannot be exported: peft has nothing like {kind} there; it has {COUNTERPARTS}"
    )


def _settings(pieces: Mapping[str, Added], layers: Mapping[str, nn.Module]) -> dict[str, Any]:
    """What peft is told, beside the base."""
    low = {layer: added.piece for layer, added in pieces.items() if isinstance(added.piece, LowRank)}
    if not low:
        scaled = [layer for layer, added in pieces.items() if isinstance(added.piece, ScaledInputs)]
        # By whole names: peft compares ends of names here, wherever a part of a name begins.
        return {"peft_type": "IA3", "target_modules": list(pieces), "feedforward_modules": scaled}
    addition = next(iter(pieces.values())).addition
    stabilised = isinstance(addition, LoRA) and addition.stabilised
    ranks = {layer: piece.rank for layer, piece in low.items()}
    alphas = {n: piece.scale * (math.sqrt(piece.rank) if stabilised else piece.rank) for n, piece in low.items()}
    rank, alpha = (Counter(values.values()).most_common(1)[0][0] for values in (ranks, alphas))
    return {
        "peft_type": "LORA", "target_modules": _targets(pieces, layers), "r": rank, "lora_alpha": alpha,
        "rank_pattern": {layer: value for layer, value in ranks.items() if value != rank},
        "alpha_pattern": {layer: value for layer, value in alphas.items() if value != alpha},
        "use_rslora": stabilised, "lora_dropout": next(iter(low.values())).dropout, "bias": "none",
    }  # fmt: skip


def _targets(chosen: Mapping[str, Any], layers: Mapping[str, nn.Module]) -> list[str]:
    """The last words of the layers' names where those mean no other layer; else their names."""
    last = list(dict.fromkeys(layer.rpartition(".")[2] for layer in chosen))
    meant = {name for name, layer in layers.items() if name.rpartition(".")[2] in last}
    return last if meant == set(chosen) else list(chosen)


def _write_head(network: nn.Module, folder: Path) -> None:
    head = network.get_submodule(HuggingFace.head_layer)
    values = {f"{HuggingFace.head_layer}.{n}": p.detach().contiguous() for n, p in head.named_parameters()}
    save_file(values, folder / HEAD, {"format": "pt"})
