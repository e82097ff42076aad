"""The rules of a check by a text classification model, and what is needed of the model.

Loads no model: `pipelines/models/classifier.py` does, in the process that answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class Classifier(Protocol):
    """A text classification model."""

    def scores(self, texts: Sequence[str]) -> Sequence[Mapping[str, float]]:
        """Return for each text the probability of every label of the model, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class ClassifierRules:
    """The labels of a model that a text must not have.

    Attributes:
        model: the model's name in the job file.
        revision: the revision of the model, by which every process loads the same weights.
        labels: the labels.
        threshold: the probability from which a text has a label.
        classifier: the loaded model; None until `AnswerChecks.with_classifiers`.
    """

    model: str
    revision: str
    labels: tuple[str, ...]
    threshold: float
    classifier: Classifier | None = None

    def rules(self, texts: Sequence[str]) -> list[str | None]:
        """Return for each text the first of the labels that it has, or None."""
        assert self.classifier is not None, "the classification model is not loaded"
        # values and their quotes often repeat
        unique = list(dict.fromkeys(texts))
        labels = dict(zip(unique, map(self._label, self.classifier.scores(unique)), strict=True))
        return [labels[text] for text in texts]

    def _label(self, scores: Mapping[str, float]) -> str | None:
        return next((label for label in self.labels if scores[label] >= self.threshold), None)
