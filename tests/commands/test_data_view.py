"""praxon data view: joints, objects, pictures and curves of the frame that is shown, and what is refused.

Pictures are as bright as their frame's number, so that a wrong frame names itself.
"""

import time
import urllib.request

import av
import numpy as np
import pytest
from omegaconf import OmegaConf

from praxon.cli import run
from praxon.commands.data import view
from praxon.commands.data._curves import COLOURS, grouped, thinned
from praxon.commands.data._film import film
from praxon.commands.data._panels import legend, with_cursor
from praxon.commands.data._posing import make_stage
from praxon.commands.data._recording import SourceRecordings, shown, times
from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.datasets.source import Episode
from praxon.robots.panda import PANDA
from praxon.targets import CONFIGS

POSE = ("x", "y", "z", "qw", "qx", "qy", "qz")
STATE = Feature("observation.state", "joint_position", (len(PANDA.joints),), PANDA.joint_names, unit=PANDA.unit)
CUBE = Feature("observation.cube_pose", "pose", (7,), POSE, unit="m,m,m,1,1,1,1", frame=PANDA.base_frame, source="cube")
FRONT = Feature("observation.images.front", "image", (16, 16, 3), dtype="uint8", source="front")
ACTION = Feature("action", "joint_position", STATE.shape, STATE.names, unit=STATE.unit)
CONTRACT = PolicyContract("panda", "pick_place", (STATE, CUBE, FRONT), ACTION, Chunk(control_period_s=0.05))
GOAL = Feature("observation.goal_pose", "pose", (7,), POSE, unit="m,m,m,1,1,1,1", frame=PANDA.base_frame, source="goal")
STEP = 10
"""Brightness from one frame's picture to the next."""


def frames(episode, length):
    """Joint 1 is at episode + t / 100, the command 1 / 100 further; the cube is t cm along x, turned about z by t * 0.1."""
    t = np.arange(length)
    state = np.tile(np.array(PANDA.home, np.float32), (length, 1))
    state[:, 0] = episode + t / 100
    state[:, -1] = 0.01
    pose = np.zeros((length, 7), np.float32)
    pose[:, 0], pose[:, 3], pose[:, 6] = t / 100, np.cos(t * 0.05), np.sin(t * 0.05)
    pictures = np.broadcast_to((STEP * t)[:, None, None, None], (length, 16, 16, 3)).astype(np.uint8)
    action = state + np.array([0.01] + [0] * (state.shape[1] - 1), np.float32)
    return {STATE.name: state, CUBE.name: pose, FRONT.name: pictures, ACTION.name: action}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two episodes of 12 and 8 frames; the second was recorded at half the nominal rate."""
    root = tmp_path_factory.mktemp("view") / "data"
    with LeRobotWriter(root, CONTRACT, "Put it <b>there</b>.") as writer:
        writer.add_episode(frames(0, 12))
        writer.add_episode(frames(1, 8), 5_000_000_000 + np.arange(8) * 100_000_000)
    return root


@pytest.fixture(scope="module")
def recordings(dataset):
    return SourceRecordings(LeRobotDataset(dataset))


class Memory:
    """A source that was never a dataset: frames in memory, no stamps, a robot that is not known."""

    extra_features = (Feature("next.reward", "vector", (1,)),)
    robot_type, metadata, splits = None, {}, {}
    contract = PolicyContract(
        "their_arm",
        "their_task",
        (Feature("observation.state", "joint_position", (2,), ("a", "b"), unit="deg"), FRONT),
        Feature("action", "vector", (23,)),
        Chunk(control_period_s=0.1),
    )

    def __len__(self):
        return 3

    def episode(self, index):
        t = np.arange(5)
        values = {
            "observation.state": np.stack([t, t + index], axis=1).astype(np.float32),
            FRONT.name: frames(0, 5)[FRONT.name],
            "action": np.zeros((5, 23), np.float32),
            "next.reward": np.ones((5, 1), np.float32),
        }
        return Episode(values, None, [f"part {i}" for i in range(5)])


# -- recordings -----------------------------------------------------------------------------------


def test_a_recording_has_its_own_frames_and_true_times(recordings):
    assert len(recordings) == 2
    second = recordings[1]
    assert second.times_s == pytest.approx(np.arange(8) * 0.1)
    assert second.values[STATE.name][:, 0] == pytest.approx(1 + np.arange(8) / 100)
    assert [int(second.pictures[FRONT.name](frame).mean().round()) for frame in (3, 0, 7)] == pytest.approx(
        [30, 0, 70], abs=2
    )
    assert [second.frame_at(t) for t in (-1, 0, 0.09, 0.31, 99)] == [0, 0, 0, 3, 7]
    assert second.task_at(5) == "Put it <b>there</b>."


def test_a_source_that_is_no_dataset_is_a_recording_too():
    recording = SourceRecordings(Memory())[2]
    assert recording.times_s == pytest.approx(np.arange(5) * 0.1)
    assert recording.values["observation.state"][3].tolist() == [3, 5]
    assert recording.pictures[FRONT.name](4).mean() == 4 * STEP
    assert recording.task_at(3) == "part 3"


def test_stamps_that_do_not_rise_are_not_believed():
    assert times(np.array([0, 10**8, 10**8]), 3, 0.5) == pytest.approx([0, 0.5, 1.0])


def test_any_picture_is_shown_as_rgb():
    assert shown(np.full((2, 3), 0.5)).tolist() == np.full((2, 3, 3), 127).tolist()
    assert shown(np.full((2, 3, 1), 300, np.uint16)).max() == 255
    assert shown(np.dstack([np.full((2, 2), part, np.uint8) for part in (1, 2, 3, 4)]))[0, 0].tolist() == [1, 2, 3]


# -- robot ----------------------------------------------------------------------------------------


def test_joints_and_objects_go_where_the_recording_has_them(recordings):
    stage, _ = make_stage(CONTRACT)
    recording = recordings[1]
    data = stage.measured.pose(recording.values, 6)
    assert data.joint("panda_joint1").qpos == pytest.approx(1.06)
    assert data.joint("panda_finger_joint1").qpos == data.joint("panda_finger_joint2").qpos == pytest.approx(0.01)
    assert data.body("cube").xpos == pytest.approx([0.06, 0, 0])
    assert data.body("cube").xmat.reshape(3, 3)[:, 0] == pytest.approx([np.cos(0.6), np.sin(0.6), 0], abs=1e-6)
    assert stage.commanded.pose(recording.values, 6).joint("panda_joint1").qpos == pytest.approx(1.07)
    names = {stage.model.body(body).name for body in stage.commanded.driven_bodies()}
    assert {"link1", "link7", "hand", "left_finger", "right_finger"} <= names
    assert not {"world", "link0", "cube"} & names


def test_an_object_whose_place_was_not_recorded_is_not_shown():
    stage, note = make_stage(CONTRACT)
    assert stage.model.body("goal").id not in stage.bodies
    assert stage.model.body("cube").id in stage.bodies
    assert note == "Not shown, because no feature is its pose: goal."
    stage, note = make_stage(PolicyContract("panda", "pick_place", (STATE, CUBE, GOAL), ACTION))
    assert (len(stage.bodies), note) == (stage.model.nbody, "")


def test_units_and_missing_values():
    degrees = Feature("observation.state", "joint_position", (2,), ("panda_joint1", "panda_joint2"), unit="deg")
    stage, note = make_stage(PolicyContract("panda", "elsewhere", (degrees,), Feature("action", "vector", (1,))))
    assert "elsewhere" in note
    assert not stage.commanded
    data = stage.measured.pose({degrees.name: np.array([[90.0, 45.0], [np.nan, 0.0]])}, 0)
    assert data.qpos[:2] == pytest.approx([np.pi / 2, np.pi / 4])
    assert stage.measured.pose({degrees.name: np.array([[np.nan, 0.0]])}, 0).qpos[:2] == pytest.approx([np.pi / 2, 0])


@pytest.mark.parametrize(
    ("robot", "names", "sentence"),
    [
        ("their_arm", ("a", "b"), "the robot 'their_arm' is not one"),
        ("panda", ("a", "b"), "no feature is positions of joints"),
    ],
)
def test_without_a_known_robot_there_are_cameras_and_curves(robot, names, sentence):
    state = Feature("observation.state", "joint_position", (2,), names, unit="rad")
    stage, note = make_stage(PolicyContract(robot, "anything", (state,), Feature("action", "vector", (1,))))
    assert stage is None
    assert note.startswith("Cameras and curves only: ")
    assert sentence in note


# -- curves ---------------------------------------------------------------------------------------


def test_units_have_plots_of_their_own_and_no_plot_has_too_many_lines():
    found = [(curves.components, curves.names[0], curves.unit) for curves in grouped([STATE, CUBE, FRONT])]
    assert found[:2] == [((0, 1, 2, 3, 4, 5, 6), "panda_joint1", "rad"), ((7,), "panda_finger_joint1", "m")]
    assert found[2:] == [((0, 1, 2), "x", "m"), ((3, 4, 5, 6), "qw", "1")]
    many = list(grouped([Feature("action", "vector", (23,))]))
    assert [len(curves.components) for curves in many] == [len(COLOURS), len(COLOURS), 23 - 2 * len(COLOURS)]
    assert [part for curves in many for part in curves.components] == list(range(23))


def test_thinning_keeps_every_peak():
    values = np.zeros((10_001, 2))
    values[7777, 0], values[3, 1] = 5, -4
    at, thin = thinned(np.arange(10_001) / 100, values, 100)
    assert len(at) == len(thin) <= 100
    assert (np.diff(at) > 0).all()
    assert (thin.max(), thin.min()) == (5, -4)
    assert at[thin[:, 0].argmax()] == pytest.approx(77.77, abs=2)


@pytest.mark.parametrize("now", [0.0, 0.5, 1.0, 3.0])
def test_the_cursor_stands_at_now_and_bends_no_line(now):
    at, lines = np.arange(4.0), np.array([[0, 1, 4, 9], [1, 1, 1, 1]], float).T
    column, *drawn, cursor = with_cursor(at, lines, now)
    assert (np.diff(column) >= 0).all()
    assert {tuple(pair) for pair in np.diff(np.stack([column, cursor]), axis=1).T if pair[1]} == {(0.0, 1.0)}
    assert column[np.flatnonzero(cursor)[0]] == now
    for line, values in zip(drawn, lines.T, strict=True):
        assert line == pytest.approx(np.interp(column, at, values))


def test_names_from_a_file_are_text_and_not_html():
    curves = next(grouped([Feature("f", "vector", (1,), ("<img src=x>",), unit="<m>")]))
    text = legend(curves, np.array([0.25]))
    assert "<img" not in text
    assert "&lt;img src=x&gt;</span>" not in text.split("<b>")[0].split("&lt;img")[0]
    assert "<b>0.25</b>" in text


# -- page -----------------------------------------------------------------------------------------


def until(condition):
    """Wait for the viewer's threads."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.01)


@pytest.fixture
def viewer(dataset):
    pytest.importorskip("viser")
    from praxon.commands.data._viewer import Viewer
    from praxon.sim.web_scene import open_server

    opened = LeRobotDataset(dataset)
    server = open_server("127.0.0.1", 0, "test")
    stage, _ = make_stage(CONTRACT)
    viewer = Viewer(server, SourceRecordings(opened), list(CONTRACT), stage, "test")
    viewer.server = server
    yield viewer
    viewer.close()


def brightness(viewer):
    return round(viewer.picture(FRONT.name).image.mean() / STEP)


def test_the_slider_moves_everything(viewer):
    with urllib.request.urlopen(f"http://127.0.0.1:{viewer.server.get_port()}/") as page:
        assert page.status == 200
    viewer.wish(frame=7)
    until(lambda: viewer.frame == 7 and brightness(viewer) == 7)
    stage, _ = make_stage(CONTRACT)
    cube = viewer.server.scene.get_handle_by_name(f"/measured/{stage.model.body('cube').id}_cube")
    until(lambda: cube.position == pytest.approx([0.07, 0, 0], abs=1e-6))
    viewer.wish(frame=999)
    until(lambda: viewer.frame == 11 and brightness(viewer) == 11)


def test_another_episode_begins_at_its_beginning(viewer):
    viewer.wish(frame=9)
    viewer.wish(episode=1)
    until(lambda: viewer.recording.number == 1 and brightness(viewer) == 0)
    assert (viewer.frame, len(viewer.recording)) == (0, 8)


def test_playing_ends_at_the_end_and_begins_again(viewer):
    viewer.wish(playing=True)
    until(lambda: viewer.frame == 11 and not viewer.playing)
    until(lambda: brightness(viewer) == 11)
    viewer.wish(playing=True)
    until(lambda: viewer.playing)
    until(lambda: viewer.frame == 11 and not viewer.playing)


def test_pictures_that_cannot_be_read_are_said_and_the_rest_goes_on(viewer):
    def broken(frame):
        raise OSError("the disk is gone")

    viewer.recording.pictures[FRONT.name], whole = broken, viewer.recording.pictures[FRONT.name]
    viewer.wish(frame=3)
    until(lambda: viewer.problem == "the disk is gone")
    assert viewer.frame == 3
    viewer.recording.pictures[FRONT.name] = whole
    viewer.wish(frame=4)
    until(lambda: brightness(viewer) == 4 and viewer.problem == "")


# -- command --------------------------------------------------------------------------------------


def config(**settings):
    return OmegaConf.merge(OmegaConf.load(CONFIGS / "data_view.yaml"), settings)


def test_it_serves_and_stops_by_itself(dataset, capsys):
    pytest.importorskip("viser")
    result = view.run(config(dataset=str(dataset), port=0, seconds=0.1))
    assert result["episodes"] == 2
    assert result["url"].startswith("http://127.0.0.1:")
    assert "no feature is its pose: goal" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["episode=2"], "has 0 to 1."),
        (["episode=-1"], "has 0 to 1."),
        (["model=theirs"], "Models: own, menagerie."),
        (["port=-1"], "at least 0 is needed"),
        (["options=5"], "options is 5;"),
        (["video=here.avi"], "a name that ends in .mp4 is needed"),
        (["video=/no/such/folder/e.mp4"], "'/no/such/folder' does not exist"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(dataset, settings, sentence, capsys):
    assert run(["data", "view", str(dataset), *settings]) == 1
    assert sentence in capsys.readouterr().err


def test_a_recording_is_told_its_rate_in_the_words_of_the_error(tmp_path, capsys):
    zarr = pytest.importorskip("zarr")
    root = zarr.open_group(str(tmp_path / "push.zarr"), mode="w")
    root.create_array("data/action", data=np.ones((5, 2), np.float32))
    root.create_array("data/state", data=np.ones((5, 3), np.float32))
    root.create_array("meta/episode_ends", data=np.array([5]))
    asked = ["data", "view", str(tmp_path / "push.zarr"), f"video={tmp_path / 'e.mp4'}"]
    assert run(asked) == 1
    assert "e.g. fps=10" in capsys.readouterr().err
    assert run([*asked, "fps=10"]) == 0
    assert "0.4 s" in capsys.readouterr().out


def test_a_dataset_that_is_not_there_is_refused(tmp_path, capsys):
    assert run(["data", "view", str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err
    assert run(["data", "view"]) == 1
    assert "No dataset was given" in capsys.readouterr().err


# -- film -----------------------------------------------------------------------------------------


def test_a_film_runs_as_long_as_the_episode_and_shows_its_frames(dataset, tmp_path):
    result = view.run(config(dataset=str(dataset), episode=1, video=str(tmp_path / "e.mp4")))
    assert result["seconds"] == pytest.approx(0.7)
    with av.open(str(tmp_path / "e.mp4")) as container:
        pages = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(pages) == 22  # at 30 per second from 0 to 0.7 s
    middle = [round(page[100, pages[0].shape[1] // 2].mean() / STEP) for page in pages]
    assert middle == [number // 3 for number in range(22)]  # recorded at 10 per second


def test_plots_that_do_not_fit_a_film_are_counted(tmp_path):
    feature = Feature("many", "vector", (170,))
    recording = SourceRecordings(Memory())[0]
    recording.values["many"] = np.random.default_rng(0).normal(size=(5, 170))
    recording.values["many"][2, 3] = np.nan
    assert film(tmp_path / "many.mp4", recording, [feature]) == (pytest.approx(0.4), 1)
