"""Gathers the facts of a report from OUTPUT: the ledger's sums, and samples of commits and parts.

However large a run is, at most `MAX_COMMITS` commits, and the files that `sampled.py` and
`letters.py` allow, are read; the sums are those of the last heartbeat, as in `status`. Starts
nothing; knows nothing of HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipelines.corpus.sampling import spread
from pipelines.errors import PhifleetError, SpecError
from pipelines.job.spec import InputSpec, load_job_data
from pipelines.ledger.accounts import Account
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.records import Plan
from pipelines.reporting.page.costs import cost_facts
from pipelines.reporting.page.document_facts import DocumentPage
from pipelines.reporting.page.documents import MAX_DOCUMENTS, DocumentReader
from pipelines.reporting.page.facts import DocumentFacts, Report, TimeFacts, TokenFacts
from pipelines.reporting.page.job import job_facts
from pipelines.reporting.page.letters import sample_letters
from pipelines.reporting.page.sampled import sample_parts
from pipelines.reporting.page.work import ratio, work_facts
from pipelines.reporting.status import RunStatus, read_status
from pipelines.run.job_record import newest_record
from pipelines.storage import Storage

MAX_COMMITS = 2_000
"""The commits that are read for the timeline and the distribution, at most."""
DEFAULT_DOCUMENTS = 10
"""The documents that a report shows unless told otherwise."""
_INPUT_BYTES = 4 * 2**30


@dataclass(frozen=True, slots=True)
class Choice:
    """Which documents a report shows: those with `ids`, or else about `documents`; and how many
    bytes of the input may be read for their texts. Raises SpecError for too many documents."""

    documents: int = DEFAULT_DOCUMENTS
    ids: Sequence[str] = ()
    max_bytes: int = _INPUT_BYTES

    def __post_init__(self) -> None:
        for option, count in (("--documents", self.documents), ("--id", len(self.ids))):
            if count > MAX_DOCUMENTS:
                raise SpecError(
                    f"{option}: a page shows at most {MAX_DOCUMENTS} documents, got {count}; "
                    "choose fewer"
                )


def gather(output: str, choice: Choice) -> Report:
    """Return the facts about the run in `output`, a directory or URL.

    Raises OutputError if there is no run or a record is damaged, SpecError for an id that the run
    does not have, StorageError.
    """
    status = read_status(output)
    storage = Storage(output)
    ledger = Ledger(storage)
    plans = ledger.plans()
    committed = ledger.committed()
    job = newest_record(status.job, plans)
    manifest = ledger.manifest() or {}
    sample = sample_parts(storage, [str(task["name"]) for task in job["source"]["tasks"]])
    facts = job_facts(job, status.account.checks, sample.metadata)
    letters = sample_letters(storage, status.account.reasons)
    commits = ledger.commits(spread(sorted(committed), MAX_COMMITS))
    reader = _reader(storage, plans, job, choice.max_bytes)
    return Report(
        run=str(job["source"].get("name", "phifleet")),
        status=status.life.status,
        reason=status.life.reason,
        output=storage.url,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        job=facts,
        documents=_documents(status),
        tokens=_tokens(status.account, plans, committed),
        time=_times(status, manifest),
        work=work_facts(commits, len(committed)),
        cost=cost_facts(status.account),
        reading=sample.facts(),
        letters=letters.reasons,
        files_of_letters=letters.files,
        letters_read=letters.read,
        shown=_shown(reader, choice),
    )


def _shown(reader: DocumentReader, choice: Choice) -> Sequence[DocumentPage]:
    return reader.chosen(choice.ids) if choice.ids else reader.sample(choice.documents)


def _reader(
    storage: Storage, plans: Sequence[Plan], job: Mapping[str, Any], max_bytes: int
) -> DocumentReader:
    spec: InputSpec | None = None
    fault = ""
    try:
        spec = load_job_data(dict(job["source"])).spec.input
    except PhifleetError as error:
        # for example a variable of the environment that is only set where the run was started
        fault = error.message.splitlines()[0]
    facts = job_facts(job, {}, {})
    return DocumentReader(storage, plans, spec, facts.id_column, facts.tasks, max_bytes, fault)


def _documents(status: RunStatus) -> DocumentFacts:
    account, totals = status.account, status.totals
    return DocumentFacts(
        planned=totals.documents,
        done=account.documents,
        answered=account.answered,
        dead_letters=account.dead_letters,
        answered_share=ratio(account.answered, account.documents) or 0.0,
        units=totals.units,
        units_done=account.units,
    )


def _tokens(account: Account, plans: Sequence[Plan], committed: set[int]) -> TokenFacts:
    tokens = account.tokens
    units = [unit for plan in plans for unit in plan.units]
    planned_done = sum(unit.prompt_tokens for unit in units if unit.number in committed)
    return TokenFacts(
        planned=sum(unit.prompt_tokens for unit in units),
        planned_done=planned_done,
        prompt=tokens.prompt_tokens,
        actual_share=ratio(tokens.prompt_tokens, planned_done),
        cached=tokens.cached_prompt_tokens,
        reused_share=ratio(tokens.cached_prompt_tokens, tokens.prompt_tokens) or 0.0,
        output=tokens.output_tokens,
        steps=tokens.steps,
        draft=tokens.draft_tokens,
        # versions that did not count steps have none
        steps_per_token=ratio(tokens.steps, tokens.output_tokens) if tokens.steps else None,
    )


def _times(status: RunStatus, manifest: Mapping[str, Any]) -> TimeFacts:
    finished = manifest.get("units") == status.totals.units
    steady = manifest.get("steady_seconds") if finished else None
    rate = manifest["tokens_per_second"] if steady else status.tokens_per_second_overall
    wall = manifest.get("wall_seconds", 0.0) if finished else status.wall_seconds
    return TimeFacts(
        sessions=status.sessions,
        resumed=max(0, status.sessions - 1),
        engine_restarts=status.account.used.restarts,
        wall_seconds=round(float(wall), 1),
        steady_seconds=None if steady is None else round(float(steady), 1),
        tokens_per_second=round(float(rate), 1),
    )
