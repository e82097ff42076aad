"""`phifleet errors` prints the dead letters of a run: counts, similar messages, rows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.cli import main
from pipelines import documents
from pipelines.documents import DeadLetter, Problem
from pipelines.ledger.reasons import REASONS
from pipelines.reporting.letters import LetterFilter, read_letters
from pipelines.storage import Storage
from pipelines.tasks.columns import dead_letters_table

DOCS = Path(__file__).parents[2] / "docs/errors.md"
LETTERS = [
    DeadLetter("a", "in/x.parquet", 0, None, Problem("empty", "the text is null: add a text")),
    DeadLetter("b", "in/x.parquet", 1, "facts", Problem("invalid_answer", "cut off at 7 tokens")),
    DeadLetter("c", "in/y.parquet", 5, "facts", Problem("invalid_answer", "cut off at 9 tokens")),
    DeadLetter("c", "in/y.parquet", 5, "topic", Problem("rejected", "[no] such <tag>")),
    DeadLetter("d", "in/y.parquet", 6, None, Problem("engine_crash", "the engine died"), 3),
]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Return an OUTPUT with two files of dead letters, whose run is not finished."""
    source = {"tasks": [{"name": "facts"}, {"name": "topic"}]}
    job = {"source": source, "digests": {}, "fingerprint": "f", "model": "m", "revision": "r"}
    storage = Storage(str(tmp_path / "out"))
    storage.write("_run/job.json", json.dumps(job).encode())
    for unit, letters in enumerate((LETTERS[:2], LETTERS[2:])):
        with storage.new_file(f"dead_letters/part-{unit:06d}.parquet") as path:
            pq.write_table(dead_letters_table(letters, pa.string()), path)
    return tmp_path / "out"


def errors(output: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert main(["errors", str(output), "--json", *options]) == 0
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    return values


def test_dead_letters_are_counted_by_reason_grouped_and_listed(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = errors(output, capsys, "--limit", "2")
    assert found["dead_letters"] == 5 and found["ungrouped"] == 0
    counts = [(row["reason"], row["documents"], row["tasks"]) for row in found["reasons"]]
    assert counts == [
        ("invalid_answer", 0, 2), ("empty", 1, 0), ("engine_crash", 1, 0), ("rejected", 0, 1),
    ]  # fmt: skip
    assert found["reasons"][1]["retry"] == "no" and "Add a text" in found["reasons"][1]["remedy"]
    assert found["messages"][0]["count"] == 2
    assert found["messages"][0]["example"]["document"] == "b"
    assert found["rows"][1] == {
        "document": "b", "file": "in/x.parquet", "row": 1, "task": "facts",
        "reason": "invalid_answer", "message": "cut off at 7 tokens", "attempts": 1,
    }  # fmt: skip
    assert len(found["rows"]) == 2


@pytest.mark.parametrize(
    ("options", "documents"),
    [
        (["--reason", "empty"], ["a"]),
        (["--task", "facts"], ["b", "c"]),
        (["--like", "off at 100 tokens"], ["b", "c"]),
        (["--reason", "rejected", "--task", "facts"], []),
        (["--reason", "rejected", "--task", "topic", "--like", "[NO]"], ["c"]),
    ],
)
def test_options_choose_dead_letters(
    options: list[str], documents: list[str], output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = errors(output, capsys, *options)
    assert [row["document"] for row in found["rows"]] == documents
    assert found["dead_letters"] == len(documents)


def test_the_text_for_people_has_counts_remedies_groups_and_rows(
    output: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["errors", str(output), "--limit", "4"]) == 0
    text = capsys.readouterr().out
    places = [text.index(part) for part in ("5 dead letters by reason", "similar messages",
                                            "the first 4 of 5")]  # fmt: skip
    assert places == sorted(places)
    assert re.search(r"invalid_answer +0 +2 +The model's answer", text)
    assert re.search(
        r"2 +invalid_answer +facts +cut off at # tokens +b \(in/x.parquet row 1\)", text
    )
    assert re.search(r"c +in/y.parquet row 5 +topic +rejected +\[no\] such <tag>", text)
    assert "--limit N prints more" in text
    assert all(len(line) <= 160 for line in text.splitlines())


def test_a_run_without_dead_letters_has_none(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (output / "dead_letters").iterdir():
        path.unlink()
    assert main(["errors", str(output)]) == 0
    assert capsys.readouterr().out == "no dead letters\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--reason", "emtpy"], "--reason emtpy: must be one of empty, "),
        (["--reason", "emtpy"], "did you mean empty?"),
        (["--task", "fact"], "--task fact: must be one of facts, topic; did you mean facts?"),
        (["--limit", "-1"], "--limit -1: must be 0 or more"),
    ],
)
def test_a_wrong_option_ends_with_2(
    options: list[str], message: str, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["errors", str(output), *options]) == 2
    assert message in capsys.readouterr().err


def test_a_damaged_file_is_named(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (output / "dead_letters/part-000001.parquet").write_bytes(b"PAR1")
    assert main(["errors", str(output)]) == 2
    assert "part-000001.parquet: the record is damaged" in capsys.readouterr().err


class Emptied(Storage):
    """A storage from which a run removes a file between listing and reading."""

    def names(self, directory: str) -> list[str]:
        names = super().names(directory)
        super().remove(f"{directory}/{names[0]}")
        return names


def test_a_file_that_a_run_removes_meanwhile_is_left_out(output: Path) -> None:
    letters = read_letters(Emptied(str(output)), LetterFilter(), 9, 9)
    assert [row["doc_id"] for row in letters.rows] == ["c", "c", "d"]


def test_every_reason_has_words_and_a_row_in_the_docs() -> None:
    names = ("EMPTY", "NOT_TEXT", "NOT_JSON", "TOO_LARGE", "TOO_LONG", "INVALID_ANSWER",
             "CHECK_FAILED", "REJECTED", "ENGINE_CRASH", "TIMEOUT")  # fmt: skip
    assert list(REASONS) == [getattr(documents, name) for name in names]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", DOCS.read_text(), re.M))
    assert list(rows) == list(REASONS)
    for reason, text in REASONS.items():
        assert rows[reason] == f"{text.meaning} | {text.remedy} | {text.retry.value}"
