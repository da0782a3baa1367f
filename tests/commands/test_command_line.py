"""The command line as a user meets it: the whole circle by hand, and mistakes answered in one sentence with nothing lost."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from praxon.cli import run, verbs
from praxon.targets import load_option, options

ROOT = Path(__file__).parents[2]
QUICK = ["policy=debug", "steps=30", "training.tensorboard=false", "training.checkpoint_every=10"]


def praxon(*arguments, expect=0):
    assert run([str(argument) for argument in arguments]) == expect


@pytest.fixture(scope="module")
def circle(tmp_path_factory):
    """collect and train, once: folders a (lift demonstrations) and b (a policy that has barely begun to learn)."""
    root = tmp_path_factory.mktemp("circle")
    praxon("collect", "task=lift", "episodes=4", f"run_dir={root / 'a'}")
    praxon("train", *QUICK, "task=lift", f"dataset={root / 'a' / 'dataset'}", f"run_dir={root / 'b'}")
    return root


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def without_log(contents: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in contents.items() if name != "log.txt"}


# -- the circle ------------------------------------------------------------------------------------


def test_evaluation_reports_what_is_promised(circle):
    praxon("eval", f"bundle={circle / 'b' / 'bundle'}", "task=lift", "episodes=3", "seed=7", f"run_dir={circle / 'c'}")
    result = json.loads((circle / "c" / "result.json").read_text())
    promised = {
        "task",
        "robot",
        "bundle",
        "episodes",
        "seed",
        "successes",
        "success_rate",
        "interval_95",
        "latency_ms",
        "seconds",
    }
    assert promised <= set(result)
    assert (result["task"], result["robot"], result["episodes"], result["seed"]) == ("lift", "panda", 3, 7)
    assert set(result["latency_ms"]) == {"p50", "p99"}
    assert len(result["episode_results"]) == 3
    assert {"config.yaml", "log.txt"} <= {path.name for path in (circle / "c").iterdir()}


def test_the_same_weights_may_be_sampled_another_way(circle, tmp_path, capsys):
    arguments = ["eval", f"bundle={circle / 'b' / 'bundle'}", "episodes=1", "seed=7"]
    found = []
    for name, engine in (("as_saved", "engine=null"), ("same", "engine={steps:4}"), ("other", "engine={solver:heun}")):
        praxon(*arguments, engine, f"run_dir={tmp_path / name}")
        result = json.loads((tmp_path / name / "result.json").read_text())
        found.append(result["episode_results"][0]["metrics"])
    assert (result["engine"]["solver"], result["engine"]["steps"]) == ("heun", 4)
    assert found[0] == found[1] != found[2]
    for wrong, answer in (
        ("{stepz:4}", "Did you mean 'steps'"),
        ("{steps:0}", "at least one step"),
        ("4", "engine is 4"),
    ):
        praxon(*arguments, f"engine={wrong}", expect=1)
        assert answer in capsys.readouterr().err


def test_same_seed_same_bytes_same_weights_same_episodes(circle, tmp_path):
    praxon("collect", "task=lift", "episodes=4", f"run_dir={tmp_path / 'a'}")
    assert files(tmp_path / "a" / "dataset") == files(circle / "a" / "dataset")
    praxon("train", *QUICK, f"dataset={tmp_path / 'a' / 'dataset'}", f"run_dir={tmp_path / 'b'}")
    assert files(tmp_path / "b" / "bundle") == files(circle / "b" / "bundle")
    episodes = []
    for run_dir, bundle in ((tmp_path / "c", circle / "b"), (tmp_path / "d", tmp_path / "b")):
        praxon("eval", f"bundle={bundle / 'bundle'}", "task=lift", "episodes=2", "seed=3", f"run_dir={run_dir}")
        episodes.append(json.loads((run_dir / "result.json").read_text())["episode_results"])
    assert episodes[0] == episodes[1]


def test_several_processes_give_what_one_gives(circle, tmp_path):
    praxon("collect", "task=lift", "episodes=4", "workers=2", f"run_dir={tmp_path / 'a'}")
    assert files(tmp_path / "a" / "dataset") == files(circle / "a" / "dataset")


def test_expert_solves_and_doing_nothing_does_not(tmp_path):
    for agent, successes in (("expert", 3), ("hold", 0)):
        praxon("eval", f"agent={agent}", "task=reach", "episodes=3", f"run_dir={tmp_path / agent}")
        assert json.loads((tmp_path / agent / "result.json").read_text())["successes"] == successes


def test_help_names_every_verb_and_every_setting(capsys):
    praxon("--help")
    overview = capsys.readouterr().out
    for verb in verbs():
        assert f"  {verb} " in overview
        praxon(verb, "--help")
        assert "usage: praxon" in capsys.readouterr().out


def test_help_shows_what_a_verb_has_instead_of_a_groups_own(capsys):
    for verb, rate in (("train", "0.002"), ("improve", "0.001")):
        praxon(verb, "--help")
        assert f"    training.learning_rate={rate}" in capsys.readouterr().out


@pytest.mark.parametrize("policy", options("policy"))
def test_help_lists_every_setting_of_a_policy_with_what_its_config_says(policy, capsys):
    praxon("train", f"policy={policy}", "--help")
    shown = capsys.readouterr().out

    def leaves(config, prefix):
        for key, value in config.items():
            yield from leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]

    config = load_option("policy", policy)
    for name in leaves(config, "policy."):
        assert name == "policy._target_" or f"    {name}=" in shown
    assert "policy.encoder._target_=praxon.policies.networks.encoders.ObservationEncoder" in shown
    first = (ROOT / "configs" / "policy" / f"{policy}.yaml").read_text().splitlines()[0]
    assert f"    {first}\n" in shown
    assert re.search(r"policy.chunk.num_execute=\d+ +of them, executed before the next chunk takes over\n", shown)
    assert "    # Keyword arguments of praxon.learning.trainer.Trainer" in shown


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["trian"], "Did you mean 'train'?"),
        (["collect", "task=pik_place"], "There is no task 'pik_place'. Did you mean 'pick_place'?"),
        (["collect", "epsiodes=3"], "Did you mean 'episodes'?"),
        (["collect", "episodes=ten"], "a whole number is expected"),
        (["collect", "episodes"], "'episodes' is not of the form name=value"),
        (["collect", "episodes=0"], "at least 1 is needed"),
        (["collect", "cameras=[frnt]"], "Did you mean 'front'?"),
        (["train"], "No dataset was given"),
        (["train", "dataset=nowhere"], "nowhere"),
        (["train", "dataset=nowhere", "training.lerning_rate=1"], "Did you mean 'training.learning_rate'?"),
        (["eval"], "No bundle was given"),
        (["eval", "bundle=nowhere"], "There is no bundle at 'nowhere'"),
        (["eval", "agent=exprt"], "There is no agent 'exprt'"),
        (["serve"], "No bundle was given"),
        (["info", "robot.model=mengerie"], "Sources: own, menagerie"),
        (["collect", "seed=-1"], "seed is -1; at least 0 is needed"),
        (["collect", "image_size=84"], "a list is expected"),
        (["collect", "~episodes"], "cannot be left out"),
        (["collect", "cameras=front"], "a list is expected, as in cameras=[front]"),
        (["train", "dataset=nowhere", "minutes=abc"], "minutes is abc"),
        (["train", "dataset=nowhere", "threads=0"], "threads is 0; at least 1 is needed"),
        (["train", "dataset=nowhere", "resume=true"], "There is no training to continue"),
        (["train", "dataset=nowhere", "training.betas=3"], "a list is expected"),
        (["eval", "agent=expert"], "No task was given. Tasks: aloha"),
        (["serve", "bundle=nowhere"], "There is no bundle at 'nowhere'"),
    ],
)
def test_a_mistake_is_answered_in_one_sentence(arguments, answer, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    praxon(*arguments, expect=1)
    error = capsys.readouterr().err
    assert answer in error
    assert "Traceback" not in error
    assert error.count("\n") == 1


def test_truncated_or_changed_weights_are_refused(circle, tmp_path, capsys):
    for name, damage in (("short", lambda b: b[:-7]), ("changed", lambda b: b[:-1] + bytes([b[-1] ^ 1]))):
        shutil.copytree(circle / "b" / "bundle", tmp_path / name)
        weights = tmp_path / name / "model.safetensors"
        weights.write_bytes(damage(weights.read_bytes()))
        praxon("eval", f"bundle={tmp_path / name}", "task=lift", "episodes=1", f"run_dir={tmp_path / 'run'}", expect=1)
        assert "model.safetensors" in capsys.readouterr().err


def test_a_bundle_for_another_task_is_refused_listing_both_sides(circle, tmp_path, capsys):
    praxon("eval", f"bundle={circle / 'b' / 'bundle'}", "task=reach", f"run_dir={tmp_path / 'run'}", expect=1)
    error = capsys.readouterr().err
    assert "observation.cube_pose" in error
    assert "observation.goal_pose" in error


def test_a_dataset_of_another_task_is_refused(circle, tmp_path, capsys):
    praxon(
        "train", *QUICK, "task=reach", f"dataset={circle / 'a' / 'dataset'}", f"run_dir={tmp_path / 'run'}", expect=1
    )
    assert "is of task 'lift', not 'reach'" in capsys.readouterr().err


def test_a_policy_or_device_that_cannot_be_is_refused(circle, tmp_path, capsys):
    dataset = f"dataset={circle / 'a' / 'dataset'}"
    for override, answer in (
        ("policy.network.width=0", "at least 1 is needed"),
        ("training.device=cuda:99", "Device 'cuda:99' is not available here; training.device=cpu is"),
        ("training.device=gpu", "Device 'gpu' is not available here; training.device=cpu is"),
        ("policy.chunk.horizon=0", "A chunk of 0 actions has none to execute; a horizon of at least 1 is needed"),
    ):
        praxon("train", *QUICK, dataset, f"run_dir={tmp_path / 'run'}", override, expect=1)
        assert answer in capsys.readouterr().err


def test_a_dataset_of_other_joint_names_is_refused(circle, tmp_path, capsys):
    shutil.copytree(circle / "a" / "dataset", tmp_path / "data")
    contract = tmp_path / "data" / "meta" / "contract.yaml"
    swap = {"panda_joint1": "panda_joint2", "panda_joint2": "panda_joint1"}
    contract.write_text(re.sub("|".join(swap), lambda match: swap[match.group()], contract.read_text()))
    praxon("train", *QUICK, f"dataset={tmp_path / 'data'}", f"run_dir={tmp_path / 'run'}", expect=1)
    error = capsys.readouterr().err
    assert "panda_joint2, panda_joint1" in error
    assert "panda_joint1, panda_joint2" in error
    assert not (tmp_path / "run").exists()


def test_a_bundle_is_evaluated_on_its_own_task(circle, tmp_path):
    praxon("eval", f"bundle={circle / 'b' / 'bundle'}", "episodes=1", f"run_dir={tmp_path / 'run'}")
    assert json.loads((tmp_path / "run" / "result.json").read_text())["task"] == "lift"


def test_a_full_disk_during_training_is_one_sentence(circle, tmp_path):
    limited = start_training(circle, tmp_path / "run", limit_bytes=20_000)
    _, error = limited.communicate(timeout=60)
    assert limited.returncode == 1
    assert "Traceback" not in error
    assert "could not be written" in error
    assert not (tmp_path / "run" / "bundle").exists()


def test_a_second_training_into_the_same_folder_must_be_asked_for(circle, capsys):
    before = files(circle / "b")  # with its log: the same process has trained there
    praxon("train", *QUICK, f"dataset={circle / 'a' / 'dataset'}", f"run_dir={circle / 'b'}", expect=1)
    assert "resume=true continues it" in capsys.readouterr().err
    assert files(circle / "b") == before


def test_a_refusal_leaves_no_progress_bar(circle, capsys):
    data = f"dataset={circle / 'a' / 'dataset'}"
    praxon("train", *QUICK, "seed=5", data, f"run_dir={circle / 'b'}", "resume=true", expect=1)
    assert "%" not in capsys.readouterr().out


def test_a_wrong_setting_of_several_processes_is_said_once(circle, capsys, monkeypatch, tmp_path):
    """Every process meets it, so that the first of a machine speaks; what one may meet alone, each says itself."""
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("RANK", "1")
    data = f"dataset={circle / 'a' / 'dataset'}"
    praxon("train", *QUICK, data, "policy.chunk.horizon=0", f"run_dir={tmp_path / 'wrong'}", expect=1)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("LOCAL_RANK", "0")
    praxon("train", *QUICK, data, "policy.chunk.horizon=0", f"run_dir={tmp_path / 'wrong'}", expect=1)
    assert "(process 1): A chunk of 0" in capsys.readouterr().err


def test_another_training_does_not_continue_this_one(circle, capsys):
    before = without_log(files(circle / "b"))
    overrides = [
        f"dataset={circle / 'a' / 'dataset'}",
        f"run_dir={circle / 'b'}",
        "resume=true",
        "policy.network.width=64",
    ]
    praxon("train", *QUICK, *overrides, expect=1)
    assert "width" in capsys.readouterr().err
    assert without_log(files(circle / "b")) == before


def test_a_second_collection_does_not_overwrite_the_first(circle, capsys):
    before = without_log(files(circle / "a"))
    praxon("collect", "task=lift", "episodes=1", f"run_dir={circle / 'a'}", expect=1)
    assert str(circle / "a") in capsys.readouterr().err
    assert without_log(files(circle / "a")) == before
    assert "already holds a collection" in (circle / "a" / "log.txt").read_text()


# -- interruptions -----------------------------------------------------------------------------------


def training(circle, run_dir):
    settings = ["train", "policy=debug", "steps=200", "training.checkpoint_every=20", "training.tensorboard=false"]
    return [*settings, f"dataset={circle / 'a' / 'dataset'}", f"run_dir={run_dir}"]


def start_training(circle, run_dir, limit_bytes=None):
    command = [sys.executable, "-c", "from praxon.cli import main; main()", *training(circle, run_dir)]

    def limit():
        if limit_bytes is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=limit)


def wait_for_checkpoint(run_dir, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if (run_dir / "metrics.jsonl").exists() and len((run_dir / "metrics.jsonl").read_text().splitlines()) > 30:
            return
        time.sleep(0.02)
    raise AssertionError(f"training did not get under way: {process.communicate()}")


def losses(run_dir):
    return [json.loads(line)["loss"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def collecting(run_dir):
    return ["collect", "task=lift", "episodes=15", "perturbation_rad=0.1", f"run_dir={run_dir}"]


def start_collecting(run_dir):
    command = [sys.executable, "-c", "from praxon.cli import main; main()", *collecting(run_dir)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_or_interrupted_collection_goes_on_to_the_same_data(tmp_path):
    praxon(*collecting(tmp_path / "unbroken"))
    for how, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)):
        run_dir = tmp_path / how.name
        broken = start_collecting(run_dir)
        ledger = run_dir / "dataset/meta/collection.jsonl"
        while not (ledger.is_file() and ledger.read_bytes().count(b"\n") >= 3):
            assert broken.poll() is None, broken.communicate()
            time.sleep(0.01)
        os.kill(broken.pid, how)
        _, error = broken.communicate(timeout=60)
        assert broken.returncode == status, error
        assert not (run_dir / "result.json").exists()
        if how == signal.SIGINT:
            assert "resume=true" in error
            assert "Traceback" not in error
        praxon(*collecting(run_dir), "resume=true")
        assert files(run_dir / "dataset") == files(tmp_path / "unbroken" / "dataset")


def test_killed_and_interrupted_training_continues_to_the_same_bundle(circle, tmp_path):
    praxon(*training(circle, tmp_path / "unbroken"))
    for how, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)):
        run_dir = tmp_path / how.name
        broken = start_training(circle, run_dir)
        wait_for_checkpoint(run_dir, broken)
        os.kill(broken.pid, how)
        _, error = broken.communicate(timeout=60)
        assert broken.returncode == status, error
        assert not (run_dir / "bundle").exists()
        if how == signal.SIGINT:
            assert "resume=true" in error
            assert "Traceback" not in error
        praxon(*training(circle, run_dir), "resume=true")
        assert losses(run_dir) == losses(tmp_path / "unbroken")
        assert files(run_dir / "bundle") == files(tmp_path / "unbroken" / "bundle")
