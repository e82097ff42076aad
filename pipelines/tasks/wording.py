"""The wording of the questions about documents and chunks, by kind of task.

All text here is part of the prompts: changing it requires a new PROMPT_VERSION. Knows no engine, no
tokens and no limits.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.job.task_specs import EvidenceKind, ExtractTask
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


def ask_text(evidence: EvidenceKind) -> str:
    """Return how to answer the question of an `ask` task about a document or a chunk.

    It stands before the question. The answer thus follows the question directly: a small model
    loses sight of a question with much text behind it.
    """
    text = f"Answer the question briefly, or with {NOT_STATED!r} where the text does not say."
    return _with_quote(text, _QUOTE_OF_REPLY.get(evidence))


def ask_notes_text(evidence: EvidenceKind) -> str:
    """Return how to answer the question of an `ask` task about the notes taken from chunks."""
    return _with_quote("Answer the question briefly.", _QUOTE_OF_NOTES.get(evidence))


def _with_quote(text: str, quote: str | None) -> str:
    if quote is not None:
        text += f' Then, on a line of its own that begins with "{QUOTE_PREFIX}", {quote}'
    return f"{text}\n"


def form_text(spec: ExtractTask, form: JsonSchema, *, may_be_null: bool) -> str:
    """Return the question of an `extract` task that shows `form`, the schema of its fields.

    With `may_be_null`, a text that states nothing is answered with null in place of the form.
    """
    key = quotes_key(form) if spec.evidence in _QUOTE_OF_FIELD else None
    nothing = "; if it states nothing of this form, answer only null" if may_be_null else ""
    numbers = " Write numbers plainly, such as 7420000." if has_numbers(form) else ""
    return (
        "Fill in the form below. Write null, or an empty list, for what the text does not "
        f"state{nothing}.{numbers}{_QUOTE_OF_FIELD.get(spec.evidence, '')} Answer with JSON only.\n"
        f"{form_of_answer(form, key)}"
    )
