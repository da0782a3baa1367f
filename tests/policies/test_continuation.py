"""Chunks that continue a plan: masks by hand, guidance on a Gaussian whose answer is known, given actions that come out as given."""

import math

import numpy as np
import pytest
import torch

from praxon.errors import ConfigError
from praxon.policies.build import build_policy
from praxon.policies.chunking import soft_mask
from praxon.policies.denoising.continuation import Plan, guided
from praxon.policies.denoising.diffusion_sampler import DiffusionSampler
from praxon.policies.denoising.karras import KarrasSampler, Preconditioning
from praxon.policies.denoising.noise_schedule import NoiseSchedule
from praxon.policies.denoising.samplers import FlowSampler
from praxon.policies.denoising.span_samplers import SpanSampler

SAMPLERS = {
    "flow": FlowSampler("euler", 10),
    "span": SpanSampler(4),
    "epsilon": DiffusionSampler(NoiseSchedule(), "epsilon", solver="ddim", steps=10),
    "sample": DiffusionSampler(NoiseSchedule(), "sample", solver="dpmpp_2m", steps=10),
    "v": DiffusionSampler(NoiseSchedule(), "v_prediction", solver="ddim", steps=10),
    "karras": KarrasSampler(Preconditioning(), steps=4),
}


def test_soft_mask_by_hand():
    # Five rows of overlap, two fixed: c = 3/4, 2/4, 1/4.
    weights = [c * (math.e**c - 1) / (math.e - 1) for c in (0.75, 0.5, 0.25)]
    assert soft_mask(2, 3, 8) == pytest.approx([1, 1, *weights, 0, 0, 0])
    assert soft_mask(0, 8, 8) == [0.0] * 8
    assert soft_mask(5, 3, 8) == [1.0] * 5 + [0.0] * 3
    with pytest.raises(ConfigError, match=r"The delay must be 0 to 5: execute fewer rows"):
        soft_mask(6, 3, 8)


@pytest.mark.parametrize("name", SAMPLERS)
def test_clean_chunk_and_prediction_are_each_others_inverse(name):
    sampler = SAMPLERS[name]
    x, prediction = torch.randn(2, 3, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for index in range(len(sampler.times)):
        clean = sampler.clean(x, prediction, index)
        torch.testing.assert_close(sampler.prediction(x, clean, index), prediction, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_input_lies_on_the_path_that_the_sampler_says(name):
    # A network that knows the clean chunk sees alpha a + sigma e wherever it is asked, if the first state is such a point.
    sampler = SAMPLERS[name]
    a, e = torch.randn(2, 1, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    errors = []

    def evaluate(x, index):
        alpha, sigma = sampler.path(index)
        errors.append((x - (alpha * a + sigma * e)).abs().max().item())
        return sampler.prediction(x, a, index)

    alpha, sigma = sampler.path(0)
    start = (alpha * a + sigma * e) / (sigma if name == "karras" else 1.0)  # Karras multiplies unit noise by sigma_max
    torch.testing.assert_close(sampler.run(evaluate, start), a, atol=1e-6, rtol=1e-6)
    assert len(errors) == len(sampler.times)
    assert max(errors) < 1e-5


def ideal(sampler, covariance):
    """The expected clean chunk for data ~ N(0, covariance) over the rows, as a network's prediction."""

    def evaluate(x, index):
        alpha, sigma = sampler.path(index)
        total = alpha**2 * covariance + sigma**2 * torch.eye(len(covariance), dtype=x.dtype)
        gain = alpha * torch.linalg.solve(total, covariance).T
        return sampler.prediction(x, torch.einsum("st,bta->bsa", gain, x), index)

    return evaluate


@pytest.mark.parametrize("name", ["flow", "sample", "karras"])
def test_guidance_through_the_network_carries_a_fixed_row_to_the_rows_that_depend_on_it(name):
    sampler = {
        "flow": FlowSampler("euler", 20),
        "sample": DiffusionSampler(NoiseSchedule(), "sample", solver="dpmpp_2m", steps=20),
        "karras": KarrasSampler(Preconditioning(), steps=20, solver="heun"),
    }[name]
    covariance = torch.tensor([[1.0, 0.8, 0.0], [0.8, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    noise = torch.randn(4000, 3, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plan = Plan(
        torch.full((4000, 3, 1), 1.5, dtype=torch.float64), torch.tensor([[1.0, 0.0, 0.0]]).double().expand(4000, 3)
    )
    evaluate = ideal(sampler, covariance)
    means = {
        through: sampler.run(guided(evaluate, sampler, plan, 5.0, through), noise).mean(dim=0)[:, 0]
        for through in (True, False)
    }
    # The rest of the chunk expects 0.8 of the fixed row, and nothing where it is independent.
    assert means[True][0] == pytest.approx(1.5, abs=0.2)
    assert means[True][1] == pytest.approx(0.8 * 1.5, abs=0.25)
    assert means[True][2] == pytest.approx(0.0, abs=0.1)
    assert means[False][0] == pytest.approx(1.5, abs=0.3)
    assert means[False][1] < means[True][1]


@pytest.mark.parametrize("through", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", ["euler", "heun", "dpmpp_2m", "karras"])
def test_few_steps_go_towards_the_plan_and_hardly_beyond_it(kind, steps, through):
    if kind in ("euler", "heun"):
        sampler = FlowSampler(kind, steps)
    elif kind == "karras":
        sampler = KarrasSampler(Preconditioning(), steps=steps, solver="ddim")
    else:
        sampler = DiffusionSampler(NoiseSchedule(), "sample", solver=kind, steps=steps)
    covariance = torch.eye(2, dtype=torch.float64)
    noise = torch.randn(4000, 2, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plan = Plan(torch.full_like(noise, 1.5), torch.tensor([[1.0, 0.0]]).double().expand(4000, 2))
    evaluate = ideal(sampler, covariance)
    free = sampler.run(evaluate, noise).mean(dim=0)[:, 0]
    means = sampler.run(guided(evaluate, sampler, plan, 5.0, through), noise).mean(dim=0)[:, 0]
    # Pulls of earlier steps are not taken back where the network is not asked: an eighth beyond, and not five times.
    assert free[0] - 0.01 <= means[0] <= 1.5 * 1.125
    assert means[1] == pytest.approx(float(free[1]), abs=1e-9)
    if not through:
        assert means[0] > 0.3 * 1.5  # it does go there


@pytest.mark.parametrize("through", [True, False])
def test_a_plan_of_no_weight_changes_nothing(through):
    sampler = SAMPLERS["flow"]
    noise = torch.randn(5, 3, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    evaluate = ideal(sampler, torch.eye(3, dtype=torch.float64))
    plan = Plan(torch.full((5, 3, 1), 9.0, dtype=torch.float64), torch.zeros(5, 3, dtype=torch.float64))
    torch.testing.assert_close(
        sampler.run(guided(evaluate, sampler, plan, 5.0, through), noise), sampler.run(evaluate, noise)
    )


CONFIG = {
    "_target_": "praxon.policies.flow_matching.FlowMatchingPolicy",
    "encoder": {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16},
    "network": {"_target_": "praxon.policies.networks.transformer.TransformerDenoiser", "size": "tiny"},
}
NETWORKS = {
    "transformer": "praxon.policies.networks.transformer.TransformerDenoiser",
    "causal": "praxon.policies.networks.causal_transformer.CausalTransformer",
}


def make(contract, statistics_of, **options):
    torch.manual_seed(0)
    policy = build_policy(CONFIG | options, contract)
    statistics = statistics_of(contract)
    if policy.actions.row_shape:
        statistics["action"] = {
            key: np.broadcast_to(value, (8, 3)).copy() for key, value in statistics["action"].items()
        }
    policy.normalizer.fit(statistics)
    with torch.no_grad():
        for parameter in policy.network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return policy


@pytest.mark.parametrize("actions", ["absolute", "relative", "delta"])
@pytest.mark.parametrize("network", NETWORKS)
def test_given_actions_come_out_as_given_and_matter_to_the_rest(contract, statistics_of, batch_of, network, actions):
    config = {"network": CONFIG["network"] | {"_target_": NETWORKS[network]}, "actions": actions}
    policy = make(contract, statistics_of, prefix_delays=[1, 1, 1, 1], **config).eval()
    assert policy.engine_settings()["method"] == "prefix"
    window = {f.name: batch_of(contract, 2)[f.name] for f in contract.observations}
    noise = policy.noise(2, torch.Generator().manual_seed(0))
    weights = torch.tensor([[1.0, 1.0, 1.0, 0.4, 0.2, 0, 0, 0], [1.0, 0, 0, 0, 0, 0, 0, 0]])
    rows = torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        chunk = policy.sample(window, noise, Plan(rows, weights))
        torch.testing.assert_close(chunk[0, :3], rows[0, :3], atol=1e-5, rtol=0)
        torch.testing.assert_close(chunk[1, :1], rows[1, :1], atol=1e-5, rtol=0)
        other = policy.sample(window, noise, Plan(rows + (weights >= 1)[..., None], weights))
        assert (other - chunk)[0, 3:].abs().max() > 1e-3
        none = policy.sample(window, noise, Plan(rows, torch.zeros(2, 8)))
        torch.testing.assert_close(none, policy.sample(window, noise))


def test_training_with_given_actions_counts_the_others_alone(contract, statistics_of, batch_of):
    batch = batch_of(contract, 16)
    policy = make(contract, statistics_of, prefix_delays=[0, 0, 0, 1], actions="absolute")  # always three
    loss = policy.loss(batch, torch.Generator().manual_seed(0))
    seen = {}
    hook = policy.network.register_forward_pre_hook(
        lambda module, args, kwargs: seen.update(noisy=args[0], given=kwargs["given_BT"]), with_kwargs=True
    )
    policy.loss(batch, torch.Generator().manual_seed(0))
    hook.remove()
    assert seen["given"].sum(dim=1).tolist() == [3] * 16
    action = policy.encode_actions(batch)
    torch.testing.assert_close(seen["noisy"][:, :3], action[:, :3])
    assert (seen["noisy"][:, 3:] - action[:, 3:]).abs().min() > 0
    with torch.no_grad():
        policy.network.head.weight.zero_()
        policy.network.head.bias.zero_()
    # An answer of zero: the squared velocity a - e of the rows that are drawn, averaged over those.
    drawn = policy.loss(batch, torch.Generator().manual_seed(0))
    assert torch.isfinite(loss).all()
    noise = torch.randn(action.shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn, (action - noise)[:, 3:].square().mean((1, 2)), rtol=1e-4, atol=1e-5)


def test_what_cannot_continue_says_so(contract, statistics_of, batch_of):
    unet = {"_target_": "praxon.policies.networks.unet1d.UNet1D", "size": "tiny"}
    policy = make(contract, statistics_of, network=unet).eval()
    assert not policy.continues
    window = {f.name: batch_of(contract, 1)[f.name] for f in contract.observations}
    plan = Plan(torch.zeros(1, 8, 3), torch.ones(1, 8))
    with pytest.raises(ConfigError, match="continued by a method, and none is set: guided, identity, prefix"):
        policy.sample(window, policy.noise(1, torch.Generator()), plan)
    policy.configure_engine({"method": "guided"})
    assert policy.continues
    with pytest.raises(ConfigError, match="was not trained to continue chunks by prefix"):
        policy.configure_engine({"method": "prefix"})
    assert policy.engine_settings()["method"] == "guided"
    with pytest.raises(ConfigError, match="one flow time for a whole chunk"):
        make(contract, statistics_of, network=unet, prefix_delays=[1, 1])
    with pytest.raises(ConfigError, match="leave nothing to draw of a chunk of 8"):
        make(contract, statistics_of, prefix_delays=[1.0] * 9)
    with pytest.raises(
        ConfigError, match="continued by guided, identity, prefix, .*; got 'guide'.*Did you mean 'guided'"
    ):
        policy.configure_engine({"method": "guide"})
