"""The tasks of a job file: a section for each kind of task, with its keys, types and defaults.

Knows no model, no prompts and no schemas' rules; `tasks` makes questions of these sections.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from pipelines.job.sections import (
    JsonSchemaInput,
    MustBe,
    NonEmptyStr,
    NonEmptyStrs,
    PositiveInt,
    Section,
    Violation,
    known,
)

TaskName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"),
    MustBe("letters, digits and underscores that do not start with a digit, such as risk_factors"),
]
"""The name of a task, which is also the name of its output column."""
FieldType = TypeAliasType(
    "FieldType",
    """Annotated[
        Literal["string", "number", "integer", "boolean", "date"]
        | Annotated[list[FieldType], Field(min_length=1, max_length=1)]
        | Annotated[dict[NonEmptyStr, FieldType], Field(min_length=1)],
        MustBe("string, number, integer, boolean, date, a list as [string], or a mapping"),
    ]""",
)
"""The type of an extracted field: a scalar's name, a list of one item type, or nested fields."""

EvidenceKind = Literal["quotes", "anchors", "values", "none"]
"""What a model writes as evidence of an answer, besides the answer itself.

The words of the text that show it (`quotes`); the first and last words of the passage that shows it
(`anchors`); nothing, so that phifleet looks for the values themselves (`values`) or for nothing at
all (`none`)."""

CANNOT_TELL = "cannot tell"
"""The extra label with which the model answers if a chunk supports none of a task's labels."""


class SummarizeTask(Section):
    """A task that asks for a summary of the document in at most `max_words` words.

    The prompt states this number. The answer is cut off only at the number of tokens that as many
    words need in the document's script, with a margin.
    """

    name: TaskName
    kind: Literal["summarize"] = "summarize"
    max_words: PositiveInt = 120


class ClassifyTask(Section):
    """A task that assigns exactly one of `labels`, a list of at least two, to the document."""

    name: TaskName
    kind: Literal["classify"] = "classify"
    labels: NonEmptyStrs

    def violations(self) -> Iterator[Violation]:
        """Yield `labels` if there are fewer than two, and each label that is not allowed.

        A label is not allowed if it repeats an earlier one, begins or ends with white space, or is
        CANNOT_TELL.
        """
        if len(self.labels) < 2:
            yield ("labels",), "a list of at least two labels"
        for index, label in enumerate(self.labels):
            if label != label.strip():
                yield ("labels", index), "a label without leading or trailing white space"
            if label in self.labels[:index]:
                yield ("labels", index), "a label that is listed only once"
            if label == CANNOT_TELL:
                wanted = f"a label other than {CANNOT_TELL!r}: it means that a chunk shows no label"
                yield ("labels", index), wanted


class AskTask(Section):
    """A task that answers `question` in free text, with quotes from the document.

    The answer and its quotes together have at most `max_tokens` tokens. `evidence` is what the
    model writes to show its answer. With `only_verified`, the answer is null if the document does
    not support it.
    """

    name: TaskName
    kind: Literal["ask"] = "ask"
    question: NonEmptyStr
    max_tokens: PositiveInt = 128
    evidence: EvidenceKind = "quotes"
    only_verified: bool = False

    def violations(self) -> Iterator[Violation]:
        """Yield `only_verified` if it is set although no evidence is looked for."""
        yield from _without_evidence(self.evidence, only_verified=self.only_verified)


class ExtractTask(Section):
    """A task that extracts fields, defined either by `fields` or by `schema`, a JSON Schema.

    `fields` maps names to types (FieldType). The key `schema` is the attribute `json_schema`. If it
    is the path of a file, the file is read when the job file is validated; in a request over HTTP
    it must be the schema itself. `evidence` is what the model writes to show its values. With
    `only_verified`, values that the document does not support become null, or are left out of their
    list. A field that the schema requires may be null, since a document need not state it, unless
    `strict` is set.

    An answer has at most `max_tokens` tokens, its quotes included. Without this key, the limit
    follows the form and the document, and is raised once if an answer reaches it; an answer that
    reaches it still keeps its complete values.
    """

    name: TaskName
    kind: Literal["extract"] = "extract"
    fields: Annotated[dict[NonEmptyStr, FieldType], Field(min_length=1)] | None = None
    json_schema: JsonSchemaInput | None = Field(default=None, alias="schema")
    max_tokens: PositiveInt | None = None
    evidence: EvidenceKind = "quotes"
    only_verified: bool = False
    strict: bool = False

    def violations(self) -> Iterator[Violation]:
        """Yield `fields` if neither it nor `schema` is set, and `schema` if both are.

        Also yields `only_verified` if it is set although no evidence is looked for.
        """
        yield from _without_evidence(self.evidence, only_verified=self.only_verified)
        if self.fields is None and self.json_schema is None:
            yield ("fields",), "a mapping such as {company: string}, unless schema is set"
        elif self.fields is not None and self.json_schema is not None:
            yield ("schema",), "absent if fields is set: remove one of them"


def _without_evidence(evidence: EvidenceKind, *, only_verified: bool) -> Iterator[Violation]:
    if evidence == "none" and only_verified:
        wanted = "false or absent if evidence is none: without evidence no value is verified"
        yield ("only_verified",), wanted


TASK_KINDS: dict[object, type[Section]] = {
    kind.model_fields["kind"].default: kind
    for kind in (SummarizeTask, ClassifyTask, AskTask, ExtractTask)
}
"""The section of each kind of task, by the value of its key `kind`."""
TaskSpec = Annotated[
    SummarizeTask | ClassifyTask | AskTask | ExtractTask,
    Field(discriminator="kind"),
    known("kind", TASK_KINDS),
]
"""A task of any kind; its key `kind`, which is required, selects the section."""
