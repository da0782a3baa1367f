"""ResNet: torchvision's names and shapes, weights by name, batch norms that never move."""

import pytest
import torch
from safetensors.torch import save_file

from praxon.errors import ConfigError
from praxon.policies.networks.pretrained import load_pretrained
from praxon.policies.networks.resnet import FrozenBatchNorm2d, ResNet


def published() -> dict[str, tuple[int, ...]]:
    """Names and shapes of torchvision's resnet18 state dict."""
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7)}

    def norm(name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (channels,)
        shapes[f"{name}.num_batches_tracked"] = ()

    norm("bn1", 64)
    for stage, (inner, outer) in enumerate([(64, 64), (64, 128), (128, 256), (256, 512)], 1):
        for block in (0, 1):
            name = f"layer{stage}.{block}"
            shapes[f"{name}.conv1.weight"] = (outer, inner if block == 0 else outer, 3, 3)
            shapes[f"{name}.conv2.weight"] = (outer, outer, 3, 3)
            norm(f"{name}.bn1", outer)
            norm(f"{name}.bn2", outer)
        if stage > 1:
            shapes[f"layer{stage}.0.downsample.0.weight"] = (outer, inner, 1, 1)
            norm(f"layer{stage}.0.downsample.1", outer)
    return shapes | {"fc.weight": (1000, 512), "fc.bias": (1000,)}


def tensors(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: 0.1 + 0.1 * torch.rand(shape, generator=generator) for name, shape in shapes.items()}


def test_it_has_the_published_size():
    assert (
        sum(p.numel() for p in ResNet().parameters()) == 11_176_512
    )  # torchvision's without its classifier of 513 000


def test_a_published_checkpoint_loads_by_name(tmp_path):
    given = tensors(published())
    save_file(given, tmp_path / "resnet18.safetensors")
    network = ResNet(weights=str(tmp_path / "resnet18.safetensors"))
    load_pretrained(network)
    loaded = network.state_dict()
    assert loaded.keys() == {n for n in given if not n.startswith("fc.") and not n.endswith("num_batches_tracked")}
    assert all(torch.equal(value, given[name]) for name, value in loaded.items())
    torch.testing.assert_close(network.mean_C, torch.tensor([0.485, 0.456, 0.406]))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.pop("layer3.1.bn2.running_var"), "'layer3.1.bn2.running_var' is absent in the file"),
        (
            lambda t: t.update({"conv1.weight": torch.zeros(64, 3, 3, 3)}),
            r"'conv1.weight' is \(64, 3, 3, 3\) in the file",
        ),
        (lambda t: t.update({"stem.weight": torch.zeros(1)}), r"'stem.weight' is \(1,\) in the file, absent"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, change, sentence):
    given = tensors(published())
    change(given)
    save_file(given, tmp_path / "other.safetensors")
    network = ResNet(weights=str(tmp_path / "other.safetensors"))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ConfigError, match=sentence):
        load_pretrained(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("content", [None, b"no safetensors"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"weights\.safetensors' cannot be read"):
        load_pretrained(ResNet(weights=str(path)))


def test_a_frozen_batch_norm_is_batch_norm_in_evaluation_and_never_moves():
    x = torch.randn(4, 8, 5, 5, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    theirs = torch.nn.BatchNorm2d(8)
    with torch.no_grad():
        for value in (theirs.weight, theirs.bias, theirs.running_mean, theirs.running_var):
            value.copy_(torch.rand(8) + 0.5)
    ours = FrozenBatchNorm2d(8)
    ours.load_state_dict({name: value for name, value in theirs.state_dict().items() if name in ours.state_dict()})
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    torch.testing.assert_close(ours.train()(x), theirs.eval()(x))
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


def test_an_unknown_norm_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match="group, frozen_batch"):
        ResNet(norm="batch")
