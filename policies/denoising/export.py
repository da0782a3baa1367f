"""A bundle as one ONNX graph: observation and noise in, chunk out, every step unrolled and everything constant folded."""

import io
import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from praxon.errors import ConfigError
from praxon.policies.bundle import Bundle
from praxon.policies.denoising.tracing import differentiates, require_fixed, straight_line
from praxon.policies.manifest import MANIFEST
from praxon.policies.portable import Inputs, Portable, load_portable, save_portable
from praxon.policies.torch_runtime import ChunkFunction


def exported(bundle: Bundle, folder: Path, batch: int = 1) -> Portable:
    """The portable policy in ``folder``, exported there first unless it is there already.

    Raises:
        ConfigError: the policy cannot be written as a fixed graph.
    """
    if not (folder / MANIFEST).is_file():
        export(bundle, folder, batch)
    return load_portable(folder)


def export(bundle: Bundle, folder: Path, batch: int = 1) -> str:
    """Write a bundle as a portable policy; returns its identity.

    Args:
        bundle: to be exported.
        folder: to write.
        batch: chunks that are drawn at once.

    Raises:
        ConfigError: the packages for exporting are not installed, or the policy cannot be written as a fixed graph.
        BundleError: the folder holds something else.
    """
    policy = bundle.policy
    require_fixed(policy)
    policy.freeze()
    function = ChunkFunction(policy).eval()
    inputs = Inputs(
        batch, policy.noise_shape, function.features, policy.continues, policy.engine_settings(), bundle.digest
    )
    examples = function.examples(batch)
    written = straight_line(function, examples) if differentiates(policy) else function
    graph = _graph(written, examples, inputs.names, type(policy).__name__)
    return save_portable(folder, bundle.contract, inputs, graph)


def _graph(function: nn.Module, examples: tuple[Tensor, ...], names: list[str], kind: str) -> bytes:
    try:
        import onnxscript  # noqa: F401  (what the exporter writes with)
    except ImportError as error:
        raise ConfigError("Exporting needs the packages onnx and onnxscript (pip install 'praxon[engine]').") from error
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                function,
                examples,
                dynamo=True,
                verbose=False,
                input_names=names,
                output_names=["chunks"],
                optimize=True,
            )
            assert program is not None
            buffer = io.BytesIO()
            program.save(buffer)  # type: ignore[arg-type]  # files that are open are taken too
    except torch.onnx.errors.OnnxExporterError as error:
        raise ConfigError(
            f"{kind} cannot be written as a fixed graph, so that it runs in torch only: {error}."
        ) from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    return buffer.getvalue()
