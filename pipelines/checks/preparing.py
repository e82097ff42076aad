"""Makes the checks of a job file's section `checks`.

Loads no models and reads no files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from pipelines.checks.blocklist import blocklist
from pipelines.checks.checking import AnswerChecks, Check, Rules
from pipelines.checks.classifying import Classifier, ClassifierRules
from pipelines.checks.pii import PersonalData
from pipelines.errors import SpecError
from pipelines.job.check_specs import (
    BlocklistCheck,
    CheckSpec,
    ClassifierCheck,
    PiiCheck,
    UnshownCheck,
)
from pipelines.tasks.kinds import TaskSet


def prepare_checks(specs: Sequence[CheckSpec]) -> AnswerChecks:
    """Return the checks that `specs` define; a classifier's have their model's revision.

    Raises SpecError if a phrase or regular expression of a blocklist cannot be used.
    """
    return AnswerChecks(tuple(_check(spec, f"checks.{at}") for at, spec in enumerate(specs)))


def with_classifiers(checks: AnswerChecks, load: Callable[[str, str], Classifier]) -> AnswerChecks:
    """Return the checks with their classification models, in the process that applies them.

    `load` returns the model for a name and a revision; it is called once for each.
    """
    models: dict[tuple[str, str], Classifier] = {}
    loaded = []
    for check in checks.checks:
        if isinstance(rules := check.texts, ClassifierRules):
            key = rules.model, rules.revision
            models[key] = models.get(key) or load(*key)
            check = replace(check, texts=replace(rules, classifier=models[key]))
        loaded.append(check)
    return AnswerChecks(tuple(loaded))


def mark_checked(tasks: TaskSet, checks: AnswerChecks) -> TaskSet:
    """Return the tasks with `checked` set for those to which checks apply."""
    if not checks.checks:
        return tasks
    marked = tuple(replace(task, checked=checks.apply_to(task)) for task in tasks.all)
    return replace(tasks, all=marked)


def _check(spec: CheckSpec, path: str) -> Check:
    tasks = None if spec.tasks is None else frozenset(spec.tasks)
    if isinstance(spec, UnshownCheck):
        return Check(spec.name, spec.action, tasks, statuses=frozenset(spec.statuses))
    return Check(spec.name, spec.action, tasks, _rules(spec, path))


def _rules(spec: PiiCheck | BlocklistCheck | ClassifierCheck, path: str) -> Rules:
    match spec:
        case PiiCheck():
            return PersonalData(spec.patterns, spec.regions)
        case BlocklistCheck():
            return blocklist(spec.phrases, spec.expressions, path)
        case ClassifierCheck():
            if spec.revision is None:
                raise SpecError(f"{path}.revision: missing, must be the revision of {spec.model!r}")
            return ClassifierRules(spec.model, spec.revision, spec.labels, spec.threshold)
