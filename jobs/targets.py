"""Tells job files from OUTPUTs among the arguments of commands."""

from __future__ import annotations

from pathlib import Path

_JOB_ENDINGS = (".yaml", ".yml")


def is_job_file(target: str) -> bool:
    """Return whether a target is a job file and not an OUTPUT: an existing file, or a name that
    ends in `.yaml` or `.yml`."""
    return Path(target).is_file() or target.endswith(_JOB_ENDINGS)
