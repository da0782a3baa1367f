"""The verbs of the engine, as a user meets them: calibrate, export, tune, bench denoise, and delays in eval."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
import yaml

from praxon.cli import run
from praxon.policies.bundle import load_bundle
from praxon.policies.denoising.backends import registry
from praxon.policies.denoising.backends.machine import processor

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="onnx, onnxscript and onnxruntime are not installed",
)


def praxon(*arguments, expect=0):
    assert run([str(argument) for argument in arguments]) == expect


def result_of(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A policy that has barely begun to learn."""
    root = tmp_path_factory.mktemp("engine")
    praxon("collect", "task=lift", "episodes=2", f"run_dir={root / 'a'}")
    quick = ["policy=debug", "steps=5", "training.tensorboard=false"]
    praxon("train", *quick, f"dataset={root / 'a' / 'dataset'}", f"run_dir={root / 'b'}")
    return root / "b" / "bundle"


def test_a_schedule_is_calibrated_to_the_bit_and_serves(bundle, tmp_path, capsys):
    for name in ("one", "two"):
        settings = ["engine={steps:12}", "updates=3", "episodes=1", "chunks=2", f"out={tmp_path / name}"]
        praxon("calibrate", f"bundle={bundle}", *settings, f"run_dir={tmp_path / f'run_{name}'}")
    assert (tmp_path / "one" / "engine.yaml").read_bytes() == (tmp_path / "two" / "engine.yaml").read_bytes()
    result = result_of(tmp_path / "run_one")
    assert result["evaluations"] == 12
    assert result["blocks_run"] < result["blocks"]
    assert result["blocks_run"] == sum(len(steps) for steps in result["updates"].values())
    praxon("eval", f"bundle={tmp_path / 'one'}", "episodes=1", f"run_dir={tmp_path / 'served'}")
    assert load_bundle(tmp_path / "one").policy.engine.cache.share_run == pytest.approx(result["share_run"], abs=1e-4)
    before = (tmp_path / "one" / "engine.yaml").read_bytes()
    capsys.readouterr()
    few = ["engine={steps:5}", "updates=5", "episodes=1", "chunks=1"]
    praxon("calibrate", f"bundle={tmp_path / 'one'}", *few, f"run_dir={tmp_path / 'none'}", expect=1)
    assert "nothing would be reused" in capsys.readouterr().err
    assert (tmp_path / "one" / "engine.yaml").read_bytes() == before
    praxon("eval", f"bundle={tmp_path / 'one'}", "episodes=1", "engine={steps:5}", expect=1)
    error = capsys.readouterr().err
    assert "steps" in error
    assert error.count("\n") == 1


@needs_onnx
def test_an_exported_policy_is_evaluated_to_the_same_successes(bundle, tmp_path):
    praxon(
        "export", f"bundle={bundle}", "engine={steps:2}", f"out={tmp_path / 'portable'}", f"run_dir={tmp_path / 'x'}"
    )
    settings = ["task=lift", "episodes=2"]
    praxon("eval", f"bundle={tmp_path / 'portable'}", *settings, f"run_dir={tmp_path / 'p'}")
    praxon("eval", f"bundle={bundle}", "engine={steps:2}", *settings, f"run_dir={tmp_path / 'b'}")
    portable, whole = (result_of(tmp_path / name) for name in "pb")
    for one, other in zip(portable["episode_results"], whole["episode_results"], strict=True):
        assert (one["seed"], one["success"], one["steps"]) == (other["seed"], other["success"], other["steps"])


def test_tuning_writes_a_choice_that_serving_holds_to(bundle, tmp_path, capsys):
    few = ["episodes=1", "rounds=10", "presets=[euler_2,euler_1]", "backends=[eager]", "threads=1", "tolerance=1.0"]
    out = tmp_path / "tuned"
    praxon("tune", f"bundle={bundle}", "budget_ms=1000", *few, f"out={out}", f"run_dir={tmp_path / 'tune'}")
    result = result_of(tmp_path / "tune")
    engine = yaml.safe_load((out / "engine.yaml").read_text())
    fastest = min((row for row in result["timed"]), key=lambda row: row["p50_ms"])
    assert result["chosen"]["preset"] == fastest["preset"]
    assert engine["serving"]["backend"] == "eager"
    assert engine["measured"]["p50_ms"] == fastest["p50_ms"]
    assert engine["steps"] == load_bundle(out).policy.engine.sampler.steps
    # The weights are the same, and a bundle that is slower than its budget is not served unless it shall be.
    assert (out / "model.safetensors").read_bytes() == (bundle / "model.safetensors").read_bytes()
    assert engine["measured"]["processor"] == processor()
    capsys.readouterr()
    praxon("tune", f"bundle={bundle}", "budget_ms=0.0001", *few, f"run_dir={tmp_path / 'none'}", expect=1)
    said = capsys.readouterr().err.replace("\n", " ")
    assert "Nothing here draws a chunk within 0.0001 ms" in said
    assert "the bundle is as it was" in said


def test_tuning_starts_from_the_bundles_own_serving_and_looks_at_each_precision(bundle, tmp_path, monkeypatch):
    from praxon.commands import tune
    from praxon.policies.bundle import save_engine

    loaded = load_bundle(bundle)
    # Measured to be too slow, with a cache schedule of its own, and choosing among candidates.
    serving = {"candidates": 3, "selection": {"coherence": 1}, "precision": "float32"}
    measured = {"p50_ms": 9.0, "p99_ms": 12.0, "budget_ms": 6.0}
    settings = {**loaded.policy.engine_settings(), "serving": serving, "measured": measured}
    save_engine(loaded, settings, tmp_path / "slow")
    praxon(
        *("calibrate", f"bundle={tmp_path / 'slow'}", "updates=3", "episodes=1", "chunks=2", "engine={steps:12}"),
        f"run_dir={tmp_path / 'calibrate'}",
    )
    evaluated = []
    rates = {"as it is": 1.0, "euler_2": 0.0, "euler_2 in bfloat16": 1.0}
    monkeypatch.setattr(tune, "_success", lambda config, folder, name, *rest: evaluated.append(name) or rates[name])
    times = iter([{"p50_ms": p50, "p99_ms": p50} for p50 in (9.0, 9.5, 2.0, 3.0)])
    monkeypatch.setattr(tune, "_times", lambda *arguments: next(times))
    monkeypatch.setattr(registry, "missing", lambda serving: "")
    praxon(
        *("tune", f"bundle={tmp_path / 'slow'}", "budget_ms=5", "presets=[euler_2]", "backends=[eager]"),
        *("precisions=[float32,bfloat16]", f"run_dir={tmp_path / 'tune'}"),
    )
    assert evaluated == ["as it is", "euler_2", "euler_2 in bfloat16"]
    engine = yaml.safe_load((tmp_path / "slow" / "engine.yaml").read_text())
    assert (engine["steps"], engine["cache"]) == (2, None)
    assert engine["serving"]["precision"] == "bfloat16"
    assert (engine["serving"]["candidates"], engine["serving"]["selection"]) == (3, {"coherence": 1})
    assert not engine["serving"]["over_budget"]


def test_threads_are_the_bundles_unless_they_are_given(bundle, tmp_path):
    from praxon.policies.bundle import save_engine

    loaded = load_bundle(bundle)
    save_engine(loaded, {**loaded.policy.engine_settings(), "serving": {"threads": 2}}, tmp_path / "two")
    before = torch.get_num_threads()
    try:
        for given, wanted in (([], 2), (["threads=1"], 1)):
            praxon("eval", f"bundle={tmp_path / 'two'}", "episodes=1", *given, f"run_dir={tmp_path / 'run'}")
            assert torch.get_num_threads() == wanted
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve", "bundle=nowhere", "serving=openvino"], "serving is openvino; settings by name are needed"),
        (["eval", "bundle=nowhere", "serving=openvino"], "serving={backend:openvino}"),
        (
            ["export", "bundle=nowhere", "engine=4"],
            "engine is 4; settings by name are needed, such as engine={steps:4}",
        ),
        (["compose", "bundles=[a,b]", "engine=4"], "engine is 4; settings by name are needed"),
        (["eval", "task=lift", "agent=hold", "engine={steps:4}"], "engine is of a policy, and agent=hold is none"),
        (["eval", "bundle=nowhere", "serving={batch:4}"], "serving.batch is 4; one chunk is drawn at a time here"),
        (["bench", "denoise", "device=cuda:77"], "cuda:77"),
        (["bench", "denoise", "device=gpu"], "The device is 'gpu'; cpu, cuda, or cuda:0"),
    ],
)
def test_settings_that_are_none_are_refused_in_one_sentence(arguments, said, capsys, tmp_path):
    praxon(*arguments, f"run_dir={tmp_path / 'run'}", expect=1)
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_bundle_over_its_budget_is_not_served_unless_it_shall_be(bundle, tmp_path, capsys):
    from praxon.policies.bundle import save_engine

    loaded = load_bundle(bundle)
    measured = {"p50_ms": 9.0, "p99_ms": 12.0, "budget_ms": 6.0}
    save_engine(loaded, {**loaded.policy.engine_settings(), "measured": measured}, tmp_path / "slow")
    praxon("eval", f"bundle={tmp_path / 'slow'}", "episodes=1", f"run_dir={tmp_path / 'a'}", expect=1)
    assert "measured to take 12.0 ms (p99), and its budget is 6.0 ms" in capsys.readouterr().err
    praxon(
        "eval", f"bundle={tmp_path / 'slow'}", "episodes=1", "serving={over_budget:true}", f"run_dir={tmp_path / 'b'}"
    )


def test_the_bench_measures_each_beside_the_reference(tmp_path):
    few = ["only=[transformer_4x128,act]", "backends=[eager,cuda_graph]", "rounds=5", "warm_ups=1", "threads=1"]
    praxon("bench", "denoise", *few, "steps=[2]", f"run_dir={tmp_path / 'bench'}", f"out={tmp_path / 'kept.json'}")
    result = json.loads((tmp_path / "kept.json").read_text())
    assert [row["policy"] for row in result["rows"] if "error" not in row][:1] == ["transformer_4x128"]
    row = result["rows"][0]
    promised = {"policy", "backend", "preset", "steps", "batch", "p50_ms", "p99_ms", "ratio", "max_deviation"}
    assert promised <= set(row)
    assert row["steps"] == 2
    assert 0 < row["max_deviation"] < 1e-4
    assert row["ratio"] == pytest.approx(row["reference_p50_ms"] / row["p50_ms"], rel=0.01)
    assert row["p50_ms"] <= row["p99_ms"]
    # Two linear maps of 128 x 128 for 16 tokens are but a small part of it.
    assert row["flops"] > 2 * 2 * 16 * 128 * 128
    assert any("needs an NVIDIA GPU" in text for text in result["left_out"]) or len(result["rows"]) > 2


def test_a_bundle_of_ones_own_is_measured(bundle, tmp_path):
    few = ["backends=[eager]", "rounds=5", "warm_ups=1", "threads=1"]
    praxon("bench", "denoise", f"bundle={bundle}", *few, f"run_dir={tmp_path / 'bench'}")
    (row,) = result_of(tmp_path / "bench")["rows"]
    assert (row["policy"], row["steps"]) == (bundle.name, load_bundle(bundle).policy.engine.sampler.steps)
    assert row["max_deviation"] < 1e-4


@pytest.mark.parametrize("delay", [0, 3])
def test_chunks_are_continued_whatever_their_delay(bundle, tmp_path, delay):
    run_dir = tmp_path / "run"
    praxon("eval", f"bundle={bundle}", "episodes=1", f"delay={delay}", "engine={method:guided}", f"run_dir={run_dir}")
    result = result_of(run_dir)
    assert result["delay"] == delay
    assert (result["engine"]["method"], result["engine"]["guidance_limit"]) == ("guided", 5.0)
    assert (result["serving"]["backend"], result["serving"]["candidates"]) == ("eager", 1)


def test_chunks_that_end_before_the_next_arrives_are_warned_of(bundle, tmp_path, capsys):
    chunk = load_bundle(bundle).contract.chunk
    # A chunk is asked for when its rows are used, or when the one before has come, and comes as late again.
    late = max(delay for delay in range(chunk.horizon) if delay + max(chunk.num_execute, delay) <= chunk.horizon)
    for delay, warned in ((late, False), (late + 1, True)):
        capsys.readouterr()
        praxon("eval", f"bundle={bundle}", "episodes=1", f"delay={delay}", f"run_dir={tmp_path / str(delay)}")
        assert ("short chunks" in capsys.readouterr().out) == warned
