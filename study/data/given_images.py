"""The images that somebody names: files, folders, globs, videos and URLs become a list of images
and of frames, and a list of what cannot be used.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from study.core.errors import DataError
from study.core.identity import digest
from study.core.paths import given_path, is_url
from study.data.images.decode import EXTENSIONS, VIDEO_EXTENSIONS
from study.data.images.videos import frame_path, inspect_video, sampled
from study.data.sources.remote import fetch, look_up


@dataclass(frozen=True, kw_only=True)
class GivenImages:
    """images: (name, path) of each, in the order given; the path of a frame ends in
    `#frame=NUMBER`. refused: (name, reason).
    """

    images: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


def find_images(words: Sequence[str], *, cache: Path, frames_per_video: int) -> GivenImages:
    """Return what the words name. cache: where files of URLs are put. frames_per_video: how many
    frames are taken of a video, evenly.

    Raises DataError for a name that nothing has, and for a folder without images.
    """
    found = GivenImages()
    for word in words:
        for name, path in _files(word, cache, found):
            if path.suffix.lower() in VIDEO_EXTENSIONS:
                _add_frames(found, name, path, frames_per_video)
            else:
                found.images.append((name, str(path)))
    return found


def _files(word: str, cache: Path, found: GivenImages) -> Iterator[tuple[str, Path]]:
    """Yield name and path of every file that a word stands for."""
    if is_url(word):
        try:
            yield word, _fetched(word, cache)
        except DataError as error:
            found.refused.append((word, str(error)))
        return
    path = given_path(word)
    if path.is_dir():
        yield from _inside(path)
    elif path.exists():
        yield word, path
    elif glob.has_magic(word):
        matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - a pattern may be absolute
        if not matches:
            raise DataError(f"no file matches '{word}'")
        for match in map(Path, matches):
            yield from _inside(match) if match.is_dir() else [(str(match), match)]
    else:
        raise DataError(f"'{word}' does not exist; give images, videos, folders, globs or URLs")


def _inside(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the images and videos in a folder and below it, sorted; hidden ones are passed over."""
    kinds = (*EXTENSIONS, *VIDEO_EXTENSIONS)
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in kinds
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not files:
        raise DataError(f"folder '{folder}' holds no image or video ({' '.join(kinds)})")
    yield from ((str(path), path) for path in files)


def _fetched(url: str, cache: Path) -> Path:
    """The file of a URL on this machine; fetched again where it has changed there."""
    (file,) = look_up([url], lambda done, total: None)
    if file is None:
        raise DataError("does not exist there")
    suffix = PurePosixPath(urlsplit(url).path).suffix.lower()
    target = cache / "predict" / f"{digest('given image', url, file.size, file.tag)}{suffix}"
    if not target.is_file():
        fetch(file, target)
    return target


def _add_frames(found: GivenImages, name: str, path: Path, frames_per_video: int) -> None:
    try:
        info = inspect_video(path)
    except ImportError:
        reason = "videos need PyAV: pip install 'fake-image-study[video]'"
        found.refused.append((name, reason))
        return
    if info.problem:
        found.refused.append((name, info.problem))
    for number in sampled(info.frames, frames_per_video) if info.frames else []:
        found.images.append((frame_path(name, number), frame_path(str(path), number)))
