"""RLPD's truths: masks, bounds, targets by hand, densities by integration, critics that are independent, a task that is learned."""

import math

import numpy as np
import pytest
import torch

from praxon.errors import ConfigError
from praxon.learning.rl.replay import ReplayBuffer, symmetric
from praxon.learning.rl.rlpd import Rlpd, RlpdSettings
from praxon.policies.networks.value import CriticEnsemble, GaussianActor

torch.set_num_threads(1)
SMALL = {"hidden": (32, 32), "critics": 3, "updates": 1, "batch_size": 64, "learning_rate": 3e-3, "tau": 0.05}


def filled(transitions, state_size=1, action_size=1):
    buffer = ReplayBuffer(1000, state_size, action_size)
    for state, action, reward, following, mask in transitions:
        buffer.add(
            {
                "state": np.full(state_size, state),
                "action": np.full(action_size, action),
                "reward": reward,
                "next_state": np.full(state_size, following),
                "mask": mask,
                "discount": 0.9,
            }
        )
    return buffer


def trained(buffer, steps=600, **settings):
    learner = Rlpd(1, 1, RlpdSettings(**{**SMALL, **settings}))
    rng = np.random.default_rng(0)
    for _ in range(steps):
        learner.critic_step(buffer.sample(64, rng))
    return learner


def value(learner, state=0.0, action=0.0):
    with torch.no_grad():
        return learner.critics(torch.tensor([[state]]), torch.tensor([[action]])).mean().item()


def always(reward, mask):
    """One state, any action, the same reward."""
    return filled([(0.0, action, reward, 0.0, mask) for action in np.linspace(-1, 1, 200)])


def test_time_that_runs_out_does_not_end_the_world():
    # Reward 1 at every step for ever: 1 / (1 - 0.9), whenever somebody stopped looking.
    assert value(trained(always(1.0, 1.0), 1500)) == pytest.approx(10.0, rel=0.1)
    # Where nothing can follow, what follows is worth nothing.
    assert value(trained(always(1.0, 0.0))) == pytest.approx(1.0, abs=0.05)


def test_targets_stay_within_their_bounds():
    learner = trained(always(-1.0, 1.0), lowest=-2.0, highest=0.0)
    assert value(learner) == pytest.approx(-2.0, abs=0.1)  # -10 without


def test_a_target_by_hand():
    learner = Rlpd(1, 1, RlpdSettings(**{**SMALL, "critics": 2, "subset": 2}))
    with torch.no_grad():
        for parameter in learner.targets.parameters():
            parameter.zero_()
        learner.targets.out.bias.copy_(torch.tensor([3.0, 5.0]).view(2, 1, 1))
    batch = {
        "state": torch.zeros(2, 1),
        "action": torch.zeros(2, 1),
        "next_state": torch.zeros(2, 1),
        "reward": torch.tensor([1.0, 1.0]),
        "discount": torch.tensor([0.9, 0.729]),  # one step, three steps
        "mask": torch.tensor([1.0, 0.0]),
    }
    torch.testing.assert_close(learner.target(batch), torch.tensor([1.0 + 0.9 * 3.0, 1.0]))


def test_with_the_entropy_of_what_follows():
    settings = {**SMALL, "entropy_backup": True, "temperature": 0.5}
    learner = Rlpd(1, 1, RlpdSettings(**settings))
    batch = filled([(0.0, 0.0, 0.0, 0.0, 1.0)]).sample(4, np.random.default_rng(0))
    with torch.no_grad():
        for parameter in learner.targets.parameters():
            parameter.zero_()
    state = learner.generator.get_state()
    found = learner.target(batch)
    learner.generator.set_state(state)
    _, log_density = learner.actor.sample(batch["next_state"], learner.generator)
    torch.testing.assert_close(found, -0.9 * 0.5 * log_density.detach())


def test_the_actors_density_integrates_to_one_and_is_the_samples():
    actor = GaussianActor(1, 1, (8,))
    with torch.no_grad():
        mean, std = actor(torch.zeros(1, 1))
    raw = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    squashed = raw.tanh()
    normal = torch.distributions.Normal(mean.double().item(), std.double().item())
    density = (normal.log_prob(raw) - torch.log1p(-squashed.square() + 1e-300)).exp()
    assert torch.trapezoid(density, squashed).item() == pytest.approx(1.0, abs=1e-3)
    action, log_density = actor.sample(torch.zeros(1, 1), torch.Generator().manual_seed(0))
    at = torch.atanh(action.detach().double())
    expected = normal.log_prob(at) - torch.log1p(-action.detach().double().square())
    assert log_density.item() == pytest.approx(expected.item(), abs=1e-4)


def test_far_out_densities_are_finite():
    actor = GaussianActor(1, 2, (8,))
    with torch.no_grad():
        actor.out.weight.zero_()
        actor.out.bias.copy_(torch.tensor([40.0, -40.0, 5.0, -20.0]))
    action, log_density = actor.sample(torch.zeros(3, 1), torch.Generator().manual_seed(0))
    assert torch.isfinite(log_density).all()
    assert action.abs().max() <= 1
    log_density.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in actor.parameters() if parameter.grad is not None)


def test_critics_are_independent_of_each_other():
    critics = CriticEnsemble(3, 2, (16, 16), count=4)
    state, action = torch.randn(5, 3), torch.randn(5, 2)
    values = critics(state, action)
    assert values.shape == (4, 5)
    values[1].sum().backward()
    for parameter in critics.parameters():
        norms = parameter.grad.flatten(1).norm(dim=1)
        assert norms[1] > 0 or parameter.shape[-1] == 1
        assert norms[[0, 2, 3]].max() == 0
    with torch.no_grad():
        alone = torch.cat([state, action], dim=-1)
        for layer, norm in zip(critics.layers, critics.norms, strict=True):
            alone = torch.nn.functional.layer_norm(alone @ layer.weight[2] + layer.bias[2], (16,))
            alone = (alone * norm.scale[2] + norm.shift[2]).relu()
        torch.testing.assert_close((alone @ critics.out.weight[2] + critics.out.bias[2])[:, 0], values[2].detach())


def test_every_second_transition_is_given():
    online, offline = filled([(1.0, 0.0, 0.0, 0.0, 1.0)] * 5), filled([(2.0, 0.0, 0.0, 0.0, 1.0)] * 5)
    rng = np.random.default_rng(0)
    assert symmetric(online, offline, 6, rng)["state"][:, 0].tolist() == [1, 2, 1, 2, 1, 2]
    assert symmetric(online, offline, 5, rng)["state"][:, 0].tolist() == [1, 2, 1, 2, 1]
    assert symmetric(online, None, 3, rng)["state"][:, 0].tolist() == [1, 1, 1]
    assert symmetric(ReplayBuffer(5, 1, 1), offline, 2, rng)["state"][:, 0].tolist() == [2, 2]


def test_the_oldest_make_room_and_what_is_no_number_is_refused():
    buffer = ReplayBuffer(3, 1, 1)
    transition = {"state": [0.0], "action": [0.0], "next_state": [0.0], "reward": 0.0, "discount": 0.9, "mask": 1.0}
    for number in range(5):
        buffer.add({**transition, "state": [float(number)]})
    assert len(buffer) == 3
    seen = set(buffer.sample(100, np.random.default_rng(0))["state"][:, 0].tolist())
    assert seen == {2.0, 3.0, 4.0}
    for wrong in ({"reward": math.nan}, {"state": [0.0, 1.0]}):
        with pytest.raises(ConfigError, match="has to be finite and of shape"):
            buffer.add({**transition, **wrong})
    with pytest.raises(ConfigError, match="needs 'mask'"):
        buffer.add({name: value for name, value in transition.items() if name != "mask"})
    assert buffer.added == 5


def test_a_task_of_one_step_is_learned():
    """Reward -(a - 0.5)^2: the actor goes to 0.5 from data that never shows it."""
    rng = np.random.default_rng(0)
    buffer = ReplayBuffer(2000, 1, 1)
    for action in rng.uniform(-1, 1, 500):
        reward = -((action - 0.5) ** 2)
        buffer.add(
            {"state": [0.0], "action": [action], "next_state": [0.0], "reward": reward, "discount": 0.9, "mask": 0.0}
        )
    learner = Rlpd(1, 1, RlpdSettings(**{**SMALL, "temperature": 0.01, "target_entropy": -3.0}))
    for _ in range(600):
        learner.update(lambda: buffer.sample(64, rng))
    assert learner.actor.mean(torch.zeros(1, 1)).item() == pytest.approx(0.5, abs=0.1)
    assert value(learner, 0.0, 0.5) == pytest.approx(0.0, abs=0.05)
    assert value(learner, 0.0, -0.5) == pytest.approx(-1.0, abs=0.15)


def test_the_same_seed_learns_the_same():
    buffer = filled([(0.1, 0.3, 1.0, 0.2, 1.0)] * 3)

    def weights():
        rng = np.random.default_rng(0)
        learner = Rlpd(1, 1, RlpdSettings(**SMALL), seed=3)
        for _ in range(5):
            learner.update(lambda: buffer.sample(8, rng))
        return [p.detach().clone() for p in (*learner.actor.parameters(), *learner.critics.parameters())]

    for one, other in zip(weights(), weights(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("settings", [{"subset": 4, "critics": 3}, {"tau": 0.0}, {"updates": 0}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError):
        RlpdSettings(**settings)
