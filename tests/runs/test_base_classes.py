import torch

from metaft.data import catalog
from metaft.runs.backbone import load_backbone
from metaft.runs.base_classes import base_feature
from metaft.runs.config import validated
from metaft.runs.pretrain import pretrain
from metaft.runs.pretrain_config import PretrainConfig


def test_the_mean_is_over_the_classes_the_run_was_trained_on(tmp_path):
    asked = {"dataset": "glyphs", "rotations": False, "hidden": 4, "iterations": 2, "validate_tasks": 2}
    pretrain(validated(PretrainConfig, asked), tmp_path / "run")
    model = load_backbone(tmp_path / "run")
    images = catalog.load_images("glyphs", "train", rotations=False).images.float() / 255
    with torch.no_grad():
        expected = model.features(images).mean(0)
        maps = model.features[0](images).mean((0, 2, 3))
    torch.testing.assert_close(base_feature(tmp_path / "run", model, {}), expected, rtol=1e-3, atol=1e-4)
    chosen = base_feature(tmp_path / "run", model, {"features": "features.0", "centre": "base"})
    torch.testing.assert_close(chosen, maps, rtol=1e-3, atol=1e-4)
