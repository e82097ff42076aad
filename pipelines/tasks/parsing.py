"""Parsing of answers: the value of each kind of task in the text that an engine generated.

Knows no engine and no prompts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pipelines.documents import AnswerValue, Label, Reply, Summary, Written
from pipelines.errors import InvalidAnswer
from pipelines.job.task_specs import (
    CANNOT_TELL,
    AskTask,
    ClassifyTask,
    ExtractTask,
    SummarizeTask,
    WriteTask,
)
from pipelines.tasks.extraction import check_values, parse_fields
from pipelines.tasks.kinds import LENGTH, Completion, Task
from pipelines.tasks.not_stated import is_not_stated
from pipelines.tasks.replied import evidence_of_reply
from pipelines.tasks.replies import normalize_reply, split_reply
from pipelines.tasks.several import parse_labels
from pipelines.text.search import DocumentSearch


@contextmanager
def invalid_on_error() -> Iterator[None]:
    """Raise InvalidAnswer for any error inside: it concerns one task of one document only.

    Answers and documents can have anything in them, and an error must not end the run.
    """
    try:
        yield
    except InvalidAnswer:
        raise
    except Exception as error:
        raise InvalidAnswer(
            f"the answer cannot be compared with the document: {type(error).__name__}: {error}"
        ) from error


@invalid_on_error()
def parse_answer(
    task: Task,
    completion: Completion,
    search: DocumentSearch,
    span: tuple[int, int],
    *,
    chunk: tuple[int, int] | None = None,
) -> AnswerValue:
    """Parse an engine's answer to a task's question about a document or a chunk.

    Returns the value for the task's kind: Summary, Label or LabelSet, Reply, Fields or Written.

    Args:
        task: the task that was asked.
        completion: the engine's answer.
        search: finds quotes and values in the document.
        span: start and end, in characters, of the part of the document that the model was shown;
            evidence is looked for in it.
        chunk: start and end of the chunk that the question was about, without the words shown
            around it; None if it was about a document. A chunk need not state every field.

    Of an extraction's answer that its token limit cut off, the complete values are kept. Raises
    InvalidAnswer, whose message may be sent to the model, if the text of the answer is not one of a
    `classify` task's labels, or not JSON by an `extract` task's schema, or if it cannot be compared
    with the document.
    """
    answer, spec = completion.text, task.spec
    match spec:
        case SummarizeTask():
            return Summary(answer.strip())
        case ClassifyTask(multiple=True):
            cut_off = completion.finish_reason == LENGTH
            logprobs = completion.label_logprobs
            return parse_labels(answer, logprobs, tuple(spec.labels), cut_off=cut_off)
        case ClassifyTask():
            return parse_label(completion, (*spec.labels, CANNOT_TELL))
        case AskTask():
            return _parse_reply(spec, completion, search, span)
        case WriteTask():
            return Written(answer.strip())
        case ExtractTask():
            schema = task.chunk_schema if chunk is not None else task.schema
            assert schema is not None
            return parse_fields(
                answer,
                schema,
                search,
                span,
                only_verified=spec.only_verified,
                cut_off=completion.finish_reason == LENGTH,
                own=chunk,
                evidence=spec.evidence,
                may_be_null=chunk is not None or not spec.strict,
            )


def check_required(task: Task, values: Mapping[str, Any]) -> None:
    """Raise InvalidAnswer if values merged from chunks violate the schema of a strict task.

    Call it when the fields of all chunks of a document are merged; `values` are the merged values
    by field name. A single chunk's answer may have null in a required field, but all of them
    together may not. Nothing is checked for a task that is not `strict`, and for one with
    `only_verified`, which makes values without evidence null in any case.
    """
    spec = task.spec
    if isinstance(spec, ExtractTask) and spec.strict and not spec.only_verified:
        assert task.schema is not None
        check_values(values, task.schema)


def parse_label(completion: Completion, labels: Sequence[str]) -> Label:
    """Return the label that an engine generated, with its probability as confidence.

    The confidence is from 0 to 1, and None if the completion has no logprob. `labels` are all
    labels that the engine was allowed to generate. Raises InvalidAnswer if the text, without white
    space around it, is not one of them.
    """
    label = completion.text.strip()
    if label not in labels:
        raise InvalidAnswer(
            f"the answer {label[:80]!r} is not one of the labels, although the engine may generate "
            "nothing else; use the version of vLLM that phifleet requires"
        )
    logprob = completion.logprob
    return Label(label, None if logprob is None else min(1.0, math.exp(logprob)))


def _parse_reply(
    spec: AskTask, completion: Completion, search: DocumentSearch, span: tuple[int, int]
) -> Reply:
    reply, quoted = split_reply(completion.text, cut_off=completion.finish_reason == LENGTH)
    if is_not_stated(reply):
        return normalize_reply(spec, reply, ())
    if spec.evidence == "none":
        return normalize_reply(spec, reply, ())
    anchored = spec.evidence == "anchors"
    evidence = evidence_of_reply(reply, quoted, search, *span, anchored=anchored)
    return normalize_reply(spec, reply, evidence)
