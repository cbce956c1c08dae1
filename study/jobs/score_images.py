"""Score new images with a trained detector: the one way in which `predict`, the Python API and
MLflow's model do it.

Everything that the study did to an image is done to a new one: decoding, `faces`, `unify`, the
detector's geometry and preprocessing.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from study.core.errors import DataError
from study.core.records import MEMBERS, TrainedDetector
from study.data.images.decode import UndecodableError, UnreadableError, decode_image
from study.data.images.faces import check_faces, largest_face
from study.data.images.geometry import fit_geometry
from study.data.images.unify import unify
from study.data.images.videos import load_image
from study.detectors.base import Detector
from study.jobs.cell import load_detector
from study.jobs.workspace import FACES
from study.store.store import read_trained
from study.training.score import evaluating, to_input

if TYPE_CHECKING:
    from PIL import Image as Pillow

BATCH = 64  # images scored at a time
UNIFIED = "unified_px"  # in a detector's provenance: the side of its unified training images
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")  # what a PNG holds without loss

Pixels = NDArray[np.uint8]
Image: TypeAlias = "str | Path | bytes | Pillow.Image | Pixels"
Squares = tuple[Pixels, ...]  # what each network of a detector is shown of an image


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A network, and what its logit counts in the sum."""

    weight: float
    load: Callable[[], Detector]


class Scorer:
    """A trained detector that scores images. record: how it was made. faces: the step by which the
    face of an image is cut out first, "" where the study did not. unified_px: the side to which
    images are then unified, 0 where the study did not unify.
    """

    def __init__(self, folder: Path, *, unified_px: int | None = None, exact: bool = False) -> None:
        """Read the record in a model folder; weights are read when they are needed.

        unified_px: in place of the side of the training images. exact: in float32, also what the
        study computed in bfloat16. Raises StoreError where the folder
        holds no trained detector, ConfigError where it needs faces and they cannot be found here.
        """
        self.record: TrainedDetector = read_trained(folder)
        known = int(self.record.provenance.get(UNIFIED, 0))
        self.unified_px = known if unified_px is None else unified_px
        self.faces = self.record.provenance.get(FACES, "")
        if self.faces:
            check_faces(self.faces)
        self._bias = float(self.record.spec.options.get("bias", 0.0))
        self._parts, self._exact = _parts(folder, self.record), exact
        self._device = "cuda" if torch.cuda.is_available() else "cpu"

    def squares(self, pixels: Pixels, unified_px: int | None = None) -> Squares:
        """Return what each network is shown of an image (H, W, 3) uint8. unified_px: in place of
        the scorer's own. Raises UndecodableError for one that is too elongated, or has no face
        where the study is of faces.
        """
        if self.faces:
            pixels = largest_face(pixels, self.faces)
        if side := self.unified_px if unified_px is None else unified_px:
            pixels = unify(pixels, side)
        return tuple(fit_geometry(pixels, one.spec.geometry) for one in self._networks)

    def logits(self, batch: Sequence[Squares]) -> NDArray[np.float64]:
        """Return the logits (B,) of a batch of images by their squares; higher is more fake."""
        total = np.full(len(batch), self._bias)
        for number, (part, network) in enumerate(zip(self._parts, self._networks, strict=True)):
            pixels = np.stack([squares[number] for squares in batch])
            with evaluating(network):
                logit = network(to_input(network, pixels, self._device)).float().cpu().numpy()
            total += part.weight * logit.astype(np.float64)
        return total

    def score(
        self, images: Iterable[Image], *, unified_px: int | None = None
    ) -> NDArray[np.float64]:
        """Return one logit per image, (N,) float64 in the order given; higher is more fake. A logit
        is no verdict.

        images: paths, also of a video's frame (`clip.mp4#frame=000012`); the bytes of image files;
        Pillow images; RGB pixels (H, W, 3) uint8, which may differ in size. An array (N, H, W, 3)
        is such a sequence. In memory are the squares of 64 images at a time.
        unified_px: in place of the scorer's own.

        Raises DataError, naming the image, where one cannot be decoded, or an array is no picture.
        """
        squares = (self._named_squares(n, image, unified_px) for n, image in enumerate(images))
        parts = [np.zeros(0)]
        while batch := list(islice(squares, BATCH)):
            parts.append(self.logits(batch))
        return np.concatenate(parts)

    def score_each(
        self, images: Iterable[Image], *, unified_px: int | None = None
    ) -> tuple[NDArray[np.float64], list[str]]:
        """Return what `score` does, and why an image has no logit, "" for one that has: its logit
        is NaN. No image ends the others. unified_px: as of `score`.
        """
        logits, reasons = [np.zeros(0)], list[str]()
        numbered = enumerate(images)
        while batch := list(islice(numbered, BATCH)):
            squares = []
            for number, image in batch:
                try:
                    squares.append(self.squares(pixels_of(image, number), unified_px))
                    reasons.append("")
                except (DataError, OSError) as error:
                    reasons.append(" ".join(str(error).split()))
            found = np.full(len(batch), np.nan)
            is_good = [not reason for reason in reasons[-len(batch) :]]
            if squares:
                found[is_good] = self.logits(squares)
            logits.append(found)
        return np.concatenate(logits), reasons

    def _named_squares(self, number: int, image: Image, unified_px: int | None) -> Squares:
        try:
            return self.squares(pixels_of(image, number), unified_px)
        except (UndecodableError, UnreadableError) as error:
            what = f"image '{image}'" if isinstance(image, str | Path) else f"image {number}"
            raise DataError(f"{what} cannot be scored: {error}") from error

    @functools.cached_property
    def _networks(self) -> tuple[Detector, ...]:
        networks = tuple(part.load().to(self._device) for part in self._parts)
        if self._exact:
            for network in networks:
                network.frozen_precision = "float32"
        return networks


def as_studied(pixels: Pixels, record: TrainedDetector) -> Pixels:
    """Return an image (H, W, 3) uint8 as a study shows it to its degradations and detectors.

    Raises UndecodableError for one without a face where the study is of faces, ConfigError where
    faces cannot be found here.
    """
    if step := record.provenance.get(FACES, ""):
        check_faces(step)
        pixels = largest_face(pixels, step)
    side = int(record.provenance.get(UNIFIED, 0))
    return unify(pixels, side) if side else pixels


def _parts(folder: Path, record: TrainedDetector) -> tuple[_Part, ...]:
    """The networks of a detector: its own, or those of an ensemble's members, which lie beside it,
    or in it where it has left the store.
    """
    if record.spec.learner != "members":
        return (_Part(weight=1.0, load=functools.partial(load_detector, folder)),)
    beside = folder / MEMBERS if (folder / MEMBERS).is_dir() else folder.parent
    return tuple(
        _Part(
            weight=float(record.spec.options[f"weight_{name}"]),
            load=functools.partial(load_detector, beside / key),
        )
        for name, key in record.members
    )


def as_images(given: Image | Iterable[Image]) -> Iterable[Image]:
    """Return images as a sequence; one alone becomes a sequence of one."""
    alone = isinstance(given, str | Path | bytes) or hasattr(given, "getexif")
    is_picture = isinstance(given, np.ndarray) and given.ndim == 3
    return [given] if alone or is_picture else given  # type: ignore[list-item, return-value]


def pixels_of(image: Image, number: int = 0) -> Pixels:
    """Return the pixels of an image in any of the forms that `Scorer.score` takes, (H, W, 3) uint8.
    number: by which an error names one that has no path.

    Raises UndecodableError, UnreadableError for a file, DataError for another thing that is no
    picture.
    """
    if isinstance(image, str | Path):
        return load_image(str(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return decode_image(bytes(image))
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise DataError(
                f"image {number} is an array of shape {image.shape} and dtype {image.dtype}; give"
                " RGB pixels of shape (height, width, 3) and dtype uint8, or a path"
            )
        return image
    if hasattr(image, "getexif"):
        return decode_image(_as_file(image))
    raise DataError(
        f"image {number} is of type {type(image).__name__}; give a path, the bytes of a file, a"
        " Pillow image, or RGB pixels of shape (height, width, 3) and dtype uint8"
    )


def _as_file(image: Pillow.Image) -> bytes:
    """Return a Pillow image as a file without loss, to be decoded as all files are."""
    kind = "PNG" if image.mode in _PNG_MODES else "TIFF"
    with io.BytesIO() as file:
        image.save(file, kind, exif=image.getexif())
        return file.getvalue()
