"""Starting from the chunk before: from where, in how many steps, and what comes of it where the truth is known."""

import numpy as np
import pytest
import torch

from praxon.errors import ConfigError
from praxon.policies.build import build_policy
from praxon.policies.denoising.continuation import Plan
from praxon.policies.denoising.diffusion_sampler import DiffusionSampler
from praxon.policies.denoising.noise_schedule import NoiseSchedule
from praxon.policies.denoising.restart import cold_way, restarted, staircase, streaming_way, warm_way
from praxon.policies.denoising.samplers import FlowSampler
from praxon.policies.denoising.span_samplers import SpanSampler
from praxon.policies.torch_runtime import TorchRuntime

SAMPLERS = {
    "flow": FlowSampler("euler", 10),
    **{kind: DiffusionSampler(NoiseSchedule(), kind, steps=10) for kind in ("epsilon", "sample", "v_prediction")},
}


def test_the_rest_of_the_steps_is_taken_from_a_warm_start():
    way = warm_way(10, 0.6, 3)
    assert way.steps == 4
    np.testing.assert_allclose(np.array(way.times)[:, 0], [0.6, 0.7, 0.8, 0.9, 1.0])
    assert warm_way(10, 0.95, 3).steps == 1
    for start in (0.0, 1.0):
        with pytest.raises(ConfigError, match="between flow time 0"):
            warm_way(10, start, 3)


def test_each_action_goes_one_stage_of_a_stream():
    way = streaming_way(6, 6, 2)  # three stages of two steps
    times = np.array(way.times)
    np.testing.assert_allclose(times[0], [2 / 3, 2 / 3, 1 / 3, 1 / 3, 0, 0])
    np.testing.assert_allclose(times[1] - times[0], 1 / 6)
    np.testing.assert_allclose(times[-1], [1, 1, 2 / 3, 2 / 3, 1 / 3, 1 / 3])
    # Executed and moved up, they are where the next call begins.
    np.testing.assert_allclose(times[-1][2:], times[0][:4])
    with pytest.raises(ConfigError, match="of 6 actions 6 are executed"):
        streaming_way(6, 6, 6)


def test_training_sees_what_a_stream_asks_for():
    drawn = staircase(torch.tensor([0.0, 0.5]), 6, 2)
    times = np.array(streaming_way(6, 6, 2).times)
    np.testing.assert_allclose(drawn, times[[0, 1]], atol=1e-6)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("way", [warm_way(8, 0.5, 4), streaming_way(8, 4, 2)], ids=["warm", "streaming"])
def test_whoever_knows_the_chunk_arrives_there(name, way):
    sampler = SAMPLERS[name]
    generator = torch.Generator().manual_seed(0)
    truth, noise, planned = (torch.randn(3, 4, 2, generator=generator) for _ in range(3))
    weights = torch.tensor([[1.0, 0.5, 0.0, 0.0], [0.0] * 4, [1.0] * 4])
    times = [torch.tensor(each).expand(3, 4).clone() for each in way.times]
    for each, cold in zip(times, cold_way(way.steps, 4).times, strict=True):
        each[1] = torch.tensor(cold)  # the sample without a plan

    def oracle(x, index):
        level = torch.tensor([[sampler.level_at(float(t)) for t in row] for row in times[index]])
        alpha, sigma = level[..., 1, None], level[..., 2, None]
        noise_in = (x - alpha * truth) / sigma
        if name == "flow":
            return truth - noise_in
        return {"epsilon": noise_in, "sample": truth, "v_prediction": alpha * noise_in - sigma * truth}[name]

    drawn = restarted(oracle, torch.zeros_like, sampler, Plan(planned, weights), noise, way)
    torch.testing.assert_close(drawn, truth, atol=2e-3 if name == "epsilon" else 1e-4, rtol=0)


def normal(x, t):
    """The velocity that carries unit noise to unit normal data: x(t) = x(0) sqrt(t^2 + (1 - t)^2)."""
    return x * (2 * t - 1) / (t**2 + (1 - t) ** 2)


def test_a_warm_start_stays_with_the_plan_and_a_cold_one_knows_none_of_it():
    sampler, way = SAMPLERS["flow"], warm_way(2000, 0.8, 2)
    plan = Plan(torch.full((2, 2, 1), 1.5), torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    noise = torch.tensor([[[0.0], [1.0]], [[0.5], [-1.0]]])

    def evaluate(x, index):
        warm, cold = way.times[index][0], cold_way(way.steps, 2).times[index][0]
        return torch.stack([normal(x[0], warm), normal(x[1], cold)])

    drawn = restarted(evaluate, lambda x: torch.full_like(x, 0.7), sampler, plan, noise, way)
    length = (0.8**2 + 0.2**2) ** 0.5
    # The row that the plan does not reach begins at what is guessed.
    torch.testing.assert_close(drawn[0, :, 0], torch.tensor([0.8 * 1.5, 0.8 * 0.7 + 0.2]) / length, atol=2e-3, rtol=0)
    torch.testing.assert_close(drawn[1], noise[1], atol=2e-2, rtol=0)


CONFIG = {
    "_target_": "praxon.policies.flow_matching.FlowMatchingPolicy",
    "encoder": {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16},
    "network": {"_target_": "praxon.policies.networks.transformer.TransformerDenoiser", "size": "tiny"},
    "actions": "absolute",
}
UNET = {"_target_": "praxon.policies.networks.unet1d.UNet1D", "size": "tiny"}


def make(contract, statistics_of, **options):
    torch.manual_seed(0)
    policy = build_policy(CONFIG | options, contract)
    policy.normalizer.fit(statistics_of(contract))
    with torch.no_grad():
        for parameter in policy.network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return policy.eval()


@pytest.mark.parametrize("network", [CONFIG["network"], UNET], ids=["transformer", "unet"])
def test_without_a_plan_a_warm_start_is_as_many_steps_from_noise(contract, statistics_of, batch_of, network):
    policy = make(contract, statistics_of, network=network)
    window = {f.name: batch_of(contract, 1)[f.name] for f in contract.observations}
    noise = policy.noise(1, torch.Generator().manual_seed(0))
    policy.configure_engine({"steps": 4})
    plain = policy.sample(window, noise)
    policy.configure_engine({"steps": 8, "method": "warm_start", "start": 0.5})
    plan = Plan(torch.randn(1, 8, 3, generator=torch.Generator().manual_seed(1)), torch.zeros(1, 8))
    torch.testing.assert_close(policy.sample(window, noise, plan), plain)
    evaluations = []
    hook = policy.network.denoise
    policy.network.denoise = lambda *args, **options: evaluations.append(1) or hook(*args, **options)
    known = Plan(plan.actions_BTA, torch.ones(1, 8))
    drawn = policy.sample(window, noise, known)
    assert len(evaluations) == 5  # four steps, and one for what the plan does not reach
    assert (drawn - plain).abs().max() > 1e-2
    policy.network.denoise = hook
    policy.freeze()
    torch.testing.assert_close(policy.sample(window, noise, known), drawn)


def test_streaming_tells_each_action_its_time(contract, statistics_of, batch_of):
    policy = make(contract, statistics_of, streaming=0.8)  # chunks of 8, of which 4 are executed
    assert policy.engine_settings()["method"] == "streaming"
    assert policy.continues
    assert TorchRuntime(policy).continues
    told = []
    modulation = policy.network.modulation
    policy.network.modulation = lambda time, span=None: told.append(time) or modulation(time, span)
    policy.freeze()
    plain, warm, cold = told
    assert plain.shape == (11, 1)
    np.testing.assert_allclose(warm[0], [0.5] * 4 + [0.0] * 4)
    np.testing.assert_allclose(warm[-1], [0.9] * 4 + [0.4] * 4, atol=1e-6)
    np.testing.assert_allclose(cold[:, 0], [0.0, 0.2, 0.4, 0.6, 0.8], atol=1e-6)

    batch = batch_of(contract, 64)
    seen = {}
    hook = policy.network.register_forward_pre_hook(lambda module, args: seen.update(noisy=args[0], time=args[1]))
    policy.loss(batch, torch.Generator().manual_seed(0))
    hook.remove()
    share = ((seen["time"][:, 0] - seen["time"][:, 4]) - 0.5).abs() < 1e-6
    assert 0.6 < share.float().mean() < 0.95
    shared = seen["time"][~share]
    assert torch.equal(shared, shared[:, :1].expand_as(shared))


def test_a_clip_holds_from_the_first_step_on():
    # A network that errs by a thousandth at the noisiest level, where the clean chunk is a thousandth of what it sees.
    sampler = DiffusionSampler(NoiseSchedule(), "epsilon", clip=1.0, solver="ddim", steps=10)
    noise = torch.randn(64, 4, 2, generator=torch.Generator().manual_seed(0))
    for weights in (torch.zeros(64, 4), torch.ones(64, 4)):
        plan = Plan(torch.full((64, 4, 2), 0.5), weights)
        drawn = restarted(lambda x, index: 1.1 * x, torch.zeros_like, sampler, plan, noise, warm_way(10, 0.5, 4))
        assert drawn.abs().max() <= 1.0


def test_what_was_not_trained_is_refused(contract, statistics_of):
    policy = make(contract, statistics_of)
    for method, setting in (("prefix", "prefix_delays"), ("streaming", "streaming=0.8")):
        with pytest.raises(ConfigError, match=f"not trained to continue chunks by {method}; .*{setting}"):
            policy.configure_engine({"method": method})
    make(contract, statistics_of, prefix_delays=[1, 1]).configure_engine({"method": "prefix"})


def test_what_cannot_begin_again_says_so(contract, statistics_of):
    policy = make(contract, statistics_of)
    with pytest.raises(ConfigError, match=r"between flow time 0 \(noise\) and 1 \(data\); got 1"):
        policy.configure_engine({"method": "warm_start", "start": 1.0})
    with pytest.raises(ConfigError, match="not for both"):
        make(contract, statistics_of, streaming=0.5, prefix_delays=[1, 1])
    with pytest.raises(ConfigError, match="lies within 0 and 1; got 1.5"):
        make(contract, statistics_of, streaming=1.5)
    with pytest.raises(ConfigError, match="one flow time for a whole chunk"):
        make(contract, statistics_of, network=UNET, streaming=0.5)
    with pytest.raises(ConfigError, match="Nothing can begin in the middle of the steps of SpanSampler"):
        SpanSampler().level_at(0.5)
