"""The fingerprint of a run: hashes of everything in the job file that changes an answer.

A run resumes only with the same fingerprint; `differing_keys` names the keys that differ.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from pipelines.job.spec import JobSpec


def answer_digests(spec: JobSpec, revision: str | None, prompt_version: int) -> dict[str, str]:
    """Return a short hash of each value that changes an answer or the columns, by the key's path.

    `revision` is the pinned revision of the model. The order of labels, fields and a schema's
    properties counts, because the model answers in that order. A task's path has its name
    (`tasks.NAME.KEY`), so the order of tasks does not count.
    """
    kept = spec.input.model_dump(include={"id_column", "text_column", "keep_columns"})
    sections = {
        "input": kept,
        "model": {**spec.model.model_dump(), "revision": revision},
        "long_documents": spec.long_documents.model_dump(),
    }
    for task in spec.tasks:
        sections[f"tasks.{task.name}"] = task.model_dump(exclude={"name"})
    digests = {
        f"{section}.{key}": _sha256(value)[:16]
        for section, values in sections.items()
        for key, value in values.items()
    }
    return {**digests, "prompt_version": _sha256(prompt_version)[:16]}


def fingerprint(digests: Mapping[str, str]) -> str:
    """Return the SHA-256 of all digests, in hex: it identifies the answers that a run gives."""
    return _sha256(sorted(digests.items()))


def differing_keys(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return the paths, sorted, whose digests differ between two runs or that only one has."""
    return sorted(key for key in {*old, *new} if old.get(key) != new.get(key))


def _sha256(value: object) -> str:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
