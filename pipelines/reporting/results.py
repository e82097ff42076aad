"""The results of an evaluation, as values and as JSON. Knows no files and no computations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.reporting.fields import FieldKind
from pipelines.reporting.significance import Difference, Figure


def _figure(figure: Figure | None) -> dict[str, float] | None:
    return figure.to_json() if figure else None


@dataclass(frozen=True, slots=True)
class Tally:
    """How often something was right: `right` of `total`, and the share with its interval."""

    right: int
    total: int
    share: Figure | None

    def to_json(self) -> dict[str, Any]:
        """Return the tally as JSON values."""
        return {"right": self.right, "total": self.total, "share": _figure(self.share)}


@dataclass(frozen=True, slots=True)
class FieldResult:
    """How well a field, or all fields together, was answered.

    Attributes:
        path: the field's path, such as `facts.parties[].name`; None for all fields together.
        kind: the field's kind; None for all fields together.
        documents: the number of documents in which the field is judged.
        unanswered: the number of those that are dead letters, or whose task failed.
        precision: the share of the answers' values that are right.
        recall: the share of the gold's values that were found.
        f1: the harmonic mean of both.
        right: the share of documents, dead letters included, in which all values are right and no
            others were given. For all fields together, each field of a document counts.
        none_precision: the share of answers without a value that are right to have none.
        none_recall: the share of documents without a right value whose answers have none.
        similarity: the mean similarity of texts; None for fields without texts.
    """

    path: str | None
    kind: FieldKind | None
    documents: int
    unanswered: int
    precision: Tally
    recall: Tally
    f1: Figure | None
    right: Tally
    none_precision: Tally
    none_recall: Tally
    similarity: Figure | None

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "field": self.path,
            "kind": self.kind and self.kind.value,
            "documents": self.documents,
            "unanswered": self.unanswered,
            "precision": self.precision.to_json(),
            "recall": self.recall.to_json(),
            "f1": _figure(self.f1),
            "right": self.right.to_json(),
            "none_precision": self.none_precision.to_json(),
            "none_recall": self.none_recall.to_json(),
            "similarity": _figure(self.similarity),
        }


@dataclass(frozen=True, slots=True)
class StrategyResult:
    """The results of documents that were read by one strategy: of one task, or of all (None)."""

    strategy: str
    task: str | None
    result: FieldResult

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        of_field = self.result.to_json()
        del of_field["field"], of_field["kind"]
        return {"strategy": self.strategy, "task": self.task, **of_field}


@dataclass(frozen=True, slots=True)
class EvidenceResult:
    """How many values with evidence of one status are right: of one field, or of all (None).

    `status` is that of the value's best evidence, None for a value without any.
    """

    status: str | None
    path: str | None
    values: Tally

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {"status": self.status, "field": self.path, **self.values.to_json()}


@dataclass(frozen=True, slots=True)
class Confusion:
    """The right and the given labels of a `classify` task, None for none.

    `counts` has the number of documents for each pair of a right and a given label. With several
    labels, a missed label is paired with each label that was given too much.
    """

    task: str
    labels: Sequence[str]
    counts: Mapping[tuple[str | None, str | None], int]

    def to_json(self) -> dict[str, Any]:
        """Return the table as JSON values."""
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], str(item[0])))
        return {
            "task": self.task,
            "labels": list(self.labels),
            "counts": [
                {"right": right, "given": given, "documents": count}
                for (right, given), count in ordered
            ],
        }


@dataclass(frozen=True, slots=True)
class WrongValue:
    """A field of a document whose answer is not right: the right value and the given one, as JSON.

    Of an extraction, the field is a top-level one, with all that it holds.
    """

    path: str
    gold: Any
    answer: Any


@dataclass(frozen=True, slots=True)
class WrongDocument:
    """A document with wrong answers.

    `loss` is the sum of what its fields miss to be right: 1 minus the F1 of each, or minus the
    similarity of a free text. `fields` is the number of judged fields.
    """

    doc_id: str
    loss: float
    fields: int
    wrong: tuple[WrongValue, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the document as JSON values."""
        return {
            "id": self.doc_id,
            "loss": round(self.loss, 6),
            "fields": self.fields,
            "wrong": [
                {"field": each.path, "gold": each.gold, "answer": each.answer}
                for each in self.wrong
            ],
        }


@dataclass(frozen=True, slots=True)
class Coverage:
    """The documents with right answers, and what OUTPUT has of them.

    Attributes:
        gold: the number of documents with right answers.
        answered: the number of those with an answer.
        dead_letters: the number of those that are dead letters: nothing was answered.
        missing: the number of those that OUTPUT does not have.
        first_missing: the id of the first of them; None without any.
        finished: whether the run has finished; else answers may still come.
    """

    gold: int
    answered: int
    dead_letters: int
    missing: int
    first_missing: str | None
    finished: bool

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as JSON values."""
        return {
            "gold": self.gold,
            "answered": self.answered,
            "dead_letters": self.dead_letters,
            "missing": self.missing,
            "first_missing": self.first_missing,
            "finished": self.finished,
        }


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """The difference of a field, or of all fields together (`path` is None), to another OUTPUT.

    `measure` is what is compared: `right`, the share of documents with the right value; `f1`; or
    `similarity`. `documents` are those in which both OUTPUTs are judged.
    """

    path: str | None
    measure: str
    documents: int
    ours: Figure
    other: Figure
    difference: Difference

    def to_json(self) -> dict[str, Any]:
        """Return the difference as JSON values."""
        return {
            "field": self.path,
            "measure": self.measure,
            "documents": self.documents,
            "output": self.ours.to_json(),
            "against": self.other.to_json(),
            "difference": self.difference.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison with another OUTPUT, at `output`, on the same right answers.

    `not_compared` are the paths of the judged fields that the other OUTPUT does not have.
    """

    output: str
    coverage: Coverage
    fields: tuple[FieldDifference, ...]
    not_compared: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        return {
            "output": self.output,
            "documents": self.coverage.to_json(),
            "fields": [each.to_json() for each in self.fields],
            "not_compared": list(self.not_compared),
        }


@dataclass(frozen=True, slots=True)
class FeedbackUse:
    """What was read of feedback: `verdicts` in all, and the `unused` ones by reason."""

    verdicts: int
    unused: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as JSON values."""
        return {"verdicts": self.verdicts, "unused": dict(self.unused)}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The evaluation of an OUTPUT with right answers.

    `output` and `gold` are the paths. `feedback` is None unless the gold is feedback, and `against`
    None unless another OUTPUT was given.
    """

    output: str
    gold: str
    coverage: Coverage
    total: FieldResult | None
    fields: tuple[FieldResult, ...]
    strategies: tuple[StrategyResult, ...]
    evidence: tuple[EvidenceResult, ...]
    confusions: tuple[Confusion, ...]
    worst: tuple[WrongDocument, ...]
    feedback: FeedbackUse | None = None
    against: Comparison | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the evaluation as JSON values."""
        return {
            "output": self.output,
            "gold": self.gold,
            "documents": self.coverage.to_json(),
            "total": self.total and self.total.to_json(),
            "fields": [each.to_json() for each in self.fields],
            "strategies": [each.to_json() for each in self.strategies],
            "evidence": [each.to_json() for each in self.evidence],
            "confusions": [each.to_json() for each in self.confusions],
            "worst": [each.to_json() for each in self.worst],
            "feedback": self.feedback and self.feedback.to_json(),
            "against": self.against and self.against.to_json(),
        }
