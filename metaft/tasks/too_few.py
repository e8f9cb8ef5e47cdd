"""What can be done where a user's own data set has too few classes for the ways asked for."""

from __future__ import annotations

from itertools import count

from metaft.data.class_lists import sizes
from metaft.data.notes import counted
from metaft.data.splits import ALL, SPLITS, Division


def too_few_classes(ways: int, dataset: str, split: str, division: Division) -> str:
    """The message: the division made, the most ways possible, and what to do.

    Args:
        ways: asked for.
        dataset: its name.
        split: the one with too few classes.
        division: how the classes are divided.

    Returns:
        One line.
    """
    classes = division.classes
    begin = f"{ways} ways asked for, but {dataset} ({split}) has only {counted(classes[split], 'class', 'classes')}"
    if split == ALL:
        return f"{begin}; ask for --ways {classes[split]} or fewer, or add classes"
    numbers = [classes[name] for name in SPLITS]
    total, most = sum(numbers), min(numbers)
    made = f"its {total} classes are divided {' / '.join(map(str, numbers))} ({' / '.join(SPLITS)}), {division.divided}"
    possible = f"so the most ways possible are {most} in all three"
    if most < 2:
        possible += ", and a task needs 2"
    ways_out = [f"ask for --ways {most}"] if most >= 2 else []
    if division.by_seed:
        by_hand = total // len(SPLITS)
        if by_hand >= 2 and by_hand > most:
            ways_out.append(f"{division.by_hand} (up to --ways {by_hand})")
        enough = next(number for number in count(len(SPLITS) * ways) if min(sizes(number)) >= ways)
        ways_out.append(f"add classes ({enough} are enough for {ways} ways)")
    else:
        ways_out.append("divide them otherwise, or add classes")
    if division.otherwise:
        ways_out.append(division.otherwise)
    if total >= 2:
        asked = min(ways, total)
        ways_out.append(
            f"compare learners that train nothing on all classes (metaft compare … --split all --ways {asked})"
        )
    return f"{begin}: {made}, {possible}; {', or '.join(ways_out)}"
