"""Prometheus metrics of HTTP requests.

They are reported to Ray, which serves them on each node with the prefix `ray_`.
"""

from __future__ import annotations

ROUTES = (
    "/",
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/v1/documents",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/models",
    "/v1/tasks",
    "/v1/feedback",
)
"""The paths that are counted separately; all others count as `other`."""
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)
"""The upper bounds of the histograms' buckets, in seconds."""


class HttpMetrics:
    """Counts requests by route and status code, and measures their duration."""

    def __init__(self, app: str) -> None:
        """Create the metrics, with the serve file's name as the label `app`.

        To be called in a process that has joined a Ray cluster.
        """
        from ray.util.metrics import Counter, Histogram

        tags = {"app": app}
        self._requests = Counter(
            "phifleet_http_requests", "HTTP requests, by route and code.", ("app", "route", "code")
        )
        self._seconds = Histogram(
            "phifleet_http_request_seconds",
            "Seconds from a request to the end of its response.",
            boundaries=list(SECONDS),
            tag_keys=("app", "route"),
        )
        self._first = Histogram(
            "phifleet_time_to_first_token_seconds",
            "Seconds from a streamed completion to its first token.",
            boundaries=list(SECONDS),
            tag_keys=("app",),
        )
        for metric in (self._requests, self._seconds, self._first):
            metric.set_default_tags(tags)

    def request(self, path: str, code: int, seconds: float) -> None:
        """Record a finished request: its path, HTTP status `code`, and duration in seconds."""
        route = path if path in ROUTES else "other"
        self._requests.inc(tags={"route": route, "code": str(code)})
        self._seconds.observe(max(seconds, 1e-6), tags={"route": route})

    def first_token(self, seconds: float) -> None:
        """Record the seconds from a streamed completion's request to its first token."""
        self._first.observe(max(seconds, 1e-6))
