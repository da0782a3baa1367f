"""Replay buffers made by zarr itself, versions 2 and 3, folders and zips: row n of the buffer holds n."""

import contextlib
import gzip
import json
import shutil
import struct
import zipfile

import numpy as np
import pytest
import zarr
from numcodecs import Blosc, GZip, Zlib, Zstd
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec
from zarr.storage import LocalStore, ZipStore

from praxon.datasets.formats.diffusion_policy import open_source, recognises
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.errors import DatasetError

ENDS = np.array([4, 9, 11])
ROWS = 11
SIZE = (32, 48, 3)
IMAGES = "observation.images.img"


def arrays():
    """PushT's keys; the action of row n is (n, n + 0.5)."""
    rows = np.arange(ROWS, dtype=np.float32)
    return {
        "action": np.stack([rows, rows + 0.5], 1),
        "state": rows[:, None] + 0.1 * np.arange(1, 6, dtype=np.float64),
        "keypoint": rows[:, None, None] + np.arange(18, dtype=np.float32).reshape(9, 2) / 32,
        "n_contacts": 1 + np.arange(ROWS)[:, None] % 3,
        "img": np.random.default_rng(0).integers(0, 256, (ROWS, *SIZE)).astype(np.float32),
    }


def fill(store, data, ends, version=2, **settings):
    root = zarr.open_group(store, mode="w", zarr_format=version)
    for key, values in data.items():
        chunks = (3, *values.shape[1:])
        stored = root.create_array(f"data/{key}", shape=values.shape, chunks=chunks, dtype=values.dtype, **settings)
        stored[:] = values
    stored = root.create_array("meta/episode_ends", shape=np.shape(ends), dtype=np.asarray(ends).dtype)
    stored[:] = ends


def write(path, data=None, ends=ENDS, version=2, **settings):
    data = arrays() if data is None else data
    if path.suffix == ".zip":
        with ZipStore(path, mode="w") as store:
            fill(store, data, ends, version, **settings)
    else:
        fill(LocalStore(path), data, ends, version, **settings)
    return path


def read_all(path, **settings):
    source = open_source(path, **({"fps": 10} | settings))
    return [{name: values[:] for name, values in source.episode(i).frames.items()} for i in range(len(source))]


def refusal(path, **settings):
    with pytest.raises(DatasetError) as caught:
        read_all(path, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("name", ["pusht.zarr", "pusht.zarr.zip"])
def test_episodes_are_cut_where_they_end(tmp_path, name, version):
    path = write(tmp_path / name, version=version)
    assert recognises(path)
    source = open_source(path, fps=10)
    assert len(source) == 3
    assert source.contract.chunk.control_period_s == 0.1
    data = arrays()
    for index, (start, stop) in enumerate([(0, 4), (4, 9), (9, 11)]):
        episode = source.episode(index)
        assert episode.task == "pusht"
        assert episode.stamps_ns is None
        assert episode.frames["action"].tolist() == [[n, n + 0.5] for n in range(start, stop)]
        for key in ("state", "keypoint", "n_contacts"):
            found = episode.frames[f"observation.{key}"]
            assert found.dtype == np.float32
            assert np.array_equal(found, data[key][start:stop].astype(np.float32))
        pictures = episode.frames[IMAGES]
        assert pictures.shape == (stop - start, *SIZE)
        assert np.array_equal(pictures[:], data["img"][start:stop].astype(np.uint8))
        assert np.array_equal(pictures[1:2], data["img"][start + 1 : start + 2].astype(np.uint8))
    assert source.metadata["left_out"] == {}
    json.dumps(source.metadata)


CODECS = {
    2: [None, Blosc("zstd", shuffle=2), Zstd(3), GZip(3), Zlib(3)],
    3: [None, BloscCodec(), ZstdCodec(checksum=True), GzipCodec()],
}


@pytest.mark.parametrize(("version", "codec"), [(version, codec) for version in CODECS for codec in CODECS[version]])
def test_the_common_compressors(tmp_path, version, codec):
    path = write(tmp_path / "a.zarr", version=version, compressors=codec)
    found = read_all(path, max_bytes=60_000)  # so small that deflate streams are measured first
    assert np.array_equal(np.concatenate([frames[IMAGES] for frames in found]), arrays()["img"])


def test_a_zip_may_hold_the_store_in_a_folder(tmp_path):
    folder = write(tmp_path / "in" / "pusht" / "x.zarr").parents[1]
    path = shutil.make_archive(str(tmp_path / "deflated"), "zip", folder)
    assert recognises(tmp_path / "deflated.zip")
    found = read_all(tmp_path / "deflated.zip")
    assert path.endswith("deflated.zip")
    assert found[2]["action"][:, 0].tolist() == [9, 10]


def test_round_trip_through_lerobot_is_exact(tmp_path):
    source = open_source(write(tmp_path / "a.zarr.zip"), fps=10, task="push the T")
    with LeRobotWriter(
        tmp_path / "out", source.contract, "push the T", extra_features=source.extra_features, codec="png"
    ) as writer:
        for index in range(len(source)):
            episode = source.episode(index)
            writer.add_episode(episode.frames, episode.stamps_ns, episode.task)
    dataset = LeRobotDataset(tmp_path / "out")
    assert list(dataset.episode_ends) == list(ENDS)
    assert dataset.fps == 10
    data = arrays()
    for key in ("state", "keypoint", "n_contacts"):
        assert np.array_equal(dataset.columns[f"observation.{key}"], data[key].astype(np.float32))
    assert np.array_equal(dataset.columns["action"], data["action"])
    assert np.array_equal(dataset.frames(IMAGES, np.arange(ROWS)), data["img"])


def test_other_keys(tmp_path):
    rows = np.arange(ROWS)
    data = {
        "actions_abs": np.ones((ROWS, 2)),
        "action_delta": np.ones((ROWS, 2)),
        "robot_state": rows.astype(np.float64),
        "reward": rows.astype(np.float32),
        "done": (rows == 3).astype(np.int8),
        "timestamp": 1.7e9 + rows / 10,
        "depth": np.ones((ROWS, 40, 40), np.float32),
        "point_cloud": np.ones((ROWS, 512, 3), np.float32),
        "camera": np.moveaxis(arrays()["img"], -1, 1).astype(np.uint8),
    }
    path = write(tmp_path / "a.zarr", data, version=3, config={"write_empty_chunks": True})
    assert "no 'action'" in refusal(path)
    source = open_source(path, fps=10, action="actions_abs")
    frames = source.episode(1).frames
    assert frames["observation.robot_state"].tolist() == [[4], [5], [6], [7], [8]]
    assert frames["next.reward"].tolist() == [[4], [5], [6], [7], [8]]
    assert source.episode(0).frames["next.done"].tolist() == [[False], [False], [False], [True]]
    assert frames["observation.point_cloud"].shape == (5, 512, 3)
    assert np.array_equal(frames["observation.images.camera"][:], arrays()["img"][4:9])
    assert "3 channels" in source.metadata["left_out"]["depth"]
    # The same command in another form is the answer; a policy that observed it would have nothing to learn.
    assert "observation.action_delta" not in frames
    assert "another form" in source.metadata["left_out"]["action_delta"]
    stamps = source.episode(1).stamps_ns
    assert abs(int(stamps[0]) - 1_700_000_000_400_000_000) < 500
    assert np.abs(np.diff(stamps) - 100_000_000).max() < 500
    chosen = open_source(path, fps=10, action="actions_abs", observations=["robot_state"])
    assert [feature.name for feature in chosen.contract.observations] == ["observation.robot_state"]
    assert chosen.metadata["left_out"]["camera"] == "was not asked for"
    asked = open_source(path, fps=10, action="actions_abs", observations=["action_delta"])
    assert [feature.name for feature in asked.contract.observations] == ["observation.action_delta"]


def test_chunks_that_are_not_stored(tmp_path):
    path = write(tmp_path / "a.zarr", arrays() | {"n_contacts": np.zeros((ROWS, 1), np.int64)})
    assert not (path / "data/n_contacts/0.0").exists()
    assert "missing_chunks" in refusal(path)
    found = read_all(path, missing_chunks=True)
    assert found[0]["observation.n_contacts"].tolist() == [[0]] * 4
    (write(tmp_path / "b.zarr") / "data/img/2.0.0.0").unlink()
    assert "data/img/2.0.0.0" in refusal(tmp_path / "b.zarr")


def test_rows_after_the_last_end_are_left_out_and_told(tmp_path):
    source = open_source(write(tmp_path / "a.zarr", ends=[4, 9]), fps=10)
    assert len(source) == 2
    assert source.metadata["left_out"] == {"rows 9 to 10": "belong to no finished episode"}


# -- what is refused ----------------------------------------------------------------------------------


def test_the_rate_must_be_given(tmp_path):
    path = write(tmp_path / "a.zarr")
    assert "fps= must be given" in refusal(path, fps=None)
    for wrong in (0, -1, float("nan"), "ten"):
        assert "rate" in refusal(path, fps=wrong)


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ([4, 3, 11], ["3 after 4", "row 1"]),
        ([4, 4, 11], ["4 after 4"]),
        ([0, 11], ["0 after 0"]),
        ([4, 12], ["12", "11 rows"]),
        ([-1, 11], ["-1 after 0"]),
        ([4.0, 11.0], ["float64", "whole numbers"]),
        ([[4, 11]], ["(1, 2)"]),
        (np.array([4, 2**64 - 1], np.uint64), ["18446744073709551615"]),
    ],
)
def test_ends_that_cannot_be(tmp_path, ends, words):
    found = refusal(write(tmp_path / "a.zarr", ends=ends))
    for word in ("meta/episode_ends", *words):
        assert word in found


def half(values):
    return values + 0.5


@pytest.mark.parametrize(
    ("key", "change", "words"),
    [
        ("img", half, ["data/img", ".5", "0 to 255"]),
        ("img", lambda v: v + 1, ["256", "0 to 255"]),
        ("img", lambda v: v * np.nan, ["nan", "0 to 255"]),
        ("state", lambda v: v[:9], ["data/state", "9 rows", "11"]),
        ("action", lambda v: v * np.inf, ["data/action", "not finite"]),
        ("n_contacts", lambda v: v + 2**24, ["2^24"]),
        ("state", lambda v: v + 1j, ["<c16", "plain numbers"]),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_values_that_cannot_be_kept(tmp_path, key, change, words):
    data = arrays()
    data[key] = change(data[key])
    found = refusal(write(tmp_path / "a.zarr", data))
    for word in words:
        assert word in found


def described(path, change, key="state"):
    """Change an array's metadata by hand."""
    file = path / f"data/{key}/.zarray"
    about = json.loads(file.read_text())
    change(about)
    file.write_text(json.dumps(about))
    return path


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"dtype": "|O", "filters": [{"id": "pickle", "protocol": 5}]}, ["'|O'", "plain numbers"]),
        ({"filters": [{"id": "pickle", "protocol": 5}]}, ["pickle", "can be read"]),
        ({"compressor": {"id": "imagecodecs_jpeg2k"}}, ["imagecodecs_jpeg2k"]),
        ({"shape": [2**40, 5]}, ["max_expansion", str(2**40)]),
        ({"chunks": [2**40, 5]}, ["max_bytes"]),
        ({"chunks": [0, 5]}, ["chunks"]),
        ({"shape": [-11, 5]}, ["-11"]),
        ({"shape": ["11", 5]}, ["whole numbers"]),
        ({"chunks": [3]}, ["chunks"]),
        ({"chunks": [4, 5]}, ["unpacks into"]),
        ({"zarr_format": 7}, ["data/state"]),
    ],
)
def test_metadata_that_cannot_be_trusted(tmp_path, entries, words):
    found = refusal(described(write(tmp_path / "a.zarr"), lambda about: about.update(entries)))
    for word in words:
        assert word in found


def test_chunks_that_unpack_into_more_than_they_declare(tmp_path):
    blosc = write(tmp_path / "a.zarr", compressors=Blosc())
    (blosc / "data/img/0.0.0.0").write_bytes(Blosc().encode(bytes(2**22)))
    assert f"unpacks into {2**22} bytes; {3 * 32 * 48 * 3 * 4} are expected" in refusal(blosc)

    zstd = write(tmp_path / "b.zarr", compressors=Zstd())
    packed = Zstd().encode(bytes(2**22))
    (zstd / "data/state/0.0").write_bytes(packed)
    assert f"unpacks into {2**22} bytes" in refusal(zstd)

    deflated = write(tmp_path / "c.zarr", compressors=GZip())
    (deflated / "data/state/0.0").write_bytes(gzip.compress(b"", mtime=0) + gzip.compress(bytes(2**21), mtime=0))
    assert "into more than the 120 bytes" in refusal(deflated, max_bytes=2**20)


def test_a_folder_keeps_to_itself(tmp_path):
    path = write(tmp_path / "a.zarr")
    (tmp_path / "outside").write_bytes(bytes(100))
    (path / "data/state/0.0").unlink()
    (path / "data/state/0.0").symlink_to(tmp_path / "outside")
    assert "leads out of" in refusal(path)


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil"])
def test_a_zip_keeps_to_itself(tmp_path, name):
    path = write(tmp_path / "a.zarr.zip")
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(name, b"x")
    assert "leads out of it" in refusal(path)


def test_keys_become_no_paths(tmp_path):
    path = write(tmp_path / "a.zarr")
    (path / "data/state").rename(path / "data/..state..")
    assert "cannot name a feature" in refusal(path)


def test_a_zip_that_lies_about_its_sizes(tmp_path):
    path = write(tmp_path / "a.zarr.zip")
    data = bytearray(path.read_bytes())
    start = data.rindex(b"data/state/.zarray") - 46  # its entry in the central directory
    assert data[start : start + 4] == b"PK\x01\x02"
    struct.pack_into("<I", data, start + 24, 2**30)
    path.write_bytes(data)
    assert "data/state/.zarray" in refusal(path)


def test_other_places_are_not_recognised(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK nothing")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as file:
        file.writestr("x", b"")
    for name in ("a.zip", "b.zip", "missing.zarr", "."):
        assert not recognises(tmp_path / name)
        assert str(tmp_path) in refusal(tmp_path / name)


@pytest.mark.parametrize("version", [2, 3])
def test_damaged_zips_end_in_a_sentence(tmp_path, version):
    whole = write(tmp_path / "a.zarr.zip", version=version).read_bytes()
    damaged = tmp_path / "damaged.zip"
    for share in range(20):
        damaged.write_bytes(whole[: len(whole) * share // 20])
        recognises(damaged)
        assert str(damaged) in refusal(damaged)
    generator = np.random.default_rng(version)
    for _ in range(60):
        data = bytearray(whole)
        for place in generator.integers(0, len(data), 4):
            data[place] ^= 1 << int(generator.integers(8))
        damaged.write_bytes(data)
        recognises(damaged)
        with contextlib.suppress(DatasetError):
            read_all(damaged)


@pytest.mark.parametrize("version", [2, 3])
def test_damaged_folders_end_in_a_sentence(tmp_path, version):
    path = write(tmp_path / "a.zarr", version=version)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    generator = np.random.default_rng(10 + version)
    for file in files:
        whole = file.read_bytes()
        for cut in (0, len(whole) // 2):
            file.write_bytes(whole[:cut])
            with contextlib.suppress(DatasetError):
                read_all(path)
        data = bytearray(whole)
        data[int(generator.integers(len(data)))] ^= 1 << int(generator.integers(8))
        file.write_bytes(data)
        with contextlib.suppress(DatasetError):
            read_all(path)
        file.write_bytes(whole)
    assert len(read_all(path)) == 3
