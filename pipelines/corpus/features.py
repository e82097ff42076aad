"""Hugging Face's features: what `datasets` knows of columns, such as the names of labels.

`datasets` stores them in a Parquet file's metadata. Knows schemas; does not need `datasets`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import pyarrow as pa

KEY = b"huggingface"
"""The key of a schema's metadata that `datasets` reads and writes."""
Features = Mapping[str, Any]
"""For each column its feature, as the JSON value that `datasets` stores."""


def read_features(schema: pa.Schema, columns: Collection[str]) -> dict[str, Any]:
    """Return the features that a schema's metadata has for `columns`. Metadata that is not what
    `datasets` writes has none."""
    try:
        stored = json.loads((schema.metadata or {}).get(KEY, b"{}"))["info"]["features"]
        return {name: stored[name] for name in columns if name in stored}
    except (ValueError, KeyError, TypeError):
        return {}


def features_metadata(features: Features) -> dict[bytes, bytes]:
    """Return the metadata of a schema whose columns have these features; empty without any."""
    if not features:
        return {}
    return {KEY: json.dumps({"info": {"features": dict(features)}}).encode()}


def common_features(one: Features, other: Features) -> tuple[dict[str, Any], str | None]:
    """Return the features of the columns of two files, and a column whose labels differ, if any.

    A column for which only one of them has a feature keeps it. Where they differ the column has
    none; if they are labels, the same number means one label here and another one there.
    """
    both = {**other, **one}
    differing = [name for name in both if other.get(name, both[name]) != both[name]]
    labels = [name for name in differing if _has_labels(one[name]) or _has_labels(other[name])]
    agreed = {name: feature for name, feature in both.items() if name not in differing}
    return agreed, labels[0] if labels else None


def _has_labels(feature: Any) -> bool:
    return "ClassLabel" in json.dumps(feature)
