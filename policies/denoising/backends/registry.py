"""The backends by name, and how one is made for a bundle. Imports no torch before one is made that needs it.

A backend is made for fixed shapes: one observation, a number of chunks, with or without a plan. What it compiles is kept beside
the bundle, in ``<bundle>.compiled``, so that a second start takes seconds; only what this user compiled is read again.
"""

import hashlib
import importlib.util
import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxon import __version__
from praxon.contract import PolicyContract
from praxon.errors import ConfigError, nearest
from praxon.policies.portable import is_portable, load_portable
from praxon.policies.runtime import Runtime, require_precision
from praxon.policies.selecting import require_selection

if TYPE_CHECKING:
    from praxon.policies.bundle import Bundle
    from praxon.policies.portable import Portable

COMPILED_FOR = ("backend", "precision", "batch", "threads", "device")
"""The settings of ``Serving`` that a compiled function depends on."""


@dataclass(frozen=True)
class Serving:
    """How chunks are computed, as under ``serving`` in a bundle's ``engine.yaml``.

    Args:
        backend: a name of ``BACKENDS``.
        precision: of the products: float32, bfloat16, float16, tf32.
        batch: chunks drawn at once.
        threads: of one inference on a CPU.
        device: where the eager, compiled and captured backends and onnx compute: cpu, cuda or cuda:N.
        over_budget: serve a bundle although it was measured to take longer than its budget.
        candidates: chunks drawn for each that is executed, of which ``selection`` keeps the best.
        selection: what is best, by name: a weight, or settings; see ``policies.selecting``.

    Raises:
        ConfigError: unknown backend, precision, device or selection, a number below 1, or a value of another type.
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
        if str(self.backend) not in BACKENDS:
            raise ConfigError(
                f"Backend '{self.backend}' does not exist. Backends: {', '.join(BACKENDS)}."
                f"{nearest(str(self.backend), BACKENDS)}"
            )
        require_precision(self.precision)
        for name in ("batch", "threads"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"The setting {name} is a whole number of at least 1; got {value!r}.")
        if not re.fullmatch(r"cpu|cuda(:\d+)?", str(self.device)):
            raise ConfigError(f"The device is {self.device!r}; cpu, cuda, or cuda:0 and so on are known.")
        if not isinstance(self.over_budget, bool):
            raise ConfigError(f"The setting over_budget is true or false; got {self.over_budget!r}.")
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
    path: Path | str, engine: Mapping[str, Any] | None = None, serving: Mapping[str, Any] | None = None
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
    path = Path(path)
    if is_portable(path):
        if engine:
            raise ConfigError(f"'{path}' is a portable policy, whose steps are fixed; engine settings need its bundle.")
        chosen = Serving.from_dict({"backend": "onnx", **(serving or {})})
        runtime = make_runtime(path, chosen)
        runtime.settings = {"engine": load_portable(path).inputs.engine, "serving": asdict(chosen)}
        return runtime
    _require_torch(path)
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
    runtime = make_runtime(bundle, chosen)
    runtime.settings = {"engine": bundle.policy.engine_settings(), "serving": asdict(chosen)}
    return runtime


def contract_of(path: Path) -> PolicyContract:
    """What goes in and out of a bundle or a portable policy on disk.

    Raises:
        BundleError: there is nothing to read, or it is damaged.
        ConfigError: a bundle, and there is no torch to read it with.
    """
    if is_portable(path):
        return load_portable(path).contract
    _require_torch(path)
    from praxon.policies.bundle import load_bundle

    return load_bundle(path).contract


def _require_torch(path: Path) -> None:
    if importlib.util.find_spec("torch") is None:
        raise ConfigError(
            f"A bundle such as '{path}' needs torch, which is not installed here; 'praxon export', where it is, makes a portable "
            "policy of it that needs none."
        )


def make_runtime(source: "Bundle | Path", serving: Serving) -> Runtime:
    """The runtime of a bundle, or of the path of a portable policy.

    Raises:
        BundleError: there is nothing to read, or it is damaged.
        ConfigError: this machine lacks what the backend needs, in one sentence that says what there is instead.
    """
    if serving.selection:
        from praxon.policies.selecting import selecting_runtime

        return selecting_runtime(source, serving)
    if isinstance(source, Path) and serving.backend not in PORTABLE:
        raise ConfigError(
            f"'{source}' is a portable policy, which {' and '.join(PORTABLE)} run; backend '{serving.backend}' needs the "
            "bundle that it was made from."
        )
    problem = missing(serving)
    if problem:
        fitting = PORTABLE if isinstance(source, Path) else BACKENDS
        there = [name for name in fitting if not missing(Serving(name, device=serving.device))]
        raise ConfigError(f"{problem} Here there are: {', '.join(there) or 'none'}.")
    if isinstance(source, Path):
        return _portable_runtime(load_portable(source), serving)
    if serving.backend != "eager" and getattr(getattr(source.policy, "engine", None), "steer", None) is not None:
        raise ConfigError(
            f"Samples of this policy are steered, which backend '{serving.backend}' would leave out; backend=eager steers."
        )
    runtime = BACKENDS[serving.backend](source, serving)
    runtime.digest = source.digest
    return runtime


def missing(serving: Serving) -> str:
    """What this machine lacks for it, in a sentence; empty where nothing."""
    from praxon.policies.denoising.backends.machine import emulates, has_compiler

    if serving.precision == "tf32" and serving.backend in PORTABLE:
        return f"Backend '{serving.backend}' has no tf32, which GPUs have; use float32."
    needed = {"onnx": ("onnxruntime",), "openvino": ("openvino",)}.get(serving.backend, ("torch",))
    lacking = [module for module in needed if importlib.util.find_spec(module) is None]
    if lacking:
        return f"Backend '{serving.backend}' needs the package {lacking[0]} (pip install {lacking[0]})."
    if serving.backend == "compile" and serving.device == "cpu" and not has_compiler():
        return "Backend 'compile' needs a C++ compiler (on Debian: apt-get install g++)."
    if serving.backend == "cuda_graph" or (serving.device != "cpu" and serving.backend in ("eager", "compile")):
        import torch

        if not torch.cuda.is_available():
            return f"Backend '{serving.backend}' on {serving.device} needs an NVIDIA GPU that torch can use."
        index, count = int(serving.device.partition(":")[2] or 0), torch.cuda.device_count()
        if index >= count:
            return f"There is no {serving.device}: the GPUs here are cuda:0 to cuda:{count - 1}."
    if serving.backend == "onnx" and serving.device != "cpu":
        import onnxruntime

        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            return f"Backend 'onnx' on {serving.device} needs onnxruntime for GPUs (pip install onnxruntime-gpu)."
    if serving.precision != "float32" and serving.backend == "onnx":
        return f"Backend 'onnx' computes in float32; {serving.precision} was asked for."
    if serving.backend == "openvino" and serving.device != "cpu":
        return f"Backend 'openvino' computes on the processor; device {serving.device} was asked for."
    on_cpu = serving.backend in PORTABLE or (serving.device == "cpu" and serving.backend != "cuda_graph")
    if on_cpu and emulates(serving.precision):
        return f"This processor has no instructions for {serving.precision}, and would emulate it slowly; use float32."
    return ""


def cache_folder(bundle: "Bundle", serving: Serving, versions: Mapping[str, Any]) -> Path | None:
    """Where what is compiled for this policy, these settings, these versions and this Praxon is kept.

    Beside the bundle; in the user's cache where that cannot be written. What a bundle was measured to take and its card make no
    difference. ``None`` where nothing can be kept: no folder can be written, or no key that would seal it.
    """
    from praxon.policies.denoising.backends.seal import has_key

    if not has_key():
        return None
    path = bundle.path.resolve()
    beside = path.with_name(path.name + ".compiled")
    folder = beside if _writable(beside) else user_cache("engines")
    described = {
        "weights": bundle.weights,
        "contract": bundle.contract.to_dict(),
        "policy": bundle.config.get("policy"),
        "engine": bundle.policy.engine_settings(),
        "praxon": _sources(),
        **{name: getattr(serving, name) for name in COMPILED_FOR},
        **versions,
    }
    key = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return None if folder is None else folder / f"{serving.backend}-{key}"


def user_cache(name: str) -> Path | None:
    """A folder of the user's own for what can be made again; ``None`` where there is no home that takes one."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "praxon" / name
    except RuntimeError:  # a user without a home
        return None
    return folder if _writable(folder) else None


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@cache
def _sources() -> str:
    """Hash of Praxon's version and of everything that says how a policy computes."""
    digest = hashlib.sha256(__version__.encode())
    folder = Path(__file__).parents[2]
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


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
    return _portable_runtime(exported(bundle, folder, serving.batch), serving)


def _portable_runtime(portable: "Portable", serving: Serving) -> Runtime:
    # What these make of a graph is kept in a folder that nobody else fills.
    if serving.backend == "onnx":
        from praxon.policies.denoising.backends.onnx import OnnxRuntime

        engines = None if serving.device == "cpu" else user_cache("tensorrt")
        return OnnxRuntime(portable, serving.threads, serving.device, engines)
    from praxon.policies.denoising.backends.openvino import OpenVinoRuntime

    return OpenVinoRuntime(portable, serving.threads, serving.precision, user_cache("openvino"))


PORTABLE = ("onnx", "openvino")
BACKENDS: dict[str, Callable[["Bundle", Serving], Runtime]] = {
    "eager": _eager,
    "compile": _compiled,
    "cuda_graph": _cuda_graph,
    "onnx": _exported,
    "openvino": _exported,
}
