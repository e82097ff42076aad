"""The numbers of a run while it runs, for the live view, metrics and heartbeats: one place for all.

What is committed is counted by the sums over commits, in all sessions; documents of units in hand
come from the workers' reports. Knows the run's state; prints nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pipelines.documents import Usage
from pipelines.job.resources import Limits
from pipelines.ledger.accounts import Account, uncommitted
from pipelines.ledger.heartbeat import Heartbeat
from pipelines.ledger.worker_records import WorkerRecord, newest_processes
from pipelines.run.metrics import RunTotals
from pipelines.run.pace import Eta, Pace, Sample
from pipelines.run.progress import Progress, UnitProgress
from pipelines.run.spending import Spending
from pipelines.run.state import RunState


@dataclass
class Overview:
    """The progress of a run, over all its sessions.

    `poll` updates `progress`, what the workers of this session have reported, and the pace. `run`
    is the job's name, `state` the state that the run updates, `checks` the action of each check of
    the job by its name, and `started` the time at which this was made, in seconds of the monotonic
    clock, which `clock` reads.
    """

    run: str
    state: RunState
    progress: Progress = field(default_factory=Progress)
    pace: Pace = field(default_factory=Pace)
    checks: Mapping[str, str] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    clock: Callable[[], float] = time.monotonic
    _reading: bool = field(default=False, init=False)

    def poll(self) -> None:
        """Read the workers' progress and update the pace. Blocks until Ray answers, up to 10
        seconds."""
        self.progress = self.state.progress()
        self.note(self.clock())

    def note(self, now: float) -> None:
        """Add the present progress to the pace. `now` is in seconds. The pace begins when the first
        engine has a unit."""
        self._reading |= bool(self.progress.units)
        if self._reading:
            now_used = self.progress
            tokens = now_used.prompt_tokens + now_used.output_tokens
            self.pace.note(Sample(now, self.work, tokens))

    @property
    def _in_hand(self) -> dict[int, UnitProgress]:
        """The units that workers have in hand, without those whose commit is known."""
        left = self.state.left
        return {number: unit for number, unit in self.progress.units.items() if number in left}

    @property
    def documents(self) -> int:
        """Documents answered or recorded as dead letters, in all sessions."""
        in_hand = sum(unit.documents for unit in self._in_hand.values())
        return min(self.state.documents, self.state.documents_done + in_hand)

    @property
    def reasons(self) -> Counter[str]:
        """Dead letters by reason, in all sessions, those of single tasks included."""
        counts = Counter(self.state.books.committed.reasons)
        for unit in self._in_hand.values():
            counts.update(unit.reasons)
        return counts

    @property
    def dead_letters(self) -> int:
        """Documents without any answer, in all sessions."""
        in_hand = sum(unit.dead_letters for unit in self._in_hand.values())
        return self.state.books.committed.dead_letters + in_hand

    @property
    def account(self) -> Account:
        """What was used in all sessions, and what is in hand: the sums of commits, and what the
        records of processes have beyond them, as in the bill."""
        books, records = self.state.books, self.progress.records.values()
        known = books.known.sums
        session = uncommitted(known, records, self.state.generation)
        return known.account + books.uncommitted + session

    @property
    def spending(self) -> Spending:
        """What was used of the job's limits."""
        limits = self.state.limits.limits if self.state.limits else Limits()
        return Spending(limits, self.account, self.state.documents, self.dead_letters)

    @property
    def workers(self) -> list[WorkerRecord]:
        """The workers of this session, the one with the oldest unit in hand first."""
        return newest_processes(self.progress.records.values())

    @property
    def work(self) -> float:
        """The planned prompt tokens of finished documents. Those of units in hand count in
        proportion."""
        left, done = self.state.left, float(self.state.tokens_done)
        for number, unit in self._in_hand.items():
            planned = left.get(number)
            if planned is not None and unit.rows:
                done += planned.prompt_tokens * unit.documents / unit.rows
        return done

    @property
    def tokens(self) -> Usage:
        """Tokens of all finished requests, in all sessions, whatever became of them."""
        now = self.progress
        session = Usage(
            now.prompt_tokens,
            now.cached_prompt_tokens,
            now.output_tokens,
            now.steps,
            now.draft_tokens,
        )
        return self.state.books.earlier.all_tokens + session

    @property
    def tokens_per_second(self) -> float:
        """Tokens of finished requests a second, over the last 30 seconds."""
        return self.pace.tokens_per_second

    @property
    def wall_seconds(self) -> float:
        """The seconds of all drivers."""
        return self.state.books.sessions.wall_seconds + self.session_seconds

    @property
    def session_seconds(self) -> float:
        """The seconds of this driver."""
        return self.clock() - self.started

    @property
    def eta(self) -> Eta | None:
        """When the work that is left will be done; None before that is known."""
        return self.pace.eta(float(self.state.tokens))

    @property
    def restarts(self) -> int:
        """Engines that replaced a dead one, in all sessions."""
        return self.state.books.earlier.used.restarts + self.progress.restarts

    @property
    def reuse(self) -> float:
        """Share of prompt tokens that came from the prefix cache, between 0 and 1."""
        tokens = self.tokens
        return tokens.cached_prompt_tokens / max(1, tokens.prompt_tokens)

    @property
    def phase(self) -> str:
        """The state's phase; `reading` instead of `starting engines` once a worker has begun."""
        reading = self.state.phase == "starting engines" and self.progress.workers > 0
        return "reading" if reading else self.state.phase

    def totals(self) -> RunTotals:
        """Return the progress as values of the driver's Prometheus metrics."""
        committed, tokens, eta = self.state.books.committed, self.tokens, self.eta
        in_hand = self._in_hand.values()
        return RunTotals(
            run=self.run,
            answered=committed.answered + sum(unit.answered for unit in in_hand),
            dead_letters=self.dead_letters,
            reasons=dict(self.reasons),
            prompt_tokens=tokens.prompt_tokens,
            cached_prompt_tokens=tokens.cached_prompt_tokens,
            output_tokens=tokens.output_tokens,
            steps=tokens.steps,
            draft_tokens=tokens.draft_tokens,
            units_done=self.state.units_done,
            units_left=self.state.units - self.state.units_done,
            kv_tokens_in_flight=self.progress.kv_tokens_in_flight,
            engine_restarts=self.restarts,
            eta_seconds=eta.seconds if eta else None,
            checks=self._found_by_checks(),
        )

    def _found_by_checks(self) -> Counter[tuple[str, str]]:
        committed = self.state.books.committed.checks
        counts = Counter({(name, self.checks[name]): n for name, n in committed.items()})
        for unit in self._in_hand.values():
            counts.update(unit.checks)
        return counts

    def heartbeat(self, generation: int) -> Heartbeat:
        """Return the driver's heartbeat without its host, process and number. `generation` is that
        of its lease."""
        state, books, eta = self.state, self.state.books, self.eta
        return Heartbeat(
            generation,
            phase=self.phase,
            documents=state.documents,
            documents_done=state.documents_done,
            units=state.units,
            units_done=state.units_done,
            workers=self.progress.workers,
            tokens_per_second=round(self.tokens_per_second, 1),
            eta_seconds=round(eta.seconds, 1) if eta else None,
            eta_low=round(eta.low, 1) if eta else None,
            eta_high=round(eta.high, 1) if eta else None,
            wall_seconds=round(self.session_seconds, 2),
            index_seconds=round(state.index_seconds, 2),
            earlier_wall_seconds=books.sessions.wall_seconds,
            earlier_index_seconds=books.sessions.index_seconds,
            complete=books.complete,
            limits=state.limits.limits.model_dump(mode="json") if state.limits else {},
            known=books.known,
        )
