"""A winner that MLflow has stored is loaded back and scores images as the detector itself does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from study.core.errors import DataError
from study.core.records import Scores
from study.store.store import Store
from study.tracking.mlflow_tracker import Tracker
from tests.tracking.mlflow_helpers import make_winner

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
    assert list(answer.columns) == ["logit", "probability"]
    np.testing.assert_allclose(answer.logit, expected, rtol=1e-6)
    np.testing.assert_allclose(answer.probability, 1 / (1 + np.exp(-answer.logit)), rtol=1e-12)
    pd.testing.assert_frame_equal(loaded.predict([str(path) for path in images]), answer)

    broken = tmp_path / "broken.png"
    broken.write_bytes(images[0].read_bytes()[:200])
    with pytest.raises(DataError, match=r"image '.*broken\.png' cannot be scored"):
        loaded.predict([str(broken)])
