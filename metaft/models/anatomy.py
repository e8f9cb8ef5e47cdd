"""What a network's parameters are: in which order its layers run, and which of them answers."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from metaft.errors import MetaftError, nearest
from metaft.models.added import Added
from metaft.models.blocks import grouped
from metaft.models.examples import examples
from metaft.models.quantised_layers import packed_weights
from metaft.models.roles import roles_of

HEAD_LAYER = "head_layer"
"""Attribute of a network that names its head, where that is not clear from a forward pass."""

COMPOSITE = (nn.MultiheadAttention,)
"""Layers of torch with a layer inside that is used as a matrix and never runs."""


@dataclass(frozen=True)
class Anatomy:
    """A network's layers as a forward pass has them.

    Args:
        names: all parameters, in the order of registration.
        order: layers with parameters, in the order in which they begin to run; "" is the network itself.
        layer_of: parameter → its layer; weights that are quantised, and no parameters, have theirs too.
        head: the layer that answers; None where that is not clear.
        unclear: why; empty where it is.
        shared: parameters of the head that other layers have too (tied weights).
        example: ``[examples, *input]``, what was passed through; None if nothing was.
        roles: what each of those is for, see `metaft.models.roles`.
    """

    names: tuple[str, ...]
    order: tuple[str, ...]
    layer_of: dict[str, str]
    head: str | None
    unclear: str = ""
    shared: tuple[str, ...] = ()
    example: Tensor | None = field(default=None, compare=False)
    roles: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def attends(self) -> bool:
        """Whether some of its layers are an attention's."""
        return any("attention" in roles for roles in self.roles.values())

    @property
    def head_names(self) -> tuple[str, ...]:
        """The head's parameters.

        Raises:
            MetaftError: if it is not clear which layer is the head, or its parameters are another layer's too.
        """
        head = self.require_head()
        if self.shared:
            raise MetaftError(
                f"the head {head!r} shares {self.shared[0]!r} with another layer, so that head and body cannot be told "
                "apart; name the parameters by a pattern"
            )
        return tuple(name for name in self.names if self.layer_of[name] == head)

    def require_head(self) -> str:
        """The layer that answers.

        Raises:
            MetaftError: if it is not clear which it is.
        """
        if self.head is None:
            raise MetaftError(self.unclear)
        return self.head

    def blocks(self) -> dict[str, tuple[str, ...]]:
        """Parameters block by block, in the order in which the blocks begin to run; the head is the last.

        A block is what has one name up to its first number (``features.2``), or one first word. In a transformer all
        embeddings are one block, and a norm between blocks belongs to the one before it.

        Raises:
            MetaftError: if the head or the order is not clear.
        """
        head = self.head_names
        found = grouped(name for name in self.names if name not in head)
        places = {layer: place for place, layer in reversed(list(enumerate(self.order)))}
        begins: dict[str, int] = {}
        for block, names in found.items():
            known = [places[self.layer_of[name]] for name in names if self.layer_of[name] in places]
            if not known:
                raise MetaftError(
                    f"the order of the network's blocks is not clear: {block!r} was not seen to run as a layer; name "
                    "parameters by a pattern"
                )
            begins[block] = min(known)
        body = {block: tuple(found[block]) for block in sorted(found, key=begins.__getitem__)}
        return self._joined(body) | {self.require_head(): head}

    def _joined(self, blocks: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        """Blocks in their order, those of a transformer that are none by themselves with the one before."""
        if not self.attends:
            return blocks
        found: dict[str, tuple[str, ...]] = {}
        for block, names in blocks.items():
            kinds = {role for name in names for role in self.roles[name] or ("none",)}
            last = next(reversed(found), None)
            before = {role for name in found.get(last or "", ()) for role in self.roles[name] or ("none",)}
            embeds = kinds <= {"embedding", "norms"} and bool(before) and before <= {"embedding", "norms"}
            if last is not None and (kinds == {"norms"} or embeds):
                found[last] += names
            else:
                found[block] = names
        return found


_KNOWN: WeakKeyDictionary[nn.Module, tuple[Any, Anatomy]] = WeakKeyDictionary()


def anatomy(model: nn.Module) -> Anatomy:
    """Look at one forward pass: the head is the last layer with parameters through which all that is learned answers.

    A copy of the network runs in evaluation mode on a few random examples of the shape that its ``input_shape`` names,
    or that its layers can take. From the answer the graph of derivatives is followed back to the first layers with
    parameters. If that is one layer with a matrix, it runs once, and is as wide as the answer, it is the head. A
    network whose attribute ``head_layer`` names a layer has that for its head.

    Args:
        model: any module whose forward pass takes one tensor; left as it is, and so is torch's random state.

    Returns:
        What was found. Where the head is not clear it says so and why; nothing is raised for that.

    Raises:
        MetaftError: if ``head_layer`` names no layer with parameters.
    """
    told = getattr(model, HEAD_LAYER, None)
    told = told if isinstance(told, str) else None
    # What was found holds while the network has the same parameters and layers.
    state = told, tuple((n, id(p)) for n, p in model.named_parameters()), tuple(map(id, model.modules()))
    known = _KNOWN.get(model)
    if known is None or known[0] != state:
        known = _KNOWN[model] = state, _found(model, told)
    return known[1]


def _found(model: nn.Module, told: str | None) -> Anatomy:
    names, kind = tuple(name for name, _ in model.named_parameters()), type(model).__name__
    layer_of = {name: _layer_of(model, name) for name in (*names, *packed_weights(model))}
    layers = tuple(dict.fromkeys(layer_of.values()))
    if told is not None and told not in layers:
        raise MetaftError(f"{HEAD_LAYER} = {told!r}: {kind} has no layer of that name{nearest(told, layers)}")
    if not names:
        return Anatomy((), (), {}, None, f"{kind} has no parameters, so it has no head")
    head: str | None
    if _is_holder(model):
        order, head, why, x = layers, layers[-1], "", None
    elif (passed := _forward_pass(model)) is None:
        order, head, x = (), None, None
        why = "no input was found that it takes; tell its shape by an attribute input_shape = (…) of the network"
    else:
        order, x = tuple(passed.order), passed.example
        head, why = _answering(model, passed)
    head = told if told is not None else head
    if head is None:
        why = (
            f"which layer of this {kind} is its head is not clear: {why}; name parameters by a pattern, or the layer "
            f"by an attribute {HEAD_LAYER} = 'LAYER' of the network"
        )
        return Anatomy(names, order, layer_of, None, why, (), x, roles_of(model, layer_of, None))
    return Anatomy(names, order, layer_of, head, "", _tied(model, head), x, roles_of(model, layer_of, head))


def _is_holder(model: nn.Module) -> bool:
    """Whether a module has no forward pass of its own."""
    return type(model).forward is nn.Module.forward


def _tied(model: nn.Module, head: str) -> tuple[str, ...]:
    """Parameters of a layer that another layer has too. One layer in two places is one layer."""
    layers: dict[int, set[int]] = {}
    own: dict[str, nn.Parameter] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        layer = _layer_of(model, name)
        layers.setdefault(id(parameter), set()).add(id(model.get_submodule(layer)))
        if layer == head:
            own[name] = parameter
    return tuple(name for name, parameter in own.items() if len(layers[id(parameter)]) > 1)


@dataclass
class _Pass:
    """What a forward pass showed: the answer, the layers that ran, and where their outputs stand in the graph."""

    example: Tensor
    answer: Any
    order: list[str]
    runs: dict[str, int]
    outputs: dict[Any, str]
    shapes: dict[str, tuple[int, ...]]
    params: dict[int, str]


def _forward_pass(model: nn.Module) -> _Pass | None:
    """Run a copy on the first input it takes; None if there is none."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        own = copy.deepcopy(model).eval().requires_grad_(True)
        for x in examples(own):
            passed = _run(own, x)
            if passed is not None:
                return passed
    return None


def _run(model: nn.Module, x: Tensor) -> _Pass | None:
    order: list[str] = []
    runs: dict[str, int] = {}
    outputs: dict[Any, str] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    held = [*(name for name, _ in model.named_parameters()), *packed_weights(model)]
    names = {name: _layer_of(model, name) for name in held}
    modules = dict(model.named_modules())

    def begins(name: str, *_: Any) -> None:
        runs[name] = runs.get(name, 0) + 1
        if name not in order:
            order.append(name)

    def ends(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        for value in tree_leaves(output):
            if isinstance(value, Tensor) and value.grad_fn is not None:
                outputs[value.grad_fn] = name
                shapes.setdefault(name, tuple(value.shape))

    hooks: list[Any] = []
    for name in dict.fromkeys(names.values()):
        module = modules[name]
        hooks.append(module.register_forward_pre_hook(partial(begins, name)))
        if _is_layer(module):
            hooks.append(module.register_forward_hook(partial(ends, name)))
    try:
        answer = model(x)
    except Exception:
        return None
    finally:
        for hook in hooks:
            hook.remove()
    if isinstance(answer, Tensor) and (answer.dim() < 1 or len(answer) != len(x)):
        return None
    params = {id(p): name for name, p in model.named_parameters()}
    return _Pass(x, answer, order, runs, outputs, shapes, params)


def _answering(model: nn.Module, passed: _Pass) -> tuple[str | None, str]:
    """The layer through which everything answers, or None and why there is none."""
    if not isinstance(passed.answer, Tensor):
        return None, f"it answers with {type(passed.answer).__name__}, not a tensor"
    if passed.answer.grad_fn is None:
        return None, "its answer has no gradient towards its parameters"
    last, direct = _frontier(passed)
    if direct or len(last) != 1:
        ways = [*(repr(name) for name in direct), *(f"layer {name!r}" for name in last)]
        return None, f"its answer comes from {' and '.join(ways[:3]) or 'no layer'} side by side"
    (head,) = last
    module = model.get_submodule(head)
    said = f"its last layer with parameters, {head!r}, is {type(module).__name__}"
    own = [p for name, p in model.named_parameters(remove_duplicate=False) if _layer_of(model, name) == head]
    if not any(p.dim() > 1 for p in own):
        return None, f"{said}, which only scales and shifts"
    if passed.runs[head] > 1:
        return None, f"{said}, which runs {passed.runs[head]} times in a forward pass"
    asked, given = passed.answer.shape, passed.shapes[head]
    whole = math.prod(asked[1:])
    widths = {asked[-1], asked[1] if len(asked) > 1 else 1, whole}
    if given[-1] not in widths and given[min(1, len(given) - 1)] not in widths and math.prod(given[1:]) != whole:
        return None, f"{said} with {given[-1]} outputs, and the network answers with {asked[-1]}"
    return head, ""


def _frontier(passed: _Pass) -> tuple[list[str], list[str]]:
    """The first layers, and the first parameters used without one, on all ways back from the answer."""
    layers: dict[str, None] = {}
    direct: dict[str, None] = {}
    stack, seen = [passed.answer.grad_fn], set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in passed.outputs:
            layers[passed.outputs[node]] = None
            continue
        variable = getattr(node, "variable", None)
        if variable is not None and id(variable) in passed.params:
            direct[passed.params[id(variable)]] = None
        stack.extend(before for before, _ in node.next_functions)
    return list(layers), list(direct)


def _layer_of(model: nn.Module, parameter: str) -> str:
    """The layer that a parameter belongs to: where it is registered, or what is parametrised, or what it is inside."""
    path = parameter.split(".")[:-1]
    if "parametrizations" in path:
        path = path[: path.index("parametrizations")]
    for depth in range(len(path)):
        if isinstance(model.get_submodule(".".join(path[:depth])), COMPOSITE):
            return ".".join(path[:depth])
    return ".".join(path)


def _is_layer(module: nn.Module) -> bool:
    """Whether a module is a layer and not a holder of layers with a parameter of its own."""
    if isinstance(module, COMPOSITE):
        return True
    inside = [n for n, part in module.named_children() if n != "parametrizations" and not isinstance(part, Added)]
    return not any(any(True for _ in module.get_submodule(name).parameters()) for name in inside)
