"""Checkpoints: complete ones are found, changed ones are refused, a full disk takes nothing away."""

import errno

import pytest
import torch

from praxon.errors import CheckpointError
from praxon.learning.checkpoint import Checkpoint, latest_checkpoint, require_same, save_checkpoint
from praxon.policies import durable


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, {"model.weight": torch.full((100,), float(step))}, {"elapsed_s": 1.5})


def test_newest_is_found_and_two_are_kept(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    for step in (5, 10, 100):
        save_checkpoint(tmp_path, checkpoint(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000010", "step_00000100"]
    found = latest_checkpoint(tmp_path)
    assert found.step == 100
    assert found.state["elapsed_s"] == 1.5
    assert torch.equal(found.tensors["model.weight"], torch.full((100,), 100.0))


def test_a_half_written_one_is_never_loaded(tmp_path):
    save_checkpoint(tmp_path, checkpoint(5))
    partial = tmp_path / ".step_00000010.partial"  # what a kill leaves behind
    partial.mkdir()
    (partial / "tensors.safetensors").write_bytes(b"half")
    assert latest_checkpoint(tmp_path).step == 5
    save_checkpoint(tmp_path, checkpoint(10))
    assert not partial.exists()


def test_a_changed_or_truncated_one_is_refused_by_name(tmp_path):
    path = save_checkpoint(tmp_path, checkpoint(5)) / "tensors.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"step_00000005' are not the ones that were saved"):
        latest_checkpoint(tmp_path)
    (path.parent / "state.json").write_text('{"format_version": 1')
    with pytest.raises(CheckpointError, match=r"step_00000005' cannot be read"):
        latest_checkpoint(tmp_path)
    (path.parent / "state.json").write_text('{"format_version": 7}')
    with pytest.raises(CheckpointError, match="format version 7; this Praxon reads 1"):
        latest_checkpoint(tmp_path)


def test_a_full_disk_leaves_earlier_ones_alone(tmp_path, monkeypatch):
    for step in (5, 10):
        save_checkpoint(tmp_path, checkpoint(step))

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable, "_write_synced", full)
    with pytest.raises(CheckpointError, match="No space left on device; earlier checkpoints are unchanged"):
        save_checkpoint(tmp_path, checkpoint(15))
    assert latest_checkpoint(tmp_path).step == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000005", "step_00000010"]


def test_a_run_with_other_settings_is_refused_by_the_setting(tmp_path):
    mine = {"run": {"policy": {"width": 64}}, "training": {"betas": (0.9, 0.95)}}
    require_same(mine, {"run": {"policy": {"width": 64}}, "training": {"betas": [0.9, 0.95]}}, tmp_path)
    with pytest.raises(CheckpointError, match=r"another run: run\.policy\.width was 32 and is now 64;"):
        require_same(mine, {"run": {"policy": {"width": 32}}, "training": {"betas": [0.9, 0.95]}}, tmp_path)
