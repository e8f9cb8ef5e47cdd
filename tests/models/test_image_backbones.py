"""Published networks of images: their features are the library's own, their weights come from files alone."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.transforms._presets import ImageClassification

from metaft.errors import MetaftError
from metaft.inner.scope import select
from metaft.models import build
from metaft.models.anatomy import anatomy
from metaft.models.backbones.backbone import ImageBackbone
from metaft.models.backbones.preparation import Preparation
from metaft.models.functional import Functional
from metaft.plugins import image_network, is_import_path

SMALL = ("squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v3_small")
SIZE = 64
IMAGES = torch.rand(3, 3, 48, 48, generator=torch.Generator().manual_seed(1))


def moved(network: nn.Module, seed: int = 3) -> nn.Module:
    """Weights and statistics that are not those of construction."""
    draw = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if name.endswith(("running_mean", "running_var", "bias")):
            value.copy_(torch.rand(value.shape, generator=draw) + 0.5)
    return network.eval()


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[nn.Module, Path]]:
    """Networks of torchvision's, and files of their weights."""
    folder, found = tmp_path_factory.mktemp("weights"), {}
    torch.manual_seed(0)
    for name in SMALL:
        network = moved(models.get_model(name, weights=None))
        safetensors.torch.save_file(network.state_dict(), folder / f"{name}.safetensors")
        found[name] = network, folder / f"{name}.safetensors"
    return found


def own(images: Tensor, name: str) -> Tensor:
    """torchvision's own transforms of these weights, at another size."""
    told = models.get_model_weights(name).DEFAULT.transforms()  # type: ignore[attr-defined]
    return ImageClassification(crop_size=SIZE, resize_size=SIZE, mean=told.mean, std=told.std)(images)


@torch.no_grad()
def held(network: nn.Module, layer: str, images: Tensor, given: bool = False) -> Tensor:
    """What a layer answers, or is given, averaged over positions."""
    seen: list[Tensor] = []
    keep: Any = lambda _, inputs, output: seen.append((inputs[0] if given else output).clone())
    hook = network.get_submodule(layer).register_forward_hook(keep)
    network(images)
    hook.remove()
    return seen[0].flatten(2).mean(2) if seen[0].dim() > 2 else seen[0]


@pytest.mark.parametrize(
    ("name", "classifier", "layer"),
    [
        ("squeezenet1_1", "classifier.1", "features.7"),
        ("shufflenet_v2_x0_5", "fc", "stage3.1.branch2"),
        ("mobilenet_v3_small", "classifier.3", "features.4"),
    ],
)
def test_features_are_the_librarys(name: str, classifier: str, layer: str, networks: dict[str, Any]) -> None:
    network, file = networks[name]
    whole = build(f"torchvision:{name}:weights={file},size={SIZE}", outputs=5, input_shape=(3, 48, 48), seed=0)
    cut = build(f"torchvision:{name}:weights={file}+size={SIZE}+layer={layer}", outputs=2, seed=0)
    assert isinstance(whole, ImageBackbone)
    assert isinstance(cut, ImageBackbone)
    prepared = own(IMAGES, name)
    torch.testing.assert_close(whole.features(IMAGES), held(network, classifier, prepared, True), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(cut.features(IMAGES), held(network, layer, prepared), rtol=1e-6, atol=1e-6)
    assert whole(IMAGES).shape == (3, 5)
    grey = IMAGES[:, :1]
    assert torch.equal(whole.features(grey), whole.features(grey.expand(-1, 3, -1, -1)))
    # What lies behind the layer is not there: nobody trains, keeps or counts it.
    assert sum(p.numel() for p in cut.model.parameters()) < sum(p.numel() for p in whole.model.parameters())
    cut.features(IMAGES).sum().backward()
    assert all(p.grad is not None for p in cut.model.parameters())


def test_all_forms_of_files_are_read_alike(networks: dict[str, Any], tmp_path: Path) -> None:
    name = "shufflenet_v2_x0_5"
    network, file = networks[name]
    weights = network.state_dict()
    torch.save(weights, tmp_path / "plain.pth")
    torch.save({"epoch": 3, "state_dict": {f"module.{n}": w for n, w in weights.items()}}, tmp_path / "training.pt")
    torch.save({"model": weights, "best": 0.5}, tmp_path / "model.bin")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "w.safetensors").write_bytes(file.read_bytes())
    without = {n: w for n, w in weights.items() if not n.startswith("fc.") and not n.endswith("num_batches_tracked")}
    torch.save(without | {"fc.weight": torch.zeros(7, 1024)}, tmp_path / "of_others.pth")  # of seven classes
    features = [
        build(f"torchvision:{name}:weights={path},size=32", outputs=2, seed=0).features(IMAGES)
        for path in (file, *sorted(tmp_path.iterdir()))
    ]
    assert len(features) == 6
    assert all(torch.equal(found, features[0]) for found in features)


class Evil:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("ran"),)


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Evil()}, "evil.pth")
    Path("old.pt").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pth", "old.pt"):
        with pytest.raises(MetaftError, match=r"squeezenet1_1: .*(not loaded, as that could run code|cannot be read)"):
            build(f"torchvision:squeezenet1_1:weights={name}", outputs=2, seed=0)
    assert not Path("ran").exists()


def test_mistakes_are_named(networks: dict[str, Any], tmp_path: Path) -> None:
    _, file = networks["shufflenet_v2_x0_5"]
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"nothing")
    (tmp_path / "empty").mkdir()
    torch.save([1, 2], tmp_path / "list.pth")
    for asked, said in (
        ("resnet19:weights=none", "did you mean 'resnet1"),
        ("fasterrcnn_resnet50_fpn:weights=none", "no network 'fasterrcnn"),
        ("", "which network of torchvision"),
        ("resnet18:weight=none", "no option 'weight'; did you mean 'weights'"),
        ("resnet18:size=huge", "size = huge"),
        ("resnet18:weights=none,size=4", "should be from 8 to 1024"),
        ("squeezenet1_1:weights=none,size=8", "takes no images of 8×8"),
        ("squeezenet1_1:weights=none,layer=features.77,size=32", "did you mean 'features.7'?; it has features, "),
        ("squeezenet1_1:weights=IMAGENET", "has no weights 'IMAGENET'"),
        (f"squeezenet1_1:weights={file}", "missing: features.0.weight, "),
        (f"squeezenet1_1:weights={file}", "not of this network: "),
        (f"shufflenet_v2_x1_0:weights={file}", "of another shape: stage2.0.branch1.2.weight [24, 24, 1, 1], not"),
        (f"squeezenet1_1:weights={damaged}", "cannot be read"),
        (f"squeezenet1_1:weights={tmp_path / 'absent.pth'}", "no file or folder of weights"),
        (f"squeezenet1_1:weights={tmp_path / 'empty'}", "should have one file of weights, it has none"),
        (f"squeezenet1_1:weights={tmp_path / 'list.pth'}", "holds no weights: expected tensors by name"),
    ):
        with pytest.raises(MetaftError) as caught:
            build(f"torchvision:{asked}", outputs=2, seed=0)
        assert said in caught.value.message, (asked, caught.value.message)
    with pytest.raises(MetaftError, match="reads images of 1 or 3 channels"):
        build("torchvision:resnet18:weights=none", outputs=2, input_shape=(7,), seed=0)


def test_without_file_and_network_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    asked: list[Any] = []

    def refused(url: str, **how: Any) -> None:
        asked.append((url, how))
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refused)
    with pytest.raises(MetaftError, match=r"cannot be fetched \(no network\); give them as weights=FILE.*weights=none"):
        build("torchvision:squeezenet1_1", outputs=2, seed=0)
    ((url, how),) = asked
    assert "squeezenet1_1" in url
    assert how["weights_only"] is True


def test_random_weights_are_said_and_drawn_by_seed(caplog: pytest.LogCaptureFixture) -> None:
    before = torch.random.get_rng_state()
    one, same, other = (
        build("torchvision:squeezenet1_1:weights=none,size=32", outputs=2, seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert "squeezenet1_1 has random weights" in caplog.text
    assert torch.equal(one.features(IMAGES), same.features(IMAGES))
    assert not torch.equal(one.features(IMAGES), other.features(IMAGES))


def test_scopes_and_head_are_found() -> None:
    model = build("torchvision:shufflenet_v2_x0_5:weights=none,size=32", outputs=4, input_shape=(3, 16, 16), seed=0)
    found = anatomy(model)
    assert found.require_head() == "head"
    assert list(found.blocks())[-1] == "head"
    params = Functional(model).params()
    chosen = lambda scope: set(select(params, scope, found))
    assert chosen("head") == {"head.weight", "head.bias"}
    norms = {
        f"{n}.{p}" for n, part in model.named_modules() if isinstance(part, nn.BatchNorm2d) for p in ("weight", "bias")
    }
    assert chosen("norms") == norms
    assert chosen("last:2") > chosen("head")
    assert chosen("all") == set(params)


def test_names_of_libraries_are_no_import_paths() -> None:
    assert not is_import_path("torchvision:resnet18")
    assert is_import_path("mypackage.mymodule:resnet18")
    asked = image_network("torchvision:resnet18:weights=/a+b/c.pth+layer=layer3")
    assert asked is not None
    assert (asked.name, dict(asked.options)) == (
        "torchvision:resnet18", {"weights": "/a+b/c.pth", "layer": "layer3"},
    )  # fmt: skip
    assert image_network("hf:minilm") is None
    assert image_network(None) is None


class Positions(nn.Module):
    """Maps with channels last, and a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.block, self.head = nn.Conv2d(3, 5, 4, 4), nn.Linear(5, 5), nn.Linear(5, 9)
        self.words = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.block(self.embed(x).permute(0, 2, 3, 1))
        return self.head(self.words(maps.flatten(1, 2)).mean(1))


def test_maps_and_sequences_are_averaged_over_positions() -> None:
    plain, prepared = Positions(), Preparation(16, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    x = torch.rand(2, 3, 16, 16)
    made = lambda layer: ImageBackbone(copy.deepcopy(plain), "head", prepared, 2, layer).features(x)
    maps = plain.embed((x - 0.5) / 0.2)
    block = plain.block(maps.permute(0, 2, 3, 1))
    torch.testing.assert_close(made("embed"), maps.mean((2, 3)))
    torch.testing.assert_close(made("block"), block.mean((1, 2)))
    torch.testing.assert_close(made("words"), plain.words(block.flatten(1, 2)).mean(1))
    torch.testing.assert_close(made(None), made("words"))


def test_networks_of_timm(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="the extra timm is not installed")
    network = moved(timm.create_model("test_resnet.r160_in1k"))
    safetensors.torch.save_file(network.state_dict(), tmp_path / "w.safetensors")
    asked = f"timm:test_resnet.r160_in1k:weights={tmp_path / 'w.safetensors'},size=64"
    made = build(asked, outputs=3, input_shape=(3, 48, 48), seed=0)
    told = timm.data.resolve_model_data_config(network)
    x = nn.functional.interpolate(IMAGES, (64, 64), mode=told["interpolation"], antialias=True)
    x = (x - torch.tensor(told["mean"]).reshape(3, 1, 1)) / torch.tensor(told["std"]).reshape(3, 1, 1)
    expected = network.forward_head(network.forward_features(x), pre_logits=True)
    torch.testing.assert_close(made.features(IMAGES), expected, rtol=1e-6, atol=1e-6)
    for wrong, said in (("test_resnt", "did you mean"), ("test_resnet.r16", "known: r160_in1k")):
        with pytest.raises(MetaftError, match=said):
            build(f"timm:{wrong}:weights=none", outputs=2, seed=0)
