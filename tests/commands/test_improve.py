"""praxon improve, as a user meets it: rounds that watch, train and evaluate; resumed to the same; refused in one sentence."""

import importlib
import json
import sys

import numpy as np
import pytest
import torch
import yaml

from praxon.cli import run
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.policies.bundle import load_bundle

FEW = ["labels=30", "steps=3", "eval_episodes=1", "training.tensorboard=false"]


def praxon(*arguments, expect=0):
    assert run([str(argument) for argument in arguments]) == expect


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Demonstrations, and a policy that has barely begun to learn from them."""
    root = tmp_path_factory.mktemp("improve")
    praxon("collect", "task=reach", "episodes=2", "rewards=true", f"run_dir={root / 'a'}")
    chunk = ["policy.chunk.horizon=8", "policy.chunk.num_execute=4"]
    quick = ["policy=debug", *chunk, "steps=5", "training.tensorboard=false"]
    praxon("train", *quick, f"dataset={root / 'a' / 'dataset'}", f"run_dir={root / 'b'}")
    return ["improve", f"bundle={root / 'b' / 'bundle'}", f"dataset={root / 'a' / 'dataset'}", *FEW]


def rounds_of(folder):
    found = json.loads((folder / "result.json").read_text())["rounds"]
    return [{key: value for key, value in each.items() if key != "seconds"} for each in found]


@pytest.mark.parametrize("method", ["bc", "dagger", "hg_dagger"])
def test_labels_are_counted_and_what_was_watched_is_kept(start, tmp_path, method):
    gate = ["gate=stalled", "gate.patience=4"] if method == "hg_dagger" else []
    praxon(*start, f"method={method}", "rounds=1", *gate, f"run_dir={tmp_path}")
    before, after = rounds_of(tmp_path)
    assert before["labels_so_far"] == 0
    dataset = LeRobotDataset(tmp_path / "rounds" / "01" / "rollouts")
    driven = dataset.columns["is_intervention"].reshape(-1)
    spent = driven.sum() if method == "hg_dagger" else dataset.num_frames
    assert after["labels"] == after["labels_so_far"] == spent >= 30
    assert after["env_steps"] == dataset.num_frames
    assert after["intervened"] == driven.sum()
    if method == "bc":
        assert driven.all()
    assert load_bundle(tmp_path / "bundle").weights != load_bundle(tmp_path / "rounds" / "00" / "bundle").weights
    assert (tmp_path / "progress.png").stat().st_size > 1000
    same = np.where(driven[:, None], dataset.columns["expert_action"], dataset.columns["policy_action"])
    np.testing.assert_array_equal(dataset.columns["action"], same)


def test_training_is_as_its_settings_say(start, tmp_path):
    for rate, settings in ((1e-3, []), (5e-4, ["training.learning_rate=5e-4"])):
        run_dir = tmp_path / str(rate)
        once = ["method=bc", "rounds=1", "steps=1", "training.warmup_steps=0"]  # the first step has the whole rate
        praxon(*start, *once, *settings, f"run_dir={run_dir}")
        first = (run_dir / "rounds" / "01" / "metrics.jsonl").read_text().splitlines()[0]
        assert json.loads(first)["learning_rate"] == pytest.approx(rate)


CRITICS = ["learner.critics=2", "learner.hidden=[16]", "learner.batch_size=16", "learner.first=5"]


def test_who_learns_by_the_tasks_reward_chooses_noise(start, tmp_path):
    random = ["gate=random", "gate.rate=0.1", "gate.steps=6"]
    praxon(
        *start,
        "method=hil_serl",
        "refinement=dsrl",
        "refit=false",
        "rounds=1",
        *random,
        *CRITICS,
        f"run_dir={tmp_path}",
    )
    before, after = (load_bundle(path).policy for path in (tmp_path / "rounds" / "00" / "bundle", tmp_path / "bundle"))
    assert after.refinement.candidates == 4
    # The policy below is what it was.
    for name, tensor in before.state_dict().items():
        assert torch.equal(after.base.state_dict()[name], tensor)


@pytest.mark.parametrize(("method", "refit"), [("rlif", "returns"), ("hil_serl", "expert")])
def test_who_learns_while_acting_leaves_a_bundle_that_is_served_as_any_other(start, tmp_path, method, refit):
    gate = ["gate=random", "gate.rate=0.1", "gate.steps=6"]
    praxon(*start, f"method={method}", f"refit={refit}", "rounds=2", *gate, *CRITICS, "steps=3", f"run_dir={tmp_path}")
    _, first, second = rounds_of(tmp_path)
    seen = 0
    for number, each in ((1, first), (2, second)):
        dataset = LeRobotDataset(tmp_path / "rounds" / f"{number:02d}" / "rollouts")
        assert each["env_steps"] == dataset.num_frames
        assert each["labels"] == dataset.columns["is_intervention"].sum() >= 30
        # Each has its own critics and its own policy below, which learned from what it did too, or from the expert alone.
        assert each["loss"] > 0
        assert each["samples"] == (each["env_steps"] if refit == "returns" else each["labels"]) + seen
        seen = each["samples"]
    assert second["labels_so_far"] == first["labels"] + second["labels"]
    policies = [load_bundle(tmp_path / "rounds" / f"{number:02d}" / "bundle").policy for number in (1, 2)]
    assert [type(policy).__name__ for policy in policies] == ["RefinedPolicy"] * 2
    one, two = (policy.state_dict() for policy in policies)
    for beginning in ("base.", "critics."):
        assert any(not torch.equal(one[name], two[name]) for name in one if name.startswith(beginning))
    loop = tmp_path / "rounds" / "02" / "loop"
    assert json.loads((loop / "learner.json").read_text())["updates"] > 5
    assert not list(loop.glob("*.journal"))  # what they held is in the rollouts
    praxon("eval", f"bundle={tmp_path / 'bundle'}", "episodes=1", f"run_dir={tmp_path / 'e'}")


def test_when_the_labels_are_given_the_policy_practises_alone_and_what_was_solved_is_learned(start, tmp_path):
    alone = ["gate=random", "gate.rate=1", "gate.steps=1000"]  # the expert solves what it is asked to help with
    practice = ["practice=3", "refit=solved"]
    praxon(*start, "method=rlif", "rounds=1", *practice, *alone, *CRITICS, f"run_dir={tmp_path}")
    dataset = LeRobotDataset(tmp_path / "rounds" / "01" / "rollouts")
    episodes = []
    for number in range(dataset.num_episodes):
        part = dataset.episode_slice(number)
        numbers = {name: values[part] for name, values in dataset.columns.items() if values[0].size == 1}
        episodes.append({name: values.reshape(-1) for name, values in numbers.items()})
    helped, practised = episodes[:-3], episodes[-3:]
    assert sum(each["is_intervention"].sum() for each in helped[:-1]) < 30
    assert sum(each["is_intervention"].sum() for each in helped) >= 30
    for each in helped:
        assert each["next.success"][-1] == each["next.terminal"][-1] == 1
    for each in practised:
        assert each["is_intervention"].sum() == 0
        solved = each["next.success"].any()
        assert each["pre_intervention"][-1] == each["next.timeout"][-1] == (not solved)
    after = rounds_of(tmp_path)[1]
    lengths = [len(each["next.success"]) for each in episodes]
    assert after["episodes"] == len(episodes)
    assert (after["practice_episodes"], after["practice_steps"]) == (3, sum(lengths[-3:]))
    assert after["intervention_rate"] == 1
    solved = [length for each, length in zip(episodes, lengths, strict=True) if each["next.success"].any()]
    assert 0 < after["samples"] == sum(solved) < sum(lengths)


@pytest.mark.parametrize(
    "place",
    [
        "praxon.learning.interactive.supervised.roll_out",
        "praxon.policies.bundle.save_bundle",
        "praxon.commands.eval.run",
    ],
)
def test_a_run_that_was_cut_short_goes_on_to_the_same(start, tmp_path, monkeypatch, place, capsys):
    settings = [*start, "method=dagger", "rounds=2"]
    praxon(*settings, f"run_dir={tmp_path / 'whole'}")
    module, _, name = place.rpartition(".")
    real, calls = getattr(importlib.import_module(module), name), []

    def interrupted(*arguments, **more):
        calls.append(None)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **more)

    monkeypatch.setattr(place, interrupted)
    praxon(*settings, f"run_dir={tmp_path / 'cut'}", expect=130)
    monkeypatch.undo()
    praxon(*settings, f"run_dir={tmp_path / 'cut'}", expect=1)  # nothing is written over
    capsys.readouterr()
    praxon(*settings, "seed=3", "resume=true", f"run_dir={tmp_path / 'cut'}", expect=1)
    assert "has seed=0, and seed=3 was asked for" in capsys.readouterr().err
    praxon(*settings, "resume=true", f"run_dir={tmp_path / 'cut'}")
    assert rounds_of(tmp_path / "cut") == rounds_of(tmp_path / "whole")
    for number in ("01", "02"):
        one, other = (tmp_path / name / "rounds" / number / "bundle" / "model.safetensors" for name in ("cut", "whole"))
        assert one.read_bytes() == other.read_bytes()


def test_where_nobody_took_over_and_nothing_was_shown_there_is_nothing_to_learn(start, tmp_path, capsys, monkeypatch):
    from praxon.commands import _improver

    monkeypatch.setattr(_improver, "EPISODES_AT_MOST", 1)
    never = ["gate=stalled", "gate.patience=100000", "dataset=null", "rounds=1"]
    praxon(*start, *never, f"run_dir={tmp_path}", expect=1)
    assert "nobody took over, and no demonstrations were given" in capsys.readouterr().err


def test_daggers_mixture_gets_weaker_with_the_rounds(start, tmp_path):
    praxon(*start, "method=dagger", "beta=0.5", "rounds=2", "labels=300", f"run_dir={tmp_path}")
    first, second = rounds_of(tmp_path)[1:]
    assert first["intervention_rate"] == pytest.approx(0.5, abs=0.12)
    assert second["intervention_rate"] == pytest.approx(0.25, abs=0.12)


class Pad:
    """A person with an Xbox pad, as pygame tells of it: what is held at each look of each episode, by the number of buttons."""

    def __init__(self, episodes):
        self.episodes, self.episode, self.look = [list(each) for each in episodes], -1, 0
        self.display = self.joystick = self.event = self

    def init(self):
        pass

    def get_count(self):
        return 1

    def Joystick(self, index):
        return self

    def get_init(self):
        return True

    def get_numaxes(self):
        return 6

    def get_numbuttons(self):
        return 11

    def pump(self):
        """One look; what is held last in an episode ends it, and is let go in the next."""
        self.look += 1
        if self.episode < 0 or self.look == len(self.episodes[self.episode]):
            self.episode, self.look = self.episode + 1, 0

    def get_button(self, number):
        return number in self.episodes[self.episode][self.look]

    def get_axis(self, number):
        return -1.0 if number == 4 else 0.0


def test_a_person_with_a_gamepad_is_learned_from(start, tmp_path, monkeypatch):
    """Starts each episode, lets the policy, drives, and ends it: discarded, failed, solved."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    begin, drives = [[], [7], [], [], []], [[5]] * 18
    pad = Pad([[*begin, *drives, [2]], [*begin, *drives, [1]], [*begin, *drives, [5, 3]], [[]] * 10])
    monkeypatch.setitem(sys.modules, "pygame", pad)
    praxon(*start, "operator=gamepad", "rounds=1", f"run_dir={tmp_path}")
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["gate"] is None
    dataset = LeRobotDataset(tmp_path / "rounds" / "01" / "rollouts")
    assert dataset.num_episodes == 2  # of three
    driven = dataset.columns["is_intervention"].reshape(-1)
    assert driven.sum() == rounds_of(tmp_path)[1]["labels"] == 16 + 17
    last = np.flatnonzero(dataset.columns["next.terminal"].reshape(-1))
    assert dataset.columns["next.success"].reshape(-1)[last].tolist() == [0, 1]
    assert dataset.columns["pre_intervention"].reshape(-1)[last].tolist() == [1, 0]
    assert rounds_of(tmp_path)[1]["interventions"] == 2
    np.testing.assert_array_equal(dataset.columns["action"][driven == 1], dataset.columns["expert_action"][driven == 1])


def test_a_schedule_of_other_weights_is_left_out(start, tmp_path, capsys):
    bundle = start[1].removeprefix("bundle=")
    cached = tmp_path / "cached"
    few = ["engine={steps:12}", "updates=3", "episodes=1", "chunks=2"]
    praxon("calibrate", f"bundle={bundle}", *few, f"out={cached}", f"run_dir={tmp_path / 'c'}")
    praxon(*start, f"bundle={cached}", "method=bc", "rounds=1", f"run_dir={tmp_path / 'run'}")
    assert "cache schedule is of its weights" in capsys.readouterr().out
    assert load_bundle(tmp_path / "run" / "bundle").policy.engine.cache is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["method=luck"], "There is no method 'luck'"),
        (["gate=luck"], "There is no gate 'luck'"),
        (["gate=stalled", "gate.patience=0"], "Patience of 0 steps"),
        (["gate.patience=4"], "of a gate, and none was chosen"),
        (["bundle=null"], "No bundle was given"),
        (["skill=2"], "The expert's skill is 2"),
        (["rounds=0"], "rounds is 0; at least 1"),
        (["labels=null"], "labels is null"),
        (["beta=2", "method=dagger"], "beta is 2; a probability"),
        (["mixing.schedule=linear", "method=dagger"], "no schedule 'linear'. There are exponential, first, constant"),
        (["mixing.steps=0", "method=dagger"], "a probability and at least one step are needed"),
        (["training.learning_rate=0"], "learning_rate is 0; it must be positive"),
        (["training.learning_rate=null"], "learning_rate is None; it must be positive"),
        (["operator=luck"], "There is no operator 'luck'"),
        (["operator=keyboard", "method=dagger"], "method=dagger asks at every step what would be done"),
        (["operator=keyboard", "method=thrifty_dagger"], "a person takes over unasked; method=hg_dagger"),
        (["operator=keyboard", "gate=stalled"], "by hand the device says who drives"),
        (["method=bc", "gate=value"], "method=bc says itself who drives"),
        (["method=dagger", "gate=random"], "method=dagger says itself who drives"),
        (["operator=keyboard", "operator.device.step_m=0"], "Steps of 0 m"),
        (["method=rlif", "gate=thrifty"], "rlif learns within; gate=stalled would do"),
        (["method=rlif", "learner.gamma=1"], "learner.gamma is 1; a discount within 0 and 1"),
        (["method=rlif", "learner.publish_every=0"], "told every 0"),
        (["method=rlif", "learner.subset=9"], "A subset of 9 critics"),
        (["method=rlif", "learner.blame_steps=0"], "blamed on 0 steps"),
        (["method=rlif", "refinement.knots=9"], "1 to 4 knots are needed"),
        (["method=rlif", "refinement=dsrl"], "refit=false leaves it as it is"),
        (["method=rlif", "refit=true"], "refit is 'True'; solved, returns, expert or false is needed"),
        (["method=rlif", "refit=[returns]"], "solved, returns, expert or false is needed"),
        (["method=rlif", "practice=-1"], "practice is -1; at least 0"),
        (["method=rlif", "practice=null"], "practice is null"),
        (["method=hg_dagger", "practice=2"], "practice is of rlif and hil_serl, and method=hg_dagger would ignore it"),
        (["method=bc", "refit=expert"], "refit is of rlif and hil_serl"),
        (["method=bc", "learner.gamma=0.9"], "learner is of rlif and hil_serl"),
        (["method=bc", "refinement=dsrl"], "refinement is of rlif and hil_serl"),
        (["method=rlif", "beta=0.1"], "beta is of dagger, and method=rlif would ignore it"),
        (["method=rlif", "learner.gama=0.9"], "Settings: learner.gamma, learner.blame_steps"),
        (["method=rlif", "practice=2", "operator=gamepad"], "practice is of scripted operators"),
        (["method=rlif", "refit_beta=-1"], "refit_beta is -1"),
        (["method=hg_dagger", "classifier=nowhere"], "classifier is of rlif and hil_serl"),
        (["method=rlif", "env_steps=0"], "env_steps is 0"),
        (["method=rlif", "skill=2"], "The expert's skill is 2"),
        (["method=hil_serl", "operator=keyboard"], "A window needs a display"),
        (["method=rlif", "operator=gamepad", "operator.device.index=99"], "amepad"),
    ],
)
def test_what_cannot_be_is_one_sentence(start, arguments, said, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    praxon(*start, *arguments, f"run_dir={tmp_path / 'run'}", expect=1)
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run" / "rounds").exists()


QUICK = ["gate.hidden=16", "gate.novelty_steps=30", "gate.risk_steps=30", "gate.target_rate=0.05"]


def test_who_learns_while_acting_goes_on_where_it_was_cut_short(start, tmp_path, monkeypatch, capsys):
    from praxon.commands import eval as evaluation

    settings = [
        *start,
        "method=rlif",
        "rounds=1",
        "practice=1",
        "refit=expert",
        "gate=random",
        "gate.rate=0.1",
        *CRITICS,
    ]

    def interrupted(*arguments, **more):
        if calls:
            raise KeyboardInterrupt
        calls.append(None)
        return real(*arguments, **more)

    real, calls = evaluation.run, []
    monkeypatch.setattr(evaluation, "run", interrupted)
    praxon(*settings, f"run_dir={tmp_path}", expect=130)  # in the evaluation of the first round
    assert f"resume=true run_dir={tmp_path} goes on" in capsys.readouterr().err
    monkeypatch.undo()
    dataset = LeRobotDataset(tmp_path / "rounds" / "01" / "rollouts")
    learned = json.loads((tmp_path / "rounds" / "01" / "learned.json").read_text())
    assert learned["critic_loss"] > 0
    praxon(*settings, "resume=true", f"run_dir={tmp_path}")
    again = LeRobotDataset(tmp_path / "rounds" / "01" / "rollouts")
    np.testing.assert_array_equal(again.columns["action"], dataset.columns["action"])
    assert json.loads((tmp_path / "rounds" / "01" / "learned.json").read_text()) == learned
    assert rounds_of(tmp_path)[1]["env_steps"] == dataset.num_frames
    # Fewer rounds than there are would put an older policy in the place of a newer one.
    praxon(*settings[:-1], "resume=true", "rounds=1", f"run_dir={tmp_path}", expect=1)  # other critics
    before = (tmp_path / "bundle" / "manifest.json").read_bytes()
    praxon(*settings, "resume=true", "rounds=2", f"run_dir={tmp_path}")
    after = (tmp_path / "bundle" / "manifest.json").read_bytes()
    capsys.readouterr()
    praxon(*settings, "resume=true", f"run_dir={tmp_path}", expect=1)
    assert "has finished 2 rounds, and rounds=1 was asked for" in capsys.readouterr().err
    assert before != after == (tmp_path / "bundle" / "manifest.json").read_bytes()


def test_a_gate_that_learns_says_why_it_asked_and_survives_being_killed(start, tmp_path, monkeypatch):
    from praxon.learning.interactive import supervised

    settings = [*start, "method=thrifty_dagger", "gate=thrifty", *QUICK, "rounds=2", "labels=60"]
    praxon(*settings, f"run_dir={tmp_path / 'whole'}")
    for each in rounds_of(tmp_path / "whole")[1:]:
        gate = each["gate"]
        assert gate["asked_by_novelty"] + gate["asked_by_risk"] == each["interventions"] > 0
        # What nobody has tried yet is not risky.
        assert (gate["thresholds"]["risk"] is None) == (each["round"] == 1)

    def cut_after(calls):
        real = supervised.roll_out

        def interrupted(*arguments, **more):
            nonlocal calls
            calls -= 1
            if calls < 0:
                raise KeyboardInterrupt
            return real(*arguments, **more)

        monkeypatch.setattr(supervised, "roll_out", interrupted)

    first, second = (each["episodes"] for each in rounds_of(tmp_path / "whole")[1:])
    assert second > 1
    cut_after(first + 1)  # in the second round, after an episode by which thresholds moved
    praxon(*settings, f"run_dir={tmp_path / 'cut'}", expect=130)
    monkeypatch.undo()
    praxon(*settings, "resume=true", f"run_dir={tmp_path / 'cut'}")
    assert rounds_of(tmp_path / "cut") == rounds_of(tmp_path / "whole")
    one, other = (tmp_path / name / "bundle" / "model.safetensors" for name in ("cut", "whole"))
    assert one.read_bytes() == other.read_bytes()


def test_a_method_has_a_gate_that_it_usually_takes(start, tmp_path, capsys):
    praxon(*start, "method=thrifty_dagger", "dataset=null", f"run_dir={tmp_path}", expect=1)
    assert "This gate learns from demonstrations what is new" in capsys.readouterr().err
