#!/usr/bin/env bash
# pyiceberg 0.12.0, pyarrow 26.0.1, Linux, CPython 3.11.
#
# An Iceberg table has a column that is a list of structs, and one that is a list of integers. In one
# row both are missing (null). The file may have been written by pyiceberg's own `append`, or by
# another writer and added with `add_files`.
#
# Expected: a scan gives what was written, null in both columns.
# Seen: the list of integers is null, but the list of structs is an empty list, so that "not stated"
# cannot be told from "none". The file itself holds null: pyarrow reads it so.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/venv"
"$directory/venv/bin/pip" install --quiet pyarrow==26.0.1 'pyiceberg[pyarrow,sql-sqlite]==0.12.0'
cat > "$directory/scan.py" <<'PYTHON'
import sys

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog.memory import InMemoryCatalog

directory = sys.argv[1]
rows = pa.table(
    {
        "id": [1, 2],
        "numbers": pa.array([[1], None], pa.list_(pa.int64())),
        "structs": pa.array([[{"x": 1}], None], pa.list_(pa.struct([("x", pa.int64())]))),
    }
)
pq.write_table(rows, f"{directory}/rows.parquet")
assert pq.read_table(f"{directory}/rows.parquet").to_pylist()[1]["structs"] is None
catalog = InMemoryCatalog("catalog", warehouse=f"{directory}/warehouse")
catalog.create_namespace("n")
added = catalog.create_table("n.added", schema=rows.schema)
added.add_files([f"{directory}/rows.parquet"])
appended = catalog.create_table("n.appended", schema=rows.schema)
appended.append(rows)
for table in (added, appended):
    missing = next(row for row in table.scan().to_arrow().to_pylist() if row["id"] == 2)
    print(missing)
    assert missing == {"id": 2, "numbers": None, "structs": []}, "the behaviour has changed"
PYTHON
"$directory/venv/bin/python" "$directory/scan.py" "$directory"
