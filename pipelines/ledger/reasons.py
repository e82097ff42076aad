"""The reasons of dead letters in words: what each means, what to do, and whether to ask again.

docs/errors.md has the same table. Knows words only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from pipelines.documents import (
    CHECK_FAILED,
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
from pipelines.errors import SpecError


class Retry(Enum):
    """Whether `run --retry dead-letters` asks again about a dead letter.

    - ALWAYS: with all others, or by its reason.
    - BY_NAME: only by its reason: such a document has ended engines.
    - NEVER: the result can only be the same.
    """

    ALWAYS = "yes"
    BY_NAME = "only by name"
    NEVER = "no"


@dataclass(frozen=True, slots=True)
class ReasonText:
    """One reason in words: what it means, what a user can do about it, and `retry`."""

    meaning: str
    remedy: str
    retry: Retry


_CORRECT_INPUT = "A corrected input is read with input.follow: true"
REASONS: Mapping[str, ReasonText] = {
    EMPTY: ReasonText(
        "The document has no text, or only white space",
        f"Add a text, or remove the row. {_CORRECT_INPUT}",
        Retry.NEVER,
    ),
    NOT_TEXT: ReasonText(
        "The text is not valid UTF-8",
        f"Store the text as UTF-8. {_CORRECT_INPUT}",
        Retry.NEVER,
    ),
    NOT_JSON: ReasonText(
        "The document's line in a file of JSON lines is broken",
        f"Write the line as one JSON object. {_CORRECT_INPUT}",
        Retry.NEVER,
    ),
    TOO_LARGE: ReasonText(
        "The text has more than 128 MiB",
        f"Split it into several documents. {_CORRECT_INPUT}",
        Retry.NEVER,
    ),
    TOO_LONG: ReasonText(
        "The text has more tokens than the job's long_documents reads",
        "Set long_documents.strategy: auto, and output.path to a new directory",
        Retry.NEVER,
    ),
    INVALID_ANSWER: ReasonText(
        "The model's answer to a task cannot be used, also after a repair",
        "If messages are about length, raise max_tokens; if about the form, simplify it: both are "
        "another job. Ask again after a change of version, engine or device: on the same ones the "
        "answer is mostly the same",
        Retry.ALWAYS,
    ),
    CHECK_FAILED: ReasonText(
        "A check found something in the answer to a task, and its action is dead_letter",
        "The message names the check. Change the check or its action: both are another job, with "
        "an OUTPUT of its own",
        Retry.NEVER,
    ),
    REJECTED: ReasonText(
        "The engine rejected a prompt",
        "The message is the engine's. Change model.engine or the node that it names, and ask again",
        Retry.ALWAYS,
    ),
    ENGINE_CRASH: ReasonText(
        "Engines crashed while they read only this document",
        "_run/log has the engine's own error. Remove the cause, such as a lack of memory, then ask "
        "again by name: each such document may end engines again",
        Retry.BY_NAME,
    ),
    TIMEOUT: ReasonText(
        "An engine made no progress while it read only this document",
        "_run/log has the engine's last steps. Remove the cause, then ask again by name: each such "
        "document may hold up an engine again",
        Retry.BY_NAME,
    ),
}
"""The text of each reason, in the order of docs/errors.md: the input, the answer, the engine."""
UNKNOWN = ReasonText(
    "Written by another version of phifleet", "Use the version that wrote it", Retry.NEVER
)
"""The text of a reason that this version does not know."""


def retried_reasons(text: str) -> tuple[str, ...]:
    """Return the reasons whose dead letters `--retry TEXT` asks again.

    `text` is `dead-letters` for all that are retried unless they are named, or
    `dead-letters:REASON[,REASON]`. Raises SpecError for another text, an unknown reason, and one
    with which asking again cannot help.
    """
    what, colon, names = text.partition(":")
    reasons = tuple(names.split(",")) if colon else ()
    if what != "dead-letters" or (colon and not all(reasons)):
        raise SpecError(
            f"--retry {text}: must be dead-letters, or dead-letters:REASON such as "
            f"dead-letters:{TIMEOUT}"
        )
    for reason in reasons:
        _check_retried(text, reason)
    return reasons or tuple(name for name, text in REASONS.items() if text.retry is Retry.ALWAYS)


def _check_retried(text: str, reason: str) -> None:
    if reason not in REASONS:
        possible = [name for name, text in REASONS.items() if text.retry is not Retry.NEVER]
        raise SpecError(
            f"--retry {text}: {reason!r} is no reason of dead letters; those that can be asked "
            f"again are {', '.join(possible)}"
        )
    words = REASONS[reason]
    if words.retry is Retry.NEVER:
        raise SpecError(
            f"--retry {text}: asking again gives the same result. {words.meaning}. {words.remedy}"
        )
