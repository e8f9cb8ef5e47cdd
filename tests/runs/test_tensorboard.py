"""What TensorBoard shows of runs: settings and scores to filter and sort by, one readable episode a validation."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import api_pb2, get_experiment, hparams_plugin, list_session_groups

import metaft
from metaft.commands.tensorboard import event_files, link_event_files
from metaft.evaluation.episode_card import RIGHT, WRONG, episode_card
from metaft.runs.metrics import Metrics
from metaft.runs.scalars import description
from metaft.settings.config import RunConfig, validated
from metaft.tasks.batch import TaskBatch
from metaft.training.loop import meta_train
from tests.runs.fakes import LinearMaml, Sinusoids


def made(out: Path, resume: bool = False, **settings: Any) -> None:
    config = validated(RunConfig, {"dataset": "sinusoid", "engine": "eager", "iterations": 4, "tasks": 2, **settings})
    config = config.model_copy(update={"validate_every": 2, "validate_tasks": 2})
    meta_train(
        LinearMaml(), Sinusoids(), out=out, validation=Sinusoids(seed=1), progress=False, config=config, resume=resume
    )


def board(folder: Path) -> Any:
    """What TensorBoard's own server knows of the runs in a folder."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer(tensor_size_guidance={"tensors": 100})
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    return data_provider.MultiplexerDataProvider(multiplexer, str(folder))


def dashboard(folder: Path, sort: str) -> tuple[Any, list[Any]]:
    """The HParams dashboard's columns, and its rows by falling score, as TensorBoard's own server makes them."""
    context = base_plugin.TBContext(data_provider=board(folder))
    backend = hparams_plugin.HParamsPlugin(context)._context
    found = get_experiment.Handler(RequestContext(), backend, "", api_pb2.GetExperimentRequest()).run()
    (name,) = [info.name for info in found.metric_infos if info.name.tag == sort]
    request = api_pb2.ListSessionGroupsRequest(
        slice_size=100,
        allowed_statuses=[0, 1, 2, 3],
        aggregation_type=api_pb2.AGGREGATION_AVG,
        col_params=[api_pb2.ColParams(metric=name, order=api_pb2.ORDER_DESC)],
    )
    rows = list_session_groups.Handler(RequestContext(), backend, "", request).run()
    return found, list(rows.session_groups)


def test_runs_are_filtered_by_setting_and_sorted_by_score(tmp_path: Path) -> None:
    for name, rate, learner in (("a", 0.001, "maml"), ("b", 0.1, "maml"), ("c", 0.03, "anil")):
        made(tmp_path / name, outer_lr=rate, learner=learner)
    columns, rows = dashboard(tmp_path, "best_validation_mse")
    assert {info.name.tag for info in columns.metric_infos} == {"best_validation_mse", "iterations", "minutes"}
    by_name = {info.name: info for info in columns.hparam_infos}
    assert {"learner", "outer_lr", "dataset", "seed", "tasks", "rotations"} <= set(by_name)
    assert {value.string_value for value in by_name["learner"].domain_discrete.values} == {"maml", "anil"}
    scores = [row.metric_values[0].value for row in rows]
    tags = [[value.name.tag for value in row.metric_values] for row in rows]
    scores = [row.metric_values[tags[i].index("best_validation_mse")].value for i, row in enumerate(rows)]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 3
    assert {row.sessions[0].status for row in rows} == {api_pb2.STATUS_SUCCESS}
    assert sorted(row.hparams["outer_lr"].number_value for row in rows) == [0.001, 0.03, 0.1]


def test_a_run_from_python_shows_its_settings_too(tmp_path: Path) -> None:
    meta_train(LinearMaml(), Sinusoids(), 2, 2, out=tmp_path, progress=False, validation=Sinusoids(), validate_tasks=2)
    columns, rows = dashboard(tmp_path, "best_validation_mse")
    assert {"learner", "inner_lr", "outer_lr", "iterations"} <= {info.name for info in columns.hparam_infos}
    assert rows[0].hparams["inner_lr"].number_value == 0.01


def test_numbers_are_filtered_by_a_range_and_texts_by_their_words(tmp_path: Path) -> None:
    """Also numbers that are a text, as a distillation's temperature may be several."""
    for name, values in {
        "a": {"temperature": "4", "loss": "soft"},
        "b": {"temperature": "20", "loss": "1e999"},
    }.items():
        metrics = Metrics(tmp_path / f"{name}.jsonl", tmp_path / name)
        metrics.settings({**values, "nothing": None})
        metrics.scores(1, {"minutes": 1.0})
        metrics.close()
    columns = {info.name: info for info in dashboard(tmp_path, "minutes")[0].hparam_infos}
    interval = columns["temperature"].domain_interval
    assert (interval.min_value, interval.max_value) == (4, 20)
    assert {value.string_value for value in columns["loss"].domain_discrete.values} == {"soft", "1e999"}
    assert set(columns) == {"temperature", "loss"}


def test_every_scalar_says_what_it_is_and_runs_have_their_own_names(tmp_path: Path) -> None:
    made(tmp_path / "runs/a", log_every=2)
    made(tmp_path / "runs/group/b", log_every=2)
    link_event_files(tmp_path / "runs", tmp_path / "links")
    found = board(tmp_path / "links").list_scalars(RequestContext(), experiment_id="", plugin_name="scalars")
    assert set(found) == {"a", "a/scores", "group/b", "group/b/scores"}
    assert set(found["a"]) == {
        "train/loss", "train/mse_before", "train/mse_after", "train_mse_per_step/step_0", "train_mse_per_step/step_1",
        "train/gradient_norm", "train/learning_rate", "train/tasks_per_second", "train/seconds", "validation/loss",
        "validation/mse", "validation/ci95",
    }  # fmt: skip
    said = {(run, tag): entry.description for run, tags in found.items() for tag, entry in tags.items()}
    assert all(said.values()), [where for where, text in said.items() if not text]
    assert said["a", "train_mse_per_step/step_1"] == "mean squared error, of the queries after 1 inner steps, likewise"


@pytest.mark.parametrize(
    ("tag", "says"),
    [
        ("train/words_per_second", "words trained on in a second"),
        ("train_adjoint_norm_per_step/step_12", "at inner step 12"),
        ("validation/accuracy", "share of right answers"),
        ("best_validation_perplexity", "e to the mean loss of a word, the best"),
        ("validation/perplexity_rare", "of such words alone"),
        ("validation/perplexity", "of the validation tasks"),
        ("validation/somebodys", ""),
    ],
)  # fmt: skip
def test_descriptions(tag: str, says: str) -> None:
    assert says in description(tag)
    assert bool(says) == bool(description(tag))


def test_a_run_directory_itself_and_links_that_come_later(tmp_path: Path) -> None:
    made(tmp_path / "runs/a")
    names = lambda: {path.parent.as_posix() for path in event_files(tmp_path / "runs/a")}
    assert names() == {"a", "a/scores"}
    link_event_files(tmp_path / "runs/a", tmp_path / "links")
    before = {path.name for path in (tmp_path / "links/a").iterdir()}
    made(tmp_path / "runs/a", resume=True, iterations=6)
    link_event_files(tmp_path / "runs/a", tmp_path / "links")
    assert before < {path.name for path in (tmp_path / "links/a").iterdir()}


def test_the_layout_shows_curves_that_there_are(tmp_path: Path) -> None:
    made(tmp_path / "r", log_every=2)
    log = EventAccumulator(str(tmp_path / "r/tensorboard"), size_guidance={"tensors": 0, "scalars": 0})
    log.Reload()
    (event,) = log.Tensors("custom_scalars__config__")
    found = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    charts = {f"{c.title}: {chart.title}": [*chart.multiline.tag] for c in found.category for chart in c.chart}
    assert set(charts) == {
        "training: loss", "training: mse before and after adapting", "validation: mse", "validation: loss",
    }  # fmt: skip
    tags = log.Tags()["scalars"]
    matched = {
        name: [tag for tag in tags for pattern in found if re.search(pattern, tag)] for name, found in charts.items()
    }
    assert matched["training: mse before and after adapting"] == ["train/mse_before", "train/mse_after"]
    assert all(len(curves) == (2 if "before" in name else 1) for name, curves in matched.items())


def images(run: Path) -> list[Any]:
    board = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0})
    board.Reload()
    return board.Images("episode")


def test_one_episode_a_validation_of_the_same_task(tmp_path: Path) -> None:
    made(tmp_path / "r")
    shown = images(tmp_path / "r")
    assert [picture.step for picture in shown] == [2, 4]
    sizes = [Image.open(io.BytesIO(picture.encoded_image_string)).size for picture in shown]
    assert all(200 <= width <= 400 for width, _ in sizes)


def test_without_validation_the_end_is_shown(tmp_path: Path) -> None:
    meta_train(LinearMaml(), Sinusoids(), 2, 2, out=tmp_path, progress=False)
    assert [picture.step for picture in images(tmp_path)] == [2]


def test_a_picture_changes_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "with")
    monkeypatch.setattr("metaft.training.loop.show_episode", lambda *args: None)
    made(tmp_path / "without")
    rows = [(tmp_path / name / "metrics.jsonl").read_text().count("\n") for name in ("with", "without")]
    assert rows[0] == rows[1]
    weights = [
        next((tmp_path / n / "checkpoints").glob("*4/weights.safetensors")).read_bytes() for n in ("with", "without")
    ]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(("ways", "channels"), [(5, 1), (20, 1), (2, 3), ((3, 7), 1)])
def test_a_card_of_images_is_small_and_tells_right_from_wrong(ways: Any, channels: int) -> None:
    family = metaft.families.episodes("glyphs", ways=ways, shots=1, queries=15, split="val", channels=channels)
    batch = family.batch(0, 1)
    answers = torch.nn.functional.one_hot(batch.query_y.clamp(min=0), family.outputs).float()
    best = episode_card(batch, answers)
    worst = episode_card(batch, answers.roll(1, -1))
    for card in (best, worst):
        assert card is not None
        assert card.dtype == np.uint8
        assert card.shape[1] <= 400
        assert card.shape[0] <= 320
    has = lambda card, colour: bool((card == colour).all(-1).any())
    assert has(best, RIGHT)
    assert not has(best, WRONG)
    assert has(worst, WRONG)
    assert not has(worst, RIGHT)


def test_what_cannot_be_drawn_is_passed_over() -> None:
    x, y = torch.zeros(1, 2, 7), torch.zeros(1, 2, dtype=torch.int64)
    assert episode_card(TaskBatch(x, y, x, y), torch.zeros(1, 2, 2)) is None
    waves = Sinusoids().batch(0, 1)
    assert episode_card(waves, torch.full_like(waves.query_y, torch.nan)) is not None
