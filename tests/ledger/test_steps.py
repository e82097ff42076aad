"""A run that dies, or is taken over, before any one of the changes that it makes to its storage:
every document stands once in OUTPUT, whichever change it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chaos.checker import check
from fakes_storage import S3Server
from here import InProcessRun, in_process_run

from pipelines.errors import ClusterError, Fenced
from pipelines.ledger.lease import DIRECTORY as LEASES
from pipelines.ledger.verify import verify
from pipelines.run.cluster import Cluster
from pipelines.storage import Storage

pytestmark = pytest.mark.usefixtures("tiny_model")

PAPERS = 3


class Killed(BaseException):
    """The process is gone; no Exception, for it handles nothing any more."""


@dataclass
class Ground:
    """A corpus of a few papers, and an empty OUTPUT for each run over it."""

    directory: Path
    outputs: str
    numbers: Iterator[int] = field(default_factory=count)

    @property
    def corpus(self) -> Path:
        return self.directory / "corpus"

    @property
    def ids(self) -> list[str]:
        tables = [pq.read_table(path) for path in sorted(self.corpus.iterdir())]
        return [doc for table in tables for doc in table.column("doc").to_pylist()]

    def add_file(self, name: str, texts: list[str | None]) -> None:
        numbers = range(len(list(self.corpus.iterdir())) * 10, 1000)
        docs = [f"paper-{number}" for number, _ in zip(numbers, texts, strict=False)]
        table = pa.table({"doc": docs, "text": pa.array(texts, pa.string())})
        pq.write_table(table, self.corpus / f"{name}.parquet")

    def new_output(self) -> str:
        return f"{self.outputs}/{next(self.numbers)}"

    def run(self, output: str) -> InProcessRun:
        return in_process_run(self.directory, self.corpus, output)

    def is_sound(self, output: str) -> bool:
        filesystem, path = fsspec.core.url_to_fs(output)
        (self.directory / "diary").mkdir(exist_ok=True)
        return check(filesystem, path, self.ids, self.directory / "diary").sound


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.slow)])
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Ground:
    outputs = str(tmp_path / "outputs")
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        outputs = server.new_bucket()
    (tmp_path / "corpus").mkdir()
    made = Ground(tmp_path, outputs)
    made.add_file("first", [None, *(f"Text number {number}." for number in range(1, PAPERS))])
    return made


def steps_of(ground: Ground) -> list[str]:
    """The changes that a run makes in peace, in order."""
    told: list[str] = []
    ground.run(ground.new_output()).observed_by(told.append)()
    assert any("put _run/index" in step for step in told)
    assert any("create _run/commits" in step for step in told)
    assert any("clear _run/staging" in step for step in told)
    return told


def leftovers(output: str) -> list[str]:
    """Staged files, records of attempts, and indexes beside the one that was used."""
    storage = Storage(output)
    directories = ("_run/staging", "_run/attempts")
    found = [f"{each}/{name}" for each in directories for name in storage.names(each)]
    return found + storage.entries("_run/index")[1:]


def test_a_run_that_dies_before_any_change_is_ended_by_the_next(ground: Ground) -> None:
    for step, change in enumerate(steps_of(ground)):
        output, steps = ground.new_output(), count()

        def die(_: str, at: int = step, steps: Iterator[int] = steps) -> None:
            if next(steps) >= at:
                raise Killed

        first, second = ground.run(output).observed_by(die), ground.run(output)
        with pytest.raises(Killed):
            first()
        second()
        assert ground.is_sound(output), change
        assert verify(Storage(output)).complete, change
        # one unit was under way at the most, and each has one document that is read
        assert len(first.prompts + second.prompts) <= PAPERS, change
        assert leftovers(output) == [], change


def test_a_run_that_is_taken_over_before_any_change_ends_with_what_the_newer_did(
    ground: Ground,
) -> None:
    for step, change in enumerate(steps_of(ground)):
        output, steps = ground.new_output(), count()

        def take_over(
            _: str, at: int = step, steps: Iterator[int] = steps, output: str = output
        ) -> None:
            if next(steps) == at:
                ground.run(output)()

        first = ground.run(output).observed_by(take_over)
        try:
            first()
        except Fenced as fenced:
            assert "took over as generation" in fenced.message
        assert ground.is_sound(output), change
        assert verify(Storage(output)).complete, change


def test_a_newer_run_with_more_files_is_not_undone_by_the_older(ground: Ground) -> None:
    steps = steps_of(ground)
    for step, change in enumerate(steps):
        output, before = ground.new_output(), count()
        (ground.corpus / "second.parquet").unlink(missing_ok=True)

        def take_over(
            _: str, at: int = step, before: Iterator[int] = before, output: str = output
        ) -> None:
            if next(before) == at:
                ground.add_file("second", ["A text that came later."])
                ground.run(output)()

        with suppress(Fenced):
            ground.run(output).observed_by(take_over)()
        assert ground.is_sound(output), change
        if change == "write _manifest.json":
            # the older was fenced a moment too late to see it
            (problem,) = verify(Storage(output)).problems
            assert problem.startswith("_manifest.json states ")
            ground.run(output)()
        assert verify(Storage(output)).complete, change


def test_a_run_for_which_the_cluster_has_no_room_takes_over_from_nobody(ground: Ground) -> None:
    output = ground.new_output()
    with pytest.raises(ClusterError, match="Ray has no CPU"):
        ground.run(output).claim(Cluster(cpus=0, gpus=0, accelerator=None))
    assert Storage(output).names(LEASES) == []


def test_answers_inside_the_corpus_are_no_documents(ground: Ground) -> None:
    corpus = ground.directory / "corpus"
    for _ in range(2):
        manifest = in_process_run(ground.directory, corpus, corpus / "answers")()
        assert manifest["documents"] == PAPERS
    pq.write_table(pa.table({"doc": ["more"], "text": ["More."]}), corpus / "more.parquet")
    assert in_process_run(ground.directory, corpus, corpus / "answers")()["documents"] == PAPERS + 1
