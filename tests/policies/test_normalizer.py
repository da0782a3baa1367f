"""The normaliser: inverse maps, what each mode maps where, and tiny spreads."""

import numpy as np
import pytest
import torch

from praxon.errors import ConfigError, ContractError
from praxon.policies.normalizer import MODES, Normalizer


@pytest.mark.parametrize("mode", MODES)
def test_denormalize_inverts_normalize(contract, statistics_of, batch_of, mode):
    normalizer = Normalizer(contract, mode)
    normalizer.fit(statistics_of(contract))
    for name, value in batch_of(contract, 5).items():
        if name != "action_is_pad":
            torch.testing.assert_close(normalizer.denormalize(name, normalizer.normalize(name, value)), value)


@pytest.mark.parametrize(
    ("mode", "at_minus_one", "at_one"), [("mean_std", -0.4, 0.6), ("min_max", -1.9, 2.1), ("quantile", -1.065, 1.265)]
)
def test_modes_map_their_statistics_to_one(contract, statistics_of, mode, at_minus_one, at_one):
    normalizer = Normalizer(contract, mode)
    normalizer.fit(statistics_of(contract))  # action: mean 0.1, std 0.5
    ends = torch.tensor([[at_minus_one] * 3, [at_one] * 3])
    torch.testing.assert_close(normalizer.normalize("action", ends), torch.tensor([[-1.0] * 3, [1.0] * 3]))


def test_nearly_constant_components_are_not_blown_up(contract, statistics_of):
    statistics = statistics_of(contract)
    statistics["action"]["std"] = np.array([0.5, 1e-6, 0.0])
    normalizer = Normalizer(contract, spread_floor=0.01)
    normalizer.fit(statistics)
    normalized = normalizer.normalize("action", torch.tensor([0.1, 0.1 + 1e-4, 0.1 + 1e-4]))
    torch.testing.assert_close(normalized, torch.tensor([0.0, 0.01, 0.01]), atol=1e-5, rtol=0)


def test_statistics_travel_in_the_state_dict(contract, statistics_of):
    fitted, fresh = Normalizer(contract), Normalizer(contract)
    fitted.fit(statistics_of(contract))
    assert fitted.fitted
    assert not fresh.fitted
    fresh.load_state_dict(fitted.state_dict())
    value = torch.randn(2, 3)
    assert torch.equal(fresh.normalize("action", value), fitted.normalize("action", value))


def test_use_before_fitting_cannot_pass_for_a_number(contract):
    assert torch.isnan(Normalizer(contract).normalize("action", torch.zeros(3))).all()


def test_errors_name_what_is_wrong(contract, statistics_of):
    with pytest.raises(ConfigError, match=r"'meanstd'.*Did you mean 'mean_std'"):
        Normalizer(contract, "meanstd")
    statistics = statistics_of(contract)
    with pytest.raises(ContractError, match=r"Statistics of 'action' are missing. There are: observation.state"):
        Normalizer(contract).fit({name: value for name, value in statistics.items() if name != "action"})
    statistics["action"]["mean"] = np.zeros(4)
    with pytest.raises(ContractError, match=r"'mean' of 'action' has shape \(4,\).*\(3,\)"):
        Normalizer(contract).fit(statistics)
