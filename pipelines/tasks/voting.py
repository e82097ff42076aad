"""Count the votes of chunks on a label. Pure; knows no prompts and no engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.documents import Label

TIE_SHARE = 0.05
"""Labels whose share of the votes is at most this much below the largest are tied with it."""


@dataclass(frozen=True, slots=True)
class Vote:
    """The result of a vote of a document's chunks on its label, as `vote` counts it.

    The first label wins if it is the only one in `tied`. Otherwise no label wins: the caller has
    the model choose among the labels in `tied`.

    Attributes:
        shares: pairs of a label that has votes and its share of them, in descending order of the
            share. A share is from 0 to 1: the sum of the confidences of the label's votes, divided
            by the number of all votes.
    """

    shares: tuple[tuple[str, float], ...]

    @property
    def tied(self) -> tuple[str, ...]:
        """Return the labels whose share is at most TIE_SHARE below the largest, largest first.

        They include the label with the largest share. If it is the only one, the vote is decided.
        """
        min_share = self.shares[0][1] - TIE_SHARE
        return tuple(label for label, share in self.shares if share >= min_share)

    def share(self, label: str) -> float:
        """Return a label's share of the votes, from 0 to 1. Raises KeyError if it has no votes."""
        return dict(self.shares)[label]


def vote(labels: Sequence[Label]) -> Vote:
    """Count the votes of a document's chunks, and return each label's share of them.

    `labels` has the label of each chunk that votes, at least one. A vote has the label's confidence
    as its weight, or 1 if the confidence is not known. Weights are divided by the number of votes,
    so all shares together are less than 1 if confidences are.
    """
    shares: dict[str, float] = {}
    for label in labels:
        shares[label.label] = shares.get(label.label, 0.0) + label.weight / len(labels)
    return Vote(tuple(sorted(shares.items(), key=lambda pair: -pair[1])))
