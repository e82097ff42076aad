"""Makes the page of a report: one HTML file that needs nothing from outside.

Everything that a document, the job or an answer says goes into the page as escaped text. Each
number is in a `data` element with its exact value, which is that of `Report.to_json`. Knows facts
as values; reads no run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from pipelines.reporting.page.document_facts import TextView
from pipelines.reporting.page.facts import Report
from pipelines.reporting.page.plots import distribution_plot, lengths_plot, timeline_plot
from pipelines.reporting.page.windows import shown_places

_TEMPLATES = Path(__file__).parent / "templates"
_ACTIONS = {"flag": "flagged", "null": "taken out", "dead_letter": "made dead letters"}
_READ = {
    "single": "read in one pass",
    "map_reduce": "read in chunks",
    "truncate": "only the beginning was read",
    "parts": "written in parts",
}
_HOUR = 3600


def render(report: Report) -> bytes:
    """Return the page of a report, in UTF-8."""
    script = (_TEMPLATES / "script.js").read_text("utf-8")
    style = (_TEMPLATES / "style.css").read_text("utf-8")
    page = _environment().get_template("page.html.jinja")
    html = page.render(
        report=report,
        plots=_plots(report),
        ACTIONS=_ACTIONS,
        READ=_READ,
        # files of this package, which contain no data
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        script_hash=Markup(_hash_of(script)),  # noqa: S704
    )
    # a lone surrogate, which JSON lines may contain, has no UTF-8
    return html.encode("utf-8", "replace")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= _FILTERS
    return environment


def _plots(report: Report) -> Mapping[str, Markup | None]:
    work, lengths = report.work, report.reading.lengths
    made = {
        "timeline": work.timeline and timeline_plot(work.timeline),
        "units": work.unit_seconds and distribution_plot(work.unit_seconds),
        "lengths": lengths_plot(lengths) if lengths else None,
    }
    # matplotlib escapes the texts of a plot
    return {name: Markup(svg) if svg else None for name, svg in made.items()}  # noqa: S704


def _hash_of(script: str) -> str:
    """Return the source of a Content Security Policy that allows this script and no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _data(value: float, text: str) -> Markup:
    return Markup('<data value="{}">{}</data>').format(repr(value), text)


def _number(value: float) -> Markup:
    return _data(value, f"{value:,.0f}")


def _decimal(value: float) -> Markup:
    return _data(value, f"{value:,.2f}")


def _percent(share: float) -> Markup:
    return _data(share, f"{share:.1%}")


def _usd(value: float) -> Markup:
    return _data(value, f"${value:,.2f}")


def _hours(hours: float) -> Markup:
    return _data(hours, f"{hours:,.2f} h")


def _seconds(seconds: float) -> Markup:
    return _data(seconds, f"{seconds:,.1f} s")


def _brief(value: float) -> Markup:
    for size, mark in ((1e9, " billion"), (1e6, " million")):
        if value >= size:
            return _data(value, f"{value / size:,.2f}{mark}")
    return _number(value)


def _duration(seconds: float) -> Markup:
    whole = round(seconds)
    clock = f"{whole // _HOUR}:{whole % _HOUR // 60:02}:{whole % 60:02}"
    return _data(seconds, clock if whole >= 60 else f"{seconds:.1f} s")


def _moment(iso: str) -> Markup:
    """Return an ISO 8601 time for people."""
    shown = iso[:19].replace("T", " ") + (" UTC" if iso.endswith(("+00:00", "Z")) else "")
    return Markup('<time datetime="{}">{}</time>').format(iso, shown)


def _titled(name: str) -> Markup:
    words = name.replace("_", " ")
    return escape(words[:1].upper() + words[1:])


def _file_name(path: str) -> str:
    return path.rpartition("/")[2] or path


def _places(view: TextView | None) -> frozenset[int]:
    return frozenset() if view is None else shown_places(view)


_FILTERS: Mapping[str, Callable[..., object]] = {
    "number": _number,
    "decimal": _decimal,
    "percent": _percent,
    "usd": _usd,
    "hours": _hours,
    "seconds": _seconds,
    "brief": _brief,
    "duration": _duration,
    "moment": _moment,
    "titled": _titled,
    "file_name": _file_name,
    "places": _places,
}
