"""Films whose pictures show their own number, so that a picture from the wrong place names itself."""

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

SIDE = 64
BLOCK = 16
BITS = (SIDE // BLOCK) ** 2


def numbered(number):
    """(64, 64, 3) uint8: sixteen grey blocks, dark or bright, the bits of ``number``; a little noise keeps codecs busy."""
    bits = (number >> np.arange(BITS)) & 1
    blocks = np.where(bits, 200, 40).reshape(SIDE // BLOCK, SIDE // BLOCK)
    picture = np.kron(blocks, np.ones((BLOCK, BLOCK), int))[..., None] + np.array([0, 8, -8])
    return (picture + np.random.default_rng(number).integers(-4, 5, picture.shape)).astype(np.uint8)


def shown(picture):
    """The number that a picture shows."""
    means = picture.reshape(SIDE // BLOCK, BLOCK, SIDE // BLOCK, BLOCK, 3).mean(axis=(1, 3, 4)).reshape(-1)
    return int(((means > 120) << np.arange(BITS)).sum())


def in_order(path):
    """What the library gives for a whole file decoded from the beginning to the end."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def encode(path, numbers, encoder="libx264", fps=30, ticks=None, time_base=None, container=None, **options):
    """Write pictures of these numbers with any encoder, time base and stamps; returns the path."""
    with av.open(str(path), "w", format="mp4", options=container or {}) as container:
        stream = container.add_stream(encoder, rate=Fraction(fps), options={k: str(v) for k, v in options.items()})
        stream.height, stream.width, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = stream.time_base = time_base or Fraction(1, fps)
        for place, number in enumerate(numbers):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            frame.pts, frame.time_base = ticks[place] if ticks is not None else place, stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def joined(folder, names):
    """Join files as LeRobot does, with FFmpeg's concat demuxer; returns the path."""
    (folder / "list.txt").write_text("ffconcat version 1.0\n" + "".join(f"file {name}.mp4\n" for name in names))
    path = folder / "joined.mp4"
    with av.open(str(folder / "list.txt"), format="concat") as source, av.open(str(path), "w", format="mp4") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return path


@pytest.fixture(scope="session")
def film():
    """The functions above under one name."""

    return SimpleNamespace(numbered=numbered, shown=shown, in_order=in_order, encode=encode, joined=joined)
