"""The exceptions that phifleet raises on purpose.

Each one is picklable and carries a complete message: what failed, the value, where, and what to do.
The module imports nothing else of phifleet.
"""

from __future__ import annotations

from typing import TypeVar

E = TypeVar("E", bound=Exception)


class PhifleetError(Exception):
    """Base class of errors whose message is shown to the user without a traceback.

    `message` is that text. `exit_code` is the exit code of a command that ends with the error; each
    subclass sets its own.
    """

    exit_code = 4

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class SpecError(PhifleetError):
    """A job file, a serve file or a request is invalid.

    The message has one line per fault, with the key's path, its value and what is expected.
    """

    exit_code = 2


class InputError(PhifleetError):
    """The corpus does not match the job file. The message names the file, column or row."""

    exit_code = 2


class UnreadableFile(InputError):
    """An input file is truncated or damaged. The message names the file."""


class FileChanged(InputError):
    """An input file has changed since it was listed. The message names the file and the change."""


class OutputError(PhifleetError):
    """The output directory cannot be used: it has other files, or a run of a different job."""

    exit_code = 2


class ModelError(PhifleetError):
    """The model cannot be found, downloaded or used."""

    exit_code = 2


class StorageError(PhifleetError):
    """An operation on a disk or an object store failed, and so did its retries, if any."""

    exit_code = 4


class ClusterError(PhifleetError):
    """The Ray cluster cannot be used: it did not start, lacks resources, or lost them.

    Also raised if Ray Serve does not start, if the port `metrics.port` cannot be listened on, or if
    `run.ports.free_port` finds no port.
    """

    exit_code = 4


class EngineError(PhifleetError):
    """An engine failed to start, or died during a run. The run can be resumed."""

    exit_code = 4


class EngineDied(EngineError):
    """A running engine died, possibly because of a document. A new engine can be started."""


class EngineHung(EngineDied):
    """A running engine made no progress for too long, so its watchdog killed it."""


class Fenced(PhifleetError):
    """Another driver has acquired the run's lease and continues the run; this driver must stop."""

    exit_code = 3


class Incomplete(PhifleetError):
    """A run ended with documents that are neither answered nor dead letters, which is a bug."""

    exit_code = 4


class InvalidAnswer(PhifleetError):
    """The text that the engine generated is not a valid answer to the task.

    Fails one task of one document, never the run.
    """


class RequestRejected(PhifleetError):
    """One request to an engine cannot be carried out, for example because its prompt is too long.

    In a run, it fails one task of one document, never the run. Over HTTP, it becomes an error
    response.
    """


def flatten_errors(group: BaseExceptionGroup[E]) -> list[E]:
    """Return the exceptions in `group` and in the groups nested in it, in order, without groups."""
    nested = [
        flatten_errors(error) if isinstance(error, BaseExceptionGroup) else [error]
        for error in group.exceptions
    ]
    return [error for errors in nested for error in errors]
