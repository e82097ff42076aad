"""The results of the functions of `phifleet`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from pipelines.run.manifest import DONE


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a finished run: the totals of its manifest, over all its sessions.

    Attributes:
        output: the directory or URL with the answers, `output.path` of the job.
        run: the job's name.
        status: `done`, or `too_many_dead_letters` if their share exceeds the job's limit.
        documents: documents of the input.
        answered: documents with an answer to at least one task.
        dead_letters: documents without any answer.
        dead_letter_reasons: dead letters by reason, those of single tasks included.
        units: units of the run.
        prompt_tokens: tokens of all prompts.
        cached_prompt_tokens: the part of them that came from the prefix cache.
        output_tokens: generated tokens.
        engine_start_seconds: time in which the slowest engine started, in the last session.
        steady_seconds: time in which units were in flight, in the last session.
        wall_seconds: time of the last session.
        tokens_per_second: tokens of prompts and answers per steady second, in the last session.
        model: the model's name.
        revision: the model's revision.
        fingerprint: a digest of everything that changes answers.
    """

    output: str
    run: str
    status: str
    documents: int
    answered: int
    dead_letters: int
    dead_letter_reasons: Mapping[str, int]
    units: int
    prompt_tokens: int
    cached_prompt_tokens: int
    output_tokens: int
    engine_start_seconds: float
    steady_seconds: float
    wall_seconds: float
    tokens_per_second: float
    model: str
    revision: str
    fingerprint: str

    @property
    def done(self) -> bool:
        """True unless there are more dead letters than the job allows."""
        return self.status == DONE

    @classmethod
    def of(cls, output: str, manifest: Mapping[str, Any]) -> Self:
        """Return the result of the run in `output` with this manifest."""
        return cls(**_of(cls, {**manifest, "output": output}))


@dataclass(frozen=True, slots=True)
class StatusResult:
    """The progress of a run, from its ledger.

    Attributes:
        run: the job's name.
        status: `done` or `unfinished`.
        documents: documents that are planned so far.
        documents_done: documents of committed units.
        units: units that are planned so far.
        units_done: committed units.
        model: the model's name.
        revision: the model's revision.
        fingerprint: a digest of everything that changes answers.
    """

    run: str
    status: str
    documents: int
    documents_done: int
    units: int
    units_done: int
    model: str
    revision: str
    fingerprint: str

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return the result for the values that `phifleet status --json` prints."""
        return cls(**_of(cls, values))


@dataclass(frozen=True, slots=True)
class ReportResult:
    """The report of a run.

    Attributes:
        path: the path or URL of the page.
        facts: every number of the page, as `phifleet report --json` prints them.
    """

    path: str
    facts: Mapping[str, Any]


def _of(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a dataclass has fields for."""
    return {field.name: values[field.name] for field in fields(kind)}
