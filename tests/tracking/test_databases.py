"""MLflow and Optuna on a real PostgreSQL server, and MLflow behind a server of its own: the same
study gives the same matrix as with the files of its results folder, and the same is written.

The server is a throw-away one on 127.0.0.1. The test needs the programs of PostgreSQL (Debian:
`postgresql`) and the package psycopg, and skips where either is missing.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.commands.conftest import STUDY
from tests.factories import write_dataset
from tests.tracking.mlflow_helpers import HERE, Server, free_port

pytestmark = pytest.mark.slow
PASSWORD = "7hidden-from-all"
# numbers that a clock decides
TIMES = "seconds", "epoch_seconds"
WRITTEN = {
    "runs": "select name, status from runs where lifecycle_stage = 'active'",
    "metrics": (
        "select runs.name, m.key, m.step, m.value from metrics m"
        " join runs on runs.run_uuid = m.run_uuid where lifecycle_stage = 'active'"
    ),
    "params": (
        "select runs.name, p.key, p.value from params p join runs on runs.run_uuid = p.run_uuid"
        " where lifecycle_stage = 'active'"
    ),
    "models": "select name, status from logged_models",
    "versions": "select name, version from model_versions",
    "aliases": "select name, alias, version from registered_model_aliases",
}


@dataclass(frozen=True)
class Postgres:
    """A running server: its programs, folder and port, and the user that it runs as."""

    programs: Path
    folder: Path
    port: int
    user: str

    def run(self, program: str, *words: str) -> None:
        """Run one of its programs to its end, as the server's user."""
        done = subprocess.run(
            [str(self.programs / program), *words],
            user=self.user,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "PGPASSWORD": PASSWORD, "LC_ALL": "C.UTF-8"},
            stdout=subprocess.DEVNULL,  # which the server would inherit
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=120,
        )
        log = self.folder / "log"
        assert done.returncode == 0, log.read_text() if log.is_file() else (program, words)

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses={HERE} -c unix_socket_directories="
        self.run("pg_ctl", "start", "-w", "-D", "data", "-l", "log", "-o", options)

    def stop(self) -> None:
        self.run("pg_ctl", "stop", "-w", "-D", "data", "-m", "immediate")

    def database(self, name: str) -> str:
        """Make an empty database; return its address, with the password in it."""
        self.run("createdb", "-h", HERE, "-p", str(self.port), "-U", "study", name)
        return self.address(name)

    def address(self, name: str) -> str:
        return f"postgresql://study:{PASSWORD}@{HERE}:{self.port}/{name}"


def programs() -> Path | None:
    """Where PostgreSQL's programs are, which distributions keep off the path."""
    found = shutil.which("initdb")
    there = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return Path(found).resolve().parent if found else there[-1].parent if there else None


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    if (at := programs()) is None:
        pytest.skip("the programs of PostgreSQL are not installed")
    user = pwd.getpwuid(os.getuid()).pw_name
    if user == "root":  # as whom PostgreSQL refuses to run
        try:
            user = pwd.getpwnam("postgres").pw_name
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user 'postgres'")
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))  # pytest's own is closed to that user
    shutil.chown(folder, user)
    server = Postgres(at, folder, free_port(), user)
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o644)
    own = ("-U", "study", "--auth=scram-sha-256", "--pwfile=password", "--no-sync", "-D", "data")
    try:
        server.run("initdb", *own)
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small study."""
    folder = tmp_path_factory.mktemp("small")
    write_dataset(folder / "datasets" / "alpha", n=30, size=32, seed=1)
    write_dataset(folder / "datasets" / "beta", n=30, size=32, seed=2, suffix=".jpg")
    text = STUDY.replace('["spectrum", "npr"]', '["spectrum"]')
    text = text.replace("[detector.npr]\nsize_px = 32\n", "")
    path = folder / "small.toml"
    path.write_text(f'{text}[data]\nroot = "{folder / "datasets"}"\n', encoding="utf-8")
    return path


def commands(study: Path, results: Path, *names: str, **variables: str) -> str:
    """Run commands as a user does; return what they say. Both views must be written."""
    said = ""
    for name in names:
        done = subprocess.run(
            [sys.executable, "-m", f"study.{name}", str(study), "--results", str(results)]
            + (["--local"] if name != "track" else []),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **variables},
        )
        said += done.stdout + done.stderr
        assert done.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def by_files(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study with SQLite and Optuna's journal; its results folder."""
    results = tmp_path_factory.mktemp("by_files")
    assert "nothing more is written" not in commands(small, results, "sweep", "cross_eval")
    return results


def matrix(results: Path) -> str:
    return (results / "small" / "matrix.csv").read_text(encoding="utf-8")


def written(address: str) -> dict[str, Any]:
    """What MLflow's tables hold, read in SQL, without what a clock decides."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(address)
    found = {}
    with engine.connect() as connection:
        for what, query in WRITTEN.items():
            rows = (tuple(row) for row in connection.execute(sqlalchemy.text(query)))
            found[what] = sorted(map(str, (row for row in rows if not {*row} & {*TIMES})))
    engine.dispose()
    return found


def searched(storage: Any) -> dict[str, Any]:
    """What Optuna has of each of its studies: parameters, value and state of every trial."""
    import optuna

    return {
        name: [
            (one.number, one.state, one.value, one.params, one.intermediate_values)
            for one in optuna.load_study(study_name=name, storage=storage).trials
        ]
        for name in optuna.get_all_study_names(storage)
    }


def journal(results: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(results / "optuna.journal")))


def test_postgresql_holds_what_the_files_hold(
    small: Path, by_files: Path, postgres: Postgres, tmp_path: Path
) -> None:
    tracking, searches = postgres.database("mlflow"), postgres.database("optuna")
    where = {"MLFLOW_TRACKING_URI": tracking, "OPTUNA_STORAGE": searches}
    said = commands(small, tmp_path, "sweep", "cross_eval", **where)
    assert "nothing more is written" not in said and PASSWORD not in said
    assert matrix(tmp_path) == matrix(by_files)
    for view in ("mlflow.db", "optuna.journal"):
        assert (by_files / view).is_file() and not (tmp_path / view).exists()
    expected = written(f"sqlite:///{by_files}/mlflow.db")
    assert all(expected.values())
    assert written(tracking) == expected
    assert searched(searches) == searched(journal(by_files)) != {}
    commands(small, tmp_path, "sweep", "cross_eval", **where)
    assert written(tracking) == expected, "a second time writes nothing twice"


def test_a_lost_postgresql_costs_the_view_alone(
    small: Path, by_files: Path, postgres: Postgres, tmp_path: Path
) -> None:
    tracking, searches = postgres.database("lost"), postgres.database("lost_too")
    where = {"MLFLOW_TRACKING_URI": tracking, "OPTUNA_STORAGE": searches}
    commands(small, tmp_path, "sweep", **where)
    postgres.stop()
    try:
        said = commands(small, tmp_path, "cross_eval", **where)
    finally:
        postgres.start()
    (line,) = (one for one in said.splitlines() if "nothing more is written to MLflow" in one)
    assert PASSWORD not in said and "the results are not touched" in line
    assert "Traceback" not in said
    assert matrix(tmp_path) == matrix(by_files)
    commands(small, tmp_path, "track", **where)
    assert written(tracking) == written(f"sqlite:///{by_files}/mlflow.db")


def test_a_server_of_mlflow_before_postgresql_holds_the_same(
    small: Path,
    by_files: Path,
    postgres: Postgres,
    start_server: Callable[[str], Server],
    tmp_path: Path,
) -> None:
    behind = postgres.database("served")
    server = start_server(
        f"mlflow server --backend-store-uri {behind} --artifacts-destination {tmp_path}/artifacts"
        f" --host {HERE} --port 5000 --workers 1"
    )
    results = tmp_path / "results"
    said = commands(small, results, "sweep", "cross_eval", MLFLOW_TRACKING_URI=server.address)
    assert "nothing more is written" not in said
    assert matrix(results) == matrix(by_files)
    assert not (results / "mlflow.db").exists() and not (results / "mlartifacts").exists()
    assert written(behind) == written(f"sqlite:///{by_files}/mlflow.db")
    assert [*(tmp_path / "artifacts").rglob("matrix.csv")], "the server keeps the files"
