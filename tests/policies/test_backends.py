"""Every backend gives the reference's chunks for the same noise; what is missing or does not fit is one sentence."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from praxon.errors import BundleError, ConfigError
from praxon.policies.build import build_policy
from praxon.policies.bundle import load_bundle, save_bundle
from praxon.policies.denoising import export as export_module
from praxon.policies.denoising.backends import registry
from praxon.policies.denoising.backends.machine import has_compiler
from praxon.policies.denoising.backends.onnx import providers_for
from praxon.policies.denoising.backends.registry import Serving, cache_folder, make_runtime, missing, open_runtime
from praxon.policies.denoising.backends.seal import fetch, has_key, keep
from praxon.policies.denoising.engine import METHODS
from praxon.policies.denoising.export import export, exported, reason
from praxon.policies.denoising.reference import reference_chunk
from praxon.policies.runtime import PlannedRows
from praxon.policies.torch_runtime import TorchRuntime, matmul_precision

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "policy").glob("*.yaml"))
TINY = {"width": 32, "depth": 1, "num_heads": 2, "mlp_ratio": 2, "widths": [16, 32], "step_width": 16}
needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="onnx, onnxscript and onnxruntime are not installed",
)
needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")


def make_bundle(path, contract, statistics_of, folder, steps=None, **options):
    """A small policy of a config, with weights that matter."""
    config = yaml.safe_load(path.read_text()) | options
    if steps is not None and "steps" in config:
        config["steps"] = steps
    config["chunk"] = {"horizon": 8, "num_execute": 4, "num_obs_steps": config["chunk"]["num_obs_steps"]}
    for part in ("encoder", "network"):
        config[part] |= {name: value for name, value in TINY.items() if name in config[part]}
    torch.manual_seed(0)
    policy = build_policy(config, contract)
    rows = policy.actions.row_shape
    statistics = statistics_of(policy.contract)
    if rows:
        size = policy.actions.size
        statistics["action"] = {
            key: np.broadcast_to(np.resize(value, size), (8, size)).copy()
            for key, value in statistics["action"].items()
        }
    policy.normalizer.fit(statistics)
    with torch.no_grad():
        for parameter in policy.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
    save_bundle(folder, policy, {"policy": config})
    return load_bundle(folder)


def inputs_of(bundle, count=1):
    generator = np.random.default_rng(0)
    steps = bundle.contract.chunk.num_obs_steps
    window = {
        feature.name: (0.3 + 0.2 * generator.standard_normal((1, steps, *feature.shape))).astype(feature.dtype)
        for feature in bundle.contract.observations
    }
    return window, generator.standard_normal((count, *bundle.policy.noise_shape), dtype=np.float32)


def expected(bundle, window, noise):
    tensors = {name: torch.from_numpy(value) for name, value in window.items()}
    return reference_chunk(bundle.policy, tensors, torch.from_numpy(noise)).numpy()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_what_is_hoisted_and_frozen_changes_nothing(path, contract, statistics_of, tmp_path):
    bundle = make_bundle(path, contract, statistics_of, tmp_path / "bundle")
    window, noise = inputs_of(bundle, 3)
    drawn = TorchRuntime(bundle.policy).chunks(window, noise)
    assert drawn.shape == (3, 8, 3)
    np.testing.assert_allclose(drawn, expected(bundle, window, noise), atol=1e-4, rtol=0)
    assert np.ptp(drawn) > 0.1
    one = TorchRuntime(bundle.policy).chunks(window, noise[1:2])
    np.testing.assert_allclose(one[0], drawn[1], atol=1e-5, rtol=0)  # alone as among candidates


@needs_onnx
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_an_exported_policy_draws_the_same_chunks(path, contract, statistics_of, tmp_path):
    bundle = make_bundle(path, contract, statistics_of, tmp_path / "bundle", steps=2)
    if path.stem == "energy":  # with a tolerance the number of its steps depends on what it sees
        bundle.policy.configure_engine({"tolerance": 0.0, "max_steps": 3})
    window, noise = inputs_of(bundle)
    wanted = expected(bundle, window, noise)
    backends = ["onnx", *(["openvino"] if importlib.util.find_spec("openvino") else [])]
    for backend in backends:
        drawn = make_runtime(bundle, Serving(backend)).chunks(window, noise)
        np.testing.assert_allclose(drawn, wanted, atol=1e-4, rtol=0)
    assert len(list((tmp_path / "bundle.compiled").glob("onnx-*"))) == 1  # the graph is exported once for both


@pytest.mark.skipif(not has_compiler(), reason="there is no C++ compiler")
def test_a_compiled_policy_draws_the_same_chunks_and_is_compiled_once(contract, statistics_of, tmp_path, monkeypatch):
    bundle = make_bundle(CONFIGS[0].with_name("flow.yaml"), contract, statistics_of, tmp_path / "bundle", steps=2)
    window, noise = inputs_of(bundle, 2)
    wanted = expected(bundle, window, noise)
    drawn = make_runtime(bundle, Serving("compile", batch=2)).chunks(window, noise)
    np.testing.assert_allclose(drawn, wanted, atol=1e-4, rtol=0)
    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", None)  # a second start finds it
    again = make_runtime(load_bundle(tmp_path / "bundle"), Serving("compile", batch=2))
    np.testing.assert_array_equal(again.chunks(window, noise), drawn)
    with pytest.raises(ConfigError, match=r"made for 2 chunks at once; 1 were asked for\. batch=1 makes"):
        again.chunks(window, noise[:1])
    # What somebody else put in its place, or compiled, is never loaded.
    (package,) = (tmp_path / "bundle.compiled").glob("compile-*/chunk.pt2")
    assert fetch(package.parent, tmp_path / "chunk.pt2")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another"))
    assert not fetch(package.parent, tmp_path / "chunk.pt2")
    with pytest.raises(ConfigError, match="cannot be compiled"):  # it tries to compile again
        make_runtime(load_bundle(tmp_path / "bundle"), Serving("compile", batch=2))


def test_only_what_this_user_kept_in_this_folder_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    made, fetched = tmp_path / "made" / "chunk.pt2", tmp_path / "fetched" / "chunk.pt2"
    for file in (made, fetched):
        file.parent.mkdir()
    made.write_bytes(b"code")
    cache = tmp_path / "bundle.compiled"
    assert not fetch(cache / "compile-a", fetched)
    keep(cache / "compile-a", made)
    assert fetch(cache / "compile-a", fetched)
    assert fetched.read_bytes() == b"code"
    assert (tmp_path / "config" / "praxon" / "engine.key").stat().st_mode & 0o077 == 0
    assert [path.name for path in (tmp_path / "config" / "praxon").iterdir()] == ["engine.key"]
    # The same file is no other settings', a changed one nobody's, and another user's not ours.
    shutil.copytree(cache / "compile-a", cache / "compile-b")
    assert not fetch(cache / "compile-b", fetched)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another"))
    monkeypatch.setattr(os, "link", _no_links)
    assert not fetch(cache / "compile-a", fetched)
    keep(cache / "compile-a", made)
    assert fetch(cache / "compile-a", fetched)
    (cache / "compile-a" / "chunk.pt2").write_bytes(b"code!")
    assert not fetch(cache / "compile-a", fetched)


def _no_links(source, target):
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.skipif(not has_compiler(), reason="there is no C++ compiler")
def test_without_a_key_a_function_is_compiled_and_not_kept(contract, statistics_of, tmp_path, monkeypatch):
    bundle = make_bundle(CONFIGS[0].with_name("act.yaml"), contract, statistics_of, tmp_path / "bundle")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    window, noise = inputs_of(bundle)
    wanted = expected(bundle, window, noise)
    drawn = make_runtime(bundle, Serving("compile")).chunks(window, noise)
    np.testing.assert_allclose(drawn, wanted, atol=1e-4, rtol=0)
    assert not (tmp_path / "bundle.compiled").exists()


def test_a_user_without_a_home_keeps_nothing(monkeypatch):
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("Could not determine home")))
    assert not has_key()
    assert registry.user_cache("engines") is None


SOURCES = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
WRITE = """
import sys
from pathlib import Path
from praxon.contract import PolicyContract
from praxon.policies.durable import locked
from praxon.policies.portable import Inputs, is_portable, load_portable, save_portable
folder = Path(sys.argv[1])
for index in range(40):
    path = folder / f"onnx-{index}"
    with locked(path):
        if not is_portable(path):
            with (folder / "made").open("a") as file:
                file.write("x")
            save_portable(path, PolicyContract.load(folder / "contract.yaml"), Inputs(1, (8, 3), (), False, {}, ""), b"graph")
        assert load_portable(path).graph == b"graph"
"""


def test_processes_that_write_one_cache_wait_for_each_other(contract, tmp_path):
    contract.save(tmp_path / "contract.yaml")
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE, tmp_path], stderr=subprocess.PIPE, text=True, env=SOURCES)
        for _ in range(2)
    ]
    for writer in writers:
        _, said = writer.communicate(timeout=120)
        assert writer.returncode == 0, said
    assert (tmp_path / "made").read_text() == "x" * 40


def test_what_is_kept_is_found_by_what_is_drawn_and_by_how(contract, statistics_of, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    bundle = make_bundle(CONFIGS[0].with_name("flow.yaml"), contract, statistics_of, tmp_path / "bundle", steps=2)
    folder = cache_folder(bundle, Serving("compile"), {})
    # Neither what it was measured to take nor its card: praxon tune writes them once it has compiled.
    settings = bundle.policy.engine_settings()
    save_bundle(tmp_path / "bundle", bundle.policy, bundle.config, settings | {"measured": {"p50_ms": 1.0}}, "a card")
    tuned = load_bundle(tmp_path / "bundle")
    assert tuned.digest != bundle.digest
    assert cache_folder(tuned, Serving("compile", over_budget=True), {}) == folder
    for other in (Serving("compile", batch=2), Serving("compile", "bfloat16"), Serving("compile", threads=2)):
        assert cache_folder(bundle, other, {}) != folder
    monkeypatch.chdir(tmp_path / "bundle")
    assert cache_folder(load_bundle(Path(".")), Serving("compile"), {}) == folder
    bundle.policy.configure_engine({"steps": 3})
    assert cache_folder(bundle, Serving("compile"), {}) != folder


@needs_onnx
def test_an_export_that_this_user_did_not_make_is_made_again(contract, statistics_of, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    bundle = make_bundle(CONFIGS[0].with_name("act.yaml"), contract, statistics_of, tmp_path / "bundle")
    made = []
    monkeypatch.setattr(export_module, "_graph", lambda *_: made.append(1) or b"graph")
    folder = tmp_path / "bundle.compiled" / "onnx-0"
    for _ in range(2):
        assert exported(bundle, folder).inputs.bundle == bundle.weights
        assert len(made) == 1
    (folder / "seal").unlink()
    (folder / "of_somebody_else").write_text("")
    exported(bundle, folder)
    assert len(made) == 2
    assert not (folder / "of_somebody_else").exists()


@pytest.mark.parametrize("backend", ["eager", "onnx"])
def test_what_does_not_fit_is_refused_before_it_is_computed(backend, contract, statistics_of, tmp_path):
    if missing(Serving(backend)):
        pytest.skip(missing(Serving(backend)))
    bundle = make_bundle(CONFIGS[0].with_name("act.yaml"), contract, statistics_of, tmp_path / "bundle")
    runtime = make_runtime(bundle, Serving(backend))
    window, noise = inputs_of(bundle)
    name, value = next(iter(window.items()))
    for wrong in (np.repeat(value, 2, axis=0), value[..., :-1], value.astype(np.float64)):
        with pytest.raises(ConfigError, match=rf"has '{name}' \(.*; \(1, .*\) of float32 is needed"):
            runtime.chunks({**window, name: wrong}, noise)
    with pytest.raises(ConfigError, match=f"The observation lacks '{name}'; the policy sees"):
        runtime.chunks({key: value for key, value in window.items() if key != name}, noise)
    for wrong in (noise[..., :-1], noise.astype(np.float64), noise[:0]):
        with pytest.raises(ConfigError, match=r"The noise is .*; \(chunks, .*\) of float32 is needed"):
            runtime.chunks(window, wrong)
    with pytest.raises(ConfigError, match="continues no plan"):
        runtime.chunks(window, noise, PlannedRows(np.zeros((8, 3)), np.zeros(8)))
    runtime.continues = True
    with pytest.raises(ConfigError, match=r"actions \(8, 3\) and weights \(7,\); \(8, 3\) and \(8,\) are needed"):
        runtime.chunks(window, noise, PlannedRows(np.zeros((8, 3)), np.zeros(7)))


def test_steered_samples_are_drawn_by_the_backend_that_steers(contract, statistics_of, tmp_path):
    bundle = make_bundle(CONFIGS[0].with_name("flow.yaml"), contract, statistics_of, tmp_path / "bundle", steps=2)
    bundle.policy.engine.steer = lambda *arguments: arguments[0]
    with pytest.raises(ConfigError, match="steered, which backend 'compile' would leave out; backend=eager steers"):
        if missing(Serving("compile")):
            pytest.skip(missing(Serving("compile")))
        make_runtime(bundle, Serving("compile"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU")
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_captured_policy_draws_the_same_chunks(path, contract, statistics_of, tmp_path):
    bundle = make_bundle(path, contract, statistics_of, tmp_path / "bundle")
    if path.stem == "energy":
        pytest.skip("it differentiates itself while it draws")
    window, noise = inputs_of(bundle, 2)
    wanted = expected(bundle, window, noise)
    runtime = make_runtime(bundle, Serving("cuda_graph", batch=2))
    for _ in range(2):  # a replay reads what is given now
        np.testing.assert_allclose(runtime.chunks(window, noise), wanted, atol=1e-4, rtol=0)
    np.testing.assert_allclose(runtime.chunks(window, noise[::-1].copy()), wanted[::-1], atol=1e-4, rtol=0)


@needs_openvino
@needs_onnx
def test_reduced_precision_stays_within_a_stated_bound(contract, statistics_of, tmp_path):
    problem = missing(Serving("openvino", "bfloat16"))
    if problem:
        assert "would emulate it slowly; use float32" in problem
        return
    bundle = make_bundle(CONFIGS[0].with_name("flow.yaml"), contract, statistics_of, tmp_path / "bundle", steps=3)
    window, noise = inputs_of(bundle)
    drawn = make_runtime(bundle, Serving("openvino", "bfloat16")).chunks(window, noise)
    difference = np.abs(drawn - expected(bundle, window, noise)).max()
    assert 0 < difference < 0.02  # rad; bfloat16 keeps eight bits


@needs_onnx
@pytest.mark.parametrize("method", METHODS)
def test_exported_graphs_continue_plans(method, contract, statistics_of, tmp_path):
    trained = {"prefix": {"prefix_delays": [1, 1]}, "streaming": {"streaming": 0.5}}.get(method, {})
    path = CONFIGS[0].with_name("flow.yaml")
    bundle = make_bundle(path, contract, statistics_of, tmp_path / "bundle", steps=2, **trained)
    bundle.policy.configure_engine({"method": method})
    window, noise = inputs_of(bundle)
    plan = PlannedRows(np.full((8, 3), 0.4), np.array([1, 1, 0.5, 0.2, 0, 0, 0, 0]))
    reference = load_bundle(tmp_path / "bundle").policy
    reference.configure_engine({"method": method})
    torch_runtime = TorchRuntime(reference)
    wanted, free = (torch_runtime.chunks(window, noise, each) for each in (plan, None))
    assert np.abs(wanted - free).max() > 1e-3
    runtime = make_runtime(bundle, Serving("onnx"))
    for given, right in ((plan, wanted), (None, free)):
        np.testing.assert_allclose(runtime.chunks(window, noise, given), right, atol=1e-4, rtol=0)


@needs_onnx
def test_a_portable_policy_is_read_whole_or_refused(contract, statistics_of, tmp_path):
    bundle = make_bundle(CONFIGS[0].with_name("act.yaml"), contract, statistics_of, tmp_path / "bundle")
    export(bundle, tmp_path / "portable")
    runtime = open_runtime(tmp_path / "portable")
    window, noise = inputs_of(bundle)
    assert (runtime.contract, runtime.digest) == (bundle.contract, bundle.digest)
    np.testing.assert_allclose(runtime.chunks(window, noise), expected(bundle, window, noise), atol=1e-4, rtol=0)
    with pytest.raises(ConfigError, match="made for 1 chunks at once; 2 were asked for"):
        runtime.chunks(window, np.repeat(noise, 2, axis=0))
    with pytest.raises(ConfigError, match=r"continues no plan; engine=\{method:guided\} makes one that does"):
        runtime.chunks(window, noise, PlannedRows(np.zeros((8, 3)), np.zeros(8)))
    with pytest.raises(ConfigError, match="portable policy, whose steps are fixed"):
        open_runtime(tmp_path / "portable", engine={"steps": 4})
    with pytest.raises(ConfigError, match="backend 'eager' needs the bundle"):
        open_runtime(tmp_path / "portable", serving={"backend": "eager"})
    graph = tmp_path / "portable" / "chunk.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"chunk\.onnx of portable policy .* SHA-256 has changed"):
        open_runtime(tmp_path / "portable")


@pytest.mark.parametrize("backend", ["compile", "onnx"])
def test_a_policy_whose_steps_depend_on_what_it_sees_is_drawn_by_torch_alone(
    backend, contract, statistics_of, tmp_path
):
    bundle = make_bundle(CONFIGS[0].with_name("energy.yaml"), contract, statistics_of, tmp_path / "bundle")
    if missing(Serving(backend)):
        pytest.skip(missing(Serving(backend)))
    with pytest.raises(
        ConfigError, match=r"how many steps it takes, so that it is no fixed graph; backend=eager draws"
    ):
        make_runtime(bundle, Serving(backend))


def test_what_this_machine_lacks_is_one_sentence_with_what_there_is(contract, statistics_of, tmp_path, monkeypatch):
    bundle = make_bundle(CONFIGS[0].with_name("act.yaml"), contract, statistics_of, tmp_path / "bundle")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match=r"needs an NVIDIA GPU that torch can use\. Here there are: eager"):
            make_runtime(bundle, Serving("cuda_graph"))
    find = importlib.util.find_spec
    monkeypatch.setattr(
        registry.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name)
    )
    with pytest.raises(ConfigError, match=r"needs the package onnxruntime \(pip install onnxruntime\)\. Here"):
        make_runtime(bundle, Serving("onnx"))
    with pytest.raises(ConfigError, match=r"computes in float32; bfloat16 was asked for|needs the package"):
        make_runtime(bundle, Serving("onnx", "bfloat16"))
    with pytest.raises(ConfigError, match="Backend 'onx' does not exist.*Did you mean 'onnx'"):
        Serving("onx")
    with pytest.raises(ConfigError, match="Serving knows no 'bakend'.*Did you mean 'backend'"):
        Serving.from_dict({"bakend": "onnx"})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"batch": 0}, "batch is a whole number of at least 1; got 0"),
        ({"threads": 1.5}, r"threads is a whole number of at least 1; got 1\.5"),
        ({"threads": True}, "threads is a whole number of at least 1; got True"),
        ({"candidates": "4"}, "candidates is a whole number of at least 1; got '4'"),
        ({"device": "gpu"}, "The device is 'gpu'; cpu, cuda, or cuda:0"),
        ({"backend": ["onnx"]}, "does not exist"),
        ({"precision": 32}, "Precision '32' does not exist"),
        ({"over_budget": "yes"}, "over_budget is true or false; got 'yes'"),
    ],
)
def test_settings_of_another_type_are_one_sentence(settings, said):
    with pytest.raises(ConfigError, match=said):
        Serving.from_dict(settings)


def test_a_report_of_pages_is_one_plain_line():
    error = RuntimeError("\x1b[31mFailed to export.\x1b[0m \n\n## Report\n ...")
    assert reason(error) == "RuntimeError: Failed to export"
    assert reason(ValueError()) == "ValueError"


@needs_onnx
def test_what_cannot_be_exported_is_one_sentence(contract, statistics_of, tmp_path, monkeypatch):
    bundle = make_bundle(CONFIGS[0].with_name("flow.yaml"), contract, statistics_of, tmp_path / "bundle", steps=2)
    bundle.policy.configure_engine({"method": "guided"})

    def refuse(*_):
        raise RuntimeError("\x1b[1mno trace\x1b[0m\nat line 1")

    monkeypatch.setattr(export_module, "straight_line", refuse)
    with pytest.raises(ConfigError, match=r"runs in torch only: RuntimeError: no trace\.$"):
        export(bundle, tmp_path / "portable")


def test_graphs_are_computed_where_they_are_asked_to_be(tmp_path):
    assert [name for name, _ in providers_for("cpu")] == ["CPUExecutionProvider"]
    tensorrt, cuda, cpu = providers_for("cuda:1", tmp_path)
    assert tensorrt[1] == {"device_id": 1, "trt_engine_cache_enable": True, "trt_engine_cache_path": str(tmp_path)}
    assert cuda == ("CUDAExecutionProvider", {"device_id": 1, "use_tf32": 0})
    assert cpu[0] == "CPUExecutionProvider"


@needs_onnx
def test_graphs_on_a_gpu_need_an_onnxruntime_for_it():
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        assert missing(Serving("onnx", device="cuda")).endswith("(pip install onnxruntime-gpu).")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_tf32_is_the_precision_within_a_call_and_what_it_was_after_it():
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [switch.allow_tf32 for switch in switches]
    for precision in ("tf32", "float32", "bfloat16"):
        with matmul_precision(precision):
            assert [switch.allow_tf32 for switch in switches] == [precision == "tf32"] * 2
    assert [switch.allow_tf32 for switch in switches] == before


@needs_onnx
def test_a_bundle_that_cannot_be_written_to_is_compiled_elsewhere(contract, statistics_of, tmp_path, monkeypatch):
    bundle = make_bundle(CONFIGS[0].with_name("act.yaml"), contract, statistics_of, tmp_path / "bundle")
    (tmp_path / "bundle.compiled").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make_runtime(bundle, Serving("onnx"))
    assert list((tmp_path / "cache" / "praxon" / "engines").glob("onnx-*/chunk.onnx"))


@needs_onnx
def test_a_portable_policy_is_served_where_there_is_no_torch(contract, statistics_of, tmp_path):
    bundle = make_bundle(CONFIGS[0].with_name("flow.yaml"), contract, statistics_of, tmp_path / "bundle", steps=3)
    export(bundle, tmp_path / "portable")
    window, noise = inputs_of(bundle)
    np.savez(tmp_path / "inputs.npz", noise=noise, **window)
    np.save(tmp_path / "expected.npy", expected(bundle, window, noise))
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    constraints = str(Path(__file__).parents[2] / "constraints.txt")
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    wanted = ["numpy", "pyyaml", "onnxruntime"]
    installed = subprocess.run(
        [*pip, "install", "-q", "--retries", "1", "-c", constraints, *wanted], capture_output=True, text=True
    )
    if any(
        text in installed.stderr for text in ("NewConnectionError", "Failed to establish", "Could not find a version")
    ):
        pytest.skip("pip reaches no index")
    assert installed.returncode == 0, installed.stderr
    listed = subprocess.run([*pip, "list"], check=True, capture_output=True, text=True).stdout.lower()
    assert "onnxruntime" in listed
    assert "torch" not in listed
    code = f"""
import numpy as np
from pathlib import Path
from praxon.errors import ConfigError
from praxon.policies.denoising.backends.registry import open_runtime
folder = Path({str(tmp_path)!r})
inputs = dict(np.load(folder / "inputs.npz"))
noise = inputs.pop("noise")
drawn = open_runtime(folder / "portable").chunks(inputs, noise)
assert not (folder / "portable.compiled").exists()
try:
    open_runtime(folder / "bundle")
except ConfigError as error:
    assert "needs torch, which is not installed here; 'praxon export'" in str(error)
else:
    raise AssertionError("a bundle without torch")
try:
    open_runtime(folder / "portable", serving={{"backend": "openvino"}})
except ConfigError as error:
    assert str(error).endswith("needs the package openvino (pip install openvino). Here there are: onnx."), error
np.testing.assert_allclose(drawn, np.load(folder / "expected.npy"), atol=1e-4, rtol=0)
"""
    source = Path(__file__).parents[2] / "src"
    subprocess.run([python, "-c", code], check=True, env={"PYTHONPATH": str(source)})
