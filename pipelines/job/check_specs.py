"""The checks of a job file or serve file: a section for each kind of check, with its keys.

A check looks for something in answers and states what then happens to them. Knows no patterns, no
models and no answers; `pipelines/checks` applies the checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal, get_args

import pydantic
from pydantic import BeforeValidator, Field

from pipelines.job.sections import (
    MustBe,
    NonEmptyStr,
    NonEmptyStrs,
    Section,
    Violation,
    known,
    raise_violations,
)
from pipelines.job.task_specs import TaskSpec

# Kinds of tasks whose answers have evidence.
_WITH_EVIDENCE = ("ask", "extract")
PiiPattern = Literal["email", "phone", "iban", "credit_card", "us_ssn", "ip_address"]
"""The name of a pattern of personal data."""
Status = Literal["found", "near", "absent", "not_applicable"]
"""A status of evidence other than `shown`."""
CheckName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,62}$"),
    MustBe("1 to 63 letters, digits, '_' or '-' that do not start with a digit, such as phones"),
]
"""The name of a check, as outputs, messages and metrics show it."""
# YAML reads an unquoted null as no value
Action = Annotated[
    Literal["flag", "null", "dead_letter"],
    BeforeValidator(lambda given: "null" if given is None else given),
]
"""The action on an answer in which a check finds something: `flag` records it only, `null` takes
the value out, and `dead_letter` makes the answer a dead letter."""
TaskNames = Annotated[
    tuple[NonEmptyStr, ...],
    Field(strict=False, min_length=1),
    MustBe("a list of at least one task's name; leave the key out for all tasks"),
]
Region = Annotated[
    str, Field(pattern=r"^[A-Z]{2}$"), MustBe("two capital letters of ISO 3166, such as US")
]


def _read_phrases(given: object, info: pydantic.ValidationInfo) -> object:
    """Return the lines of the file `given`, without blank lines and comments; a list as it is."""
    if not isinstance(given, str) or not info.context:
        return given
    try:
        text = (info.context["directory"] / given).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it is not UTF-8: {error}"
        phrase = f"the path of a text file, relative to the job file's directory ({reason})"
        raise_violations([((), phrase)])
        raise
    lines = [line.strip() for line in text.lstrip("\ufeff").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


Phrases = Annotated[
    NonEmptyStrs,
    MustBe("a list of words or phrases, or the path of a file with one in each line"),
    BeforeValidator(_read_phrases),
]
"""Words and phrases, or the path of a file with one in each line, which is then read.

The path is relative to the `directory` of `checked`; without one, a path is an error."""


class _Check(Section):
    """Base class of checks: the keys that all of them have.

    `tasks` names the tasks whose answers are checked; without it, all are. `action` is required.
    """

    needs_evidence: ClassVar[bool] = False

    action: Action
    tasks: TaskNames | None = None


class PiiCheck(_Check):
    """A check that finds personal data by `patterns`; docs/checks.md states what each finds.

    Phone numbers are found in their international form, and in the national forms of `regions`.
    """

    name: CheckName = "pii"
    kind: Literal["pii"] = "pii"
    patterns: Annotated[
        tuple[PiiPattern, ...],
        Field(strict=False, min_length=1),
        MustBe(f"a list of at least one of {', '.join(get_args(PiiPattern))}"),
    ] = get_args(PiiPattern)
    regions: Annotated[tuple[Region, ...], Field(strict=False)] = ()

    def violations(self) -> Iterator[Violation]:
        """Yield `regions` if the check does not look for phone numbers."""
        if self.regions and "phone" not in self.patterns:
            yield ("regions",), "absent unless patterns has phone"


class BlocklistCheck(_Check):
    """A check that finds `phrases`, as whole words in any case, and regular `expressions`."""

    name: CheckName = "blocklist"
    kind: Literal["blocklist"] = "blocklist"
    phrases: Phrases = ()
    expressions: NonEmptyStrs = ()

    def violations(self) -> Iterator[Violation]:
        """Yield `phrases` if there is nothing to find."""
        if not self.phrases and not self.expressions:
            yield ("phrases",), "a list of at least one word or phrase, unless expressions is set"


class ClassifierCheck(_Check):
    """A check by a text classification model, a local directory or a model of the hub.

    It finds a text for which the probability of one of `labels` is at least `threshold`. A model of
    the hub needs a `revision`, its commit.
    """

    name: CheckName = "classifier"
    kind: Literal["classifier"] = "classifier"
    model: NonEmptyStr
    revision: NonEmptyStr | None = None
    labels: Annotated[
        tuple[NonEmptyStr, ...],
        Field(strict=False, min_length=1),
        MustBe("a list of at least one of the model's labels"),
    ]
    threshold: Annotated[
        float,
        Field(gt=0, le=1, allow_inf_nan=False),
        MustBe("a number greater than 0 and at most 1"),
    ] = 0.5


class UnshownCheck(_Check):
    """A check that finds values whose evidence has one of `statuses`: not `shown`."""

    needs_evidence = True

    name: CheckName = "unshown"
    kind: Literal["unshown"] = "unshown"
    statuses: Annotated[
        tuple[Status, ...],
        Field(strict=False, min_length=1),
        MustBe(f"a list of at least one of {', '.join(get_args(Status))}"),
    ] = ("found", "near", "absent")


CHECK_KINDS: dict[object, type[Section]] = {
    kind.model_fields["kind"].default: kind
    for kind in (PiiCheck, BlocklistCheck, ClassifierCheck, UnshownCheck)
}
"""The section of each kind of check, by the value of its key `kind`."""
CheckSpec = Annotated[
    PiiCheck | BlocklistCheck | ClassifierCheck | UnshownCheck,
    Field(discriminator="kind"),
    known("kind", CHECK_KINDS),
]
"""A check of any kind; its key `kind`, which is required, selects the section."""
CheckSpecs = Annotated[tuple[CheckSpec, ...], Field(strict=False)]


def check_violations(
    checks: Sequence[CheckSpec], tasks: Sequence[TaskSpec], *, all_tasks: bool = True
) -> Iterator[Violation]:
    """Yield the faults of a section `checks` with the `tasks` of its file.

    A name must not repeat, and `tasks` of a check must name tasks of the file; with evidence if the
    check needs it. `all_tasks` says that no other tasks are answered than those of the file, so
    that a check must apply to one of them.
    """
    kinds = {task.name: task.kind for task in tasks}
    for index, check in enumerate(checks):
        if check.name in [earlier.name for earlier in checks[:index]]:
            yield ("checks", index, "name"), "a name that no check before it has; set name"
        for position, name in enumerate(check.tasks or ()):
            at = ("checks", index, "tasks", position)
            if name not in kinds:
                yield at, f"the name of a task ({', '.join(kinds) or 'there are none'})"
            elif check.needs_evidence and kinds[name] not in _WITH_EVIDENCE:
                wanted = "a task with evidence, of kind ask or extract: others have no shown values"
                yield at, wanted
        if not all_tasks or check.tasks is not None or not check.needs_evidence:
            continue
        if not any(kind in _WITH_EVIDENCE for kind in kinds.values()):
            yield (
                ("checks", index, "kind"),
                "another kind, because no task of kind ask or extract has evidence",
            )
