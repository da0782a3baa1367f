"""torch's compiler: the whole of ``Policy.sample`` as one compiled function, kept beside the bundle as a shared library.

Compiling takes tens of seconds, once; loading takes well under one. A library that this user did not compile is never loaded: it is
compiled in a folder that only this user can enter, sealed, and loaded from a copy in such a folder again.
"""

import hashlib
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._inductor.utils import fresh_inductor_cache

from praxon.errors import ConfigError
from praxon.policies.bundle import Bundle
from praxon.policies.denoising.backends.machine import cpu_flags
from praxon.policies.denoising.backends.registry import Serving, cache_folder
from praxon.policies.denoising.backends.seal import fetch, keep
from praxon.policies.denoising.export import reason
from praxon.policies.denoising.tracing import differentiates, require_fixed, straight_line
from praxon.policies.durable import locked
from praxon.policies.torch_runtime import TorchRuntime, matmul_precision

log = logging.getLogger(__name__)


class CompiledRuntime(TorchRuntime):
    """A bundle's function compiled ahead of time, for one number of chunks.

    Args:
        bundle: whose policy is compiled.
        serving: how.

    Raises:
        ConfigError: the compiler refused the policy.
    """

    name = "compile"

    def __init__(self, bundle: Bundle, serving: Serving) -> None:
        require_fixed(bundle.policy)
        super().__init__(bundle.policy.to(serving.device), serving.precision)
        torch.set_num_threads(serving.threads)
        self.batch = serving.batch
        folder = cache_folder(bundle, serving, _machine(serving.device))
        with tempfile.TemporaryDirectory(prefix="praxon-") as private:
            package = Path(private) / "chunk.pt2"
            if folder is None:
                self._compile(package, serving.batch)
            else:
                with locked(folder):
                    if not fetch(folder, package):
                        self._compile(package, serving.batch)
                        keep(folder, package)
            self._compiled: Any = torch._inductor.aoti_load_package(str(package))

    def call(self, arrays: list[Tensor]) -> np.ndarray:
        """See ``TorchRuntime.call``."""
        with torch.no_grad(), matmul_precision(self.function.precision):
            chunks: Tensor = self._compiled(*(array.to(self.policy.device) for array in arrays))
        return chunks.cpu().numpy()

    def _compile(self, package: Path, batch: int) -> None:
        log.info("Compiling %s, once; it takes up to minutes.", type(self.policy).__name__)
        try:
            # A cache of the compiler's own in /tmp may be anybody's.
            with (
                torch.no_grad(),
                fresh_inductor_cache(),
                torch._inductor.config.patch({"freezing": True}),
                matmul_precision(self.function.precision),
            ):
                examples = self.function.examples(batch)
                differs = differentiates(self.policy)
                function = straight_line(self.function, examples) if differs else self.function
                program = torch.export.export(function, examples)
                torch._inductor.aoti_compile_and_package(program, package_path=str(package))
        except Exception as error:
            kind = type(self.policy).__name__
            raise ConfigError(
                f"{kind} cannot be compiled: {reason(error)}. backend=eager runs every policy."
            ) from error


def _machine(device: str) -> dict[str, Any]:
    """What a compiled function depends on besides the bundle."""
    flags = hashlib.sha256(" ".join(sorted(cpu_flags())).encode()).hexdigest()[:8]
    described: dict[str, Any] = {"torch": torch.__version__, "processor": flags}
    if device != "cpu":
        described["gpu"] = [torch.cuda.get_device_name(device), *torch.cuda.get_device_capability(device)]
    return described
