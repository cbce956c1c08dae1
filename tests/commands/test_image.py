"""The Dockerfile's own lines, in an empty folder with an environment of its own in the image's
place. The image itself is not built here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_lines_of_the_dockerfile_make_a_working_installation(tmp_path: Path) -> None:
    app, place = tmp_path / "app", tmp_path / "python"
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^COPY (.*)$", text, re.MULTILINE) == [". ."]
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (app / name).parent.mkdir(parents=True, exist_ok=True)
            (app / name).write_bytes((ROOT / name).read_bytes())
    venv.create(place, with_pip=True)
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {**kept, "PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    lines = re.findall(r"^RUN (.*)$", text, re.MULTILINE)
    assert len(lines) >= 2
    for line in lines:
        done = subprocess.run(
            line, shell=True, cwd=app, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert "quick" in done.stdout
    entry = re.search(r'^ENTRYPOINT \["(\w+)", "(-m)"\]$', text, re.MULTILINE)
    assert entry is not None
    words = [place / "bin" / entry[1], entry[2], "study.plan", "quick"]
    planned = subprocess.run(
        words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert planned.returncode == 0 and "trials" in planned.stdout, planned.stderr
    assert sys.executable != str(words[0])
