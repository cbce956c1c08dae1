"""What other programs leave in the environment, and what of it would stop this one.

A notebook, a cluster or another project exports variables for its own sake. Those below end a
command halfway, in a library that reads them: they are left out, and a line says so.
"""

from __future__ import annotations

import importlib.util
import os
import re
import warnings
from collections.abc import Iterator, Sequence

from study.core.errors import ConfigError

# read as whole numbers, in libraries that raise or complain at each start otherwise
_NUMBERS = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LOKY_MAX_CPU_COUNT"),
    *("PILLOW_ALIGNMENT", "PILLOW_BLOCK_SIZE"),
    *("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"),
)
_NUMBER = re.compile(r"\s*\d+[kKmMgG]?(\s*,\s*\d+)*\s*")
# a date in seconds, read by matplotlib
_SECONDS = "SOURCE_DATE_EPOCH"
# read by PyTorch as it is imported: NAME:VALUE,NAME:VALUE,..., where a value may be a list
_ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
_PAIR = r"\s*\w+\s*:\s*(\[[^\[\]]+\]|[\w.-]+)\s*"
_PAIRS = re.compile(f"{_PAIR}(,{_PAIR})*")
_VALUES = {  # of those that end a GPU's first use where they are another
    "max_split_size_mb": r"\d+",
    "garbage_collection_threshold": r"0?\.\d+",
    "expandable_segments": "True|False",
    "backend": "native|cudaMallocAsync",
}
# of earlier versions of Ray: they do nothing, and it refuses to run where they are set
_GONE = ("TUNE_RESULT_DIR", "RAY_AIR_LOCAL_CACHE_DIR")
_USUAL = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


def without_strangers() -> Iterator[str]:
    """Leave out of this process' environment, and so of those it starts, what would stop it; yield
    why, a line each.
    """
    for name in _NUMBERS:
        value = os.environ.get(name, "")
        if value and not _NUMBER.fullmatch(value):
            yield _left_out(name, "it must be a whole number")
    if not re.fullmatch(r"\d*", os.environ.get(_SECONDS, "").strip()):
        yield _left_out(_SECONDS, "it must be a number of seconds")
    for name in _ALLOCATOR:
        if (value := os.environ.get(name, "")) and not _is_allocator(value):
            yield _left_out(name, "PyTorch reads NAME:VALUE pairs there, and ends at others")
    for name in _GONE:
        if name in os.environ:
            yield _left_out(name, "Ray refuses to run with it")
    if "error" in os.environ.get("PYTHONWARNINGS", ""):
        yield _left_out("PYTHONWARNINGS", "a warning of a library must not end a command")
        warnings.resetwarnings()
        for category in _USUAL:  # as Python ignores them by itself
            warnings.simplefilter("ignore", category)


def _is_allocator(text: str) -> bool:
    """Tell whether PyTorch can read the settings of its allocator."""
    if not _PAIRS.fullmatch(text):
        return False
    found = {name: re.search(rf"\b{name}\s*:\s*([^\s,]+)", text) for name in _VALUES}
    return all(re.fullmatch(_VALUES[name], one[1]) for name, one in found.items() if one)


def _left_out(name: str, why: str) -> str:
    return f"the environment's {name}={os.environ.pop(name)!r} is left out: {why}"


def need_extra(extra: str, modules: Sequence[str]) -> None:
    """Raise ConfigError, with the command that installs it, where a module of an optional extra of
    this project is missing.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"this needs the extra [{extra}] ({', '.join(missing)} not installed): pip install"
            f" 'fake-image-study[{extra}]'"
        )
