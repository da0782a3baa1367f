"""Every fault that a dataset may have, planted by hand: each is found under its own name, and nothing else is."""

import ast
import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import praxon
from praxon.cli import run
from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets.check import check_dataset
from praxon.datasets.checks.finding import MEANINGS
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.datasets.packing import pack
from praxon.errors import DatasetError

FPS, LENGTHS = 10, (30, 36, 42)
JOINTS = ("shoulder", "elbow", "gripper")
FRONT = "observation.images.front"
LIMITS = {"observation.state": (np.array([-2.0, -2.0, 0.0]), np.array([2.0, 2.0, 1.0]))}
REWARD = Feature("next.reward", "vector", (1,))


def contract(fps=FPS, size=(32, 48)):
    return PolicyContract(
        "arm",
        "wave",
        (
            Feature("observation.state", "joint_position", (3,), JOINTS),
            Feature(FRONT, "image", (*size, 3), dtype="uint8", source="front"),
        ),
        Feature("action", "joint_position", (3,), JOINTS),
        Chunk(control_period_s=1 / fps),
    )


def frames(episode, length):
    """A smooth motion, a gripper that switches, and a bright spot that goes where the shoulder goes."""
    t = np.arange(length) / FPS
    gripper = (t % 2 < 1).astype(np.float32)
    action = np.stack([np.sin(t + episode), np.cos(0.7 * t + episode), gripper], 1).astype(np.float32)
    state = (action * 0.99).astype(np.float32)
    y, x = np.mgrid[:32, :48]
    distance = (x - 24 - 18 * state[:, 0, None, None]) ** 2 + (y - 16 - 8 * state[:, 1, None, None]) ** 2
    pictures = np.repeat((60 + 140 * np.exp(-distance / 60)).astype(np.uint8)[..., None], 3, axis=3)
    return {"observation.state": state, FRONT: pictures, "action": action, "next.reward": t[:, None].astype(np.float32)}


def build(root, alter=None, stamps=None, fps=FPS, codec="h264", task="wave"):
    """A dataset whose frames ``alter(episode, frames)`` may change; ``stamps(length)`` are its capture times."""
    with LeRobotWriter(root, contract(fps), task, "arm", extra_features=[REWARD], codec=codec) as writer:
        for episode, length in enumerate(LENGTHS):
            data = frames(episode, length)
            if alter is not None:
                alter(episode, data)
            writer.add_episode(data, None if stamps is None else stamps(length))
    return root


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return build(tmp_path_factory.mktemp("clean") / "data")


@pytest.fixture(scope="module")
def packed(clean, tmp_path_factory):
    """The same episodes in one data file and one video, as LeRobot writes them."""
    out = tmp_path_factory.mktemp("packed") / "data"
    pack(LeRobotDataset(clean), out)
    return out


@pytest.fixture(scope="module")
def png(tmp_path_factory):
    return build(tmp_path_factory.mktemp("png") / "data", codec="png")


@pytest.fixture(scope="module")
def old(clean, tmp_path_factory):
    """The same episodes in version 2.1, without our additions."""
    root = tmp_path_factory.mktemp("old") / "data"
    (root / "meta").mkdir(parents=True)
    dataset = LeRobotDataset(clean)
    lines = {"episodes": [], "episodes_stats": [], "tasks": [{"task_index": 0, "task": "wave"}]}
    stats = json.loads((clean / "meta/stats.json").read_text())
    for episode, length in enumerate(LENGTHS):
        for kind, new in (("data", "data/chunk-000"), (f"videos/{FRONT}", f"videos/chunk-000/{FRONT}")):
            (root / new).mkdir(parents=True, exist_ok=True)
            (source,) = (clean / kind / "chunk-000").glob(f"file-{episode:03d}.*")
            shutil.copy(source, root / new / f"episode_{episode:06d}{source.suffix}")
        lines["episodes"].append({"episode_index": episode, "tasks": ["wave"], "length": length})
        where = dataset.episode_slice(episode)
        own = {FRONT: stats[FRONT]}
        for name in ("observation.state", "action", "next.reward", "index"):
            values = dataset.columns[name][where].astype(float).reshape(length, -1)
            own[name] = {key: getattr(values, key)(0).tolist() for key in ("min", "max", "mean", "std")} | {
                "count": [length]
            }
        lines["episodes_stats"].append({"episode_index": episode, "stats": own})
    for name, rows in lines.items():
        (root / f"meta/{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    info = json.loads((clean / "meta/info.json").read_text())
    info |= {
        "codebase_version": "v2.1",
        "total_videos": 3,
        "total_chunks": 1,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }
    (root / "meta/info.json").write_text(json.dumps(info))
    return root


def names(root, **settings):
    return {finding.name for finding in check_dataset(root, **settings)}


def told(root, **settings):
    return "\n".join(f"{each.name}: {each.sentence}" for each in check_dataset(root, **settings))


@pytest.mark.parametrize("kind", ["clean", "packed", "png", "old"])
def test_a_clean_dataset_has_no_finding(kind, request):
    root = request.getfixturevalue(kind)
    assert told(root, limits=LIMITS) == ""
    assert LeRobotDataset(root).num_frames == sum(LENGTHS)


# -- faults planted in a finished dataset ---------------------------------------------------------------

DATA = "data/chunk-000/file-001.parquet"
TABLE = "meta/episodes/chunk-000/file-001.parquet"
VIDEO = f"videos/{FRONT}/chunk-000/file-001.mp4"


def info(root, **changes):
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def feature_info(root, **changes):
    said = json.loads((root / "meta/info.json").read_text())
    said["features"][FRONT]["info"] |= {f"video.{key}": value for key, value in changes.items()}
    info(root, features=said["features"])


def rewrite(path, column, change):
    """Replace a column of a Parquet file by ``change(list of values)``."""
    table = pq.ParquetFile(path).read()
    place = table.schema.get_field_index(column)
    values = change(table[column].to_pylist())
    pq.write_table(
        table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type)), path
    )


def at(index, value):
    """A change of one value."""

    def change(values):
        return [value if i == index % len(values) else old for i, old in enumerate(values)]

    return change


def truncate(path, share):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def stats(root, feature, key, value):
    path = root / "meta/stats.json"
    stored = json.loads(path.read_text())
    stored[feature][key] = value
    path.write_text(json.dumps(stored))


def film(path, count, fps=FPS, size=(32, 48), codec="libx264", pixels="yuv420p"):
    """A video of its own, moving."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=Fraction(fps), options={"g": "2"})
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        for i in range(count):
            picture = np.full((*size, 3), 60, np.uint8)
            picture[:, i % 40 : i % 40 + 8] = 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def bomb(path):
    """A data file of some kilobytes that claims 64 million frames."""
    zeros = pa.table({"index": np.zeros(64_000_000, np.int8)})
    pq.write_table(
        zeros, path, row_group_size=len(zeros), compression="brotli", use_dictionary=False, data_page_size=2**26
    )


def swap(first, second):
    other = first.with_suffix(".other")
    first.rename(other)
    second.rename(first)
    other.rename(second)


def cast(path):
    table = pq.ParquetFile(path).read()
    place = table.schema.get_field_index("next.reward")
    pq.write_table(table.set_column(place, "next.reward", table["next.reward"].cast(pa.float64())), path)


PLANTED = {
    "info_missing": lambda root: (root / "meta/info.json").unlink(),
    "info_unreadable": lambda root: truncate(root / "meta/info.json", 0.5),
    "version": lambda root: info(root, codebase_version="v1.6"),
    "info_entries": lambda root: info(root, fps="ten"),
    "template": lambda root: info(root, data_path="../{chunk_index}/{file_index}.parquet"),
    "contract": lambda root: (root / "meta/contract.yaml").write_text(
        (root / "meta/contract.yaml").read_text().replace("elbow", "knee")
    ),
    "contract_missing": lambda root: (root / "meta/contract.yaml").unlink(),
    "tasks": lambda root: rewrite(root / "meta/tasks.parquet", "task_index", at(0, 1)),
    "task_count": lambda root: info(root, total_tasks=2),
    "episode_count": lambda root: info(root, total_episodes=2),
    "frame_count": lambda root: info(root, total_frames=107),
    "splits": lambda root: info(root, splits={"train": "0:2", "test": "2:4"}),
    "episode_table": lambda root: truncate(root / TABLE, 0.7),
    "episode_order": lambda root: rewrite(root / TABLE, "episode_index", at(0, 5)),
    "episode_range": lambda root: rewrite(root / TABLE, "dataset_from_index", at(0, 29)),
    "data_missing": lambda root: (root / DATA).unlink(),
    "data_unreadable": lambda root: truncate(root / DATA, 0.7),
    "implausible_size": lambda root: bomb(root / DATA),
    "schema": lambda root: cast(root / DATA),
    "episode_rows": lambda root: pq.write_table(pq.ParquetFile(root / DATA).read().slice(0, 35), root / DATA),
    "episode_index": lambda root: rewrite(root / DATA, "episode_index", at(7, 2)),
    "frame_index": lambda root: rewrite(root / DATA, "frame_index", at(7, 8)),
    "index": lambda root: rewrite(root / DATA, "index", at(7, 0)),
    "timestamp": lambda root: rewrite(root / DATA, "timestamp", at(7, 0.65)),
    "task_index": lambda root: rewrite(root / DATA, "task_index", at(7, 1)),
    "not_finite": lambda root: rewrite(root / DATA, "action", at(7, [0.0, float("nan"), 0.0])),
    "video_missing": lambda root: (root / VIDEO).unlink(),
    "video_unreadable": lambda root: truncate(root / VIDEO, 0.02),
    "video_truncated": lambda root: truncate(root / VIDEO, 0.8),
    "video_frames": lambda root: film(root / VIDEO, 35),
    "video_fps": lambda root: film(root / VIDEO, 36, fps=12),
    "video_size": lambda root: film(root / VIDEO, 36, size=(32, 64)),
    "video_codec": lambda root: film(root / VIDEO, 36, codec="mpeg4"),
    "video_pixels": lambda root: film(root / VIDEO, 36, pixels="yuv444p"),
    "video_range": lambda root: rewrite(root / TABLE, f"videos/{FRONT}/to_timestamp", at(0, 3.9)),
    "statistics": lambda root: stats(root, "action", "mean", [0.5, 0.0, 0.5]),
    "statistics_missing": lambda root: (root / "meta/stats.json").unlink(),
    "leftover": lambda root: (root / "data/chunk-000/.file-003.parquet.part").write_bytes(b"PAR1"),
    "orphan": lambda root: shutil.copy(root / VIDEO, root / VIDEO.replace("001", "003")),
    "temporary_images": lambda root: shutil.copytree(root / "data", root / f"images/{FRONT}/episode-000003"),
}
"""Each fault of a dataset with one file for each episode, planted in episode 1."""


@pytest.fixture
def copy(clean, tmp_path):
    return Path(shutil.copytree(clean, tmp_path / "data"))


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found_by_its_name_and_nothing_else_is(name, copy):
    PLANTED[name](copy)
    assert names(copy, limits=LIMITS) == {name}, told(copy)


OTHERWISE = {
    "info.json is a list": ("info_unreadable", lambda root: (root / "meta/info.json").write_text("[1]")),
    "info.json is not text": ("info_unreadable", lambda root: (root / "meta/info.json").write_bytes(b"\xff\xfe{}")),
    "no features": ("info_entries", lambda root: info(root, features={})),
    "attribute in a template": ("template", lambda root: info(root, video_path="{video_key.__class__}")),
    "absolute template": ("template", lambda root: info(root, data_path="/tmp/{chunk_index}-{file_index}")),
    "a missing column": (
        "schema",
        lambda root: pq.write_table(pq.ParquetFile(root / DATA).read().drop_columns(["next.reward"]), root / DATA),
    ),
    "data of two episodes swapped": (
        "episode_rows",
        lambda root: swap(root / DATA, root / DATA.replace("001", "002")),
    ),
    "videos of two episodes swapped": (
        "video_frames",
        lambda root: swap(root / VIDEO, root / VIDEO.replace("001", "002")),
    ),
    "labelled codec": ("video_codec", lambda root: feature_info(root, codec="av1")),
    "labelled size": ("video_size", lambda root: feature_info(root, height=64)),
    "an infinity": ("not_finite", lambda root: rewrite(root / DATA, "next.reward", at(0, float("inf")))),
    "count of statistics": ("statistics", lambda root: stats(root, "action", "count", [7])),
    "a quantile": ("statistics", lambda root: stats(root, "action", "q10", [0.9, 0.0, 0.0])),
    "statistics of pictures": ("statistics", lambda root: stats(root, FRONT, "mean", [[[0.9]], [[0.9]], [[0.9]]])),
    "statistics without min": ("statistics", lambda root: stats(root, "action", "min", [])),
    "a repair that was killed": (
        "leftover",
        lambda root: ((root / ".recovered/1").mkdir(parents=True), (root / ".recovered/1/plan.json").write_text("{}")),
    ),
}


@pytest.mark.parametrize("how", OTHERWISE)
def test_other_ways_to_the_same_names(how, copy):
    name, plant = OTHERWISE[how]
    plant(copy)
    assert names(copy, limits=LIMITS) == {name}, told(copy)


def test_no_name_is_without_a_planted_fault():
    here = {
        "rate",
        "stamps_backwards",
        "stamps_duplicate",
        "stamps_gap",
        "video_overlap",
        "video_count",
        "picture_size",
    }
    here |= {"picture_unreadable", "camera_frozen", "camera_black", "constant_feature", "dead_component", "saturated"}
    here |= {"joint_limits", "no_episodes"}
    assert set(PLANTED) | here == set(MEANINGS)


# -- faults of the recording ------------------------------------------------------------------------------


def test_a_dataset_without_episodes_says_so(tmp_path):
    LeRobotWriter(tmp_path / "data", contract(FPS), "wait")
    assert names(tmp_path / "data") >= {"no_episodes"}


def test_a_recording_at_25_labelled_30(tmp_path):
    root = build(tmp_path / "data", stamps=lambda length: np.arange(length) * 40_000_000, fps=30)
    assert names(root) == {"rate"}
    assert "runs at 25 frames per second in episodes 0, 1, 2; fps says 30" in told(root)


def test_a_recording_at_25_labelled_30_without_stamps_by_its_wall_clock_times(copy):
    """As LeRobot's recorders leave it that write the time that has passed."""
    said = json.loads((copy / "meta/info.json").read_text())
    del said["features"]["stamp_ns"], said["features"][FRONT]
    info(copy, fps=30, features=said["features"], video_path=None)
    (copy / "meta/contract.yaml").unlink()
    shutil.rmtree(copy / "videos")
    for episode in range(3):
        path = copy / f"data/chunk-000/file-{episode:03d}.parquet"
        table = pq.ParquetFile(path).read().drop_columns(["stamp_ns"])
        times = pa.array(np.arange(table.num_rows, dtype=np.float32) * np.float32(0.04))
        pq.write_table(table.set_column(table.schema.get_field_index("timestamp"), "timestamp", times), path)
    (copy / "meta/stats.json").unlink()
    assert names(copy) == {"rate", "statistics_missing"}


def test_the_right_rate_is_none_however_much_it_jitters(tmp_path):
    rng = np.random.default_rng(0)

    def stamps(length):
        return (np.arange(length) * 100_000_000 + rng.integers(-15_000_000, 15_000_000, length)).astype(np.int64)

    assert told(build(tmp_path / "data", stamps=stamps)) == ""


def stamps_with(change):
    def stamps(length):
        times = np.arange(length) * 100_000_000 + 1_700_000_000_000_000_000
        change(times)
        return times

    return stamps


def test_gaps_and_duplicates_of_stamps(tmp_path):
    def gap(times):
        times[10:] += 200_000_000

    def repeat(times):
        times[10] = times[9]

    assert names(build(tmp_path / "gap", stamps=stamps_with(gap))) == {"stamps_gap"}
    sentence = told(tmp_path / "gap")
    assert "3 gaps is 0.3 s" in sentence
    assert "before frame 10" in sentence
    assert "stamps_duplicate" in names(build(tmp_path / "repeat", stamps=stamps_with(repeat)))


def test_stamps_that_go_backwards(copy):
    """The writer refuses them; others do not."""
    rewrite(copy / DATA, "stamp_ns", at(7, 590_000_000))
    with LeRobotWriter(copy, contract(), "wave", "arm", extra_features=[REWARD], resume=True):
        pass  # statistics of what is there now
    assert names(copy) == {"stamps_backwards"}


# -- cameras, values --------------------------------------------------------------------------------------


def test_a_frozen_camera_while_the_robot_moves(tmp_path):
    def freeze(episode, data):
        if episode == 1:
            data[FRONT][5:30] = data[FRONT][5]

    root = build(tmp_path / "data", freeze)
    assert names(root) == {"camera_frozen"}
    assert "(frames 5 to 2" in told(root)


def test_a_still_scene_is_not_a_frozen_camera(tmp_path):
    def rest(episode, data):
        for values in data.values():
            values[5:30] = values[5]

    assert "camera_frozen" not in names(build(tmp_path / "data", rest))


def test_a_black_camera(tmp_path):
    def cover(episode, data):
        if episode == 2:
            data[FRONT][10:40] = 0

    root = build(tmp_path / "data", cover)
    assert names(root) == {"camera_black"}
    assert "frames 10 to 39 of episode 2" in told(root)


def test_a_constant_feature_and_a_dead_component(tmp_path):
    def constant(episode, data):
        data["observation.state"][:] = (0.1, 0.2, 1.0)

    def dead(episode, data):
        data["observation.state"][:, 1] = 0.25

    assert names(build(tmp_path / "constant", constant)) == {"constant_feature"}
    root = build(tmp_path / "dead", dead)
    assert names(root) == {"dead_component"}
    assert "elbow" in told(root)


def test_a_saturated_component_and_a_gripper_that_is_none(tmp_path):
    def clip(episode, data):
        data["action"][:, 0] = np.clip(data["action"][:, 0], -0.6, 0.6)

    root = build(tmp_path / "data", clip)
    assert names(root) == {"saturated"}
    assert "shoulder" in told(root)


def test_joint_limits(tmp_path):
    def beyond(episode, data):
        data["observation.state"][3, 1] = 2.3

    root = build(tmp_path / "data", beyond)
    assert names(root, limits=LIMITS) == {"joint_limits"}
    assert "elbow" in told(root, limits=LIMITS)
    assert names(root) == set()


# -- other layouts ----------------------------------------------------------------------------------------


def ranges(root, camera, start, stop):
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    rewrite(path, f"videos/{camera}/from_timestamp", start)
    rewrite(path, f"videos/{camera}/to_timestamp", stop)


@pytest.mark.parametrize(
    ("name", "start", "stop"),
    [
        ("video_overlap", [0.0, 2.0, 6.6], [3.0, 5.6, 10.8]),
        ("video_range", [0.0, 3.0, 7.0], [3.0, 6.6, 11.2]),
        ("video_range", [0.0, 3.03, 6.6], [3.0, 6.6, 10.8]),
        ("video_range", [0.0, 3.0, 6.6], [3.0, 6.6, 12.8]),
    ],
)
def test_times_in_a_video_of_several_episodes(name, start, stop, packed, tmp_path):
    root = Path(shutil.copytree(packed, tmp_path / "data"))
    ranges(root, FRONT, lambda _: start, lambda _: stop)
    assert names(root) == {name}


def test_pictures_in_columns(png, tmp_path):
    path = "data/chunk-000/file-001.parquet"

    def broken(values):
        return [{**value, "bytes": value["bytes"][:60]} if i == 4 else value for i, value in enumerate(values)]

    def wide(values):
        # Width and height are the fourth and fifth word of a PNG file; a bomb declares what it will unpack to.
        data = values[4]["bytes"]
        return at(4, {**values[4], "bytes": data[:16] + (60000).to_bytes(4, "big") * 2 + data[24:]})(values)

    for number, (change, name) in enumerate([(broken, "picture_unreadable"), (wide, "picture_size")]):
        root = Path(shutil.copytree(png, tmp_path / str(number)))
        rewrite(root / path, FRONT, change)
        assert names(root) == {name}


def test_version_2_counts_and_statistics(old, tmp_path):
    root = Path(shutil.copytree(old, tmp_path / "data"))
    info(root, total_videos=4)
    assert names(root) == {"video_count"}
    info(root, total_videos=3)
    path = root / "meta/episodes_stats.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1]["stats"]["action"]["max"][0] = 3.0
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert names(root) == {"statistics"}
    assert "Episode 1" in told(root)


def test_without_videos_nothing_is_decoded(copy):
    truncate(copy / VIDEO, 0.8)
    assert names(copy, videos=False) == set()
    (copy / VIDEO).unlink()
    assert names(copy, videos=False) == {"video_missing"}


def test_progress_counts_every_file(clean):
    seen = []
    check_dataset(clean, progress=lambda done, total, name: seen.append((done, total, name)))
    assert [done for done, _, _ in seen] == list(range(6))
    assert {total for _, total, _ in seen} == {6}


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(DatasetError, match="There is no folder"):
        check_dataset(tmp_path / "nothing")


def test_the_help_lists_every_name_with_its_meaning():
    source = Path(praxon.__file__).parent / "commands/data/check.py"
    text = ast.get_docstring(ast.parse(source.read_text()))
    told = [line.split(None, 2) for line in text.partition("findings:\n")[2].splitlines()]
    assert [tuple(line) for line in told] == [
        (name, severity, meaning) for name, (severity, meaning) in MEANINGS.items()
    ]


# -- the command ------------------------------------------------------------------------------------------


def test_the_command_exits_with_1_where_there_is_an_error_and_repairs_where_asked(copy, tmp_path, capsys):
    (copy / "data/half.part").write_bytes(b"half")
    result = tmp_path / "findings.json"
    assert run(["data", "check", str(copy), f"json={result}"]) == 0
    assert json.loads(result.read_text())["findings"][0]["name"] == "leftover"
    truncate(copy / DATA, 0.7)
    assert run(["data", "check", str(copy), f"json={result}", "videos=false"]) == 1
    assert json.loads(result.read_text())["errors"] == 1
    assert "has 1 error and 1 warning: data_unreadable" in capsys.readouterr().err
    assert run(["data", "check", str(copy), "--repair"]) == 0
    assert run(["data", "check", str(copy)]) == 0
    assert "is sound" in capsys.readouterr().out
    assert run(["data", "check", str(copy), "--repair"]) == 0
    assert "Nothing was to be mended" in capsys.readouterr().out


def test_the_command_knows_the_limits_of_the_robot_that_a_dataset_names(tmp_path, capsys):
    from praxon.sim.factory import make_robot

    joints = make_robot("panda").joint_names
    state = Feature("observation.state", "joint_position", (len(joints),), joints)
    panda = PolicyContract("panda", "wave", (state,), Feature("action", "joint_position", state.shape, joints), Chunk())
    for name, reach, status in (("inside", 0.02, 0), ("degrees", 90.0, 1)):
        with LeRobotWriter(tmp_path / name, panda, "wave", "panda") as writer:
            motion = (
                reach
                * np.sin(np.arange(20)[:, None] + np.arange(len(joints))) ** 2
                * np.array([1, 1, 1, -1, 1, 1, 1, 1])
            )
            motion = (motion - np.array([0, 0, 0, 1, 0, -1, 0, 0])).astype(np.float32)
            writer.add_episode({"observation.state": motion, "action": motion})
        assert run(["data", "check", str(tmp_path / name)]) == status
    assert "joint_limits" in capsys.readouterr().err
