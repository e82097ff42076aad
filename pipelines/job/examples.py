"""The examples of a task in a job file: an answer as the user wants it, mostly with its text.

Checks what can be told without a tokenizer and without schemas. `tasks/guidance.py` writes them
into prompts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import pydantic

from pipelines.job.sections import MustBe, NonEmptyStr, NonEmptyStrs, Section, Violation

MAX_EXAMPLES = 16
"""The maximum number of examples of one task."""
_WORDS_OF_TEXT = "words of the example's text, unchanged"


class SummaryExample(Section):
    """An example of a `summarize` task: a text and its summary, `answer`."""

    text: NonEmptyStr
    answer: NonEmptyStr


class LabelExample(Section):
    """An example of a `classify` task: a text and its label, `answer`.

    With `multiple`, the answer is the list of all labels that fit the text.
    """

    text: NonEmptyStr
    answer: Annotated[NonEmptyStr | NonEmptyStrs, MustBe("a label, or a list of labels")]


class ReplyExample(Section):
    """An example of an `ask` task: an answer, and optionally the text it is about and a quote.

    With a `text`, the `quote` occurs in it.
    """

    answer: NonEmptyStr
    text: NonEmptyStr | None = None
    quote: NonEmptyStr | None = None

    def violations(self) -> Iterator[Violation]:
        """Yield `quote` if the text of the example does not contain it."""
        if self.quote is not None and not _is_quoted(self.quote, self.text):
            yield ("quote",), _WORDS_OF_TEXT


class FormExample(Section):
    """An example of an `extract` task: the values of fields, and optionally their text and quotes.

    `answer` is checked against the schema of the task when the task is prepared. `quotes` has words
    of the text by field name; with a `text`, each of them occurs in it.
    """

    answer: Annotated[
        dict[str, pydantic.JsonValue],
        MustBe("a mapping of the form's fields to values, such as {company: Acme}"),
    ]
    text: NonEmptyStr | None = None
    quotes: dict[NonEmptyStr, NonEmptyStr] | None = None

    def violations(self) -> Iterator[Violation]:
        """Yield the quotes of fields that the answer lacks, and those not in the text."""
        for name, quote in (self.quotes or {}).items():
            if name not in self.answer:
                yield ("quotes", name), "the quote of a field that is in the example's answer"
            elif not _is_quoted(quote, self.text):
                yield ("quotes", name), _WORDS_OF_TEXT


Example = SummaryExample | LabelExample | ReplyExample | FormExample
"""An example of a task of any kind."""


def too_many(examples: Sequence[Example]) -> Iterator[Violation]:
    """Yield `examples` if a task has more than MAX_EXAMPLES of them."""
    if len(examples) > MAX_EXAMPLES:
        yield ("examples",), f"a list of at most {MAX_EXAMPLES} examples"


def other_labels(
    examples: Sequence[LabelExample], labels: Iterable[str], *, multiple: bool
) -> Iterator[Violation]:
    """Yield the answers of examples that the model cannot give.

    It gives one of `labels`, or with `multiple` a list of some of them, in their order.
    """
    allowed = tuple(labels)
    for index, example in enumerate(examples):
        answer = example.answer
        if not multiple and answer not in allowed:
            yield ("examples", index, "answer"), "one of the task's labels"
        elif multiple and not _is_selection(answer, allowed):
            wanted = "a list of labels of the task, in the task's order, because multiple is set"
            yield ("examples", index, "answer"), wanted


def _is_selection(answer: str | Sequence[str], labels: Sequence[str]) -> bool:
    chosen = [label for label in labels if label in answer]
    return not isinstance(answer, str) and list(answer) == chosen


def _is_quoted(quote: str, text: str | None) -> bool:
    """Return whether a text contains a quote, however its words are broken into lines."""
    return text is None or " ".join(quote.split()) in " ".join(text.split())
