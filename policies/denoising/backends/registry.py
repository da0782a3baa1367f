"""The backends by name, and how one is made for a bundle. Imports no torch before one is made that needs it.

A backend is made for fixed shapes: one observation, a number of chunks, with or without a plan. What it compiles is kept beside
the bundle, in ``<bundle>.compiled``, so that a second start takes seconds.
"""

import hashlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxon.contract import PolicyContract
from praxon.errors import ConfigError, nearest
from praxon.policies.portable import is_portable
from praxon.policies.runtime import Runtime
from praxon.policies.selecting import require_selection

if TYPE_CHECKING:
    from praxon.policies.bundle import Bundle

PRECISIONS = ("float32", "bfloat16", "float16", "tf32")


@dataclass(frozen=True)
class Serving:
    """How chunks are computed, as under ``serving`` in a bundle's ``engine.yaml``.

    Args:
        backend: a name of ``BACKENDS``.
        precision: of the products: float32, bfloat16, float16, tf32.
        batch: chunks drawn at once.
        threads: of one inference on a CPU.
        device: torch's name of where the eager, compiled and captured backends compute.
        over_budget: serve a bundle although it was measured to take longer than its budget.
        candidates: chunks drawn for each that is executed, of which ``selection`` keeps the best.
        selection: what is best, by name: a weight, or settings; see ``policies.selecting``.

    Raises:
        ConfigError: unknown backend, precision or selection, or a number below 1.
    """

    backend: str = "eager"
    precision: str = "float32"
    batch: int = 1
    threads: int = 1
    device: str = "cpu"
    over_budget: bool = False
    candidates: int = 1
    selection: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ConfigError(
                f"Backend '{self.backend}' does not exist. Backends: {', '.join(BACKENDS)}.{nearest(self.backend, BACKENDS)}"
            )
        if self.precision not in PRECISIONS:
            raise ConfigError(
                f"Precision '{self.precision}' does not exist. Precisions: {', '.join(PRECISIONS)}."
                f"{nearest(self.precision, PRECISIONS)}"
            )
        for name in ("batch", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"The setting {name} is at least 1; got {getattr(self, name)}.")
        require_selection(self.candidates, self.selection)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Serving":
        """From an ``engine.yaml``.

        Raises:
            ConfigError: an entry that does not exist.
        """
        known = list(cls.__dataclass_fields__)
        for name in data:
            if name not in known:
                raise ConfigError(f"Serving knows no '{name}'. Settings: {', '.join(known)}.{nearest(name, known)}")
        return cls(**data)


def open_runtime(
    path: Path, engine: Mapping[str, Any] | None = None, serving: Mapping[str, Any] | None = None
) -> Runtime:
    """The runtime of a bundle or a portable policy on disk.

    Args:
        path: its directory.
        engine: how chunks are drawn, where it is not as the bundle says.
        serving: how they are computed, likewise; entries of ``Serving``.

    Raises:
        BundleError: there is nothing to read, or it is damaged.
        ConfigError: a setting that does not exist or cannot be, or this machine lacks what it needs.
    """
    if is_portable(path):
        if engine:
            raise ConfigError(f"'{path}' is a portable policy, whose steps are fixed; engine settings need its bundle.")
        return make_runtime(path, Serving.from_dict({"backend": "onnx", **(serving or {})}))
    from praxon.policies.bundle import load_bundle

    bundle = load_bundle(path)
    chosen = Serving.from_dict({**(bundle.engine.get("serving") or {}), **(serving or {})})
    measured = bundle.engine.get("measured") or {}
    if measured and measured["p99_ms"] > measured["budget_ms"] and not chosen.over_budget:
        raise ConfigError(
            f"A chunk of '{path}' was measured to take {measured['p99_ms']:.1f} ms (p99), and its budget is "
            f"{measured['budget_ms']:.1f} ms; praxon tune finds a faster way, serving={{over_budget:true}} serves it as it is."
        )
    bundle.policy.configure_engine(engine or {})
    return make_runtime(bundle, chosen)


def contract_of(path: Path) -> PolicyContract:
    """What goes in and out of a bundle or a portable policy on disk.

    Raises:
        BundleError: there is nothing to read, or it is damaged.
    """
    if is_portable(path):
        from praxon.policies.portable import load_portable

        return load_portable(path).contract
    from praxon.policies.bundle import load_bundle

    return load_bundle(path).contract


def make_runtime(source: "Bundle | Path", serving: Serving) -> Runtime:
    """The runtime of a bundle, or of the path of a portable policy.

    Raises:
        BundleError: there is nothing to read, or it is damaged.
        ConfigError: this machine lacks what the backend needs, in one sentence that says what there is instead.
    """
    if serving.selection:
        from praxon.policies.selecting import selecting_runtime

        return selecting_runtime(source, serving)
    problem = missing(serving)
    if problem:
        there = [name for name in BACKENDS if not missing(Serving(name, device=serving.device))]
        raise ConfigError(f"{problem} Here there are: {', '.join(there)}.")
    if isinstance(source, Path):
        if serving.backend not in PORTABLE:
            raise ConfigError(
                f"'{source}' is a portable policy, which {' and '.join(PORTABLE)} run; backend '{serving.backend}' needs the "
                "bundle that it was made from."
            )
        from praxon.policies.portable import load_portable

        portable = load_portable(source)
        return _portable_runtime(portable, serving, _writable(source.with_name(source.name + ".compiled")))
    runtime = BACKENDS[serving.backend](source, serving)
    runtime.digest = source.digest
    return runtime


def missing(serving: Serving) -> str:
    """What this machine lacks for it, in a sentence; empty where nothing."""
    from praxon.policies.denoising.backends.machine import emulates, has_compiler

    needed = {"onnx": ("onnxruntime",), "openvino": ("openvino",)}.get(serving.backend, ("torch",))
    lacking = [module for module in needed if importlib.util.find_spec(module) is None]
    if lacking:
        return f"Backend '{serving.backend}' needs the package {', '.join(lacking)} (pip install 'praxon[engine]')."
    if serving.backend == "compile" and serving.device == "cpu" and not has_compiler():
        return "Backend 'compile' needs a C++ compiler (on Debian: apt-get install g++)."
    if serving.backend == "cuda_graph" or (serving.device != "cpu" and serving.backend in ("eager", "compile")):
        import torch

        if not torch.cuda.is_available():
            return f"Backend '{serving.backend}' on {serving.device} needs an NVIDIA GPU that torch can use."
    if serving.precision != "float32" and serving.backend == "onnx":
        return f"Backend 'onnx' computes in float32 on CPUs; {serving.precision} was asked for, which openvino has."
    on_cpu = serving.backend in PORTABLE or (serving.device == "cpu" and serving.backend != "cuda_graph")
    if on_cpu and emulates(serving.precision):
        return f"This processor has no instructions for {serving.precision}, and would emulate it slowly; use float32."
    return ""


def cache_folder(bundle: "Bundle", serving: Serving, versions: Mapping[str, str]) -> Path:
    """Where what is compiled for this bundle, these settings and these versions is kept.

    Beside the bundle; in the user's cache where that cannot be written.
    """
    settings = {key: value for key, value in asdict(serving).items() if key != "over_budget"}
    described = {"bundle": bundle.digest, "engine": bundle.policy.engine_settings(), **settings, **versions}
    key = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return _writable(bundle.path.with_name(bundle.path.name + ".compiled")) / f"{serving.backend}-{key}"


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        fallback = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "praxon" / "engines"
        fallback.mkdir(parents=True, exist_ok=True)
        return fallback


# -- one function for each backend ------------------------------------------------------------------------------------


def _eager(bundle: "Bundle", serving: Serving) -> Runtime:
    import torch

    from praxon.policies.denoising.backends.packed import pack
    from praxon.policies.torch_runtime import TorchRuntime

    torch.set_num_threads(serving.threads)
    if serving.device == "cpu":
        pack(bundle.policy)
    return TorchRuntime(bundle.policy.to(serving.device), serving.precision)


def _compiled(bundle: "Bundle", serving: Serving) -> Runtime:
    from praxon.policies.denoising.backends.compiled import CompiledRuntime

    return CompiledRuntime(bundle, serving)


def _cuda_graph(bundle: "Bundle", serving: Serving) -> Runtime:
    from praxon.policies.denoising.backends.cuda_graph import CudaGraphRuntime

    return CudaGraphRuntime(bundle, serving)


def _exported(bundle: "Bundle", serving: Serving) -> Runtime:
    import torch

    from praxon.policies.denoising.export import exported

    # The graph is the same whoever runs it.
    same = Serving("onnx", "float32", serving.batch)
    folder = cache_folder(bundle, same, {"torch": torch.__version__})
    portable = exported(bundle, folder, serving.batch)
    return _portable_runtime(portable, serving, folder.parent)


def _portable_runtime(portable: Any, serving: Serving, cache: Path) -> Runtime:
    if serving.backend == "onnx":
        from praxon.policies.denoising.backends.onnx import OnnxRuntime

        return OnnxRuntime(portable, serving.threads)
    from praxon.policies.denoising.backends.openvino import OpenVinoRuntime

    return OpenVinoRuntime(portable, serving.threads, serving.precision, cache / "openvino")


PORTABLE = ("onnx", "openvino")
BACKENDS: dict[str, Callable[["Bundle", Serving], Runtime]] = {
    "eager": _eager,
    "compile": _compiled,
    "cuda_graph": _cuda_graph,
    "onnx": _exported,
    "openvino": _exported,
}
