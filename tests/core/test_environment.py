"""What other programs leave in the environment stops no command; what is left out is said."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.core.environment import without_strangers
from tests.factories import write_dataset

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def _filters(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    with warnings.catch_warnings():
        yield


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OMP_NUM_THREADS", "auto"),
        ("MKL_NUM_THREADS", "-1"),
        ("LOKY_MAX_CPU_COUNT", "bad"),
        ("PILLOW_BLOCK_SIZE", "many"),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "5s"),
        ("SOURCE_DATE_EPOCH", "yesterday"),
        ("PYTORCH_CUDA_ALLOC_CONF", "foo"),
        ("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True,max_split_size_mb:"),
        ("PYTORCH_ALLOC_CONF", "roundup_power2_divisions:[256:1,512:2"),
        ("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:many"),
        ("PYTORCH_CUDA_ALLOC_CONF", "garbage_collection_threshold:2"),
        ("TUNE_RESULT_DIR", "/somewhere"),
        ("RAY_AIR_LOCAL_CACHE_DIR", "/somewhere"),
        ("PYTHONWARNINGS", "error"),
        ("PYTHONWARNINGS", "default,error::DeprecationWarning"),
    ],
)
def test_what_would_stop_a_command_is_left_out_with_a_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    (line,) = without_strangers()
    assert f"{name}='{value}' is left out" in line and name not in os.environ


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OMP_NUM_THREADS", "4"),
        ("OMP_NUM_THREADS", "4,2"),  # of nested regions
        ("PILLOW_BLOCK_SIZE", "64k"),
        ("SOURCE_DATE_EPOCH", "1700000000"),
        (
            "PYTORCH_CUDA_ALLOC_CONF",
            "expandable_segments:True,garbage_collection_threshold:0.6,max_split_size_mb:128",
        ),
        ("PYTORCH_CUDA_ALLOC_CONF", "roundup_power2_divisions:[256:1,512:2,>:4]"),
        ("PYTHONWARNINGS", "ignore"),
        ("RAY_memory_usage_threshold", "0.9"),
    ],
)
def test_what_can_be_meant_stays(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert list(without_strangers()) == [] and os.environ[name] == value


def test_a_warning_that_was_to_be_an_error_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings.simplefilter("error")
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    list(without_strangers())
    warnings.warn("of a library", DeprecationWarning, stacklevel=1)


def test_a_command_runs_in_a_strange_environment(tmp_path: Path) -> None:
    """`-OO` strips the docstrings that help is made of."""
    strange = {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "MPLCONFIGDIR": "/proc/1/none",
        "PYTHONWARNINGS": "error",
        "OMP_NUM_THREADS": "auto",
        "PYTORCH_CUDA_ALLOC_CONF": "foo",
        "SOURCE_DATE_EPOCH": "yesterday",
        "MLFLOW_RUN_ID": "0123",
        "MLFLOW_EXPERIMENT_NAME": "of another program",
        "RANK": "3",
        "WORLD_SIZE": "8",
        "CUDA_VISIBLE_DEVICES": "7",
        "TMPDIR": str(tmp_path / "gone"),
        "HOME": "/proc/1/none",
        "LANG": "xx_YY.UTF-8",
        "COLUMNS": "bad",
    }
    folder = write_dataset(tmp_path / "mine", n=30, size=16)
    words = [sys.executable, "-OO", "-m", "study.prepare", "--describe", str(folder)]
    done = subprocess.run(
        [*words, "--results", str(tmp_path / "results")],
        env={**os.environ, "PYTHONPATH": str(ROOT), **strange},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "next: python -m study.init " in done.stdout
    said = done.stderr.splitlines()
    assert len(said) == 4 and all(line.startswith("warning: the environment's") for line in said)
