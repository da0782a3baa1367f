"""The same work in one process or several: in order, nothing for no seeds, and what refuses is answered."""

from functools import partial

import pytest

from praxon.errors import ConfigError
from praxon.sim.factory import make_world
from praxon.sim.parallel import run_seeds


def doubling():
    return lambda seed: 2 * seed


@pytest.mark.parametrize("workers", [1, 3])
def test_no_seeds_give_no_results(workers):
    assert list(run_seeds(doubling, [], workers)) == []


def test_results_come_in_the_order_of_the_seeds():
    assert list(run_seeds(doubling, [3, 1, 2], 1)) == [6, 2, 4]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_cannot_be_made_says_why(workers):
    with pytest.raises(ConfigError, match="no task 'gim'"):
        list(run_seeds(partial(make_world, "gim/Mass-v0"), [0, 2], workers))
