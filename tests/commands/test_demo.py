"""The main job in small: every file and figure it promises, continued after it was cut off, moved aside when it is over."""

import json
import re

import pytest

from praxon.cli import run

SMALL = ["task=reach", "policy=debug", "demonstrations=3", "minutes=0.03", "episodes=2", "ros_episodes=0"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "demo"
    assert run(["demo", *SMALL, f"run_dir={folder}"]) == 0
    return folder


def test_it_leaves_what_it_promises(demo):
    assert {"bundle", "dataset", "report.html", "result.json"} <= {path.name for path in demo.iterdir()}
    result = json.loads((demo / "result.json").read_text())
    for name in ("sim", "expert", "hold"):
        assert {"episodes", "successes", "success_rate", "interval_95", "latency_ms"} <= set(result[name])
    assert {"collect", "train", "sim", "expert", "hold", "total"} <= set(result["seconds"])
    assert (result["expert"]["successes"], result["hold"]["successes"]) == (2, 0)
    assert result["train"]["bundle"] == str(demo / "bundle")
    assert run(["info", f"bundle={demo / 'bundle'}"]) == 0


def test_the_report_needs_nothing_else(demo):
    page = (demo / "report.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert len(sources) >= 3
    assert all(source.startswith("data:") for source in sources)
    assert "scripted expert" in page


def test_a_demo_that_was_cut_off_is_continued_and_a_finished_one_moved_aside(demo):
    dataset = (demo / "dataset" / "data" / "chunk-000" / "file-000.parquet").read_bytes()
    # As if stopped while evaluating: everything after the training is missing, and an evaluation lies half done.
    for name in ("result.json", "report.html", "sim/done.json", "expert/done.json", "hold/done.json"):
        (demo / name).unlink()
    weights = (demo / "bundle" / "model.safetensors").read_bytes()
    assert run(["demo", *SMALL, f"run_dir={demo}"]) == 0
    assert (demo / "bundle" / "model.safetensors").read_bytes() == weights
    # As if stopped while collecting.
    (demo / "result.json").unlink()
    (demo / "collect" / "done.json").unlink()
    (demo / "collect" / "dataset").mkdir()
    (demo / "collect" / "dataset" / "half").write_text("")
    assert run(["demo", *SMALL, f"run_dir={demo}"]) == 0
    assert (demo / "dataset" / "data" / "chunk-000" / "file-000.parquet").read_bytes() == dataset
    # Finished: a new one begins beside it.
    assert run(["demo", *SMALL, f"run_dir={demo}"]) == 0
    assert len([path for path in demo.parent.iterdir() if path.name.startswith("demo-")]) == 1
