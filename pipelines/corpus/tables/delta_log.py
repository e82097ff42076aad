"""The copy of a Delta table's log on this machine: the log's files and the deletion vectors that
they name, and no data files.

Knows the names of the log's files and how they name deletion vectors; replays no log.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pyarrow.parquet as pq

_LOG = "_delta_log"
_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\..+")
_THREADS = 16
# The digits of Z85, by which a deletion vector's UUID is written.
_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_UUID_DIGITS = 20


def copy_log(filesystem: Any, path: str, directory: str, version: int | None) -> None:
    """Copy what is needed to read the table at `path` at a version, the newest if it is None, to a
    local directory. Raises what the filesystem raises."""
    listed = filesystem.ls(f"{path}/{_LOG}", detail=False)
    names = [name.rstrip("/").rsplit("/", 1)[-1] for name in listed]
    wanted = _needed(names, version)
    if any(name.endswith("_sidecars") for name in names):
        sidecars = filesystem.ls(f"{path}/{_LOG}/_sidecars", detail=False)
        wanted += [f"_sidecars/{name.rsplit('/', 1)[-1]}" for name in sidecars]
    files = [f"{_LOG}/{name}" for name in wanted]
    os.makedirs(f"{directory}/{_LOG}")
    _copy(filesystem, path, directory, files)
    vectors = {name for file in files for name in _vectors(f"{directory}/{file}")}
    with suppress(FileNotFoundError):
        # those of earlier versions may have been deleted since
        _copy(filesystem, path, directory, sorted(vectors), missing_ok=True)


def _needed(names: Sequence[str], version: int | None) -> list[str]:
    """Return the names of the newest checkpoint up to a version, and of the later commits."""
    last = version if version is not None else 10**20
    numbered = [(int(match[1]), name) for name in names if (match := _CHECKPOINT.fullmatch(name))]
    checkpoints = [number for number, _ in numbered if number <= last]
    first = max(checkpoints, default=0)
    commits = [(int(match[1]), name) for name in names if (match := _COMMIT.fullmatch(name))]
    return [
        *(name for number, name in numbered if number == first),
        *(name for number, name in commits if first <= number <= last),
    ]


def _copy(
    filesystem: Any, path: str, directory: str, names: Sequence[str], *, missing_ok: bool = False
) -> None:
    def copy(name: str) -> None:
        target = f"{directory}/{name}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            data = filesystem.cat_file(f"{path}/{name}")
        except FileNotFoundError:
            if missing_ok:
                return
            raise
        with open(target, "wb") as file:
            file.write(data)

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(copy, names))


def _vectors(file: str) -> Iterator[str]:
    """Yield the names, below the table, of the files of deletion vectors that a file of the log
    names."""
    for vector in _descriptors(file):
        if vector and vector["storageType"] == "u":
            yield _vector_name(vector["pathOrInlineDv"])


def _descriptors(file: str) -> Iterator[dict[str, Any] | None]:
    if file.endswith(".json"):
        with open(file, encoding="utf-8") as lines:
            for line in lines:
                if "deletionVector" in line:
                    yield (json.loads(line).get("add") or {}).get("deletionVector")
        return
    parquet = pq.ParquetFile(file)
    schema = parquet.schema_arrow
    if "add" not in schema.names or schema.field("add").type.get_field_index("deletionVector") < 0:
        return
    for batch in parquet.iter_batches(columns=["add.deletionVector"]):
        for action in batch.column("add").to_pylist():
            yield (action or {}).get("deletionVector")


def _vector_name(encoded: str) -> str:
    prefix, digits = encoded[:-_UUID_DIGITS], encoded[-_UUID_DIGITS:]
    name = f"deletion_vector_{uuid.UUID(bytes=decode_z85(digits))}.bin"
    return f"{prefix}/{name}" if prefix else name


def decode_z85(digits: str) -> bytes:
    """Return the bytes that a text of Z85 digits, a multiple of five, stands for."""
    data = bytearray()
    for start in range(0, len(digits), 5):
        value = 0
        for digit in digits[start : start + 5]:
            value = value * 85 + _Z85.index(digit)
        data += value.to_bytes(4, "big")
    return bytes(data)
