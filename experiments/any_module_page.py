"""The page of experiments.any_module: a row for each class and function, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metaft.environment import environment
from metaft.evaluation.report import markdown_table
from tests.any_module.case import QUERY, RATE, STEPS, SUPPORT, TASKS
from tests.any_module.cases import CASES, NO_FUNCTION, NO_LAYER, REFUSED
from tests.any_module.comparisons import tolerance

# Heads of the table and the comparisons whose worst error stands below.
COLUMNS = {
    "= alone": ("alone", "chunks"),
    "= autograd": ("autograd", "evaluation"),
    "first-order": ("first-order", "first-order alone"),
    "implicit": ("implicit",),
    "finite difference": ("finite-difference",),
    "flat = graph = checkpoints": ("graph", "checkpoints", "learner graph"),
    "learner": ("learner", "learner alone"),
    "workers": ("workers", "learner workers"),
    "compiled": ("compiled", "learner compiled"),
}
Found = Mapping[str, Mapping[str, Any]]


def page(found: Found, kinds: Mapping[str, Sequence[str]], command: str) -> str:
    """results/any_module.md.

    Args:
        found: by case, as ``experiments.any_module.case`` gives it.
        kinds: the cases of each kind, by name.
        command: what made it.
    """
    wrong = {name: faults(one) for name, one in found.items() if name not in REFUSED and faults(one)}
    refused = [[f"`{name}`", one["refused"]] for name, one in found.items() if name in REFUSED]
    classes = {CASES[name].of for name in found}
    loops = sum(bool(one["alone"]) for one in found.values())
    where = environment()
    return f"""# Any module

Every layer class of `torch.nn` ({sum(layer_like(of) for of in classes)}, with its parametrisations), every differentiable function of
`torch.nn.functional` ({sum(of.startswith("F.") for of in classes)}) and {sum(of.startswith("torch.") for of in classes)} functions of `torch`: {len(found)} small networks in float64, in each of which
the layer stands between learnable layers. The classes are found by enumeration: a test fails when torch gains one that is
not here. {TASKS} tasks of {SUPPORT} support and {QUERY} query examples, {STEPS} steps of SGD (rate {RATE}), all parameters adapt. Shown is the
worst relative error over the variants of a class, ‖g − g′‖ / ‖g′‖ over the whole gradient g. What should be equal is
counted as right up to {tolerance("autograd"):.0e}; finite differences up to {tolerance("finite-difference"):.0e},
and "implicit", after 5 iterations of conjugate gradients, up to {tolerance("implicit"):.0e}.

- **= alone**: the tasks together against the mean of each alone, and in chunks of 1 and 3.
- **= autograd**: against plain `torch.autograd.grad` with a stored graph, task by task, which shares no code with metaft.
  Modules are in training mode, and once more in evaluation mode; random layers only in the latter, as plain autograd
  draws other numbers, and what draws always has no entry.
- **first-order** against plain autograd without second derivatives, and alone; **implicit** (with `L2ToStart`) together
  against alone; **finite difference** against exact. Where a layer holds fixed what depends on its parameters (spectral
  norm's vectors), its gradient is no slope, and there is no entry.
- **flat = graph = checkpoints**: the three ways with memory. Random layers draw the same numbers in each.
- **learner**: `metaft.learners.MAML` on the module; **workers**: 1, 2 and 3 threads; **compiled**: `engine="compile"`
  against eager, for one variant of each class.
- **task by task**: torch cannot batch it, so that metaft loops over the tasks (in some variants: "some").

**{len(found) - len(wrong) - len(refused)} of {len(found)} cases are right in all columns, {len(refused)} are refused in one line, {len(wrong)} are wrong.** Of all, {loops} are computed task by task.

{wrong_list(wrong)}
## Refused

{markdown_table(["case", "what is said"], refused) if refused else "Nothing."}
{"".join(section(kind, names, found) for kind, names in kinds.items())}
## Not tried

{markdown_table(["class or function", "why"], [[f"`{n}`", why] for n, why in (NO_LAYER | {f"F.{n}": w for n, w in NO_FUNCTION.items()}).items()])}

`{command}`, commit {str(where.get("commit"))[:12]}, torch {torch_version(where)}. Every case, with each of its errors: `any_module.json`.
"""


def section(kind: str, names: Sequence[str], found: Found) -> str:
    """The table of one kind."""
    classes: dict[str, list[Mapping[str, Any]]] = {}
    for name in names:
        if not found[name]["refused"]:
            classes.setdefault(CASES[name].of, []).append(found[name])
    heads = [kind, "variants", *COLUMNS, "task by task"]
    rows = [[f"`{of}`", len(ones), *(cell(ones, ways) for ways in COLUMNS.values()), looped(ones)] for of, ones in classes.items()]  # fmt: skip
    return f"\n## {kind[0].upper()}{kind[1:]}\n\n{markdown_table(heads, rows)}"


def cell(ones: Sequence[Mapping[str, Any]], ways: Sequence[str]) -> str:
    """The worst error of some comparisons."""
    if any(way in one["raised"] for one in ones for way in ways):  # what is refused is not among them
        return "**fails**"
    errors = {way: one["errors"][way] for one in ones for way in ways if way in one["errors"]}
    worst = [max(one["errors"][way] for one in ones if way in one["errors"]) for way in errors]
    if not worst:
        return "–"
    text = "0" if max(worst) == 0 else f"{max(worst):.0e}"
    right = all(error <= tolerance(way) for error, way in zip(worst, errors, strict=True))
    return text if right else f"**{text}**"


def looped(ones: Sequence[Mapping[str, Any]]) -> str:
    """Whether tasks were computed one by one."""
    alone = [bool(one["alone"]) for one in ones]
    return "yes" if all(alone) else "some" if any(alone) else ""


def faults(one: Mapping[str, Any]) -> list[str]:
    """What is wrong with a case, a line each."""
    said = {w: f"{e:.1e}" for w, e in one["errors"].items() if e > tolerance(w)} | one["raised"]
    return [f"{', '.join(w for w in said if said[w] == what)}: {what}" for what in dict.fromkeys(said.values())]


def wrong_list(wrong: Mapping[str, Sequence[str]]) -> str:
    """What is wrong, if anything."""
    if not wrong:
        return ""
    return "\n".join(f"- `{name}`: {'; '.join(said)}" for name, said in wrong.items()) + "\n\n"


def layer_like(of: str) -> bool:
    """Whether a name is of a layer class."""
    return not of.startswith(("F.", "torch."))


def torch_version(where: Mapping[str, Any]) -> str:
    """Of the versions in an environment."""
    return str(where.get("versions", {}).get("torch", where.get("torch", "")))
