"""Pretrained weights, one path for every library: find the file, digest it, read it, fit it to the
network or refuse.

No torch until a file is read: finding and digesting are needed to plan a study.

A file is looked for, in this order:
1. `<weights root>/<backbone>.<pretrained>.<extension>`, extensions as in `EXTENSIONS`; a published
   detector's under its authors' name, there or in the folder `<backbone>` in it. The weights
   root is what the caller gives (`--weights-root`), else the environment's STUDY_WEIGHTS.
   `<backbone>.<extension>` does not say which weights of that backbone it holds: it is refused, but
   for a backbone that no library has weights of.
2. the cache of the Hugging Face hub, then the hub itself: the repository that timm or open_clip
   names for this checkpoint.

Nothing else is tried, and nothing goes on without the weights: a network is built without memory
(torch's meta device) and takes its tensors from the file, so that no random number could stay in
it.
"""

from __future__ import annotations

import functools
import logging
import os
import re
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.core.errors import WeightsError
from study.core.identity import file_sha256
from study.core.paths import given_path

if TYPE_CHECKING:
    from torch import Tensor, nn

    State = Mapping[str, Tensor]

ENVIRONMENT = "STUDY_WEIGHTS"
LOG = logging.getLogger(__name__)
EXTENSIONS = (".safetensors", ".pth", ".pt", ".bin")
HUB = "https://huggingface.co"
SAFE_NAME = "model.safetensors"
NAMED = 4  # keys that an error message names before it counts the others


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a backbone's pretrained weights come from.

    repository, filename: on the Hugging Face hub, as the library itself names them; both "" where
    it offers none.
    fallback: the name under which repositories without `filename` have the weights, or "".
    origin: for a person, what to fetch where the hub cannot be reached.
    prefix: the part of the file that is the backbone (`visual.` in a CLIP checkpoint); other keys
    are not read.
    classifier: keys of the library's own classifier, ignored, since the detector has its own head.
    only: no library has weights of this backbone, so that its name alone says which they are.
    file, sha256: of a published detector's weights, the name and the digest of its authors' file.
    licence: of the weights, where it is on record.
    """

    backbone: str
    pretrained: str
    origin: str
    repository: str = ""
    filename: str = ""
    fallback: str = ""
    prefix: str = ""
    classifier: tuple[str, ...] = ()
    only: bool = False
    file: str = ""
    sha256: str = ""
    licence: str = ""

    @classmethod
    def on_hub(cls, repository: str, filename: str = SAFE_NAME, **fields: Any) -> Source:
        """Return the source of a file on the hub."""
        origin = f"{HUB}/{repository}/resolve/main/{filename}"
        return cls(repository=repository, filename=filename, origin=origin, **fields)

    @property
    def stem(self) -> str:
        """The name of a local file, without its extension."""
        return f"{self.backbone}.{self.pretrained}" if self.pretrained else self.backbone


# Words of a tag (`openai`, `laion2b_s34b_b79k`, `fb_in1k`) -> a day after which none of the images
# that the weights were trained on was made: the end of their collection as published, else when the
# weights were. The first that is found counts. Tags of unnamed image collections have none.
DATA_UNTIL: Mapping[str, str] = {
    r"yfcc|swsl|ssl|ig\d|swag|seer|jft": "",
    "laion": "2022-03",
    "datacomp": "2023-04",
    "openai": "2021-01",
    "v2_webli": "2025-02",
    "webli": "2023-03",
    "lvd142m": "2023-04",
    "lvd1689m": "2025-08",
    "metaclip2": "2025-07",
    r"in1k|in12k|in2[12]k": "2012",
}
# by the name of the network alone, or of a published detector (of the last two, DINOv2's data)
BACKBONE_UNTIL: Mapping[str, str] = {"vit_pe_": "2025-04", "dda": "2023-04", "b_free": "2023-04"}


def data_until(source: Source) -> str:
    """Return until when the images were made that weights were trained on, at the latest (2022-03);
    "" where that is not known.
    """
    for start, date in BACKBONE_UNTIL.items():
        if source.backbone.startswith(start):
            return date
    words = (date for word, date in DATA_UNTIL.items() if re.search(word, source.pretrained))
    return next(words, "")


def weights_folder(weights_root: Path | None) -> Path | None:
    """Return the folder of local weights: `weights_root`, else STUDY_WEIGHTS, else None."""
    named = weights_root or os.environ.get(ENVIRONMENT)
    return given_path(named) if named else None


def local_file(source: Source, weights_root: Path | None) -> Path | None:
    """Return the local file of a backbone's weights, or None where there is none."""
    if source.file:
        folder = weights_folder(weights_root)
        places = (folder / source.file, folder / source.stem / source.file) if folder else ()
        return next((path for path in places if path.is_file()), None)
    named = _first(weights_root, source.stem)
    return named or (_first(weights_root, source.backbone) if source.only else None)


def unnamed_file(source: Source, weights_root: Path | None) -> Path | None:
    """Return a local file that is some weights of a backbone and does not say which, or None."""
    return None if source.only or source.file else _first(weights_root, source.backbone)


def _first(weights_root: Path | None, stem: str) -> Path | None:
    folder = weights_folder(weights_root)
    candidates = (folder / f"{stem}{extension}" for extension in EXTENSIONS) if folder else ()
    return next((path for path in candidates if path.is_file()), None)


def cached_file(source: Source) -> Path | None:
    """Return the file of a backbone in the hub's cache here, or None. Touches no network."""
    from huggingface_hub import try_to_load_from_cache

    names = [name for name in (source.filename, source.fallback) if name and source.repository]
    found = (try_to_load_from_cache(source.repository, name) for name in names)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def find(source: Source, weights_root: Path | None, *, download: bool = True) -> Path:
    """Return the weights file of a backbone: local, cached, or downloaded.

    Raises WeightsError, which says what to fetch and where to put it, where there is none, and for
    a local file whose name says the backbone alone.
    """
    path = local_file(source, weights_root)
    if path is None and (unnamed := unnamed_file(source, weights_root)):
        raise WeightsError(
            f"weights file {unnamed} does not say which weights of {source.backbone} it holds: if"
            f" they are '{source.pretrained}' ({source.origin}), rename it to"
            f" {source.stem}{unnamed.suffix}"
        )
    path = path or cached_file(source)
    if path is not None:
        return path
    why, cause = "", None
    if download and source.repository:
        if source.licence:
            LOG.info("downloading weights of %s; licence: %s", source.backbone, source.licence)
        try:
            return _download(source)
        # the hub's client raises errors of several libraries, all of which mean the same here
        except Exception as error:
            why, cause = f" (the hub: {type(error).__name__})", error
    raise WeightsError(_missing(source, weights_root, why)) from cause


def _download(source: Source) -> Path:
    """Fetch a file by the hub's client, which tries for half a minute without a network."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return Path(hf_hub_download(source.repository, source.filename))
    except EntryNotFoundError as error:
        # the latter: the hub gave no answer
        if not source.fallback or isinstance(error, LocalEntryNotFoundError):
            raise
        return Path(hf_hub_download(source.repository, source.fallback))
    finally:
        logger.setLevel(level)


def _missing(source: Source, weights_root: Path | None, why: str) -> str:
    folder, ending = weights_folder(weights_root), Path(source.origin).suffix
    ending = ending if ending in EXTENSIONS else ".safetensors"
    place = f"{folder or '<folder>'}/{source.file or source.stem + ending}"
    how = "" if folder else f" and name that folder with --weights-root or {ENVIRONMENT}"
    tag = f" '{source.pretrained}'" if source.pretrained else ""
    return (
        f"pretrained weights{tag} of {source.backbone} are not on this machine{why}: fetch"
        f" {source.origin}, put it at {place}{how}"
        + (f" (licence: {source.licence})" if source.licence else "")
    )


def found_digest(source: Source, weights_root: Path | None, *, download: bool = True) -> str:
    """Return the SHA-256 of a source's file. Raises WeightsError where there is none, or where a
    published detector's is another file than its authors'.
    """
    path = find(source, weights_root, download=download)
    found = file_digest(path)
    if source.sha256 and found != source.sha256:
        raise WeightsError(
            f"weights file {path} is not the published one of {source.backbone}: its SHA-256 is"
            f" {found}, that of the published one {source.sha256}; fetch {source.origin} again"
        )
    return found


@functools.lru_cache(maxsize=64)
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    return file_sha256(path)


def file_digest(path: Path) -> str:
    """Return a weights file's SHA-256, once a process unless it changes. Raises WeightsError."""
    try:
        status = path.stat()
        return _digest(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise WeightsError(
            f"weights file {path} cannot be read: {error.strerror or error}"
        ) from error


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file: safetensors, or a state dict of torch.save (never
    unpickling anything else, but for the options of a command, `argparse.Namespace`, which some
    authors save beside it: it holds values and runs nothing).

    A state dict wrapped as {"state_dict": ...} or {"model": ...} is unwrapped. Raises WeightsError
    for a truncated file, a TorchScript archive, or a file of anything but tensors.
    """
    import torch
    from torch.serialization import safe_globals

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            with safe_globals([Namespace]):
                state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each format fails with errors of its own kind
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise WeightsError(
            f"weights file {path} cannot be read (damaged, cut short, or not a state dict):"
            f" {reason}; fetch it again"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    tensors = state.values() if isinstance(state, Mapping) else ()
    if not tensors or not all(isinstance(tensor, torch.Tensor) for tensor in tensors):
        raise WeightsError(
            f"weights file {path} holds no state dict of tensors; fetch the state dict in the"
            " library's own names"
        )
    return dict(state)


def load_backbone(
    network: nn.Module,
    path: Path,
    source: Source,
    *,
    convert: Callable[[State, nn.Module], State] | None = None,
) -> None:
    """Fill `network` from a weights file, in place: every tensor, float32, or WeightsError and
    nothing changed.

    The file's keys must be the network's: a missing or a foreign key, a shape that differs and a
    value that is not finite are errors. Left out of account are the classifier's keys, what lies
    outside `source.prefix`, and the count of batches that BatchNorm keeps, which files of old torch
    versions lack and nothing here reads.
    convert: turns a file whose keys are not the network's into one whose keys are, as the library
    does for older forms.
    """
    wanted = network.state_dict()
    state = _selected(read_state(path), wanted, source)
    if convert is not None and not _fits(wanted, state):
        try:
            state = _selected(convert(state, network), wanted, source)
        # a converter fails in any way on a file it was not made for; the keys as they are say what
        # is wrong
        except Exception:
            LOG.debug("no conversion of %s", path, exc_info=True)
    _check_keys(wanted, state, path, source.backbone)
    loaded = {k: aligned(v.to(wanted[k].dtype)) for k, v in state.items()}
    broken = [k for k, v in loaded.items() if not bool(v.isfinite().all())]
    if broken:
        raise WeightsError(
            f"weights file {path} holds values that are not finite in {_some(broken)}; fetch it"
            " again"
        )
    network.load_state_dict(loaded, strict=True, assign=True)


def aligned(tensor: Tensor) -> Tensor:
    """Return a tensor in memory of its own. In a file tensors stand at any address, and on one that
    is not aligned a product of matrices is computed another way, which differs in the last bit.
    """
    import torch

    return tensor.clone(memory_format=torch.contiguous_format)


def _selected(state: State, wanted: State, source: Source) -> dict[str, Tensor]:
    """The part of a file that is the backbone, in its names; an absent count of batches is 0."""
    import torch

    counts = [k for k in wanted if k.endswith("num_batches_tracked")]
    found = {k: torch.zeros((), dtype=wanted[k].dtype) for k in counts}
    for key, tensor in state.items():
        inside = key.removeprefix(source.prefix)
        if key.startswith(source.prefix) and (
            inside in wanted or not _is_classifier(inside, source)
        ):
            found[inside] = tensor
    return found


def _is_classifier(key: str, source: Source) -> bool:
    """Tell whether a key that the network does not have is the classifier's, or of a layer that
    stands beside it in one module.
    """
    parents = {classifier.rpartition(".")[0] for classifier in source.classifier}
    return key.startswith(tuple(f"{name}." for name in {*source.classifier, *parents} if name))


def _fits(wanted: State, state: State) -> bool:
    return wanted.keys() == state.keys() and all(wanted[k].shape == state[k].shape for k in wanted)


def _check_keys(wanted: State, state: State, path: Path, backbone: str) -> None:
    both = wanted.keys() & state.keys()
    problems = {
        "lacks": sorted(wanted.keys() - state.keys()),
        "has unknown": sorted(state.keys() - wanted.keys()),
        "has another shape for": sorted(k for k in both if wanted[k].shape != state[k].shape),
    }
    said = "; ".join(f"{what} {_some(keys)}" for what, keys in problems.items() if keys)
    if said:
        raise WeightsError(
            f"weights file {path} does not fit {backbone}: it {said}; fetch the file of this very"
            " model"
        )


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return ", ".join(keys[:NAMED]) + more
