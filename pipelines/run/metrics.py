"""The metrics of documents and engines: their names, and how engine and driver record them.

Whoever has an engine records through Ray, whose endpoint on each node prefixes every name with
`ray_`. A job's driver holds the totals of the whole run in a registry of its own and serves them on
`metrics.port`.
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


class EngineMetrics:
    """What is done with one engine, through `ray.util.metrics`; Ray adds `_total` to the counters.
    `tags` say whose it is: of which `run` or `app`, and of which `pool`."""

    def __init__(self, tags: dict[str, str]) -> None:
        from ray.util.metrics import Counter, Gauge, Histogram

        keys = tuple(tags)

        def counter(name: str, description: str, *more: str) -> Counter:
            made = Counter(f"phifleet_{name}", description, tag_keys=(*keys, *more))
            made.set_default_tags(tags)
            return made

        self._documents = counter("documents", "Documents finished, by status.", "status")
        self._dead = counter("dead_letters", "Dead letters, by reason.", "reason")
        self._prompt = counter("prompt_tokens", "Prompt tokens sent to the engine.")
        self._cached = counter("cached_prompt_tokens", "Prompt tokens found in the prefix cache.")
        self._output = counter("output_tokens", "Tokens that the engine generated.")
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

    def document(self, outcome: DocumentResult, seconds: float | None = None) -> None:
        """Count one finished document, that took so long where an engine read it to its end."""
        self._documents.inc(tags={"status": "answered" if outcome.answered else "dead_letter"})
        for letter in outcome.dead_letters():
            self._dead.inc(tags={"reason": letter.problem.reason})
        for answer in outcome.answers:
            self.tokens(answer.usage)
        if seconds is not None:
            self._document_seconds.observe(max(seconds, 1e-6))

    def tokens(self, used: Usage) -> None:
        """Count the tokens of something that was answered."""
        self._inc(self._prompt, used.prompt_tokens)
        self._inc(self._cached, used.cached_prompt_tokens)
        self._inc(self._output, used.output_tokens)

    def unit(self, seconds: float) -> None:
        self._unit_seconds.observe(max(seconds, 1e-6))

    def in_flight(self, tokens: int) -> None:
        self._in_flight.set(tokens)

    @staticmethod
    def _inc(counter: object, value: int) -> None:
        if value > 0:
            counter.inc(value)  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class RunTotals:
    """What the driver knows of the whole run at one moment; the source of its metrics."""

    run: str
    answered: int
    dead_letters: int
    reasons: Mapping[str, int]
    prompt_tokens: int
    cached_prompt_tokens: int
    output_tokens: int
    units_done: int
    units_left: int
    kv_tokens_in_flight: int
    engine_restarts: int
    eta_seconds: float | None


class RunCollector(Collector):
    """Turns the run's totals into Prometheus metrics at each scrape. A counter never falls: what an
    engine's death takes back of the totals, Prometheus would count from nothing again."""

    def __init__(self, totals: Callable[[], RunTotals]) -> None:
        self._totals = totals
        self._highest: dict[tuple[str, str], int] = {}

    def _risen(self, name: str, label: str, value: int) -> int:
        highest = max(value, self._highest.get((name, label), 0))
        self._highest[name, label] = highest
        return highest

    def collect(self) -> Iterator[Metric]:
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
            ("engine_restarts", "Engines started again after a death.", now.engine_restarts),
        ):
            family = CounterMetricFamily(f"phifleet_{name}", text, labels=["run"])
            family.add_metric([now.run], self._risen(name, "", value))
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
            family.add_metric([run, key], self._risen(name, key, value))
        return family


def _gauge(name: str, text: str, run: str, value: float) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"phifleet_{name}", text, labels=["run"])
    family.add_metric([run], value)
    return family


def serve_totals(port: int, totals: Callable[[], RunTotals]) -> tuple[WSGIServer, Thread]:
    """Serve the run's metrics on this port of every interface until the process ends."""
    registry = CollectorRegistry()
    registry.register(RunCollector(totals))
    return start_http_server(port, registry=registry)
