"""Weightings as a user meets them: trained with, continued, written out per frame, on data made worse on purpose."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from praxon.cli import run
from praxon.datasets.lerobot_reader import LeRobotDataset

QUICK = ["policy=debug", "training.tensorboard=false", "training.checkpoint_every=4"]


def praxon(*arguments, expect=0):
    assert run([str(argument) for argument in arguments]) == expect


@pytest.fixture(scope="module")
def worse(tmp_path_factory):
    """A sound dataset, and the same made worse."""
    root = tmp_path_factory.mktemp("weighting")
    praxon("collect", "task=lift", "episodes=6", f"run_dir={root / 'a'}")
    settings = ["noisy_share=0.5", "cut_share=0.34", "seed=1", f"out={root / 'worse'}"]
    praxon("data", "corrupt", root / "a" / "dataset", *settings)
    return root / "a" / "dataset", root / "worse"


def test_corrupted_data_are_whole_and_say_what_was_done(worse, capsys):
    sound, found = (LeRobotDataset(path) for path in worse)
    praxon("data", "check", worse[1])
    marks = found.columns["corruption"].reshape(-1)
    cut = 0
    for episode in range(6):
        here, there = found.episode_slice(episode), sound.episode_slice(episode)
        mark, length = marks[here][0], here.stop - here.start
        assert (marks[here] == mark).all()
        original = there.stop - there.start
        assert (length < original) == bool(mark & 2)
        same = np.array_equal(found.columns["action"][here], sound.columns["action"][there][:length])
        assert same == (not mark & 1)
        cut += bool(mark & 2)
    assert cut == 2
    assert found.metadata["corrupt"]["noisy_share"] == 0.5


def test_every_frame_has_its_weight_and_doubted_episodes_are_named(worse, tmp_path, capsys):
    sound, found = worse
    steps = ["weighting=ptr", "weighting.warmup=2", "steps=8"]
    praxon("train", *QUICK, *steps, f"dataset=[{sound},{found}]", f"run_dir={tmp_path / 'run'}")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"effective_share", "saturated", "weight/dataset", "weight/worse"} <= {
        name for line in lines for name in line
    }
    out, figures = tmp_path / "weights.parquet", tmp_path / "weights.json"
    capsys.readouterr()
    praxon("data", "weights", f"run={tmp_path / 'run'}", f"out={out}", "show=3", f"json={figures}")
    said = capsys.readouterr().out
    assert "episodes that count least" in said
    table, result = pq.read_table(out), json.loads(figures.read_text())
    frames = [LeRobotDataset(path).num_frames for path in worse]
    assert table.num_rows == sum(frames) == result["frames"]
    weights = table["weight"].to_numpy()
    assert 4.0 / 0.25 >= weights.max() / weights.min() > 1
    assert result["sources"]["worse"] == pytest.approx(weights[frames[0] :].mean(), rel=1e-5)
    assert table["dataset"].to_pylist()[:: frames[0]][:2] == ["dataset", "worse"]
    first = weights[(table["episode_index"].to_numpy() == 2) & (np.arange(sum(frames)) >= frames[0])]
    named = next(each for each in result["episodes"] if (each["dataset"], each["episode"]) == ("worse", 2))
    assert named["weight"] == pytest.approx(first.mean(), rel=1e-5)
    # Of another dataset than it was trained on, and again to the same.
    for name in ("one", "two"):
        praxon("data", "weights", f"run={tmp_path / 'run'}", f"dataset={found}", f"json={tmp_path / name}.json")
    assert (tmp_path / "one.json").read_text() == (tmp_path / "two.json").read_text()


def test_a_training_with_weights_goes_on_where_it_stood(worse, tmp_path, monkeypatch):
    from praxon.learning import training_run

    settings = [*QUICK, "weighting=ptr", "weighting.warmup=1", "steps=8", f"dataset={worse[1]}"]
    praxon("train", *settings, f"run_dir={tmp_path / 'whole'}")
    real = training_run.TrainingRun._train_step

    def interrupted(self, *arguments):
        if self.step == 5:
            raise OSError("power")
        return real(self, *arguments)

    monkeypatch.setattr(training_run.TrainingRun, "_train_step", interrupted)
    praxon("train", *settings, f"run_dir={tmp_path / 'cut'}", expect=1)
    monkeypatch.undo()
    praxon("train", *settings, "weighting.beta=2", "resume=true", f"run_dir={tmp_path / 'cut'}", expect=1)
    praxon("train", *settings, "resume=true", f"run_dir={tmp_path / 'cut'}")
    one, other = (
        [json.loads(line)["loss"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("cut", "whole")
    )
    assert one == other
    assert len(one) == 8


def test_weights_average_to_one_over_what_is_trained_on(worse, tmp_path):
    from praxon.learning.frame_weights import FrameWeights
    from praxon.learning.weighting import Sources
    from praxon.policies.bundle import load_bundle

    praxon("train", *QUICK, "steps=1", f"dataset={worse[1]}", f"run_dir={tmp_path}")
    dataset = LeRobotDataset(worse[1])
    chosen = np.arange(dataset.episode_slice(2).start, dataset.num_frames)
    weighting = FrameWeights(["action_spike"])
    weighting.begin(load_bundle(tmp_path / "bundle").policy, Sources(("x",), (dataset,), chosen))
    assert weighting._table[chosen].mean().item() == pytest.approx(1.0, abs=1e-5)


def test_quality_weighs_whole_datasets_against_each_other(worse, tmp_path):
    sound, found = worse
    steps = ["weighting=quality", "weighting.scores=[action_spike]", "steps=4"]
    praxon("train", *QUICK, *steps, f"dataset=[{sound},{found}]", f"run_dir={tmp_path / 'run'}")
    praxon("data", "weights", f"run={tmp_path / 'run'}", f"json={tmp_path / 'w.json'}")
    result = json.loads((tmp_path / "w.json").read_text())
    assert result["mean"] == pytest.approx(1.0, abs=1e-5)
    marks = LeRobotDataset(found).columns["corruption"].reshape(-1)
    starts = [LeRobotDataset(found).episode_slice(episode).start for episode in range(6)]
    weight = {(each["dataset"], each["episode"]): each["weight"] for each in result["episodes"]}
    noisy = [episode for episode in range(6) if marks[starts[episode]] & 1]
    assert all(weight["worse", episode] < weight["dataset", episode] for episode in noisy)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", *QUICK, "weighting=trajectory", "steps=2"], "need the column 'next.reward'"),
        (["train", *QUICK, "weighting=trajectory", "weighting.scores=luck", "steps=2"], "There is no score 'luck'"),
        (["train", *QUICK, "weighting=ptr", "weighting.alpha=2", "steps=2"], "alpha is 2"),
        (["train", *QUICK, "weighting=ptr", "weighting.identify=joy", "steps=2"], "one of consequence, chunk"),
        (["data", "corrupt", "noise=-1"], "noise is -1"),
        (["data", "corrupt", "noise=null"], "noise is null"),
        (["data", "corrupt", "cut_to=[0.7,0.4]"], "the least share comes first"),
        (["data", "weights"], "No training was given; run=<folder>"),
        (["data", "weights", "run=nowhere"], "a .parquet file is written"),
    ],
)
def test_what_cannot_be_is_one_sentence(arguments, said, worse, tmp_path, capsys):
    rest = {"train": [f"run_dir={tmp_path / 'r'}"], "data": [f"out={tmp_path / 'r'}"]}[arguments[0]]
    dataset = [] if arguments[1] == "weights" else [f"dataset={worse[0]}"]
    praxon(*arguments, *dataset, *rest, expect=1)
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_training_that_weighed_all_alike_has_no_weights_to_show(worse, tmp_path, capsys):
    praxon("train", *QUICK, "steps=2", f"dataset={worse[0]}", f"run_dir={tmp_path / 'run'}")
    praxon("data", "weights", f"run={tmp_path / 'run'}", expect=1)
    assert "weighed every frame alike" in capsys.readouterr().err


def test_recorded_rewards_weigh_whole_episodes(tmp_path):
    praxon(
        "collect", "task=lift", "episodes=6", "rewards=true", "skill=0.5", "keep_failures=true", f"run_dir={tmp_path}"
    )
    dataset = LeRobotDataset(tmp_path / "dataset")
    solved = [bool(dataset.columns["next.success"][dataset.episode_slice(e)].any()) for e in range(6)]
    assert 0 < sum(solved) < 6, "this seed should have both"
    rewards = dataset.columns["next.reward"].reshape(-1)
    assert 0 <= rewards.min() < rewards.max() <= 1
    steps = ["weighting=trajectory", "weighting.scores=[success]", "steps=2"]
    praxon("train", *QUICK, *steps, f"dataset={tmp_path / 'dataset'}", f"run_dir={tmp_path / 'run'}")
    praxon("data", "weights", f"run={tmp_path / 'run'}", f"json={tmp_path / 'w.json'}")
    weights = [each["weight"] for each in json.loads((tmp_path / "w.json").read_text())["episodes"]]
    assert min(w for w, s in zip(weights, solved, strict=True) if s) > max(
        w for w, s in zip(weights, solved, strict=True) if not s
    )
