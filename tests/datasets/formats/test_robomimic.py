"""robomimic files made by h5py from the format's description: every number says which demonstration and row it is."""

import contextlib
import json
import zlib

import h5py
import numpy as np
import pytest

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets.formats.robomimic import open_source, recognises
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.errors import DatasetError

LENGTHS = {"demo_0": 4, "demo_2": 6, "demo_10": 3}
ENV = {"env_name": "Lift", "env_type": 1, "env_kwargs": {"control_freq": 25, "robots": ["Panda"]}}
SIZE = (32, 48, 3)


def numbers(demo, width, dtype=np.float64):
    """Row t of demonstration k holds 1000 k + t + 0.1, 0.2, ... for its components."""
    start = 1000 * int(demo.removeprefix("demo_"))
    rows = start + np.arange(LENGTHS[demo])[:, None] + 0.1 * np.arange(1, width + 1)
    return rows.astype(dtype)


def pictures(demo):
    """Noise, so that a transposed or shifted picture is another one."""
    return np.random.default_rng(int(demo[5:])).integers(0, 256, (LENGTHS[demo], *SIZE), np.uint8)


def write(path):
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["total"] = sum(LENGTHS.values())
        data.attrs["env_args"] = json.dumps(ENV)
        for demo, length in LENGTHS.items():
            group = data.create_group(demo)
            group.attrs["num_samples"] = length
            group.attrs["model_file"] = "<mujoco/>"
            group["actions"] = numbers(demo, 7)
            group["states"] = numbers(demo, 5) / 3
            group["rewards"] = np.arange(length, dtype=np.float64)
            group["dones"] = np.arange(length) == length - 1 if demo == "demo_0" else np.zeros(length, np.int64)
            group["obs/eef_pos"] = numbers(demo, 3) / 7
            group["obs/object"] = numbers(demo, 2)
            group.create_dataset("obs/front_image", data=pictures(demo), compression="gzip", chunks=(1, *SIZE))
            group["obs/front_depth"] = np.ones((length, *SIZE[:2], 1), np.float32)
            group["next_obs/eef_pos"] = numbers(demo, 3)
        file["mask/train"] = np.array(["demo_2", "demo_0"], "S")
        file.create_dataset("mask/valid", data=["demo_10"], dtype=h5py.string_dtype())
    return path


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "low_dim.hdf5")


def changed(path, change):
    with h5py.File(path, "a") as file:
        change(file)
    return path


def replaced(key, values, **settings):
    def change(file):
        del file[key]
        file.create_dataset(key, data=values, **settings)

    return change


def read_all(path, **settings):
    """Everything that a converter would read."""
    source = open_source(path, **settings)
    return [{name: values[:] for name, values in source.episode(i).frames.items()} for i in range(len(source))]


def refusal(path, **settings):
    with pytest.raises(DatasetError) as caught:
        read_all(path, **settings)
    return str(caught.value)


def test_episodes_are_in_the_order_of_their_numbers(path):
    assert recognises(path)
    source = open_source(path)
    assert len(source) == 3
    for index, demo in enumerate(LENGTHS):
        episode = source.episode(index)
        assert episode.task == "Lift"
        assert episode.stamps_ns is None
        frames = episode.frames
        assert np.array_equal(frames["action"], numbers(demo, 7, np.float32))
        assert np.array_equal(frames["observation.eef_pos"], (numbers(demo, 3) / 7).astype(np.float32))
        assert np.array_equal(frames["observation.object"], numbers(demo, 2, np.float32))
        assert frames["next.reward"][:, 0].tolist() == list(range(LENGTHS[demo]))
        assert np.array_equal(frames["observation.images.front_image"][:], pictures(demo))
        assert np.array_equal(frames["observation.images.front_image"][1:3], pictures(demo)[1:3])


def test_what_the_file_says_about_itself(path):
    source = open_source(path)
    assert source.contract.chunk.control_period_s == 1 / 25
    assert source.robot_type == source.contract.robot == "Panda"
    assert source.splits == {"train": [0, 1], "valid": [2]}
    assert source.metadata["env_args"] == ENV
    assert set(source.metadata["left_out"]) == {"obs/front_depth", "next_obs", "states", "model_file"}
    assert [feature.name for feature in source.contract.observations] == [
        "observation.eef_pos",
        "observation.images.front_image",
        "observation.object",
    ]
    json.dumps(source.metadata)


def test_terminal_and_cut_episodes_are_told_apart(path):
    source = open_source(path)
    ends = [
        [source.episode(i).frames[name][:, 0].tolist() for name in ("next.done", "next.truncated")] for i in range(2)
    ]
    assert ends[0] == [[False, False, False, True], [False] * 4]
    assert ends[1] == [[False] * 6, [False] * 5 + [True]]
    frames = open_source(path, dones="end").episode(0).frames
    assert frames["next.done"].tolist() == [[False]] * 4
    assert frames["next.truncated"][:, 0].tolist() == [False, False, False, True]
    assert "dones='last'" in refusal(path, dones="last")


def test_states_only_where_asked_and_exactly(path):
    source = open_source(path, states=True)
    assert source.extra_features[-1] == Feature("states", "vector", (5,), dtype="float64")
    assert np.array_equal(source.episode(1).frames["states"], numbers("demo_2", 5) / 3)
    assert source.metadata["model_file"] == "<mujoco/>"
    assert set(source.metadata["left_out"]) == {"obs/front_depth", "next_obs"}


def test_round_trip_through_lerobot_is_exact(path, tmp_path):
    source = open_source(path, states=True)
    with LeRobotWriter(
        tmp_path / "out",
        source.contract,
        "Lift",
        source.robot_type,
        extra_features=source.extra_features,
        metadata=source.metadata,
        codec="png",
    ) as writer:
        for index in range(len(source)):
            episode = source.episode(index)
            writer.add_episode(episode.frames, episode.stamps_ns, episode.task)
    dataset = LeRobotDataset(tmp_path / "out")
    for index in range(len(source)):
        rows = dataset.episode_slice(index)
        for name, values in source.episode(index).frames.items():
            if name.startswith("observation.images"):
                found = dataset.frames(name, np.arange(rows.start, rows.stop))
            else:
                found = dataset.columns[name][rows]
            assert found.dtype == values[:].dtype
            assert np.array_equal(found, values[:]), name


def test_channels_first_and_whole_floats_become_the_same_pictures(path):
    for demo in LENGTHS:
        moved = np.moveaxis(pictures(demo), -1, 1).astype(np.float32)
        changed(path, replaced(f"data/{demo}/obs/front_image", moved))
    found = read_all(path)
    for frames, demo in zip(found, LENGTHS, strict=True):
        assert np.array_equal(frames["observation.images.front_image"], pictures(demo))


def test_slices_of_every_kind(path):
    found = open_source(path).episode(1).frames["observation.images.front_image"]
    whole = pictures("demo_2")
    for key in (slice(None), slice(2, 2), slice(-2, None), slice(5, 0, -2), slice(1, 6, 2), slice(4, 99)):
        assert np.array_equal(found[key], whole[key])
    assert np.array_equal(np.stack(list(found)), whole)
    assert (len(found), found.shape, found.dtype) == (6, (6, *SIZE), np.uint8)


def test_chosen_keys_and_rate(path):
    source = open_source(path, observations=["object"], fps=30, task="pick up", robot="arm")
    assert [feature.name for feature in source.contract.observations] == ["observation.object"]
    assert (source.contract.chunk.control_period_s, source.contract.robot) == (1 / 30, "arm")
    assert source.episode(0).task == "pick up"
    assert source.metadata["left_out"]["obs/eef_pos"] == "was not asked for"
    assert "objekt" in refusal(path, observations=["objekt"])


def test_observations_that_are_no_numbers_are_left_out_and_told(path):
    def add(file):
        for demo, length in LENGTHS.items():
            file[f"data/{demo}/obs/lang"] = np.array(["x"] * length, h5py.string_dtype())
            file[f"data/{demo}/obs/nested/x"] = np.zeros(length)

    source = open_source(changed(path, add))
    for key in ("lang", "nested"):
        assert source.metadata["left_out"][f"obs/{key}"].startswith("is a group or text")
        assert f"observation.{key}" not in source.episode(0).frames
    assert "numbers are expected" in refusal(path, observations=["lang"])
    assert "is no array" in refusal(path, observations=["nested"])


def test_a_contract_says_what_the_file_does_not(path):
    names = ("x", "y", "z")
    contract = PolicyContract(
        "panda",
        "lift",
        (Feature("observation.eef_pos", "position", (3,), names, unit="m", frame="base"),),
        Feature("action", "vector", (7,)),
        Chunk(horizon=4, control_period_s=0.04),
    )
    source = open_source(path, contract=contract)
    assert source.contract == contract
    assert set(source.episode(0).frames) == {
        "observation.eef_pos",
        "action",
        "next.reward",
        "next.done",
        "next.truncated",
    }
    assert source.metadata["left_out"]["obs/object"] == "is not in the contract"
    assert "fps=30" in refusal(path, contract=contract, fps=30)
    wrong = PolicyContract("panda", "lift", contract.observations, Feature("action", "vector", (6,)), contract.chunk)
    assert "float32(7,)" in refusal(path, contract=wrong)


# -- what is refused ----------------------------------------------------------------------------------


def lose(key):
    def change(file):
        del file[key]

    return change


def attribute(place, name, value):
    def change(file):
        file[place].attrs[name] = value

    return change


def link(value):
    def change(file):
        del file["data/demo_2/obs/object"]
        file["data/demo_2/obs/object"] = value

    return change


FAULTS = {
    "no rate": (attribute("data", "env_args", json.dumps({"env_name": "Lift"})), ["fps="]),
    "rate of nothing": (attribute("data", "env_args", json.dumps({"env_kwargs": {"control_freq": 0}})), ["rate 0"]),
    "damaged description": (attribute("data", "env_args", "{"), ["env_args"]),
    "no actions": (lose("data/demo_0/actions"), ["no 'actions'", "rewards", "action="]),
    "actions lost later": (lose("data/demo_2/actions"), ["data/demo_2/actions"]),
    "observation lost later": (lose("data/demo_10/obs/object"), ["data/demo_10/obs/object"]),
    "observations too long": (
        replaced("data/demo_2/obs/object", np.zeros((7, 2))),
        ["'data/demo_2/obs/object'", "7 rows", "6 are expected"],
    ),
    "pictures too short": (
        replaced("data/demo_2/obs/front_image", np.zeros((5, *SIZE), np.uint8)),
        ["front_image", "5 rows", "6"],
    ),
    "num_samples": (attribute("data/demo_2", "num_samples", 5), ["13 frames", "12"]),
    "total": (attribute("data", "total", 99), ["99 frames", "13"]),
    "swapped keys": (
        replaced("data/demo_2/obs/object", np.zeros((6, 3))),
        ["data/demo_2/obs/object", "(3,)", "(2,)"],
    ),
    "pictures where numbers were": (
        replaced("data/demo_2/obs/front_image", np.zeros((6, 7))),
        ["front_image", "(7,)", str(SIZE)],
    ),
    "not a number": (
        replaced("data/demo_2/actions", np.full((6, 7), np.nan)),
        ["data/demo_2/actions", "not finite", "row 0"],
    ),
    "too large for float32": (replaced("data/demo_2/obs/object", np.full((6, 2), 1e39)), ["beyond float32"]),
    "whole numbers too large": (
        replaced("data/demo_2/obs/object", np.full((6, 2), 2**24 + 1)),
        ["16777217", "2^24"],
    ),
    "fractions in pictures": (
        replaced("data/demo_2/obs/front_image", np.full((6, *SIZE), 0.5, np.float32)),
        ["front_image", "0.5", "0 to 255"],
    ),
    "dones of another kind": (replaced("data/demo_2/dones", np.full(6, 2)), ["dones", "0 and 1"]),
    "text for numbers": (
        replaced("data/demo_2/obs/object", ["a"] * 6, dtype=h5py.string_dtype()),
        ["data/demo_2/obs/object", "numbers are expected"],
    ),
    "compound values": (
        replaced("data/demo_2/obs/object", np.zeros(6, [("x", "f4"), ("y", "f4")])),
        ["data/demo_2/obs/object", "numbers are expected"],
    ),
    "unknown demonstration in a mask": (replaced("mask/train", np.array(["demo_7"], "S")), ["mask/train", "demo_7"]),
    "mask of numbers": (replaced("mask/train", np.arange(2)), ["mask/train", "text"]),
    "a foreign name": (lambda file: file["data"].create_group("episode_1"), ["episode_1", "demo_0"]),
    "external link": (link(h5py.ExternalLink("/etc/passwd", "/x")), ["link to elsewhere"]),
    "soft link": (link(h5py.SoftLink("/data/demo_0/obs/object")), ["link to elsewhere"]),
    "path as a key": (
        lambda file: file["data/demo_0/obs"].create_dataset("..\\x", data=np.zeros((4, 2))),
        ["..\\x", "cannot name"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(path, fault):
    change, words = FAULTS[fault]
    found = refusal(changed(path, change))
    assert str(path) in found
    for word in words:
        assert word in found
    assert "\n" not in found


def external(file):
    del file["data/demo_2/obs/object"]
    file.create_dataset("data/demo_2/obs/object", (6, 2), "f8", external=[(f"{file.filename}.raw", 0, 96)])


def virtual(file):
    del file["data/demo_2/obs/object"]
    layout = h5py.VirtualLayout((2, 2), "f8")
    layout[:] = h5py.VirtualSource(file["data/demo_10/actions"])[:2, :2]
    file.create_virtual_dataset("data/demo_2/obs/object", layout)


@pytest.mark.parametrize("change", [external, virtual])
def test_data_in_other_files_are_refused(path, change):
    path.with_name("low_dim.hdf5.raw").write_bytes(bytes(96))
    assert "other files" in refusal(changed(path, change))


def some_chunks(file):
    del file["data/demo_2/obs/object"]
    stored = file.create_dataset("data/demo_2/obs/object", (6, 2), "f8", chunks=(1, 2))
    stored[:4] = 1.0


def nothing(file):
    del file["data/demo_2/obs/object"]
    file.create_dataset("data/demo_2/obs/object", (6, 2), "f8")


@pytest.mark.parametrize(
    ("change", "words"), [(some_chunks, "4 of 6 chunks"), (nothing, "of which 0 were ever written")]
)
def test_what_was_never_written_is_not_zero(path, change, words):
    assert words in refusal(changed(path, change))


def test_declared_sizes_that_cannot_be_true(path):
    def change(file):
        del file["data/demo_2/obs/object"]
        file.create_dataset("data/demo_2/obs/object", (2**40, 2), "f8", chunks=(2**20, 2), compression="gzip")

    found = refusal(changed(path, change))
    assert str(2**44) in found
    assert "max_expansion" in found


def test_a_chunk_that_unpacks_into_more_than_it_declares(path):
    bomb = zlib.compress(bytes(2**22), 9)

    def change(file):
        del file["data/demo_2/obs/front_image"]
        stored = file.create_dataset(
            "data/demo_2/obs/front_image", (6, *SIZE), "u1", chunks=(1, *SIZE), compression="gzip"
        )
        for row in range(6):
            stored.id.write_direct_chunk((row, 0, 0, 0), bomb)

    changed(path, change)
    assert "unpacks into more than the" in refusal(path, max_bytes=2**20)


def test_rows_of_varying_length_are_measured_first(path):
    with h5py.File(path) as file:
        place = file["mask/valid"].id.get_offset()
    data = bytearray(path.read_bytes())
    assert int.from_bytes(data[place : place + 4], "little") == len("demo_10")
    data[place : place + 4] = (2**31).to_bytes(4, "little")
    path.write_bytes(data)
    assert str(2**31) in refusal(path)


def test_the_rows_that_a_demonstration_says_it_has(path):
    def change(file):
        del file["data"].attrs["total"]
        file["data/demo_2"].attrs["num_samples"] = 5

    found = refusal(changed(path, change))
    assert "'data/demo_2/actions'" in found
    assert "6 rows; num_samples says 5" in found


def test_the_instruction_of_libero(path):
    problem = json.dumps({"language_instruction": "open the drawer"})
    assert open_source(changed(path, attribute("data", "problem_info", problem))).episode(0).task == "open the drawer"


def test_limits_can_be_set(path):
    assert "max_bytes" in refusal(path, max_bytes=100)
    assert "max_expansion=0" in refusal(path, max_expansion=0)


def test_episodes_that_do_not_exist(path):
    for index in (-1, 3):
        with pytest.raises(DatasetError, match=f"{index} was asked.*0 to 2"):
            open_source(path).episode(index)


def test_other_files_are_not_recognised(tmp_path):
    (tmp_path / "a.hdf5").write_bytes(b"nothing")
    with h5py.File(tmp_path / "b.hdf5", "w") as file:
        file["data/episode"] = 1
    for name in ("a.hdf5", "b.hdf5", "missing.hdf5", "."):
        assert not recognises(tmp_path / name)
    for name in ("a.hdf5", "missing.hdf5"):
        assert name in refusal(tmp_path / name)


def test_damaged_files_end_in_a_sentence(path, tmp_path):
    whole = path.read_bytes()
    damaged = tmp_path / "damaged.hdf5"
    for share in range(20):
        damaged.write_bytes(whole[: len(whole) * share // 20])
        recognises(damaged)
        assert str(damaged) in refusal(damaged)
    generator = np.random.default_rng(0)
    for _ in range(100):
        data = bytearray(whole)
        for place in generator.integers(0, len(data), 4):
            data[place] ^= 1 << int(generator.integers(8))
        damaged.write_bytes(data)
        recognises(damaged)
        with contextlib.suppress(DatasetError):
            read_all(damaged)
