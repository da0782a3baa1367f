"""Sweeps: every combination once, done jobs left alone, mistakes met before anything runs, a failed job not the end."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from rich.console import Console

from praxon.cli import run
from praxon.commands import _sweep
from praxon.learning.trainer import Trainer

JOBS = ["train", "-m", "policy=debug", "seed=0,1", "steps=2,3", "training.tensorboard=false"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    root = tmp_path_factory.mktemp("swept")
    assert run(["collect", "task=reach", "episodes=2", f"run_dir={root / 'collected'}"]) == 0
    assert run([*JOBS, f"dataset={root / 'collected' / 'dataset'}", f"run_dir={root / 'sweep'}"]) == 0
    return root


def report(folder):
    return json.loads((folder / "result.json").read_text())["jobs"]


def test_every_combination_is_one_job_with_a_folder_of_its_own(swept):
    jobs = report(swept / "sweep")
    assert [(job["result"]["seed"], job["result"]["steps"]) for job in jobs] == [(0, 2), (0, 3), (1, 2), (1, 3)]
    for job in jobs:
        folder = swept / "sweep" / job["folder"]
        assert job["result"] == json.loads((folder / "result.json").read_text())
        assert (folder / "bundle" / "manifest.json").exists()


def test_the_same_command_runs_what_is_missing_and_continues_what_was_begun(swept):
    sweep, dataset = swept / "sweep", f"dataset={swept / 'collected' / 'dataset'}"
    times = {n: (sweep / n / "bundle" / "manifest.json").stat().st_mtime_ns for n in "0123"}
    before = report(sweep)
    (sweep / "2" / "result.json").unlink()
    assert run([*JOBS, dataset, f"run_dir={sweep}"]) == 0
    changed = {n for n in "0123" if (sweep / n / "bundle" / "manifest.json").stat().st_mtime_ns != times[n]}
    assert changed == {"2"}
    assert [job["settings"] for job in report(sweep)] == [job["settings"] for job in before]
    assert report(sweep)[2]["result"]["steps"] == 2


def test_mistakes_are_met_before_anything_runs(swept, tmp_path, capsys):
    dataset = f"dataset={swept / 'collected' / 'dataset'}"
    for wrong, answer in (
        (["policy=debug,flw"], "There is no policy 'flw'. Did you mean 'flow'?"),
        (["seed=0,x"], "a whole number is expected"),
        (["sed=0,1"], "Did you mean 'seed'?"),
    ):
        assert run(["train", "-m", *wrong, dataset, f"run_dir={tmp_path / 'run'}"]) == 1
        assert answer in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert run(["train", "-m", "policy=debug", "seed=5,6", dataset, f"run_dir={swept / 'sweep'}"]) == 1
    assert "the same settings go on with it" in capsys.readouterr().err
    assert run(["train", "policy=debug", "seed=5,6", dataset]) == 1
    assert "praxon train -m tries each" in capsys.readouterr().err


def test_the_table_keeps_what_differs_in_a_narrow_terminal(swept, capsys, monkeypatch):
    monkeypatch.setattr(_sweep, "console", Console(width=80, soft_wrap=True))
    long = [f"policy.network._target_=praxon.policies.networks.{name}" for name in ("unet1d.UNet1D", "transformer.Tr")]
    folder = swept / "narrow"
    for number, setting in enumerate(long):
        (folder / str(number)).mkdir(parents=True)
        made_with = ["dataset=a", setting, f"policy.observations=[state,{number}]"]
        (folder / str(number) / "made_with.json").write_text(json.dumps(made_with))
        figures = {
            "loss": 0.123456,
            "success_rate": 0.5,
            "steps": 123456,
            "parameters": 1234567,
            "training_seconds": 99.0,
        }
        (folder / str(number) / "result.json").write_text(json.dumps(figures))
    _sweep._report("train", folder)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    kept = "".join(line.split("│")[2].strip() for line in shown.splitlines() if line.count("│") > 3)
    assert all(setting in kept for setting in (*long, "[state,0]", "[state,1]"))
    assert "[s]" in shown
    assert "…" not in shown


def test_a_job_that_fails_does_not_stop_the_others(swept, tmp_path, capsys):
    dataset = f"dataset={swept / 'collected' / 'dataset'}"
    wrong = "policy.chunk.horizon=0,8"
    settings = ["train", "-m", "policy=debug", "steps=2", "training.tensorboard=false", wrong, dataset]
    assert run([*settings, f"run_dir={tmp_path / 'sweep'}"]) == 1
    assert "1 of 2 jobs failed: 0 (" in capsys.readouterr().err
    jobs = report(tmp_path / "sweep")
    assert "A chunk of 0 actions" in jobs[0]["problem"]
    assert jobs[1]["result"]["steps"] == 2


def test_a_job_with_an_error_of_its_own_does_not_stop_the_others_either(swept, tmp_path, capsys, monkeypatch):
    whole = Trainer.fit

    def fit(trainer, *arguments, **options):
        if trainer.seed == 0:
            raise RuntimeError("out of memory")
        return whole(trainer, *arguments, **options)

    monkeypatch.setattr(Trainer, "fit", fit)
    settings = ["train", "-m", "policy=debug", "seed=0,1", "steps=2", "training.tensorboard=false"]
    dataset = f"dataset={swept / 'collected' / 'dataset'}"
    assert run([*settings, dataset, f"run_dir={tmp_path / 'sweep'}"]) == 1
    error = capsys.readouterr().err
    assert "1 of 2 jobs failed: 0 (" in error
    assert error.endswith("RuntimeError: out of memory\n")
    jobs = report(tmp_path / "sweep")
    assert "Traceback" in jobs[0]["problem"]
    assert jobs[1]["result"]["seed"] == 1


def test_a_sweep_in_an_allocation_of_several_tasks_is_one_process(swept, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    settings = ["train", "-m", "policy=debug", "seed=0,1", "steps=2", "training.tensorboard=false"]
    dataset = f"dataset={swept / 'collected' / 'dataset'}"
    assert run([*settings, dataset, f"run_dir={tmp_path / 'sweep'}"]) == 0
    assert [job["result"]["processes"] for job in report(tmp_path / "sweep")] == [1, 1]


@pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="needs the extra 'cluster'")
def test_submitit_runs_the_jobs_in_processes_of_its_own(swept, tmp_path):
    more = [
        "hydra/launcher=submitit_local",
        f"dataset={swept / 'collected' / 'dataset'}",
        f"run_dir={tmp_path / 'sweep'}",
    ]
    settings = ["train", "-m", "policy=debug", "seed=0,1", "steps=2", "training.tensorboard=false", *more]
    done = subprocess.run(
        [sys.executable, "-m", "praxon", *settings], capture_output=True, text=True, env=os.environ, timeout=300
    )
    assert done.returncode == 0, done.stderr
    for job, same in (("0", "0"), ("1", "2")):  # seeds 0 and 1 with two steps
        manifest = (swept / "sweep" / same / "bundle" / "manifest.json").read_bytes()
        assert (tmp_path / "sweep" / job / "bundle" / "manifest.json").read_bytes() == manifest
    assert any((tmp_path / "sweep" / ".submitit").iterdir())
