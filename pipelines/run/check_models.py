"""The classification models of a job's checks: pinned by the driver, loaded by what answers.

The one place where checks and models meet. Knows no Ray.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.checks.checking import AnswerChecks
from pipelines.checks.preparing import with_classifiers
from pipelines.errors import SpecError
from pipelines.job.check_specs import CheckSpec, ClassifierCheck
from pipelines.models.classifier import find_classifier, load_classifier
from pipelines.models.resolve import on_hub

_COMMIT = re.compile(r"[0-9a-f]{40}")


def pinned_checks(specs: Sequence[CheckSpec]) -> tuple[CheckSpec, ...]:
    """Return the checks of a job file with the revision of each classification model.

    Of a model of the hub, only the small files are downloaded. Raises SpecError if a label is not
    one of the model's, or if the revision of a model of the hub is not a commit; ModelError if a
    model cannot be found.
    """
    return tuple(
        _pinned(spec, f"checks.{at}") if isinstance(spec, ClassifierCheck) else spec
        for at, spec in enumerate(specs)
    )


def load_checks(checks: AnswerChecks) -> AnswerChecks:
    """Return the checks with their classification models, which takes seconds for each; without
    any, at once. Call it in the process that answers. Raises ModelError."""
    return with_classifiers(checks, load_classifier)


def _pinned(spec: ClassifierCheck, path: str) -> ClassifierCheck:
    if on_hub(spec.model) and not _COMMIT.fullmatch(spec.revision or ""):
        raise SpecError(
            f"{path}.revision: got {spec.revision!r}, must be a commit of {spec.model!r}, 40 hex "
            "digits, because a branch can move; or set model to a local directory"
        )
    found = find_classifier(spec.model, spec.revision, weights=False)
    for index, label in enumerate(spec.labels):
        if label not in found.labels:
            raise SpecError(
                f"{path}.labels.{index}: got {label!r}, must be one of the model's labels: "
                f"{', '.join(found.labels)}"
            )
    return spec.model_copy(update={"revision": found.revision})
