"""Teachers: frozen copies in evaluation mode, alone or averaged; their answers cached where that is sound."""

import copy
import logging

import pytest
import torch
from torch import nn

from metaft.data.images import LabelledImages
from metaft.distillation import cached_teacher as cached
from metaft.distillation.cached_teacher import CachedAnswers, answers
from metaft.distillation.teacher import Teacher, mean_probabilities
from metaft.errors import MetaftError
from metaft.models import MLP, Conv4
from metaft.tasks.batch import TaskBatch
from metaft.tasks.minibatches import Minibatches

SHAPE = (1, 16, 16)


def conv4(seed=0, classes=4):
    torch.manual_seed(seed)
    model = Conv4(1, 16, classes, hidden=3)
    model(torch.rand(8, *SHAPE))  # running statistics of its own
    return model


def family(shift=0, pixels=0):
    draw = torch.Generator().manual_seed(pixels)
    images = torch.randint(0, 256, (20, *SHAPE), dtype=torch.uint8, generator=draw)
    return Minibatches(LabelledImages(images, torch.tensor([5, 5, 5, 5]), tuple("abcd")), shift)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_teacher_is_a_frozen_copy_in_evaluation_mode():
    model = conv4().train()
    teacher = Teacher(model, SHAPE)
    x = torch.rand(6, *SHAPE)
    first = teacher.answer(x)
    assert not first.requires_grad
    torch.testing.assert_close(first, copy.deepcopy(model).eval()(x).detach())
    torch.testing.assert_close(teacher.answer(x[:1]), first[:1])  # no answer depends on its neighbours
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(teacher.answer(x), first)
    assert teacher.models[0] is not model
    assert model.training
    assert not any(p.requires_grad for p in teacher.models[0].parameters())


def test_an_ensemble_answers_with_mean_probabilities():
    models = [conv4(seed).eval() for seed in range(3)]
    x = torch.rand(6, *SHAPE)
    expected = sum(model(x).softmax(1) for model in models) / 3
    teacher = Teacher(models, SHAPE)
    torch.testing.assert_close(teacher.answer(x).softmax(1), expected.detach())
    torch.testing.assert_close(teacher.answer(x).exp(), expected.detach())
    one = torch.randn(1, 5, 4)
    torch.testing.assert_close(mean_probabilities(one), one[0].log_softmax(-1))


def test_features_are_what_the_head_is_given():
    model = conv4().eval()
    teacher = Teacher(model, SHAPE, "features")
    x = torch.rand(6, *SHAPE)
    torch.testing.assert_close(model.head(teacher.answer(x)), model(x))
    assert teacher.width == model.head.in_features


@pytest.mark.parametrize(("given", "output", "message"), [
    ("none", "scores", "one network at least"), ("two", "features", "give one teacher, not 2"),
    ("unlike", "scores", r"tell \[4, 5\] classes apart"), ("two", "score", "did you mean 'scores'"),
])  # fmt: skip
def test_what_is_no_teacher(given, output, message):
    models = {"none": [], "two": [conv4(), conv4(1)], "unlike": [conv4(), conv4(1, classes=5)]}[given]
    with pytest.raises(MetaftError, match=message):
        Teacher(models, SHAPE, output)


def test_the_digest_is_of_all_that_makes_the_answers():
    first = Teacher(conv4(), SHAPE)
    assert first.digest == Teacher(conv4(), SHAPE).digest
    moved, gathered = conv4(), conv4()
    with torch.no_grad():
        moved.head.bias[0] += 1e-6
    gathered(torch.rand(8, *SHAPE))
    others = [Teacher(moved, SHAPE), Teacher(gathered, SHAPE), Teacher(conv4(), SHAPE, "features"),
              Teacher([conv4(), conv4()], SHAPE)]  # fmt: skip
    plain, leaky = (nn.Sequential(nn.Flatten(), nn.Linear(256, 4), part) for part in (nn.ReLU(), nn.LeakyReLU()))
    leaky.load_state_dict(plain.state_dict())
    digests = [first.digest, *(t.digest for t in others), *(Teacher(m, SHAPE).digest for m in (plain, leaky))]
    assert len(set(digests)) == len(digests)


def test_cached_answers_are_those_of_the_teacher(cache_folder):
    teacher = Teacher(conv4(), SHAPE)
    found = answers(teacher, family())
    assert isinstance(found, CachedAnswers)
    assert found.describe() == teacher.describe()
    for i in range(4):
        batch = family().batch(i, 8)
        torch.testing.assert_close(found(batch), teacher(batch))
    assert len(list(cache_folder.iterdir())) == 1


def test_a_cache_is_read_and_its_key_changes_with_teacher_and_data(cache_folder, monkeypatch):
    answers(Teacher(conv4(), SHAPE), family())
    asked = []
    monkeypatch.setattr(Teacher, "table", lambda self, images: asked.append(len(images)) or torch.zeros(20, 4))
    kept = answers(Teacher(conv4(), SHAPE), family())
    assert not asked
    assert float(kept.table.abs().max()) > 0
    answers(Teacher(conv4(1), SHAPE), family())
    answers(Teacher(conv4(), SHAPE), family(pixels=1))
    answers(Teacher(conv4(), SHAPE, "features"), family())
    assert len(asked) == 3
    assert len(list(cache_folder.iterdir())) == 4


class Scaled(torch.nn.Linear):
    scale = 1.0

    def forward(self, x):
        return self.scale * super().forward(x.flatten(1))


def test_a_cache_is_not_read_for_a_network_whose_code_changed(cache_folder, monkeypatch):
    model = Scaled(SHAPE[1] * SHAPE[2], 4)
    before = answers(Teacher(model, SHAPE), family())
    monkeypatch.setattr(Scaled, "scale", 2.0)
    torch.testing.assert_close(answers(Teacher(model, SHAPE), family()).table, 2 * before.table)


def test_a_damaged_cache_is_made_again(cache_folder, caplog):
    first = answers(Teacher(conv4(), SHAPE), family())
    (file,) = cache_folder.iterdir()
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        again = answers(Teacher(conv4(), SHAPE), family())
    assert "damaged" in caplog.text
    assert torch.equal(again.table, first.table)


def test_moved_images_are_answered_as_they_come(cache_folder):
    teacher = Teacher(conv4(), SHAPE)
    assert answers(teacher, family(shift=2)) is teacher
    assert not cache_folder.exists()
    with pytest.raises(MetaftError, match="cache = 'on' and shift = 2"):
        answers(teacher, family(shift=2), "on")


def test_a_table_is_made_only_where_it_pays(monkeypatch):
    teacher = Teacher(conv4(), SHAPE)
    assert answers(teacher, family(), "off") is teacher
    assert answers(teacher, family(), seen=20) is teacher
    assert isinstance(answers(teacher, family(), seen=21), CachedAnswers)
    monkeypatch.setattr(cached, "MOST_BYTES", 20 * 4 * 4 - 1)
    assert answers(teacher, family()) is teacher
    assert isinstance(answers(teacher, family(), "on"), CachedAnswers)
    with pytest.raises(MetaftError, match="unknown caching 'onn'"):
        answers(teacher, family(), "onn")


def test_a_cache_wants_to_know_which_examples():
    found = answers(Teacher(conv4(), SHAPE), family())
    batch = family().batch(0, 4)
    with pytest.raises(MetaftError, match="say cache='off'"):
        found(TaskBatch(*batch.tensors()))
    assert torch.equal(found(batch[1:3]), found(batch)[1:3])
    assert torch.equal(found(batch.to("cpu")), found(batch))


def test_dropout_is_off():
    torch.manual_seed(0)
    teacher = Teacher(MLP(256, 4, (30,), std=0.1, input_dropout=0.2, dropout=0.5), SHAPE)
    x = torch.rand(6, *SHAPE)
    assert torch.equal(teacher.answer(x), teacher.answer(x))
