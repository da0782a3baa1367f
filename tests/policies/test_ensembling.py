"""Temporal ensembling against weights computed by hand."""

from dataclasses import replace

import numpy as np
import pytest
import yaml

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.errors import ContractError
from praxon.policies.chunking import ChunkExecutor

PERIOD_NS = 50_000_000
M = np.log(2.0)  # exp(-m i) = 1, 1/2, 1/4, ...
CHUNK = Chunk(horizon=4, num_execute=1, control_period_s=0.05, ensemble=M)


def tick(index: float) -> int:
    return 1_000_000_000 + round(index * PERIOD_NS)


def constant(value: float, horizon: int = 4) -> np.ndarray:
    return np.full((horizon, 2), value)


def test_the_oldest_chunk_weighs_most():
    executor = ChunkExecutor(CHUNK)
    executor.add(constant(0.0), tick(0))
    assert executor.actions(tick(0))[0, 0] == 0.0
    executor.add(constant(3.0), tick(1))
    assert executor.actions(tick(1))[0, 0] == pytest.approx((1 * 0 + 0.5 * 3) / 1.5)
    executor.add(constant(7.0), tick(2))
    assert executor.actions(tick(2))[0, 0] == pytest.approx((1 * 0 + 0.5 * 3 + 0.25 * 7) / 1.75)


def test_each_row_belongs_to_its_tick():
    """Chunks of one straight line agree at every tick, so their mean is the line, whatever the weights."""
    for decay in (-1.0, 0.0, 0.01, 1.0):
        executor = ChunkExecutor(replace(CHUNK, ensemble=decay))
        for index in range(9):
            executor.add(index + np.arange(4.0)[:, None], tick(index))
            assert executor.actions(tick(index), 4)[:, 0] == pytest.approx(index + np.arange(4.0))


def test_preview_rows_are_means_of_the_chunks_that_reach_so_far():
    executor = ChunkExecutor(CHUNK)
    executor.add(constant(0.0), tick(0))
    executor.actions(tick(0))
    executor.add(constant(3.0), tick(2))
    # Ticks 2 and 3 are covered by both; 4 and 5 by the second; beyond, its last row is held.
    assert executor.actions(tick(2), 6)[:, 0] == pytest.approx([1.0, 1.0, 3.0, 3.0, 3.0, 3.0])


def test_a_chunk_leaves_the_mean_with_its_last_row():
    executor = ChunkExecutor(CHUNK)
    executor.add(constant(0.0), tick(0))
    for index in (1, 2, 3):
        executor.actions(tick(index))
    executor.add(constant(3.0), tick(3))
    assert executor.actions(tick(3))[0, 0] == pytest.approx(1.0)
    assert executor.actions(tick(4))[0, 0] == 3.0


def test_late_and_missing_chunks_count_by_their_stamps():
    executor = ChunkExecutor(CHUNK)
    executor.add(constant(0.0), tick(0))
    executor.actions(tick(2))
    # Observed at tick 1, here at tick 3; none from tick 2. Rows 3 and 2 belong to now; i counts the chunks there are.
    executor.add(np.array([[90.0], [80.0], [6.0], [9.0]]).repeat(2, axis=1), tick(1))
    assert executor.actions(tick(3))[0, 0] == pytest.approx((0 + 0.5 * 6) / 1.5)
    executor.add(constant(12.0), tick(4))
    assert executor.actions(tick(4))[0, 0] == pytest.approx((1 * 9 + 0.5 * 12) / 1.5)


def test_between_ticks_and_on_a_jittering_clock_the_same_chunks_are_averaged():
    executor = ChunkExecutor(CHUNK)
    executor.add(np.arange(4.0)[:, None], tick(0))
    executor.add(10 + np.arange(4.0)[:, None], tick(1))
    assert executor.actions(tick(1.25))[0, 0] == pytest.approx((1.25 + 0.5 * 10.25) / 1.5)
    assert executor.actions(tick(2.9))[0, 0] == pytest.approx((2.9 + 0.5 * 11.9) / 1.5)
    assert executor.actions(tick(3.3))[0, 0] == pytest.approx((3.0 + 0.5 * 12.3) / 1.5)


def test_the_limits_of_the_decay_are_the_oldest_the_plain_mean_and_the_newest():
    for decay, expected in ((1e4, 0.0), (0.0, 3.0), (-1e4, 6.0)):
        executor = ChunkExecutor(replace(CHUNK, ensemble=decay))
        executor.add(constant(0.0), tick(0))
        executor.add(constant(6.0), tick(1))
        assert executor.actions(tick(1))[0, 0] == pytest.approx(expected)


def test_a_second_chunk_of_one_stamp_replaces_the_first_and_reset_forgets_all():
    executor = ChunkExecutor(CHUNK)
    executor.add(constant(0.0), tick(0))
    executor.add(constant(5.0), tick(0))
    assert executor.actions(tick(1))[0, 0] == 5.0
    executor.reset()
    assert executor.actions(tick(1)) is None
    executor.add(constant(1.0), tick(1))
    assert executor.actions(tick(1))[0, 0] == 1.0


def test_due_at_every_tick():
    executor = ChunkExecutor(CHUNK)
    executor.add(constant(0.0), tick(0))
    assert [executor.due(tick(index)) for index in (0, 1, 2)] == [False, True, True]


def test_refused_where_it_cannot_be_meant():
    with pytest.raises(ContractError, match="num_execute is 2; 1 would do"):
        Chunk(horizon=4, num_execute=2, ensemble=0.01)
    with pytest.raises(ContractError, match="must be finite"):
        Chunk(horizon=4, num_execute=1, ensemble=float("nan"))
    pose = Feature("action", "pose", (7,), ("x", "y", "z", "qw", "qx", "qy", "qz"), source="tool")
    with pytest.raises(ContractError, match="averages actions, which the kind 'pose'"):
        PolicyContract("arm", "pick", (), pose, CHUNK)
    PolicyContract("arm", "pick", (), pose, replace(CHUNK, ensemble=None))


def test_contracts_without_the_entry_are_still_read(tmp_path):
    joint = Feature("action", "joint_position", (1,), ("a",), unit="rad")
    contract = PolicyContract("arm", "pick", (), joint, replace(CHUNK, ensemble=None))
    old = contract.to_dict()
    del old["chunk"]["ensemble"]
    (tmp_path / "contract.yaml").write_text(yaml.safe_dump(old))
    assert PolicyContract.load(tmp_path / "contract.yaml") == contract
    kept = contract.with_chunk(ensemble=0.01)
    kept.save(tmp_path / "contract.yaml")
    assert PolicyContract.load(tmp_path / "contract.yaml") == kept
