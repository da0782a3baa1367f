"""Diffusion policy: its targets, when it clips, samplers exchanged after training, noise per step."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import nn

from praxon.errors import ConfigError
from praxon.policies.denoising.diffusion_solvers import DIFFUSION_SOLVERS
from praxon.policies.diffusion import DiffusionPolicy

ENCODER = {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16}
NETWORK = {
    "_target_": "praxon.policies.networks.transformer.TransformerDenoiser",
    "width": 16,
    "depth": 1,
    "num_heads": 2,
    "mlp_ratio": 1,
}


def make(contract, statistics, **settings) -> DiffusionPolicy:
    torch.manual_seed(0)
    policy = DiffusionPolicy(contract, encoder=ENCODER, network=NETWORK, **settings)
    policy.normalizer.fit(statistics)
    for parameter in policy.network.parameters():  # away from the zero start
        nn.init.normal_(parameter, std=0.3)
    return policy.eval()


class Oracle(nn.Module):
    """Knows the clean chunk, and works out from what it is told what it should predict."""

    def __init__(self, policy: DiffusionPolicy, clean: torch.Tensor) -> None:
        super().__init__()
        self.policy, self.clean = policy, clean

    def forward(self, noisy, time, tokens, given_BT=None):
        alpha, sigma = (
            torch.from_numpy(value).float()[:, :, None]
            for value in self.policy.schedule.at((self.policy.schedule.num_levels * (1 - time)).numpy())
        )
        noise = (noisy - alpha * self.clean) / sigma
        return {"epsilon": noise, "sample": self.clean, "v_prediction": alpha * noise - sigma * self.clean}[
            self.policy.prediction
        ]


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_whoever_knows_the_chunk_has_no_loss(contract, batch_of, statistics_of, prediction):
    policy = make(contract, statistics_of(contract), prediction=prediction, num_levels=20)
    batch = batch_of(contract, 64)  # so that every level is drawn
    policy.network = Oracle(policy, policy.encode_actions(batch))
    loss = policy.loss(batch, torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss, torch.zeros(64), atol=1e-6, rtol=0)


def test_clips_by_itself_only_where_the_range_is_known(contract, statistics_of):
    def clip_of(**settings):
        return make(contract, statistics_of(contract), **settings).engine.sampler.clip

    assert clip_of(normalization="min_max") == 1.0
    assert clip_of(normalization="mean_std") is None
    assert clip_of(normalization={"observation": "min_max", "action": "mean_std"}) is None
    assert clip_of(normalization={"observation": "mean_std", "action": "min_max"}) == 1.0
    assert clip_of(normalization="min_max", clip=None) is None
    assert clip_of(clip=3) == 3.0
    for wrong in (0.0, -1.0, "yes"):
        with pytest.raises(ConfigError, match=f"clip is a positive number, null or auto; got {wrong!r}"):
            clip_of(clip=wrong)


def test_joints_left_as_they_are_are_not_clipped_and_grippers_may_be(contract, statistics_of):
    hand = replace(contract, action=replace(contract.action, unit="rad,rad,m"))

    def clip_of(**modes):
        return make(hand, statistics_of(hand), normalization={"action": "min_max", **modes}).engine.sampler.clip

    assert clip_of(gripper="none") == 1.0
    assert clip_of(joint="none") is None  # an angle beyond 1 rad is no outlier
    assert clip_of(joint="mean_std") is None
    assert clip_of(joint="none", gripper="none") is None


@torch.inference_mode()
def test_clipped_chunks_stay_within_the_data(contract, batch_of, statistics_of):
    statistics = statistics_of(contract)
    batch = batch_of(contract, 4)
    window = {feature.name: batch[feature.name] for feature in contract.observations}
    chunks = {}
    for clip in ("auto", None):
        policy = make(contract, statistics, normalization="min_max", clip=clip)
        nn.init.constant_(policy.network.head.bias, 3.0)
        chunks[clip] = policy.sample(window, policy.noise(4, torch.Generator().manual_seed(0)))
    highest = statistics["action"]["max"].max() + 1e-5
    assert chunks["auto"].max() <= highest
    assert chunks[None].max() > highest


@pytest.mark.parametrize("name", DIFFUSION_SOLVERS)
@torch.inference_mode()
def test_every_solver_serves_the_same_weights_whoever_is_in_the_batch(contract, batch_of, statistics_of, name):
    policy = make(contract, statistics_of(contract))
    policy.configure_engine({"solver": name, "steps": 6})
    chosen = {"solver": name, "steps": 6, "spacing": None, "eta": 0.0, "noise_scale": 1.0}
    assert policy.engine_settings() == {**chosen, "cache": None, "method": None, "guidance_limit": 5.0, "start": 0.3}
    batch = batch_of(contract, 3)
    window = {feature.name: batch[feature.name] for feature in contract.observations}
    noise = policy.noise(3, torch.Generator().manual_seed(0))
    assert (noise.ndim == 4) == DIFFUSION_SOLVERS[name].stochastic
    together = policy.sample(window, noise)
    alone = policy.sample({feature: value[1:2] for feature, value in window.items()}, noise[1:2])
    assert together.shape == (3, 8, 3)
    torch.testing.assert_close(alone[0], together[1], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_threads_do_not_share_a_solvers_state(contract, batch_of, statistics_of):
    policy = make(contract, statistics_of(contract), solver="unipc_3", steps=12)
    batch = batch_of(contract, 2)
    window = {feature.name: batch[feature.name] for feature in contract.observations}
    noises = [policy.noise(2, torch.Generator().manual_seed(seed)) for seed in range(8)]

    def sample(noise):
        with torch.inference_mode():
            return policy.sample(window, noise)

    expected = [sample(noise) for noise in noises]
    with ThreadPoolExecutor(4) as threads:
        for found, right in zip(threads.map(sample, noises), expected, strict=True):
            assert torch.equal(found, right)


class Knows(nn.Module):
    """A network that predicts one chunk whatever it is asked."""

    def __init__(self, chunk: torch.Tensor) -> None:
        super().__init__()
        self.chunk = chunk

    def condition(self, tokens):
        return tokens

    def modulation(self, time, span=None):
        return time

    def denoise(self, noisy, modulation, condition, features=None, run=None):
        return self.chunk.expand_as(noisy)


@torch.inference_mode()
def test_of_a_chunk_with_a_lead_the_rows_before_now_are_left_out(contract, batch_of, statistics_of):
    policy = make(contract, statistics_of(contract), lead=2)
    assert policy.needs().lead == 2
    rows = torch.arange(-2.0, 8.0)[:, None].expand(10, 3)  # row i of the served chunk shall be i
    policy.network = Knows(policy.normalizer.normalize("action", rows))
    batch = batch_of(contract, 2)
    noise = policy.noise(2, torch.Generator().manual_seed(0))
    assert noise.shape == (2, 10, 3)
    served = policy.sample({feature.name: batch[feature.name] for feature in contract.observations}, noise)
    torch.testing.assert_close(served, torch.arange(8.0)[None, :, None].expand(2, 8, 3), atol=1e-4, rtol=0)
    for settings in ({"lead": -1}, {"lead": 1, "actions": "relative"}):
        with pytest.raises(ConfigError, match="rows before the newest observation need absolute ones"):
            make(contract, statistics_of(contract), **settings)


def test_padding_counts_unless_it_is_masked(contract, batch_of, statistics_of):
    batch = batch_of(contract, 3)
    batch["action_is_pad"][:, 5:] = True
    changed = {**batch, "action": batch["action"].clone()}
    changed["action"][:, 5:] += 3.0
    for mask in (True, False):
        policy = make(contract, statistics_of(contract), mask_padding=mask)
        policy.network = Knows(torch.zeros(8, 3))
        policy.network.forward = lambda noisy, time, tokens, **options: torch.zeros_like(noisy)
        losses = [policy.loss(each, torch.Generator().manual_seed(0)) for each in (batch, changed)]
        assert torch.equal(*losses) == mask
    expected = policy.encode_actions(batch)[:, :5].square().mean(dim=(1, 2))
    policy.mask_padding = True
    torch.testing.assert_close(policy.loss(batch, torch.Generator().manual_seed(0)), expected)


def test_a_setting_that_the_engine_does_not_have_is_named(contract, statistics_of):
    policy = make(contract, statistics_of(contract))
    with pytest.raises(ConfigError, match=r"'stepz' does not exist.*Did you mean 'steps'"):
        policy.configure_engine({"stepz": 3})
    before = policy.engine_settings()
    for wrong, message in (
        ({"steps": 500, "noise_scale": 0.5}, "takes 1 to 99 steps"),
        ({"steps": "ten"}, "cannot be used"),
        ({"noise_scale": "low"}, "number from 0 on; got 'low'"),
        ({"noise_scale": float("nan")}, "number from 0 on; got nan"),
    ):
        with pytest.raises(ConfigError, match=message):
            policy.configure_engine(wrong)
    assert policy.engine_settings() == before
    with pytest.raises(ConfigError, match=r"number from 0 on; got -1\.0"):
        make(contract, statistics_of(contract), noise_scale=-1.0)
