import pytest
import torch

from metaft.errors import MetaftError
from metaft.evaluation.evaluate import evaluate_batches
from metaft.learners import NearestNeighbour
from metaft.tasks.batch import IGNORE, TaskBatch
from metaft.tasks.check import require_sound
from tests.evaluation.toys import Blobs, Lines


def spoilt(field, place, value, family=None):
    parts = [t.clone() for t in (family or Blobs()).batch(0, 5).tensors()]
    parts[field][place] = value
    return TaskBatch(*parts)


def test_sound_tasks_pass():
    require_sound(Blobs().batch(0, 5))
    require_sound(Lines().batch(0, 5))
    require_sound(spoilt(1, (2, slice(4, 5)), IGNORE))  # padding


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (spoilt(0, (3, 1, 0), torch.nan), "task 103: its support_x has NaN"),
        (spoilt(2, (4, 0, 1), torch.inf), "task 104: its query_x has NaN or infinite"),
        (spoilt(1, (1, 0, 0), -torch.inf, Lines()), "task 101: its support_y has NaN"),
        (spoilt(1, (2, slice(None)), 1), "task 102: its support set has examples of fewer than two classes"),
        (spoilt(1, (2, slice(2, 6)), IGNORE), "task 102: its support set has examples of fewer than two"),
        (spoilt(1, (0, slice(None)), IGNORE), "task 100: its support set has examples of fewer than two"),
    ],
)
def test_a_task_nobody_can_be_judged_on_is_named(batch, message):
    with pytest.raises(MetaftError, match=message):
        require_sound(batch, first=100)


def test_evaluation_counts_tasks_over_batches():
    batches = [Blobs().batch(0, 5), spoilt(0, (3, 1, 0), torch.nan)]
    with pytest.raises(MetaftError, match="task 8: its support_x"):
        evaluate_batches(NearestNeighbour(), batches, 10, family={})
