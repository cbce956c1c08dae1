"""Made-up trials and winners, and an MLflow server as its REST API shows it."""

from __future__ import annotations

import json
import socket
import urllib.request
from pathlib import Path
from typing import Any

from study.core.records import (
    DetectorSpec,
    EpochRecord,
    Geometry,
    Pairing,
    TrainedDetector,
    Trial,
    TrialResult,
)

HERE = "127.0.0.1"


def make_trial(
    detector: str = "npr", train_on: str = "a+b", number: int = 0, *, key: str = "", epochs: int = 3
) -> tuple[Trial, TrialResult]:
    """A trial that went well: val AUC rises by .1 an epoch, from .6."""
    trial = Trial(
        key=key or f"{detector}-{train_on}-{number}",
        pairing=Pairing(detector=detector, train_on=train_on),
        number=number,
        params={"lr": 0.001 * (number + 10), "schedule": "full"},
        seed=number + 100,
        epochs=epochs,
    )
    history = tuple(
        EpochRecord(
            epoch=e,
            phase="head" if e == 0 else "full",
            train_loss=1.0 / (e + 1),
            val_auc=0.6 + 0.1 * e,
            val_nll=0.7 - 0.1 * e,
            learning_rate=0.01,
            seconds=2.0,
        )
        for e in range(epochs)
    )
    best = history[-1]
    result = TrialResult(
        key=trial.key,
        state="done",
        val_auc=best.val_auc,
        val_nll=best.val_nll,
        best_epoch=best.epoch,
        history=history,
        seconds=2.0 * epochs,
    )
    return trial, result


def make_winner(
    folder: Path, detector: str = "npr", train_on: str = "a+b", seed: int = 0, *, key: str = ""
) -> tuple[TrainedDetector, Path]:
    """A winner's record and a model folder that holds its curves; its weights are no weights."""
    trial, result = make_trial(detector, train_on, -1 - seed, key=key)
    trained = TrainedDetector(
        key=trial.key,
        trial=trial,
        spec=DetectorSpec(
            name=detector,
            family=detector,
            geometry=Geometry(size_px=32, mode="squash"),
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            learner="gradient",
        ),
        winner_seed=seed,
        winner_trial=0,
        thresholds={"fixed": 0.0, "source": 0.25, "source_fpr5": 1.5},
        temperature=1.0,
        val_auc=result.val_auc,
        val_nll=result.val_nll,
        best_epoch=result.best_epoch,
        provenance={"code": "0.1.0", "cpu+os": "any"},
    )
    own = folder / trial.key
    own.mkdir(parents=True)
    (own / "detector.safetensors").write_bytes(b"weights")
    history = [vars(epoch) for epoch in result.history]
    (own / "detector.json").write_text(
        json.dumps({"history": history, "seconds": result.seconds}), encoding="utf-8"
    )
    return trained, own


class Server:
    """A running MLflow server, asked over HTTP alone."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """GET, or POST where there is a body; returns the JSON that comes back."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(
            f"{self.address}/api/2.0/mlflow/{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def experiment(self, name: str) -> str:
        return str(
            self.ask(f"experiments/get-by-name?experiment_name={name}")["experiment"][
                "experiment_id"
            ]
        )

    def runs(self, experiment: str, filter_string: str) -> list[dict[str, Any]]:
        return list(
            self.ask("runs/search", {"experiment_ids": [experiment], "filter": filter_string}).get(
                "runs", []
            )
        )

    def text(self, path: str) -> str:
        with urllib.request.urlopen(self.address + path, timeout=20) as answer:
            return str(answer.read().decode())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        return int(probe.getsockname()[1])


def is_up(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
