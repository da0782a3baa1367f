"""The average of the weights and the learning rate against their formulas."""

import pytest
import torch

from praxon.learning.ema import Ema
from praxon.learning.schedule import learning_rate_factor


def test_ema_follows_its_formula():
    module = torch.nn.Linear(1, 1, bias=False)
    ema, expected = Ema(module, power=0.75, max_decay=0.5), 0.0
    for n, weight in enumerate([4.0, 2.0, 8.0, -1.0]):
        torch.nn.init.constant_(module.weight, weight)
        decay = min(1 - (1 + n) ** -0.75, 0.5)
        expected = decay * expected + (1 - decay) * weight
        assert ema.decay == decay
        ema.update(module)
    averaged = torch.nn.Linear(1, 1, bias=False)
    ema.copy_to(averaged)
    assert averaged.weight.item() == pytest.approx(expected)


def test_the_first_update_copies():
    module = torch.nn.Linear(3, 2)
    ema = Ema(module)
    torch.nn.init.ones_(module.weight)
    ema.update(module)
    assert torch.equal(ema.tensors()["weight"], torch.ones(2, 3))


def test_a_restored_average_goes_on_as_before():
    module = torch.nn.Linear(3, 2)
    first, second = Ema(module), Ema(torch.nn.Linear(3, 2))
    for _ in range(3):
        torch.nn.init.normal_(module.weight)
        first.update(module)
    second.load({name: tensor.clone() for name, tensor in first.tensors().items()}, first.updates)
    torch.nn.init.normal_(module.weight)
    for ema in (first, second):
        ema.update(module)
    assert torch.equal(first.tensors()["weight"], second.tensors()["weight"])


def test_learning_rate_rises_then_falls_to_zero():
    assert learning_rate_factor(0, 0.0, 9) == pytest.approx(0.1)
    assert learning_rate_factor(9, 0.0, 9) == pytest.approx(1.0)
    assert learning_rate_factor(50, 0.5, 9) == pytest.approx(0.5)
    assert learning_rate_factor(100, 1.0, 9) == pytest.approx(0.0)
    assert learning_rate_factor(0, 0.0, 0) == 1.0
