"""The screen: phifleet's own output goes to the terminal, the output of libraries to a log file.

Ray, vLLM and the libraries below them write to file descriptors 1 and 2 from many processes and
threads. `redirect_output` points these two to the log. Knows nothing of runs or endpoints.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from rich.console import Console, ConsoleDimensions, RenderableType
from rich.live import Live

from pipelines.storage import storage_errors

_FRAMES_PER_SECOND = 2


class Terminal(Console):
    """A rich console that prints to `file` and, if that is a terminal, takes its size from it.

    Rich would ask descriptors 0 to 2, none of which need be the terminal while output is
    redirected. Text is printed verbatim, because paths and names may look like rich's markup.
    """

    def __init__(self, file: TextIO) -> None:
        # FORCE_COLOR makes rich treat a file as a terminal: colours are wanted, a live view is not
        interactive = None if file.isatty() else False
        super().__init__(
            file=file, highlight=False, markup=False, emoji=False, force_interactive=interactive
        )

    @property
    def size(self) -> ConsoleDimensions:
        """The terminal's columns and lines now. As in rich, the environment's COLUMNS and LINES
        take precedence."""
        default = super().size
        if not self.file.isatty():
            return default
        columns, lines = os.get_terminal_size(self.file.fileno())
        return ConsoleDimensions(
            default.width if "COLUMNS" in os.environ else columns or default.width,
            default.height if "LINES" in os.environ else lines or default.height,
        )

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        raise AttributeError(
            "the size of a Terminal cannot be set: it is read from the terminal; set the "
            "environment variables COLUMNS and LINES instead"
        )


@dataclass(frozen=True)
class Screen:
    """The output streams of a command while libraries' output is redirected.

    Attributes:
        console: messages for people, on standard error.
        results: the command's result, on standard output.
    """

    console: Console
    results: TextIO
    _views: list[Live] = field(default_factory=list)

    @contextmanager
    def live_view(self, render: Callable[[], RenderableType]) -> Iterator[None]:
        """Show what `render` returns below all other output during the block, twice a second.

        The view is removed at the end of the block, but stays if the block raises.
        """
        # Live would also print what libraries write to sys.stdout and sys.stderr
        live = Live(
            get_renderable=render,
            console=self.console,
            refresh_per_second=_FRAMES_PER_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._views.append(live)
        try:
            with live:
                yield
                live.transient = True
        finally:
            self._views.remove(live)

    def end_views(self) -> None:
        """Stop all live views and show the cursor again. Call it before the process is ended inside
        a `live_view` block, whose end is then skipped."""
        for live in self._views:
            live.stop()


@contextmanager
def redirect_output(log: Path) -> Iterator[Screen]:
    """Append what is written to file descriptors 1 and 2 to the file `log` during the block; yield
    a Screen on the original two.

    Raises StorageError if the log cannot be opened for writing.
    """
    with storage_errors("write", str(log)):
        log.parent.mkdir(parents=True, exist_ok=True)
        log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    originals = [os.dup(1), os.dup(2)]
    out, err = (os.fdopen(fd, "w", buffering=1) for fd in originals)
    try:
        os.dup2(log_fd, 1)
        os.dup2(log_fd, 2)
        yield Screen(Terminal(err), out)
    finally:
        for number, stream in ((1, sys.stdout), (2, sys.stderr)):
            _flush_to_log(number, stream)
            os.dup2(originals[number - 1], number)
        os.close(log_fd)
        out.close()
        err.close()


def _flush_to_log(number: int, stream: TextIO) -> None:
    """Flush a stream's buffer to the log, or drop it if the log cannot be written, for example
    because the disk is full."""
    try:
        stream.flush()
    except OSError:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, number)
        os.close(devnull)
        stream.flush()
