"""Checks in a job file: faults by their path, files of phrases, and the fingerprint."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import SpecError
from pipelines.job.check_specs import BlocklistCheck, PiiCheck, UnshownCheck
from pipelines.job.fingerprint import answer_digests, differing_keys, fingerprint
from pipelines.job.jobfile import parse_yaml
from pipelines.job.spec import JobSpec, load_job, parse_job

JOB: dict[str, Any] = {
    "input": {"path": "in"},
    "output": {"path": "out"},
    "tasks": [
        {"name": "who", "kind": "ask", "question": "Who?"},
        {"name": "short", "kind": "summarize"},
    ],
}
# checks in YAML, and the message that each gives
FAULTS = """
{kind: pi, action: flag}
    checks.0.kind: got 'pi', must be one of pii, blocklist, classifier, unshown
{action: flag}
    checks.0.kind: missing, must be one of pii, blocklist, classifier, unshown
{kind: pii}
    checks.0.action: missing; this key is required
{kind: pii, action: drop}
    checks.0.action: got 'drop', must be one of 'flag', 'null' or 'dead_letter'
{kind: pii, action: flag, patern: [email]}
    checks.0.patern: no such key; did you mean 'patterns'? allowed keys: action, tasks, name, kind,
{kind: pii, action: flag, patterns: [emial]}
    checks.0.patterns: got ['emial'], must be a list of at least one of email, phone, iban,
{kind: pii, action: flag, patterns: []}
    checks.0.patterns: got [], must be a list of at least one of email, phone, iban, credit_card,
{kind: pii, action: flag, regions: [us]}
    checks.0.regions.0: got 'us', must be two capital letters of ISO 3166, such as US
{kind: pii, action: flag, patterns: [email], regions: [US]}
    checks.0.regions: got ['US'], must be absent unless patterns has phone
{kind: pii, action: flag, name: "a check"}
    checks.0.name: got 'a check', must be 1 to 63 letters, digits, '_' or '-' that do not start with
{kind: pii, action: flag, tasks: []}
    checks.0.tasks: got [], must be a list of at least one task's name; leave the key out for all
{kind: pii, action: flag, tasks: [who, when]}
    checks.0.tasks.1: got 'when', must be the name of a task (who, short)
{kind: unshown, action: flag, tasks: [short]}
    checks.0.tasks.0: got 'short', must be a task with evidence, of kind ask or extract
{kind: unshown, action: flag, statuses: [shown]}
    checks.0.statuses: got ['shown'], must be a list of at least one of found, near, absent,
{kind: blocklist, action: flag}
    checks.0.phrases: missing, must be a list of at least one word or phrase, unless expressions is
{kind: blocklist, action: flag, phrases: [1]}
    checks.0.phrases: got [1], must be a list of words or phrases, or the path of a file with one in
{kind: blocklist, action: flag, phrases: none.txt}
    checks.0.phrases: got 'none.txt', must be the path of a text file, relative to the job file's
{kind: classifier, action: flag, labels: [a]}
    checks.0.model: missing; this key is required
{kind: classifier, action: flag, model: m, labels: []}
    checks.0.labels: got [], must be a list of at least one of the model's labels
{kind: classifier, action: flag, model: m, labels: [a], threshold: 0}
    checks.0.threshold: got 0, must be a number greater than 0 and at most 1
""".strip().splitlines()


def job(*checks: dict[str, Any], **sections: Any) -> JobSpec:
    return parse_job({**JOB, **sections, "checks": list(checks)})


def digests(spec: JobSpec) -> dict[str, str]:
    return answer_digests(spec, "r", 1)


@pytest.mark.parametrize(
    ("check", "message"), [*zip(FAULTS[::2], FAULTS[1::2], strict=True)], ids=str.strip
)
def test_a_fault_is_named_by_its_path_with_what_would_be_right(check: str, message: str) -> None:
    given = parse_yaml(check, "test")
    assert isinstance(given, dict)
    with pytest.raises(SpecError) as caught:
        job(given)
    assert caught.value.message.startswith(message.strip())
    assert "\n" not in caught.value.message


def test_two_checks_of_a_kind_need_names() -> None:
    check = {"kind": "pii", "action": "flag"}
    with pytest.raises(SpecError, match=r"checks\.1\.name: missing, must be a name that no check"):
        job(check, check)
    assert [spec.name for spec in job(check, {**check, "name": "mails"}).checks] == ["pii", "mails"]


def test_a_check_of_evidence_needs_a_task_that_has_it() -> None:
    check = {"kind": "unshown", "action": "flag"}
    assert isinstance(job(check).checks[0], UnshownCheck)
    with pytest.raises(SpecError, match=r"checks\.0\.kind: got 'unshown', must be another kind"):
        job(check, tasks=JOB["tasks"][1:])


@pytest.mark.parametrize("written", ["null", "~", '"null"', ""])
def test_the_action_null_is_the_same_with_and_without_quotation_marks(written: str) -> None:
    given = parse_yaml(f"kind: pii\naction: {written}", "test")
    assert isinstance(given, dict)
    assert job(given).checks[0].action == "null"


def test_phrases_are_read_from_a_file_beside_the_job_file(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("# names\nProject Falcon\n\n  Straße \n", "utf-8-sig")
    checks = [{"kind": "blocklist", "action": "flag", "phrases": "words.txt"}]
    (tmp_path / "job.yaml").write_text(json.dumps({**JOB, "checks": checks}))
    (check,) = load_job(tmp_path / "job.yaml").spec.checks
    assert isinstance(check, BlocklistCheck)
    assert check.phrases == ("Project Falcon", "Straße")


def test_a_file_of_phrases_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes(b"\xff\xfe")
    data = {**JOB, "checks": [{"kind": "blocklist", "action": "flag", "phrases": "words.txt"}]}
    with pytest.raises(SpecError, match=r"checks\.0\.phrases: got 'words.txt', .*it is not UTF-8"):
        parse_job(data, tmp_path)


def test_a_job_without_checks_has_the_fingerprint_of_earlier_versions() -> None:
    without = digests(parse_job(JOB))
    assert digests(job()) == without
    assert not any(key.startswith("checks") for key in without)
    assert fingerprint(without) == (
        "5c0dcc6f1b67f0ee052a7d5953cbaceee75c1ba6b315923a96bf882446427e26"
    )


def test_every_key_of_a_check_is_in_the_fingerprint_by_the_checks_name() -> None:
    check = {"kind": "pii", "action": "flag", "name": "mails"}
    old = digests(job(check))
    for key, value in {"action": "null", "tasks": ["who"], "patterns": ["email"]}.items():
        assert differing_keys(old, digests(job({**check, key: value}))) == [f"checks.mails.{key}"]
    assert differing_keys(old, digests(job())) == [
        f"checks.mails.{key}" for key in ("action", "kind", "patterns", "regions", "tasks")
    ]


def test_a_file_of_phrases_counts_by_its_content(tmp_path: Path) -> None:
    def of_file(text: str) -> dict[str, str]:
        (tmp_path / "words.txt").write_text(text)
        check = {"kind": "blocklist", "action": "flag", "phrases": "words.txt"}
        return digests(parse_job({**JOB, "checks": [check]}, tmp_path))

    inline = digests(job({"kind": "blocklist", "action": "flag", "phrases": ["a", "b"]}))
    assert of_file("a\n# more\nb\n") == inline
    assert differing_keys(of_file("a\nc\n"), inline) == ["checks.blocklist.phrases"]


def test_the_order_of_checks_does_not_count() -> None:
    checks: list[dict[str, Any]] = [
        {"kind": "pii", "action": "flag"},
        {"kind": "unshown", "action": None},
    ]
    assert digests(job(*checks)) == digests(job(*checks[::-1]))


def test_checks_survive_pickling_and_a_round_trip_through_plain_data() -> None:
    spec = job({"kind": "pii", "action": None}, {"kind": "unshown", "action": "flag"})
    assert pickle.loads(pickle.dumps(spec)) == spec  # noqa: S301 (our own bytes)
    assert parse_job(json.loads(spec.model_dump_json())) == spec
    assert isinstance(spec.checks[0], PiiCheck)


def test_the_path_of_a_fault_in_tasks_named_like_kinds_of_checks_is_right() -> None:
    check = {"kind": "unshown", "action": "flag", "tasks": ["who", "short"]}
    with pytest.raises(SpecError, match=r"^checks\.0\.tasks\.1: got 'short'"):
        job(check)
