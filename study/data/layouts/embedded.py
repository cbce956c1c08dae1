"""What files with images inside them say of these: one table of columns a file, without an image.

Parquet as the Hugging Face hub has it: an image column (a struct with `bytes`, or plain bytes) and
columns beside it, with the names of classes where the schema has them. WebDataset shards (.tar):
`KEY.jpg` with `KEY.cls` or `KEY.json` beside it.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from study.core.errors import DataError
from study.data.class_words import SILENT, classes_said
from study.data.images.decode import EXTENSIONS
from study.data.images.inside import (
    TABLE,
    damaged,
    member_path,
    members_of,
    open_table,
    row_path,
)
from study.data.layouts.listing import in_blocks

IMAGE_NAMES = ("image", "img", "image_data", "picture", "photo", "image_bytes", "bytes", "jpg")
SIDECARS = ("cls", "json")
# our columns, and what they are called, the first that is there
ROLES = {
    "label": "label labels label_a is_fake is_generated is_ai fake target class cls y",
    "method": "method model model_name generator generator_name",
    "group": "group group_id",
    "video": "video video_id",
    "split": "split",
    "released": "released release_date",
}
_PEEKED = 1000  # rows that decide which columns of text say a class
_FEW = 8  # different words of such a column, or a quarter of the rows; captions differ
_LONGEST_SIDECAR = 2**20


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What a file says of the images inside it.

    file: relative to the dataset's folder. path: of each image (N,), without the file's own folder.
    columns: beside the image, as texts. name: of the image in the file (`image.path`) or "". group:
    (N,) int32, the row group. size: (N,) int64, its bytes, of a table the mean of its row group.
    images: the column of images. names: of all columns. notes: (what, why) of what was passed over.
    """

    file: str
    path: pa.Array
    columns: pa.Table
    group: NDArray[np.int32]
    size: NDArray[np.int64]
    images: str
    names: tuple[str, ...]
    notes: tuple[tuple[str, str], ...] = ()


def holds_samples(file: str) -> bool:
    """Whether a tar file is a WebDataset shard: its first image has a label's file beside it. False
    for what is none or damaged.
    """
    names: list[str] = []
    try:
        for name, _, _ in members_of(file):
            names.append(name)
            if len(names) == 16:
                break
    except (DataError, OSError):
        return False
    keys = {key for key, suffix in map(_key, names) if suffix in SIDECARS}
    return any(key in keys and _is_image(suffix) for key, suffix in map(_key, names))


def read_embedded(root: Path, file: str, named: Mapping[str, str]) -> Embedded:
    """Read what a file says of its images. named: the columns that a card names, by what they mean.

    Raises DataError for a file that is damaged, and where no column, or several, may be the image.
    """
    reads = _read_table if file.lower().endswith(TABLE) else _read_shard
    return reads(root, file, named)


def _read_table(root: Path, file: str, named: Mapping[str, str]) -> Embedded:
    whole = f"{root}/{file}"
    parquet = open_table(whole)
    schema, classes = parquet.schema_arrow, _class_names(parquet.schema_arrow, whole)
    images = _image_column(schema, named, whole)
    wanted = [field.name for field in schema if _means_something(field, named)]
    wanted += _texts_that_say_a_class(parquet, [*wanted, images], whole)
    inner = [f"{images}.path"] if _has(schema.field(images), "path") else []
    read = _read_groups(parquet, [*wanted, *inner], whole)
    columns = {name: _as_text(read[name], classes.get(name)) for name in wanted}
    if inner:
        columns["name"] = _as_text(pc.struct_field(read[images], "path"), None)
    rows = [parquet.metadata.row_group(n).num_rows for n in range(parquet.metadata.num_row_groups)]
    group = np.repeat(np.arange(len(rows), dtype=np.int32), rows)
    size = np.repeat(np.array([_mean_bytes(parquet, n, images) for n in range(len(rows))]), rows)
    numbers = pc.utf8_lpad(pc.cast(pa.array(np.arange(sum(rows))), pa.string()), 9, "0")
    prefix = row_path(file, images, 0).rpartition("=")[0]
    parquet.close()
    return Embedded(
        file=file,
        path=pc.binary_join_element_wise(prefix, numbers, "="),
        columns=pa.table(columns) if columns else pa.table({"": pa.nulls(sum(rows))}),
        group=group,
        size=size.astype(np.int64),
        images=images,
        names=tuple(schema.names),
    )


def _class_names(schema: pa.Schema, file: str) -> dict[str, list[str]]:
    """The names of classes by column, as the library datasets writes them into the schema."""
    metadata = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(metadata).get("info", {}).get("features", {})
        kinds = {
            name: list(map(str, of["names"]))
            for name, of in features.items()
            if isinstance(of, dict) and of.get("_type") == "ClassLabel" and of.get("names")
        }
    except (ValueError, AttributeError, TypeError):
        raise DataError(
            f"'{file}': the names of its classes cannot be read from its schema (key"
            " 'huggingface'); write the file again with the library datasets"
        ) from None
    return kinds


def _image_column(schema: pa.Schema, named: Mapping[str, str], file: str) -> str:
    found = [field.name for field in schema if _is_binary(field.type) or _has(field, "bytes")]
    if named.get("image") in found:
        return str(named["image"])
    wanted = [name for known in IMAGE_NAMES for name in found if name.lower() == known]
    if wanted or len(found) == 1:
        return str((wanted or found)[0])
    what = f"{', '.join(found)} may all be" if found else "no column holds bytes, as must"
    raise DataError(
        f"'{file}' ({', '.join(schema.names)}): which column holds the images? {what} the image's;"
        f" rename it to image (with the library datasets: rename_column('NAME', 'image'))"
    )


def _is_binary(kind: pa.DataType) -> bool:
    return any(
        test(kind)
        for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    )


def _has(field: pa.Field, name: str) -> bool:
    """Whether a column is a struct with such a field."""
    return bool(pa.types.is_struct(field.type) and field.type.get_field_index(name) >= 0)


def _means_something(field: pa.Field, named: Mapping[str, str]) -> bool:
    """Whether a column is one of ours, by its name or by the card."""
    if pa.types.is_nested(field.type) or _is_binary(field.type):
        return False
    known = [*named.values(), *" ".join(ROLES.values()).split()]
    return bool(field.name in known or field.name.lower() in known)


def _is_text(field: pa.Field) -> bool:
    return bool(pa.types.is_string(field.type) or pa.types.is_large_string(field.type))


def _texts_that_say_a_class(parquet: pq.ParquetFile, others: Sequence[str], file: str) -> list[str]:
    """Columns of text of few words, of which some say a class: they are held to the labels."""
    texts = [
        field.name for field in parquet.schema_arrow if field.name not in others and _is_text(field)
    ]
    try:
        first = next(parquet.iter_batches(batch_size=_PEEKED, columns=texts), None)
    except (pa.ArrowException, OSError) as error:
        raise damaged(file, error, column=", ".join(texts), group=0) from None
    found = []
    for name in texts:
        given = [value for value in first[name].to_pylist() if value] if first else []
        values = set(given)
        said = classes_said(pa.chunked_array([[*values, ""]], pa.string()))
        if len(values) <= max(_FEW, len(given) // 4) and (said != SILENT).any():
            found.append(name)
    return found


def _as_text(column: pa.ChunkedArray, names: Sequence[str] | None) -> pa.ChunkedArray:
    """A column as stripped texts, "" for null; classes by their names."""
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if names and pa.types.is_integer(column.type):
        known = pa.array([*names, None], pa.string())
        inside = pc.and_(pc.greater_equal(column, 0), pc.less(column, len(names)))
        meant = pc.take(known, pc.if_else(inside, column, len(names)))
        column = pc.coalesce(meant, pc.cast(column, pa.string()))
    if pa.types.is_floating(column.type):
        whole = pc.fill_null(pc.equal(pc.floor(column), column), True)
        if pc.all(whole).as_py():  # 0.0 and 1.0, as pandas writes numbers with gaps
            column = pc.cast(column, pa.int64())
    if pa.types.is_boolean(column.type):
        column = pc.cast(column, pa.int8())
    return pc.utf8_trim_whitespace(pc.fill_null(pc.cast(column, pa.string()), ""))


def _mean_bytes(parquet: pq.ParquetFile, group: int, images: str) -> int:
    metadata = parquet.metadata.row_group(group)
    leaves = [metadata.column(number) for number in range(metadata.num_columns)]
    wanted = (images, f"{images}.bytes")
    size = sum(leaf.total_compressed_size for leaf in leaves if leaf.path_in_schema in wanted)
    return int(size // max(metadata.num_rows, 1))


def _read_groups(parquet: pq.ParquetFile, names: Sequence[str], file: str) -> pa.Table:
    """Some columns of all row groups. Raises DataError with the row group and the column."""

    def read(group: int, columns: Sequence[str]) -> pa.Table:
        try:
            return parquet.read_row_group(group, columns=columns, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            if len(columns) > 1:
                for name in columns:
                    read(group, [name])
            raise damaged(file, error, column=", ".join(columns), group=group) from None

    groups = [read(number, names) for number in range(parquet.metadata.num_row_groups)]
    return pa.concat_tables(groups) if groups else parquet.schema_arrow.empty_table().select([])


def _key(name: str) -> tuple[str, str]:
    """A sample's key, and what a member is of it: `a/0001`, `seg.png`."""
    folder, slash, base = name.rpartition("/")
    key, _, suffix = base.partition(".")
    return f"{folder}{slash}{key}", suffix.lower()


def _is_image(suffix: str) -> bool:
    return f".{suffix}".endswith(EXTENSIONS)


def _read_shard(root: Path, file: str, named: Mapping[str, str]) -> Embedded:
    whole = f"{root}/{file}"
    lost: Counter[str] = Counter()
    paths: list[pa.Array] = []
    sizes: list[NDArray[np.int64]] = []
    hashes: list[NDArray[np.int64]] = []
    tables: list[pa.Table] = []
    with Path(whole).open("rb") as raw:
        samples = _samples(whole, raw.fileno(), named.get("image", ""), lost)
        for block in in_blocks(samples, 4096):
            hashes.append(np.array([hash(name) for name, _, _ in block]))
            paths.append(pa.array([member_path(file, name) for name, _, _ in block]))
            sizes.append(np.array([size for _, size, _ in block], np.int64))
            keys = list(dict.fromkeys(key for *_, row in block for key in row))
            columns = {key: [row.get(key, "") for *_, row in block] for key in keys}
            tables.append(pa.table(columns))
    if not tables:
        raise DataError(f"'{whole}' holds no sample (KEY.jpg with KEY.cls or KEY.json beside it)")
    if len(np.unique(np.concatenate(hashes))) < sum(map(len, hashes)):
        raise DataError(f"'{whole}' holds two members of one name; write the shard again")
    columns = pa.concat_tables(tables, promote_options="default")
    filled = {name: pc.fill_null(columns[name], "") for name in columns.column_names}
    return Embedded(
        file=file,
        path=pa.concat_arrays(paths),
        columns=pa.table(filled),
        group=np.zeros(columns.num_rows, np.int32),
        size=np.concatenate(sizes),
        images="",
        names=tuple(filled),
        notes=tuple((f"{file}: {what}", f"{n:,} samples, passed over") for what, n in lost.items()),
    )


def _samples(
    file: str, raw: int, image: str, lost: Counter[str]
) -> Iterator[tuple[str, int, dict[str, str]]]:
    """Yield member, bytes and columns of every sample with an image. Its members follow upon each
    other.
    """
    for _, members in _by_key(members_of(file)):
        images = {suffix: one for suffix, one in members.items() if _is_image(suffix)}
        # of image.png and mask.png the one that is called image; of a.png alone that
        wanted = [s for s in images if s.partition(".")[0] in (image, *IMAGE_NAMES)]
        chosen = (wanted or sorted(images, key=lambda suffix: (suffix.count("."), suffix)))[:1]
        if not chosen:
            lost["no image"] += 1
            continue
        columns: dict[str, str] = {}
        for suffix, (name, start, size) in members.items():
            if suffix in SIDECARS:
                data = os.pread(raw, min(size, _LONGEST_SIDECAR), start)
                columns |= _sidecar(file, name, suffix, data)
        name, _, size = images[chosen[0]]
        yield name, size, {"name": name, **columns}


def _by_key(
    members: Iterable[tuple[str, int, int]],
) -> Iterator[tuple[str, dict[str, tuple[str, int, int]]]]:
    current, found = "", dict[str, tuple[str, int, int]]()
    for member in members:
        key, suffix = _key(member[0])
        if key != current and found:
            yield current, found
            found = {}
        current, found[suffix] = key, member
    if found:
        yield current, found


def _sidecar(file: str, name: str, suffix: str, data: bytes) -> dict[str, str]:
    """The columns that a label's file gives."""
    try:
        text = data.decode("utf-8").strip()
        if suffix == "cls":
            return {"cls": text}
        found: Any = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("it must be an object")
    except ValueError as error:
        raise DataError(
            f"'{file}', member '{name}' cannot be read ({' '.join(str(error).split())[:120]});"
            " write the shard again"
        ) from None
    plain = {key: value for key, value in found.items() if isinstance(value, (str, int, float))}
    texts = {key: str(int(v) if isinstance(v, bool) else v).strip() for key, v in plain.items()}
    return {key: value for key, value in texts.items() if len(value) <= 200}
