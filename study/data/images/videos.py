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
from contextlib import contextmanager, suppress
from itertools import chain, islice
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
    image_sha256,
    instead_of_an_image,
    read_bytes,
    read_header,
    refuse_passing,
)
from study.data.images.inside import split_inside

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
    """A file with the frames wanted of it, ascending; an image has none. data: the bytes of an
    image inside another file.
    """

    path: str
    frames: tuple[int, ...]
    data: bytes | None = None

    def read(self) -> bytes:
        """Return the bytes of an image. Raises what `read_bytes` raises."""
        return read_bytes(Path(self.path)) if self.data is None else self.data

    def header(self) -> tuple[str, int, int] | None:
        """Return format, width and height in pixels of an image, or of a video, or None where there
        is no such thing.
        """
        return read_file_header(self.path) if self.data is None else read_header(self.data)


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
    return checked(next(decode_frames(Path(frame[0]), [frame[1]])))


def checked(found: NDArray[np.uint8] | str) -> NDArray[np.uint8]:
    """Return pixels. Raises UndecodableError with the reason that stands in their place."""
    if isinstance(found, str):
        raise UndecodableError(found)
    return found


def read_indexed(path: str, sha256: str, data: bytes | None = None) -> NDArray[np.uint8]:
    """Return the pixels of an image or frame, (H, W, 3) uint8, as they were indexed. sha256: of the
    image's bytes, or of the frame. data: the image's bytes, where they were read already.

    Raises DataError where the file changed since, UndecodableError where it is no image.
    """
    frame = split_frame(path)
    if frame:
        return checked(next(read_indexed_frames(frame[0], [(frame[1], sha256)])))
    try:
        data = read_bytes(Path(path)) if data is None else data
    except UndecodableError as error:
        raise changed(path, f" ({error})") from None
    if image_sha256(data) != sha256:
        raise changed(path)
    with _readable_before(path):
        return decode_image(data)


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
        raise changed(path, f" (cannot be read: {error.strerror})") from None
    if any(sha256 != frame_sha256(video, number) for number, sha256 in frames):
        raise changed(path)

    def decoded() -> Iterator[NDArray[np.uint8] | str]:
        with _readable_before(path):
            yield from decode_frames(Path(path), [number for number, _ in frames])

    return decoded()


def changed(path: str, why: str = "") -> DataError:
    """Return the error for a file that is another than the one in the index."""
    return DataError(f"'{path}' changed since it was indexed{why}; run the command again")


@contextmanager
def _readable_before(path: str) -> Iterator[None]:
    """Name the file where what could be read when it was indexed cannot be now."""
    try:
        yield
    except UnreadableError as error:
        raise DataError(
            f"'{path}' could be read when it was indexed, and not now: {error}; run the command"
            " again"
        ) from None


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


def loaded(file: Run) -> Run:
    """Return an image inside another file with its bytes, everything else as it is: who reads a
    table or shard from start to end reads it once.
    """
    if not split_inside(file.path):
        return file
    with suppress(UndecodableError):  # who asks for the bytes is told
        return file._replace(data=read_bytes(Path(file.path)))
    return file


def map_files(
    function: Callable[[Run, Sequence[T]], Sequence[R]], items: Sequence[tuple[str, T]]
) -> Iterator[R]:
    """Yield what `function` makes of items, each with its path, in their order; files are dealt out
    to threads (`ordered_map`), and images inside others are read by this one.

    function: of an image, or of those frames of a video that follow upon each other, and their
    items; gives a result for each.
    """
    waiting = (item for _, item in items)
    files = (
        (loaded(file), list(islice(waiting, max(len(file.frames), 1))))
        for file in runs(path for path, _ in items)
    )
    kinds = {1 if split_frame(path) else 4 if split_inside(path) else CHUNK for path, _ in items}
    at_once = min(kinds, default=CHUNK)
    return chain.from_iterable(ordered_map(lambda of: function(*of), files, at_once=at_once))


def sampled(total: int, wanted: int) -> list[int]:
    """Return the numbers of the frames taken of a video of `total` frames, ascending, distinct."""
    taken = min(total, wanted)
    return [(2 * number + 1) * total // (2 * taken) for number in range(taken)]


class VideoInfo(NamedTuple):
    """A video before a frame is decoded. sha256: of the file, "" where it cannot be read now."""

    sha256: str
    frames: int
    problem: str


def inspect_video(path: Path) -> VideoInfo:
    """Count a video's frames without decoding them. Raises DataError where the disk does not
    answer, now or in the middle.
    """
    try:
        sha256 = file_sha256(path)
    except OSError as error:
        refuse_passing(path, error)
        return VideoInfo("", 0, f"cannot be read: {error.strerror or type(error).__name__}")
    try:
        with _opened(path) as (container, stream):
            frames = len(_packet_sizes(container, stream))
    except UnreadableError as error:
        return VideoInfo("", 0, str(error))
    except UndecodableError as error:
        return VideoInfo(sha256, 0, str(error))
    return VideoInfo(sha256, frames, "" if frames else "a video without frames")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Give a video and its first video stream, to be decoded by one thread.

    Raises, also while it is read, UndecodableError with the reason, UnreadableError for what has
    nothing to do with the video, such as no memory, and DataError where the disk does not answer.
    """
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError("no video in the file")
            stream = container.streams.video[0]
            if stream.width * stream.height > MAX_PIXELS:
                size = f"{stream.width} x {stream.height}"
                raise ValueError(f"{size} pixels are more than {MAX_PIXELS}")
            stream.codec_context.thread_count = 1
            yield container, stream
    except MemoryError:
        raise UnreadableError(NO_MEMORY) from None
    except (av.FFmpegError, OSError, ValueError) as error:
        _refuse_failing(path, error)
        text = " ".join((getattr(error, "strerror", None) or str(error)).split())
        reason = f"no readable video: {_instead(path) or text or type(error).__name__}"
        passes = getattr(error, "errno", None) in _REFUSED
        raise (UnreadableError if passes else UndecodableError)(reason) from None


def _instead(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return instead_of_an_image(file.read(64))
    except OSError:
        return ""


def _packet_sizes(container: InputContainer, stream: VideoStream) -> list[int]:
    """Bytes of every frame, without decoding one."""
    packets = container.demux(stream)
    return [packet.size for packet in packets if packet.size and not packet.is_discard]


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


def decode_frames(path: Path, frames: Sequence[int]) -> Iterator[NDArray[np.uint8] | str]:
    """Yield the frames of a video by their numbers, ascending, as (H, W, 3) uint8 RGB; for one that
    cannot be had, why not.

    Raises UnreadableError for what has nothing to do with the video, such as no memory; DataError
    where the disk does not answer.
    """
    waiting = list(frames)
    reason = _LEFT_OUT
    try:
        with _opened(path) as (container, stream):
            for number, frame in enumerate(container.decode(stream)):
                if waiting and number == waiting[0]:
                    waiting.pop(0)
                    yield _pixels(frame)
                if not waiting:
                    return
    except UndecodableError as error:
        reason = str(error)
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
    with _opened(path) as (container, stream):
        sizes = _packet_sizes(container, stream)
        codec = stream.codec_context
        kind = f"{codec.name} video in {container.format.long_name}"
        return VideoEncoding(kind, codec.pix_fmt or "", sum(sizes) / max(len(sizes), 1))


def _video_header(path: Path) -> tuple[str, int, int] | None:
    try:
        with _opened(path) as (_, stream):
            return f"{stream.codec_context.name} video", stream.width, stream.height
    except DataError:  # why it cannot be decoded is said where it is decoded
        return None
