"""The user's own words before a question: a task's instructions, and examples of its answers.

They stand behind the document, so that all questions about it share its prefill, and before the
question, which stays last. Examples are in the form that the model answers in. Their wording is
part of the prompts: changing it requires a new PROMPT_VERSION. Knows no engine and no tokenizer
but to count tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.errors import InvalidAnswer
from pipelines.job.examples import Example, FormExample, LabelExample, ReplyExample
from pipelines.job.task_specs import AskTask, EvidenceKind, ExtractTask, TaskSpec
from pipelines.tasks.anchors import anchors_of
from pipelines.tasks.conversion import converted
from pipelines.tasks.decoding import JSON_SEPARATORS, quotes_key
from pipelines.tasks.extraction import check_values, has_content
from pipelines.tasks.faults import raise_all
from pipelines.tasks.missing import completed
from pipelines.tasks.replies import QUOTE_PREFIX
from pipelines.tasks.schema import JsonSchema, field_schemas, item_schema
from pipelines.tasks.several import labels_answer
from pipelines.text.tokens import ChatTokenizer

# The user's words take at most one part in so many of a short prompt with its answer.
_SHARE = 4


@dataclass(frozen=True, slots=True)
class _Form:
    """How the answers to a question are written.

    Attributes:
        evidence: what is written to show them; "none" for kinds of task without evidence.
        schema: the normalized schema of an `extract` task's answers; None for other kinds.
        may_be_null: whether an answer that states nothing is null.
    """

    evidence: EvidenceKind
    schema: JsonSchema | None
    may_be_null: bool

    def quote(self, words: str) -> str | None:
        """Return a quote as it is written in an answer; None if no quotes are."""
        match self.evidence:
            case "quotes":
                return words
            case "anchors":
                return anchors_of(words)
        return None


def instructions_of(spec: TaskSpec) -> str:
    """Return the lines before a question that state the task's instructions; "" without any."""
    return f"Instructions: {spec.instructions.strip()}\n\n" if spec.instructions else ""


def own_words(spec: TaskSpec) -> str:
    """Return a task's instructions and examples as JSON; "" if it has neither."""
    if not spec.instructions and not spec.examples:
        return ""
    return spec.model_dump_json(include={"instructions", "examples"}, exclude_none=True)


def guidance(spec: TaskSpec, schema: JsonSchema | None = None, *, may_be_null: bool = False) -> str:
    """Return the lines before a question about a text: the task's instructions and its examples.

    `schema` is the normalized schema of the answers of an `extract` task, and None for other kinds.
    With `may_be_null`, its answer is null if the text states nothing. Returns "" if the task has
    neither instructions nor examples. Raises SpecError, with the key path of each fault, if the
    answer of an example violates the schema.
    """
    if not spec.examples:
        return instructions_of(spec)
    if isinstance(spec, ExtractTask):
        assert schema is not None
        raise_all(_form_faults(spec, schema))
    evidence = spec.evidence if isinstance(spec, AskTask | ExtractTask) else "none"
    form = _Form(evidence, schema, may_be_null)
    examples = "\n\n".join(_example(example, form) for example in spec.examples)
    return (
        f"{instructions_of(spec)}Examples of answers to the question below, from other texts:\n\n"
        f"{examples}\n\n"
    )


def _example(example: Example, form: _Form) -> str:
    """Return an example's text, if it has one, and its answer as the model is to write it."""
    text = f"Text: {example.text.strip()}\n" if example.text else ""
    return f"{text}Answer: {_answer(example, form)}"


def _answer(example: Example, form: _Form) -> str:
    match example:
        case FormExample():
            return _filled_form(example, form)
        case ReplyExample(quote=str(words)) if quote := form.quote(words):
            return f"{example.answer.strip()}\n{QUOTE_PREFIX} {' '.join(quote.split())}"
        case LabelExample(answer=tuple(labels)):
            return labels_answer(labels)
    assert isinstance(example.answer, str)
    return example.answer.strip()


def _filled_form(example: FormExample, form: _Form) -> str:
    """Return an example's values as JSON, in the order of the schema, with its quotes behind.

    Values that state nothing are null in place of the form if the answer may be.
    """
    schema = form.schema
    assert schema is not None
    values = _ordered(_values(example, schema), schema)
    if form.may_be_null and not has_content(values):
        return "null"
    if example.quotes is not None and form.evidence in ("quotes", "anchors"):
        quotes: dict[str, str | None] = dict.fromkeys(schema["properties"])
        quotes |= {name: form.quote(words) for name, words in example.quotes.items()}
        values |= {quotes_key(schema): quotes}
    return json.dumps(values, ensure_ascii=False, separators=JSON_SEPARATORS)


def _values(example: FormExample, schema: JsonSchema) -> Any:
    """Return the values of an example; null, or an empty list, for a field that it leaves out."""
    return converted(completed(example.answer, schema), schema)


def _ordered(value: Any, schema: JsonSchema) -> Any:
    """Return a value with the properties of its objects in the order in which a model writes them.

    The value follows the schema.
    """
    if isinstance(value, list):
        return [_ordered(item, item_schema(schema, index)) for index, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    fields = field_schemas(value, schema)
    return {name: _ordered(value[name], field) for name, field in fields.items() if name in value}


def _form_faults(spec: ExtractTask, schema: JsonSchema) -> Iterator[str]:
    for index, example in enumerate(spec.examples):
        try:
            check_values(_values(example, schema), schema)
        except InvalidAnswer as error:
            yield (
                f"tasks.{spec.name}.examples.{index}.answer: it does not follow the task's schema: "
                f"{error.message}; correct the example or the schema"
            )


def check_lengths(
    specs: Sequence[TaskSpec], instructions: str | None, tokenizer: ChatTokenizer, short_len: int
) -> None:
    """Raise SpecError if instructions or examples take too much of a prompt.

    The job's `instructions` may have a quarter of `short_len` tokens, the length of a short prompt
    with its answer, and so may each task's instructions and examples together. Texts, answers and
    quotes of examples are counted, without the words around them.
    """
    raise_all(_length_faults(specs, instructions, tokenizer, short_len))


def _length_faults(
    specs: Sequence[TaskSpec], instructions: str | None, tokenizer: ChatTokenizer, short_len: int
) -> Iterator[str]:
    most = short_len // _SHARE
    limit = (
        f"must have at most {most}, a quarter of the {short_len} of a short prompt with its answer"
    )
    count = len(tokenizer.encode(instructions or ""))
    if count > most:
        yield f"instructions: {count} tokens, {limit}; shorten them"
    for spec in specs:
        own = len(tokenizer.encode(spec.instructions or ""))
        shown = sum(tokenizer.count_all([words for e in spec.examples for words in _words(e)]))
        if own + shown > most:
            yield (
                f"tasks.{spec.name}: instructions of {own} and examples of {shown} tokens, {limit} "
                "together; shorten them, or use fewer examples"
            )


def _words(example: Example) -> Iterator[str]:
    """Yield the texts of an example, its answer among them."""
    for value in example.model_dump(exclude_none=True).values():
        yield value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
