"""What every policy in configs/policy must do; a new one is covered by existing."""

import numpy as np
import pytest
import torch
import yaml

from praxon.policies.base import Policy
from praxon.policies.build import build_policy
from praxon.policies.bundle import load_bundle, save_bundle
from praxon.targets import config_folders

# PRAXON_PATH=<folder> adds those of a folder outside.
CONFIGS = sorted(path for folder in config_folders() for path in (folder / "policy").glob("*.yaml"))


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def config(request):
    return yaml.safe_load(request.param.read_text())


@pytest.fixture
def policy(config, contract, statistics_of) -> Policy:
    return fitted(config, contract, statistics_of)


def fitted(config, contract, statistics_of) -> Policy:
    torch.manual_seed(0)
    policy = build_policy(config, contract)
    statistics = statistics_of(policy.contract)
    if policy.actions.row_shape:
        rows = (policy.contract.chunk.horizon, policy.contract.action.size)
        statistics["action"] = {
            name: np.broadcast_to(value, rows).copy() for name, value in statistics["action"].items()
        }
    policy.normalizer.fit(statistics)
    return policy


def window_of(policy, batch):
    return {feature.name: batch[feature.name] for feature in policy.contract.observations}


def trained(policy, batch, steps: int, learning_rate: float = 2e-3) -> list[float]:
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(policy.parameters(), learning_rate)
    losses = []
    for _ in range(steps):
        loss = policy.loss(batch, generator).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        policy.after_step()
        losses.append(loss.item())
    return losses


def test_loss_is_per_sample_and_comes_from_the_generator_alone(policy, batch_of):
    batch = batch_of(policy.contract, 5, needs=policy.needs())
    trained(policy, batch, 2)  # away from the start, where some networks give zero whatever they are told
    losses = [policy.loss(batch, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert losses[0].shape == (5,)
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])


def test_overfits_one_batch(config, small, contract, statistics_of, batch_of):
    policy = fitted(small(config), contract, statistics_of)
    batch = batch_of(policy.contract, 2, needs=policy.needs())
    # Many noises and times per sample and step: the gradient of a generative loss is noisy.
    repeated = {name: value.repeat(16, *[1] * (value.ndim - 1)) for name, value in batch.items()}
    trained(policy, repeated, 140, learning_rate=4e-3)
    policy.eval()
    with torch.inference_mode():
        chunk = policy.sample(window_of(policy, batch), policy.noise(2, torch.Generator().manual_seed(1)))
    # Untrained, the error is the spread of the actions (0.5) and more.
    assert (chunk - batch["action"]).abs().mean() < 0.1


@torch.inference_mode()
def test_same_chunk_under_same_noise_whoever_else_is_in_the_batch(policy, batch_of):
    with torch.inference_mode(False):
        trained(policy, batch_of(policy.contract, 4, needs=policy.needs()), 5)
    policy.eval()
    window = window_of(policy, batch_of(policy.contract, 6))
    noise = policy.noise(6, torch.Generator().manual_seed(1))
    together = policy.sample(window, noise)
    assert together.shape == (6, policy.contract.chunk.horizon, policy.contract.action.size)
    assert torch.equal(together, policy.sample(window, noise))
    alone = policy.sample({name: value[3:4] for name, value in window.items()}, noise[3:4])
    torch.testing.assert_close(alone[0], together[3], atol=1e-5, rtol=1e-5)
    elsewhere = policy.sample(window, noise + 1.0)
    assert (
        torch.equal(together, elsewhere) if policy.deterministic else not torch.allclose(together, elsewhere, atol=1e-3)
    )


def test_survives_saving_to_the_bit(policy, config, batch_of, tmp_path):
    trained(policy, batch_of(policy.contract, 4, needs=policy.needs()), 3)
    policy.eval()
    save_bundle(tmp_path / "bundle", policy, {"policy": config})
    loaded = load_bundle(tmp_path / "bundle").policy
    window = window_of(policy, batch_of(policy.contract, 3))
    noise = policy.noise(3, torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(policy.sample(window, noise), loaded.sample(window, noise))
