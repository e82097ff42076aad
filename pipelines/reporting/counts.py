"""The values of the answers about one document, counted by field. Pure; knows no types or files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pipelines.reporting.fields import FieldKind
from pipelines.reporting.meaning import Meaning, similarity


@dataclass(slots=True)
class Counts:
    """The values of one field in one document: how many there are, and how many are right.

    `expected` values are in the gold, `answered` ones in the answer, and `matched` ones in both.
    `similarities` are those of the texts that were compared.
    """

    matched: int = 0
    answered: int = 0
    expected: int = 0
    similarities: list[float] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """Return whether the answer has all values of the gold, and no others."""
        return self.matched == self.answered == self.expected

    @property
    def similarity(self) -> float | None:
        """Return the mean similarity of texts; None if none were compared."""
        return sum(self.similarities) / len(self.similarities) if self.similarities else None

    def add_similarity(self, choices: Sequence[str], given: str | None) -> None:
        """Add the similarity to the one of several right texts that is most like the answer; 0 if
        only one of gold and answer has a text. Adds nothing if neither has."""
        if choices and given:
            self.similarities.append(max(similarity(choice, given) for choice in choices))
        elif choices or given:
            self.similarities.append(0.0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Records whether one value of an answer is right.

    `place` is the value's path in the answer, as evidence has it; `path` that of its field.
    """

    path: str
    place: str
    right: bool


@dataclass(slots=True)
class TaskScore:
    """The comparison of one task's answer about one document with the right one.

    `counts` has the counts of each judged field by its path, `verdicts` those of the values of the
    answer, and `labels` the pairs of right and given labels of a `classify` task, None for none.
    """

    counts: dict[str, Counts] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)
    labels: list[tuple[str | None, str | None]] = field(default_factory=list)

    def at(self, path: str) -> Counts:
        """Return the counts of a field, which is judged from now on."""
        return self.counts.setdefault(path, Counts())

    def add(self, path: str, place: str, gold: Meaning | None, given: Meaning | None) -> bool:
        """Count one value of a field; return whether it is right."""
        right = given.agrees(gold) if given and gold else given is gold
        counts = self.at(path)
        counts.expected += gold is not None
        counts.answered += given is not None
        counts.matched += right and gold is not None
        if given is not None:
            self.verdicts.append(Verdict(path, place, right))
        return right


def document_loss(fields: Iterable[tuple[FieldKind, Counts]]) -> float:
    """Return how wrong the answers about a document are: the sum of what is missing in its fields.

    A field misses 1 minus its F1 in the document, a free text 1 minus its similarity.
    """
    return sum(1 - field_score(kind, counts) for kind, counts in fields)


def field_score(kind: FieldKind, counts: Counts) -> float:
    """Return the F1 of a field in one document, or the similarity of a free text."""
    if kind is FieldKind.TEXT:
        return 1.0 if counts.similarity is None else counts.similarity
    values = counts.answered + counts.expected
    return 2 * counts.matched / values if values else 1.0
