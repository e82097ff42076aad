"""Tests of the vote of chunks on a label."""

from __future__ import annotations

import pytest

from pipelines.documents import Label
from pipelines.tasks.voting import vote


def test_a_vote_is_weighted_by_confidence() -> None:
    votes = vote([Label("a", 0.9), Label("b", 0.4), Label("b", 0.3)])
    assert votes.tied == ("a",)
    assert votes.share("a") == pytest.approx(0.3)


def test_labels_with_nearly_equal_shares_are_tied() -> None:
    assert vote([Label("a", 0.50), Label("b", 0.52)]).tied == ("b", "a")
    assert vote([Label("a"), Label("b"), Label("a")]).tied == ("a",)
    assert vote([Label("a", 0.0)]).tied == ("a",)
