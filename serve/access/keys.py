"""Who may ask: bearer keys, kept as hashes, named, and taken back while the endpoint runs.

A key is 32 random bytes, so that its SHA-256 tells nothing of it. Knows no HTTP.
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
_LOOKED_EVERY_SECONDS = 1.0
Digest = Annotated[
    str, Field(pattern=r"^[0-9a-f]{64}$"), MustBe("64 hex digits, as --new-key prints them")
]  # fmt: skip


class ApiKey(Section):
    """One key: the SHA-256 of what its owner sends, and what it may use in a minute."""

    name: NonEmptyStr
    sha256: Digest
    requests_per_minute: PositiveInt | None = None
    tokens_per_minute: PositiveInt | None = None


def _listed(given: object) -> object:
    return () if given is None else given


class KeyList(Section):
    """The file of keys. Removing a line takes a key back within seconds, the last one too: `keys:`
    with nothing below it is an empty list."""

    keys: Annotated[tuple[ApiKey, ...], Field(strict=False), BeforeValidator(_listed)]

    def violations(self) -> Iterator[Violation]:
        names = [key.name for key in self.keys]
        for at, name in enumerate(names):
            if name in names[:at]:
                # whatever is counted is counted by name
                yield ("keys", at, "name"), "a name that no key before it has"


def new_key() -> str:
    """A key that nobody can guess."""
    return PREFIX + secrets.token_urlsafe(32)


def key_digest(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def key_line(name: str, key: str) -> str:
    """The line of the file that lets a key in. Raises SpecError where it cannot be called so."""
    data = {"name": name, "sha256": key_digest(key)}
    checked(ApiKey, data, data, None)
    # one line of ASCII, whatever a name holds
    written = yaml.safe_dump(name, default_style='"', width=sys.maxsize).strip()
    return f"  - {{name: {written}, sha256: {key_digest(key)}}}"


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """The keys of a file. Raises SpecError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"keys.file: cannot read {path}: {error}") from error
    data = parse_yaml(text, str(path))
    try:
        return checked(KeyList, data, _unshown(data), None).keys
    except SpecError as error:
        told = error.message.splitlines()
        raise SpecError("\n".join(f"{path}: {each}" for each in told)) from None


class _Unshown(dict[object, object]):
    """What a message does not show, for a key may stand where its hash belongs."""

    def __repr__(self) -> str:
        return "what is not shown here"


def _unshown(data: object) -> object:
    """Data of the same shape, in which only names can be read."""
    match data:
        case list():
            return [_unshown(each) for each in data]
        case dict():
            shown = {key: v if key == "name" else _unshown(v) for key, v in data.items()}
            return _Unshown(shown)
        case str():
            return _Unshown()
    return data


class Keyring:
    """The keys that are let in now: given ones, and those of a file, read again when it changes.

    A file that cannot be read any more lets in whom it let in before, and `complain` is told.
    """

    def __init__(
        self,
        keys: Sequence[ApiKey] = (),
        file: Path | None = None,
        complain: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._given = tuple(keys)
        self._file = file
        self._complain = complain
        self._clock = clock
        self._looked = clock()
        self._told: str | None = None
        self._stamp = self._file_stamp()
        self._read = read_keys(file) if file else ()

    def owner(self, sent: str | None) -> ApiKey | None:
        """The key that was sent, None where it is none of ours. Takes as long whichever it is."""
        self._look_again()
        wanted = key_digest(sent or "")
        found = None
        for key in (*self._given, *self._read):
            if hmac.compare_digest(key.sha256, wanted):
                found = key
        return found if sent else None

    def _look_again(self) -> None:
        if self._file is None or self._clock() - self._looked < _LOOKED_EVERY_SECONDS:
            return
        self._looked = self._clock()
        stamp = self._file_stamp()
        if stamp == self._stamp:
            return
        try:
            self._read = read_keys(self._file)
        except PhifleetError as error:
            # what keeps it from being read may end without changing the file
            self._complain_once(
                f"{self._file}: not read, so that who was let in before still is: {error.message}"
            )
        else:
            self._stamp, self._told = stamp, None

    def _complain_once(self, problem: str) -> None:
        if problem != self._told:
            self._complain(problem)
        self._told = problem

    def _file_stamp(self) -> tuple[int, int, int] | None:
        """What changes when the file does; a secret that Kubernetes mounts is another file then."""
        if self._file is None:
            return None
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
