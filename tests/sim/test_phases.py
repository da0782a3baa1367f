"""Phases that scripted experts tell: named, in order over an undisturbed episode, recorded beside the frames."""

import numpy as np
import pytest

from praxon.sim.expert import ScriptedExpert
from praxon.sim.factory import make_simulation
from praxon.sim.perturbation import PerturbedAgent
from praxon.sim.recording import PHASE, record_episode
from praxon.sim.registration import own_tasks


@pytest.mark.parametrize("name", own_tasks())
def test_phases_are_recorded_where_the_expert_tells_them(name):
    world = make_simulation(name)
    expert = world.expert()
    assert isinstance(expert, ScriptedExpert)
    if not expert.phases:
        assert expert.phase == 0
        return
    agent = PerturbedAgent(expert, world.push_heights(0.0, 0.0), world.contract.chunk.control_period_s)
    demonstration = record_episode(world, agent, 3, 0.3, expert)
    phase = demonstration.frames[PHASE.name]
    assert phase.shape == (len(demonstration.stamps_ns), *PHASE.shape)
    assert phase.dtype == PHASE.dtype
    assert 0 <= phase.min() < phase.max() < len(expert.phases)
    assert len(np.unique(phase)) >= 3


def test_an_undisturbed_pick_and_place_goes_through_its_phases_in_order():
    world = make_simulation("pick_place")
    expert = world.expert()
    agent = PerturbedAgent(expert, world.push_heights(0.0, 0.0), world.contract.chunk.control_period_s)
    phase = record_episode(world, agent, 0, 0.5, expert).frames["phase"][:, 0]
    assert [expert.phases[first] for first in dict.fromkeys(phase.tolist())] == list(expert.phases)
    assert "phase" not in record_episode(world, agent, 0).frames
