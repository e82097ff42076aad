"""Dead letters are answered again on request: they alone, once, whatever happens meanwhile."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import FakeEngine
from here import InProcessRun, in_process_run

from pipelines.errors import Fenced, InputError, OutputError, SpecError
from pipelines.ledger.reasons import retried_reasons
from pipelines.ledger.verify import verify
from pipelines.reporting.status import read_status
from pipelines.storage import Storage

pytestmark = pytest.mark.usefixtures("tiny_model")
TEXTS = {"a": "Fine words.", "b": "Bad words.", "c": "", "d": "Half words.", "e": "More words."}
TASKS: list[dict[str, Any]] = [
    {"name": "summary", "kind": "summarize", "max_words": 4},
    {"name": "who", "kind": "classify", "labels": ["Who?", "nobody"]},
]
ALL = retried_reasons("dead-letters")


class Killed(BaseException):
    """Simulates the death of the process. No Exception, so that the run cannot handle it."""


class Refusing(FakeEngine):
    """An engine that rejects all prompts about "Bad", and the question "Who?" about "Half"."""

    def _fail(self, text: str) -> None:
        if "Bad" in text or ("Half" in text and "Who?" in text):
            self.rejects = text
        super()._fail(text)


def write(directory: Path, texts: dict[str, str] = TEXTS) -> None:
    (directory / "corpus").mkdir(exist_ok=True)
    rows = {"doc": list(texts), "text": list(texts.values()), "n": range(len(texts))}
    pq.write_table(pa.table(rows), directory / "corpus/a.parquet")


def run_of(
    directory: Path,
    *,
    retry: Sequence[str] | None = None,
    refusing: bool = False,
    tasks: Sequence[dict[str, Any]] = TASKS,
    output: str = "out",
    **options: Any,
) -> InProcessRun:
    def engine() -> FakeEngine:
        return (Refusing if refusing else FakeEngine)(run.prepared.tasks.tokenizer)

    options = {"input": {"keep_columns": ["n"]}, **options}
    run = in_process_run(
        directory, directory / "corpus", directory / output, make_engine=engine,
        tasks=list(tasks), **options,
    )  # fmt: skip
    run.retry = None if retry is None else tuple(retry)
    return run


def state_of(output: Path) -> dict[str, dict[str, str]]:
    """Return for each document in OUTPUT "answered" or the reason, by task; "" stands for the whole
    document. Fails if a document or task is there twice."""
    rows = [
        row for file in sorted((output / "answers").glob("*.parquet"))
        for row in pq.read_table(file).to_pylist()
    ]  # fmt: skip
    letters = [
        row for file in sorted((output / "dead_letters").glob("*.parquet"))
        for row in pq.read_table(file).to_pylist()
    ]  # fmt: skip
    state: dict[str, dict[str, str]] = {}
    for row in rows:
        assert row["doc"] not in state
        tasks = [name for name in row if name not in ("doc", "n")]
        state[row["doc"]] = {
            task: row[task]["_answer"]["status"] for task in tasks if row[task] is not None
        }
        assert row["n"] == list(TEXTS).index(row["doc"])
    for letter in letters:
        of_document = state.setdefault(letter["doc_id"], {})
        assert of_document.get(letter["task"] or "", letter["reason"]) == letter["reason"]
        of_document[letter["task"] or ""] = letter["reason"]
    return state


BOTH = {"summary": "answered", "who": "answered"}
BEFORE = {
    "a": BOTH,
    "b": {"summary": "rejected", "who": "rejected"},
    "c": {"": "empty"},
    "d": {"summary": "answered", "who": "rejected"},
    "e": BOTH,
}
AFTER = {**BEFORE, "b": BOTH, "d": BOTH}


def checked(output: Path, expected: dict[str, dict[str, str]]) -> None:
    assert state_of(output) == expected
    report = verify(Storage(str(output)))
    assert report.complete, report.problems
    manifest = json.loads((output / "manifest.json").read_text())
    dead = [doc for doc, tasks in expected.items() if "answered" not in tasks.values()]
    assert manifest["documents"] == len(expected) == report.documents
    assert manifest["dead_letters"] == len(dead) == report.dead_letters
    assert manifest["answered"] == len(expected) - len(dead) == report.answered
    assert read_status(str(output)).life.status == "done"
    assert list((output / "_run/staging").glob("*")) == []
    assert not list(output.glob("_run/index/*/text-*"))


def test_dead_letters_alone_are_answered_again_and_move_to_the_answers(tmp_path: Path) -> None:
    write(tmp_path)
    first = run_of(tmp_path, refusing=True)()
    checked(tmp_path / "out", BEFORE)
    again = run_of(tmp_path, retry=ALL)
    manifest = again()
    checked(tmp_path / "out", AFTER)
    # both tasks of one document, and one task of the other
    assert len(again.prompts) == 3
    texts = " ".join(again.prompts)
    assert "Bad" in texts and "Half" in texts and "Fine" not in texts and "More" not in texts
    assert manifest["prompt_tokens"] - first["prompt_tokens"] == sum(
        len(asked) for engine in again.engines for asked in engine.asked
    )
    assert manifest["dead_letter_reasons"] == {"empty": 1}


def test_what_fails_again_stays_a_dead_letter(tmp_path: Path) -> None:
    write(tmp_path)
    run_of(tmp_path, refusing=True)()
    again = run_of(tmp_path, retry=ALL, refusing=True)
    again()
    checked(tmp_path / "out", BEFORE)
    assert len(again.prompts) == 3
    run_of(tmp_path, retry=ALL)()
    checked(tmp_path / "out", AFTER)


def test_without_dead_letters_of_the_reason_nothing_is_asked(tmp_path: Path) -> None:
    write(tmp_path)
    run_of(tmp_path, refusing=True)()
    again = run_of(tmp_path, retry=("timeout",))
    again()
    assert again.prompts == [] and len(again.ledger.plans()) == 1
    checked(tmp_path / "out", BEFORE)


def test_reasons_of_documents_that_end_engines_are_asked_again_by_name_only(tmp_path: Path) -> None:
    write(tmp_path)

    class Dying(FakeEngine):
        def _fail(self, text: str) -> None:
            self.dies_of = "Bad" if "Bad" in text else None
            super()._fail(text)

    first = run_of(tmp_path)
    first.make_engine = lambda: Dying(first.prepared.tasks.tokenizer)
    first()
    crashed = {**AFTER, "b": {"": "engine_crash"}}
    checked(tmp_path / "out", crashed)
    again = run_of(tmp_path, retry=ALL)
    again()
    assert again.prompts == []
    run_of(tmp_path, retry=retried_reasons("dead-letters:engine_crash"))()
    checked(tmp_path / "out", AFTER)


def test_a_document_that_ends_engines_again_is_one_dead_letter(tmp_path: Path) -> None:
    write(tmp_path)

    class Dying(FakeEngine):
        def _fail(self, text: str) -> None:
            self.dies_of = "Bad" if "Bad" in text else None
            super()._fail(text)

    for retry in (None, ("engine_crash",)):
        run = run_of(tmp_path, retry=retry)
        run.make_engine = lambda run=run: Dying(run.prepared.tasks.tokenizer)
        run()
        checked(tmp_path / "out", {**AFTER, "b": {"": "engine_crash"}})


def test_new_files_wait_for_the_next_run(tmp_path: Path) -> None:
    write(tmp_path)
    run_of(tmp_path, refusing=True)()
    more = {"doc": ["f"], "text": ["Further words."], "n": [0]}
    pq.write_table(pa.table(more), tmp_path / "corpus/b.parquet")
    assert run_of(tmp_path, retry=ALL)()["documents"] == len(TEXTS)
    assert run_of(tmp_path)()["documents"] == len(TEXTS) + 1


def test_a_retry_of_nothing_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(OutputError, match=r"nothing was indexed yet\. Run the job without --retry"):
        run_of(tmp_path, retry=ALL)()


def test_input_that_has_changed_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    run_of(tmp_path, refusing=True)()
    write(tmp_path, {**TEXTS, "b": "Changed."})
    with pytest.raises(InputError, match=r"a\.parquet: has changed"):
        run_of(tmp_path, retry=ALL)()
    assert state_of(tmp_path / "out") == BEFORE


def test_a_delta_table_of_the_answers_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("deltalake")
    write(tmp_path)
    run_of(tmp_path, refusing=True, table="delta")()
    for table in ("delta", None):
        with pytest.raises(OutputError, match=r"_delta_log: --retry, which replaces parts"):
            run_of(tmp_path, retry=ALL, table=table)()


def seen_by_readers(output: Path) -> None:
    """Check what a plain reader sees at a moment: each document once among the answers, and none
    that is neither there nor among the dead letters."""
    answered = [row["doc"] for row in pq.read_table(output / "answers").to_pylist()]
    assert len(answered) == len(set(answered))
    letters = pq.read_table(output / "dead_letters").column("doc_id").to_pylist()
    assert set(answered) | set(letters) == set(TEXTS)
    whole = [x for x in letters if letters.count(x) > len(TASKS)]
    assert not whole


def changes_of(run: InProcessRun, *, watched: Path, die_at: int = -1) -> int:
    """Run, and look at OUTPUT as a reader does before each change of storage; die before the change
    number `die_at`. Returns the number of changes."""
    numbers = count()

    def on_change(_: str) -> None:
        seen_by_readers(watched)
        if next(numbers) == die_at:
            raise Killed

    run.observed_by(on_change)()
    return next(numbers)


@pytest.fixture
def outputs(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Return a function that makes a further copy of a finished run with dead letters, in a
    directory of its own."""
    write(tmp_path)
    run_of(tmp_path, refusing=True, output="first")()
    numbers = count()

    def copy() -> Path:
        return shutil.copytree(tmp_path / "first", tmp_path / f"copy-{next(numbers)}")

    yield copy


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_death_at_any_moment_loses_doubles_and_repeats_nothing(
    stride: int, outputs: Callable[[], Path], tmp_path: Path
) -> None:
    def run(output: Path, *, retry: bool = True) -> InProcessRun:
        return run_of(tmp_path, retry=ALL if retry else None, output=output.name)

    total = changes_of(run(undisturbed := outputs()), watched=undisturbed)
    checked(undisturbed, AFTER)
    for moment in range(0, total, stride):
        output = outputs()
        first, second = run(output), run(output)
        with pytest.raises(Killed):
            changes_of(first, watched=output, die_at=moment)
        seen_by_readers(output)
        changes_of(second, watched=output)
        checked(output, AFTER)
        # one unit was in flight at most, with up to two prompts
        assert len(first.prompts) + len(second.prompts) <= 3 + 2, moment
        # nothing is left to ask, and a run without the option changes nothing
        again = run(output, retry=False)
        again()
        assert again.prompts == []
        checked(output, AFTER)


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_plain_run_finishes_a_retry_that_was_killed(
    stride: int, outputs: Callable[[], Path], tmp_path: Path
) -> None:
    output = outputs()
    total = changes_of(run_of(tmp_path, retry=ALL, output=output.name), watched=output)
    for moment in range(0, total, stride):
        output = outputs()
        with pytest.raises(Killed):
            changes_of(
                run_of(tmp_path, retry=ALL, output=output.name), watched=output, die_at=moment
            )
        begun = any(plan.redo for plan in run_of(tmp_path, output=output.name).ledger.plans())
        run_of(tmp_path, output=output.name)()
        checked(output, AFTER if begun else BEFORE)


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("retry", [ALL, None])
def test_a_driver_that_is_overtaken_at_any_moment_changes_nothing_twice(
    stride: int, retry: tuple[str, ...] | None, outputs: Callable[[], Path], tmp_path: Path
) -> None:
    output = outputs()
    total = changes_of(run_of(tmp_path, retry=ALL, output=output.name), watched=output)
    for moment in range(0, total, stride):
        output = outputs()
        numbers = count()

        def overtake(_: str, moment: int = moment, output: Path = output,
                     numbers: Iterator[int] = numbers) -> None:  # fmt: skip
            seen_by_readers(output)
            if next(numbers) == moment:
                run_of(tmp_path, retry=retry, output=output.name)()

        first = run_of(tmp_path, retry=ALL, output=output.name).observed_by(overtake)
        with suppress(Fenced):
            first()
        # the older driver may have written its manifest a moment after it checked its lease
        run_of(tmp_path, output=output.name)()
        began = any(plan.redo for plan in first.ledger.plans())
        assert sum(plan.redo is not None for plan in first.ledger.plans()) <= 1 + (retry is None)
        checked(output, AFTER if began else BEFORE)


def test_documents_are_followed_after_a_retry(tmp_path: Path) -> None:
    write(tmp_path)
    follow: dict[str, Any] = {"input": {"keep_columns": ["n"], "follow": True}}
    run_of(tmp_path, refusing=True, **follow)()
    run_of(tmp_path, retry=ALL, **follow)()
    checked(tmp_path / "out", AFTER)
    write(tmp_path, {"a": "Fine words.", "b": "Other words.", "c": "", "d": "Half words."})
    run_of(tmp_path, **follow)()
    expected = {doc: AFTER[doc] for doc in "abcd"}
    assert state_of(tmp_path / "out") == expected
    assert verify(Storage(str(tmp_path / "out"))).complete
    # rows have moved to another plan, and a dead letter of it is asked again
    write(tmp_path, {"a": "Fine words.", "b": "Bad words.", "c": "", "d": "Half words."})
    run_of(tmp_path, refusing=True, **follow)()
    assert state_of(tmp_path / "out")["b"] == BEFORE["b"]
    run_of(tmp_path, retry=ALL, **follow)()
    assert state_of(tmp_path / "out") == expected
    assert verify(Storage(str(tmp_path / "out"))).complete


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("letters", "must be dead-letters, or dead-letters:REASON"),
        ("dead-letters:", "must be dead-letters, or dead-letters:REASON"),
        ("dead-letters:tiemout", "'tiemout' is no reason of dead letters; those that can be asked"),
        ("dead-letters:empty", "asking again gives the same result. The document has no text"),
    ],
)
def test_reasons_that_cannot_be_asked_again_are_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match="--retry ") as error:
        retried_reasons(text)
    assert message in error.value.message


def test_all_reasons_of_answers_are_asked_again_without_a_name() -> None:
    assert retried_reasons("dead-letters") == ("invalid_answer", "rejected")
    assert retried_reasons("dead-letters:timeout,rejected") == ("timeout", "rejected")
