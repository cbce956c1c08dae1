"""Video files as images: frames sampled evenly, decoded where they are needed and never written to
disk.

With layouts/frames.py the only `av` (PyAV, the optional extra `[video]`). A video of N frames
gives n = min(N, `frames_per_video`) of them, the middle frames of n equal stretches: the i-th is
floor((2 i + 1) N / (2 n)), counted from 0 in the order of display. Each is a row of a listing, with
the path `clip.mp4#frame=000012`; its video is the file, and so is its group where neither a
manifest nor a card gives one (by content: `video ` and the first digits of the file's SHA-256, so
that a copy by another name is of the same group).

* One decoding thread a video, so that a frame has the same pixels on every machine with the same
PyAV; rotation is applied.
* Strict: a frame that the decoder marks as damaged, or that the video ends before, is left out with
that reason.
* A frame's SHA-256 is that of the file's SHA-256 and its number: what is packed is keyed by the
video's content and the sampling.
"""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from study.core.errors import DataError
from study.core.identity import file_sha256
from study.core.parallel import CHUNK, ordered_map
from study.data.images.decode import (
    MAX_PIXELS,
    NO_MEMORY,
    VIDEO_EXTENSIONS,
    UndecodableError,
    UnreadableError,
    decode_image,
    read_bytes,
    read_header,
    refuse_passing,
)

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

T = TypeVar("T")
R = TypeVar("R")

FRAMES_PER_VIDEO = 32
VIDEO_VERSION = 1  # part of a frame's identity: raise it when its pixels change
_FRAME = re.compile(r"(?P<file>.+)#frame=(?P<number>\d{6,})")
# not remembered; FFmpeg says some of these of what a broken file lacks, too
_REFUSED = {errno.EACCES, errno.ENOENT, errno.EPERM}
_LEFT_OUT = "the video ends before this frame"


class Run(NamedTuple):
    """A file with the frames wanted of it, ascending; an image has none."""

    path: str
    frames: tuple[int, ...]


def frame_path(path: str, number: int) -> str:
    """Return the path of a video's frame: `clip.mp4#frame=000012`."""
    return f"{path}#frame={number:06d}"


def split_frame(path: str) -> tuple[str, int] | None:
    """Return the video and the number of a frame's path, or None for the path of an image."""
    match = _FRAME.fullmatch(path)
    return (
        (match["file"], int(match["number"]))
        if match and match["file"].lower().endswith(VIDEO_EXTENSIONS)
        else None
    )


def load_image(path: str) -> NDArray[np.uint8]:
    """Return the pixels of an image file or of a video's frame, (H, W, 3) uint8 RGB. Raises
    UndecodableError with the reason.
    """
    frame = split_frame(path)
    if frame is None:
        return decode_image(Path(path))
    found = next(decode_frames(Path(frame[0]), [frame[1]]))
    if isinstance(found, str):
        raise UndecodableError(found)
    return found


def read_indexed(path: str, sha256: str) -> NDArray[np.uint8]:
    """Return the pixels of an image or frame, (H, W, 3) uint8, as they were indexed. sha256: of the
    image's bytes, or of the frame.

    Raises DataError where the file changed since, UndecodableError where it is no image.
    """
    frame = split_frame(path)
    if frame:
        found = next(read_indexed_frames(frame[0], [(frame[1], sha256)]))
        if isinstance(found, str):
            raise UndecodableError(found)
        return found
    try:
        data = read_bytes(Path(path))
    except UndecodableError as error:
        raise _changed(path, f" ({error})") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise _changed(path)
    try:
        return decode_image(data)
    except UnreadableError as error:
        raise _passing(path, error) from None


def read_indexed_frames(
    path: str, frames: Sequence[tuple[int, str]]
) -> Iterator[NDArray[np.uint8] | str]:
    """Return the frames of a video by (number, sha256), ascending, decoded in one go; for one that
    cannot be had, why not.

    Raises DataError where the video changed since it was indexed.
    """
    try:
        video = file_sha256(Path(path))
    except OSError as error:
        raise _changed(path, f" (cannot be read: {error.strerror})") from None
    if any(sha256 != frame_sha256(video, number) for number, sha256 in frames):
        raise _changed(path)
    return _named(path, decode_frames(Path(path), [number for number, _ in frames]))


def _named(
    path: str, frames: Iterator[NDArray[np.uint8] | str]
) -> Iterator[NDArray[np.uint8] | str]:
    try:
        yield from frames
    except UnreadableError as error:
        raise _passing(path, error) from None


def _changed(path: str, why: str = "") -> DataError:
    return DataError(f"'{path}' changed since it was indexed{why}; run the command again")


def _passing(path: str, error: UnreadableError) -> DataError:
    return DataError(
        f"'{path}' could be read when it was indexed, and not now: {error}; run the command again"
    )


def runs(paths: Iterable[str]) -> Iterator[Run]:
    """Join what follows upon each other of one video, ascending, so that it is decoded once.

    Sorted paths have each video in one run, but where it has a million frames: 1000000 comes before
    999999, and begins one.
    """
    current, frames = "", list[int]()
    for path in paths:
        file, number = split_frame(path) or (path, -1)
        if frames and file == current and number > frames[-1]:
            frames.append(number)
            continue
        if current:
            yield Run(current, tuple(frames))
        current, frames = file, [] if number < 0 else [number]
    if current:
        yield Run(current, tuple(frames))


def map_files(
    function: Callable[[Run, Sequence[T]], Sequence[R]], items: Sequence[tuple[str, T]]
) -> Iterator[R]:
    """Yield what `function` makes of items, each with its path, in their order; files are dealt out
    to threads (`ordered_map`).

    function: of an image, or of those frames of a video that follow upon each other, and their
    items; gives a result for each.
    """
    place, files = 0, []
    for file in runs(path for path, _ in items):
        files.append((file, [item for _, item in items[place : place + max(len(file.frames), 1)]]))
        place += len(files[-1][1])
    at_once = 1 if any(file.frames for file, _ in files) else CHUNK
    return chain.from_iterable(ordered_map(lambda of: function(*of), files, at_once=at_once))


def sampled(total: int, wanted: int) -> list[int]:
    """Return the numbers of the frames that are taken of a video of `total` frames, ascending and
    distinct.
    """
    taken = min(total, wanted)
    return [(2 * number + 1) * total // (2 * taken) for number in range(taken)]


class VideoInfo(NamedTuple):
    """What is known of a video before a frame is decoded. sha256: of the file, "" where it cannot
    be read now.
    """

    sha256: str
    frames: int
    problem: str


def inspect_video(path: Path) -> VideoInfo:
    """Count a video's frames without decoding them. Raises DataError where the disk does not
    answer, now or in the middle.
    """
    import av

    try:
        sha256 = file_sha256(path)
    except OSError as error:
        refuse_passing(path, error)
        return VideoInfo("", 0, f"cannot be read: {error.strerror or type(error).__name__}")
    try:
        with av.open(str(path)) as container:
            stream = _stream(container)
            frames = sum(
                1 for packet in container.demux(stream) if packet.size and not packet.is_discard
            )
    except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
        _refuse_failing(path, error)
        return VideoInfo("" if _passes(error) else sha256, 0, _reason(error))
    return VideoInfo(sha256, frames, "" if frames else "a video without frames")


def _stream(container: InputContainer) -> VideoStream:
    """The first video stream, to be decoded by one thread. Raises ValueError where there is none,
    or it is too large.
    """
    if not container.streams.video:
        raise ValueError("no video in the file")
    stream = container.streams.video[0]
    if stream.width * stream.height > MAX_PIXELS:
        raise ValueError(f"{stream.width} x {stream.height} pixels are more than {MAX_PIXELS}")
    stream.codec_context.thread_count = 1
    return stream


def _refuse_failing(path: Path, error: Exception) -> None:
    """Raise DataError where a video failed because its disk or the machine did.

    FFmpeg says `Input/output error` of some broken files, too: it is the disk's where the file
    cannot be read as bytes either.
    """
    if not isinstance(error, OSError):
        return
    if error.errno == errno.EIO:
        try:
            file_sha256(path)
        except OSError as again:
            refuse_passing(path, again)
        else:
            return
    refuse_passing(path, error)


def _passes(error: Exception) -> bool:
    return isinstance(error, MemoryError) or getattr(error, "errno", None) in _REFUSED


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return NO_MEMORY
    text = getattr(error, "strerror", None) or str(error)
    return f"no readable video: {' '.join(text.split()) or type(error).__name__}"


def decode_frames(path: Path, frames: Sequence[int]) -> Iterator[NDArray[np.uint8] | str]:
    """Yield the frames of a video by their numbers, ascending, as (H, W, 3) uint8 RGB; for one that
    cannot be had, why not.

    Raises UnreadableError for what has nothing to do with the video, such as no memory; DataError
    where the disk does not answer.
    """
    import av

    waiting = list(frames)
    reason = _LEFT_OUT
    try:
        with av.open(str(path)) as container:
            for number, frame in enumerate(container.decode(_stream(container))):
                if waiting and number == waiting[0]:
                    waiting.pop(0)
                    yield _pixels(frame)
                if not waiting:
                    return
    except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
        _refuse_failing(path, error)
        reason = _reason(error)
        if _passes(error):
            raise UnreadableError(reason) from None
    yield from [reason] * len(waiting)


def _pixels(frame: VideoFrame) -> NDArray[np.uint8] | str:
    if frame.is_corrupt:
        return "the decoder marks this frame as damaged"
    pixels = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def frame_sha256(video_sha256: str, number: int) -> str:
    """Return the identity of a frame, from that of its file: 64 hexadecimal digits."""
    return hashlib.sha256(f"{video_sha256}#frame={number}#{VIDEO_VERSION}".encode()).hexdigest()


def read_file_header(path: str) -> tuple[str, int, int] | None:
    """Return format, width and height in pixels of an image, of a video or of its frame, or None
    where there is no such thing.
    """
    path = (split_frame(path) or (path, 0))[0]
    return (
        _video_header(Path(path))
        if path.lower().endswith(VIDEO_EXTENSIONS)
        else read_header(Path(path))
    )


class VideoEncoding(NamedTuple):
    """How a video is stored. format: codec and container; pixel_format: as FFmpeg calls it;
    frame_bytes: mean size of a frame.
    """

    format: str
    pixel_format: str
    frame_bytes: float


def stored_as(path: Path) -> VideoEncoding:
    """Tell how a video is stored, sound left out. Raises UndecodableError with the reason."""
    import av

    try:
        with av.open(str(path)) as container:
            stream = _stream(container)
            sizes = [
                packet.size
                for packet in container.demux(stream)
                if packet.size and not packet.is_discard
            ]
            codec = stream.codec_context
            kind = f"{codec.name} video in {container.format.long_name}"
            return VideoEncoding(kind, codec.pix_fmt or "", sum(sizes) / max(len(sizes), 1))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UndecodableError(_reason(error)) from None


def _video_header(path: Path) -> tuple[str, int, int] | None:
    import av

    try:
        with av.open(str(path)) as container:
            stream = _stream(container)
            return f"{stream.codec_context.name} video", stream.width, stream.height
    except (av.FFmpegError, OSError, ValueError):
        return None
