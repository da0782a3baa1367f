"""Parts by name: any network serves any objective by its name alone, and a setting that a class lacks is refused by name."""

import pytest
import torch

from praxon.errors import ConfigError
from praxon.policies.build import build_part, build_policy
from praxon.policies.networks.backbone import Backbone
from praxon.policies.networks.resnet import ResNet
from praxon.policies.networks.unet1d import UNet1D
from praxon.targets import load_option

NETWORKS = {
    "TransformerDenoiser": "praxon.policies.networks.transformer.TransformerDenoiser",
    "UNet1D": "praxon.policies.networks.unet1d.UNet1D",
    "CausalTransformer": "praxon.policies.networks.causal_transformer.CausalTransformer",
}
OBJECTIVES = ["debug", "flow", "diffusion_unet", "diffusion_transformer", "shortcut", "mean_flow", "beso"]


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("network", NETWORKS)
def test_any_network_serves_any_objective_by_its_name_alone(objective, network, contract, statistics_of, batch_of):
    config = load_option("policy", objective)
    config["network"] |= {"_target_": NETWORKS[network], "size": "tiny"}
    config["actions"] = "absolute"
    torch.manual_seed(0)
    policy = build_policy(config, contract)
    assert network in [type(module).__name__ for module in policy.network.modules()]
    policy.normalizer.fit(statistics_of(policy.contract))
    batch = {name: value.repeat(8, *[1] * (value.ndim - 1)) for name, value in batch_of(policy.contract, 2).items()}
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(policy.parameters(), 1e-2)
    losses = []
    for _ in range(80):
        loss = policy.loss(batch, generator).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    policy.eval()
    window = {feature.name: batch[feature.name][:2] for feature in policy.contract.observations}
    with torch.inference_mode():
        assert policy.sample(window, policy.noise(2, generator)).isfinite().all()


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_is_as_smooth_in_time_as_mean_flow_asks(network, contract):
    """The steepest time feature turns once in ``shortest_period``, whichever network it is."""
    config = load_option("policy", "mean_flow")
    config["network"] |= {"_target_": NETWORKS[network], "size": "tiny"}
    policy = build_policy(config, contract)
    assert policy.network.time_features.angular_frequencies.max().item() == pytest.approx(2 * torch.pi / 3.0)


def test_a_setting_that_the_class_lacks_is_refused_with_those_it_has(contract):
    config = load_option("policy", "flow")
    config["network"] |= {"_target_": NETWORKS["UNet1D"], "width": 64}
    with pytest.raises(ConfigError, match=r"UNet1D' cannot be built: it has no setting 'width'. Did you mean 'widths'"):
        build_policy(config, contract)


@pytest.mark.parametrize("wrong", ["norn", "num_registers"])
def test_settings_handed_to_a_parent_are_known_and_others_are_not(wrong):
    config = {"_target_": "praxon.policies.networks.resnet.ResNet", "norm": "group", "frozen": True, "resize": None}
    assert isinstance(build_part(config, Backbone), ResNet)
    with pytest.raises(
        ConfigError, match=rf"no setting '{wrong}'.* Settings: size, norm, weights, frozen, mean, std\."
    ):
        build_part(config | {wrong: 4}, Backbone)


def test_a_network_can_be_without_scales():
    part = {"_target_": NETWORKS["UNet1D"], "size": "tiny", "film_scale": False}
    sizes = [
        build_part(part | {"film_scale": each}, UNet1D, 2, 8, 1, 4).film_time.out_features for each in (False, None)
    ]
    assert sizes[1] == 2 * sizes[0]
