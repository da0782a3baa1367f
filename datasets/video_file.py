"""Pictures of episodes in MP4 files, written and read frame-exactly: everything that others need of it in one place."""

from praxon.datasets.video_copy import append_videos, copy_video
from praxon.datasets.video_reader import StoredVideo, VideoReader
from praxon.datasets.video_writer import CODECS, VideoWriter, available_codecs, require_codec, write_video

__all__ = [
    "CODECS",
    "StoredVideo",
    "VideoReader",
    "VideoWriter",
    "append_videos",
    "available_codecs",
    "copy_video",
    "require_codec",
    "write_video",
]
