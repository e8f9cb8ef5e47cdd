"""The picture of soft labels: which examples are chosen, and what stands on it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from metaft.data.images import LabelledImages
from metaft.errors import MetaftError
from metaft.evaluation.soft_label_plot import draw_soft_labels, soft_label_figure, telling_examples


def images(classes: int, names: str = "{}", channels: int = 1) -> LabelledImages:
    pixels = torch.randint(0, 256, (4 * classes, channels, 8, 8), dtype=torch.uint8)
    return LabelledImages(pixels, torch.full((classes,), 4), tuple(names.format(k) for k in range(classes)))


def test_the_most_telling_examples_come_first_one_for_each_pair_of_classes() -> None:
    soft = torch.tensor(
        [
            [0.6, 0.3, 0.1],  # 0, also 1
            [0.5, 0.4, 0.1],  # the same, more so
            [0.3, 0.6, 0.1],  # a 0 that is answered wrongly
            [0.2, 0.7, 0.1],  # 1, also 0
            [0.0, 0.55, 0.45],  # 1, also 2: the most telling
            [0.0, 0.0, 1.0],
        ]
    )
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    assert telling_examples(soft, labels, 9).tolist() == [4, 1, 3, 5]
    assert telling_examples(soft, labels, 2).tolist() == [4, 1]


@pytest.mark.parametrize(("names", "channels"), [("{}", 1), ("an-alphabet/character{}", 3)])
def test_a_picture_is_written_with_the_likeliest_classes(names: str, channels: int, tmp_path: Path) -> None:
    own = images(5, names, channels)
    scores = torch.eye(5).repeat_interleave(4, 0) * 3 + torch.rand(20, 5)
    assert draw_soft_labels(own, scores, 2.0, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    figure = soft_label_figure(own, scores, 2.0)
    said = [text.get_text() for axes in figure.axes for text in axes.texts]
    soft = (scores.double() / 2).softmax(1)
    first = int(telling_examples(soft, torch.arange(5).repeat_interleave(4), 1))
    assert f"{100 * float(soft[first].max()):.0f} %" in said
    assert ("0" in said) == (channels == 1)  # long names are shown by an example


def test_nothing_is_drawn_of_a_teacher_that_is_never_right(tmp_path: Path) -> None:
    scores = torch.eye(5).roll(1, 0).repeat_interleave(4, 0)
    assert not draw_soft_labels(images(5), scores, 1.0, tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


def test_scores_of_other_images_are_refused() -> None:
    with pytest.raises(MetaftError, match="do not fit 20 images of 5 classes"):
        soft_label_figure(images(5), torch.zeros(19, 5), 1.0)
