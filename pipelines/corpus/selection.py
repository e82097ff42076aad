"""Which of the files that a listing has found are read, and why the others are not.

Judges a file by its name, and by its first bytes if the name tells nothing. Knows nothing of
filesystems: the caller finds the files and reads first bytes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from pipelines.corpus.formats import Format, format_of, sniff
from pipelines.corpus.local_files import JOB_RECORD, Found, is_hidden
from pipelines.corpus.not_read import NotRead, Reason, printable
from pipelines.errors import InputError

_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9_$~-]{0,15}$")
_BOOKKEEPING = re.compile(
    r"(dataset_infos?|dataset_dict|state)\.json|.*\.crc|.*_\$folder\$", re.IGNORECASE
)
# First bytes are read of so many files with one unknown ending, and of so many endings.
_SAMPLES = 3
_MAX_ENDINGS = 100
_THREADS = 16
_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Chosen:
    """A file that is read, and its format."""

    file: Found
    format: Format


@dataclass
class Selection:
    """Chooses the files to read below one directory.

    Attributes:
        top: the directory that the user named; below it, hidden names count.
        in_output: returns whether a path is in the OUTPUT of this run.
        first_bytes: returns the first bytes of a file. Called from several threads.
        not_read: collects the files that are not chosen.
        named_ending: the ending that the user's glob names, or "": such files are judged by their
            first bytes, whatever the ending.
    """

    top: str
    in_output: Callable[[str], bool]
    first_bytes: Callable[[str], bytes]
    not_read: NotRead
    named_ending: str = ""
    _endings: Counter[str] = field(default_factory=Counter)
    _left_out: str = ""

    def choose(self, found: Iterable[Found]) -> list[Chosen]:
        """Return the files to read, sorted by path. `found` should be in the order of paths."""
        chosen: list[Chosen] = []
        candidates = (file for file in found if not self._leaves_out(file))
        while batch := list(islice(candidates, _BATCH)):
            chosen += self._recognise(batch)
        return self._once_each(sorted(chosen, key=lambda each: each.file.path))

    def _name(self, path: str) -> str:
        return path.removeprefix(self.top).lstrip("/")

    def _leaves_out(self, file: Found) -> bool:
        """Count a file that is hidden or in an OUTPUT, or its directory, and return True for it."""
        name = self._name(file.path)
        if self._left_out and name.startswith(self._left_out):
            return True
        reason = None
        if hidden := _hidden_part(name):
            reason, name = Reason.HIDDEN, hidden
        elif self.in_output(file.path):
            reason, name = Reason.OUTPUT, self._output_part(name)
        if reason:
            self.not_read.add(reason, name)
            self._left_out = name if name.endswith("/") else ""
        return reason is not None

    def _output_part(self, name: str) -> str:
        """Return the first directory of a name that is in OUTPUT, with a slash."""
        parts = name.split("/")
        for depth in range(1, len(parts)):
            directory = "/".join(parts[:depth])
            if self.in_output(f"{self.top.rstrip('/')}/{directory}/"):
                return directory + "/"
        return name

    def _recognise(self, files: Sequence[Found]) -> Iterator[Chosen]:
        """Yield the files that can be read, and count the others."""
        unknown = []
        for file in files:
            name = file.path.rpartition("/")[2]
            kind = format_of(name)
            named = self.named_ending and name.endswith(self.named_ending)
            if _BOOKKEEPING.fullmatch(name):
                self._leave(Reason.BOOKKEEPING, file)
            elif file.size_bytes == 0 and (kind or named or not _ending(name)):
                self._leave(Reason.EMPTY, file)
            elif kind:
                yield Chosen(file, kind)
            elif named or self._is_sampled(name):
                unknown.append(file)
            else:
                self._leave(Reason.ENDING, file)
        yield from self._judge(unknown)

    def _is_sampled(self, name: str) -> bool:
        """Return whether the first bytes of a file with this unknown name are to be read."""
        ending = _ending(name).lower()
        if not ending:
            return True
        if ending not in self._endings and len(self._endings) == _MAX_ENDINGS:
            return False
        self._endings[ending] += 1
        return self._endings[ending] <= _SAMPLES

    def _judge(self, files: Sequence[Found]) -> Iterator[Chosen]:
        """Judge files by their first bytes."""
        if not files:
            return
        with ThreadPoolExecutor(_THREADS) as pool:
            kinds = pool.map(sniff, pool.map(self.first_bytes, [file.path for file in files]))
            for file, kind in zip(files, kinds, strict=True):
                ending = _ending(file.path)
                if self.named_ending and file.path.endswith(self.named_ending):
                    reason = None if kind else Reason.ENDING
                elif kind is Format.PARQUET:
                    reason = Reason.PARQUET_ENDING if ending else None
                else:
                    reason = Reason.ENDING if ending else Reason.NO_ENDING
                if reason:
                    self._leave(reason, file)
                elif kind:
                    yield Chosen(file, kind)

    def _leave(self, reason: Reason, file: Found) -> None:
        self.not_read.add(reason, self._name(file.path))

    def _once_each(self, chosen: Sequence[Chosen]) -> list[Chosen]:
        """Return each file once, if links give it several names: preferably under a name that tells
        its format and that no link leads to."""
        best: dict[tuple[int, int], Chosen] = {}
        for each in sorted(chosen, key=_preference):
            if each.file.identity is not None:
                best.setdefault(each.file.identity, each)
        kept = []
        for each in chosen:
            if each.file.identity is None or best[each.file.identity] is each:
                kept.append(each)
            else:
                self._leave(Reason.SAME_FILE, each.file)
        return kept


def named_file(file: Found, first_bytes: bytes) -> Chosen:
    """Return a file that the user names himself, with the format that its first bytes show, or if
    they show none, its name. Raises InputError for a file that cannot be read."""
    kind = sniff(first_bytes) or format_of(file.path)
    if not file.size_bytes:
        raise InputError(f"input.path: {printable(file.path)} is empty; check the path")
    if kind is None:
        raise InputError(
            f"input.path: {printable(file.path)} is neither Parquet nor JSON lines: it begins with "
            f"{first_bytes[:16]!r}; convert the file to one of these formats"
        )
    return Chosen(file, kind)


def outputs_among(paths: Collection[str], top: str) -> set[str]:
    """Return the directories below `top` that are OUTPUT of a run, given all paths of a listing."""
    ledgers = (path for path in paths if path.endswith("/" + JOB_RECORD))
    outputs = {path.removesuffix("/" + JOB_RECORD) for path in ledgers}
    return outputs - {top.rstrip("/")}


def _preference(chosen: Chosen) -> tuple[bool, bool, str]:
    return format_of(chosen.file.path) is None, chosen.file.linked, chosen.file.path


def _ending(path: str) -> str:
    """Return the ending of a file's name with its dot, or "" if what follows the last dot does not
    look like an ending, such as the number in `000000.0`."""
    match = _ENDING.search(path.rpartition("/")[2])
    return match.group() if match else ""


def _hidden_part(name: str) -> str:
    """Return a relative name up to its first hidden directory, which then ends with a slash, or to
    the file itself if that is hidden; "" if nothing of it is hidden."""
    *directories, last = name.split("/")
    for depth, directory in enumerate(directories, start=1):
        if is_hidden(directory, directory=True):
            return "/".join(directories[:depth]) + "/"
    return name if is_hidden(last) else ""
