"""The reasons of dead letters in words: what each means, and what to do.

docs/errors.md has the same table. Knows words only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.documents import (
    EMPTY,
    ENGINE_CRASH,
    INVALID_ANSWER,
    NOT_JSON,
    NOT_TEXT,
    REJECTED,
    TIMEOUT,
    TOO_LARGE,
    TOO_LONG,
)


@dataclass(frozen=True, slots=True)
class ReasonText:
    """One reason in words: what it means, and what a user can do about it."""

    meaning: str
    remedy: str


_CORRECT_INPUT = "A corrected input is read with input.follow: true"
REASONS: Mapping[str, ReasonText] = {
    EMPTY: ReasonText(
        "The document has no text, or only white space",
        f"Add a text, or remove the row. {_CORRECT_INPUT}",
    ),
    NOT_TEXT: ReasonText(
        "The text is not valid UTF-8",
        f"Store the text as UTF-8. {_CORRECT_INPUT}",
    ),
    NOT_JSON: ReasonText(
        "The document's line in a file of JSON lines is broken",
        f"Write the line as one JSON object. {_CORRECT_INPUT}",
    ),
    TOO_LARGE: ReasonText(
        "The text has more than 128 MiB",
        f"Split it into several documents. {_CORRECT_INPUT}",
    ),
    TOO_LONG: ReasonText(
        "The text has more tokens than the job's long_documents reads",
        "Set long_documents.strategy: auto, and output.path to a new directory",
    ),
    INVALID_ANSWER: ReasonText(
        "The model's answer to a task cannot be used, also after a repair",
        "If messages are about length, raise max_tokens; if about the form, simplify it: both are "
        "another job, with an OUTPUT of its own",
    ),
    REJECTED: ReasonText(
        "The engine rejected a prompt",
        "The message is the engine's. Change model.engine or the node that it names, and run into "
        "a new OUTPUT",
    ),
    ENGINE_CRASH: ReasonText(
        "Engines crashed while they read only this document",
        "_run/log has the engine's own error. Remove the cause, such as a lack of memory, and run "
        "into a new OUTPUT",
    ),
    TIMEOUT: ReasonText(
        "An engine made no progress while it read only this document",
        "_run/log has the engine's last steps. Remove the cause, and run into a new OUTPUT",
    ),
}
"""The text of each reason, in the order of docs/errors.md: the input, the answer, the engine."""
UNKNOWN = ReasonText("Written by another version of phifleet", "Use the version that wrote it")
"""The text of a reason that this version does not know."""
