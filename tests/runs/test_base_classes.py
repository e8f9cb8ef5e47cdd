import torch

from metaft.assembly.backbone import load_backbone
from metaft.assembly.base_classes import base_feature
from metaft.commands.pretrain import pretrain
from metaft.settings.config import RunConfig, validated
from metaft.settings.pretrain import PretrainConfig
from tests.runs import own_images


def test_the_mean_is_over_the_classes_the_run_was_trained_on(tmp_path):
    asked = {"dataset": "tests.runs.own_images:images", "hidden": 4, "iterations": 2, "validate_tasks": 2}
    asked |= {"ways": 3, "queries": 4, "batch_size": 12}
    pretrain(validated(PretrainConfig, asked), tmp_path / "run")
    model, config = load_backbone(tmp_path / "run"), validated(RunConfig, {})
    images = own_images.images("train").images.float() / 255
    with torch.no_grad():
        expected = model.features(images).mean(0)
        maps = model.features[0](images).mean((0, 2, 3))
    torch.testing.assert_close(base_feature(tmp_path / "run", model, {}, config), expected, rtol=1e-3, atol=1e-4)
    chosen = base_feature(tmp_path / "run", model, {"features": "features.0", "centre": "base"}, config)
    torch.testing.assert_close(chosen, maps, rtol=1e-3, atol=1e-4)
