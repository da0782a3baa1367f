"""`praxon data`: what the verbs leave on disk, and what they answer to what cannot be done."""

import json

import numpy as np
import pytest

from praxon.cli import run
from praxon.commands._hydra import compose_config
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.errors import ConfigError

CAMERA = "observation.images.front"
QUICK = ["policy=debug", "steps=12", "training.tensorboard=false"]


def praxon(*arguments, expect=0):
    assert run([str(argument) for argument in arguments]) == expect


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Three filmed episodes of lift in a/dataset, two of other starts in b/dataset."""
    root = tmp_path_factory.mktemp("data verbs")
    film = ("cameras=[front]", "image_size=[64,64]")
    praxon("collect", "task=lift", "episodes=3", *film, f"run_dir='{root / 'a'}'")
    praxon("collect", "task=lift", "episodes=2", "seed=9", *film, f"run_dir='{root / 'b'}'")
    return root


def same_episode(one, i, other, j):
    """Whether episode i of one dataset is episode j of another, to the bit."""
    here, there = one.episode_slice(i), other.episode_slice(j)
    names = [name for name in one.columns if name not in ("index", "episode_index", "task_index")]
    pictures = [data.frames(CAMERA, np.arange(s.start, s.stop)) for data, s in ((one, here), (other, there))]
    same = all(np.array_equal(one.columns[name][here], other.columns[name][there]) for name in names)
    return same and np.array_equal(*pictures)


def test_merge_and_split_carry_every_bit(recorded):
    praxon("data", "merge", recorded / "a/dataset", recorded / "b/dataset", f"out='{recorded / 'both'}'", "pack=true")
    a, b, both = (LeRobotDataset(recorded / name) for name in ("a/dataset", "b/dataset", "both"))
    assert len(both.index.data_files) == 1
    assert [same_episode(both, i, a, i) for i in range(3)] == [True] * 3
    assert [same_episode(both, 3 + i, b, i) for i in range(2)] == [True] * 2
    assert [entry["sha256"] for entry in both.metadata["merged"]] == [a.digest(), b.digest()]

    praxon(
        "data",
        "split",
        recorded / "both",
        f"out='{recorded / 'parts'}'",
        "parts={last: [4], one: 0.25, rest: 0.75}",
        "seed=3",
    )
    parts = {name: LeRobotDataset(recorded / "parts" / name) for name in ("last", "one", "rest")}
    went = {name: part.metadata["split"]["episodes"] for name, part in parts.items()}
    assert (went["last"], len(went["one"]), len(went["rest"])) == ([4], 1, 3)
    assert sorted(went["one"] + went["rest"]) == [0, 1, 2, 3]
    for name, part in parts.items():
        assert all(same_episode(part, i, both, episode) for i, episode in enumerate(went[name]))


def test_convert_keeps_bits_where_the_codec_does(recorded):
    praxon("data", "convert", recorded / "a/dataset", f"out='{recorded / 'png'}'", "codec=png", "episodes=1:")
    a, png = LeRobotDataset(recorded / "a/dataset"), LeRobotDataset(recorded / "png")
    assert png.num_episodes == 2
    assert png.index.features[CAMERA].dtype == "image"
    assert all(same_episode(png, i, a, i + 1) for i in range(2))
    assert not list(recorded.glob(".*"))


def test_pictures_without_loss_stay_so(recorded):
    for source, out, codec in (("a/dataset", "exact", "codec=h264_lossless"), ("exact", "packed", "pack=true")):
        praxon("data", "merge", recorded / source, f"out='{recorded / out}'", codec)
        info = json.loads((recorded / out / "meta/info.json").read_text())["features"][CAMERA]["info"]
        assert info["video.pix_fmt"] == "gbrp"
    exact, packed = LeRobotDataset(recorded / "exact"), LeRobotDataset(recorded / "packed")
    assert all(same_episode(exact, i, packed, i) for i in range(3))


def test_datasets_of_two_tasks_become_one_of_several(recorded):
    praxon("data", "convert", recorded / "b/dataset", f"out='{recorded / 'other'}'", "task='stack, then rest'")
    praxon("data", "merge", recorded / "a/dataset", recorded / "other", f"out='{recorded / 'two'}'")
    assert LeRobotDataset(recorded / "other").contract.task == "stack, then rest"
    assert LeRobotDataset(recorded / "two").contract.task == "several"


def test_statistics_of_what_we_cannot_read_are_kept(recorded):
    root = recorded / "foreign"
    praxon("data", "convert", recorded / "a/dataset", f"out='{root}'", "episodes=0", "codec=png")
    for name in ("contract.yaml", "praxon.json"):
        (root / "meta" / name).unlink(missing_ok=True)
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["observation.note"] = {"dtype": "string", "shape": [1], "names": None}
    (root / "meta/info.json").write_text(json.dumps(info))
    stats = json.loads((root / "meta/stats.json").read_text())
    (root / "meta/stats.json").write_text(json.dumps(stats | {"observation.note": {"count": [7]}}))
    praxon("data", "stats", root, "write=true")
    assert json.loads((root / "meta/stats.json").read_text())["observation.note"] == {"count": [7]}


def test_info_and_stats_agree_with_the_data(recorded, tmp_path, capsys):
    root = recorded / "a/dataset"
    dataset = LeRobotDataset(root)
    praxon("data", "info", root, f"json='{tmp_path / 'i.json'}'", f"plot='{tmp_path / 'q.png'}'")
    info = json.loads((tmp_path / "i.json").read_text())
    assert (info["episodes"], info["frames"], info["fps"]) == (3, dataset.num_frames, 20)
    assert info["timing"]["rate_hz"] == pytest.approx(20)
    assert (info["timing"]["gaps"], info["timing"]["duplicates"]) == (0, 0)
    assert all(len(values) == 3 for values in info["quality"]["episodes"].values())
    assert (tmp_path / "q.png").stat().st_size > 1000
    shown = capsys.readouterr().out
    assert "panda_joint7" in shown
    assert "observation.cube_pose" in shown

    before = json.loads((root / "meta/stats.json").read_text())
    (root / "meta/stats.json").unlink()
    praxon("data", "stats", root, "write=true")
    after = json.loads((root / "meta/stats.json").read_text())
    assert after.keys() == before.keys()
    assert np.allclose(after["action"]["std"], dataset.columns["action"].std(0), rtol=1e-5)


def test_training_on_several_datasets_and_chosen_episodes(recorded, tmp_path):
    sources = f"dataset=['{recorded / 'a/dataset'}','{recorded / 'b/dataset'}']"
    for sampling in ("shuffled", "episodes", "mixture", "quality"):
        praxon("train", *QUICK, sources, "episodes=0:2", f"sampling={sampling}", f"run_dir={tmp_path / sampling}")
        result = json.loads((tmp_path / sampling / "result.json").read_text())
        lengths = [LeRobotDataset(recorded / name / "dataset").episode_lengths[:2].sum() for name in "ab"]
        assert (result["episodes"], result["frames"]) == (4, sum(lengths))


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["data", "inf"], "'data' has no verb 'inf'. Did you mean 'info'?"),
        (["data", "info"], "No dataset was given"),
        (["data", "info", "nowhere"], "There is no dataset at 'nowhere'"),
        (["data", "info", "a", "b"], "takes one dataset, not 2"),
        (["data", "info", "a", "qualty=false"], "Did you mean 'quality'?"),
        (["data", "merge", "out=x"], "Nothing was given"),
        (["data", "merge", "nowhere"], "No place for the result"),
        (["data", "convert", "nowhere", "out=x"], "There is nothing at 'nowhere'"),
        (["data", "convert", "A", "out=x", "format=hdf"], "There is no format 'hdf'"),
        (["data", "convert", "A", "out=x", "fps=30"], "has no setting fps; its settings are robot, task, contract"),
        (["data", "convert", "A", "out=A"], "already holds something"),
        (["data", "split", "A", "out=x", "parts={a: 0.7, b: 0.7}"], "together at most 1"),
        (["data", "split", "A", "out=x", "parts={a: [0], b: [0,1]}"], "share episodes"),
        (["data", "split", "A", "out=x", "parts={a: 9:}"], "(none) were asked"),
        (["data", "split", "A", "out=x", "parts=0.9"], "names and shares are expected"),
        (["data", "split", "A", "out=x", "parts=[a]"], "names and shares are expected"),
        (["data", "convert", "A", "out=x", "episodes=1.5"], "Episodes 1.5 were asked"),
        (["data", "convert", "A", "out=x", "options=3"], "names and values are expected"),
        (["data", "convert", "A", "out=x", "task=pick, place"], "one with a comma needs quotes of its own"),
        (["data", "merge", "A", "out=."], "no name of a new folder"),
        (["train", "A", *QUICK, "sampling=mixture", "sampling.shares=0.5"], "a number for each dataset"),
        (["train", "A", *QUICK, "sampling=mixture", "sampling.shares=[x]"], "a number for each dataset"),
        (["train", "dataset=[]"], "list of datasets is empty"),
        (["train", "A", "episodes=7"], "0 to 2"),
    ],
)
def test_what_cannot_be_done_is_answered_in_one_sentence(recorded, tmp_path, monkeypatch, capsys, arguments, answer):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "A").symlink_to(recorded / "a/dataset")
    praxon(*arguments, expect=1)
    error = capsys.readouterr().err
    assert answer in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "runs") == ["A"]


def test_flags_and_bare_words_are_settings():
    assert compose_config("data merge", ["a b", "c'd\\", "out=x", "--pack"]).sources == ["a b", "c'd\\"]
    assert compose_config("data merge", ["a", "--pack"]).pack is True
    assert compose_config("data info", ["x", "--quality=false"]).quality is False
    with pytest.raises(ConfigError, match="a whole number is expected"):
        compose_config("data split", ["x", "--seed"])
    with pytest.raises(ConfigError, match="not of the form"):
        compose_config("collect", ["lift"])
