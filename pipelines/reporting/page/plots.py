"""Plots of a report as SVG elements that need nothing from outside the page.

matplotlib draws them, without its global state. Colours become variables of the page's style, so
that a plot fits a light and a dark page. Knows facts as values; knows nothing of HTML pages.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from pipelines.reporting.page.facts import Distribution, LengthFacts, Timeline

_INCHES = (6.0, 2.3)
# stand-ins that occur nowhere else in the SVG, each for a variable of the page's style
_INK, _LINE, _FIRST = "#010203", "#010204", "#010205"
_SERIES = (_FIRST, "#010206", "#010207", "#010208")
_VARIABLES = {
    _INK: "var(--soft)",
    _LINE: "var(--line)",
    **{color: f"var(--series-{number})" for number, color in enumerate(_SERIES, 1)},
}
_SETTINGS: dict[Any, Any] = {
    # text stays text, in the page's own font
    "svg.fonttype": "none",
    "svg.hashsalt": "phifleet",
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _LINE,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _LINE,
}


def timeline_plot(timeline: Timeline) -> str:
    """Return tokens per second over the minutes or hours of a run."""
    count = len(timeline.prompt_tokens_per_second)
    unit, seconds = _unit(timeline.bucket_seconds * count)
    width = timeline.bucket_seconds / seconds
    at = [(number + 0.5) * width for number in range(count)]

    def draw(axes: Axes) -> None:
        axes.fill_between(
            at, timeline.prompt_tokens_per_second, color=_FIRST, alpha=0.25, linewidth=0
        )
        axes.plot(at, timeline.prompt_tokens_per_second, color=_FIRST, linewidth=1.6)
        axes.set_xlim(0, width * count)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(f"{unit} since the first answer began")
        axes.set_ylabel("prompt tokens per second")

    return _svg(draw)


def distribution_plot(found: Distribution) -> str:
    """Return how many units took how long."""
    unit, seconds = _unit(found.longest)

    def draw(axes: Axes) -> None:
        lows = [bar.low / seconds for bar in found.bars]
        widths = [(bar.high - bar.low) / seconds for bar in found.bars]
        counts = [bar.count for bar in found.bars]
        axes.bar(lows, counts, [0.92 * w for w in widths], align="edge", color=_FIRST)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"{unit} for a unit")
        axes.set_ylabel("units")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))

    return _svg(draw)


def lengths_plot(lengths: Sequence[LengthFacts]) -> str:
    """Return how many answers were read by which strategy, by the tokens of their prompts."""
    strategies = list(dict.fromkeys(name for row in lengths for name in row.strategies))
    known = {row.low: row for row in lengths}
    # lengths that no answer has keep their place
    powers = range(lengths[0].low.bit_length(), lengths[-1].low.bit_length() + 1)
    lows = [2 ** (power - 1) for power in powers]

    def draw(axes: Axes) -> None:
        below = [0] * len(lows)
        for number, name in enumerate(strategies):
            counts = [known[low].strategies.get(name, 0) if low in known else 0 for low in lows]
            color = _SERIES[number % len(_SERIES)]
            axes.bar(range(len(lows)), counts, 0.7, bottom=below, color=color, label=name)
            below = [a + b for a, b in zip(below, counts, strict=True)]
        axes.set_xticks(range(len(lows)), [_binary(low) for low in lows])
        axes.set_xlim(-0.6, max(3, len(lows)) - 0.4)
        axes.set_xlabel("prompt tokens of an answer, from")
        axes.set_ylabel("answers")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        axes.legend(frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(-0.01, 1.0))

    return _svg(draw)


def _binary(power: int) -> str:
    """Return a power of two as people write a number of tokens: 4k for 4,096."""
    return f"{power // 1024}k" if power >= 1024 else str(power)


def _short(number: float) -> str:
    """Return a number in at most four characters or so, as on an axis."""
    for size, mark in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{mark}"
    return f"{number:.3g}"


def _unit(seconds: float) -> tuple[str, float]:
    """Return the unit in which so many seconds are a handy number, and its seconds."""
    for name, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return name, size
    return "seconds", 1.0


def _svg(draw: Callable[[Axes], None]) -> str:
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=_INCHES, layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0)
        axes.grid(axis="y", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        sink = io.StringIO()
        figure.savefig(sink, format="svg", transparent=True, metadata=_NO_METADATA)
    return _for_page(sink.getvalue())


_NO_METADATA: Mapping[str, None] = {"Date": None, "Creator": None, "Format": None, "Type": None}


def _for_page(svg: str) -> str:
    """Return an SVG document as an element of an HTML page."""
    element = svg[svg.index("<svg") :]
    element = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", element, count=1)
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r"<!--.*?-->\s*", "", element, flags=re.DOTALL)
    # several plots of a page would have the same ids; those that are referred to are digests
    element = re.sub(r' id="[A-Za-z0-9]+(?:[.][a-z]+)?_[0-9]+"', "", element)
    element = re.sub(r" font-family: [^;\"]*;", "", element)
    # a style element in an SVG holds for the whole page
    element = re.sub(r"<style.*?</style>", "", element, flags=re.DOTALL)
    for color, variable in _VARIABLES.items():
        element = element.replace(color, variable)
    return re.sub(r"\s*\n\s*", "\n", element).strip()
