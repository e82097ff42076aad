"""The wording of the questions about documents and chunks, by kind of task.

All text here is part of the prompts: changing it requires a new PROMPT_VERSION. Knows no engine, no
tokens and no limits.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.job.task_specs import AskTask, EvidenceKind, ExtractTask
from pipelines.tasks.decoding import quotes_key
from pipelines.tasks.form import form_of_answer, has_numbers
from pipelines.tasks.replies import NOT_STATED, QUOTE_PREFIX
from pipelines.tasks.schema import JsonSchema

# How a passage is quoted by its first and last words.
_ENDS = 'its first two and last two words, as in "first words ... last words"'
_QUOTE_OF_REPLY: Mapping[EvidenceKind, str] = {
    "quotes": "copy the words that show it.",
    "anchors": f"give the passage that shows it by {_ENDS}.",
}
_QUOTE_OF_NOTES: Mapping[EvidenceKind, str] = {
    "quotes": "copy the quote from the notes that shows it.",
    "anchors": f"give the quote from the notes that shows it by {_ENDS}.",
}
_QUOTE_OF_FIELD: Mapping[EvidenceKind, str] = {
    "quotes": " A quote is the words of the text that show the field, copied exactly.",
    "anchors": f" A quote is the passage of the text that shows the field, shortened to {_ENDS}.",
}


def ask_text(spec: AskTask) -> str:
    """Return the question of an `ask` task about a document or a chunk."""
    return _with_quote(
        f"{spec.question}\nAnswer briefly, or with {NOT_STATED!r} where the text does not say.",
        _QUOTE_OF_REPLY.get(spec.evidence),
    )


def ask_notes_text(spec: AskTask) -> str:
    """Return the question of an `ask` task about the notes taken from chunks."""
    return _with_quote(f"{spec.question}\nAnswer briefly.", _QUOTE_OF_NOTES.get(spec.evidence))


def _with_quote(text: str, quote: str | None) -> str:
    if quote is None:
        return text
    return f'{text} Then, on a line of its own that begins with "{QUOTE_PREFIX}", {quote}'


def form_text(spec: ExtractTask, form: JsonSchema, *, may_be_null: bool) -> str:
    """Return the question of an `extract` task that shows `form`, the schema of its fields.

    With `may_be_null`, a text that states nothing is answered with null in place of the form.
    """
    key = quotes_key(form) if spec.evidence in _QUOTE_OF_FIELD else None
    nothing = "; if it states nothing of this form, answer only null" if may_be_null else ""
    numbers = " Write numbers plainly, such as 7420000." if has_numbers(form) else ""
    return (
        f"Fill in this form:\n{form_of_answer(form, key)}\n"
        f"Write null, or an empty list, for what the text does not state{nothing}.{numbers}"
        f"{_QUOTE_OF_FIELD.get(spec.evidence, '')} Answer with JSON only."
    )
