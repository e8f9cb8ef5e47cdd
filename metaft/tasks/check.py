"""Tasks that no learner can be judged on, or that do not fit what their family says, are refused by number."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from metaft.errors import MetaftError
from metaft.tasks.batch import FIELDS, IGNORE, TaskBatch

MOST_CLASSES = 2**24
"""Of a task: a label beyond is a mistake, and would take all memory."""


def require_sound(batch: TaskBatch, first: int = 0) -> None:
    """Refuse tasks with values that are not finite, with fewer than two classes to tell apart, or of mixed kinds.

    Args:
        batch: the tasks.
        first: the number of the batch's first task, for the message.

    Raises:
        MetaftError: naming the first such task and what is wrong with it.
    """
    require_data(batch, first)
    for name in ("support_y", "query_y"):
        require_targets(getattr(batch, name), name)
    labels, asked = batch.support_y, batch.query_y
    if labels.is_floating_point() != asked.is_floating_point():
        raise MetaftError(
            f"support_y is {_told(labels)} and query_y {_told(asked)}; both are labels, or both are values"
        )
    if labels.is_floating_point() or not labels.shape[1]:
        return
    lowest = labels.masked_fill(labels == IGNORE, torch.iinfo(labels.dtype).max).amin(1)
    single = labels.amax(1) <= lowest
    if single.any():
        raise MetaftError(
            f"task {_number(single, first)}: its support set has examples of fewer than two classes; "
            "a task needs at least two to tell apart"
        )
    known = torch.zeros(len(labels), int(max(labels.max(), asked.max())) + 1, dtype=torch.bool, device=labels.device)
    task, example = (labels >= 0).nonzero(as_tuple=True)
    known[task, labels[task, example]] = True
    strange = ~known.gather(1, asked.clamp(min=0)) & (asked != IGNORE)
    if strange.any():
        number = int(strange.any(1).nonzero()[0, 0])
        label = int(asked[number][strange[number]][0])
        raise MetaftError(
            f"task {first + number}: its queries ask for class {label}, of which its support set has no example"
        )


def require_data(batch: TaskBatch, first: int = 0) -> None:
    """Refuse values that are not finite, and support and query examples that are not alike.

    Args:
        batch: the tasks.
        first: the number of the batch's first task, for the message.

    Raises:
        MetaftError: naming the first such task, or both shapes or types.
    """
    for name, values in zip(FIELDS, batch.tensors(), strict=True):
        if values.is_floating_point() or values.is_complex():
            bad = ~values.isfinite().flatten(1).all(1)
            if bad.any():
                raise MetaftError(f"task {_number(bad, first)}: its {name} has NaN or infinite values; mend the data")
    support, query = batch.support_x, batch.query_x
    if support.shape[2:] != query.shape[2:] and support.shape[1] and query.shape[1]:
        raise MetaftError(
            f"support_x has examples of shape {list(support.shape[2:])} and query_x of {list(query.shape[2:])}; one "
            "network takes both, so they have to be alike"
        )
    if support.dtype != query.dtype:
        raise MetaftError(
            f"support_x is {_type(support)} and query_x is {_type(query)}; one network takes both, so they have to be "
            "of one type"
        )


def require_targets(y: Tensor, name: str = "support_y") -> None:
    """Refuse targets that are neither class labels nor values; it costs nothing.

    Args:
        y: labels, ``int64 [tasks, examples]``, or values, real ``[tasks, examples, outputs]``.
        name: for the message.

    Raises:
        MetaftError: saying what they are and what they have to be.
    """
    if y.is_floating_point():
        if y.dim() == 3:
            return
        example = "[tasks, examples, outputs]" if y.dim() != 2 else f"[tasks, {y.shape[1]}, 1]"
        raise MetaftError(
            f"{name} is {_told(y)}; values of a regression are {example} (unsqueeze(-1) of one output), class labels "
            "are int64 (long())"
        )
    if y.dtype != torch.int64:
        raise MetaftError(f"{name} is {_told(y)}; class labels are int64: use {name}.long()")
    if y.dim() != 2:
        hint = "; of one-hot labels take argmax(-1)" if y.dim() == 3 else ""
        raise MetaftError(f"{name} is {_told(y)}; class labels are int64 [tasks, examples]{hint}")


def require_support(y: Tensor) -> None:
    """Refuse a support set's targets that are neither class labels, nor padding, nor values.

    Args:
        y: as for ``require_targets``.

    Raises:
        MetaftError: saying what they are and what they have to be.
    """
    require_targets(y, "support_y")
    if not y.is_floating_point() and y.device.type == "cpu":  # elsewhere it would have to be waited for
        require_range(y, MOST_CLASSES, f"there are no more than {MOST_CLASSES} classes")


def require_fit(batch: TaskBatch, family: Any, first: int = 0) -> None:
    """Refuse tasks that are not what their family says: kind, outputs and shape of an example.

    Args:
        batch: the tasks.
        family: has ``kind``, ``outputs`` and ``input_shape``; what it lacks is not compared.
        first: the number of the batch's first task, for the message.

    Raises:
        MetaftError: naming what does not fit, and the task if it is one of several.
    """
    kind, outputs = getattr(family, "kind", None), getattr(family, "outputs", None)
    shape = getattr(family, "input_shape", None)
    for name in ("support_y", "query_y"):
        y = getattr(batch, name)
        if kind == "regression" and isinstance(outputs, int):
            wanted = (
                f"a regression of {outputs} output{'s' if outputs != 1 else ''} needs [tasks, {y.shape[1]}, {outputs}]"
            )
            if y.dim() != 3 or y.shape[-1] != outputs:
                raise MetaftError(f"{name} is {_axes(y)}; {wanted}")
            if not y.is_floating_point():
                raise MetaftError(f"{name} is {_told(y)}; {wanted} of a floating type: use {name}.float()")
        if kind == "classification":
            if y.is_floating_point():
                raise MetaftError(
                    f"{name} is {_told(y)}, and the family's kind is 'classification'; class labels are int64 [tasks, "
                    f"{y.shape[1]}]: use long(), of one-hot labels argmax(-1)"
                )
            require_targets(y, name)
            if isinstance(outputs, int):
                require_range(y, outputs, f"the family says outputs = {outputs}", first)
    if shape is not None:
        for name in ("support_x", "query_x"):
            x = getattr(batch, name)
            # A batch of texts is as long as the longest of them.
            *before, most = tuple(shape) or (None,)
            texts = batch.layout == "sequences" and most is not None and before in ([], [2])
            shorter = texts and list(x.shape[2:-1]) == before and x.shape[-1] <= most
            if x.shape[1] and not shorter and tuple(x.shape[2:]) != tuple(shape):
                raise MetaftError(
                    f"{name} has examples of shape {list(x.shape[2:])}, and the family says input_shape = "
                    f"{tuple(shape)}"
                )


def require_range(y: Tensor, outputs: int, why: str, first: int = 0) -> None:
    """Refuse labels that are no class: compiled code would read beyond what there is.

    Args:
        y: ``int64 [tasks, examples]``, padding labelled ``IGNORE``.
        outputs: how many classes there are.
        why: who says so, for the message.
        first: the number of the batch's first task.

    Raises:
        MetaftError: naming the first such task, and its labels.
    """
    if not y.numel():
        return
    if int(y.max()) >= outputs:
        task = int((y >= outputs).any(1).nonzero()[0, 0])
        raise MetaftError(
            f"task {first + task}: its labels go to {int(y[task].max())}, and {why}; labels are 0 to {outputs - 1}"
        )
    if int(y.min()) < 0 and bool((bad := (y < 0) & (y != IGNORE)).any()):
        task = int(bad.any(1).nonzero()[0, 0])
        raise MetaftError(
            f"task {first + task}: it has the label {int(y[task][bad[task]].min())}; labels are 0 to {outputs - 1}, "
            f"and {IGNORE} for padding"
        )


def require_answers(answers: object, batch: TaskBatch, whose: str, steps: bool = True) -> Tensor:
    """Refuse what is no answer to a batch's queries.

    Args:
        answers: what a learner gave: ``[steps + 1, tasks, queries, outputs]``, or without the first axis.
        batch: the tasks.
        whose: stands at the beginning of a message, such as ``learner 'maml': its curve``.
        steps: whether there is an axis over steps.

    Returns:
        The answers.

    Raises:
        MetaftError: saying what they are and what they have to be.
    """
    y = batch.query_y
    regression = y.is_floating_point()
    last = str(y.shape[-1]) if regression else "ways"
    axes = f"[{'steps + 1, ' if steps else ''}{y.shape[0]}, {y.shape[1]}, {last}]"
    wanted = f"expected scores or values, a tensor {axes} (tasks, queries, outputs)"
    if not isinstance(answers, Tensor):
        raise MetaftError(f"{whose} is {_what(answers)}; {wanted}")
    lead = 1 if steps else 0
    if not answers.is_floating_point():
        raise MetaftError(f"{whose} is {_told(answers)}; {wanted} of a floating type")
    fits = answers.dim() == lead + 3 and answers.shape[lead : lead + 2] == y.shape[:2]
    if not fits or (regression and answers.shape[-1] != y.shape[-1]) or not answers.shape[0]:
        raise MetaftError(f"{whose} is {list(answers.shape)}; {wanted}")
    return answers


def require_network_answer(answer: object, x: Tensor, whose: str) -> Tensor:
    """Refuse a network's answer that no loss can be made of.

    Args:
        answer: to ``x``.
        x: ``[examples, *input]``.
        whose: stands at the beginning of a message, such as ``the network Encoder``.

    Returns:
        The answer, ``[examples, outputs]``.

    Raises:
        MetaftError: saying what it is, what it has to be, and how to wrap it.
    """
    wanted = f"a network must answer {len(x)} examples with one real tensor [{len(x)}, outputs]"
    if not isinstance(answer, Tensor):
        wrap = _wrap(answer)
        raise MetaftError(f"{whose} answers with {_what(answer)}; {wanted}{wrap}")
    if not answer.is_floating_point():
        raise MetaftError(f"{whose} answers with {_told(answer)}; {wanted}")
    if answer.dim() != 2 or len(answer) != len(x) or not answer.shape[1]:
        hint = ""
        if answer.shape == x.shape[:1]:
            hint = "; use unsqueeze(-1)"
        elif answer.dim() == 1:
            hint = "; has it lost the axis of examples?"
        elif answer.dim() > 2 and len(answer) == len(x):
            hint = "; use flatten(1), or the position that counts"
        raise MetaftError(f"{whose} answers with {list(answer.shape)}; {wanted}{hint}")
    return answer


def _wrap(answer: object) -> str:
    if isinstance(answer, dict) and answer:
        name = next((key for key in answer if key in ("logits", "scores", "out")), next(iter(answer)))
        return f": wrap it in a module whose forward returns its answer[{name!r}]"
    if isinstance(answer, tuple | list) and answer:
        return ": wrap it in a module whose forward returns the one that is meant, such as answer[0]"
    return ""


def _what(value: object) -> str:
    if isinstance(value, dict):
        return f"{type(value).__name__} of {', '.join(map(repr, list(value)[:5]))}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {len(value)}"
    return "None" if value is None else type(value).__name__


def _told(y: Tensor) -> str:
    return f"{_type(y)} {_axes(y)}"


def _axes(y: Tensor) -> str:
    return f"[{', '.join(['tasks', *map(str, y.shape[1:])])}]" if y.dim() > 1 else str(list(y.shape))


def _type(values: Tensor) -> str:
    return str(values.dtype).removeprefix("torch.")


def _number(bad: Tensor, first: int) -> int:
    return first + int(bad.nonzero()[0, 0])
