"""Several processes: the numbers of one, whatever is shared how; stopped together, continued together."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from praxon.errors import ConfigError
from praxon.learning.checkpoint import latest_checkpoint

SCRIPT = Path(__file__).with_name("toy_run.py")


def launch_two(directory: Path, steps: int, pause_s: float = 0.0, **runs: dict) -> subprocess.Popen:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, str(SCRIPT), str(directory), str(steps), str(pause_s), json.dumps(runs)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def lines(directory: Path) -> list[dict]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def assert_same_run(mine: Path, other: Path) -> None:
    assert len(lines(mine)) == len(lines(other)) > 0
    for a, b in zip(lines(mine), lines(other), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)
    weights, others = (load_file(folder / "served_0.safetensors") for folder in (mine, other))
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, others[name], atol=1e-5, rtol=1e-5)


RUNS = {
    "plain": {"micro_batches": 2},
    "unequal": {"micro_batches": 4, "batch_size": 15},
    "weighted": {"micro_batches": 4, "batch_size": 15, "weighted": "even"},
    "ptr": {"micro_batches": 4, "batch_size": 15, "weighted": "ptr"},
    "spare": {"micro_batches": 2, "spare": True},
    "timed": {"micro_batches": 2, "minutes": 60.0},
}
FLOAT32 = {name: {"precision": "float32", **settings} for name, settings in RUNS.items()}


@pytest.fixture(scope="module")
def both(toy, tmp_path_factory):
    """The same runs in one process, this one, and in two."""
    root = tmp_path_factory.mktemp("both")
    two = launch_two(root / "2", 6, **FLOAT32)
    for name, settings in FLOAT32.items():
        toy.launched(root / "1" / name, 6, **settings)
    _, errors = two.communicate(timeout=120)
    assert two.returncode == 0, errors
    return root


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_give_the_losses_and_weights_of_one(name, both):
    assert_same_run(both / "1" / name, both / "2" / name)
    served = [(both / "2" / name / f"served_{rank}.safetensors").read_bytes() for rank in (0, 1)]
    assert served[0] == served[1]


def test_ctrl_c_stops_all_at_one_step_and_one_process_goes_on(toy, both, tmp_path):
    broken = launch_two(tmp_path, 6, pause_s=0.3, plain=FLOAT32["plain"])
    log = tmp_path / "plain" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not log.exists() or len(lines(log.parent)) < 2:
        assert broken.poll() is None, broken.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    broken.send_signal(signal.SIGINT)
    _, errors = broken.communicate(timeout=60)
    assert broken.returncode != 0
    assert "KeyboardInterrupt" in errors
    step = latest_checkpoint(log.parent / "checkpoints").step
    assert 2 <= step == len(lines(log.parent)) < 6
    toy.launched(tmp_path / "plain", 6, **FLOAT32["plain"])
    assert_same_run(tmp_path / "plain", both / "1" / "plain")


def test_parts_are_accumulated_to_the_gradient_of_the_whole_batch(toy, tmp_path):
    """Without random numbers, the loss of a batch is the same in however many parts."""

    class Certain(type(toy.toy_policy())):
        def loss(self, batch, generator):
            tokens = self.encoder(batch, self.normalizer)
            time_BT = torch.full(batch["action"].shape[:2], 0.5)
            return (self.network(batch["action"], time_BT, tokens) - batch["action"]).square().mean(dim=(1, 2))

    for parts in (1, 3):
        policy = toy.toy_policy()
        policy.__class__ = Certain
        toy.toy_trainer(steps=8, batch_size=16, micro_batches=parts, precision="float32").fit(
            policy, toy.ToyWindows(), tmp_path / str(parts)
        )
    for a, b in zip(lines(tmp_path / "1"), lines(tmp_path / "3"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)


def test_weights_of_several_parts_see_the_whole_batch(toy, tmp_path):
    seen = []

    class Watching(toy.OnlyEven):
        def __call__(self, batch, losses):
            seen.append((batch["index"].tolist(), batch["action_is_pad"].dtype, losses.requires_grad, len(losses)))
            return super().__call__(batch, losses)

    for parts in (1, 4):
        toy.toy_trainer(steps=2, micro_batches=parts).fit(
            toy.toy_policy(), toy.ToyWindows(), tmp_path / str(parts), weighting=Watching()
        )
    assert seen[:2] == seen[2:]
    assert all(entry[1:] == (torch.bool, False, 16) for entry in seen)


def test_what_cannot_be_shared_is_refused(toy, monkeypatch):
    with pytest.raises(ConfigError, match="a batch of 16 has from 1 to 16 parts"):
        toy.toy_trainer(micro_batches=17)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    from praxon.learning.distributed import Processes

    with pytest.raises(ConfigError, match="accelerate is configured for FSDP"):
        Processes.join("cpu")
