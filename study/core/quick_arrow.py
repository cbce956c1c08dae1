"""pyarrow without pandas, in the processes of this project's commands.

pyarrow imports pandas when it is first given a list, to see whether that is a column of pandas: a
third of a second, and nothing here is. Once it was not found it is not looked for again. Who
imports pandas has it as ever, and only `to_pandas` of pyarrow does not work in such a process.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import Any


class _NoPandas(MetaPathFinder):
    """Says that there is no pandas."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError(name=fullname)


def without_pandas() -> None:
    """Have pyarrow not look for pandas in this process; nothing where pandas is there already."""
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([""])
    finally:
        sys.meta_path.remove(finder)
