"""Count the votes of chunks on a label. Pure; knows no prompts and no engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.documents import Label

TIE_SHARE = 0.05
"""Labels whose share of the votes is at most this much below the largest are tied with it."""


@dataclass(frozen=True, slots=True)
class Vote:
    """The result of a vote of chunks on a label, as `vote` counts it.

    The first label wins if it is the only one in `tied`. Otherwise no label wins: the caller has
    the model choose among the labels in `tied`.

    Attributes:
        shares: each label that has votes, with its share of them, weighted by confidence, from 0 to
            1, in descending order.
    """

    shares: tuple[tuple[str, float], ...]

    @property
    def tied(self) -> tuple[str, ...]:
        """Return the labels whose share is within TIE_SHARE of the largest, at least one.

        It is a single label if the vote is decided.
        """
        min_share = self.shares[0][1] - TIE_SHARE
        return tuple(label for label, share in self.shares if share >= min_share)

    def share(self, label: str) -> float:
        """Return the share of the votes for a label that has votes, from 0 to 1."""
        return dict(self.shares)[label]


def vote(labels: Sequence[Label]) -> Vote:
    """Count the labels of chunks, at least one, each weighted by its confidence, as a Vote.

    A label without a confidence has weight 1. Shares are of the number of labels, so they add up to
    less than 1 if chunks are not certain.
    """
    shares: dict[str, float] = {}
    for label in labels:
        shares[label.label] = shares.get(label.label, 0.0) + label.weight / len(labels)
    return Vote(tuple(sorted(shares.items(), key=lambda pair: -pair[1])))
