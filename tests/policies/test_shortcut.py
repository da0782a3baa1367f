"""Shortcut models: two half steps make a whole one on a flow that is known; which steps are learned and which are taken."""

import pytest
import torch

from praxon.errors import ConfigError
from praxon.policies.shortcut import ShortcutPolicy, shortcut_target

SMALL = {
    "encoder": {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16},
    "network": {
        "_target_": "praxon.policies.networks.transformer.TransformerDenoiser",
        "width": 16,
        "depth": 1,
        "num_heads": 2,
    },
}


def test_two_exact_half_steps_are_one_exact_step(gaussian_flow):
    x, time, span = gaussian_flow.points()
    target = shortcut_target(gaussian_flow.mean_velocity, x, time, span)
    torch.testing.assert_close(target, gaussian_flow.mean_velocity(x, time, span), atol=1e-9, rtol=1e-9)


def test_instantaneous_velocities_are_not_consistent(gaussian_flow):
    x, time, span = gaussian_flow.points()
    velocity = lambda x, t, d: gaussian_flow.velocity(x, t)  # noqa: E731
    target = shortcut_target(velocity, x, time, span)
    assert (target - velocity(x, time, span)).abs().mean() > 0.05


def test_longer_steps_start_where_sampling_takes_them(contract):
    policy = ShortcutPolicy(contract, **SMALL, finest=16)
    time, span = policy._grid_steps(8000, torch.Generator().manual_seed(0))
    lengths, counts = span.unique(return_counts=True)
    assert lengths.tolist() == [1 / 8, 1 / 4, 1 / 2, 1]
    assert counts.tolist() == pytest.approx([2000] * 4, abs=200)
    assert torch.equal((time / span).round(), time / span)
    assert (time + span).max() == 1.0
    assert (time[span == 1 / 8]).unique().tolist() == [index / 8 for index in range(8)]


def test_a_perfect_network_has_no_error_but_that_of_single_paths(contract, statistics_of, batch_of):
    # A network that says the same everywhere is consistent; its bootstrapped error is zero and nothing else is.
    policy = ShortcutPolicy(contract, **SMALL, finest=4, bootstrap=0.5)
    policy.normalizer.fit(statistics_of(contract))
    with torch.no_grad():
        policy.network.head.bias.fill_(0.7)  # its weights start at zero
    losses = policy.loss(batch_of(contract, 40), torch.Generator().manual_seed(0))
    assert int((losses < 1e-10).sum()) == 20
    assert (losses[losses >= 1e-10] > 0.1).all()


def test_loss_written_out(contract, statistics_of, batch_of):
    torch.manual_seed(0)
    policy = ShortcutPolicy(contract, **SMALL, finest=4, bootstrap=0.5)
    policy.normalizer.fit(statistics_of(contract))
    with torch.no_grad():
        for parameter in policy.network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    batch, seen = batch_of(contract, 12), {}
    hook = policy.network.register_forward_hook(lambda module, given, out: seen.update(given=given, out=out))
    loss = policy.loss(batch, torch.Generator().manual_seed(0))
    hook.remove()
    (noisy, time, tokens, span, _), out = seen["given"], seen["out"]
    action = policy.encode_actions(batch)
    assert set(span.flatten().tolist()) >= {0.25, 0.5}

    def mean_velocity(x, t, d):
        return policy.network(x, t[:, None], tokens, d[:, None])

    with torch.no_grad():
        two_halves = shortcut_target(mean_velocity, noisy, time[:, 0], span[:, 0])
    along = (action - noisy) / (1.0 - time[..., None])
    target = torch.where(span[..., None] > 0.25, two_halves, along)
    torch.testing.assert_close(loss, (out - target).square().mean((1, 2)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("steps", "neighbours"), [(3, "2 or 4"), (100, "64 or 128"), (256, "128")])
def test_steps_are_powers_of_two(contract, steps, neighbours):
    with pytest.raises(ConfigError, match=rf"power of two.*got {steps}, try {neighbours}\."):
        ShortcutPolicy(contract, **SMALL, steps=steps)
    policy = ShortcutPolicy(contract, **SMALL)
    for allowed in (1, 2, 4, 8, 16, 32, 64, 128):
        policy.configure_engine({"steps": allowed})
        assert policy.engine.sampler.spans == [1 / allowed] * allowed


def test_impossible_settings_are_refused(contract):
    with pytest.raises(ConfigError, match="2, 4, 8"):
        ShortcutPolicy(contract, **SMALL, finest=12)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        ShortcutPolicy(contract, **SMALL, bootstrap=0.0)
    with pytest.raises(ConfigError, match="at least one step"):
        ShortcutPolicy(contract, **SMALL, steps=0)
