"""Every error phifleet raises on purpose: named, picklable, saying what, which value, what to do.

Knows nothing of the rest of phifleet. `exit_code` is what the command line ends with.
"""

from __future__ import annotations

from typing import TypeVar

E = TypeVar("E", bound=Exception)


class PhifleetError(Exception):
    """An error meant for a person to read: its message is complete and needs no traceback."""

    exit_code = 4

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class SpecError(PhifleetError):
    """The job file is wrong. The message names each key's path and what would be right."""

    exit_code = 2


class InputError(PhifleetError):
    """The corpus cannot be read as the job file says. Names file, column or row."""

    exit_code = 2


class UnreadableFile(InputError):
    """A file is truncated or damaged. Names the file."""


class OutputError(PhifleetError):
    """OUTPUT holds something else, or a run that another job file made."""

    exit_code = 2


class ModelError(PhifleetError):
    """The model cannot be found, fetched or used."""

    exit_code = 2


class StorageError(PhifleetError):
    """A disk or object store refused, also after retries."""

    exit_code = 4


class ClusterError(PhifleetError):
    """Ray lacks what the run needs, or lost it."""

    exit_code = 4


class EngineError(PhifleetError):
    """An engine did not start, or died under a run. The run can be resumed."""

    exit_code = 4


class EngineDied(EngineError):
    """A started engine has died; a document may have killed it. Another can be started."""


class EngineHung(EngineDied):
    """A started engine made no progress and was killed for it."""


class Fenced(PhifleetError):
    """Another driver has taken the run over; it goes on, and this one must not."""

    exit_code = 3


class Incomplete(PhifleetError):
    """A run ended without accounting for every document: a bug, never silent."""

    exit_code = 4


class InvalidAnswer(PhifleetError):
    """The engine's text is no answer to a task: belongs to one document, never to the run."""


class RequestRejected(PhifleetError):
    """The engine refused one request: belongs to one document, never to the run."""


def flatten_errors(group: BaseExceptionGroup[E]) -> list[E]:
    """The errors of a group of groups, each once."""
    nested = [
        flatten_errors(e) if isinstance(e, BaseExceptionGroup) else [e] for e in group.exceptions
    ]
    return [leaf for each in nested for leaf in each]
