"""Tests of a prepared job: token limits, pools, the fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from classifiers import write_classifier

from pipelines.checks.classifying import ClassifierRules
from pipelines.errors import ModelError, SpecError
from pipelines.job.fingerprint import differing_keys
from pipelines.job.spec import Job, parse_job
from pipelines.models.classifier import files_revision
from pipelines.models.devices import CPU
from pipelines.models.resolve import Model
from pipelines.run.check_models import load_checks
from pipelines.run.prepared import PreparedJob, prepare_job
from pipelines.tasks.questions import notes_questions


def prepared(
    *, label: str = "other", gpus: str | float = "auto", **long_documents: object
) -> PreparedJob:
    source: dict[str, object] = {
        "input": {"path": "in"},
        "output": {"path": "out"},
        "model": {"name": "tiny-random"},
        "tasks": [{"name": "topic", "kind": "classify", "labels": ["risk", label]}],
        "long_documents": long_documents,
        "compute": {"gpus_per_replica": gpus},
    }
    return prepare_job(Job(parse_job(source), source))


@pytest.mark.usefixtures("tiny_model")
def test_defaults_that_depend_on_the_model_enter_the_fingerprint_as_values() -> None:
    default = prepared()
    same = prepared(single_pass_tokens=16_384, chunk_tokens=3072)
    assert default.fingerprint == same.fingerprint
    assert default.fingerprint != prepared(chunk_tokens=1000).fingerprint
    assert default.fingerprint != prepared(single_pass_tokens=8000).fingerprint


@pytest.mark.parametrize(
    ("requested", "earlier_request", "resolved"),
    [(None, None, "abc"), ("main", "main", "abc"), ("v2", None, "v2")],
)
def test_a_resumed_run_keeps_the_commit_that_it_resolved_on_the_hub(
    monkeypatch: pytest.MonkeyPatch,
    requested: str | None,
    earlier_request: str | None,
    resolved: str,
) -> None:
    def resolve(name: str, revision: str | None, *, weights: bool) -> Model:
        assert not weights
        raise ModelError(f"{name} at {revision}")

    monkeypatch.setattr("pipelines.run.prepared.resolve", resolve)
    source: dict[str, object] = {
        "input": {"path": "in"},
        "output": {"path": "out"},
        "model": {"name": "team/phi", "revision": requested},
        "tasks": [{"name": "summary", "kind": "summarize"}],
    }
    source_before = {"model": {"revision": earlier_request}}
    recorded = {"model": "team/phi", "revision": "abc", "source": source_before}
    with pytest.raises(ModelError, match=f"team/phi at {resolved}"):
        prepare_job(Job(parse_job(source), source), recorded)


def test_documents_go_to_the_pool_of_their_longest_prompt(tiny_model: Model) -> None:
    job = prepared()
    assert [job.pool_of(tokens) for tokens in (3000, 10_000, 100_000)] == ["short", "long", "short"]
    assert job.engine_config("short", 900, gpu=False).max_model_len == tiny_model.short_rope_len
    assert job.engine_config("long", 5000, gpu=False).max_model_len == 5120


@pytest.mark.usefixtures("tiny_model")
def test_engines_of_the_long_pool_have_room_for_a_long_list() -> None:
    def length(field: object, **more: object) -> int:
        form = {"name": "facts", "kind": "extract", "fields": {"a": field}, **more}
        source: dict[str, Any] = {
            "input": {"path": "in"},
            "output": {"path": "out"},
            "model": {"name": "tiny-random"},
            "tasks": [form],
        }
        job = prepare_job(Job(parse_job(source), source))
        return job.engine_config("long", 5000, gpu=False).max_model_len

    assert length("string") == length(["string"], max_tokens=500) == 5120
    assert length(["string"]) == 5120 + 4096


def of_tasks(*tasks: Mapping[str, object], **long_documents: object) -> PreparedJob:
    source: dict[str, object] = {
        "input": {"path": "in"},
        "output": {"path": "out"},
        "model": {"name": "tiny-random"},
        "tasks": list(tasks),
        "long_documents": long_documents,
    }
    return prepare_job(Job(parse_job(source), source))


TRANSLATE = {"name": "german", "kind": "write", "prompt": "Translate it.", "over": "parts"}
ASK: dict[str, Any] = {"name": "who", "kind": "ask", "question": "Who?"}
LENGTHS = np.array([100, 10_000, 100_000])


@pytest.mark.usefixtures("tiny_model")
def test_a_document_that_is_only_read_in_parts_needs_the_short_pool() -> None:
    job = of_tasks(TRANSLATE)
    assert [job.pool_of(tokens) for tokens in LENGTHS.tolist()] == ["short"] * 3
    both = of_tasks(ASK, TRANSLATE)
    assert [both.pool_of(tokens) for tokens in LENGTHS.tolist()] == ["short", "long", "short"]
    long = of_tasks({**TRANSLATE, "max_tokens": 3900})
    assert [long.pool_of(tokens) for tokens in LENGTHS.tolist()] == ["long"] * 3


@pytest.mark.usefixtures("tiny_model")
def test_the_estimates_count_passages_and_parts() -> None:
    ask, translate, both = of_tasks(ASK), of_tasks(TRANSLATE), of_tasks(ASK, TRANSLATE)
    tokens = [job.tasks.reading.lengths(LENGTHS).prompt_tokens for job in (ask, translate, both)]
    assert (tokens[0] + tokens[1] == tokens[2]).all()
    assert (tokens[1] > LENGTHS).all()
    assert (tokens[1][1:] < 1.5 * LENGTHS[1:]).all()
    seconds = [job.cost(CPU).seconds(LENGTHS) for job in (ask, translate, both)]
    assert seconds[2] == pytest.approx(seconds[0] + seconds[1])
    assert (seconds[1] > seconds[0]).all()


@pytest.mark.usefixtures("tiny_model")
def test_documents_that_are_not_read_whole_are_not_read_in_parts() -> None:
    truncated = of_tasks(TRANSLATE, strategy="truncate", single_pass_tokens=500)
    tokens = truncated.tasks.reading.lengths(LENGTHS).prompt_tokens
    assert tokens[1] == tokens[2] < 1000
    rejected = of_tasks(TRANSLATE, strategy="reject", single_pass_tokens=500)
    lengths = rejected.tasks.reading.lengths(LENGTHS)
    assert lengths.prompt_tokens[1:].tolist() == lengths.longest[1:].tolist() == [0, 0]
    assert rejected.cost(CPU).seconds(LENGTHS)[1:].tolist() == [0, 0]


@pytest.mark.usefixtures("tiny_model")
def test_a_task_that_leaves_no_space_is_named_by_its_position_beside_tasks_over_parts() -> None:
    with pytest.raises(SpecError, match=r"^tasks\.1: the question, its longest answer"):
        of_tasks(TRANSLATE, {**ASK, "max_tokens": 200_000})
    with pytest.raises(SpecError, match=r"^tasks\.german: the prompt of \d+ tokens, its answer"):
        of_tasks(ASK, {**TRANSLATE, "max_tokens": 200_000})


@pytest.mark.parametrize(("gpus", "share"), [("auto", 1), (0, 1), (2, 1), (0.25, 0.25)])
@pytest.mark.usefixtures("tiny_model")
def test_an_engine_has_its_share_of_a_gpu(gpus: str | float, share: float) -> None:
    job = prepared(gpus=gpus)
    assert job.engine_config("short", 900, gpu=True).gpu_share == share


@pytest.mark.usefixtures("tiny_model")
def test_a_label_that_means_no_label_in_chunks_is_an_error() -> None:
    with pytest.raises(SpecError, match=r"labels\.1: .*it means that a chunk shows no label"):
        prepared(label="cannot tell")


LABELS: dict[str, Any] = {"name": "topic", "kind": "classify", "labels": ["risk", "other"]}
FORM: dict[str, Any] = {"name": "facts", "kind": "extract", "fields": {"company": "string"}}


def prepared_with(tasks: list[dict[str, Any]], **sections: Any) -> PreparedJob:
    source: dict[str, Any] = {
        "input": {"path": "in"},
        "output": {"path": "out"},
        "model": {"name": "tiny-random"},
        "tasks": tasks,
        **sections,
    }
    return prepare_job(Job(parse_job(source), source))


@pytest.mark.usefixtures("tiny_model")
def test_the_jobs_instructions_shorten_chunks_by_their_tokens() -> None:
    words = "Read it as a lawyer would. " * 60
    plain, guided = prepared_with([ASK]), prepared_with([ASK], instructions=words)
    first = partial(plain.tasks.tokenizer.encode_after, ())
    added = len(first(f"{words.strip()}\n\nRead")) - len(first("Read"))
    assert guided.tasks.prompts.instructions == words
    before, after = plain.tasks.reading, guided.tasks.reading
    assert after.document_shape.around == before.document_shape.around + added
    assert after.chunk_shape.around == before.chunk_shape.around + added
    assert after.chunk_prompt_limit == before.chunk_prompt_limit
    assert after.max_single_pass_tokens == before.max_single_pass_tokens
    assert after.chunk_size.chunk_tokens < before.chunk_size.chunk_tokens


@pytest.mark.parametrize("task", [ASK, LABELS, FORM], ids=lambda task: str(task["kind"]))
@pytest.mark.usefixtures("tiny_model")
def test_every_prompt_with_the_longest_words_fits_the_short_pool(task: dict[str, Any]) -> None:
    own = "be kind " * 150
    answer: Any = {"ask": "Ann", "classify": "risk", "extract": {"company": "A"}}
    example = {"text": "Ann came. " * 20, "answer": answer[task["kind"]]}
    words = {"instructions": own, "examples": [example] * 4}
    # a model that reads prompts of 400 tokens of notes
    job = prepared_with([{**task, **words}], instructions=own, model={"name": "tiny"})
    reading = job.tasks.reading
    assert reading.chunk_prompt_limit == reading.short_limit
    assert reading.chunk_shape.around + reading.chunk_size.chunk_tokens <= reading.short_limit
    (prepared_task,) = job.tasks.all
    questions = notes_questions(prepared_task, job.tasks.tokenizer)
    assert questions
    for question in questions:
        around = job.tasks.prompts.notes_overhead + len(question.token_ids)
        around += question.sampling.max_tokens
        assert around + 400 <= reading.combine_prompt_limit


@pytest.mark.parametrize(
    ("task", "instructions", "message"),
    [
        ({}, "be kind " * 2000, "instructions: "),
        ({"instructions": "be kind " * 2000}, None, "tasks.who: instructions of "),
        (
            {"examples": [{"answer": "be kind " * 500}] * 2},
            None,
            "tasks.who: instructions of 0 and",
        ),
    ],
)
@pytest.mark.usefixtures("tiny_model")
def test_words_that_take_more_than_a_quarter_of_a_short_prompt_are_refused(
    task: dict[str, Any], instructions: str | None, message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        prepared_with([{**ASK, **task}], instructions=instructions)
    assert caught.value.message.startswith(message)
    assert "must have at most 1024, a quarter of the 4096" in caught.value.message


@pytest.mark.usefixtures("tiny_model")
def test_the_fingerprint_has_the_jobs_instructions() -> None:
    plain, guided = prepared_with([ASK]), prepared_with([ASK], instructions="Be kind.")
    assert plain.fingerprint != guided.fingerprint
    assert guided.digests.keys() - plain.digests.keys() == {"instructions"}


@pytest.mark.usefixtures("tiny_model")
@pytest.mark.parametrize("drafting", ["auto", "off"])
def test_engines_draft_unless_the_job_switches_it_off(drafting: str) -> None:
    source: dict[str, object] = {
        "input": {"path": "in"},
        "output": {"path": "out"},
        "model": {"name": "tiny-random", "drafting": drafting},
        "tasks": [{"name": "summary", "kind": "summarize"}],
    }
    job = prepare_job(Job(parse_job(source), source))
    assert job.engine_config("short", 1000, gpu=False).drafting == (drafting == "auto")


def checked(check: dict[str, Any]) -> PreparedJob:
    tasks = [{"name": "who", "kind": "ask", "question": "Who?"}, {"name": "s", "kind": "summarize"}]
    return prepared_with(tasks, checks=[check])


def test_tasks_to_which_a_check_applies_are_marked() -> None:
    pii = {"kind": "pii", "action": "flag", "tasks": ["s"]}
    assert [task.checked for task in checked(pii).tasks.all] == [False, True]
    unshown = {"kind": "unshown", "action": "flag"}
    assert [task.checked for task in checked(unshown).tasks.all] == [True, False]


def test_an_expression_that_cannot_be_used_is_refused_before_anything_runs() -> None:
    with pytest.raises(SpecError, match=r"checks\.0\.expressions\.0: '\(\?<=a\)b' .*lookbehinds"):
        checked({"kind": "blocklist", "action": "flag", "expressions": ["(?<=a)b"]})


def test_a_classification_model_is_pinned_by_its_files(tmp_path: Path) -> None:
    model = str(write_classifier(tmp_path))
    check = {"kind": "classifier", "action": "flag", "model": model, "labels": ["toxic"]}
    prepared = checked(check)
    assert checked(check).fingerprint == prepared.fingerprint
    (rules,) = (item.texts for item in prepared.checks.checks)
    assert isinstance(rules, ClassifierRules)
    assert rules.revision == files_revision(tmp_path)
    (loaded,) = (item.texts for item in load_checks(prepared.checks).checks)
    assert isinstance(loaded, ClassifierRules)
    assert set(loaded.rules(["vile words", "kind words"])) <= {"toxic", None}
    write_classifier(tmp_path, seed=1)
    assert differing_keys(prepared.digests, checked(check).digests) == [
        "checks.classifier.revision"
    ]
    with pytest.raises(ModelError, match="have revision"):
        load_checks(prepared.checks)


def test_a_label_that_the_model_does_not_have_is_refused(tmp_path: Path) -> None:
    model = str(write_classifier(tmp_path))
    check = {"kind": "classifier", "action": "flag", "model": model, "labels": ["toxic", "rude"]}
    message = r"checks\.0\.labels\.1: got 'rude', must be one of the model's labels: clean, toxic"
    with pytest.raises(SpecError, match=message):
        checked(check)


@pytest.mark.parametrize("revision", [None, "main"])
def test_a_model_of_the_hub_needs_a_commit(revision: str | None) -> None:
    check = {
        "kind": "classifier", "action": "flag", "model": "some/model", "labels": ["toxic"],
        "revision": revision,
    }  # fmt: skip
    with pytest.raises(
        SpecError, match=r"checks\.0\.revision: got .*, must be a commit of 'some/mo"
    ):
        checked(check)
