"""A command's pyarrow does without pandas, and pandas works beside it."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from study.core.quick_arrow import without_pandas
without_pandas()
import pyarrow as pa
import pyarrow.compute as pc
table = pa.table({"a": [1, 2], "b": ["x", None]})
assert pc.sum(table["a"]).as_py() == 3 and table["b"].to_pylist() == ["x", None]
print("pandas" in sys.modules)
import pandas as pd
assert pd.DataFrame({"a": [1.5, 2.5]})["a"].sum() == 4
print("pandas" in sys.modules)
"""


def test_pandas_is_imported_by_who_asks_for_it_alone() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
