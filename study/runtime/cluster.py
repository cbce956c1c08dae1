"""The launcher on Ray, and the cluster it runs on: started quietly for this machine alone, or
joined.

The environment below is read by Ray when it is imported or started, so `ray` is imported in
functions only, after it is set.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.core import live, stop
from study.core.errors import ConfigError
from study.core.failures import Failure
from study.core.parallel import cpu_count
from study.core.records import Report, TrialResult
from study.runtime.guard import Guard, without_secrets
from study.runtime.interface import J, Launcher, Terms, W, Work
from study.runtime.local import LocalLauncher
from study.runtime.places import Places, share_out
from study.runtime.watch import AWAY_SECONDS, GONE_SECONDS, Place, Start, Watch

if TYPE_CHECKING:
    from study.search.driver import SearchDriver

LOG = logging.getLogger(__name__)
# jobs and results are small, images are mapped files; Ray refuses less than 75 MiB
OBJECT_STORE_BYTES = 128 << 20
# a cluster takes as long to start and to stop, on two cores
SMALL_SECONDS = 12.0
# The head. Ray says itself where its process of this machine ends, as on a busy one, and is started
# once more.
HEAD = "gcs_server"
SLOW = "timed out during startup"  # what Ray says of itself
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Tune imports MLflow where it is installed, which would then send how it is used
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "RAY_AIR_NEW_OUTPUT": "0",  # the older reporter is the one that `verbose=0` silences
    # workers are as the command that starts them: by default they give way to all other programs
    "RAY_worker_niceness": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean the same in a worker as here
    # how often a training group is looked at; 2 s by default
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # a group that waits for its places hears no Ctrl-C; it is asked for again
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # no CSV, JSON and TensorBoard files of what the store holds
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # its own would make Ctrl-C wait for the trials, and then return as if all were well
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # nothing is ever restored from Tune's own state
    "TUNE_WARN_THRESHOLD_S": "3600",  # our callbacks write to disk
}


class Cluster:
    """The connection of this process to Ray. Where it has one already, that is used and left alone
    by `close`.
    """

    def __init__(self, address: str | None = None, *, cpus: int | None = None) -> None:
        """Join the cluster at `address`, or start one of this machine with `cpus` CPUs (default:
        all that this process may use).

        Raises ConfigError where there is no cluster at the address, or it cannot be joined.
        """
        given = {n: v for n, v in sorted(os.environ.items()) if n.startswith(("RAY_", "TUNE_"))}
        self._given = [name for name, value in given.items() if value != ENVIRONMENT.get(name)]
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import ray

        self._ray = ray
        self._owned = not ray.is_initialized()
        self._guard: Guard | None = None
        self._watch: Watch | None = None
        self._printed: bool | None = None  # whether Ray printed before this cluster
        if not self._owned:
            if address not in (None, "auto", self.address):
                raise ConfigError(
                    f"cannot join the Ray cluster at '{address}': this process is connected to"
                    f" {self.address}"
                )
            return
        if address is None:
            self._start_patiently(cpus)
        else:
            self._join(address)
        if not (address or "").startswith("ray://"):  # a proxy, behind which nothing is reached
            begun, self._watch = self._watch, Watch(self._watched())
            if begun is not None:
                begun.close()

    def _start_patiently(self, cpus: int | None) -> None:
        """Start Ray; once more where it took longer than Ray itself waits, as on a machine that is
        busy.
        """
        LOG.info("starting Ray on this machine (10 s, longer on a busy one)")
        try:
            self._start(cpus)
        except ConfigError as error:
            if SLOW not in str(error):
                raise
            LOG.info("Ray did not start in the time that it waits; trying once more")
            self._start(cpus)

    def _start(self, cpus: int | None) -> None:
        live.show("starting Ray")
        self._guard = Guard()
        if not os.environ.keys() & {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}:
            # Ray lets in only who has a token, and would write one into the home directory if it
            # found none.
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        # Ray waits for a minute for a head that has gone by then, and leaves without a word
        self._watch = Watch([Start(ended=Begun().has_ended, patience=GONE_SECONDS)])
        try:
            with without_secrets(), _on_loopback():
                self._init(
                    address="local",
                    num_cpus=cpus,
                    object_store_memory=OBJECT_STORE_BYTES,
                    # Ray opens this folder to everybody, so it lies within a private one
                    _temp_dir=str(self._guard.folder / "ray"),
                    include_dashboard=False,
                )
        except Exception as error:  # a hook that the environment names may raise anything
            self.close()
            hint = f", and unsetting {', '.join(self._given)} may help" if self._given else ""
            raise ConfigError(
                f"Ray does not start on this machine ({_line(error)}); --local runs without"
                f" it{hint}"
            ) from None
        finally:
            live.finish("starting Ray")

    def _join(self, address: str) -> None:
        try:
            self._init(address=address)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"cannot join the Ray cluster at '{address}' ({_line(error)})"
            ) from None

    def _init(self, **options: Any) -> None:
        # Errors that matter come back as exceptions; what Ray would print beside them is for its
        # own developers.
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **options)
        stop.listen_again()  # Ray takes SIGTERM
        # Notices of dead workers are printed even without `log_to_driver`; this is how Ray's own
        # debugger silences them.
        self._printed = self._ray._private.worker._worker_logs_enabled
        self._ray._private.worker._worker_logs_enabled = False

    @property
    def address(self) -> str:
        """Where others can join."""
        return str(self._ray.get_runtime_context().gcs_address)

    def _watched(self) -> list[Place]:
        """The processes without which nothing goes on: the head, and Ray's on this machine."""
        own = self._ray.get_runtime_context().get_node_id()
        node = next(node for node in self._ray.nodes() if node["NodeID"] == own)
        host, _, port = self.address.rpartition(":")
        patience = GONE_SECONDS if self._guard is not None else AWAY_SECONDS
        here, its = node["NodeManagerAddress"], int(node["NodeManagerPort"])
        return [
            Place(what="its head", host=host.strip("[]"), port=int(port), patience=patience),
            Place(what="Ray on this machine", host=here, port=its, patience=GONE_SECONDS),
        ]

    def nodes(self) -> list[dict[str, float]]:
        """Return the resources of each node that is alive."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def close(self) -> None:
        """Leave the cluster; stop it if it was started here, and remove its files."""
        if not self._owned:
            return
        if self._watch is not None:
            self._watch.close()
        live.show("stopping Ray")
        try:
            self._ray.shutdown()
            if self._printed is not None:
                self._ray._private.worker._worker_logs_enabled = self._printed
            if self._guard is not None:
                self._guard.close()
        finally:
            live.finish("stopping Ray")


class Begun:
    """The head that this process has begun, as far as it was seen."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def has_ended(self) -> bool:
        """Tell whether a head that was seen has ended."""
        import psutil  # Ray brings it, and finds it once it is imported

        running = set[int]()
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):  # it has just ended
                if child.name() == HEAD and child.status() != psutil.STATUS_ZOMBIE:
                    running.add(child.pid)
        self._seen |= running
        return self._seen != running


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Ray's processes that start in the block listen on the loopback interface, as they do on other
    systems than Linux. Ray reads the variable for it when it is imported: they will, and this
    process may have long ago.
    """
    from ray._private import ray_constants

    before, name = ray_constants.ENABLE_RAY_CLUSTER, ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    given = os.environ.get(name)
    ray_constants.ENABLE_RAY_CLUSTER, os.environ[name] = False, "0"
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        os.environ.pop(name)
        if given is not None:
            os.environ[name] = given


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


class RayLauncher(Launcher):
    """Runs trials as one Tune run and jobs as one Train group (see `Launcher`). Ray starts with the
    first work that there is.

    A trial of one worker runs in a Tune actor that serves many trials; one of several is a Train
    group of its own.
    """

    def __init__(
        self,
        terms: Terms,
        *,
        address: str | None,
        slots: int | None,
        scratch: Path,
        workers: int = 1,
        gpus_per_trial: float | None = None,
    ) -> None:
        self._terms, self._address, self._slots, self._scratch = terms, address, slots, scratch
        self._workers, self._gpus_per_trial = workers, gpus_per_trial
        self._cluster: Cluster | None = None

    def run_trials(self, driver: SearchDriver[J], work: Callable[[J, Report], TrialResult]) -> None:
        """Work on the driver's jobs, as many at a time as there are slots. Raises ConfigError where
        not even one fits.
        """
        if driver.finished():
            return
        held = self._places(workers=self._workers, gpus_per_trial=self._gpus_per_trial)
        from study.runtime.tune import run_trials

        with self._folder() as folder:
            run_trials(driver, work, self._terms, places=held, storage=folder)

    def run_jobs(
        self,
        jobs: Sequence[W],
        work: Work[W],
        *,
        seconds: float = math.inf,
    ) -> dict[str, Failure]:
        """Do the jobs that are not done, as many at a time as there are slots. On a cluster of
        somebody's they run there, however small.
        """
        if all(job.is_done() for job in jobs):
            return {}
        if self._address is None and self._saved(seconds) < SMALL_SECONDS:
            LOG.debug("about %.1f s of work: done in this process", seconds)
            return LocalLauncher(self._terms).run_jobs(jobs, work)
        self._places()  # what cannot be had is said first
        from study.runtime.train import run_jobs

        with self._folder() as folder:
            return run_jobs(jobs, work, self._terms, places=self._places, storage=folder)

    def _saved(self, seconds: float) -> float:
        """How much sooner work of so many seconds is done where all places of this machine share
        it.
        """
        places = max(cpu_count() // self._terms.threads, 1)
        shared = min(self._slots or places, places)
        return seconds * (1 - 1 / shared) if math.isfinite(seconds) else seconds

    def _places(self, *, workers: int = 1, gpus_per_trial: float | None = None) -> Places:
        if self._cluster is None:
            self._cluster = Cluster(self._address)
        places = share_out(
            self._cluster.nodes(),
            threads=self._terms.threads,
            slots=self._slots,
            workers=workers,
            gpus_per_trial=gpus_per_trial,
        )
        LOG.debug("Ray at %s: %d at a time, each %s", self._cluster.address, places.slots, places)
        return places

    @contextlib.contextmanager
    def _folder(self) -> Iterator[Path]:
        """A new folder under scratch for one run; a name that Ray has seen before would resume what
        ran under it. What killed runs have left there goes first.
        """
        shutil.rmtree(self._scratch, ignore_errors=True)
        folder = self._scratch.absolute() / uuid.uuid4().hex[:12]
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                self._scratch.rmdir()

    def close(self) -> None:
        """Leave or stop the cluster."""
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None
