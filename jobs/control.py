"""Process control of a run: signals, fencing, and the one clean-up at its end.

Knows leases, attempts and the log file; nothing of what a run computes, and prints nothing itself.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

from pipelines.errors import Fenced, LimitReached, PhifleetError, StorageError
from pipelines.ledger.attempts import Attempts
from pipelines.ledger.heartbeat import FAILED, FENCED, STOPPED, Heartbeat
from pipelines.ledger.lease import Lease
from pipelines.run.beating import Beating
from pipelines.run.signals import STOPPING, StopRequests, end_at_once

LEASE_POLL_SECONDS = 2.0
"""Seconds between two checks of whether another driver has acquired the lease."""
Result = TypeVar("Result")


class Stopped(BaseException):
    """SIGINT or SIGTERM asked this process to stop; the argument is the signal's name.

    Not an `Exception`, so that no handler of errors catches it on its way to the command line.
    """


class Notices(Protocol):
    """Receives what a clean-up has to report to the user."""

    def print_stopped(self, stopped: Stopped) -> None:
        """Report that a signal stops the run; called before the clean-up, which takes seconds."""

    def print_log_not_stored(self, log: Path, error: PhifleetError) -> None:
        """Report that `error` kept the log from being copied to OUTPUT; it remains at `log`."""


@dataclass
class CleanUp:
    """The clean-up of one run: releases the cluster, the attempts and the log.

    Attributes:
        leave_cluster: leaves the Ray cluster, which ends this driver's workers.
        log: the local file with the log.
        notices: receives what the clean-up reports.
        lease: the run's lease, None before `hold`. While it is None, no attempts are deleted and no
            log is copied.
    """

    leave_cluster: Callable[[], None]
    log: Path
    notices: Notices
    lease: Lease | None = None
    _beating: Beating | None = field(default=None, init=False)

    def hold(self, lease: Lease, render: Callable[[], Heartbeat]) -> None:
        """Take note of the run's lease, and write the heartbeats that `render` returns from now
        on."""
        self.lease = lease
        self._beating = Beating(lease.storage, render)
        self._beating.start()

    def say_last(self, state: str, reason: str = "") -> None:
        """Write the last heartbeat, with the state in which the run ends and why. Only the first
        call has an effect."""
        if self._beating is not None:
            self._beating.end(state, reason)

    @contextmanager
    def at_end(self) -> Iterator[None]:
        """Clean up when the block ends, whether it returned or raised.

        The steps, in order: if the block raised Stopped, report it; leave the cluster and then, if
        the block raised, delete the records of attempts; copy the log to OUTPUT if OUTPUT is
        remote. Each step runs once, even if an earlier one raises; attempts are kept if the cluster
        could not be left.
        """
        with ExitStack() as steps:
            # an ExitStack runs its steps in reverse order
            steps.callback(self._store_log)
            steps.push(self._leave)
            steps.push(self._report_stop)
            yield

    def _report_stop(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, Stopped):
            self.notices.print_stopped(error)
            self.say_last(STOPPED, str(error))
        elif isinstance(error, LimitReached):
            self.say_last(STOPPED, error.message)
        elif isinstance(error, Fenced):
            self.say_last(FENCED, error.message)
        elif error is not None:
            message = error.message if isinstance(error, PhifleetError) else repr(error)
            self.say_last(FAILED, message)

    def _leave(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leave_cluster()
        if error is not None and self.lease is not None:
            # the workers were ended by this driver: no document is to blame for their attempts
            with suppress(StorageError):
                Attempts(self.lease.storage, self.lease.generation).end_all()

    def _store_log(self) -> None:
        """Copy the log to a remote OUTPUT, unless another driver has acquired the lease."""
        if self.lease is None or self.lease.storage.local:
            return
        try:
            self.lease.check()
            self.lease.storage.write("_run/log", self.log.read_bytes())
        except (StorageError, Fenced) as error:
            self.notices.print_log_not_stored(self.log, error)


@contextmanager
def in_background(compute: Callable[[], Result]) -> Iterator[Future[Result]]:
    """Call `compute` in another thread during the block and yield the future of its result.

    If the block ends first, `compute` is not waited for, but continues.
    """
    executor = ThreadPoolExecutor(1, "background")
    try:
        yield executor.submit(compute)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


@contextmanager
def stop_on_signals(again: Callable[[signal.Signals], None] = end_at_once) -> Iterator[None]:
    """Raise `Stopped` in the block, in the main thread, on the first SIGINT or SIGTERM.

    `again` is called for a second signal, more than a second later; by default it ends the process
    at once. The handlers from before the block are restored after it.
    """
    requests = StopRequests()

    def stop(number: signal.Signals) -> None:
        requests.handle(again)
        raise Stopped(number.name)

    handlers = [(number, signal.getsignal(number)) for number in STOPPING]
    requests.handle(stop)
    try:
        yield
    finally:
        for number, handler in handlers:
            # None stands for a handler that was not set in Python, and cannot be set again
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def in_main_thread() -> bool:
    """Return whether this is the main thread, in which alone Python handles signals."""
    return threading.current_thread() is threading.main_thread()


@dataclass(frozen=True)
class Interruption:
    """Raises an error of another thread in the main thread, which may be waiting for Ray.

    Use `raised` in the main thread, inside `stop_on_signals`.
    """

    _errors: list[PhifleetError] = field(default_factory=list)

    def interrupt(self, error: PhifleetError) -> None:
        """Raise `error` in the block of `raised`. Call it from any thread during that block."""
        self._errors.append(error)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    @contextmanager
    def raised(self) -> Iterator[None]:
        """Raise in the block the first error that is passed to `interrupt`."""
        try:
            yield
        except Stopped:
            if self._errors:
                raise self._errors[0] from None
            raise


@contextmanager
def stop_on_fencing(lease: Lease, poll_seconds: float = LEASE_POLL_SECONDS) -> Iterator[None]:
    """Stop the block once another driver has acquired the lease, and raise Fenced from it.

    Checks the lease every `poll_seconds` in a thread, which interrupts the main thread: the block
    may be waiting for Ray. Use it inside `stop_on_signals`. In another thread than the main one,
    which cannot be interrupted, it does nothing: a worker's next commit then reports the fencing.
    """
    if not in_main_thread():
        yield
        return
    interruption = Interruption()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(poll_seconds):
            try:
                lease.check()
            except Fenced as error:
                interruption.interrupt(error)
                return
            except StorageError:
                continue  # if the fault persists, the next commit reports it

    watcher = threading.Thread(target=watch, name="lease", daemon=True)
    watcher.start()
    try:
        with interruption.raised():
            yield
    finally:
        ended.set()
        watcher.join()
