"""A terminal for a real command: a pty whose screen is emulated, resized and typed into."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import pyte

CTRL_C = b"\x03"


class _Screen(pyte.HistoryScreen):  # type: ignore[misc]  # pyte ships no types
    """Counts lines that were longer than the screen is wide."""

    wraps = 0

    def draw(self, data: str) -> None:
        for character in data:
            self.wraps += self.cursor.x >= self.columns
            super().draw(character)


class Terminal:
    """Runs `command` in `directory` as the foreground job of a terminal of `columns` x `lines`.

    `redirected` are descriptors (0, 1, 2) that are not the terminal, but a file.
    """

    def __init__(
        self,
        command: Sequence[str],
        directory: Path,
        environment: Mapping[str, str] | None = None,
        *,
        columns: int = 80,
        lines: int = 24,
        redirected: Mapping[int, Path] | None = None,
    ) -> None:
        self.screen = _Screen(columns, lines, history=10_000, ratio=0.5)
        self.sent = b""
        self._stream = pyte.ByteStream(self.screen)
        self._lock = threading.Lock()
        self._master, slave = pty.openpty()
        self._set_size(columns, lines)
        streams: dict[int, int] = {0: slave, 1: slave, 2: slave}
        files = {fd: path.open("wb" if fd else "rb") for fd, path in (redirected or {}).items()}
        streams |= {fd: file.fileno() for fd, file in files.items()}
        # what tells programs of another terminal than this one
        told = ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
        inherited = {name: value for name, value in os.environ.items() if name not in told}
        self.process = subprocess.Popen(
            command,
            cwd=directory,
            env={**inherited, "TERM": "xterm-256color", **(environment or {})},
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        for file in files.values():
            file.close()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up, as a closed window does, where the command still runs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGHUP)
            self.wait(30)
        os.close(self._master)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65_536)
            except OSError:  # EIO: nobody has the other end open
                return
            if not data:
                return
            with self._lock:
                self.sent += data
                self._stream.feed(data)

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns: int, lines: int) -> None:
        with self._lock:
            self.screen.resize(lines, columns)
            self._set_size(columns, lines)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def shown(self) -> list[str]:
        """The screen's lines without the blanks at their ends, down to the last that has any."""
        with self._lock:
            lines = [line.rstrip() for line in self.screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def whole(self) -> list[str]:
        """The lines that scrolled out of the screen, and those that it shows."""
        with self._lock:
            above = [
                "".join(line[x].data for x in range(self.screen.columns)).rstrip()
                for line in self.screen.history.top
            ]
        return above + self.shown()

    @property
    def cursor_visible(self) -> bool:
        return not self.screen.cursor.hidden

    @property
    def wraps(self) -> int:
        return self.screen.wraps

    def await_shown(self, condition: Callable[[list[str]], bool], seconds: float) -> list[str]:
        """Return the lines of the screen once they meet the condition."""
        until = time.monotonic() + seconds
        while not condition(lines := self.shown()):
            assert time.monotonic() < until, "\n".join(lines)
            assert self.process.poll() is None, "\n".join(self.whole())
            time.sleep(0.05)
        return lines

    def wait(self, seconds: float) -> int:
        """Wait for the command's end; return its exit code."""
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code
