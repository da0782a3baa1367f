"""Studies: every cell on the same data and starts, resumed where they were stopped, refused where they differ."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from praxon.cli import run as command
from praxon.commands._hydra import compose_config
from praxon.commands.bench import policies as bench
from praxon.commands.bench._study import Cell, Processes, Stage, Study, run_all
from praxon.commands.bench.policies import pooled, run, study_of
from praxon.errors import ConfigError

SMALL = ["study.minutes=0.03", "study.episodes=2", "study.demonstrations=2", "jobs=2"]


def config_for(root, *more):
    config = compose_config("bench policies", [*SMALL, f"run_dir={root}", *more])
    # A study of its own: what the shipped ones hold may change.
    config.study.tasks = {"reach": ["task=reach"]}
    config.study.policies = {"small": ["policy=debug"], "smaller": ["policy=debug", "policy.network.width=16"]}
    return config


@pytest.mark.slow
def test_a_study_trains_and_evaluates_every_cell_and_does_nothing_twice(tmp_path):
    result = run(config_for(tmp_path / "study", "seeds=[0]"))
    assert [(c["task"], c["policy"], c["seed"]) for c in result["cells"]] == [
        ("reach", "small", 0),
        ("reach", "smaller", 0),
    ]
    assert all(c["episodes"] == 2 and c["steps"] > 0 for c in result["cells"])
    assert result["cells"][0]["parameters"] > result["cells"][1]["parameters"]
    assert result["experts"]["reach"]["episodes"] == 2
    assert set(result["latency_ms"]["reach"]) == {"small", "smaller"}
    seeds = {
        tuple(each["seed"] for each in json.loads(path.read_text())["episode_results"])
        for path in (tmp_path / "study").rglob("result.json")
        if "episode_results" in path.read_text()
    }
    assert len(seeds) == 1  # the policies and the expert met the same starts
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "study" / "reach").rglob("result.json")}
    again = run(config_for(tmp_path / "study", "seeds=[0]"))
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert again["cells"] == result["cells"]
    with pytest.raises(ConfigError, match="another run_dir starts anew"):
        run(config_for(tmp_path / "study", "seeds=[0]", "study.episodes=3"))


def test_a_study_from_outside_is_that_of_the_page(tmp_path, monkeypatch):
    """As far as the processes, which it hands its folder."""
    page = (Path(__file__).parents[2] / "docs" / "policies.md").read_text()
    lab = tmp_path / "my"
    (lab / "configs" / "study").mkdir(parents=True)
    study = re.search(r"```yaml\n(# Does.*?)```", page, re.DOTALL).group(1)
    (lab / "configs" / "study" / "mine.yaml").write_text(study)
    commands = []

    def take_down(processes, stage):
        assert os.environ["PRAXON_PATH"] == str(lab)
        commands.append(" ".join(stage.command[3:]))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Processes, "run", take_down)
    assert command(["--path", "my", "bench", "policies", "study=mine", "jobs=1"]) == 0
    assert [text.split()[0] for text in commands] == ["collect", "eval", *["train", "eval"] * 4]
    assert "train policy=flow policy.network.width=256 dataset=runs/bench/mine/lift/demonstrations" in commands[4]
    for text in commands:
        verb, *settings = text.split()
        compose_config(verb, settings)


def test_the_table_has_units(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "console", Console(width=120))
    study = Study({"reach": []}, {"p": []}, [0], 1, 1, 0.01, tmp_path)
    figures = {"successes": 1, "episodes": 2, "success_rate": 0.5, "interval_95": [0.1, 0.9]}
    cell = {"task": "reach", "policy": "p", "seed": 0, "parameters": 5, "training_seconds": 7.0, **figures}
    result = {
        "study": "s",
        "cells": [cell],
        "experts": {"reach": figures},
        "latency_ms": {"reach": {"p": {"p50": 3.0}}},
    }
    bench._print(study, result)
    shown = capsys.readouterr().out
    assert "training [s]" in shown
    assert "chunk p50 [ms]" in shown


def test_a_failed_cell_is_named_and_the_others_go_on(tmp_path):
    study = Study({"reach": []}, {"broken": []}, [0], 1, 1, 0.01, tmp_path)
    broken = Stage(tmp_path / "broken", "train", ["dataset=/nowhere"])
    fine = Stage(tmp_path / "fine", "collect", ["task=reach", "episodes=1"])
    outcomes = dict(run_all([lambda p: p.run(broken), lambda p: p.run(fine)], jobs=1))
    assert "/nowhere" in str(outcomes[0])
    assert outcomes[1] is None
    assert fine.result is not None
    assert study.cells == [Cell("reach", "broken", 0)]


@pytest.mark.slow
def test_stopping_interrupts_what_runs_and_leaves_what_can_go_on(tmp_path):
    collect = Stage(tmp_path / "data", "collect", ["task=reach", "episodes=2"])
    assert Processes().run(collect) is None
    train = Stage(
        tmp_path / "train",
        "train",
        ["policy=debug", f"dataset={tmp_path / 'data' / 'dataset'}", "steps=100000000", "minutes=3"],
        "checkpoints",
    )
    code = (
        "import sys; from praxon.commands.bench._study import Stage, run_all; from pathlib import Path\n"
        f"stage = Stage(Path({str(train.folder)!r}), 'train', {train.settings!r}, 'checkpoints')\n"
        "list(run_all([lambda p: p.run(stage)], 1))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (train.folder / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1.0)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) != 0
    assert list((train.folder / "checkpoints").glob("step_*"))
    assert "resume=true" in train.command


def test_choices_that_are_not_in_the_study_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no 'flo' among its policies.*Did you mean 'flow'"):
        study_of(compose_config("bench policies", ["policies=[flo]"]))
    narrowed = study_of(compose_config("bench policies", ["policies=[flow]", "tasks=[push_t]", "seeds=[3,4]"]))
    assert [(c.task, c.policy, c.seed) for c in narrowed.cells] == [("push_t", "flow", 3), ("push_t", "flow", 4)]


def test_pooling_counts_episodes():
    cells = [
        {"task": "a", "policy": "p", "seed": 0, "successes": 10, "episodes": 10},
        {"task": "b", "policy": "p", "seed": 0, "successes": 0, "episodes": 30},
        {"task": "b", "policy": "q", "seed": 0, "successes": 1, "episodes": 1},
    ]
    assert pooled({"cells": cells}, "p")["success_rate"] == 0.25
    assert pooled({"cells": cells}, "p", "a")["success_rate"] == 1.0
    assert pooled({"cells": cells}, "r") is None


@pytest.mark.parametrize("jobs", [0, -1, "many"])
def test_a_number_of_jobs_that_cannot_be_is_refused(tmp_path, jobs):
    with pytest.raises(ConfigError, match=f"jobs is {jobs}; at least 1"):
        run(config_for(tmp_path, f"jobs={jobs}"))
