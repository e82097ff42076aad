"""The tasks of a job file: a section for each kind of task, with its keys, types and defaults.

Every kind takes `instructions`, the user's own words for its prompts, and `examples` of answers.
Knows no model, no prompts and no schemas' rules; `tasks` makes questions of these sections.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, WrapValidator

from pipelines.job.examples import (
    FormExample,
    LabelExample,
    ReplyExample,
    SummaryExample,
    other_labels,
    too_many,
)
from pipelines.job.field_types import FieldType
from pipelines.job.sections import (
    JsonSchemaInput,
    MustBe,
    NonEmptyStr,
    NonEmptyStrs,
    PositiveInt,
    Section,
    Violation,
    known,
    raise_violations,
)

TaskName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"),
    MustBe("letters, digits and underscores that do not start with a digit, such as risk_factors"),
]
"""The name of a task, which is also the name of its output column."""
_LABEL_LIST = TypeAdapter(NonEmptyStrs, config=ConfigDict(strict=True))
LabelDescriptions = dict[
    NonEmptyStr, Annotated[NonEmptyStr | None, MustBe("a description, or null for none")]
]
"""Labels with their descriptions; None for a label without one."""
_LABEL_MAPPING = TypeAdapter(LabelDescriptions, config=ConfigDict(strict=True))
Temperature = Annotated[
    float, Field(ge=0, le=2, allow_inf_nan=False), MustBe("a number from 0 to 2")
]
"""A temperature of sampling; 0 always takes the most likely token."""

EvidenceKind = Literal["quotes", "anchors", "values", "none"]
"""What a model writes as evidence of an answer, besides the answer itself.

The words of the text that show it (`quotes`); the first and last words of the passage that shows it
(`anchors`); nothing, so that phifleet looks for the values themselves (`values`) or for nothing at
all (`none`)."""


def _labels(given: object, _: object) -> Any:
    """Validate labels as a list or as a mapping, so that messages are about the form given."""
    if isinstance(given, Mapping):
        return _LABEL_MAPPING.validate_python(given)
    if not isinstance(given, list | tuple):
        raise_violations([((), "a list of labels, or a mapping of labels to their descriptions")])
    return _LABEL_LIST.validate_python(given)


Labels = Annotated[NonEmptyStrs | LabelDescriptions, WrapValidator(_labels)]
"""The labels of a task: a list, or a mapping of labels to descriptions. Either iterates labels."""
CANNOT_TELL = "cannot tell"
"""The extra label with which the model answers if a chunk supports none of a task's labels."""
MAX_SEVERAL = 500
"""The maximum number of labels of a task with `multiple`.

The grammar of many more would take an engine long to compile."""


class SummarizeTask(Section):
    """A task that asks for a summary of the document in at most `max_words` words.

    The prompt states this number. The answer is cut off only at the number of tokens that as many
    words need in the document's script, with a margin.
    """

    name: TaskName
    kind: Literal["summarize"] = "summarize"
    max_words: PositiveInt = 120
    instructions: NonEmptyStr | None = None
    examples: Annotated[tuple[SummaryExample, ...], Field(strict=False)] = ()

    def violations(self) -> Iterator[Violation]:
        """Yield `examples` if there are too many."""
        yield from too_many(self.examples)


class ClassifyTask(Section):
    """A task that assigns exactly one of `labels`, at least two, to the document.

    `labels` is a list, or a mapping of labels to descriptions, which the prompt states. With
    `multiple`, the task assigns all labels that fit: any number of them, or none.
    """

    name: TaskName
    kind: Literal["classify"] = "classify"
    labels: Labels
    multiple: bool = False
    instructions: NonEmptyStr | None = None
    examples: Annotated[tuple[LabelExample, ...], Field(strict=False)] = ()

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels without their descriptions."""
        return tuple(self.labels)

    @property
    def label_descriptions(self) -> dict[str, str]:
        """The descriptions of the labels that have one."""
        described = self.labels if isinstance(self.labels, dict) else {}
        return {label: text for label, text in described.items() if text is not None}

    def violations(self) -> Iterator[Violation]:
        """Yield `labels` if there are fewer than two, and each label that is not allowed.

        A label is not allowed if it repeats an earlier one, begins or ends with white space, or is
        CANNOT_TELL. With `multiple`, yield `labels` if there are more than MAX_SEVERAL. Examples
        must have one of the labels as their answer, or a list of them with `multiple`.
        """
        yield from too_many(self.examples)
        yield from other_labels(self.examples, self.labels, multiple=self.multiple)
        if self.multiple and len(self.labels) > MAX_SEVERAL:
            yield ("labels",), f"a list of at most {MAX_SEVERAL} labels, because multiple is set"
        if isinstance(self.labels, dict):
            yield from _mapping_violations(self.labels)
            return
        if len(self.labels) < 2:
            yield ("labels",), "a list of at least two labels"
        for index, label in enumerate(self.labels):
            if label in self.labels[:index]:
                yield ("labels", index), "a label that is listed only once"
            for wanted in _label_faults(label):
                yield ("labels", index), wanted


def _mapping_violations(labels: LabelDescriptions) -> Iterator[Violation]:
    if len(labels) < 2:
        yield ("labels",), "a mapping of at least two labels to their descriptions"
    for label in labels:
        for wanted in _label_faults(label):
            yield ("labels", label), f"the description of {wanted}"


def _label_faults(label: str) -> Iterator[str]:
    """Yield what a label must be if it cannot be one, whatever the other labels are."""
    if label != label.strip():
        yield "a label without leading or trailing white space"
    if label == CANNOT_TELL:
        yield f"a label other than {CANNOT_TELL!r}: it means that a chunk shows no label"


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
    instructions: NonEmptyStr | None = None
    examples: Annotated[tuple[ReplyExample, ...], Field(strict=False)] = ()

    def violations(self) -> Iterator[Violation]:
        """Yield `only_verified` if no evidence is looked for, and `examples` if too many."""
        yield from _without_evidence(self.evidence, only_verified=self.only_verified)
        yield from too_many(self.examples)


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
    instructions: NonEmptyStr | None = None
    examples: Annotated[tuple[FormExample, ...], Field(strict=False)] = ()

    def violations(self) -> Iterator[Violation]:
        """Yield `fields` if neither it nor `schema` is set, and `schema` if both are.

        Also yields `only_verified` if it is set although no evidence is looked for, and `examples`
        if there are too many.
        """
        yield from _without_evidence(self.evidence, only_verified=self.only_verified)
        yield from too_many(self.examples)
        if self.fields is None and self.json_schema is None:
            yield ("fields",), "a mapping such as {company: string}, unless schema is set"
        elif self.fields is not None and self.json_schema is not None:
            yield ("schema",), "absent if fields is set: remove one of them"


def _without_evidence(evidence: EvidenceKind, *, only_verified: bool) -> Iterator[Violation]:
    if evidence == "none" and only_verified:
        wanted = "false or absent if evidence is none: without evidence no value is verified"
        yield ("only_verified",), wanted


class WriteTask(Section):
    """A task that writes a text: what `prompt`, the user's words, asks for.

    With `over: document`, the prompt is about the whole document. If that is read in chunks, what
    was written about them is combined: by the prompt `combine`, or else by `prompt` again. With
    `over: parts`, every document is cut into parts without overlap. What was written about them is
    joined in order, as a translation needs it, or combined by `combine`.

    An answer has at most `max_tokens` tokens. Without this key, the limit is 512; for parts that
    are joined, it follows the length of a part. A `temperature` above 0 draws among likely words,
    from a seed that depends on the document's id and the task's name.
    """

    name: TaskName
    kind: Literal["write"] = "write"
    prompt: NonEmptyStr
    max_tokens: PositiveInt | None = None
    temperature: Temperature = 0.0
    over: Literal["document", "parts"] = "document"
    combine: NonEmptyStr | None = None
    instructions: NonEmptyStr | None = None
    examples: Annotated[tuple[SummaryExample, ...], Field(strict=False)] = ()

    def violations(self) -> Iterator[Violation]:
        """Yield `examples` if there are too many."""
        yield from too_many(self.examples)

    @property
    def joins_parts(self) -> bool:
        """True if the answer consists of the texts about all parts, joined in order."""
        return self.over == "parts" and self.combine is None


TASK_KINDS: dict[object, type[Section]] = {
    kind.model_fields["kind"].default: kind
    for kind in (SummarizeTask, ClassifyTask, AskTask, ExtractTask, WriteTask)
}
"""The section of each kind of task, by the value of its key `kind`."""
TaskSpec = Annotated[
    SummarizeTask | ClassifyTask | AskTask | ExtractTask | WriteTask,
    Field(discriminator="kind"),
    known("kind", TASK_KINDS),
]
"""A task of any kind; its key `kind`, which is required, selects the section."""
