"""Decompression that never takes more memory than it was told, for sizes that a file states about itself."""

import sys
from importlib import import_module
from typing import Any

from praxon.errors import DatasetError

MAX_BYTES = 256 * 2**20
"""More than any chunk or message of a recording needs [bytes]."""


def expand(data: bytes, compression: str, size: int, what: str, partial: bool = False) -> bytes:
    """Decompressed bytes.

    Args:
        data: compressed bytes.
        compression: 'lz4', 'zstd', or empty or 'none'.
        size: how many bytes must come out.
        what: begins the sentence of an error.
        partial: the data may have been cut off; then whatever can be had comes out.

    Raises:
        DatasetError: the size is absurd, another number of bytes comes out, or the data are no such stream.
    """
    if size > MAX_BYTES:
        raise DatasetError(f"{what} claims to hold {size} bytes; more than {MAX_BYTES} are not read.")
    if compression in ("", "none"):
        expanded = data
    elif compression in ("lz4", "zstd"):
        expanded = _stream(data, compression, size + 1, what, partial)
    else:
        raise DatasetError(f"{what} is compressed with '{compression}'; lz4 and zstd can be read.")
    if partial and len(expanded) <= size:
        return expanded
    if len(expanded) != size:
        more = "more" if len(expanded) > size else f"{len(expanded)}"
        raise DatasetError(f"{what} holds {more} bytes where it claims {size}.")
    return expanded


def expand_zstd(data: bytes, what: str) -> bytes:
    """One zstd message of whatever size up to ``MAX_BYTES``."""
    expanded = _stream(data, "zstd", MAX_BYTES + 1, what, partial=False)
    if len(expanded) > MAX_BYTES:
        raise DatasetError(f"{what} holds more than {MAX_BYTES} bytes.")
    return expanded


def _stream(data: bytes, compression: str, limit: int, what: str, partial: bool) -> bytes:
    pieces: list[bytes] = []
    total = 0
    while data and total < limit:
        decompressor = _decompressor(compression)
        try:
            pieces.append(decompressor.decompress(data, max_length=limit - total))
        except (RuntimeError, ValueError, EOFError, _zstd_error()) as error:
            if partial:
                break
            raise DatasetError(f"{what} cannot be decompressed: {error}.") from error
        total += len(pieces[-1])
        # A stream may consist of several frames, one after the other.
        if not decompressor.eof or not decompressor.unused_data or len(decompressor.unused_data) == len(data):
            break
        data = decompressor.unused_data
    return b"".join(pieces)


def _decompressor(compression: str) -> Any:
    try:
        if compression == "lz4":
            return import_module("lz4.frame").LZ4FrameDecompressor()
        return _zstd().ZstdDecompressor()
    except ImportError as error:
        raise needs_formats() from error


def _zstd() -> Any:
    return import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


def _zstd_error() -> type[Exception]:
    try:
        return _zstd().ZstdError
    except ImportError:
        return RuntimeError


def needs_formats() -> DatasetError:
    """Where the libraries are missing."""
    return DatasetError("Reading ROS recordings needs the package rosbags: pip install 'praxon[formats]'.")
