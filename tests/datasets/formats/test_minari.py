"""Minari datasets made by Minari itself in each of its storages, and compared with Minari's own reading."""

import contextlib
import io
import json
import shutil

import gymnasium
import h5py
import minari
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer
from PIL import Image

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets.formats.minari import open_source, recognises
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.errors import DatasetError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # minari asks for an author

STORAGES = ("hdf5", "arrow", "parquet")
LENGTHS = (4, 6)
SIZE = (32, 48, 3)
OBSERVED = spaces.Dict(
    {
        "arm": spaces.Dict({"joint positions": spaces.Box(-10, 10, (3,), np.float64)}),
        "camera": spaces.Box(0, 255, SIZE, np.uint8),
        "codes": spaces.Box(0, 255, (7, 7, 3), np.uint8),
        "count": spaces.Discrete(100, start=2),
        "grey": spaces.Box(0, 255, SIZE[:2], np.uint8),
        "mission": spaces.Text(20),
        "pair": spaces.Tuple((spaces.MultiBinary(2), spaces.MultiDiscrete([3, 50]))),
    }
)
ACTED = spaces.Dict({"gripper": spaces.Discrete(3), "joints": spaces.Box(-1, 1, (2,), np.float32)})


def observations(episode, count):
    """Row t of episode e holds 10 e + t, or t where the space is too small for it."""
    rows = np.arange(count)
    noise = np.random.default_rng(episode)
    return {
        "arm": {"joint positions": 10 * episode + rows[:, None] + np.array([0.1, 0.2, 0.3])},
        "camera": noise.integers(0, 256, (count, *SIZE), np.uint8),
        "codes": noise.integers(0, 256, (count, 7, 7, 3), np.uint8),
        "count": 2 + 10 * episode + rows,
        "grey": noise.integers(0, 256, (count, *SIZE[:2]), np.uint8),
        "mission": [f"reach {episode}"] * count,
        "pair": (np.stack([rows % 2, 1 - rows % 2], 1).astype(np.int8), np.stack([rows % 3, rows], 1)),
    }


def buffer(episode, length):
    rows = np.arange(length)
    return EpisodeBuffer(
        seed=100 + episode,
        observations=observations(episode, length + 1),
        actions={"gripper": rows % 3, "joints": np.stack([rows / 16, -rows / 16], 1).astype(np.float32)},
        rewards=[float(row) for row in rows],
        terminations=[False] * (length - 1) + [episode == 0],
        truncations=[False] * (length - 1) + [episode == 1],
        infos={"speed": np.zeros((length + 1, 1))},
    )


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def write(root, storage, jpeg=True, name="arm/nested-v0"):
    buffers = [buffer(episode, length) for episode, length in enumerate(LENGTHS)]
    data = minari.create_dataset_from_buffers(
        name, buffers, observation_space=OBSERVED, action_space=ACTED, data_format=storage, jpeg_encoding=jpeg
    )
    return root / name, data


def read_all(path, **settings):
    source = open_source(path, **({"fps": 20} | settings))
    return [{name: values[:] for name, values in source.episode(i).frames.items()} for i in range(len(source))]


def refusal(path, **settings):
    with pytest.raises(DatasetError) as caught:
        read_all(path, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("jpeg", [True, False])
@pytest.mark.parametrize("storage", STORAGES)
def test_arrays_are_those_that_minari_reads(root, storage, jpeg):
    path, theirs = write(root, storage, jpeg)
    assert recognises(path)
    assert recognises(path / "data")
    source = open_source(path, fps=20)
    assert len(source) == theirs.total_episodes == 2
    for index, episode in enumerate(theirs.iterate_episodes()):
        ours = source.episode(index)
        seen = episode.observations
        expected = {
            "observation.arm.joint_positions": seen["arm"]["joint positions"],
            "observation.codes": seen["codes"],
            "observation.count": seen["count"][:, None],
            "observation.pair.0": seen["pair"][0],
            "observation.pair.1": seen["pair"][1],
            "observation.images.camera": seen["camera"],
        }
        for name, values in expected.items():
            found = ours.frames[name][:]
            assert found.dtype == (np.uint8 if "images" in name else np.float32)
            assert np.array_equal(found, values[:-1].astype(found.dtype)), name
        assert np.array_equal(
            ours.frames["action"], np.column_stack([episode.actions["gripper"], episode.actions["joints"]])
        )
        for name, values in {
            "next.reward": episode.rewards,
            "next.done": episode.terminations,
            "next.truncated": episode.truncations,
        }.items():
            assert np.array_equal(ours.frames[name][:, 0], values)
        if not jpeg:
            assert np.array_equal(
                ours.frames["observation.images.camera"][:], observations(index, 9)["camera"][: len(episode)]
            )


@pytest.mark.parametrize("storage", STORAGES)
def test_what_the_dataset_says_about_itself(root, storage):
    source = open_source(write(root, storage)[0], fps=20)
    assert source.metadata["seeds"] == [100, 101]
    assert source.metadata["dataset_id"] == "arm/nested-v0"
    assert set(source.metadata["left_out"]) == {"grey", "infos", "the last observation of each episode"}
    assert source.contract.action == Feature("action", "vector", (3,), ("gripper", "joints.0", "joints.1"))
    assert source.contract.chunk.control_period_s == 0.05
    assert [source.episode(i).task for i in range(2)] == ["reach 0", "reach 1"]
    assert open_source(source_path(root), fps=20, task="go").episode(1).task == "go"
    mission = source.episode(1).frames["observation.mission"]
    assert mission.shape == (6, 20)
    assert "".join(chr(int(code)) for code in mission[0] if code) == "reach 1"
    json.dumps(source.metadata)


def source_path(root):
    return root / "arm/nested-v0"


@pytest.mark.parametrize("storage", STORAGES)
def test_round_trip_through_lerobot_is_exact(root, storage):
    source = open_source(write(root, storage)[0], fps=20)
    with LeRobotWriter(
        root / "out",
        source.contract,
        "reach",
        extra_features=source.extra_features,
        metadata=source.metadata,
        codec="png",
    ) as writer:
        for index in range(len(source)):
            episode = source.episode(index)
            writer.add_episode(episode.frames, episode.stamps_ns, episode.task)
    dataset = LeRobotDataset(root / "out")
    assert list(dataset.episode_lengths) == list(LENGTHS)
    for index in range(len(source)):
        rows = dataset.episode_slice(index)
        for name, values in source.episode(index).frames.items():
            if "images" in name:
                found = dataset.frames(name, np.arange(rows.start, rows.stop))
            else:
                found = dataset.columns[name][rows]
            assert np.array_equal(found, values[:]), name


@pytest.mark.parametrize("storage", STORAGES)
def test_plain_spaces_of_a_real_environment(root, storage):
    environment = gymnasium.make("CartPole-v1", max_episode_steps=12)
    buffers = []
    for seed, actions in ((7, [0] * 50), (8, [0, 1] * 6)):  # falls over; runs out of steps
        first, _ = environment.reset(seed=seed)
        steps = []
        for action in actions:
            state, reward, terminated, truncated, _ = environment.step(action)
            steps.append((state, reward, terminated, truncated))
            if terminated or truncated:
                break
        states, rewards, terminations, truncations = zip(*steps, strict=True)
        seen = np.stack([first, *states])
        done = np.array(actions[: len(steps)])  # the actions that were
        buffers.append(
            EpisodeBuffer(None, seed, None, seen, done, list(rewards), list(terminations), list(truncations))
        )
    minari.create_dataset_from_buffers("cart-v0", buffers, env="CartPole-v1", data_format=storage)
    source = open_source(root / "cart-v0", fps=50, robot="cart")
    for index, recorded in enumerate(buffers):
        frames = source.episode(index).frames
        assert np.array_equal(frames["observation.state"], recorded.observations[:-1])
        assert np.array_equal(frames["action"][:, 0], recorded.actions)
    ends = [[bool(source.episode(i).frames[name][-1, 0]) for name in ("next.done", "next.truncated")] for i in range(2)]
    assert ends == [[True, False], [False, True]]
    assert source.metadata["seeds"] == [7, 8]
    assert json.loads(source.metadata["env_spec"])["id"] == "CartPole-v1"
    assert source.contract.robot == source.robot_type == "cart"
    assert source.contract.action == Feature("action", "vector", (1,))
    assert source.episode(0).task == "CartPole-v1"


def test_the_contract_chooses(root):
    path, _ = write(root, "hdf5")
    joints = Feature("observation.arm.joint_positions", "joint_position", (3,), ("a", "b", "c"), unit="rad")
    contract = PolicyContract("arm", "reach", (joints,), Feature("action", "vector", (3,)), Chunk(control_period_s=0.1))
    source = open_source(path, contract=contract)
    assert source.contract == contract
    assert source.metadata["left_out"]["count"] == "is not in the contract"
    assert "observation.images.camera" not in source.episode(0).frames


# -- what is refused ----------------------------------------------------------------------------------


def about(path, **entries):
    file = path / "data/metadata.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))
    return path


BOX = {"type": "Box", "dtype": "float32", "shape": [1], "low": [0], "high": [1]}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"total_episodes": 3}, ["3 episodes", "2 are there"]),
        ({"data_format": "pickle"}, ["'pickle'", "hdf5, arrow and parquet"]),
        ({"data_format": "arrow"}, ["0 are there"]),
        ({"observation_space": None}, ["observation_space", "runs code"]),
        ({"observation_space": json.dumps({"type": "Graph"})}, ["'Graph'"]),
        ({"observation_space": "{"}, ["observation space"]),
        ({"observation_space": json.dumps({"type": "Dict", "subspaces": {"a/b": BOX}})}, ["'a/b'"]),
        ({"observation_space": json.dumps({"type": "Dict", "subspaces": {"..": BOX}})}, ["'..'"]),
        ({"observation_space": json.dumps({"type": "Dict", "subspaces": {"camera": BOX}})}, ["camera"]),
        ({"observation_space": json.dumps({"type": "Dict", "subspaces": {"nothing": BOX}})}, ["nothing"]),
        ({"observation_space": json.dumps({"type": "Dict", "subspaces": {}})}, ["no observation"]),
        (
            {
                "observation_space": json.dumps(
                    {"type": "Dict", "subspaces": {"a.b": BOX, "a": {"type": "Dict", "subspaces": {"b": BOX}}}}
                )
            },
            ["both give 'observation.a.b'"],
        ),
        ({"observation_space": json.dumps(BOX | {"shape": [-1]})}, ["[-1]"]),
        ({"observation_space": json.dumps(BOX | {"dtype": "object"})}, ["no observation"]),
        ({"action_space": json.dumps({"type": "Text", "max_length": 3})}, ["Text"]),
        ({"jpeg_encoding": False}, ["camera"]),
    ],
)
def test_metadata_that_do_not_fit(root, entries, words):
    found = refusal(about(write(root, "hdf5")[0], **entries))
    for word in words:
        assert word in found


def test_the_rate_must_be_given(root):
    assert "fps= must be given" in refusal(write(root, "hdf5")[0], fps=None)


def replaced(key, values, **settings):
    def change(file):
        del file[key]
        file.create_dataset(key, data=values, **settings)

    return change


def jpeg(picture):
    stored = io.BytesIO()
    Image.fromarray(picture).save(stored, format="JPEG")
    return np.frombuffer(stored.getvalue(), np.uint8)


def pictures(file):
    """A larger picture than the space allows."""
    file["episode_1/observations/camera"][2] = jpeg(np.zeros((64, 64, 3), np.uint8))


def bmp(file):
    stored = io.BytesIO()
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(stored, format="BMP")
    file["episode_1/observations/camera"][2] = np.frombuffer(stored.getvalue(), np.uint8)


def renamed(file):
    file.move("episode_1", "episode_7")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (renamed, ["episode_7", "episode_0, episode_1"]),
        (replaced("episode_1/rewards", np.zeros(5)), ["episode_1", "rows"]),
        (replaced("episode_1/observations/count", np.zeros(6)), ["count", "6 rows", "7"]),
        (replaced("episode_1/observations/pair/_index_1", np.zeros((7, 3))), ["_index_1", "(3,)", "(2,)"]),
        (replaced("episode_1/observations/arm/joint positions", np.full((7, 3), np.nan)), ["joint", "not finite"]),
        (replaced("episode_1/terminations", np.arange(6)), ["terminations", "0 and 1"]),
        (replaced("episode_1/observations/mission", ["x" * 21] * 7), ["mission", "21 characters", "20"]),
        (replaced("episode_1/observations/mission", np.arange(7)), ["mission", "text"]),
        (pictures, ["camera", "64x64"]),
        (bmp, ["camera"]),
    ],
)
def test_faults_are_named(root, change, words):
    path, _ = write(root, "hdf5")
    with h5py.File(path / "data/main_data.hdf5", "a") as file:
        change(file)
    found = refusal(path)
    for word in words:
        assert word in found


def table(path, storage):
    file = path / f"data/1/part-0.{storage}"
    if storage == "parquet":
        return pq.read_table(file)
    with pa.ipc.open_file(file) as stored:
        return stored.read_all()


def put(path, storage, values):
    file = path / f"data/1/part-0.{storage}"
    if storage == "parquet":
        pq.write_table(values, file)
    else:
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, values.schema) as writer:
            writer.write_table(values)


@pytest.mark.parametrize("storage", ["arrow", "parquet"])
def test_faults_of_tables_are_named(root, storage):
    path, _ = write(root, storage)
    whole = table(path, storage)
    faults = {
        "'rewards'": whole.drop_columns(["rewards"]),
        "1 rows without": whole.set_column(
            whole.column_names.index("rewards"), "rewards", pa.array([None, *map(float, range(6))])
        ),
        "'actions' is missing": whole.rename_columns([n if n != "actions" else "acts" for n in whole.column_names]),
        "truncations": whole.set_column(whole.column_names.index("truncations"), "truncations", pa.array(["no"] * 7)),
        "observations": whole.set_column(whole.column_names.index("observations"), "observations", pa.array(range(7))),
        "no row": whole.slice(0, 1),
    }
    for words, fault in faults.items():
        put(path, storage, fault)
        assert words in refusal(path)
    put(path, storage, whole)
    assert len(read_all(path)) == 2
    assert "max_bytes" in refusal(path, max_bytes=100)
    shutil.rmtree(path / "data/1")
    assert "1 are there" in refusal(path)


def test_other_folders_are_not_recognised(root):
    (root / "a").mkdir()
    (root / "a/metadata.json").write_text("[" * 100_000)
    (root / "b").mkdir()
    (root / "b/metadata.json").write_text("[]")
    for name in ("a", "b", "missing", "."):
        assert not recognises(root / name)
        assert str(root) in refusal(root / name)


@pytest.mark.parametrize("storage", STORAGES)
def test_damaged_files_end_in_a_sentence(root, storage):
    path, _ = write(root, storage)
    metadata = path / "data/metadata.json"
    data = next(file for file in sorted(path.rglob("*")) if file.suffix[1:] == storage)
    generator = np.random.default_rng(STORAGES.index(storage))
    for file in (metadata, data):
        whole = file.read_bytes()
        for share in range(20):
            file.write_bytes(whole[: len(whole) * share // 20])
            recognises(path)
            assert str(path) in refusal(path)
        for _ in range(60):
            flipped = bytearray(whole)
            for place in generator.integers(0, len(flipped), 4):
                flipped[place] ^= 1 << int(generator.integers(8))
            file.write_bytes(flipped)
            recognises(path)
            with contextlib.suppress(DatasetError):
                read_all(path)
        file.write_bytes(whole)
    assert len(read_all(path)) == 2
