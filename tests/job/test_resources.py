"""Tests that faults of the sections `compute` and `limits` are named by messages."""

import pytest

from pipelines.errors import SpecError
from pipelines.job.jobfile import parse_yaml
from pipelines.job.resources import Compute, GpuCount
from pipelines.job.spec import parse_job

MINIMAL = {
    "input": {"path": "in"},
    "output": {"path": "out"},
    "tasks": [{"name": "summary", "kind": "summarize"}],
}
FAULTS = """
compute: {replicas: {min: 9}}
    compute.replicas.min: got 9, must be at most max, which is 8
compute: {replicas: {mni: 9}}
    compute.replicas.mni: no such key; did you mean 'min'? allowed keys: min, max
compute: {gpus_per_replica: 0.5, tensor_parallel: 2}
    compute.tensor_parallel: got 2, must be at most gpus_per_replica, which is 0.5, or 1
compute: {gpus_per_replica: 2, tensor_parallel: 4}
    compute.tensor_parallel: got 4, must be at most gpus_per_replica, which is 2, or 1
compute: {gpus_per_replica: 1.5}
    compute.gpus_per_replica: got 1.5, must be a whole number, a fraction of one GPU such as 0.5, or
limits: {max_dead_letter_fraction: 5}
    limits.max_dead_letter_fraction: got 5, must be a number from 0 to 1
limits: {max_cost_usd: -1}
    limits.max_cost_usd: got -1, must be a number greater than 0
limits: {deadline: "2030-01-31T18:00:00"}
    limits.deadline: got '2030-01-31T18:00:00', must be a time with a time zone, such as 2030-
limits: {deadline: 5}
    limits.deadline: got 5, must be a time with a time zone
""".strip().splitlines()


@pytest.mark.parametrize(
    ("sections", "message"), [*zip(FAULTS[::2], FAULTS[1::2], strict=True)], ids=str.strip
)
def test_a_fault_is_named_by_its_path_with_what_would_be_right(sections: str, message: str) -> None:
    given = parse_yaml(sections, "test")
    assert isinstance(given, dict)
    with pytest.raises(SpecError) as caught:
        parse_job({**MINIMAL, **given})
    assert caught.value.message.startswith(message.strip())
    assert "\n" not in caught.value.message


def test_a_limit_is_a_whole_number_or_a_time_as_text() -> None:
    limits = parse_job(
        {**MINIMAL, "limits": {"max_gpu_hours": 3, "deadline": "2030-01-31T18:00Z"}}
    ).limits
    assert limits.max_gpu_hours == 3.0
    assert limits.deadline is not None
    assert limits.deadline.isoformat() == "2030-01-31T18:00:00+00:00"


@pytest.mark.parametrize(("gpus", "share"), [("auto", 1.0), (0, 1.0), (0.25, 0.25), (2, 1.0)])
def test_only_a_fraction_of_a_gpu_is_shared(gpus: GpuCount, share: float) -> None:
    assert Compute(gpus_per_replica=gpus).gpu_share == share
