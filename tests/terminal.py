"""Runs a real command on a pseudoterminal with an emulated screen, which tests read and resize."""

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


class _Screen(pyte.HistoryScreen):  # type: ignore[misc]  # pyte has no type information
    """An emulated screen that counts in `wraps` the characters drawn after its last column."""

    wraps = 0

    def draw(self, data: str) -> None:
        for character in data:
            self.wraps += self.cursor.x >= self.columns
            super().draw(character)


class Terminal:
    """Runs `command` in `directory` as the foreground job of a terminal of `columns` x `lines`.

    `redirected` are the files of descriptors (0, 1, 2) that are not the terminal. `sent` are the
    bytes that the command has written to the terminal.
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
        # variables that describe the terminal of the test session
        described = (
            "COLUMNS",
            "LINES",
            "FORCE_COLOR",
            "NO_COLOR",
            "TTY_COMPATIBLE",
            "TTY_INTERACTIVE",
        )
        inherited = {name: value for name, value in os.environ.items() if name not in described}
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
        """Send SIGHUP, as closing the window does, if the command is still running."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGHUP)
            self.wait(30)
        os.close(self._master)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65_536)
            except OSError:  # EIO: no process has the other end open
                return
            if not data:
                return
            with self._lock:
                self.sent += data
                self._stream.feed(data)

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns: int, lines: int) -> None:
        """Change the size of the terminal, which sends SIGWINCH to the command."""
        with self._lock:
            self.screen.resize(lines, columns)
            self._set_size(columns, lines)

    def type(self, keys: bytes) -> None:
        """Send keys to the command."""
        os.write(self._master, keys)

    def shown(self) -> list[str]:
        """Return the lines on the screen, without trailing blanks and trailing empty lines."""
        with self._lock:
            lines = [line.rstrip() for line in self.screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def whole(self) -> list[str]:
        """Return the lines that scrolled off the screen, and those on it."""
        with self._lock:
            scrolled = [
                "".join(line[x].data for x in range(self.screen.columns)).rstrip()
                for line in self.screen.history.top
            ]
        return scrolled + self.shown()

    @property
    def cursor_visible(self) -> bool:
        """Return whether the cursor is shown."""
        return not self.screen.cursor.hidden

    @property
    def wraps(self) -> int:
        """Return how many characters were drawn after the last column of the screen."""
        return self.screen.wraps

    def await_shown(self, condition: Callable[[list[str]], bool], seconds: float) -> list[str]:
        """Wait until the lines on the screen satisfy `condition`, and return them.

        Fails after `seconds`, or if the command has ended.
        """
        until = time.monotonic() + seconds
        while not condition(lines := self.shown()):
            assert time.monotonic() < until, "\n".join(lines)
            assert self.process.poll() is None, "\n".join(self.whole())
            time.sleep(0.05)
        return lines

    def wait(self, seconds: float) -> int:
        """Wait up to `seconds` for the command's end, and return its exit code."""
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code
