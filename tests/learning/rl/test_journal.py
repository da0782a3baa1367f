"""The journal and the weights: nothing lost, nothing twice, nothing half."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch

from praxon.errors import DatasetError
from praxon.learning.rl.journal import JournalWriter, read_journal, record_dtype
from praxon.learning.rl.published import LATEST, Publisher, Subscriber

DTYPE = record_dtype([("a", "<f4", (3,)), ("b", "u1", ())])


def write(path, count, capacity=100):
    with JournalWriter(path, DTYPE, capacity) as writer:
        for _ in range(count):
            number = writer.count
            writer.append({"a": np.full(3, number), "b": number % 256})


def test_what_is_written_is_read_from_anywhere(tmp_path):
    path = tmp_path / "j"
    assert len(read_journal(path, DTYPE)) == 0
    write(path, 5)
    write(path, 3)
    records = read_journal(path, DTYPE)
    assert records["b"].tolist() == list(range(8))
    assert records["a"][6].tolist() == [6, 6, 6]
    assert read_journal(path, DTYPE, 6)["b"].tolist() == [6, 7]


@pytest.mark.parametrize("cut", [1, DTYPE.itemsize - 1])
def test_a_record_that_was_half_written_is_cut_off_and_written_anew(tmp_path, cut):
    path = tmp_path / "j"
    write(path, 4)
    os.truncate(path, 4 * DTYPE.itemsize - cut)
    assert len(read_journal(path, DTYPE)) == 3
    write(path, 2)
    assert read_journal(path, DTYPE)["b"].tolist() == [0, 1, 2, 3, 4]


def test_damage_within_is_not_cut_away(tmp_path):
    path = tmp_path / "j"
    write(path, 4)
    data = bytearray(path.read_bytes())
    data[DTYPE.itemsize + 10] ^= 1
    path.write_bytes(data)
    assert len(read_journal(path, DTYPE)) == 1
    with pytest.raises(DatasetError, match="record 1 .* is damaged, and 2 sound ones follow"):
        JournalWriter(path, DTYPE, 100)
    assert path.read_bytes() == data


def test_one_writer_at_a_time_and_no_more_than_was_said(tmp_path):
    path = tmp_path / "j"
    with JournalWriter(path, DTYPE, 2) as writer:
        with pytest.raises(DatasetError, match="being written by another"):
            JournalWriter(path, DTYPE, 2)
        with pytest.raises(DatasetError, match="needs 'b'"):
            writer.append({"a": np.zeros(3)})
        with pytest.raises(DatasetError, match=r"'a' is \(2,\); \(3,\) is needed"):
            writer.append({"a": np.zeros(2), "b": 0})
        writer.append({"a": np.zeros(3), "b": 0})
        writer.append({"a": np.zeros(3), "b": 1})
        with pytest.raises(DatasetError, match="full: it was made for 2"):
            writer.append({"a": np.zeros(3), "b": 2})
    assert len(read_journal(path, DTYPE)) == 2


WRITES = """
    import sys
    from pathlib import Path
    import numpy as np
    from praxon.learning.rl.journal import JournalWriter, record_dtype
    dtype = record_dtype([("a", "<f4", (3,)), ("b", "u1", ())])
    with JournalWriter(Path(sys.argv[1]), dtype, 10**6) as writer:
        print("ready", flush=True)
        while True:
            number = writer.count
            writer.append({"a": np.full(3, number), "b": number % 256})
            print(writer.count, flush=True)
"""


def test_a_writer_that_is_killed_loses_nothing_that_it_said_it_wrote(tmp_path):
    path = tmp_path / "j"
    least = 0
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITES), str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 0.05
        while time.monotonic() < deadline:
            least = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        for line in process.communicate()[0].splitlines():
            least = int(line) if line.isdigit() else least
        found = read_journal(path, DTYPE)
        assert len(found) >= least > 0
        assert found["a"][:, 0].tolist() == list(range(len(found)))


def weights(value):
    return {"w": torch.full((3,), float(value)), "b": torch.tensor([float(value)])}


def test_the_newest_weights_are_read_once(tmp_path):
    publisher, subscriber = Publisher(tmp_path), Subscriber(tmp_path)
    assert subscriber.newer() is None
    publisher.publish(weights(1))
    assert publisher.publish(weights(2)) == 2
    assert subscriber.newer()["w"].tolist() == [2, 2, 2]
    assert subscriber.version == 2
    assert subscriber.newer() is None
    # A learner that was killed goes on counting.
    assert Publisher(tmp_path).publish(weights(3)) == 3
    assert subscriber.newer()["b"].tolist() == [3]
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_weights_that_are_half_written_changed_or_old_are_not_used(tmp_path):
    publisher, subscriber = Publisher(tmp_path), Subscriber(tmp_path)
    publisher.publish(weights(1))
    assert subscriber.newer() is not None
    publisher.publish(weights(2))
    newest = tmp_path / "00000002.safetensors"
    content = newest.read_bytes()
    for wrong in (content[:-1], content[:-1] + bytes([content[-1] ^ 1]), b""):
        newest.write_bytes(wrong)
        assert subscriber.newer() is None
    assert subscriber.refused == 3
    assert subscriber.version == 1
    newest.write_bytes(content)
    assert subscriber.newer()["w"].tolist() == [2, 2, 2]
    said = json.loads((tmp_path / LATEST).read_text())
    (tmp_path / LATEST).write_text(json.dumps({**said, "version": 1, "file": "00000001.safetensors"}))
    assert subscriber.newer() is None
    (tmp_path / LATEST).write_text("{")
    assert subscriber.newer() is None
