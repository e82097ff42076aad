"""The fingerprint of a run: hashes of everything in the job file that changes an answer.

A run resumes only if `differing_keys` finds no difference between its digests and the job's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from pipelines.job.engine_options import answer_options
from pipelines.job.spec import JobSpec

# Keys that a job file need not have, by which a run from before they existed is the same run.
_WITHOUT_EFFECT = {"instructions": None, "examples": (), "multiple": False, "evidence": "quotes"}
# Keys of the section `model` that change no answer, or of which only a part does.
_NOT_COUNTED = {"drafting", "engine"}


def answer_digests(spec: JobSpec, revision: str | None, prompt_version: int) -> dict[str, str]:
    """Return the hash of each value in a job that changes an answer or an output column.

    The result maps a key path, such as `model.revision` or `tasks.NAME.labels`, to the first 16 hex
    digits of the SHA-256 of its value. `revision` is the revision that the run uses of the model,
    in place of the one in `spec`; `prompt_version` is that of phifleet's prompts, PROMPT_VERSION.
    `instructions`, `examples`, `multiple`, `evidence` and `checks` have a digest only if they are
    set to something else than their default.

    The order of labels, fields and a schema's properties counts, because the model answers in that
    order. A task's or check's path has its name, so the order of tasks does not count. Of the
    engine's options only those count that may change answers.
    """
    kept = spec.input.model_dump(include={"id_column", "text_column", "keep_columns"})
    sections = {
        "input": kept,
        "model": {**spec.model.model_dump(exclude=_NOT_COUNTED), "revision": revision},
        "model.engine": answer_options(spec.model.engine),
        "long_documents": spec.long_documents.model_dump(),
    }
    for task in spec.tasks:
        sections[f"tasks.{task.name}"] = task.model_dump(exclude={"name"})
    for check in spec.checks:
        sections[f"checks.{check.name}"] = check.model_dump(exclude={"name"})
    digests = {
        f"{section}.{key}": _sha256(value)[:16]
        for section, values in sections.items()
        for key, value in values.items()
        if key not in _WITHOUT_EFFECT or value != _WITHOUT_EFFECT[key]
    }
    if spec.instructions is not None:
        digests["instructions"] = _sha256(spec.instructions)[:16]
    return {**digests, "prompt_version": _sha256(prompt_version)[:16]}


def fingerprint(digests: Mapping[str, str]) -> str:
    """Return one SHA-256, as 64 hex digits, of the result of `answer_digests`.

    Runs with the same fingerprint answer the same documents in the same way. It is written into the
    metadata of the run's files, to tell outputs of different jobs apart. Whether a job may continue
    a run is decided with `differing_keys`, which can name the changed keys.
    """
    return _sha256(sorted(digests.items()))


def differing_keys(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return the key paths, sorted, that differ between two results of `answer_digests`.

    A path differs if its digests do, or if only one of the results has it.
    """
    return sorted(key for key in {*old, *new} if old.get(key) != new.get(key))


def _sha256(value: object) -> str:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
