"""The trainer: it learns, it resumes to the bit after a kill, it stops in time, and it says what went wrong."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from praxon.errors import CheckpointError, ConfigError, DatasetError
from praxon.learning import training_run
from praxon.learning.checkpoint import latest_checkpoint
from praxon.learning.interrupt import SIGNALS, deferred_interrupt
from praxon.learning.weighting import Weighting
from praxon.policies import durable

SCRIPT = Path(__file__).with_name("toy_run.py")


def start(directory, steps: int, pause_s: float) -> subprocess.Popen:
    command = [sys.executable, str(SCRIPT), str(directory), str(steps), str(pause_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_step(directory, step: int, process: subprocess.Popen) -> None:
    log = directory / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_bytes().count(b"\n") >= step):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_learns(toy, tmp_path):
    policy = toy.toy_policy()
    reports = []
    trainer = toy.toy_trainer(steps=300, learning_rate=5e-3, checkpoint_every=1000)
    result = trainer.fit(policy, toy.ToyWindows(), tmp_path, on_step=reports.append)
    losses = np.array([loss for _, loss in toy.losses_in(tmp_path)])
    assert result.step == len(losses) == len(reports) == 300
    assert losses[-30:].mean() < 0.5 * losses[:10].mean()
    assert reports[-1].progress == 1.0
    assert [report.loss for report in reports] == losses.tolist()
    assert not policy.training


def test_a_run_is_a_function_of_its_seed(toy, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        toy.toy_trainer(seed=seed, steps=8).fit(toy.toy_policy(), toy.ToyWindows(), tmp_path / name)
    assert toy.losses_in(tmp_path / "a") == toy.losses_in(tmp_path / "b")
    assert toy.losses_in(tmp_path / "a") != toy.losses_in(tmp_path / "c")


def test_kill_nine_and_resume_gives_the_same_losses_to_the_bit(toy, tmp_path):
    killed = start(tmp_path / "killed", 30, 0.1)
    wait_for_step(tmp_path / "killed", 13, killed)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    steps_before = len(toy.losses_in(tmp_path / "killed"))
    assert 13 <= steps_before < 30
    for name in ("whole", "killed"):
        toy.launched(tmp_path / name, 30)
    assert toy.losses_in(tmp_path / "killed") == toy.losses_in(tmp_path / "whole")
    tensors = [latest_checkpoint(tmp_path / name / "checkpoints").tensors for name in ("killed", "whole")]
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_run_after_its_step_and_it_goes_on_later(number, toy, tmp_path):
    before = signal.getsignal(number)

    def ask(report):
        if report.step == 3:
            signal.raise_signal(number)

    with pytest.raises(KeyboardInterrupt):
        toy.toy_trainer(steps=1000).fit(toy.toy_policy(), toy.ToyWindows(), tmp_path, on_step=ask)
    assert signal.getsignal(number) is before
    assert latest_checkpoint(tmp_path / "checkpoints").step == len(toy.losses_in(tmp_path)) == 3
    toy.toy_trainer(steps=5).fit(toy.toy_policy(), toy.ToyWindows(), tmp_path)
    assert [step for step, _ in toy.losses_in(tmp_path)] == [1, 2, 3, 4, 5]


def test_a_second_signal_does_not_wait_for_a_checkpoint(toy, tmp_path):
    def insist(report):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        toy.toy_trainer().fit(toy.toy_policy(), toy.ToyWindows(), tmp_path, on_step=insist)
    assert latest_checkpoint(tmp_path / "checkpoints") is None
    with deferred_interrupt(patient=True) as interrupt:  # among several processes
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert interrupt.requested


def test_a_torn_log_line_is_cut_off(toy, tmp_path):
    toy.toy_trainer(steps=5).fit(toy.toy_policy(), toy.ToyWindows(), tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "loss": 1.0}\n{"step": 7, "lo')
    toy.toy_trainer(steps=8).fit(toy.toy_policy(), toy.ToyWindows(), tmp_path)
    assert [step for step, _ in toy.losses_in(tmp_path)] == list(range(1, 9))


def test_a_finished_run_returns_its_averaged_weights_again(toy, tmp_path):
    first, second = toy.toy_policy(), toy.toy_policy()
    toy.toy_trainer(steps=7).fit(first, toy.ToyWindows(), tmp_path)
    result = toy.toy_trainer(steps=7).fit(second, toy.ToyWindows(), tmp_path)
    assert result.step == 7
    assert result.loss is None
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])


def test_averaged_weights_are_served_only_if_asked_for(toy, tmp_path):
    averaged, plain = toy.toy_policy(), toy.toy_policy()
    toy.toy_trainer(steps=7).fit(averaged, toy.ToyWindows(), tmp_path / "a")
    toy.toy_trainer(steps=7, ema=False).fit(plain, toy.ToyWindows(), tmp_path / "b")
    assert toy.losses_in(tmp_path / "a") == toy.losses_in(tmp_path / "b")
    assert not torch.equal(averaged.network.head.weight, plain.network.head.weight)


def test_time_ends_a_run_and_the_cosine_with_it(toy, tmp_path, monkeypatch):
    clock = iter(np.arange(0.0, 1e6, 0.5))
    monkeypatch.setattr(training_run.time, "monotonic", lambda: float(next(clock)))
    reports = []
    toy.toy_trainer(steps=10**9, minutes=1.0).fit(toy.toy_policy(), toy.ToyWindows(), tmp_path, on_step=reports.append)
    assert 10 < len(reports) < 60
    assert reports[-1].progress == 1.0
    assert reports[-1].learning_rate < 0.02 * max(report.learning_rate for report in reports)


def test_weights_scale_what_each_sample_contributes(toy, tmp_path):
    class OnlyEven(Weighting):
        def __call__(self, batch, losses):
            return 2.0 * (batch["index"] % 2 == 0).to(losses.dtype)

    class EvenWindows(toy.ToyWindows):
        def batch(self, indices, *, draw=0):
            batch = super().batch(indices)
            batch["action"][indices % 2 == 1] = 1e6  # would show in any loss that heard of them
            return batch

    toy.toy_trainer(steps=3).fit(toy.toy_policy(), EvenWindows(), tmp_path, weighting=OnlyEven())
    assert max(loss for _, loss in toy.losses_in(tmp_path)) < 100


def test_another_config_is_refused_by_the_setting_that_differs(toy, tmp_path):
    toy.toy_trainer(steps=5).fit(toy.toy_policy(), toy.ToyWindows(), tmp_path, config={"dataset": "a"})
    with pytest.raises(CheckpointError, match=r"another run: run\.dataset was 'a' and is now 'b'"):
        toy.toy_trainer(steps=9).fit(toy.toy_policy(), toy.ToyWindows(), tmp_path, config={"dataset": "b"})
    with pytest.raises(CheckpointError, match=r"training\.learning_rate was 0\.002 and is now 0\.01"):
        toy.toy_trainer(steps=9, learning_rate=0.01).fit(
            toy.toy_policy(), toy.ToyWindows(), tmp_path, config={"dataset": "a"}
        )


def test_a_full_disk_stops_with_one_sentence_and_the_run_goes_on_later(toy, tmp_path, monkeypatch):
    toy.toy_trainer(steps=10).fit(toy.toy_policy(), toy.ToyWindows(), tmp_path)

    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(durable, "_write_synced", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        toy.toy_trainer(steps=20).fit(toy.toy_policy(), toy.ToyWindows(), tmp_path)
    monkeypatch.undo()
    result = toy.toy_trainer(steps=20).fit(toy.toy_policy(), toy.ToyWindows(), tmp_path)
    assert result.step == 20
    assert [step for step, _ in toy.losses_in(tmp_path)] == list(range(1, 21))


def test_a_bad_feature_is_named_with_the_step(toy, tmp_path):
    windows = toy.ToyWindows()
    windows.state[17, 1] = np.nan
    with pytest.raises(DatasetError, match=r"stopped at step \d: feature 'observation.state' .* not finite"):
        toy.toy_trainer(steps=20).fit(toy.toy_policy(), windows, tmp_path)


def test_diverged_weights_are_named_and_not_saved(toy, tmp_path):
    policy = toy.toy_policy()
    with torch.no_grad():
        policy.network.head.bias[0] = torch.inf
    with pytest.raises(ConfigError, match=r"stopped at step 1: the value of 'network.head.bias' is not finite"):
        toy.toy_trainer().fit(policy, toy.ToyWindows(), tmp_path)
    assert latest_checkpoint(tmp_path / "checkpoints") is None


def test_settings_out_of_range_and_missing_preparation(toy, tmp_path):
    with pytest.raises(ConfigError, match="steps is 0; it must be positive"):
        toy.toy_trainer(steps=0)
    with pytest.raises(ConfigError, match=r"'float8' does not exist. Precisions: auto, float32, bfloat16, float16"):
        toy.toy_trainer(precision="float8")
    unfitted = toy.toy_policy(fitted=False)
    with pytest.raises(ConfigError, match="normaliser has no statistics"):
        toy.toy_trainer().fit(unfitted, toy.ToyWindows(), tmp_path)
    with pytest.raises(DatasetError, match="no windows"):
        toy.toy_trainer().fit(toy.toy_policy(), toy.ToyWindows(0), tmp_path)


def test_errors_of_the_data_side_surface(toy, tmp_path):
    class Broken(toy.ToyWindows):
        def batch(self, indices, *, draw=0):
            raise DatasetError("file-003.parquet is truncated.")

    with pytest.raises(DatasetError, match="truncated"):
        toy.toy_trainer().fit(toy.toy_policy(), Broken(), tmp_path)


def test_tensorboard_holds_the_curves(toy, tmp_path):
    toy.toy_trainer(steps=3, tensorboard=True).fit(toy.toy_policy(), toy.ToyWindows(), tmp_path)
    assert any((tmp_path / "tensorboard").glob("events.*"))


def test_float16_leaves_out_steps_that_overflow_and_lowers_the_scale(toy, tmp_path):
    policy, spare = toy.toy_policy(), toy.toy_policy()
    # A gradient of 4 at a scale of 65536 is more than float16 holds: some steps are left out until the scale fits.
    trainer = toy.toy_trainer(steps=6, precision="float16", learning_rate=1e-3)

    class Steep(type(policy)):
        def loss(self, batch, generator):
            return 50.0 * super().loss(batch, generator)

    policy.__class__ = spare.__class__ = Steep
    trainer.fit(policy, toy.ToyWindows(), tmp_path / "run")
    checkpoint = latest_checkpoint(tmp_path / "run" / "checkpoints")
    assert 1.0 <= checkpoint.state["precision"]["scale"] < 65536
    left_out = [line for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines() if "grad_norm" not in line]
    assert 65536 / 2 ** len(left_out) == checkpoint.state["precision"]["scale"]
    assert checkpoint.state["ema_updates"] == 6 - len(left_out)
    toy.toy_trainer(steps=8, precision="float16", learning_rate=1e-3).fit(spare, toy.ToyWindows(), tmp_path / "run")
    assert latest_checkpoint(tmp_path / "run" / "checkpoints").state["precision"]["scale"] <= 65536 / 2 ** len(left_out)


def test_a_compiled_loss_gives_the_same_numbers(toy, tmp_path, monkeypatch):
    compiled = []

    def spy(function):
        compiled.append(function)
        return torch._dynamo.optimize("eager")(function)

    monkeypatch.setattr(torch, "compile", spy)
    for name in ("plain", "compiled"):
        toy.toy_trainer(steps=3, compile=name == "compiled").fit(toy.toy_policy(), toy.ToyWindows(), tmp_path / name)
    assert len(compiled) == 1
    losses = [[loss for _, loss in toy.losses_in(tmp_path / name)] for name in ("plain", "compiled")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
