"""Tests of serve files: valid ones, and the messages for wrong ones."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.errors import SpecError
from serve.spec import parse_serve


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"feedback": "f/"}, "feedback: got 'f/', must be a mapping with the keys path"),
        ({"feedback": {"pth": "f/"}}, "feedback.pth: no such key; did you mean 'path'?"),
        ({"pools": {"long": {"mni": 1}}}, "pools.long.mni: no such key; did you mean 'min'?"),
        ({"pools": {"short": {"min": 2}}}, "pools.short.min: got 2, must be at most max"),
        (
            {"compute": {"gpus_per_replica": 1, "tensor_parallel": 2}},
            "compute.tensor_parallel: got 2, must be at most gpus_per_replica, which is 1, or 1",
        ),
        (
            {"checks": [{"kind": "pii", "action": "flag", "tasks": ["who"]}]},
            "checks.0.tasks.0: got 'who', must be the name of a task (there are none)",
        ),
        (
            {"feedback": {"path": "sftp://host/f"}},
            "feedback.path: got 'sftp://host/f', must be a local directory, or a URL that begins "
            "with s3://, gs:// or abfs://",
        ),
    ],
)
def test_an_error_names_the_key_path_and_the_remedy(data: Any, message: str) -> None:
    with pytest.raises(SpecError) as error:
        parse_serve(data)
    assert message in error.value.message


def test_a_check_of_evidence_needs_no_task_because_requests_may_define_them() -> None:
    (check,) = parse_serve({"checks": [{"kind": "unshown", "action": None}]}).checks
    assert check.action == "null"


def test_the_long_pool_is_optional_and_may_have_no_engine() -> None:
    assert list(parse_serve({}).pools.by_name) == ["short"]
    pools = parse_serve({"pools": {"long": {"min": 0}}}).pools
    assert pools.by_name["long"].min == 0


@pytest.mark.parametrize("path", ["f", "/f", "file:///f", "s3://b/f", "gs://b/f", "abfs://c/f"])
def test_feedback_may_go_wherever_answers_may(path: str) -> None:
    feedback = parse_serve({"feedback": {"path": path}}).feedback
    assert feedback is not None
    assert feedback.path == path
