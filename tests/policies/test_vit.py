"""ViT: DINOv2's names and shapes, weights by name, interpolated positions, permutations of patches."""

import pytest
import torch
from safetensors.torch import save_file

from praxon.errors import ConfigError
from praxon.policies.networks.pretrained import load_pretrained
from praxon.policies.networks.vit import VisionTransformer


def published(width: int, depth: int, registers: int = 0) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a state dict of facebookresearch's DINOv2 ViT with patches of 14 pixels at 518."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1370, width),
        "mask_token": (1, width),
        "patch_embed.proj.weight": (width, 3, 14, 14),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    if registers:
        shapes["register_tokens"] = (1, registers, width)
    for block in range(depth):
        for layer, (outer, inner) in {
            "attn.qkv": (3 * width, width),
            "attn.proj": (width, width),
            "mlp.fc1": (4 * width, width),
            "mlp.fc2": (width, 4 * width),
        }.items():
            shapes[f"blocks.{block}.{layer}.weight"], shapes[f"blocks.{block}.{layer}.bias"] = (outer, inner), (outer,)
        for layer in ("norm1", "norm2"):
            shapes[f"blocks.{block}.{layer}.weight"] = shapes[f"blocks.{block}.{layer}.bias"] = (width,)
        for layer in ("ls1", "ls2"):
            shapes[f"blocks.{block}.{layer}.gamma"] = (width,)
    return shapes


def tiny(**options):
    torch.manual_seed(0)
    return VisionTransformer(width=32, depth=2, num_heads=2, **options)


def test_the_small_one_has_the_published_parameters():
    shapes = published(384, 12)
    ours = {name: tuple(value.shape) for name, value in VisionTransformer("vit_small").state_dict().items()}
    assert ours == {name: shape for name, shape in shapes.items() if name != "mask_token"}


@pytest.mark.parametrize("registers", [0, 4])
def test_a_published_checkpoint_loads_by_name(tmp_path, registers):
    given = {name: torch.rand(shape) for name, shape in published(32, 2, registers).items()}
    save_file(given, tmp_path / "dino.safetensors")
    network = tiny(weights=str(tmp_path / "dino.safetensors"), num_registers=registers)
    load_pretrained(network)
    assert all(torch.equal(value, given[name]) for name, value in network.state_dict().items())


def test_a_checkpoint_of_another_size_is_refused(tmp_path):
    save_file({name: torch.rand(shape) for name, shape in published(16, 2).items()}, tmp_path / "dino.safetensors")
    with pytest.raises(ConfigError, match=r"do not fit a VisionTransformer: 'blocks.0.attn.proj.bias' is \(16,\)"):
        load_pretrained(tiny(weights=str(tmp_path / "dino.safetensors")))


def test_positions_are_the_learned_ones_at_their_own_size_and_keep_a_constant():
    network = tiny(num_positions=6)
    assert torch.equal(network.patch_positions(6, 6), network.pos_embed[:, 1:])
    with torch.no_grad():
        network.pos_embed.fill_(0.7)
    torch.testing.assert_close(network.patch_positions(4, 9), torch.full((1, 36, 32), 0.7))


@pytest.mark.parametrize("registers", [0, 4])
def test_interpolated_positions_follow_a_ramp(registers):
    network = tiny(num_positions=37, num_registers=registers)
    with torch.no_grad():
        ramp = torch.arange(37.0)[:, None].expand(37, 37).reshape(1, -1, 1)
        network.pos_embed[:, 1:] = ramp.expand(-1, -1, 32)
    found = network.patch_positions(16, 16)[0, :, 0].view(16, 16)
    # Centres of 16 patches on the scale of 37, DINOv2's offset of 0.1 included where there are no registers.
    scale = 37 / (16 + (0.0 if registers else 0.1))
    expected = (torch.arange(16) + 0.5) * scale - 0.5
    # Cubic interpolation follows a line to within 0.05; the offset moves these patches by up to 0.19.
    torch.testing.assert_close(found[2:-2, 3], expected[2:-2], atol=0.06, rtol=0)


def test_without_positions_patches_have_no_order():
    network = tiny(num_positions=2)
    with torch.no_grad():
        network.pos_embed.zero_()
    left, right = torch.rand(1, 3, 28, 14), torch.rand(1, 3, 28, 14)
    maps, summary = network(torch.cat([left, right], dim=3))
    swapped_maps, swapped_summary = network(torch.cat([right, left], dim=3))
    torch.testing.assert_close(maps, swapped_maps.flip(3), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(summary, swapped_summary, atol=1e-5, rtol=1e-5)


def test_resize_decides_the_number_of_patches():
    network = tiny(resize=56)
    assert network.grid(84, 168) == (2, 4)
    assert network(torch.rand(1, 3, 84, 168))[0].shape == (1, 32, 2, 4)
