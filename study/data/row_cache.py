"""Tables of the cache that grow: a row for each image or video, found again by what it is of.

`<cache>/<kind>/<code>/<name>-<inputs>/` holds Parquet files, each an entry of the cache
(core/cache.py). Rows are written in parts while they are made, so that a killed run loses few. The
parts are joined in the end, into files of `JOINED` rows: no more are in memory as bytes at a time.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from study.core.cache import Cache, read_entry, remove_others, write_entry, writing
from study.core.identity import digest
from study.data.names import file_name

JOINED = 1 << 15


class RowCache:
    """Tables of one kind, by what one piece of code makes."""

    def __init__(
        self,
        kind: str,
        made_by: Sequence[Callable[..., Any]],
        schema: pa.Schema,
        *,
        of: Sequence[str],
        libraries: Sequence[str],
        unless_empty: str = "",
    ) -> None:
        """of: columns that say what a row is of. A row replaces those with the same first of them.

        unless_empty: a column; a row in which it is "" is used and not kept. For the others see
        `Cache`.
        """
        self.made_by, self.cache = made_by, Cache(kind, made_by, libraries=libraries)
        self.schema, self._of, self._unless_empty = schema, of, unless_empty

    def folder(self, cache: Path, name: str, inputs: Any) -> Path:
        """Return where the table of a dataset lies."""
        return self.cache.path(cache, f"{file_name(name)}-{digest(inputs)}")

    def rows(
        self,
        cache: Path,
        name: str,
        inputs: Any,
        wanted: pa.Table,
        make: Callable[[pa.Table], Iterable[Mapping[str, Any]]],
        *,
        part: int,
        progress: Callable[[str, int, int], None],
        doing: str,
        report: int = 256,
    ) -> pa.Table:
        """Return the row of every row of `wanted`, in that order. Those that are missing are made.

        name, inputs: of the table. make: gets rows of `wanted` and yields the other columns of
        each, in order. part: rows that a killed run may lose. doing: what `progress` says every
        `report` rows.
        Raises what `make` raises, and then keeps what was made. Raises StoreError where the cache
        cannot be written.
        """
        folder = self.folder(cache, name, inputs)
        files = sorted(folder.glob("*.rows"))
        known = pa.concat_tables([self.schema.empty_table(), *map(self._read, files)])
        missing = self._missing(wanted, known)
        todo = wanted if len(missing) == wanted.num_rows else wanted.take(missing)
        tables = [known]
        for start in range(0, todo.num_rows, part):
            block, rows = todo.slice(start, part), []
            try:
                for row in make(block):
                    rows.append(row)
                    done = start + len(rows)
                    if done % report == 0 or done == todo.num_rows:
                        progress(doing, done, todo.num_rows)
            finally:  # an interrupted run keeps what it has made
                if rows:
                    tables.append(self._table(block.slice(0, len(rows)), rows))
                    files.append(self.write(cache, folder, tables[-1]))
        if todo.num_rows or len(files) > 1 + known.num_rows // JOINED:
            self._join(cache, folder, files, known, tables[1:])
        found = pa.concat_tables(tables)
        if not known.num_rows and todo.num_rows == wanted.num_rows:
            return found  # in that order already
        return found.take(pc.index_in(self._keys(wanted), value_set=self._keys(found)))

    def lacking(self, cache: Path, name: str, inputs: Any, wanted: pa.Table) -> NDArray[np.int64]:
        """Return which rows of `wanted` a table has not, each once, in their order. Files that are
        damaged are gone then: whoever asks next does not name them once more. Raises StoreError.
        """
        tables = [self.schema.empty_table()]
        for file in sorted(self.folder(cache, name, inputs).glob("*.rows")):
            tables.append(self._read(file))
            if not tables[-1].num_rows:
                with writing(cache):
                    file.unlink(missing_ok=True)
        return self._missing(wanted, pa.concat_tables(tables))

    def add(
        self,
        cache: Path,
        name: str,
        inputs: Any,
        of: pa.Table,
        rows: Sequence[Mapping[str, Any]],
    ) -> None:
        """Add rows that a table has not. of: what each is of. Raises StoreError."""
        if rows:
            self.write(cache, self.folder(cache, name, inputs), self._table(of, rows))

    def _missing(self, wanted: pa.Table, known: pa.Table) -> NDArray[np.int64]:
        """The rows of `wanted` that are not known, each once, in their order."""
        keys = self._keys(wanted)
        missing = np.flatnonzero(pc.is_null(pc.index_in(keys, value_set=self._keys(known))))
        codes = np.asarray(keys.dictionary_encode().indices)[missing]
        found: NDArray[np.int64] = missing[np.sort(np.unique(codes, return_index=True)[1])]
        return found

    def _join(
        self, cache: Path, folder: Path, files: Sequence[Path], known: pa.Table, new: list[pa.Table]
    ) -> None:
        """Make one file of all. Killed before the others are gone, they say the same once more."""
        made = pa.concat_tables([self.schema.empty_table(), *new])
        of = self._of[0]
        old = known.filter(pc.invert(pc.is_in(known[of], value_set=made[of].combine_chunks())))
        rows = pa.concat_tables([old, made])
        for start in range(0, max(rows.num_rows, 1), JOINED):
            self.write(cache, folder, rows.slice(start, JOINED))
        with writing(cache):
            for file in files:
                file.unlink(missing_ok=True)
            remove_others(folder)

    def _read(self, file: Path) -> pa.Table:
        content = read_entry(file)
        if content is None:
            return self.schema.empty_table()
        return pq.read_table(pa.BufferReader(content), schema=self.schema)

    def write(self, cache: Path, folder: Path, rows: pa.Table) -> Path:
        """Add rows to the table in a folder, as a file of its own. Raises StoreError."""
        if self._unless_empty:
            rows = rows.filter(pc.not_equal(rows[self._unless_empty], ""))
        content, file = io.BytesIO(), folder / f"{uuid.uuid4().hex[:12]}.rows"
        pq.write_table(rows, content)
        with writing(cache):
            write_entry(file, content.getvalue())
        return file

    def _table(self, block: pa.Table, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        arrays = [
            block[field.name].combine_chunks()
            if field.name in self._of
            else pa.array([row.get(field.name) for row in rows], field.type)
            for field in self.schema
        ]
        return pa.table(arrays, schema=self.schema)

    def _keys(self, table: pa.Table) -> pa.Array:
        texts = [pc.cast(table[name], pa.large_string()) for name in self._of]
        joined = pc.binary_join_element_wise(*texts, pa.scalar("\0", pa.large_string()))
        return joined.combine_chunks()
