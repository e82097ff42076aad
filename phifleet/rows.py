"""The answers in an OUTPUT as Python values, document by document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from phifleet.forms import Form
from phifleet.job import JobLike, output_of
from phifleet.reading import answers
from pipelines.errors import OutputError, SpecError
from pipelines.ledger.ledger import Ledger
from pipelines.storage import Storage
from pipelines.tasks.columns import ANSWER, EVIDENCE

_BATCH_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence of one value of an answer.

    Attributes:
        path: the value, such as `parties[2].name`; empty for an answer that is one value.
        status: `shown`, `found`, `near`, `absent` or `not_applicable`.
        text: the passage of the document, None if there is none.
        start: the character of the text at which the passage begins.
        end: the character behind the passage.
        page: the passage's page, from 1, if the document has pages.
        quote: the model's own quote, if it differs from the passage.
    """

    path: str
    status: str
    text: str | None = None
    start: int | None = None
    end: int | None = None
    page: int | None = None
    quote: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one task about one document.

    Attributes:
        task: the task's name.
        value: a text (`summarize`, `ask`, `write`), a label or a list of labels (`classify`), or
            the fields (`extract`) as a dict or an instance of the class that `rows` was given. None
            if the document states none, the task failed, or the fields are no valid instance.
        status: `answered`, or the reason why the task failed; empty if the document has no answer
            to this task.
        evidence: the evidence of each value.
        confidence: of a label, or of each label, between 0 and 1.
        fields: the fields of an `extract` task as a dict; None for other tasks.
        problem: why the fields are no instance of the class; None if they are.
        prompt_tokens: tokens of the prompts.
        output_tokens: generated tokens.
    """

    task: str
    value: Any
    status: str
    evidence: tuple[Evidence, ...] = ()
    confidence: float | list[float] | None = None
    fields: Mapping[str, Any] | None = None
    problem: str | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """An answered document: its `id`, its `kept` columns, and its `answers` by the task's name.

    `row["facts"]` is `row.answers["facts"]`.
    """

    id: str | int
    kept: Mapping[str, Any]
    answers: Mapping[str, Answer]

    def __getitem__(self, task: str) -> Answer:
        return self.answers[task]


def rows(target: JobLike, **classes: type[BaseModel]) -> Iterator[Row]:
    """Yield the answered documents of a run, a part after the other.

    `target` is the run's job, or its OUTPUT. For each `extract` task named in `classes`, values are
    instances of that pydantic model class: `rows("answers/", facts=Facts)`. Raises SpecError if
    there is no such task, OutputError if there is no run or no answer yet, StorageError.
    """
    output = output_of(target)
    tasks = _tasks(output)
    for name in classes:
        if tasks.get(name) != "extract":
            extracting = [task for task, kind in tasks.items() if kind == "extract"]
            raise SpecError(
                f"{name}: the run in {output} has no task of this name with kind: extract; it has "
                f"{', '.join(extracting) or 'none'}"
            )
    forms = {name: Form(kind) for name, kind in classes.items()}
    return _read(output, tasks, forms)


def _tasks(output: str) -> dict[str, str]:
    """Return the kind of each task of the run in `output`, by name."""
    job = Ledger(Storage(output)).job()
    if job is None:
        raise OutputError(
            f"{output} does not contain a phifleet run: _run/job.json is missing. Pass a job that "
            "has been started, or its output.path"
        )
    return {task["name"]: task["kind"] for task in job["source"]["tasks"]}


def _read(output: str, tasks: Mapping[str, str], forms: Mapping[str, Form]) -> Iterator[Row]:
    for batch in answers(output).to_batches(batch_size=_BATCH_ROWS):
        for values in batch.to_pylist(maps_as_pydicts="strict"):
            id_column, *others = values
            given = {
                name: _answer(name, kind, values[name], forms.get(name))
                for name, kind in tasks.items()
                if name in values
            }
            kept = {name: values[name] for name in others if name not in tasks}
            yield Row(values[id_column], kept, given)


def _answer(task: str, kind: str, cell: Mapping[str, Any] | None, form: Form | None) -> Answer:
    if cell is None:
        return Answer(task, None, status="")
    record = cell[ANSWER] or {}
    value, fields, problem = cell.get("text"), None, None
    if kind == "classify":
        value = cell["labels"] if "labels" in cell else cell["label"]
    elif kind == "extract":
        fields = {name: item for name, item in cell.items() if name not in (EVIDENCE, ANSWER)}
        answered = cell[EVIDENCE] is not None
        value, problem = form.read(fields) if form and answered else (fields, None)
        value = value if answered else None
    return Answer(
        task=task,
        value=value,
        status=record.get("status") or "",
        evidence=tuple(Evidence(**row) for row in cell[EVIDENCE] or ()),
        confidence=cell.get("confidence") if kind == "classify" else None,
        fields=fields,
        problem=problem,
        prompt_tokens=record.get("prompt_tokens") or 0,
        output_tokens=record.get("output_tokens") or 0,
    )
