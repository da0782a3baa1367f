"""The agent: chunks that depend on weights, observations and seed alone, and inference that never blocks the loop."""

import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from praxon.contract import Observation
from praxon.errors import ContractError
from praxon.policies.agent import ChunkAgent, DelayedRunner, InlineRunner, ThreadRunner
from praxon.policies.chunking import soft_mask
from praxon.policies.runtime import Runtime

PERIOD_NS = 50_000_000


class CountingRuntime(Runtime):
    """Row i of a chunk is the newest observation + i; with noise where asked for. Keeps the plans that it is given."""

    def __init__(self, contract, noise_scale=0.0, continues=False, early=False):
        self.contract, self.noise_scale, self.continues, self.early = contract, noise_scale, continues, early
        self.noise_shape = (contract.chunk.horizon, contract.action.size)
        self.gate: threading.Event | None = None
        self.answer: str | Exception = "chunk"
        self.plans = []

    def chunks(self, window, noise, plan=None):
        self.plans.append(plan)
        if self.gate is not None:
            assert self.gate.wait(10)
        if isinstance(self.answer, Exception):
            raise self.answer
        newest = window["observation.state"][:, -1, :]
        rows = np.arange(self.contract.chunk.horizon, dtype=np.float32)[None, :, None]
        chunk = newest[:, None, :] + rows + self.noise_scale * noise
        return chunk * np.nan if self.answer == "nan" else chunk


def observed(contract, index: int) -> Observation:
    features = {feature.name: np.full(feature.shape, index, dtype=feature.dtype) for feature in contract.observations}
    return Observation(index * PERIOD_NS, features)


def test_inline_every_tick_gets_its_own_action(contract):
    agent = ChunkAgent(CountingRuntime(contract), contract)
    for index in range(20):
        actions = agent.act(observed(contract, index), preview=2)
        assert actions.shape == (3, 3)
        assert actions.dtype == np.float64
        np.testing.assert_allclose(actions[:, 0], [index, index + 1, index + 2])
    assert len(agent.runner.latencies_s) == 5  # at ticks 0, 4, 8, 12, 16


def test_an_episode_depends_on_its_seed_alone(contract):
    def episode(agent, seed):
        agent.reset(seed)
        return np.stack([agent.act(observed(contract, index))[0] for index in range(12)])

    agent = ChunkAgent(CountingRuntime(contract, noise_scale=1.0), contract)
    first = episode(agent, 5)
    assert not np.array_equal(first, episode(agent, 6))
    assert np.array_equal(first, episode(agent, 5))
    assert np.array_equal(first, episode(ChunkAgent(CountingRuntime(contract, 1.0), contract, InlineRunner()), 5))


def test_a_chunk_that_is_not_finite_is_counted_and_never_returned(contract):
    policy = CountingRuntime(contract)
    agent = ChunkAgent(policy, contract)
    policy.answer = "nan"
    assert agent.act(observed(contract, 0)) is None
    policy.answer = "chunk"
    np.testing.assert_allclose(agent.act(observed(contract, 1))[0], 1.0)
    policy.answer = "nan"
    for index in range(2, 12):  # the last good row is held
        np.testing.assert_allclose(agent.act(observed(contract, index))[0], min(index, 8))
    assert agent.refused_chunks == 1 + 7
    assert agent.exhausted(9 * PERIOD_NS)


def test_a_policy_that_does_not_fit_is_refused_with_both_sides(contract):
    other = replace(contract, robot="other")
    with pytest.raises(ContractError, match="robot 'other': robot: policy 'toy', here 'other'"):
        ChunkAgent(CountingRuntime(contract), other)


def test_a_missing_or_misshapen_feature_is_named(contract):
    agent = ChunkAgent(CountingRuntime(contract), contract)
    whole = observed(contract, 0)
    with pytest.raises(ContractError, match=r"lacks 'observation.environment_state'. It holds: observation.state"):
        agent.act(Observation(0, {"observation.state": whole.features["observation.state"]}))
    with pytest.raises(ContractError, match=r"'observation.state' is float32\(4,\)"):
        agent.act(Observation(0, {**whole.features, "observation.state": np.zeros(4, dtype=np.float32)}))


def test_warm_up_leaves_no_trace(contract):
    cold = ChunkAgent(CountingRuntime(contract, 1.0), contract, seed=3)
    warm = ChunkAgent(CountingRuntime(contract, 1.0), contract, seed=3)
    assert warm.warm_up(observed(contract, 7)) > 0
    assert np.array_equal(cold.act(observed(contract, 0)), warm.act(observed(contract, 0)))


# -- ThreadRunner -------------------------------------------------------------------------------------


@pytest.fixture
def threaded(contract):
    policy = CountingRuntime(contract)
    policy.gate = threading.Event()
    agent = ChunkAgent(policy, contract, ThreadRunner())
    yield agent
    policy.gate.set()
    agent.close()


def test_thread_never_waits_and_a_late_chunk_keeps_its_stamp(threaded, contract):
    for index in range(3):
        assert threaded.act(observed(contract, index)) is None  # the gate is shut: nothing yet, and no waiting
    threaded.runtime.gate.set()
    assert threaded.runner.wait(10)
    # Computed from tick 0, whose observation is 0: row 3 of it belongs to tick 3.
    np.testing.assert_allclose(threaded.act(observed(contract, 3))[:2, 0], [3, 4])


def test_thread_reserve_bridges_a_late_chunk_and_then_the_last_row_is_held(threaded, contract):
    threaded.runtime.gate.set()
    threaded.act(observed(contract, 0))
    assert threaded.runner.wait(10)
    threaded.runtime.gate.clear()
    for index in range(1, 12):
        np.testing.assert_allclose(threaded.act(observed(contract, index))[0, 0], min(index, 7))
    assert threaded.exhausted(11 * PERIOD_NS)


def test_thread_chunk_of_an_episode_that_is_over_is_dropped(threaded, contract):
    threaded.act(observed(contract, 5))
    threaded.reset()
    threaded.runtime.gate.set()
    assert threaded.runner.wait(10)
    assert threaded.act(observed(contract, 0)) is None  # the outcome was of the old episode; now a new one is under way
    assert threaded.runner.wait(10)
    np.testing.assert_allclose(threaded.act(observed(contract, 1))[0], 1.0)


def test_thread_exceptions_surface_in_the_caller_and_the_next_chunk_is_tried(threaded, contract):
    threaded.runtime.gate.set()
    threaded.runtime.answer = ValueError("the network is on fire")
    threaded.act(observed(contract, 0))
    assert threaded.runner.wait(10)
    with pytest.raises(ValueError, match="on fire"):
        threaded.act(observed(contract, 1))
    threaded.runtime.answer = "chunk"
    assert threaded.act(observed(contract, 2)) is None
    assert threaded.runner.wait(10)
    np.testing.assert_allclose(threaded.act(observed(contract, 3))[0], 3.0)


def test_close_ends_the_thread():
    runner = ThreadRunner()
    runner.close()
    assert not any(thread.name == "praxon-inference" for thread in threading.enumerate() if thread.is_alive())
    with pytest.raises(RuntimeError, match="closed"):
        runner.submit(lambda: np.zeros((1, 1)), (0, 0))


# -- Continuing chunks --------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0, 1, 2, 3])
def test_a_delayed_chunk_takes_over_as_many_ticks_later(contract, delay):
    runtime = CountingRuntime(contract)
    agent = ChunkAgent(runtime, contract, DelayedRunner(delay), blend_steps=0)
    first = [agent.act(observed(contract, index)) for index in range(delay + 1)]
    assert [actions is None for actions in first] == [True] * delay + [False]
    np.testing.assert_allclose(first[-1][0], delay)  # the rows that latency has spent are dropped
    assert list(agent.delays) == [delay]


def test_a_plan_is_what_the_robot_will_do_until_the_chunk_arrives(contract):
    runtime = CountingRuntime(contract, continues=True, early=True)
    agent = ChunkAgent(runtime, contract, DelayedRunner(2), blend_steps=0)
    for index in range(12):
        agent.act(observed(contract, index))
    # Chunks at ticks 0, 2, 4, ...: each is asked for two ticks before four rows of the one before are used. The first continues
    # nothing.
    assert runtime.plans[0] is None
    for plan, tick in zip(runtime.plans[1:3], (2, 4), strict=True):
        # Rows tick, tick + 1, ... of the chunk before, of which six are left; the last is held.
        expected = np.minimum(np.arange(8.0) + tick, tick + 5)
        np.testing.assert_allclose(plan.actions_TA[:, 0], expected)
        np.testing.assert_allclose(plan.weights_T, soft_mask(2, 2, 8), rtol=1e-6)


def test_where_early_chunks_gain_nothing_they_are_asked_for_when_the_rows_are_used(contract):
    runtime = CountingRuntime(contract, continues=True)
    agent = ChunkAgent(runtime, contract, DelayedRunner(2), blend_steps=0)
    asked = []
    for index in range(13):
        agent.act(observed(contract, index))
        asked += [index] * (len(runtime.plans) - len(asked))
    assert asked == [0, 4, 8, 12]


@pytest.mark.parametrize(
    ("delay", "rows"), [(0, [0, 1, 2, 3]), (1, [1, 2, 3]), (2, [2, 3]), (3, [3, 4, 5]), (5, [5, 6, 7, 7, 7])]
)
def test_a_chunk_arrives_when_the_live_one_is_used(contract, delay, rows):
    runtime = CountingRuntime(contract, continues=True, early=True)
    agent = ChunkAgent(runtime, contract, DelayedRunner(delay), blend_steps=0)
    seen = []
    for index in range(40):
        chunks = len(agent.delays)
        actions = agent.act(observed(contract, index))
        if actions is not None:
            if len(agent.delays) > chunks or not seen:
                seen.append([])
                stamp = index - delay
            seen[-1].append(round(float(actions[0, 0]) - stamp))
    # When four rows are used the next chunk takes over, or as soon as one can: one is computed at a time.
    assert seen[2:-1] == [rows] * (len(seen) - 3)


def test_an_agent_imports_no_torch():
    code = "import sys, praxon.policies.agent, praxon.policies.portable; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
