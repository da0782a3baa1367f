"""Recordings written by rosbags and by mcap's own writer: every value encodes which message it came from, so that one that lands
on a wrong tick names itself."""

import importlib.util
import re
import shutil
import sqlite3
import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags")
pytest.importorskip("mcap_ros2")

from mcap.writer import CompressionType
from mcap.writer import Writer as PlainMcapWriter
from mcap_ros2.writer import Writer as McapRos2Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets import alignment
from praxon.datasets.formats._expand import MAX_BYTES, expand
from praxon.datasets.formats._mcap import McapFile
from praxon.datasets.formats.rosbag import open_source, recognises
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.errors import DatasetError

STORE = get_typestore(Stores.LATEST)
T = STORE.types
START = 1_750_000_000_000_000_000
MS = 1_000_000
NAMES = ("shoulder", "elbow")
SIZE = (6, 8, 3)

STATE = Feature("observation.state", "joint_position", (2,), NAMES, unit="rad")
CUBE = Feature("observation.cube", "pose", (7,), unit="m,m,m,1,1,1,1", frame="base", source="cube")
FRONT = Feature("observation.images.front", "image", SIZE, dtype="uint8", source="front")
WRIST = Feature("observation.images.wrist", "image", SIZE, dtype="uint8", source="wrist")
ACTION = Feature("action", "joint_position", (2,), NAMES, unit="rad")


def make_contract(*observations: Feature, rate: float = 20) -> PolicyContract:
    return PolicyContract("arm", "lift", observations or (STATE,), ACTION, Chunk(control_period_s=1 / rate))


class Sent(NamedTuple):
    """One message on its way into a bag; ``stamp_ns`` is in its header, and it is received at the same time unless said."""

    topic: str
    message: Any
    received_ns: int


# -- messages -------------------------------------------------------------------------------------


def header(stamp_ns: int, frame: str = "") -> Any:
    stamp = T["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return T["std_msgs/msg/Header"](stamp=stamp, frame_id=frame)


def joints(
    stamp_ns: int,
    values: Sequence[float],
    names: Sequence[str] = NAMES,
    topic: str = "/joint_states",
    received_ns: int | None = None,
) -> Sent:
    empty = np.zeros(0)
    message = T["sensor_msgs/msg/JointState"](header(stamp_ns), list(names), np.array(values, float), empty, empty)
    return Sent(topic, message, stamp_ns if received_ns is None else received_ns)


def command(
    stamp_ns: int,
    values: Sequence[float],
    names: Sequence[str] = NAMES,
    topic: str = "/arm_controller/joint_trajectory",
    received_ns: int | None = None,
) -> Sent:
    empty = np.zeros(0)

    def point(offset: float, after_ns: int) -> Any:
        after = T["builtin_interfaces/msg/Duration"](sec=0, nanosec=after_ns)
        return T["trajectory_msgs/msg/JointTrajectoryPoint"](
            np.array(values, float) + offset, empty, empty, empty, after
        )

    points = [point(0, 50 * MS), point(1000, 100 * MS)]
    message = T["trajectory_msgs/msg/JointTrajectory"](header(stamp_ns), list(names), points)
    return Sent(topic, message, stamp_ns if received_ns is None else received_ns)


def pose(stamp_ns: int, x: float, topic: str = "/objects/cube/pose") -> Sent:
    position = T["geometry_msgs/msg/Point"](x=x, y=2.0, z=3.0)
    orientation = T["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=np.sqrt(0.5), w=-np.sqrt(0.5))
    inner = T["geometry_msgs/msg/Pose"](position, orientation)
    return Sent(topic, T["geometry_msgs/msg/PoseStamped"](header(stamp_ns, "base"), inner), stamp_ns)


def picture(number: int) -> np.ndarray:
    """Red is the number, green and blue differ from it."""
    return np.broadcast_to(np.array([number, (number + 85) % 256, (number + 170) % 256], np.uint8), SIZE)


def image(stamp_ns: int, number: int, camera: str = "front", encoding: str = "rgb8", topic: str | None = None) -> Sent:
    stored = {"rgb8": picture(number), "bgr8": picture(number)[..., ::-1], "mono8": picture(number)[..., 0]}[encoding]
    height, width, _ = SIZE
    data = np.ascontiguousarray(stored).reshape(-1)
    message = T["sensor_msgs/msg/Image"](header(stamp_ns), height, width, encoding, 0, len(data) // height, data)
    return Sent(topic or f"/cameras/{camera}/image", message, stamp_ns)


def compressed(stamp_ns: int, number: int, camera: str = "front", coding: str = ".png") -> Sent:
    done, data = cv2.imencode(coding, np.ascontiguousarray(picture(number)[..., ::-1]))
    assert done
    message = T["sensor_msgs/msg/CompressedImage"](
        header(stamp_ns), f"rgb8; {coding[1:]} compressed bgr8", data.reshape(-1)
    )
    return Sent(f"/cameras/{camera}/image/compressed", message, stamp_ns)


def text(stamp_ns: int, topic: str = "/chatter") -> Sent:
    return Sent(topic, T["std_msgs/msg/String"](data="hello"), stamp_ns)


def simple(count: int = 10, period_ns: int = 50 * MS) -> list[Sent]:
    """Joints and commands of tick i are (i, -i) and (100 + i, -100 - i), all stamped with the tick."""
    sent = []
    for i in range(count):
        stamp_ns = START + i * period_ns
        sent += [joints(stamp_ns, (i, -i)), command(stamp_ns, (100 + i, -100 - i))]
    return sent


# -- bags -----------------------------------------------------------------------------------------


def write_bag(
    path: Path,
    sent: Iterable[Sent],
    storage: StoragePlugin = StoragePlugin.MCAP,
    version: Any = 9,
    compression: CompressionMode = CompressionMode.NONE,
    **custom: str,
) -> Path:
    """A bag by rosbags' own writer."""
    writer = Writer(path, version=version, storage_plugin=storage)
    writer.set_compression(compression, CompressionFormat.ZSTD)
    for key, value in custom.items():
        writer.set_custom_data(key, value)
    with writer:
        connections = {}
        for topic, message, received_ns in sent:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, message.__msgtype__, typestore=STORE)
            writer.write(connections[topic], received_ns, STORE.serialize_cdr(message, message.__msgtype__))
    return path


def write_mcap(path: Path, sent: Iterable[Sent], **settings: Any) -> Path:
    """A file by the mcap project's writer, which encodes the messages itself."""
    with path.open("wb") as file:
        writer = McapRos2Writer(file, **settings)
        schemas: dict[str, Any] = {}
        for topic, message, received_ns in sent:
            kind = message.__msgtype__
            if kind not in schemas:
                schemas[kind] = writer.register_msgdef(kind, STORE.generate_msgdef(kind, ros_version=2)[0])
            writer.write_message(topic, schemas[kind], plain(message), received_ns, received_ns)
        writer.finish()
    return path


def plain(value: Any) -> Any:
    """What that writer takes: mappings, lists and bytes."""
    if isinstance(value, np.ndarray):
        return value.tobytes() if value.dtype == np.uint8 else value.tolist()
    if isinstance(value, list):
        return [plain(each) for each in value]
    return {name: plain(each) for name, each in vars(value).items()} if hasattr(value, "__msgtype__") else value


def first_joint(source: Any, index: int = 0) -> list[float]:
    return source.episode(index).frames["observation.state"][:, 0].tolist()


def report(source: Any, index: int = 0) -> dict[str, Any]:
    return source.metadata["bags"][index]


STORAGES = [
    (StoragePlugin.MCAP, 9, CompressionMode.NONE),
    (StoragePlugin.MCAP, 8, CompressionMode.STORAGE),
    (StoragePlugin.SQLITE3, 9, CompressionMode.NONE),
    (StoragePlugin.SQLITE3, 8, CompressionMode.MESSAGE),
]


@pytest.mark.parametrize(("storage", "version", "compression"), STORAGES)
def test_bags_of_every_storage_hold_the_same(tmp_path, storage, version, compression):
    path = write_bag(tmp_path / "bag", [*simple(), text(START)], storage, version, compression, task="Lift it.")
    assert recognises(path)
    source = open_source(path, make_contract())
    episode = source.episode(0)
    assert len(source) == 1
    assert episode.task == "Lift it."
    assert episode.frames["observation.state"].dtype == np.float32
    assert episode.frames["observation.state"].tolist() == [[i, -i] for i in range(10)]
    assert episode.frames["action"].tolist() == [[100 + i, -100 - i] for i in range(10)]
    assert episode.stamps_ns.tolist() == [START + i * 50 * MS for i in range(10)]
    assert report(source)["recovered"] == []
    assert report(source)["messages"] == 21


@pytest.mark.parametrize("compression", ["NONE", "LZ4", "ZSTD"])
def test_files_of_the_mcap_library(tmp_path, compression):
    sent = [*simple(60), *(image(START + i * 100 * MS, i) for i in range(30))]
    path = write_mcap(tmp_path / "a.mcap", sent, compression=CompressionType[compression], chunk_size=2000)
    source = open_source(path, make_contract(STATE, FRONT), task="Lift it.")
    frames = source.episode(0).frames
    assert first_joint(source) == list(range(60))
    assert frames[FRONT.name].shape == (60, *SIZE)
    assert frames[FRONT.name][3:50][:, 0, 0, 0].tolist() == [i // 2 for i in range(3, 50)]
    assert report(source)["recovered"] == ["metadata.yaml is missing"]


def test_a_folder_of_bags_is_one_episode_each_in_the_order_of_names(tmp_path):
    for number in (10, 2):
        write_bag(tmp_path / f"take_{number}", simple(number), task=f"Take {number}.")
    write_bag(tmp_path / "take_3", simple(3), StoragePlugin.SQLITE3, task="Take 3.")
    (tmp_path / "notes").mkdir()
    source = open_source(tmp_path, make_contract())
    assert recognises(tmp_path)
    assert [each["name"] for each in source.metadata["bags"]] == ["take_2", "take_3", "take_10"]
    assert [source.episode(i).task for i in (2, 0, 1)] == ["Take 10.", "Take 2.", "Take 3."]
    assert [len(first_joint(source, i)) for i in (1, 0, 2)] == [3, 2, 10]
    assert source.robot_type == "arm"
    assert source.splits == {}
    assert source.extra_features == ()


def test_single_files_in_a_folder_are_bags_each_unless_they_are_parts_of_one(tmp_path):
    first, second = simple(10)[:8], simple(10)[8:]
    write_mcap(tmp_path / "one.mcap", simple(4))
    write_mcap(tmp_path / "two.mcap", simple(5))
    (tmp_path / "session").mkdir()
    write_mcap(tmp_path / "session" / "session_0.mcap", first)
    write_mcap(tmp_path / "session" / "session_1.mcap", second)
    assert len(open_source(tmp_path, make_contract(), task="t")) == 2
    assert first_joint(open_source(tmp_path / "session", make_contract(), task="t")) == list(range(10))


# -- topics ---------------------------------------------------------------------------------------


def test_joints_go_by_name_and_robots_with_a_namespace_are_found(tmp_path):
    sent = []
    for i in range(5):
        stamp_ns = START + i * 50 * MS
        sent.append(joints(stamp_ns, (7, -i, i), ("gripper", "elbow", "shoulder"), topic="/left/joint_states"))
        sent.append(command(stamp_ns, (-100 - i, 100 + i), ("elbow", "shoulder"), topic="/left/arm/joint_trajectory"))
        sent.append(command(stamp_ns, (555, 555), topic="/policy/chunk"))
    source = open_source(write_bag(tmp_path / "bag", sent), make_contract(), task="t")
    frames = source.episode(0).frames
    assert frames["observation.state"].tolist() == [[i, -i] for i in range(5)]
    assert frames["action"].tolist() == [[100 + i, -100 - i] for i in range(5)]
    assert report(source)["features"]["action"]["topic"] == "/left/arm/joint_trajectory"


def test_of_several_topics_one_must_be_chosen(tmp_path):
    sent = simple(5)
    sent += [joints(START + i * 50 * MS, (50 + i, 0), topic=f"/{side}/joint_states") for i in range(5) for side in "ab"]
    sent += [command(START + i * 50 * MS, (70 + i, 0), topic="/hand/joint_trajectory") for i in range(5)]
    path = write_bag(tmp_path / "bag", sent)
    with pytest.raises(
        DatasetError, match=r"several topics for 'action': /arm_controller/joint_trajectory, /hand/joint_tr"
    ):
        open_source(path, make_contract(), task="t")
    chosen = {"observation.state": "b/joint_states", "action": "/hand/joint_trajectory"}
    frames = open_source(path, make_contract(), topics=chosen, task="t").episode(0).frames
    assert frames["observation.state"][:, 0].tolist() == [50, 51, 52, 53, 54]
    assert frames["action"][:, 0].tolist() == [70, 71, 72, 73, 74]
    # The name itself needs no choice though others end like it.
    assert first_joint(open_source(path, make_contract(), topics={"action": "hand/joint_trajectory"}, task="t")) == [
        0,
        1,
        2,
        3,
        4,
    ]


def test_the_joints_of_a_leading_arm_are_the_action_where_chosen(tmp_path):
    sent = []
    for i in range(10):
        stamp_ns = START + i * 50 * MS
        sent += [joints(stamp_ns, (i, -i)), joints(stamp_ns, (-100 - i, 100 + i), NAMES[::-1], "/leader/joint_states")]
    path = write_bag(tmp_path / "bag", sent)
    source = open_source(path, make_contract(), topics={"action": "/leader/joint_states"}, task="lift")
    frames = source.episode(0).frames
    assert frames["action"].tolist() == [[100 + i, -100 - i] for i in range(10)]
    assert frames["observation.state"].tolist() == [[i, -i] for i in range(10)]
    with pytest.raises(DatasetError, match="no topic for 'action', which is read from /joint_trajectory"):
        open_source(path, make_contract(), task="lift")


def test_a_missing_topic_is_named_with_those_there_are(tmp_path):
    path = write_bag(tmp_path / "bag", [*simple(3), text(START)])
    there = re.escape(
        "it has /arm_controller/joint_trajectory (trajectory_msgs/msg/JointTrajectory, 3 messages), "
        "/chatter (std_msgs/msg/String, 1 messages), /joint_states (sensor_msgs/msg/JointState, 3 messages)."
    )
    with pytest.raises(
        DatasetError, match=r"no topic for 'observation.cube', which is read from /objects/cube/pose \(.*" + there
    ):
        open_source(path, make_contract(STATE, CUBE), task="t")
    with pytest.raises(DatasetError, match=r"no topic for 'action'.*" + there):
        open_source(path, make_contract(), topics={"action": "/chatter"}, task="t")
    with pytest.raises(DatasetError, match=r"'bag' has /arm_controller.*/chatter.*/joint_states"):
        open_source(path)
    with pytest.raises(DatasetError, match=r"names the feature 'observation.stat'.*Did you mean 'observation.state'"):
        open_source(path, make_contract(), topics={"observation.stat": "/x"})


def test_settings_that_do_not_exist_are_refused(tmp_path):
    path = write_bag(tmp_path / "bag", simple(3))
    for settings, sentence in (
        ({"time": "clock"}, "time is 'clock'"),
        ({"align": "linear"}, "align is 'linear'"),
        ({"align": {"observation.x": "hold"}}, "align names the feature 'observation.x'"),
        ({"tolerance_s": -1.0}, "tolerance_s is -1"),
    ):
        with pytest.raises(DatasetError, match=sentence):
            open_source(path, make_contract(), task="t", **settings)
    with pytest.raises(DatasetError, match="'observation.v' of kind 'vector' travels in no ROS message"):
        open_source(path, make_contract(Feature("observation.v", "vector", (2,))), task="t")
    with pytest.raises(
        DatasetError, match="does not say what was to be done: its custom_data has operator, none of task"
    ):
        open_source(write_bag(tmp_path / "other", simple(3), operator="me"), make_contract())


def test_the_contract_may_be_a_file_and_the_instruction_beside_the_messages(tmp_path):
    make_contract().save(tmp_path / "contract.yaml")
    for storage in (StoragePlugin.MCAP, StoragePlugin.SQLITE3):
        path = write_bag(tmp_path / storage.name, simple(3), storage, prompt="Lift it.")
        (path / "metadata.yaml").unlink()  # the files say it too
        source = open_source(path, tmp_path / "contract.yaml", robot="other")
        assert source.episode(0).task == "Lift it."
        assert source.robot_type == "other"
        assert report(source)["recovered"] == ["metadata.yaml is missing"]


# -- alignment ------------------------------------------------------------------------------------


def test_every_feature_holds_the_last_value_at_or_before_its_tick(tmp_path):
    """Ticks at 0, 50, ... ms of the first command; cube at -70, 55, 150 ms; joints every 10 ms, 3 ms late."""
    sent = [command(START + i * 50 * MS, (100 + i, 0)) for i in range(5)]
    sent += [joints(START + (i * 10 + 3) * MS, (i, 0)) for i in range(-9, 21)]
    sent += [pose(START + ms * MS, ms) for ms in (-70, 55, 150)]
    source = open_source(
        write_bag(tmp_path / "bag", sorted(sent, key=lambda each: each.received_ns)),
        make_contract(STATE, CUBE),
        task="t",
    )
    episode = source.episode(0)
    # The newest of joints is 7 ms old at a tick: message i is stamped 10 i + 3 ms.
    assert episode.frames["observation.state"][:, 0].tolist() == [-1, 4, 9, 14, 19]
    assert episode.frames["observation.cube"][:, 0].tolist() == [-70, -70, 55, 150, 150]
    half = np.float32(np.sqrt(0.5))
    assert episode.frames["observation.cube"][0].tolist() == [-70, 2, 3, half, 0, 0, -half]
    assert episode.frames["action"][:, 0].tolist() == [100, 101, 102, 103, 104]
    assert episode.stamps_ns.tolist() == [START + ms * MS for ms in (-7, 43, 93, 143, 193)]
    features = report(source)["features"]
    assert features["observation.cube"]["repeated_ticks"] == 2
    assert features["observation.cube"]["largest_age_s"] == pytest.approx(0.12)
    assert features["observation.state"]["largest_age_s"] == pytest.approx(0.007)


def test_joints_at_25_hz_under_a_contract_of_30(tmp_path):
    """30 ticks of one second: joints i is stamped 40 i ms, so tick n holds floor(n / 30 / 0.04) and every sixth repeats."""
    sent = [command(START + round(i * 1e9 / 30), (i, 0)) for i in range(30)]
    sent += [joints(START + i * 40 * MS, (i, 0)) for i in range(25)]
    source = open_source(
        write_bag(tmp_path / "bag", sorted(sent, key=lambda each: each.received_ns)), make_contract(rate=30), task="t"
    )
    episode = source.episode(0)
    assert episode.frames["observation.state"][:, 0].tolist() == [n * 25 // 30 for n in range(30)]
    assert episode.frames["action"][:, 0].tolist() == list(range(30))
    assert len(np.unique(episode.stamps_ns)) == 25
    assert report(source)["topics"]["/joint_states"]["rate_hz"] == pytest.approx(25)
    assert report(source)["topics"]["/arm_controller/joint_trajectory"]["rate_hz"] == pytest.approx(30)
    assert report(source)["features"]["observation.state"]["repeated_ticks"] == 5


def test_ticks_before_the_first_of_every_feature_are_skipped(tmp_path):
    sent = [*simple(10), *(pose(START + i * 50 * MS + 1, i) for i in range(3, 10))]
    source = open_source(write_bag(tmp_path / "bag", sent), make_contract(STATE, CUBE), task="t")
    assert first_joint(source) == [4, 5, 6, 7, 8, 9]
    assert source.episode(0).frames["observation.cube"][:, 0].tolist() == [3, 4, 5, 6, 7, 8]
    assert report(source)["skipped_ticks"] == 4


def with_a_gap() -> list[Sent]:
    """Commands and joints at 20 Hz; the cube at 20 Hz but for 250 and 300 and 350 ms."""
    return [*simple(12), *(pose(START + i * 50 * MS, i) for i in range(12) if i not in (5, 6, 7))]


@pytest.mark.parametrize(
    ("align", "frames", "cubes", "stale"),
    [
        ("hold", list(range(12)), [0, 1, 2, 3, 4, 4, 4, 4, 8, 9, 10, 11], 1),
        ("asof", [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11], [0, 1, 2, 3, 4, 4, 4, 8, 9, 10, 11], 0),
        ("drop", [0, 1, 2, 3, 4, 8, 9, 10, 11], [0, 1, 2, 3, 4, 8, 9, 10, 11], 0),
        ({"observation.cube": "drop"}, [0, 1, 2, 3, 4, 8, 9, 10, 11], [0, 1, 2, 3, 4, 8, 9, 10, 11], 0),
    ],
)
def test_what_is_late_is_held_and_counted_or_left_out(tmp_path, align, frames, cubes, stale):
    path = write_bag(tmp_path / "bag", with_a_gap())
    source = open_source(path, make_contract(STATE, CUBE), task="t", align=align, tolerance_s=0.1)
    episode = source.episode(0)
    assert first_joint(source) == frames
    assert episode.frames["observation.cube"][:, 0].tolist() == cubes
    assert episode.stamps_ns.tolist() == [START + i * 50 * MS for i in frames]
    cube = report(source)["features"]["observation.cube"]
    assert cube["stale_ticks"] == stale
    assert report(source)["left_out_ticks"] == 12 - len(frames) == cube["missing_ticks"]
    topic = report(source)["topics"]["/objects/cube/pose"]
    assert (topic["gaps"], topic["longest_gap_s"]) == (1, pytest.approx(0.2))


def test_duplicates_and_stamps_that_go_back_are_counted_and_not_used(tmp_path):
    sent = simple(6)
    sent.insert(5, joints(START + 100 * MS, (77, 0), received_ns=START + 101 * MS))  # again the stamp of tick 2
    sent.insert(9, joints(START + 10 * MS, (78, 0), received_ns=START + 160 * MS))  # behind
    source = open_source(write_bag(tmp_path / "bag", sent), make_contract(), task="t")
    assert first_joint(source) == [0, 1, 2, 3, 4, 5]
    topic = report(source)["topics"]["/joint_states"]
    assert (topic["duplicates"], topic["backwards"]) == (1, 1)
    assert report(source)["features"]["observation.state"]["not_used"] == {"duplicate": 1, "out_of_order": 1}


def test_messages_that_cannot_be_used_are_counted_by_cause_as_the_node_counts_them(tmp_path):
    sent = simple(6)
    sent[2] = joints(START + 50 * MS, (5,), ("gripper",))
    sent[4] = joints(START + 100 * MS, (np.nan, 0))
    source = open_source(write_bag(tmp_path / "bag", sent), make_contract(), task="t")
    assert first_joint(source) == [0, 0, 0, 3, 4, 5]
    assert report(source)["features"]["observation.state"]["not_used"] == {"missing_joint": 1, "nonfinite": 1}
    nothing = [joints(START, (5,), ("gripper",)), command(START, (1, 2))]
    with pytest.raises(
        DatasetError, match=r"no usable message .* \(1 missing_joint\)\. A JointState lacks shoulder, elbow"
    ):
        open_source(write_bag(tmp_path / "none", nothing), make_contract(), task="t")


def test_a_clock_that_is_reset_begins_the_episode_anew(tmp_path):
    """A simulation is restarted: stamps go from 10.2 s back to 1 s, the recorder's clock goes on."""
    sent = []
    for i in range(5):
        late = START + i * 50 * MS
        sent.append(joints(10_000 * MS + i * 50 * MS, (50 + i, 0), received_ns=late))
        sent.append(command(10_000 * MS + i * 50 * MS, (150 + i, 0), received_ns=late))
    for i in range(7):
        late = START + (i + 5) * 50 * MS
        sent.append(joints(1_000 * MS + i * 50 * MS, (i, 0), received_ns=late))
        sent.append(command(1_000 * MS + i * 50 * MS, (100 + i, 0), received_ns=late))
    source = open_source(write_bag(tmp_path / "bag", sent), make_contract(), task="t")
    assert first_joint(source) == list(range(7))
    assert source.episode(0).frames["action"][:, 0].tolist() == [100 + i for i in range(7)]
    assert source.episode(0).stamps_ns[0] == 1_000 * MS
    assert report(source)["features"]["action"]["not_used"] == {"before_reset": 5}
    whole = open_source(tmp_path / "bag", make_contract(), task="t", time="receive")
    assert first_joint(whole) == [50, 51, 52, 53, 54, 0, 1, 2, 3, 4, 5, 6]


def test_a_stamp_in_the_future_is_skew_up_to_a_second_and_beyond_it_unusable(tmp_path):
    def recording(ahead_ms: int) -> list[Sent]:
        return [
            each._replace(received_ns=each.received_ns - ahead_ms * MS) if i == 8 else each
            for i, each in enumerate(simple(8))
        ]

    near = open_source(write_bag(tmp_path / "near", recording(900)), make_contract(), task="t")
    # Received before the others it is first of its topic, and those that are behind its stamp are out of order.
    assert report(near)["features"]["observation.state"]["not_used"] == {"out_of_order": 4}
    assert report(near)["topics"]["/joint_states"]["receipt_minus_stamp_s"]["min"] == pytest.approx(-0.9)

    sent = simple(8)
    sent[8] = joints(START + 10_000 * MS, (99, 0), received_ns=START + 200 * MS)
    far = open_source(write_bag(tmp_path / "far", sent), make_contract(), task="t")
    # What was before is not served any more either, so tick 4 has no value.
    assert first_joint(far) == [0, 1, 2, 3, 5, 6, 7]
    assert report(far)["features"]["observation.state"]["not_used"] == {"future": 1}
    assert report(far)["left_out_ticks"] == 1


def test_clocks_that_do_not_agree_are_refused_and_aligned_by_receipt(tmp_path):
    sent = []
    for i in range(20):
        sent.append(joints(i * 50 * MS + 5_000 * MS, (i, 0), received_ns=START + i * 50 * MS))
        sent.append(command(START + i * 50 * MS, (i, 0)))
    path = write_bag(tmp_path / "bag", sent)
    with pytest.raises(DatasetError, match="their clocks do not agree; time=receive"):
        open_source(path, make_contract(), task="t")
    assert first_joint(open_source(path, make_contract(), task="t", time="receive")) == list(range(20))


def test_without_a_stamp_the_time_of_receipt_is_used_and_counted(tmp_path):
    sent = [joints(0, (i, 0), received_ns=START + i * 50 * MS) for i in range(4)]
    sent += [command(0, (i, 0), received_ns=START + i * 50 * MS) for i in range(4)]
    source = open_source(write_bag(tmp_path / "bag", sent), make_contract(), task="t")
    assert first_joint(source) == [0, 1, 2, 3]
    assert report(source)["topics"]["/joint_states"]["without_stamp"] == 4


def test_a_pose_that_is_latched_once_serves_the_whole_episode(tmp_path):
    sent = [pose(START - 60_000 * MS, 4), *simple(20)]
    source = open_source(write_bag(tmp_path / "bag", sent), make_contract(STATE, CUBE), task="t")
    assert source.episode(0).frames["observation.cube"][:, 0].tolist() == [4] * 20
    assert report(source)["features"]["observation.cube"]["stale_ticks"] == 20


def test_stamps_over_years_take_no_memory(tmp_path):
    sent = [*simple(3), joints(START + 10**17, (9, 0), received_ns=START + 10**17)]
    with pytest.raises(DatasetError, match=r"has stamps over 100000000 s, more than 10000000 ticks"):
        open_source(write_bag(tmp_path / "bag", sent), make_contract(rate=1), task="t")


def test_alignment_is_a_search_from_the_front(tmp_path):
    """Every rule against the obvious loop, on random streams."""
    random = np.random.default_rng(0)
    period_ns, tolerance_ns = 50.0, 70.0
    for _ in range(50):
        stamps = np.unique(random.integers(0, 2000, 30))
        track = alignment.make_track(stamps, stamps)
        ticks = alignment.ticks_between(7, int(stamps[0]), 2000, 50e-9)
        assert ticks.tolist() == [t for t in range(7 - 5000, 7000, 50) if stamps[0] <= t <= 2000]
        for policy in ("hold", "asof", "drop"):
            for tick, place in zip(ticks, alignment.pick(track, ticks, policy, period_ns, tolerance_ns), strict=True):
                last = [i for i, stamp in enumerate(stamps) if stamp <= tick][-1]
                age = tick - stamps[last]
                gone = (policy == "asof" and age > tolerance_ns) or (policy == "drop" and age >= period_ns)
                assert place == (alignment.NONE if gone else last)


# -- the same as the policy node ------------------------------------------------------------------


@pytest.fixture(scope="module")
def node_class() -> Any:
    """The stand-in for a node that the tests of RosRobot use."""
    pytest.importorskip("rclpy")
    path = Path(__file__).parents[2] / "ros_nodes" / "test_ros_robot.py"
    spec = importlib.util.spec_from_file_location("ros_robot_tests", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FakeNode


@pytest.mark.parametrize("joint_period_ms", [9, 41, 83])
def test_live_alignment_gives_the_node_s_own_samples(tmp_path, node_class, joint_period_ms):
    """The same messages through RosRobot, taken at every tick, and through a bag: equal to the bit, missing where it misses."""
    from praxon.robots.panda import PANDA
    from praxon.ros_nodes.convert import joints_to_message, pose_to_message
    from praxon.ros_nodes.ros_robot import RosRobot

    names = PANDA.joint_names
    state = Feature("observation.state", "joint_position", (len(names),), names)
    action = Feature("action", "joint_position", (len(names),), names)
    contract = PolicyContract(
        "panda", "lift", (state, CUBE), action, Chunk(control_period_s=0.05), max_observation_age_s=0.06
    )
    random = np.random.default_rng(joint_period_ms)
    events: list[tuple[int, str, int]] = []
    for kind, period_ms in (("joints", joint_period_ms), ("pose", 33)):
        times_ms = np.cumsum(random.uniform(0.5, 1.5, 3000 // period_ms) * period_ms)
        events += [(START + round(ms * MS), kind, i) for i, ms in enumerate(times_ms)]
    events.sort()
    # No pose between 1.0 and 1.4 s.
    events = [each for each in events if each[1] == "joints" or not 1000 <= (each[0] - START) / MS <= 1400]
    ticks = [START + 200 * MS + i * 50 * MS for i in range(40)]

    sent = [command(tick, np.full(len(names), i), names) for i, tick in enumerate(ticks)]
    for at_ns, kind, i in events:
        if at_ns <= ticks[-1]:
            sent.append(joints(at_ns, np.arange(len(names)) + i, names) if kind == "joints" else pose(at_ns, i))
    sent.sort(key=lambda each: each.received_ns)
    source = open_source(write_bag(tmp_path / "bag", sent), contract, task="t", align="live")
    episode = source.episode(0)

    node = node_class()
    robot = RosRobot(node, PANDA, contract, lookahead=1)
    seen = []
    waiting = iter(events)
    event = next(waiting)
    for i, tick in enumerate(ticks):
        while event[0] <= tick:
            at_ns, kind, number = event
            if kind == "joints":
                message = joints_to_message(names, np.arange(len(names)) + number, at_ns)
                node.topics["joint_states"].waiting.append(message)
            else:
                message = pose_to_message(np.array([number, 2, 3, -np.sqrt(0.5), 0, 0, np.sqrt(0.5)]), "base", at_ns)
                node.topics["objects/cube/pose"].waiting.append(message)
            event = next(waiting)
        node.clock.nanoseconds = tick
        observation = robot.observe()
        if observation is not None:
            seen.append((i, observation))
    assert 20 < len(seen) < len(ticks)
    assert episode.frames["action"][:, 0].tolist() == [i for i, _ in seen]
    assert episode.stamps_ns.tolist() == [observation.stamp_ns for _, observation in seen]
    for name in ("observation.state", "observation.cube"):
        online = np.stack([observation.features[name] for _, observation in seen])
        assert episode.frames[name].tobytes() == online.tobytes()


# -- pictures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono8"])
def test_encodings_of_pictures(tmp_path, encoding):
    sent = [*simple(5), *(image(START + i * 50 * MS, 40 * i, encoding=encoding) for i in range(5))]
    frames = open_source(write_bag(tmp_path / "bag", sent), make_contract(STATE, FRONT), task="t").episode(0).frames
    for i in range(5):
        expected = picture(40 * i) if encoding != "mono8" else np.broadcast_to(np.uint8(40 * i), SIZE)
        assert np.array_equal(frames[FRONT.name][i : i + 1][0], expected)


@pytest.mark.parametrize(("coding", "error"), [(".png", 0), (".jpg", 3)])
def test_compressed_pictures(tmp_path, coding, error):
    sent = [*simple(5), *(compressed(START + i * 50 * MS, 40 * i, coding=coding) for i in range(5))]
    frames = open_source(write_bag(tmp_path / "bag", sent), make_contract(STATE, FRONT), task="t").episode(0).frames
    pictures = frames[FRONT.name][:]
    for i in range(5):
        assert np.abs(pictures[i].astype(int) - picture(40 * i)).max() <= error


def test_two_cameras_of_different_rates_and_transports(tmp_path):
    sent = simple(40)
    sent += [image(START + i * 50 * MS, i, "front") for i in range(40)]
    sent += [compressed(START + i * 100 * MS, i, "wrist") for i in range(20)]
    sent += [compressed(START + i * 50 * MS, 200, "front") for i in range(40)]  # raw is preferred where both are there
    sent.sort(key=lambda each: each.received_ns)
    source = open_source(write_bag(tmp_path / "bag", sent), make_contract(STATE, FRONT, WRIST), task="t")
    frames = source.episode(0).frames
    assert [frames[name].shape for name in (FRONT.name, WRIST.name)] == [(40, *SIZE)] * 2
    assert frames[FRONT.name][:][:, 0, 0, 0].tolist() == list(range(40))
    assert frames[WRIST.name][5:15][:, 0, 0, 0].tolist() == [i // 2 for i in range(5, 15)]
    assert frames[WRIST.name][38:400].shape == (2, *SIZE)
    assert frames[WRIST.name][4:4].shape == (0, *SIZE)
    assert np.array_equal(frames[FRONT.name][-1], picture(39))


def test_pictures_stay_in_the_bag_until_they_are_sliced(tmp_path, monkeypatch):
    sent = [*simple(40), *(image(START + i * 50 * MS, i) for i in range(40))]
    source = open_source(write_bag(tmp_path / "bag", sent), make_contract(STATE, FRONT), task="t")
    decoded = []
    from praxon.datasets.formats import _bag_pictures

    real = _bag_pictures._DECODE["sensor_msgs/msg/Image"]
    monkeypatch.setitem(
        _bag_pictures._DECODE, "sensor_msgs/msg/Image", lambda *given: decoded.append(1) or real(*given)
    )
    frames = source.episode(0).frames[FRONT.name]
    assert decoded == []
    assert frames[10:14][:, 0, 0, 0].tolist() == [10, 11, 12, 13]
    assert len(decoded) == 4


def test_pictures_of_another_size_or_coding_are_not_used(tmp_path):
    tall = Feature(FRONT.name, "image", (8, 6, 3), dtype="uint8", source="front")
    path = write_bag(tmp_path / "bag", [*simple(3), image(START, 1)])
    with pytest.raises(DatasetError, match=r"\(1 malformed\)\. A picture is 6 x 8; 8 x 6 is expected"):
        open_source(path, make_contract(STATE, tall), task="t")
    huge = compressed(START, 1)
    huge.message.data[16:24] = np.frombuffer(struct.pack(">II", 60_000, 60_000), np.uint8)
    with pytest.raises(DatasetError, match="A picture is 60000 x 60000"):
        open_source(write_bag(tmp_path / "huge", [*simple(3), huge]), make_contract(STATE, FRONT), task="t")
    # A part that claims more bytes than there are is refused before a decoder takes the memory for them.
    claims = compressed(START, 1)
    claims.message.data[33:37] = 255
    with pytest.raises(DatasetError, match="no whole JPEG or PNG"):
        open_source(write_bag(tmp_path / "claims", [*simple(3), claims]), make_contract(STATE, FRONT), task="t")
    other = compressed(START, 1, coding=".bmp")
    with pytest.raises(DatasetError, match="no whole JPEG or PNG"):
        open_source(write_bag(tmp_path / "bmp", [*simple(3), other]), make_contract(STATE, FRONT), task="t")


# -- round trip -----------------------------------------------------------------------------------


def test_an_episode_goes_through_a_bag_and_lerobot_and_comes_back(tmp_path):
    size = (32, 48, 3)
    front = Feature(FRONT.name, "image", size, dtype="uint8", source="front")
    contract = make_contract(STATE, CUBE, front)
    lengths = (12, 17)
    for e, length in enumerate(lengths):
        sent = []
        for i in range(length):
            stamp_ns, number = START + (1000 * e + 50 * i) * MS, 100 * e + i
            sent += [joints(stamp_ns, (number, -number)), command(stamp_ns, (1000 + number, 0)), pose(stamp_ns, number)]
            data = np.full(size, 20 + 10 * i, np.uint8).reshape(-1)
            message = T["sensor_msgs/msg/Image"](header(stamp_ns), 32, 48, "rgb8", 0, 144, data)
            sent.append(Sent("/cameras/front/image", message, stamp_ns))
        write_bag(tmp_path / "bags" / f"episode_{e}", sent, list(StoragePlugin)[e], task="Lift it.")
    source = open_source(tmp_path / "bags", contract)
    episodes = [source.episode(i) for i in range(len(source))]
    with LeRobotWriter(
        tmp_path / "set", source.contract, "Lift it.", source.robot_type, metadata=source.metadata
    ) as writer:
        for episode in episodes:
            writer.add_episode(episode.frames, stamps_ns=episode.stamps_ns, task=episode.task)
    dataset = LeRobotDataset(tmp_path / "set")
    assert dataset.episode_lengths.tolist() == list(lengths)
    numbers = np.concatenate([100 * e + np.arange(length) for e, length in enumerate(lengths)])
    assert dataset.columns["observation.state"].tolist() == [[n, -n] for n in numbers]
    assert dataset.columns["action"][:, 0].tolist() == (1000 + numbers).tolist()
    assert dataset.columns["observation.cube"][:, 0].tolist() == numbers.tolist()
    assert dataset.columns["stamp_ns"].reshape(-1).tolist() == [
        START + (1000 * e + 50 * i) * MS for e, length in enumerate(lengths) for i in range(length)
    ]
    pictures = dataset.frames(FRONT.name, np.arange(dataset.num_frames))
    brightness = [20 + 10 * i for length in lengths for i in range(length)]
    assert np.abs(pictures.mean(axis=(1, 2, 3)) - brightness).max() < 3
    assert [each["frames"] for each in dataset.metadata["bags"]] == list(lengths)


# -- what was cut off -----------------------------------------------------------------------------


def long_recording() -> list[Sent]:
    return simple(200)


@pytest.mark.parametrize("compression", ["NONE", "LZ4", "ZSTD"])
@pytest.mark.parametrize("chunk_size", [1500, 10**6])
def test_a_file_cut_off_anywhere_gives_its_whole_messages(tmp_path, compression, chunk_size):
    whole = write_mcap(
        tmp_path / "a.mcap", long_recording(), compression=CompressionType[compression], chunk_size=chunk_size
    )
    data = whole.read_bytes()
    longest, refused = 0, []
    for end in np.linspace(0, len(data) - 1, 20).astype(int).tolist():
        whole.write_bytes(data[:end])
        try:
            source = open_source(whole, make_contract(), task="t")
        except DatasetError:
            refused.append(end)
            continue
        found = first_joint(source)
        assert found == list(range(len(found)))
        assert len(found) >= longest
        noted = report(source)["recovered"][1:]
        # Of a file that lacks only the last byte nothing is lost.
        assert end == len(data) - 1 if not noted else re.match("a.mcap (ends within a record|has no end)", noted[0])
        longest = len(found)
    assert longest == 200
    # Only what ends before the first command and joints is refused.
    assert len(refused) <= (2 if chunk_size == 1500 else 12)


def test_messages_outside_chunks_and_zeros_at_the_end(tmp_path):
    path = tmp_path / "a.mcap"
    with path.open("wb") as file:
        writer = PlainMcapWriter(file, use_chunking=False, enable_data_crcs=True)
        writer.start(profile="")
        channels = {}
        for topic, message, received_ns in simple(20):
            kind = message.__msgtype__
            if topic not in channels:
                schema = writer.register_schema(
                    kind.replace("/msg/", "/"), "ros2msg", STORE.generate_msgdef(kind, ros_version=2)[0].encode()
                )
                channels[topic] = writer.register_channel(topic, "cdr", schema)
            writer.add_message(channels[topic], received_ns, bytes(STORE.serialize_cdr(message, kind)), received_ns)
        writer.finish()
    data = path.read_bytes()
    assert first_joint(open_source(path, make_contract(), task="t")) == list(range(20))
    path.write_bytes(data[: len(data) // 2] + bytes(1000))
    source = open_source(path, make_contract(), task="t")
    assert 5 < len(first_joint(source)) < 15
    assert "a.mcap ends within a record" in report(source)["recovered"][1]
    flipped = bytearray(data)
    flipped[data.rindex(struct.pack("<d", -119.0))] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(DatasetError, match="checksum of its messages is wrong"):
        open_source(path, make_contract(), task="t")


def test_a_database_cut_off_gives_a_prefix_or_a_sentence(tmp_path):
    folder = write_bag(tmp_path / "bag", long_recording(), StoragePlugin.SQLITE3, task="t")
    (folder / "metadata.yaml").unlink()
    path = folder / "bag.db3"
    data = path.read_bytes()
    recovered = 0
    for end in np.linspace(0, len(data) - 1, 20).astype(int).tolist():
        path.write_bytes(data[:end])
        try:
            source = open_source(folder, make_contract(), task="t")
        except DatasetError:
            continue
        found = first_joint(source)
        assert found == list(range(len(found)))
        recovered += 0 < len(found) < 200
    assert recovered > 3


def test_the_write_ahead_log_of_a_killed_recorder_is_read(tmp_path):
    path = write_bag(tmp_path / "bag", simple(10), StoragePlugin.SQLITE3, task="t")
    connection = sqlite3.connect(path / "bag.db3")
    rows = connection.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY id").fetchall()
    connection.execute("DELETE FROM messages WHERE id > 8")
    connection.commit()
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.executemany("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)", rows[8:])
    connection.commit()
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("bag.db3", "bag.db3-wal"):
        shutil.copy(path / name, killed / name.replace("bag", "killed"))
    connection.close()
    before = {each.name: each.read_bytes() for each in killed.iterdir()}
    assert first_joint(open_source(killed, make_contract(), task="t")) == list(range(10))
    assert {each.name: each.read_bytes() for each in killed.iterdir()} == before


def test_a_bag_with_fewer_messages_than_promised_says_so(tmp_path):
    path = write_bag(tmp_path / "bag", long_recording(), task="t")
    file = path / "bag.mcap"
    file.write_bytes(file.read_bytes()[:20_000])
    source = open_source(path, make_contract())
    assert 0 < len(first_joint(source)) < 200
    assert [re.sub(r"\b\d+", "#", each) for each in report(source)["recovered"]] == [
        "bag.mcap ends within a record at byte #",
        "metadata.yaml promises # messages",
    ]


# -- what is no recording -------------------------------------------------------------------------


def test_what_is_no_recording_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.mcap").write_bytes(b"no recording at all")
    (tmp_path / "b.db3").write_bytes(b"no recording at all")
    (tmp_path / "c.txt").write_text("no")
    database = tmp_path / "d.db3"
    sqlite3.connect(database).execute("CREATE TABLE other (x)").connection.commit()
    view = tmp_path / "e.db3"
    sqlite3.connect(view).executescript(
        "CREATE TABLE topics (id, name, type, serialization_format);"
        "CREATE VIEW messages AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT * FROM n;"
    )
    for name, sentence in (
        ("nothing", "There is no recording at"),
        ("empty", "holds no recording: no metadata.yaml"),
        ("a.mcap", "does not begin as an MCAP file does"),
        ("b.db3", "does not begin as an SQLite file does"),
        ("c.txt", "is no recording; those are files .mcap and .db3"),
        ("d.db3", "needs the tables messages and topics, and has other"),
        ("e.db3", "needs the tables messages and topics, and has topics"),
    ):
        with pytest.raises(DatasetError, match=re.escape(sentence)):
            open_source(tmp_path / name, make_contract(), task="t")
    assert [recognises(tmp_path / name) for name in ("nothing", "empty", "a.mcap", "c.txt", "d.db3")] == [
        False,
        False,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: "a: [", "holds metadata that cannot be read as YAML"),
        (lambda text: "a: 1", "holds no rosbag2_bagfile_information"),
        (lambda text: text.replace("bag.mcap", "../../secret.mcap"), "names files that are not there: secret.mcap"),
        (
            lambda text: text.replace("bag.mcap", "bag.mcap.zstd"),
            "names bag.mcap.zstd; files .mcap and .db3 can be read",
        ),
        (lambda text: re.sub(r"relative_file_paths:\n.*\n", "relative_file_paths: []\n", text), "names no files"),
        (lambda text: "[" * 3000, "holds metadata that cannot be read as YAML"),
    ],
)
def test_metadata_that_leads_nowhere(tmp_path, change: Callable[[str], str], sentence):
    path = write_bag(tmp_path / "bag", simple(3), task="t")
    (tmp_path.parent / "secret.mcap").write_bytes((path / "bag.mcap").read_bytes())
    metadata = path / "metadata.yaml"
    metadata.write_text(change(metadata.read_text()))
    with pytest.raises(DatasetError, match=re.escape(sentence)):
        open_source(path, make_contract())


def chunk_file(size: int, compression: str, content: bytes) -> bytes:
    """An MCAP file of one chunk that claims to hold ``size`` bytes."""

    def record(opcode: int, body: bytes) -> bytes:
        return struct.pack("<BQ", opcode, len(body)) + body

    name = compression.encode()
    chunk = struct.pack("<QQQI", 0, 0, size, 0) + struct.pack("<I", len(name)) + name
    chunk += struct.pack("<Q", len(content)) + content
    magic = b"\x89MCAP0\r\n"
    return magic + record(1, struct.pack("<II", 0, 0)) + record(6, chunk) + record(2, bytes(20)) + magic


def test_chunks_that_claim_or_hold_absurd_sizes_take_no_memory(tmp_path):
    import lz4.frame
    import zstandard

    zeros = bytes(4 * 2**20)
    bombs = {"zstd": zstandard.compress(zeros), "lz4": lz4.frame.compress(zeros)}
    path = tmp_path / "a.mcap"
    for compression, content in bombs.items():
        path.write_bytes(chunk_file(2**60, compression, content))
        with pytest.raises(DatasetError, match=rf"claims to hold {2**60} bytes; more than {MAX_BYTES} are not read"):
            open_source(path, make_contract(), task="t")
        path.write_bytes(chunk_file(1000, compression, content))
        with pytest.raises(DatasetError, match="holds more bytes where it claims 1000"):
            open_source(path, make_contract(), task="t")
        path.write_bytes(chunk_file(1000, compression, b"not compressed at all"))
        with pytest.raises(DatasetError, match="cannot be decompressed|where it claims 1000"):
            open_source(path, make_contract(), task="t")
        two_frames = bombs[compression] * 2
        assert expand(two_frames, compression, 2 * len(zeros), "x") == zeros * 2
    path.write_bytes(chunk_file(1000, "snappy", b""))
    with pytest.raises(DatasetError, match="compressed with 'snappy'; lz4 and zstd can be read"):
        open_source(path, make_contract(), task="t")


def test_a_definition_in_the_recording_must_be_the_one_of_ros(tmp_path):
    path = write_mcap(tmp_path / "a.mcap", simple(3), compression=CompressionType.NONE, enable_crcs=False)
    data = path.read_bytes()
    wrong = data.replace(b"float64[] position", b"float32[] position")
    path.write_bytes(wrong)
    with pytest.raises(
        DatasetError, match=r"defines sensor_msgs/msg/JointState of /joint_states otherwise than ROS 2 does"
    ):
        open_source(path, make_contract(), task="t")
    path.write_bytes(data.replace(b"float64[] position", b"float64[[ position"))
    with pytest.raises(DatasetError, match="definition of sensor_msgs/msg/JointState in the recording cannot be read"):
        open_source(path, make_contract(), task="t")


@pytest.mark.parametrize("name", ["mcap", "db3"])
def test_flipped_bytes_give_a_sentence_or_a_prefix(tmp_path, name):
    """The library's MCAP files carry checksums, so what is read must be right; SQLite has none, so it must only be sound."""
    sent = [*simple(40), *(image(START + i * 50 * MS, i) for i in range(40))]
    sent.sort(key=lambda each: each.received_ns)
    if name == "mcap":
        path = write_mcap(tmp_path / "a.mcap", sent, chunk_size=4000, compression=CompressionType.NONE)
    else:
        path = write_bag(tmp_path / "bag", sent, StoragePlugin.SQLITE3) / "bag.db3"
    data = path.read_bytes()
    random = np.random.default_rng(3)
    sentences = []
    for place in random.integers(0, len(data), 150).tolist():
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(random.integers(8))
        path.write_bytes(flipped)
        try:
            source = open_source(path, make_contract(STATE, FRONT), task="t")
            frames = source.episode(0).frames
            pictures = frames[FRONT.name][:]
        except DatasetError as error:
            sentences.append(str(error))
            continue
        assert len(frames["observation.state"]) == len(frames["action"]) == len(pictures) > 0
        if name == "mcap":
            length = len(pictures)
            assert first_joint(source) == list(range(length))
            assert pictures[:, 0, 0, 0].tolist() == list(range(length))
    assert sentences
    assert not any("\n" in each for each in sentences)


def test_nothing_is_written_beside_a_recording(tmp_path):
    for storage in (StoragePlugin.MCAP, StoragePlugin.SQLITE3):
        path = write_bag(tmp_path / storage.name, simple(5), storage, task="t")
        before = {each.name: each.read_bytes() for each in path.iterdir()}
        open_source(path, make_contract()).episode(0)
        assert {each.name: each.read_bytes() for each in path.iterdir()} == before


def test_places_lead_back_to_the_bytes(tmp_path):
    file = McapFile(write_mcap(tmp_path / "a.mcap", long_recording(), chunk_size=3000))
    scanned = [(bytes(each.data), each.place) for each in file.scan()]
    assert len(scanned) == 400
    for data, place in scanned[::-7]:
        assert file.read(place) == data
