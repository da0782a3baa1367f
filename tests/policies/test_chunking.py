"""Windows and chunks by time: the action at step 7 *is* 7."""

import numpy as np
import pytest

from praxon.contract import Chunk, Observation
from praxon.errors import ContractError
from praxon.policies.chunking import ChunkExecutor, ObservationHistory

PERIOD_NS = 50_000_000
CHUNK = Chunk(horizon=8, num_execute=4, control_period_s=0.05, num_obs_steps=3)


def tick(index: float) -> int:
    return 1_000_000_000 + round(index * PERIOD_NS)


def ramp(start: float = 0.0, rows: int = 8) -> np.ndarray:
    """Row i of a chunk that starts at tick ``start`` is the number of its tick."""
    return (start + np.arange(rows, dtype=np.float64))[:, None].repeat(2, axis=1)


def observed(index: int) -> Observation:
    return Observation(tick(index), {"observation.state": np.full(2, index, dtype=np.float32)})


# -- ObservationHistory -------------------------------------------------------------------------------


def test_window_is_oldest_first_and_repeats_the_first():
    history = ObservationHistory(3)
    seen = []
    for index in range(5):
        history.append(observed(index))
        window = history.window()["observation.state"]
        assert window.shape == (1, 3, 2)
        seen.append(window[0, :, 0].tolist())
    assert seen == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4]]


def test_the_same_stamp_again_changes_nothing_and_an_older_one_is_refused():
    history = ObservationHistory(3)
    for index in (0, 1, 1):
        history.append(observed(index))
    assert history.window()["observation.state"][0, :, 0].tolist() == [0, 0, 1]
    with pytest.raises(ContractError, match="must grow until reset"):
        history.append(observed(0))
    history.reset()
    history.append(observed(0))


def test_no_window_before_the_first_observation():
    with pytest.raises(ContractError, match="before the first observation"):
        ObservationHistory(2).window()


# -- ChunkExecutor ------------------------------------------------------------------------------------


def test_action_at_step_seven_is_seven_and_then_held():
    executor = ChunkExecutor(CHUNK)
    assert executor.actions(tick(0)) is None
    executor.add(ramp(), tick(0))
    assert [executor.actions(tick(index))[0, 0] for index in range(10)] == [0, 1, 2, 3, 4, 5, 6, 7, 7, 7]


def test_preview_rows_belong_to_the_following_ticks():
    executor = ChunkExecutor(CHUNK)
    executor.add(ramp(), tick(0))
    preview = executor.actions(tick(5), 5)
    assert preview.shape == (5, 2)
    assert preview[:, 0].tolist() == [5, 6, 7, 7, 7]


def test_steps_spent_by_latency_are_dropped():
    executor = ChunkExecutor(CHUNK)
    executor.add(ramp(start=10), tick(10))  # observed at tick 10, arrives at tick 13
    assert executor.actions(tick(13), 3)[:, 0].tolist() == [13, 14, 15]


def test_between_rows_actions_are_interpolated():
    executor = ChunkExecutor(CHUNK)
    executor.add(ramp(), tick(0))
    np.testing.assert_allclose(executor.actions(tick(2.25), 3)[:, 0], [2.25, 3.25, 4.25])


def test_before_its_stamp_a_chunk_gives_its_first_row():
    executor = ChunkExecutor(CHUNK)
    executor.add(ramp(start=10), tick(10))
    assert executor.actions(tick(8))[0, 0] == 10


def test_due_and_exhausted_count_ticks_even_on_a_jittering_clock():
    executor = ChunkExecutor(CHUNK)
    assert executor.due(tick(0))
    assert executor.exhausted(tick(0))
    executor.add(ramp(), tick(0))
    for jitter in (-0.3, 0.0, 0.3):
        assert [executor.due(tick(index + jitter)) for index in range(6)] == [False] * 4 + [True] * 2
        assert [executor.exhausted(tick(index + jitter)) for index in (6, 7, 8, 9)] == [False, False, True, True]


def test_a_new_chunk_fades_in_from_the_old_ones_continuation():
    executor = ChunkExecutor(CHUNK, blend_steps=2)
    executor.add(np.zeros((8, 1)), tick(0))
    executor.actions(tick(3))
    executor.add(np.full((8, 1), 3.0), tick(4))
    # A third, two thirds, all; the preview fades in the same way as the ticks that follow.
    assert executor.actions(tick(4), 4)[:, 0].tolist() == pytest.approx([1, 2, 3, 3])
    assert [executor.actions(tick(index))[0, 0] for index in (5, 6, 7)] == pytest.approx([2, 3, 3])


def test_a_late_chunk_fades_in_from_when_it_is_first_used():
    executor = ChunkExecutor(CHUNK, blend_steps=2)
    executor.add(np.zeros((8, 1)), tick(0))
    executor.actions(tick(5))
    executor.add(np.full((8, 1), 3.0), tick(4))
    assert executor.actions(tick(6), 3)[:, 0].tolist() == pytest.approx([1, 2, 3])


def test_agreeing_chunks_blend_without_a_trace():
    executor = ChunkExecutor(CHUNK, blend_steps=3)
    commanded = []
    for index in range(30):
        if executor.due(tick(index)):
            executor.add(ramp(start=index), tick(index))
        commanded.append(executor.actions(tick(index))[0, 0])
    assert commanded == pytest.approx(list(range(30)))


@pytest.mark.parametrize("every", [1, 2, 3])
def test_steps_at_seams_stay_bounded_when_chunks_follow_faster_than_they_fade(every):
    # Chunks alternate between 0 and 1; with a three-tick fade no tick may move further than a third.
    executor = ChunkExecutor(CHUNK, blend_steps=2)
    commanded = []
    for index in range(40):
        if index % every == 0:
            executor.add(np.full((8, 1), float(index // every % 2)), tick(index))
        commanded.append(executor.actions(tick(index))[0, 0])
    assert np.abs(np.diff(commanded)).max() <= 1 / 3 + 1e-9
    assert executor._live.before is None or executor._live.before.before is None or every < 2


def test_chunks_that_were_never_used_leave_no_trace():
    executor = ChunkExecutor(CHUNK, blend_steps=2)
    executor.add(np.zeros((8, 1)), tick(0))
    executor.actions(tick(0))
    for value in (100.0, 200.0, 3.0):
        executor.add(np.full((8, 1), value), tick(1))
    assert executor.actions(tick(1), 3)[:, 0].tolist() == pytest.approx([1, 2, 3])


def test_wrong_chunks_are_refused():
    executor = ChunkExecutor(CHUNK)
    with pytest.raises(ContractError, match=r"shape \(7, 2\); \(8, action size\)"):
        executor.add(ramp(rows=7), tick(0))
    executor.add(ramp(), tick(4))
    with pytest.raises(ContractError, match="reset in between"):
        executor.add(ramp(), tick(3))
    executor.reset()
    executor.add(ramp(), tick(3))


def test_quaternions_are_blended_on_the_short_way():
    """Chunks of one rotation that write it as q and -q, in turn: what comes out is q throughout, never nothing."""
    q = np.array([0.0, 0.8, 0.6, 0.0])
    signs = np.array([1, -1, -1, 1, -1, 1, 1, -1.0])
    rows = signs[:, None] * q
    executor = ChunkExecutor(Chunk(horizon=8, num_execute=4, control_period_s=0.05), 2, quaternion=slice(0, 4))
    executor.add(rows, tick(0))
    for at in (0, 0.5, 1, 2, 3.5):
        np.testing.assert_allclose(executor.actions(tick(at))[0], q, atol=1e-12)
    executor.add(-rows, tick(4))
    for at in (4, 4.5, 5, 6):
        np.testing.assert_allclose(executor.actions(tick(at))[0], q, atol=1e-12)
    assert (rows[1] == -q).all()  # the caller's array is left alone


def test_the_rest_of_a_chunk_is_what_is_executed_if_no_other_comes_and_asking_changes_nothing():
    asked, executor = (ChunkExecutor(CHUNK, blend_steps=2) for _ in range(2))
    with pytest.raises(ContractError, match="before the first one"):
        asked.rest(tick(0))
    assert not asked.begins(tick(0))
    for each in (asked, executor):
        each.add(np.zeros((8, 1)), tick(0))
        each.actions(tick(3))
        each.add(ramp(4)[:, :1], tick(4))
    came = [executor.actions(tick(4))[0]]
    asked.actions(tick(4))
    rest = asked.rest(tick(4))
    for index in range(5, 12):
        came.append(executor.actions(tick(index))[0])
        np.testing.assert_array_equal(asked.actions(tick(index))[0], came[-1])
        np.testing.assert_array_equal(asked.rest(tick(index))[:1], came[-1:])
        assert len(asked.rest(tick(index))) == 12 - index
    np.testing.assert_array_equal(rest, came)
    assert [executor.begins(tick(index)) for index in (3, 4, 4.4, 5)] == [False, True, True, False]
    assert len(asked.rest(tick(30))) == 1  # held
