"""Jobs as Python values: a path, a dict or a loaded job, and the OUTPUT that each names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from jobs.targets import is_job_file
from pipelines.errors import SpecError
from pipelines.job.spec import Job, load_job, load_job_data

JobLike = str | os.PathLike[str] | Mapping[str, Any] | Job
"""A job: the path of a job file, a mapping with a job file's keys, or the result of `load`."""


def load(job: JobLike, overrides: Sequence[str] = ()) -> Job:
    """Return the validated job.

    A dict has the keys of a job file; `${NAME}` in its strings is read from the environment, as in
    a file. Its paths may be `Path`s, its lists tuples, and the `schema` of an extraction a pydantic
    model class. `overrides` are `KEY=VALUE`, as for the option `--set`; a loaded job takes none.
    Raises SpecError with one line per fault.
    """
    match job:
        case Job() if overrides:
            raise SpecError(
                f"overrides: got {', '.join(overrides)} for a job that is loaded already; pass "
                "them to load, with the path or dict of the job"
            )
        case Job():
            return job
        case Mapping():
            return load_job_data({key: _plain(value) for key, value in job.items()}, overrides)
    return load_job(Path(job), overrides)


def _plain(value: object) -> object:
    """Return a value as a job file has it: mappings, lists and scalars."""
    match value:
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case os.PathLike():
            return os.fspath(value)
        case date():
            return value.isoformat()
        case type() if issubclass(value, BaseModel):
            return value.model_json_schema()
    return value


def output_of(target: JobLike) -> str:
    """Return the OUTPUT of a job, or `target` itself if it is the directory or URL of an OUTPUT."""
    if isinstance(target, str | os.PathLike) and not is_job_file(os.fspath(target)):
        return os.fspath(target)
    return load(target).spec.output.path
