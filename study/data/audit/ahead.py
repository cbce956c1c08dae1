"""The measurements of an audit, made by a process of their own while a study scores its cells.

The process fills the cache and prints nothing. Who needs the audit then finds everything there.
What the process could not do (it was killed, a list is broken) is done by whoever asks for it, who
also says what is wrong.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress

from study.core import child
from study.core.quick_arrow import without_pandas
from study.data.audit.dataset import audit_dataset
from study.data.audit.transfer import control_logits
from study.data.catalog import Catalog, DataConfig
from study.data.leaks.find import find_leaks, shared_images
from study.data.names import is_in_domain

PROGRAM = "study.data.audit.ahead"


@contextmanager
def measured_ahead(
    config: DataConfig,
    names: Sequence[str],
    *,
    only_tested: Collection[str],
    pairs: Sequence[tuple[str, str]],
) -> Iterator[subprocess.Popen[bytes]]:
    """Measure datasets beside the block, and of pairs of a training and a test set what they share
    and what the classifiers of the one say of the other. The end of the block waits for it. An
    error in the block ends it.
    """
    process = child.start(PROGRAM)
    assert process.stdin is not None
    try:
        with suppress(BrokenPipeError):  # it ended early: the rest is measured by who asks
            pickle.dump((config, tuple(names), tuple(only_tested), tuple(pairs)), process.stdin)
            process.stdin.flush()
        yield process
        process.wait()
    finally:
        process.kill()
        process.wait()
        with suppress(BrokenPipeError):
            process.stdin.close()


def _end_with_parent() -> None:
    """Wait until the other end of the input is closed: by the parent's end, however that came."""
    os.read(sys.stdin.fileno(), 1)  # not by the buffer, whose lock would be held at the end
    os._exit(1)


def main() -> None:
    """Measure what stands on the input."""
    without_pandas()
    config, names, only_tested, pairs = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    catalog = Catalog(config, firewall=False)
    for name in dict.fromkeys(names):
        audit_dataset(catalog, name, only_tested=name in only_tested)
    tested: dict[str, list[str]] = {}
    for x, y in pairs:
        find_leaks(catalog, x, y)
        if not is_in_domain(x, y):
            shared_images(catalog, x, y, only_tested=y in only_tested)
        tested.setdefault(x, []).append(y)
    for x, of_x in tested.items():
        control_logits(catalog, x, of_x)


if __name__ == "__main__":
    main()
