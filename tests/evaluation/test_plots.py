import math
import os

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from PIL import Image

from metaft.errors import MetaftError
from metaft.evaluation.evaluate import evaluate
from metaft.evaluation.plots import accuracy_per_step, episode_figure, save, sinusoid_fits, training_curves
from metaft.evaluation.style import BLUE, VERMILLION
from metaft.learners.nearest_neighbour import NearestNeighbour
from metaft.tasks.batch import TaskBatch
from tests.evaluation.toys import Blobs, LineFitter, Lines


def image_batch(ways=3, shots=1, queries=2, channels=1):
    rng = torch.Generator().manual_seed(0)
    label = torch.arange(ways)
    return TaskBatch(
        torch.rand(2, ways * shots, channels, 8, 8, generator=rng),
        label.repeat(2, shots),
        torch.rand(2, ways * queries, channels, 8, 8, generator=rng),
        label.repeat(2, queries),
    )


def test_steps_are_drawn_with_their_bands():
    result = evaluate(LineFitter(), Lines(), tasks=20, steps=4)
    axes = accuracy_per_step({"fit": result}).axes[0]
    assert axes.lines[0].get_ydata() == pytest.approx([mean for mean, _ in result.per_step])
    mean, ci95 = result.per_step[2]
    band = axes.collections[0].get_paths()[0].vertices
    at_two = band[band[:, 0] == 2, 1]
    assert (at_two.min(), at_two.max()) == pytest.approx((mean - ci95, mean + ci95))
    assert "inductive" in axes.get_legend().texts[0].get_text()


def test_a_learner_without_steps_is_a_level_line_in_per_cent():
    result = evaluate(NearestNeighbour(), Blobs(), tasks=20)
    line = accuracy_per_step(result).axes[0].lines[0]
    assert line.get_ydata() == pytest.approx([100 * result.mean] * 2)


def test_metrics_are_not_mixed():
    results = {
        "a": evaluate(NearestNeighbour(), Blobs(), tasks=2),
        "b": evaluate(LineFitter(), Lines(), tasks=2),
    }
    with pytest.raises(MetaftError, match="one metric"):
        accuracy_per_step(results)
    with pytest.raises(MetaftError, match="none"):
        accuracy_per_step({})


def test_training_curves_sort_scalars_into_panels():
    rows = [
        {"iteration": 0, "loss": 1.6, "accuracy_after": 0.25, "grad_norm": 3.0, "note": "start"},
        {"iteration": 10, "loss": math.nan, "accuracy_after": 0.5},
        {"iteration": 20, "loss": 0.01, "validation_accuracy": 0.75, "curve": [1, 2]},
    ]
    figure = training_curves(rows)
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy, %", "gradient norm"]
    loss, accuracy, _ = figure.axes
    assert loss.lines[0].get_xydata().tolist() == [[0, 1.6], [20, 0.01]]
    assert loss.get_yscale() == "log"
    assert [line.get_label() for line in accuracy.lines] == ["accuracy after", "validation accuracy"]
    assert accuracy.lines[1].get_xydata().tolist() == [[20, 75]]
    with pytest.raises(MetaftError, match="nothing to draw"):
        training_curves([{"iteration": 1}])


def test_training_and_validation_rows_are_told_apart():
    rows = [
        {"kind": "train", "iteration": 10, "loss": 1.0, "mse_per_step": [4.0, 1.0]},
        {"kind": "validation", "iteration": 10, "loss": 2.0, "best": True},
    ]
    (axes,) = training_curves(rows).axes
    assert {line.get_label(): line.get_ydata().tolist() for line in axes.lines} == {
        "train loss": [1.0],
        "validation loss": [2.0],
    }


@pytest.mark.parametrize("form", ["labels", "scores", "steps"])
def test_episode_frames_say_right_or_wrong(form):
    batch = image_batch()
    answers = batch.query_y.clone()
    answers[1, 4] = 2
    scores = torch.nn.functional.one_hot(answers, 3).float()
    given = {"labels": answers, "scores": scores, "steps": torch.stack([scores.roll(1, -1), scores])}[form]
    axes = episode_figure(batch, given, task=1).axes[0]
    frames = [to_hex(patch.get_edgecolor()).upper() for patch in axes.patches]
    assert frames.count(VERMILLION) == 1
    assert frames.count(BLUE) == 5
    assert len(axes.images) == 9
    texts = [text.get_text() for text in axes.texts]
    assert "queries: 5 of 6 right" in texts


def test_colour_images_can_be_drawn():
    batch = image_batch(channels=3)
    assert episode_figure(batch, batch.query_y).axes[0].images[0].get_array().shape == (8, 8, 3)


def test_regression_episode_shows_truth_and_fits():
    batch = Lines().batch(0, 4)
    figure = episode_figure(batch, LineFitter().curve(batch, 2))
    assert len(figure.axes) == 3
    truth, before, after, support = figure.axes[1].lines
    assert np.all(np.diff(truth.get_xdata()) >= 0)
    slope = float(batch.query_y[1, 0, 0] / batch.query_x[1, 0, 0])
    assert truth.get_ydata() == pytest.approx(slope * truth.get_xdata(), rel=1e-4)
    assert not before.get_ydata().any()
    assert after.get_label() == "after 2 steps"
    assert support.get_xdata() == pytest.approx(batch.support_x[1, :, 0].numpy())


def test_fits_stand_in_a_grid():
    x = np.linspace(-5, 5, 30)
    truth = np.stack([np.sin(x), 2 * np.sin(x)])
    fits = {"MAML": np.stack([0 * truth, truth / 2, truth]), "pretrained": np.zeros((3, 2, 30))}
    figure = sinusoid_fits(x, truth, fits, x[None, :5].repeat(2, 0), truth[:, :5])
    assert len(figure.axes) == 4
    assert figure.axes[2].lines[2].get_ydata() == pytest.approx(truth[1] / 2)
    assert [text.get_text() for text in figure.legends[0].texts] == [
        "truth", "0 steps", "1 step", "10 steps", "support points",
    ]  # fmt: skip
    with pytest.raises(MetaftError, match=r"'MAML' must have shape \[2, 2, 30\], got \[3, 2, 30\]"):
        sinusoid_fits(x, truth, fits, x[None, :5], truth[:, :5], steps=(0, 1))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: episode_figure(image_batch(), torch.zeros(2, 5, 3)),
        lambda: episode_figure(image_batch(), torch.zeros(2, 6, 3), task=2),
        lambda: episode_figure(Blobs().batch(0, 2), torch.zeros(2, 12, 3)),
    ],
)
def test_episodes_that_cannot_be_drawn(draw):
    with pytest.raises(MetaftError):
        draw()


def test_figures_are_saved_whole(tmp_path):
    figure = accuracy_per_step(evaluate(LineFitter(), Lines(), tasks=3))
    save(figure, tmp_path / "a" / "steps.png", dpi=50)
    with Image.open(tmp_path / "a" / "steps.png") as picture:
        assert picture.size == (320, 210)
        assert len(set(picture.convert("L").tobytes())) > 10
    assert os.listdir(tmp_path / "a") == ["steps.png"]
    for ending, begin in ((".pdf", b"%PDF"), (".svg", b"<?xml")):
        for again in ("one", "two"):
            save(figure, (tmp_path / again).with_suffix(ending))
        one = (tmp_path / "one").with_suffix(ending).read_bytes()
        assert one.startswith(begin)
        assert one == (tmp_path / "two").with_suffix(ending).read_bytes(), "equal figures, equal files"
    with pytest.raises(MetaftError, match=r"ending \.png, \.pdf or \.svg"):
        save(figure, tmp_path / "steps.jpg")


def test_an_episode_with_few_columns_has_room_for_its_text(recwarn):
    images = torch.rand(1, 20, 1, 8, 8)
    labels = torch.arange(20)[None]
    figure = episode_figure(TaskBatch(images, labels, images, labels), torch.eye(20)[None])
    figure.canvas.draw()
    assert not [w for w in recwarn if "constrained_layout" in str(w.message)]
