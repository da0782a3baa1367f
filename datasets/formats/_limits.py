"""How much a foreign file may ask a reader to hold in memory: declared sizes are compared with what is stored before reading.

A file of a few kilobytes can declare, or unpack into, more than a machine holds. Two limits keep it out: the bytes that
are held at once, and how many times larger than its stored form an array may be.
"""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod

from praxon.errors import DatasetError

SMALL = 64 * 2**20
"""Arrays below this size may be compressed to any extent [bytes]; constant columns are."""
DEFLATE_RATIO = 1032
"""Deflate cannot unpack a byte into more (RFC 1951: 258 bytes from two bits)."""

GZIP = b"\x1f\x8b"


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Whatever a library raises over damaged bytes becomes one sentence that says what was being read.

    HDF5, zarr, Arrow and the decompressors raise nearly every type of error over damaged files, so none is listed here.
    """
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(f"{what} cannot be read: {reason[:300].rstrip('.')}.") from error


@dataclass(frozen=True)
class Limits:
    """What a file may ask for.

    Args:
        max_bytes: held at once: the numbers of one episode's array, or one compressed chunk [bytes].
        max_expansion: declared size divided by stored size of an array above ``SMALL``.
    """

    max_bytes: int = 2**30
    max_expansion: float = 1000.0

    def __post_init__(self) -> None:
        if self.max_bytes < 1 or self.max_expansion < 1:
            raise DatasetError(
                f"The limits max_bytes={self.max_bytes} and max_expansion={self.max_expansion} must be 1 or more."
            )

    def check_array(self, where: str, shape: Sequence[int], item_bytes: int, stored_bytes: int) -> None:
        """Raise unless an array's declared size can belong to what is stored of it."""
        declared = prod(map(int, shape)) * item_bytes
        if min(shape, default=0) < 0 or (declared > SMALL and declared > self.max_expansion * stored_bytes):
            raise DatasetError(
                f"{where} declares the shape {tuple(shape)}, {declared} bytes, but {stored_bytes} bytes are stored; "
                f"at most {self.max_expansion:g} times as many are believed (max_expansion)."
            )

    def check_held(self, where: str, num_bytes: int) -> None:
        """Raise unless so much may be held in memory at once."""
        if num_bytes > self.max_bytes:
            raise DatasetError(
                f"{where} needs {num_bytes} bytes at once; at most {self.max_bytes} are allowed (max_bytes)."
            )

    def check_deflated(self, where: str, packed: bytes, expected_bytes: int, wbits: int) -> None:
        """Raise where a deflate stream unpacks into more than is expected, without unpacking more than that.

        Streams that cannot exceed ``max_bytes`` are let through; whoever reads them finds a wrong length by itself.

        Args:
            where: what it is, for the error.
            packed: the stream.
            expected_bytes: its unpacked size.
            wbits: of ``zlib.decompressobj``: 15 for zlib, 31 for gzip.
        """
        if len(packed) * DEFLATE_RATIO <= self.max_bytes:
            return
        found, rest = 0, packed
        while found <= expected_bytes:
            stream = zlib.decompressobj(wbits)
            found += len(stream.decompress(rest, expected_bytes - found + 1))
            rest = stream.unused_data
            if not rest.startswith(GZIP):  # a gzip file may have several members; other rests are checksums
                break
        if found > expected_bytes:
            raise DatasetError(f"{where} unpacks into more than the {expected_bytes} bytes that are declared.")
