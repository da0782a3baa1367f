"""Factorized policies: what a residual may not do, and which loss reaches which weights."""

from dataclasses import replace

import pytest
import torch

from praxon.contract import Feature
from praxon.errors import ConfigError
from praxon.policies.factorized import FactorizedPolicy, split

ENCODER = {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16}
NETWORK = {
    "_target_": "praxon.policies.networks.transformer.TransformerDenoiser",
    "width": 16,
    "depth": 2,
    "num_heads": 2,
    "mlp_ratio": 1,
}


@pytest.fixture
def policy(contract, statistics_of) -> FactorizedPolicy:
    torch.manual_seed(0)
    policy = FactorizedPolicy(contract, encoder=ENCODER, network=NETWORK, steps=3, actions="absolute")
    policy.normalizer.fit(statistics_of(contract))
    for weight in policy.network.base.parameters():  # fresh networks answer zero
        torch.nn.init.normal_(weight, std=0.3)
    return policy


def wake_residual(policy):
    for part in (policy.network.residual, policy.network.taps):
        for weight in part.parameters():
            torch.nn.init.normal_(weight, std=0.3)


def inputs(policy):
    torch.manual_seed(1)
    network, encoder = policy.network, policy.encoder
    return torch.randn(4, 8, 3), torch.rand(4, 1), torch.randn(4, encoder.num_tokens, encoder.width), network


@torch.no_grad()
def test_an_untrained_residual_leaves_the_base_to_the_bit(policy):
    x, time, tokens, network = inputs(policy)
    base = network.base(x, time, tokens[:, : network.num_first])
    assert base.abs().max() > 0.1
    assert torch.equal(network(x, time, tokens), base)
    wake_residual(policy)
    assert not torch.allclose(network(x, time, tokens), base, atol=1e-2)


@torch.no_grad()
def test_without_the_second_modality_the_base_is_left_to_the_bit(policy):
    wake_residual(policy)
    x, time, tokens, network = inputs(policy)
    first = tokens[:, : network.num_first]
    assert torch.equal(network(x, time, first), network.base(x, time, first))
    through_engine = policy.engine.sample(network, first, x)
    assert torch.equal(through_engine, policy.engine.sample(network.base, first, x))


@torch.no_grad()
def test_each_kind_of_correction_counts(policy):
    x, time, tokens, network = inputs(policy)
    base = network(x, time, tokens)
    for layer in range(2):
        torch.nn.init.normal_(network.taps[layer].weight)
        corrected = network(x, time, tokens)
        assert not torch.allclose(corrected, base, atol=1e-2)
        torch.nn.init.zeros_(network.taps[layer].weight)
    torch.nn.init.normal_(network.residual.head.bias)
    torch.testing.assert_close(network(x, time, tokens), base + network.residual.head.bias)


def gradients(module):
    return {name: None if w.grad is None else w.grad.clone() for name, w in module.named_parameters()}


def test_the_base_learns_from_its_own_loss_alone(policy, batch_of):
    wake_residual(policy)
    action, tokens = torch.randn(4, 8, 3), torch.randn(4, policy.encoder.num_tokens, 16, requires_grad=True)
    policy.error(action, tokens, torch.Generator().manual_seed(0)).sum().backward()
    joint = gradients(policy.network.base)
    token_gradient, tokens.grad = tokens.grad.clone(), None
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in policy.network.taps.parameters())
    assert any(w.grad.abs().sum() > 0 for w in policy.network.residual.parameters())
    policy.zero_grad()

    # The paper's first phase: the base alone, on the same draws, which come first from the generator.
    num_first = policy.network.num_first
    alone = super(FactorizedPolicy, policy).error(action, tokens[:, :num_first], torch.Generator().manual_seed(0))
    alone.sum().backward()
    for name, expected in gradients(policy.network.base).items():
        assert torch.equal(joint[name], expected), name
    assert torch.equal(token_gradient[:, :num_first], tokens.grad[:, :num_first])
    assert token_gradient[:, num_first:].abs().sum() > 0
    assert all(weight.requires_grad for weight in policy.parameters())


def test_loss_is_that_of_base_and_whole(policy):
    # Untrained, the whole is the base: two draws of the same loss.
    action, tokens = torch.randn(4, 8, 3), torch.randn(4, policy.encoder.num_tokens, 16)
    total = policy.error(action, tokens, torch.Generator().manual_seed(0))
    generator, flow = torch.Generator().manual_seed(0), super(FactorizedPolicy, policy).error
    first = tokens[:, : policy.network.num_first]
    torch.testing.assert_close(total, flow(action, first, generator) + flow(action, first, generator))


def test_order_of_priority(contract, camera_contract):
    state, pose, front = "observation.state", "observation.environment_state", "observation.images.front"
    assert split(camera_contract, None) == ([state, pose], [front])
    assert split(contract, None) == ([state], [pose])
    assert split(contract, ["pose"]) == ([pose], [state])
    assert split(camera_contract, ["image", state]) == ([state, front], [pose])
    vectors = replace(contract, observations=(Feature("a", "vector", (2,)), Feature("b", "vector", (3,))))
    assert split(vectors, None) == (["a"], ["b"])
    single = replace(contract, observations=contract.observations[:1])
    assert split(single, None) == ([state], [state])
    with pytest.raises(ConfigError, match=r"'poses', which is no feature or kind .*pose"):
        split(contract, ["poses"])
    with pytest.raises(ConfigError, match="some must be left"):
        split(contract, [state, pose])
    with pytest.raises(ConfigError, match="some of them must come first"):
        split(contract, [])


def test_a_single_feature_still_makes_a_policy(contract, batch_of, statistics_of):
    single = replace(contract, observations=contract.observations[:1])
    policy = FactorizedPolicy(single, encoder=ENCODER, network=NETWORK, actions="absolute")
    policy.normalizer.fit(statistics_of(single))
    assert policy.loss(batch_of(single, 3), torch.Generator().manual_seed(0)).shape == (3,)
