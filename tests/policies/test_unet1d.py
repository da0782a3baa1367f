"""The U-Net of Diffusion Policy and its causal transformer: what is hoisted, published layout, times, causality."""

import math

import pytest
import torch
from torch import nn

from praxon.errors import ConfigError
from praxon.policies.networks.causal_transformer import CausalTransformer
from praxon.policies.networks.published_unet import unet1d_weights
from praxon.policies.networks.unet1d import StepFeatures, UNet1D


def inputs(batch: int = 3, horizon: int = 8):
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, horizon, 3, generator=generator),
        torch.rand(batch, 1, generator=generator),
        torch.randn(batch, 2, 16, generator=generator),
    )


@pytest.fixture
def unet():
    torch.manual_seed(0)
    sizes = {"widths": (16, 24), "step_width": 16, "groups": 4, "head_groups": 8}
    return UNet1D(3, 8, 2, 16, **sizes, time_embedding="steps").eval()


@pytest.fixture
def causal():
    torch.manual_seed(0)
    network = CausalTransformer(3, 8, 2, 16, width=32, depth=2, num_heads=2, mlp_ratio=2).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network


def plain_unet(weights, x, level, observations):
    """The published network written with functions: FiLM from [step embedding, observations] in every block.

    Blocks have the groups they are told, 4; the one before the head always has 8.
    """
    F = nn.functional

    def conv_block(name, x, groups=4):
        x = F.conv1d(x, weights[f"{name}.block.0.weight"], weights[f"{name}.block.0.bias"], padding=2)
        return F.mish(F.group_norm(x, groups, weights[f"{name}.block.1.weight"], weights[f"{name}.block.1.bias"]))

    def residual_block(name, x, given):
        hidden = conv_block(f"{name}.conv1", x)
        film = F.linear(F.mish(given), weights[f"{name}.cond_encoder.1.weight"], weights[f"{name}.cond_encoder.1.bias"])
        scale, shift = film[..., None].chunk(2, dim=1)
        hidden = conv_block(f"{name}.conv2", scale * hidden + shift)
        if f"{name}.residual_conv.weight" in weights:
            x = F.conv1d(x, weights[f"{name}.residual_conv.weight"], weights[f"{name}.residual_conv.bias"])
        return hidden + x

    phase = level[:, None] * torch.exp(torch.arange(8) * -(math.log(10000) / 7))
    step = torch.cat([phase.sin(), phase.cos()], dim=-1)
    step = F.linear(step, weights["diffusion_step_encoder.1.weight"], weights["diffusion_step_encoder.1.bias"])
    step = F.linear(F.mish(step), weights["diffusion_step_encoder.3.weight"], weights["diffusion_step_encoder.3.bias"])
    given = torch.cat([step, observations], dim=-1)
    x, skips = x.transpose(1, 2), []
    for level_index in range(2):
        for block in range(2):
            x = residual_block(f"down_modules.{level_index}.{block}", x, given)
        skips.append(x)
        if level_index == 0:
            x = F.conv1d(x, weights["down_modules.0.2.weight"], weights["down_modules.0.2.bias"], stride=2, padding=1)
    for block in range(2):
        x = residual_block(f"mid_modules.{block}", x, given)
    x = torch.cat([x, skips.pop()], dim=1)
    for block in range(2):
        x = residual_block(f"up_modules.0.{block}", x, given)
    x = F.conv_transpose1d(x, weights["up_modules.0.2.weight"], weights["up_modules.0.2.bias"], stride=2, padding=1)
    x = conv_block("final_conv.0", x, groups=8)
    return F.conv1d(x, weights["final_conv.1.weight"], weights["final_conv.1.bias"]).transpose(1, 2)


def published_weights(families: str) -> dict[str, torch.Tensor]:
    """Random weights of a network with widths (16, 24), step width 16, 3 actions and 32 observation numbers."""
    generator = torch.Generator().manual_seed(0)
    shapes = {}

    def block(name, inner, outer):
        for conv, size in (("conv1", inner), ("conv2", outer)):
            shapes[f"{name}.{conv}.block.0.weight"] = (outer, size, 5)
            for part in ("0.bias", "1.weight", "1.bias"):
                shapes[f"{name}.{conv}.block.{part}"] = (outer,)
        shapes[f"{name}.cond_encoder.1.weight"] = (2 * outer, 16 + 32)
        shapes[f"{name}.cond_encoder.1.bias"] = (2 * outer,)
        if inner != outer:
            shapes[f"{name}.residual_conv.weight"], shapes[f"{name}.residual_conv.bias"] = (outer, inner, 1), (outer,)

    for name, inner, outer in (
        ("down_modules.0.0", 3, 16),
        ("down_modules.0.1", 16, 16),
        ("down_modules.1.0", 16, 24),
        ("down_modules.1.1", 24, 24),
        ("mid_modules.0", 24, 24),
        ("mid_modules.1", 24, 24),
        ("up_modules.0.0", 48, 16),
        ("up_modules.0.1", 16, 16),
    ):
        block(name, inner, outer)
    shapes |= {"diffusion_step_encoder.1.weight": (64, 16), "diffusion_step_encoder.1.bias": (64,)}
    shapes |= {"diffusion_step_encoder.3.weight": (16, 64), "diffusion_step_encoder.3.bias": (16,)}
    shapes |= {"down_modules.0.2.weight": (16, 16, 3), "down_modules.0.2.bias": (16,)}
    shapes |= {"up_modules.0.2.weight": (16, 16, 4), "up_modules.0.2.bias": (16,)}
    shapes |= {"final_conv.0.block.0.weight": (16, 16, 5), "final_conv.1.weight": (3, 16, 1), "final_conv.1.bias": (3,)}
    shapes |= {f"final_conv.0.block.{part}": (16,) for part in ("0.bias", "1.weight", "1.bias")}
    weights = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    if families == "diffusion_policy":
        renames = (("conv1.block", "blocks.0.block"), ("conv2.block", "blocks.1.block"))
        resample = (("modules.0.2.weight", "modules.0.2.conv.weight"), ("modules.0.2.bias", "modules.0.2.conv.bias"))
        for old, new in (*renames, *resample):
            weights = {name.replace(old, new): value for name, value in weights.items()}
    return weights


@pytest.mark.parametrize("family", ["lerobot", "diffusion_policy"])
def test_published_weights_give_the_published_numbers(unet, family):
    noisy, _, tokens = inputs()
    level = torch.tensor([0.0, 57.0, 99.0])
    unet.load_state_dict(unet1d_weights(published_weights(family)))
    expected = plain_unet(published_weights("lerobot"), noisy, level, tokens.flatten(1))
    torch.testing.assert_close(unet(noisy, (1.0 - level / 100)[:, None], tokens), expected, atol=1e-5, rtol=1e-5)


def test_published_sizes_have_the_published_number_of_parameters():
    # Diffusion Policy on PushT, images (2 steps of 64 + 2 numbers): 251.5 million (policies' own count, lerobot 0.6.1).
    with torch.device("meta"):
        unet = UNet1D(2, 16, 2, 66, size="large")
    assert sum(parameter.numel() for parameter in unet.parameters()) / 1e6 == pytest.approx(251.5, abs=0.05)


def test_whole_levels_are_embedded_as_integers():
    for num_levels in (100, 1000):
        level = torch.arange(num_levels)
        features = StepFeatures(32, num_levels)
        exact = level[:, None] * features.frequencies
        embedded = features((1.0 - level / num_levels)[:, None])[:, 0]
        assert torch.equal(embedded, torch.cat([exact.sin(), exact.cos()], dim=-1))


@pytest.mark.parametrize("spans", [False, True])
@pytest.mark.parametrize("kind", [UNet1D, CausalTransformer])
def test_parts_computed_once_give_what_the_whole_gives(kind, spans):
    torch.manual_seed(0)
    sizes = {"widths": (16, 32)} if kind is UNet1D else {"width": 32, "depth": 2, "num_heads": 2}
    network = kind(3, 8, 2, 16, spans=spans, **sizes).eval()
    noisy, _, tokens = inputs()
    time, span = torch.full((1, 1), 0.3), torch.full((1, 1), 0.25) if spans else None
    features: list[torch.Tensor] = []
    hoisted = network.denoise(noisy, network.modulation(time, span), network.condition(tokens), features)
    whole = network(noisy, time.expand(3, 1), tokens, span.expand(3, 1) if spans else None)
    torch.testing.assert_close(hoisted, whole)
    assert hoisted.shape == noisy.shape
    assert len(features) == 2
    assert all(len(feature) == 3 for feature in features)


@pytest.mark.parametrize("name", ["unet", "causal"])
def test_observations_time_and_span_matter(name, request):
    network = request.getfixturevalue(name)
    noisy, time, tokens = inputs()
    predicted = network(noisy, time, tokens)
    assert not torch.allclose(predicted, network(noisy, time, tokens + 1.0), atol=1e-3)
    assert not torch.allclose(predicted, network(noisy, 1.0 - time, tokens), atol=1e-3)
    torch.manual_seed(0)
    spanned = UNet1D(3, 8, 2, 16, widths=(16, 24), groups=4, spans=True)
    short, long = (spanned(noisy, time, tokens, torch.full_like(time, span)) for span in (0.1, 0.8))
    assert not torch.allclose(short, long, atol=1e-3)


def test_a_unet_has_one_time_per_chunk(unet):
    noisy, time, tokens = inputs()
    with pytest.raises(ConfigError, match="one flow time for a whole chunk; got 8"):
        unet(noisy, time.expand(-1, 8), tokens)


@pytest.mark.parametrize(
    ("horizon", "settings", "message"),
    [
        (10, {}, "divisible by 4; it is 10. Use 8 or 12"),
        (3, {}, "it is 3. Use 4, or fewer widths"),
        (16, {"widths": (30, 60)}, "divisible by groups=8; got .30, 60."),
        (16, {"kernel_size": 4}, "must be odd.*got 4"),
        (16, {"step_width": 5}, "must be even.*got 5"),
        (16, {"time_embedding": "step"}, "'step' does not exist.*Did you mean 'steps'"),
        (16, {"size": "huge"}, "'huge' does not exist"),
    ],
)
def test_what_does_not_fit_is_refused(horizon, settings, message):
    with pytest.raises(ConfigError, match=message):
        UNet1D(3, horizon, 2, 16, **settings)


def test_actions_see_their_predecessors_only(causal):
    noisy, time, tokens = inputs()
    changed = noisy.clone()
    changed[:, 5] += 1.0
    difference = (causal(noisy, time, tokens) - causal(changed, time, tokens)).abs().amax(dim=(0, 2))
    assert (difference[:5] == 0).all()
    assert (difference[5:] > 1e-3).all()


def test_a_shared_time_is_that_time_on_every_token_and_each_may_have_its_own(causal):
    noisy, time, tokens = inputs()
    times = time.repeat(1, 8)
    torch.testing.assert_close(causal(noisy, time, tokens), causal(noisy, times, tokens))
    times[:, 6] = 1.0 - times[:, 6]
    difference = (causal(noisy, time, tokens) - causal(noisy, times, tokens)).abs().amax(dim=(0, 2))
    assert (difference[:6] < 1e-5).all()
    assert difference[6] > 1e-3
