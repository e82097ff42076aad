"""Prometheus metrics of documents and engines.

A process with an engine (worker or endpoint replica) records through Ray, whose endpoint on each
node adds the prefix `ray_` to every name. A job's driver serves the totals of the whole run from a
registry of its own on `metrics.port`. Knows nothing of how the numbers arise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipelines.documents import DocumentResult, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from threading import Thread
    from wsgiref.simple_server import WSGIServer

UNIT_SECONDS_BOUNDARIES = (1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 300, 600, 1800)
DOCUMENT_SECONDS_BOUNDARIES = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
"""Upper bounds of the buckets of the histograms of units and documents, in seconds."""


class EngineMetrics:
    """The metrics of one engine, recorded through `ray.util.metrics`.

    Ray adds `_total` to the names of counters.
    """

    def __init__(self, tags: dict[str, str]) -> None:
        """Create the metrics. `tags` are labels of all metrics and their values: the `run` or
        `app`, and the `pool`."""
        from ray.util.metrics import Counter, Gauge, Histogram

        keys = tuple(tags)

        def counter(name: str, description: str, *labels: str) -> Counter:
            metric = Counter(f"phifleet_{name}", description, tag_keys=(*keys, *labels))
            metric.set_default_tags(tags)
            return metric

        self._documents = counter("documents", "Documents finished, by status.", "status")
        self._dead = counter("dead_letters", "Dead letters, by reason.", "reason")
        self._prompt = counter("prompt_tokens", "Prompt tokens sent to the engine.")
        self._cached = counter("cached_prompt_tokens", "Prompt tokens found in the prefix cache.")
        self._output = counter("output_tokens", "Tokens that the engine generated.")
        self._steps = counter("decode_steps", "Steps that generated them, summed over answers.")
        self._drafts = counter("draft_tokens", "Guessed tokens that the engine verified.")
        self._unit_seconds = Histogram(
            "phifleet_unit_seconds",
            "Seconds from a unit's start to its commit.",
            boundaries=list(UNIT_SECONDS_BOUNDARIES),
            tag_keys=keys,
        )
        self._document_seconds = Histogram(
            "phifleet_document_seconds",
            "Seconds from a document's admission to its answers.",
            boundaries=list(DOCUMENT_SECONDS_BOUNDARIES),
            tag_keys=keys,
        )
        self._in_flight = Gauge(
            "phifleet_kv_tokens_in_flight",
            "KV cache tokens held by admitted documents.",
            tag_keys=keys,
        )
        for metric in (self._unit_seconds, self._document_seconds, self._in_flight):
            metric.set_default_tags(tags)

    def document(self, result: DocumentResult, seconds: float | None = None) -> None:
        """Count one finished document, its dead letters and its tokens.

        `seconds` is the time from its admission to its answers, or None if no engine answered it:
        the time is then not recorded.
        """
        self._documents.inc(tags={"status": "answered" if result.answered else "dead_letter"})
        for dead_letter in result.dead_letters():
            self._dead.inc(tags={"reason": dead_letter.problem.reason})
        for answer in result.answers:
            self.tokens(answer.usage)
        if seconds is not None:
            self._document_seconds.observe(max(seconds, 1e-6))

    def tokens(self, used: Usage) -> None:
        """Count the tokens of a document's task or of an HTTP request."""
        self._inc(self._prompt, used.prompt_tokens)
        self._inc(self._cached, used.cached_prompt_tokens)
        self._inc(self._output, used.output_tokens)
        self._inc(self._steps, used.steps)
        self._inc(self._drafts, used.draft_tokens)

    def unit(self, seconds: float) -> None:
        """Record a committed unit; `seconds` is the time from its start to its commit."""
        self._unit_seconds.observe(max(seconds, 1e-6))

    def in_flight(self, tokens: int) -> None:
        """Set the KV cache tokens that admitted documents reserve now."""
        self._in_flight.set(tokens)

    @staticmethod
    def _inc(counter: object, value: int) -> None:
        if value > 0:
            counter.inc(value)  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class RunTotals:
    """The totals of a whole run at one moment, from which the driver's metrics are made.

    Attributes:
        run: the job's name.
        answered: documents with at least one answer, in this session.
        dead_letters: documents without an answer, in this session.
        reasons: dead letters by reason.
        prompt_tokens: prompt tokens of finished requests.
        cached_prompt_tokens: the part of the prompt tokens found in the prefix cache.
        output_tokens: generated tokens.
        steps: steps that generated them, summed over answers.
        draft_tokens: guessed tokens that the engines verified.
        units_done: committed units, also those of earlier sessions.
        units_left: units that are not committed yet.
        kv_tokens_in_flight: KV cache tokens reserved on all engines.
        engine_restarts: engines started again after a death.
        eta_seconds: estimated seconds to the end, or None if unknown.
    """

    run: str
    answered: int
    dead_letters: int
    reasons: Mapping[str, int]
    prompt_tokens: int
    cached_prompt_tokens: int
    output_tokens: int
    steps: int
    draft_tokens: int
    units_done: int
    units_left: int
    kv_tokens_in_flight: int
    engine_restarts: int
    eta_seconds: float | None


class RunCollector(Collector):
    """Computes the run's Prometheus metrics at each scrape.

    Counters keep their highest value. The death of an engine lowers the totals, because documents
    must be answered again; Prometheus would take a lower counter for a restart from zero.
    """

    def __init__(self, totals: Callable[[], RunTotals]) -> None:
        """`totals` is called at each scrape, in the thread that serves it."""
        self._totals = totals
        self._highest: dict[tuple[str, str], int] = {}

    def _monotonic(self, name: str, label: str, value: int) -> int:
        highest = max(value, self._highest.get((name, label), 0))
        self._highest[name, label] = highest
        return highest

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics with their values now."""
        now = self._totals()
        yield self._counter(
            "documents",
            "Documents finished, by status.",
            now.run,
            "status",
            {"answered": now.answered, "dead_letter": now.dead_letters},
        )
        yield self._counter(
            "dead_letters", "Dead letters, by reason.", now.run, "reason", now.reasons
        )
        for name, text, value in (
            ("prompt_tokens", "Prompt tokens sent to the engines.", now.prompt_tokens),
            (
                "cached_prompt_tokens",
                "Prompt tokens found in the prefix cache.",
                now.cached_prompt_tokens,
            ),
            ("output_tokens", "Tokens that the engines generated.", now.output_tokens),
            ("decode_steps", "Steps that generated them, summed over answers.", now.steps),
            ("draft_tokens", "Guessed tokens that the engines verified.", now.draft_tokens),
            ("engine_restarts", "Engines started again after a death.", now.engine_restarts),
        ):
            family = CounterMetricFamily(f"phifleet_{name}", text, labels=["run"])
            family.add_metric([now.run], self._monotonic(name, "", value))
            yield family
        yield _gauge(
            "kv_tokens_in_flight",
            "KV cache tokens held by admitted documents.",
            now.run,
            now.kv_tokens_in_flight,
        )
        if now.eta_seconds is not None:
            yield _gauge(
                "eta_seconds",
                "Seconds until the run is done, by tokens left.",
                now.run,
                now.eta_seconds,
            )
        units = GaugeMetricFamily("phifleet_units", "Units by state.", labels=["run", "state"])
        units.add_metric([now.run, "done"], now.units_done)
        units.add_metric([now.run, "left"], now.units_left)
        yield units

    def _counter(
        self, name: str, text: str, run: str, label: str, values: Mapping[str, int]
    ) -> CounterMetricFamily:
        family = CounterMetricFamily(f"phifleet_{name}", text, labels=["run", label])
        for key, value in values.items():
            family.add_metric([run, key], self._monotonic(name, key, value))
        return family


def _gauge(name: str, text: str, run: str, value: float) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"phifleet_{name}", text, labels=["run"])
    family.add_metric([run], value)
    return family


def serve_totals(port: int, totals: Callable[[], RunTotals]) -> tuple[WSGIServer, Thread]:
    """Serve a run's metrics over HTTP on `port` of every interface, and return the server and its
    thread. They end with the process, or if the caller shuts the server down.

    `totals` is called at each scrape. Raises OSError if the port cannot be used.
    """
    registry = CollectorRegistry()
    registry.register(RunCollector(totals))
    return start_http_server(port, registry=registry)
