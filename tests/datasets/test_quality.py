"""Measures of quality: numbers worked out by hand, planted faults that are found, and independence of units."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from praxon.contract import POSE_COMPONENTS, Chunk, Feature, PolicyContract
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.datasets.measures.consistency import measure_consistency
from praxon.datasets.measures.motion import episode_motion
from praxon.datasets.measures.neighbours import nearest_neighbours
from praxon.datasets.measures.pictures import measure_pictures
from praxon.datasets.measures.signals import action_signal, followed_components, motion_signal, state_signal
from praxon.datasets.quality import Quality, describe, measure, robust_scores
from praxon.errors import DatasetError

PERIOD_S = 0.05


@dataclass
class Recording:
    """Episodes in memory: state and action (T, D) of each, and what else there is, by column."""

    states: list[np.ndarray]
    actions: list[np.ndarray]
    others: dict[str, np.ndarray] = field(default_factory=dict)
    names: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    unit: str = "1"
    pictures: np.ndarray | None = None

    def __post_init__(self) -> None:
        state, action = np.concatenate(self.states), np.concatenate(self.actions)
        self.columns = {"observation.state": state, "action": action, **self.others}
        observed = [Feature("observation.state", "vector", state.shape[1:], self.names[0], unit=self.unit)]
        if self.pictures is not None:
            observed.append(Feature("observation.images.front", "image", self.pictures.shape[1:], dtype="uint8"))
        commanded = Feature("action", "vector", action.shape[1:], self.names[1], unit=self.unit)
        self.contract = PolicyContract("arm", "count", tuple(observed), commanded, Chunk(control_period_s=PERIOD_S))
        self.episode_lengths = np.array([len(each) for each in self.states])

    def episode_slice(self, episode: int) -> slice:
        end = int(np.cumsum(self.episode_lengths)[episode])
        return slice(end - int(self.episode_lengths[episode]), end)

    def frames(self, feature: str, indices: np.ndarray) -> np.ndarray:
        return self.pictures[indices]


def reaches(num_episodes=12, length=60, noise=None, seed=0) -> Recording:
    """Minimum-jerk reaches of three joints between nearby points; the action is what is left to the goal, by a gain of 2."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 1, length)[:, None]
    shape = 10 * t**3 - 15 * t**4 + 6 * t**5
    states, actions = [], []
    for episode in range(num_episodes):
        start, goal = rng.normal(0, 0.05, 3), np.array([1.0, -2.0, 0.5]) + rng.normal(0, 0.05, 3)
        states.append(start + (goal - start) * shape)
        push = rng.normal(size=(length, 3)) * (0 if noise is None else noise[episode])
        actions.append(2 * (goal - states[-1]) + push)
    return Recording(states, actions)


def planted(recording: Recording, episode: int, state: np.ndarray, action: np.ndarray) -> Recording:
    """A copy with one episode exchanged."""
    states, actions = list(recording.states), list(recording.actions)
    states[episode], actions[episode] = state, action
    return Recording(states, actions)


# -- neighbours and consistency -----------------------------------------------------------------------


def test_neighbours_are_of_other_episodes_only():
    """State of frame t of episode e is t + e / 100: the nearest are the same t, the next ones t - 1 or t + 1."""
    states = [np.arange(6.0)[:, None] + e / 100 for e in range(3)]
    recording = Recording(states, states)
    found = nearest_neighbours(recording, state_signal(recording), k=2)
    assert found.frames.tolist() == list(range(18))
    assert [sorted(row) for row in found.found[:6]] == [[6 + t, 12 + t] for t in range(6)]
    std = np.concatenate(states).std()
    assert found.distances[3] == pytest.approx(np.array([0.01, 0.02]) / std)


def test_neighbours_of_a_single_episode_are_not_its_next_frames():
    """A state that goes round three times in 60 frames: a frame's neighbours are one and two rounds away."""
    angle = np.arange(60) * 2 * np.pi / 20
    round_trip = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    recording = Recording([round_trip], [round_trip])
    found = nearest_neighbours(recording, state_signal(recording), k=2, exclusion_frames=5)
    assert [sorted(row) for row in found.found[:20]] == [[t + 20, t + 40] for t in range(20)]


def test_neighbours_agree_with_brute_force():
    rng = np.random.default_rng(0)
    states = [np.repeat(rng.normal(size=(n, 4)), 3, axis=0) + rng.normal(0, 0.01, (3 * n, 4)) for n in (4, 20, 9)]
    recording = Recording(states, states)
    found = nearest_neighbours(recording, state_signal(recording), k=7)
    points, owners = state_signal(recording)[slice(None)], np.repeat(range(3), recording.episode_lengths)
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    distances[owners[:, None] == owners] = np.inf
    assert np.array_equal(found.found, np.argsort(distances, axis=1)[:, :7])
    assert found.distances == pytest.approx(np.sort(distances, axis=1)[:, :7] / 2)  # sqrt of four components


def test_variance_among_neighbours_by_hand():
    """At state 0 the episodes do 0, 3, 6 and 9, at state 1 all do 1; the others' variances and means are worked out here."""
    states = [np.array([[0.0], [1.0]])] * 4
    actions = [np.array([[value], [1.0]]) for value in (0.0, 3.0, 6.0, 9.0)]
    quality = measure(Recording(states, actions), k=3)
    variance = np.var([0, 3, 6, 9, 1, 1, 1, 1])  # of all actions: the unit
    others = [[3, 6, 9], [0, 6, 9], [0, 3, 9], [0, 3, 6]]
    at_zero = [np.var(each) for each in others]
    assert quality.frames["action_variance"][::2] == pytest.approx(np.array(at_zero) / variance)
    assert quality.frames["action_variance"][1::2] == pytest.approx([0] * 4, abs=1e-9)
    deviation = [(own - np.mean(each)) ** 2 / variance for own, each in zip((0, 3, 6, 9), others, strict=True)]
    assert quality.frames["action_deviation"][::2] == pytest.approx(np.array(deviation))
    assert quality.episodes["action_deviation"] == pytest.approx(np.array(deviation) / 2)
    assert quality.frames["state_novelty"] == pytest.approx(np.zeros(8))
    # all go from 0 to 1: next states do not spread; from 1 nothing follows
    assert quality.frames["transition_variance"][::2] == pytest.approx(np.zeros(4), abs=1e-9)
    assert np.isnan(quality.frames["transition_variance"][1::2]).all()


def test_transitions_that_fork_spread():
    """From 0 half of the episodes go to 1, half to -1: the others' steps of the first are +1, -1, -1."""
    quality = measure(Recording([np.array([[0.0], [s], [2 * s]]) for s in (1, 1, -1, -1)], [np.zeros((3, 1))] * 4), k=3)
    assert quality.frames["transition_variance"][0] == pytest.approx(np.var([1, -1, -1]))


def test_an_inconsistent_operator_is_ranked_last():
    noise = [0.05] * 12
    noise[4] = 1.0
    quality = measure(reaches(noise=noise))
    assert quality.episodes["action_deviation"].argmax() == 4
    assert any(
        outlier.episode == 4 and outlier.measure.name == "action_deviation" for outlier in quality.find_outliers()
    )


def test_commanded_positions_are_taken_relative_to_measured_ones():
    """Two joints named alike, the second in other order; the gripper is commanded but not measured."""
    rng = np.random.default_rng(0)
    states = [np.cumsum(rng.normal(0, 1, (40, 2)), axis=0)]
    actions = [np.concatenate([states[0][:, ::-1] + rng.normal(0, 0.1, (40, 2)), rng.normal(size=(40, 1))], axis=1)]
    recording = Recording(states, actions, names=(("elbow", "wrist"), ("wrist", "elbow", "gripper")), unit="rad")
    assert followed_components(recording) == [(0, "observation.state", 1), (1, "observation.state", 0)]
    relative = (actions[0][:, :2] - states[0][:, ::-1]) / (actions[0][:, :2] - states[0][:, ::-1]).std(axis=0)
    found = action_signal(recording)[slice(None)][:, :2]
    assert found == pytest.approx(relative - relative.mean(axis=0), abs=1e-2)


def test_displacements_named_like_positions_are_left_as_they_are():
    states = [np.cumsum(np.random.default_rng(0).normal(0, 1, (40, 1)), axis=0)]
    actions = [np.diff(states[0], axis=0, append=0.0)]
    assert followed_components(Recording(states, actions, names=(("elbow",), ("elbow",)))) == []


def test_coverage_counts_cells_by_hand():
    """Four corners of which the first episode visits all, the second two, the third one: four cells."""
    corners = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    recording = Recording([corners, corners[[0, 1, 1]], corners[[3, 3]]], [np.zeros((n, 1)) for n in (4, 3, 2)])
    assert measure(recording).episodes["state_coverage"].tolist() == [1.0, 0.5, 0.25]


def test_frames_that_were_not_looked_at_take_the_nearest_ones_value():
    """Of 6 episodes of 50 frames every third one: 0, 3, ... 48 of the first, 1, 4, ... 49 of the second."""
    values = measure(reaches(num_episodes=6, length=50), max_frames=100).frames["state_novelty"]
    assert np.array_equal(values[1:50:3], values[0:50:3])
    assert np.array_equal(values[2:48:3], values[3:50:3])
    assert values[50] == values[51] == values[52] != values[49]
    assert len(np.unique(values)) == 100


def pose_commands(flips=()) -> Recording:
    """Pose actions with a gripper: tool and gripper are sent 0.1 ahead, quaternions turn about x; ``flips`` are negated."""
    rng = np.random.default_rng(0)
    states, actions, tools = [], [], []
    for _ in range(6):
        place = rng.normal(0, 1, 4) + np.linspace(0, 1, 40)[:, None] * rng.normal(1, 0.1, 4)
        angle = np.linspace(2.5, 3.5, 40) + rng.normal(0, 0.1)
        turn = np.stack([np.cos(angle / 2), np.sin(angle / 2), 0 * angle, 0 * angle], axis=1)
        tools.append(np.concatenate([place[:, :3], turn], axis=1))
        states.append(place[:, 3:])
        actions.append(np.concatenate([place[:, :3] + 0.1, turn, place[:, 3:] + 0.1], axis=1))
    recording = Recording(states, actions, {"observation.tool_pose": np.concatenate(tools)})
    recording.columns["action"][list(flips), 3:7] *= -1
    units = "m,m,m,1,1,1,1"
    tool = Feature("observation.tool_pose", "pose", (7,), POSE_COMPONENTS, unit=units, source="tool")
    action = Feature("action", "pose", (8,), (*POSE_COMPONENTS, "finger"), unit=f"{units},m", source="tool")
    joint = Feature("observation.state", "joint_position", (1,), ("finger",), unit="m")
    cube = Feature("observation.cube_pose", "pose", (7,), POSE_COMPONENTS, unit=units, source="cube")
    recording.columns["observation.cube_pose"] = np.tile([0.5, 0, 0, 1, 0, 0, 0], (240, 1))
    recording.contract = PolicyContract("arm", "poses", (cube, joint, tool), action, Chunk(control_period_s=PERIOD_S))
    return recording


def test_a_pose_action_follows_its_own_tool_and_its_gripper_and_no_quaternion():
    recording = pose_commands()
    tool, state = "observation.tool_pose", "observation.state"
    assert followed_components(recording) == [(0, tool, 0), (1, tool, 1), (2, tool, 2), (7, state, 0)]
    # what is commanded is always 0.1 further: only the rotation says anything, and of its six numbers four turn
    relative = action_signal(recording)
    assert relative.kept.tolist() == [False] * 3 + [False] * 4 + [True] * 2 + [False]
    absolute = action_signal(recording, relative=False)
    assert absolute.kept.tolist() == [True] * 3 + [False] * 4 + [True] * 2 + [True]
    finger = recording.columns["action"][:, 7]
    assert absolute[slice(None)][:, -1] == pytest.approx((finger - finger.mean()) / finger.std())


def test_the_two_signs_of_a_quaternion_are_one_rotation():
    """Every measure of poses in whose quaternions the sign jumps is that of the same poses without jumps."""
    steady, jumping = measure(pose_commands()), measure(pose_commands(flips=[7, 8, 100, 171, 239]))
    assert list(steady.measures) == list(jumping.measures)
    assert {"action_spike", "tracking_gap", "action_variance"} <= set(steady.measures)
    for name, values in steady.episodes.items():
        assert jumping.episodes[name] == pytest.approx(values, nan_ok=True), name


# -- motion -------------------------------------------------------------------------------------------


def test_jerk_of_a_cubic_with_uneven_stamps():
    """x = t^3 - 2 t and y = 2 t^3: jerk (6, 12) everywhere, exactly, at any spacing."""
    t = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.1, 30))
    motion = episode_motion(np.stack([t**3 - 2 * t, 2 * t**3], axis=1), t - t[0])
    assert motion.jerk == pytest.approx(np.full(30, np.hypot(6, 12)), rel=1e-6)


def test_smoothness_of_the_minimum_jerk_reach():
    """x = 10 t^3 - 15 t^4 + 6 t^5 has integral of squared jerk 720 and peak speed 15/8: -ln(720 / (15/8)^2)."""
    t = np.linspace(0, 1, 2001)
    motion = episode_motion((10 * t**3 - 15 * t**4 + 6 * t**5)[:, None], t)
    assert motion.smoothness == pytest.approx(-np.log(720 / (15 / 8) ** 2), abs=5e-3)
    # dimensionless: neither size nor duration count
    longer = episode_motion(7 * (10 * t**3 - 15 * t**4 + 6 * t**5)[:, None], 3 * t)
    assert longer.smoothness == pytest.approx(motion.smoothness)
    assert motion.path_efficiency == pytest.approx(1)


def test_path_efficiency_of_three_sides_of_a_square():
    motion = episode_motion(np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]), np.arange(4.0))
    assert motion.path_efficiency == pytest.approx(1 / 3)


def test_true_stamps_count_not_the_claimed_rate():
    """Recorded at 10 Hz under a contract of 20 Hz: twice the duration, half the speed, an eighth of the jerk."""
    recording = reaches(num_episodes=2)
    at_period = measure(recording)
    recording.columns["stamp_ns"] = np.concatenate([np.arange(60) * 100_000_000] * 2)
    at_stamps = measure(recording)
    for name, factor in (("duration", 2), ("speed", 0.5), ("jerk", 1 / 8)):
        assert at_stamps.episodes[name] == pytest.approx(at_period.episodes[name] * factor, rel=1e-4)
    # stamps that stand still say nothing
    recording.columns["stamp_ns"] = np.zeros(120, np.int64)
    assert measure(recording).episodes["duration"] == pytest.approx(at_period.episodes["duration"])


def test_a_planted_pause_is_found():
    recording = reaches()
    state, action = recording.states[3], recording.actions[3]
    held = np.repeat(np.arange(60), np.where(np.arange(60) == 30, 41, 1))  # frame 30 forty-one times: 2 s
    quality = measure(planted(recording, 3, state[held], action[held]))
    assert quality.episodes["longest_pause"][3] == pytest.approx(40 * PERIOD_S, abs=2.1 * PERIOD_S)
    others = np.delete(quality.episodes["longest_pause"], 3)
    assert (others == 0).all()
    still = np.flatnonzero(quality.frames["pause_share"][quality.episode_lengths[0] * 3 :][:100])
    middle = still[(still > 20) & (still < 80)]
    assert (middle.min(), middle.max()) == (31, 69)
    assert any("Episode 3: longest_pause is 1.9 s; 0 to 0 s are typical" in line for line in quality.outliers())


def test_idle_time_before_and_after():
    recording = reaches()
    held = np.concatenate([np.zeros(20, int), np.arange(60), np.full(30, 59)])
    quality = measure(planted(recording, 0, recording.states[0][held], recording.actions[0][held]))
    usual = [np.median(quality.episodes[name]) for name in ("idle_start", "idle_end")]
    assert quality.episodes["idle_start"][0] == pytest.approx(20 * PERIOD_S + usual[0])
    assert quality.episodes["idle_end"][0] == pytest.approx(30 * PERIOD_S + usual[1])
    assert quality.episodes["longest_pause"][0] == 0


def test_joint_positions_are_the_robot_where_there_are_some():
    joints, cube = Feature("joints", "joint_position", (1,), ("elbow",), unit="rad"), Feature("cube", "position", (3,))
    recording = reaches(num_episodes=2)
    recording.columns |= {"joints": recording.columns["observation.state"][:, :1], "cube": np.zeros((120, 3))}
    recording.contract = PolicyContract("arm", "count", (joints, cube), recording.contract.action)
    assert motion_signal(recording).size == 1


# -- commands, labels, pictures -----------------------------------------------------------------------


def test_a_planted_spike_is_found():
    recording = reaches()
    action = recording.actions[7].copy()
    action[33, 1] += 1.0
    quality = measure(planted(recording, 7, recording.states[7], action))
    assert quality.frames["action_spike"].argmax() == 7 * 60 + 33
    assert [outlier.episode for outlier in quality.find_outliers(["action_spike"])] == [7]


def test_the_tracking_gap_by_hand():
    """The next position is always 0.5 short of the command; positions 0, 1, 2, 3 have the spread sqrt(5/4)."""
    states, actions = [np.arange(4.0)[:, None]] * 2, [np.arange(4.0)[:, None] + 1.5] * 2
    recording = Recording(states, actions, names=(("elbow",), ("elbow",)))
    gap = measure(recording).frames["tracking_gap"]
    assert gap[:3] == pytest.approx([0.5 / np.sqrt(1.25)] * 3)
    assert np.isnan(gap[3])


def test_labels_are_summed():
    recording = reaches(num_episodes=2)
    recording.columns["next.reward"] = np.concatenate([np.full(60, 0.5), np.full(60, -1)])[:, None]
    recording.columns["is_intervention"] = np.arange(120) % 4 == 0
    recording.columns["next.success"] = np.arange(120) == 59
    quality = measure(recording)
    assert quality.episodes["return"].tolist() == [30, -60]
    assert quality.episodes["intervention_share"].tolist() == [0.25, 0.25]
    assert quality.episodes["success"].tolist() == [1, 0]


def test_dark_and_blurred_pictures():
    """Episode 0 is a fine chessboard, 1 the same at half the light, 2 a ramp without edges, 3 black."""
    board = np.indices((16, 16)).sum(axis=0) % 2 * 200
    looks = [board, board // 2, np.tile(np.linspace(0, 200, 16), (16, 1)), np.zeros((16, 16))]
    pictures = np.repeat(np.stack([np.stack([look] * 3, axis=-1) for look in looks]), 5, axis=0).astype(np.uint8)
    rng = np.random.default_rng(0)
    recording = Recording(
        [rng.normal(size=(5, 2)) for _ in looks], [np.zeros((5, 1)) for _ in looks], pictures=pictures
    )
    brightness, sharpness = (each.episodes for each in measure_pictures(recording))
    assert brightness == pytest.approx([100 / 255, 50 / 255, pictures[10].mean() / 255, 0])
    assert sharpness[0] == pytest.approx(64)  # four neighbours, each a contrast of 2 away from +-1: 8^2 / 1^2
    assert sharpness[1] == pytest.approx(sharpness[0])
    assert sharpness[2] < 0.01
    assert sharpness[3] == 0
    assert "sharpness.front" in measure(recording, pictures_per_episode=2).episodes


# -- what holds for all -------------------------------------------------------------------------------

UNITLESS = ("s", "1", "spread", "spread^2", "spread/s", "spread/s^3")


@pytest.mark.parametrize(
    ("scale", "shift"), [(np.array([1000.0, 1e-3, 57.3]), 0.0), (np.ones(3), np.array([5.0, -3.0, 100.0]))]
)
def test_neither_units_nor_the_origin_matter(scale, shift):
    recording = reaches(noise=[0.1] * 12)
    changed = Recording([s * scale + shift for s in recording.states], [a * scale + shift for a in recording.actions])
    before, after = measure(recording), measure(changed)
    assert list(before.measures) == list(after.measures)
    for name in before.measures:
        assert before.measures[name].unit in UNITLESS
        assert after.episodes[name] == pytest.approx(before.episodes[name], rel=1e-5, abs=1e-9), name


def test_the_order_of_episodes_does_not_matter():
    recording = reaches(noise=[0.1] * 12)
    order = np.random.default_rng(1).permutation(12)
    mixed = Recording([recording.states[e] for e in order], [recording.actions[e] for e in order])
    before, after = measure(recording), measure(mixed)
    for name in before.measures:
        assert after.episodes[name] == pytest.approx(before.episodes[name][order], rel=1e-5, abs=1e-9), name


def test_a_joint_that_hardly_moves_does_not_count_like_the_others():
    """Of joints in one unit: one of a twentieth of the spread counts in full, one of a thousandth hardly; a stuck one not."""
    rng = np.random.default_rng(0)
    state = rng.normal(size=(500, 4)) * [1.0, 0.05, 0.001, 0.0] + 3
    recording = Recording([state], [state[:, :1]], names=(("a", "b", "c", "d"), ()), unit="rad")
    signal = state_signal(recording)
    assert signal.kept.tolist() == [True, True, True, False]
    assert signal[slice(None)].std(axis=0) == pytest.approx([1, 1, 0.02], rel=0.1)


def test_orientations_do_not_jump_where_quaternions_change_sign():
    """A turn about z from 90 to 270 degrees: qw >= 0 makes qz jump from 1 to -1; the rotation goes on evenly."""
    angle = np.deg2rad(np.linspace(90, 270, 41))
    quaternions = np.stack([np.cos(angle / 2), 0 * angle, 0 * angle, np.sin(angle / 2)], axis=1)
    quaternions *= np.where(quaternions[:, :1] < 0, -1, 1)
    poses = np.concatenate([np.zeros((41, 3)), quaternions], axis=1)
    recording = Recording([poses], [poses])
    cube = Feature("cube", "pose", (7,), unit="m,m,m,1,1,1,1")
    recording.contract = PolicyContract("arm", "turn", (cube,), recording.contract.action)
    recording.columns["cube"] = poses
    steps = np.linalg.norm(np.diff(state_signal(recording)[slice(None)], axis=0), axis=1)
    assert np.abs(np.diff(quaternions[:, 3])).max() > 1.9
    assert steps.max() < 3 * steps.min()


def test_frames_that_are_not_finite_spoil_no_others():
    recording = reaches()
    clean = measure(recording)
    state = recording.states[2].copy()
    state[10] = np.nan
    quality = measure(planted(recording, 2, state, recording.actions[2]))
    for name in ("state_novelty", "action_deviation", "speed", "duration"):
        others = [e for e in range(12) if e != 2]
        assert quality.episodes[name][others] == pytest.approx(clean.episodes[name][others], rel=0.05)
        assert np.isfinite(quality.episodes[name]).all()


def test_the_smallest_datasets_give_what_they_can():
    for lengths in ([1], [1, 1], [2, 3], [4]):
        recording = Recording([np.arange(n)[:, None] * 1.0 for n in lengths], [np.zeros((n, 1)) for n in lengths])
        quality = measure(recording)
        assert quality.episodes["duration"] == pytest.approx([(n - 1) * PERIOD_S for n in lengths])
        assert quality.outliers() == []
        assert len(describe(quality)) == len(quality.measures)
    with pytest.raises(DatasetError, match="without frames"):
        measure(Recording([np.zeros((0, 1))], [np.zeros((0, 1))]))
    with pytest.raises(DatasetError, match="k >= 2"):
        measure(recording, k=1)


def test_consistency_needs_something_to_compare():
    one = Recording([np.arange(5.0)[:, None]], [np.zeros((5, 1))])
    assert [each.measure.name for each in measure_consistency(one)] == ["state_coverage"]


# -- outliers -----------------------------------------------------------------------------------------


def test_robust_scores_by_hand():
    """Median 3, distances 2 1 0 1 97, their median 1: (100 - 3) / 1.4826."""
    assert robust_scores(np.array([1.0, 2, 3, 4, 100])) == pytest.approx(np.array([-2, -1, 0, 1, 97]) / 1.4826)
    # more than half equal: mean absolute deviation 10 / 5
    assert robust_scores(np.array([0.0, 0, 0, 0, 10])) == pytest.approx([0, 0, 0, 0, 10 / (1.2533 * 2)])
    # nearly all alike: a hundredth of the median
    assert robust_scores(np.array([5.0, 5, 5, 5, 5.05]))[4] == pytest.approx(1)
    assert robust_scores(np.array([1.0, 100])).tolist() == [0, 0]
    assert robust_scores(np.array([1.0, 2, 3, 4, 100, np.nan]))[5] == 0


def test_a_planted_length_is_named():
    recording = reaches(length=60)
    twice = np.repeat(np.arange(60), 2)
    quality = measure(planted(recording, 5, recording.states[5][twice], recording.actions[5][twice]))
    named = [line for line in quality.outliers() if "duration" in line]
    assert named == ["Episode 5: duration is 5.95 s; 2.95 to 2.95 s are typical (robust z-score +9.6)."]
    row = next(row for row in describe(quality) if row.measure == "duration")
    assert (row.lowest, row.median, row.highest) == pytest.approx((2.95, 2.95, 5.95))
    assert row.outliers == (5,)


def test_only_the_worse_side_is_an_outlier_where_there_is_one():
    values = np.array([1.0, 1.1, 0.9, 1.05, 0.95, 9.0, -9.0])
    made = measure(reaches(num_episodes=7))
    quality = Quality(
        made.measures, made.frames, {**made.episodes, "jerk": values, "path_efficiency": values}, np.ones(7)
    )
    assert [outlier.episode for outlier in quality.find_outliers(["jerk"])] == [5]
    assert [outlier.episode for outlier in quality.find_outliers(["path_efficiency"])] == [6]
    with pytest.raises(DatasetError, match="'jitter' was not measured. Measures: duration"):
        quality.find_outliers(["jitter"])


def test_a_dataset_on_disk_is_measured(tmp_path):
    recording = reaches(num_episodes=3)
    with LeRobotWriter(tmp_path / "data", recording.contract, "count") as writer:
        for state, action in zip(recording.states, recording.actions, strict=True):
            writer.add_episode({"observation.state": state.astype(np.float32), "action": action.astype(np.float32)})
    found, expected = measure(LeRobotDataset(tmp_path / "data")), measure(recording)
    for name in expected.measures:
        assert found.episodes[name] == pytest.approx(expected.episodes[name], rel=0.05, abs=1e-6), name
