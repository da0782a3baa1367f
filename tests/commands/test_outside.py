"""A policy from outside the repository: one file and one config in any folder."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from praxon.cli import run
from praxon.targets import load_option, options

ROOT = Path(__file__).parents[2]
POLICY = '''
"""mine: flow matching with errors that count by their absolute value."""

from praxon.policies.flow_matching import FlowMatchingPolicy


class Mine(FlowMatchingPolicy):
    def error(self, *arguments):
        return super().error(*arguments).add(1e-8).sqrt()
'''


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The folder, and demonstrations."""
    root = tmp_path_factory.mktemp("my lab")
    (root / "policy_of_mine.py").write_text(POLICY)
    (root / "configs" / "policy").mkdir(parents=True)
    config = load_option("policy", "debug") | {"_target_": "policy_of_mine.Mine"}
    (root / "configs" / "policy" / "mine.yaml").write_text(yaml.safe_dump(config))
    assert run(["collect", "task=reach", "episodes=2", f"run_dir={root / 'collected'}"]) == 0
    return root


def test_it_is_trained_and_evaluated_in_worker_processes(lab, capsys):
    folders = [f"dataset={lab / 'collected' / 'dataset'}", f"run_dir={lab / 'run'}"]
    train = ["train", "policy=mine", "steps=3", "training.tensorboard=false", *folders]
    evaluate = ["eval", f"bundle={lab / 'run' / 'bundle'}", "episodes=2", "workers=2", f"run_dir={lab / 'evaluated'}"]
    assert run([*train, "--path", str(lab)]) == 0
    # A process that knows nothing of it yet; the workers are its children.
    command = [sys.executable, "-m", "praxon", *evaluate]
    alone = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert alone.returncode == 1
    missing = "No module named 'policy_of_mine'; where it lies outside Praxon, --path <folder> or PRAXON_PATH"
    assert missing in alone.stderr
    assert not (lab / "evaluated" / "result.json").exists()
    assert run([*evaluate, "--path", str(lab)]) == 0
    assert json.loads((lab / "evaluated" / "result.json").read_text())["episodes"] == 2


def test_it_is_held_to_the_contract(lab):
    contract = ROOT / "tests" / "policies" / "test_policy_contract.py"
    held = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(contract), "-k", "mine", "-p", "no:cacheprovider"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PRAXON_PATH": str(lab), "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert held.returncode == 0, held.stdout
    assert re.search(r"^[1-9]\d* passed", held.stdout, re.MULTILINE), held.stdout


def test_its_settings_are_overridden_and_explained(lab, capsys, monkeypatch):
    assert "mine" not in options("policy")
    assert run(["--path", str(lab), "train", "policy=mine", "--help"]) == 0
    assert "policy.network.size=tiny" in capsys.readouterr().out
    assert "mine" not in options("policy")
    monkeypatch.setenv("PRAXON_PATH", str(lab))
    assert "mine" in options("policy")
    assert run(["train", "policy=mine", "policy.network.widht=3"]) == 1
    assert "Did you mean 'policy.network.width'?" in capsys.readouterr().err


def test_a_name_that_is_taken_and_a_folder_that_is_not_there_are_refused(lab, tmp_path, capsys):
    (tmp_path / "configs" / "policy").mkdir(parents=True)
    (tmp_path / "configs" / "policy" / "flow.yaml").write_text("_target_: a.B\n")
    assert run(["train", "--path", str(tmp_path), "dataset=nowhere", "policy=flow"]) == 1
    assert "There are two configs for the policy 'flow'" in capsys.readouterr().err
    assert run(["train", "--path", str(tmp_path / "nowhere"), "policy=flow"]) == 1
    assert f"There is no folder '{tmp_path / 'nowhere'}'" in capsys.readouterr().err
    assert run(["train", f"--path={tmp_path / 'nowhere'}", "policy=flow"]) == 1
    assert "There is no folder" in capsys.readouterr().err
    assert run(["train", "--path"]) == 1
    assert "--path needs a folder" in capsys.readouterr().err
