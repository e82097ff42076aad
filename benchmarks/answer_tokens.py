"""Counts the answer tokens of perfect answers to a form and a question, by kind of evidence.

`python benchmarks/answer_tokens.py --model NAME` prints a table. The text is a short contract; a
perfect answer quotes the whole sentence that states a value. Starts no engine.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.job.task_specs import AskTask, EvidenceKind, ExtractTask, TaskSpec
from pipelines.models.resolve import resolve
from pipelines.tasks.questions import tokenize_tasks
from pipelines.text.tokens import ChatTokenizer, load_tokenizer

KINDS: Sequence[EvidenceKind] = ("quotes", "anchors", "values", "none")
SENTENCES: Mapping[str, str] = {
    "tenant": "This lease is made by and between Harbour Properties Limited, the landlord, and "
    "Kleve Brothers GmbH, the tenant, of the one part and of the other.",
    "begins": "The term of the lease begins on the 1st of May 2021, at noon, and both parties may "
    "inspect the premises in the week before.",
    "rent": "The annual rent is 7,420,000 dollars, payable in twelve equal parts on the first "
    "business day of every month without any deduction.",
    "guarantors": "The obligations of the tenant are guaranteed jointly and severally by Ann Lee, "
    "by Bo Berg and by the bank named in the third schedule.",
}
VALUES: Mapping[str, Any] = {
    "tenant": "Kleve Brothers GmbH",
    "begins": "2021-05-01",
    "rent": 7420000,
    "guarantors": ["Ann Lee", "Bo Berg"],
}
FIELDS: dict[str, Any] = {
    "tenant": "string",
    "begins": "date",
    "rent": "number",
    "guarantors": ["string"],
}
REPLY, REPLY_QUOTE = "7,420,000 dollars", SENTENCES["rent"]
_WORDS = 2


@dataclass(frozen=True)
class Counts:
    """The tokens of a filled form, of an empty one, of a reply, and of the form's question."""

    form: int
    empty: int
    reply: int
    question: int


def quote(words: str, kind: EvidenceKind) -> str:
    """Return a passage as it is quoted; for anchors its first two and last two words; "" if not."""
    parts = words.split(" ")
    match kind:
        case "quotes":
            return words
        case "anchors":
            return f"{' '.join(parts[:_WORDS])} ... {' '.join(parts[-_WORDS:])}"
    return ""


def filled_form(kind: EvidenceKind) -> str:
    """Return the perfect answer to the form, as compact JSON."""
    quotes = {name: quote(SENTENCES[name], kind) for name in VALUES}
    answer = {**VALUES, "quotes": quotes} if all(quotes.values()) else VALUES
    return json.dumps(answer, separators=(",", ":"), ensure_ascii=False)


def reply(kind: EvidenceKind) -> str:
    """Return the perfect reply to a question about the rent."""
    words = quote(REPLY_QUOTE, kind)
    return f"{REPLY}\nQuote: {words}" if words else REPLY


def spaced_form() -> str:
    """Return the filled form with whole quotes and with blanks behind commas and colons."""
    return json.dumps({**VALUES, "quotes": SENTENCES})


def spaced_empty_form() -> str:
    """Return the form that states nothing, with null in every field and quote."""
    empty: dict[str, Any] = {
        name: [] if isinstance(kind, list) else None for name, kind in FIELDS.items()
    }
    return json.dumps({**empty, "quotes": dict.fromkeys(FIELDS)})


def count(tokenizer: ChatTokenizer, kind: EvidenceKind) -> Counts:
    """Return the tokens of each answer; the token that ends an answer is one of them."""

    def tokens(text: str) -> int:
        return len(tokenizer.encode_after(tokenizer.suffix_ids, text)) + 1

    specs: list[TaskSpec] = [
        ExtractTask(name="lease", fields=FIELDS, evidence=kind),
        AskTask(name="rent", question="What is the rent?", evidence=kind),
    ]
    form, _ = tokenize_tasks(specs, tokenizer)
    return Counts(
        tokens(filled_form(kind)),
        tokens("null"),
        tokens(reply(kind)),
        len(form.question.token_ids),
    )


def main() -> None:
    """Print the table for the model of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--model", default="tiny", help="a model's name or directory")
    tokenizer = load_tokenizer(resolve(parser.parse_args().model).path)
    print("| evidence | form, 4 fields | empty form | reply | question of the form |")
    print("|---|---|---|---|---|")
    for kind in KINDS:
        found = count(tokenizer, kind)
        print(f"| `{kind}` | {found.form} | {found.empty} | {found.reply} | {found.question} |")


if __name__ == "__main__":
    main()
