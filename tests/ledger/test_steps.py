"""A run is killed, or another driver takes its lease, before each change that it makes to storage
in turn: every document is in OUTPUT exactly once, whichever change it was."""

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

DOCUMENTS = 3


class Killed(BaseException):
    """Simulates the death of the process. No Exception, so that the run cannot handle it."""


@dataclass
class Environment:
    """A corpus of a few documents, and an empty OUTPUT for each run over it."""

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
        """Add a file to the corpus, with new ids."""
        numbers = range(len(list(self.corpus.iterdir())) * 10, 1000)
        docs = [f"document-{number}" for number, _ in zip(numbers, texts, strict=False)]
        table = pa.table({"doc": docs, "text": pa.array(texts, pa.string())})
        pq.write_table(table, self.corpus / f"{name}.parquet")

    def new_output(self) -> str:
        return f"{self.outputs}/{next(self.numbers)}"

    def run(self, output: str) -> InProcessRun:
        return in_process_run(self.directory, self.corpus, output)

    def is_exactly_once(self, output: str) -> bool:
        """Return whether every document of the corpus is in OUTPUT exactly once."""
        filesystem, path = fsspec.core.url_to_fs(output)
        (self.directory / "diary").mkdir(exist_ok=True)
        return check(filesystem, path, dict.fromkeys(self.ids, 1), self.directory / "diary").sound


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.slow)])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> Environment:
    outputs = str(tmp_path / "outputs")
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        outputs = server.new_bucket()
    (tmp_path / "corpus").mkdir()
    environment = Environment(tmp_path, outputs)
    texts = [f"Text number {number}." for number in range(1, DOCUMENTS)]
    environment.add_file("first", [None, *texts])
    return environment


def steps_of(environment: Environment) -> list[str]:
    """Return the changes that an undisturbed run makes to its storage, in order."""
    changes: list[str] = []
    environment.run(environment.new_output()).observed_by(changes.append)()
    for prefix in ("put _run/index", "create _run/commits", "clear _run/staging"):
        assert any(change.startswith(prefix) for change in changes)
    return changes


def leftovers(output: str) -> list[str]:
    """Return the staged files, the records of attempts, and the indexes that were not used."""
    storage = Storage(output)
    directories = ("_run/staging", "_run/attempts")
    files = [f"{path}/{name}" for path in directories for name in storage.names(path)]
    return files + storage.entries("_run/index")[1:]


def test_a_run_that_dies_before_any_change_is_finished_by_the_next(
    environment: Environment,
) -> None:
    for step, change in enumerate(steps_of(environment)):
        output, steps = environment.new_output(), count()

        def die(_: str, at: int = step, steps: Iterator[int] = steps) -> None:
            if next(steps) >= at:
                raise Killed

        first, second = environment.run(output).observed_by(die), environment.run(output)
        with pytest.raises(Killed):
            first()
        second()
        assert environment.is_exactly_once(output), change
        assert verify(Storage(output)).complete, change
        # at most one unit was in flight, and each has one document that the engine reads
        assert len(first.prompts + second.prompts) <= DOCUMENTS, change
        assert leftovers(output) == [], change


def test_a_run_that_is_taken_over_before_any_change_keeps_the_newer_runs_results(
    environment: Environment,
) -> None:
    for step, change in enumerate(steps_of(environment)):
        output, steps = environment.new_output(), count()

        def take_over(
            _: str, at: int = step, steps: Iterator[int] = steps, output: str = output
        ) -> None:
            if next(steps) == at:
                environment.run(output)()

        first = environment.run(output).observed_by(take_over)
        try:
            first()
        except Fenced as fenced:
            assert "took over as generation" in fenced.message
        assert environment.is_exactly_once(output), change
        assert verify(Storage(output)).complete, change


def test_a_newer_run_with_more_files_is_not_undone_by_the_older(environment: Environment) -> None:
    steps = steps_of(environment)
    for step, change in enumerate(steps):
        output, before = environment.new_output(), count()
        (environment.corpus / "second.parquet").unlink(missing_ok=True)

        def take_over(
            _: str, at: int = step, before: Iterator[int] = before, output: str = output
        ) -> None:
            if next(before) == at:
                environment.add_file("second", ["A text that came later."])
                environment.run(output)()

        with suppress(Fenced):
            environment.run(output).observed_by(take_over)()
        assert environment.is_exactly_once(output), change
        if change == "write manifest.json":
            # the older run checked its lease a moment before the newer one took it
            (problem,) = verify(Storage(output)).problems
            assert problem.startswith("manifest.json states ")
            environment.run(output)()
        assert verify(Storage(output)).complete, change


def test_a_run_for_which_the_cluster_has_no_cpu_takes_no_lease(environment: Environment) -> None:
    output = environment.new_output()
    with pytest.raises(ClusterError, match="the Ray cluster has no CPU"):
        environment.run(output).claim(Cluster(cpus=0, gpus=0, accelerator=None))
    assert Storage(output).names(LEASES) == []


def test_answers_in_a_directory_of_the_corpus_are_not_read_as_documents(
    environment: Environment,
) -> None:
    corpus = environment.directory / "corpus"
    for _ in range(2):
        manifest = in_process_run(environment.directory, corpus, corpus / "answers")()
        assert manifest["documents"] == DOCUMENTS
    pq.write_table(pa.table({"doc": ["more"], "text": ["More."]}), corpus / "more.parquet")
    manifest = in_process_run(environment.directory, corpus, corpus / "answers")()
    assert manifest["documents"] == DOCUMENTS + 1
