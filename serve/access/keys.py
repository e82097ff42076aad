"""Bearer keys: made, stored as hashes in a file, looked up, and revoked while the endpoint runs.

A key is 32 random bytes, so its SHA-256 does not help to guess it. Knows no HTTP.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BeforeValidator, Field

from pipelines.errors import PhifleetError, SpecError
from pipelines.job.jobfile import parse_yaml
from pipelines.job.sections import (
    MustBe,
    NonEmptyStr,
    PositiveInt,
    Section,
    Violation,
    checked,
)

PREFIX = "pf-"
"""The start of every key that `new_key` makes."""
_CHECK_EVERY_SECONDS = 1.0
Digest = Annotated[
    str, Field(pattern=r"^[0-9a-f]{64}$"), MustBe("64 hex digits, as --new-key prints them")
]  # fmt: skip
"""A SHA-256 in lower-case hexadecimal."""


class ApiKey(Section):
    """One entry of the file of keys: a name, the SHA-256 of the key, and its quota.

    `tokens_per_minute` counts prompt and answer tokens together. A quota that is None is unlimited.
    """

    name: NonEmptyStr
    sha256: Digest
    requests_per_minute: PositiveInt | None = None
    tokens_per_minute: PositiveInt | None = None


def _empty_if_null(value: object) -> object:
    return () if value is None else value


class KeyList(Section):
    """The contents of a file of keys.

    `keys:` without a value is an empty list, so removing a line can revoke the last key too.
    """

    keys: Annotated[tuple[ApiKey, ...], Field(strict=False), BeforeValidator(_empty_if_null)]

    def violations(self) -> Iterator[Violation]:
        """Yield the path of each name that an earlier key has, with what it must be.

        Quotas are counted by name, so two keys cannot share one.
        """
        names = [key.name for key in self.keys]
        for at, name in enumerate(names):
            if name in names[:at]:
                yield ("keys", at, "name"), "a name that no key before it has"


def new_key() -> str:
    """Return a new random key, such as `pf-Jk3...`."""
    return PREFIX + secrets.token_urlsafe(32)


def key_digest(key: str) -> str:
    """Return the SHA-256 of a key in hexadecimal, as the file of keys stores it."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def key_line(name: str, key: str) -> str:
    """Return the line to add to the file of keys, so that `key` is valid under the name `name`.

    The line has the key's SHA-256, not the key. Raises SpecError if `name` is blank.
    """
    data = {"name": name, "sha256": key_digest(key)}
    checked(ApiKey, data, data, None)
    # YAML's double-quoted style writes any name as one line of ASCII
    quoted = yaml.safe_dump(name, default_style='"', width=sys.maxsize).strip()
    return f"  - {{name: {quoted}, sha256: {key_digest(key)}}}"


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """Read a file of keys and return its entries.

    Raises SpecError with the file's path if the file cannot be read or parsed, and with the path of
    each wrong YAML key if an entry is invalid. No message contains a hash.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(
            f"keys.file: cannot read {path}: not valid UTF-8 ({error.reason} at byte "
            f"{error.start}); save the file as UTF-8"
        ) from error
    except OSError as error:
        raise SpecError(
            f"keys.file: cannot read {path}: {error.strerror}; check the path and its permissions"
        ) from error
    data = parse_yaml(text, str(path))
    try:
        return checked(KeyList, data, _redacted(data), None).keys
    except SpecError as error:
        lines = error.message.splitlines()
        raise SpecError("\n".join(f"{path}: {line}" for line in lines)) from None


class _Redacted(dict[object, object]):
    """A value that messages do not show: a user may have written a key in place of its hash."""

    def __repr__(self) -> str:
        return "a hidden value"


def _redacted(data: object) -> object:
    """Return a copy of `data` for error messages, in which all strings but names are redacted."""
    match data:
        case list():
            return [_redacted(item) for item in data]
        case dict():
            items = {key: v if key == "name" else _redacted(v) for key, v in data.items()}
            return _Redacted(items)
        case str():
            return _Redacted()
    return data


class Keyring:
    """The keys that are valid now: fixed ones, and those of a file that is read when it changes.

    `owner` looks for a change of the file at most once a second. If the file has become unreadable
    or invalid, the keys that were read last stay valid, and `complain` is called with a message,
    once for each problem. `clock` returns seconds. The constructor raises SpecError if the file is
    unreadable or invalid. Without `keys` and `file`, no key is valid.
    """

    def __init__(
        self,
        keys: Sequence[ApiKey] = (),
        file: Path | None = None,
        complain: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fixed_keys = tuple(keys)
        self._file = file
        self._complain = complain
        self._clock = clock
        self._checked_at = clock()
        self._last_problem: str | None = None
        self._stamp = self._file_stamp()
        self._file_keys = read_keys(file) if file else ()

    def owner(self, key: str | None) -> ApiKey | None:
        """Return the entry of `key`, which a client sent; None if `key` is None or not valid.

        Compares with all entries in constant time, so that the duration reveals nothing about them.
        """
        self._read_if_changed()
        digest = key_digest(key or "")
        match = None
        for entry in (*self._fixed_keys, *self._file_keys):
            if hmac.compare_digest(entry.sha256, digest):
                match = entry
        return match if key else None

    def _read_if_changed(self) -> None:
        """Read the file again if it changed, looking at most once a second."""
        if self._file is None or self._clock() - self._checked_at < _CHECK_EVERY_SECONDS:
            return
        self._checked_at = self._clock()
        stamp = self._file_stamp()
        if stamp == self._stamp:
            return
        try:
            self._file_keys = read_keys(self._file)
        except PhifleetError as error:
            # the stamp stays as it was: the next check reads the file again even if it does not
            # change, because what failed may have been the file system
            self._complain_once(
                f"{self._file}: cannot read the changed file of keys, so the keys read before "
                f"stay valid: {error.message}"
            )
        else:
            self._stamp, self._last_problem = stamp, None

    def _complain_once(self, problem: str) -> None:
        if problem != self._last_problem:
            self._complain(problem)
        self._last_problem = problem

    def _file_stamp(self) -> tuple[int, int, int] | None:
        """Return what changes when the file does: inode, time and size.

        Kubernetes replaces the file of a mounted secret, which changes the inode.
        """
        if self._file is None:
            return None
        try:
            status = self._file.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size
