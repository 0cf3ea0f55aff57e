"""Plots, as inline SVG: the largest ρ of each unit, how ρ is spread, and how it goes along an axis.

They are drawn with drawsvg, which writes SVG and nothing else: no style, font, script or identifier of its own, so that
a page's classes colour the plots in light and in dark. Measured on 64 plots of four histograms each, import included:
drawsvg 0.11 s and 330 kB (a tenth of that with one path for each histogram, as here), svg.py 0.14 s and 310 kB but with
texts that are not escaped, pygal 0.8 s and 2.6 MB, leather 0.3 s and 1.9 MB, Matplotlib's SVG backend 7.5 s and 1.7 MB.
A page has two seconds and two megabytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log1p, log10

import drawsvg
import numpy as np
from markupsafe import Markup, escape

from rnn_conformance.config import CELLS, DTYPES
from rnn_conformance.record import Along, CheckResult, Record
from rnn_conformance.report.grid import known_first
from rnn_conformance.report.text import clipped, number, one_line

LEFT, WIDTH, LANE, TOP = 66.0, 268.0, 26.0, 10.0  # of a plot, in its own units
LEAST = 0.03  # ρ at which axes begin


@dataclass(frozen=True)
class Axis:
    """ρ on a logarithmic axis, from `LEAST` at `start` to 10^`top` at `end`."""

    top: int
    start: float = LEFT
    end: float = LEFT + WIDTH

    def place(self, rho: float) -> float:
        """Where ρ lies, at an end where it is beyond it."""
        share = log10(max(rho, LEAST) / LEAST) / log10(10.0**self.top / LEAST) if isfinite(rho) else 1.0
        return round(self.start + (self.end - self.start) * min(share, 1.0), 1)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Decades, at most seven of them."""
        every = 1 + (self.top + 1) // 7
        decades = range(self.top, -2, -every)
        return [(self.place(10.0**k), number(10.0**k) if k < 4 else f"1e{k}") for k in decades]


def axis_of(record: Record) -> Axis:
    """The axis on which all of a record's plots are drawn."""
    far = max((r.largest_rho for r in record.checks if r.values), default=0.0)
    return Axis(max(2, min(8, ceil(log10(record.lambda_)) + 1), 4 if far > 100 else 0))


def largest_of_units(name: str, results: Sequence[CheckResult], limit: float, axis: Axis) -> Markup:
    """The largest ρ of each unit, in one lane for each dtype."""
    by_dtype = _by_dtype(results)
    told = ", ".join(f"{dtype} {number(max(r.largest_rho for r in some))}" for dtype, some in by_dtype.items())
    drawing = _lanes(list(by_dtype), limit, axis, f"{name}: largest ρ of each unit: {told}; λ is {number(limit)}")
    cells = known_first((r.cell for r in results), CELLS)
    for k, some in enumerate(by_dtype.values()):
        for result in some:
            shift = (cells.index(result.cell) - (len(cells) - 1) / 2) * min(5.0, 20 / len(cells))
            mark = _mark(result.largest_rho, limit, axis, round(TOP + LANE * (k + 0.5) + shift, 1))
            mark.append_title(_text(f"{result.id} · {result.cell}: ρ {number(result.largest_rho)}"))
            drawing.append(mark)
    return _written(drawing)


def spread(name: str, results: Sequence[CheckResult], bins: Sequence[float], limit: float, axis: Axis) -> Markup:
    """How many numbers have which ρ, in one lane for each dtype; heights are logarithms of counts."""
    counts = {dtype: spread_of(some, len(bins) + 1) for dtype, some in _by_dtype(results).items()}
    counts = {dtype: some for dtype, some in counts.items() if some.any()}
    told = ", ".join(f"{dtype} {spread_words(some, bins, limit)}" for dtype, some in counts.items())
    drawing = _lanes(list(counts), limit, axis, f"{name}: how ρ is spread against λ = {number(limit)}: {told}")
    for k, (dtype, some) in enumerate(counts.items()):
        base = TOP + LANE * (k + 1) - 2
        for bar in _histogram(some, bins, limit, axis, base):
            bar.append_title(_text(f"{dtype}: {spread_words(some, bins, limit)}"))
            drawing.append(bar)
    return _written(drawing)


def profile(what: str, along: Along, limit: float) -> Markup:
    """How ρ goes along an axis of the worst case, on an axis of its own."""
    height, start, end = 84.0, 27.0, 160.0
    largest = max(along.rho, default=0.0)
    axis = Axis(max(2, min(20, ceil(log10(max(largest, LEAST))))), height - 14, 6.0)
    at = along.rho.index(largest) * along.size // max(len(along.rho), 1) if along.rho else 0
    words = f"ρ along the {what}s 0 to {along.size - 1}: largest {number(largest)} near {what} {at}, λ {number(limit)}"
    drawing = drawsvg.Drawing(168, height, role="img", aria_label=_attribute(words))
    for y, label in axis.ticks:
        drawing.append(drawsvg.Path(f"M{start} {y}H{end}", class_="grid"))
        drawing.append(drawsvg.Text(label, 10, start - 3, y + 3, text_anchor="end", class_="tick"))
    drawing.append(drawsvg.Path(f"M{start} {axis.place(limit)}H{end}", class_="limit"))
    drawing.append(drawsvg.Text("λ", 10, end + 1, axis.place(limit) + 3, class_="lambda"))
    edges = np.linspace(start, end, len(along.rho) + 1).round(1)
    steps = "".join(
        f"{'L' if k else 'M'}{edges[k]:g} {axis.place(rho):g}H{edges[k + 1]:g}" for k, rho in enumerate(along.rho)
    )
    drawing.append(drawsvg.Path(steps, class_="stairs over" if largest > limit else "stairs"))
    for x, label, anchor in ((start, "0", "start"), (end, f"{along.size - 1:,}", "end")):
        drawing.append(drawsvg.Text(label, 10, x, height - 3, text_anchor=anchor, class_="tick"))
    drawing.append(drawsvg.Text(what, 10, (start + end) / 2, height - 3, text_anchor="middle", class_="tick"))
    return _written(drawing)


def spread_of(results: Iterable[CheckResult], size: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The spreads of some units together."""
    total = np.zeros(size, np.int64)
    for result in results:
        total[: len(result.spread)] += np.asarray(result.spread, np.int64)
    return total


def spread_words(counts: np.ndarray[tuple[int], np.dtype[np.int64]], bins: Sequence[float], limit: float) -> str:
    """`99.98 % of 4,000 numbers within λ / 4`, and how many are over λ."""
    inner = next((k for k, most in enumerate(bins) if most >= limit / 4), len(bins) - 1)
    outer = next((k for k, most in enumerate(bins) if most >= limit), len(bins) - 1)
    over, total = int(counts[outer + 1 :].sum()), int(counts.sum())
    share = floor(1e4 * counts[: inner + 1].sum() / max(total, 1)) / 100
    return f"{share:g} % of {total:,} numbers within {number(bins[inner])}, {over:,} over λ"


def _by_dtype(results: Iterable[CheckResult]) -> dict[str, list[CheckResult]]:
    some = list(results)
    return {d: [r for r in some if r.dtype == d] for d in known_first((r.dtype for r in some), DTYPES)}


def _lanes(names: Sequence[str], limit: float, axis: Axis, words: str) -> drawsvg.Drawing:
    """An empty plot with one lane for each name, and a line at λ."""
    bottom = TOP + LANE * len(names)
    drawing = drawsvg.Drawing(340, bottom + 18, role="img", aria_label=_attribute(words))
    for x, label in axis.ticks:
        drawing.append(drawsvg.Path(f"M{x} {TOP}V{bottom}", class_="grid"))
        drawing.append(drawsvg.Text(label, 10, x, bottom + 14, text_anchor="middle", class_="tick"))
    drawing.append(drawsvg.Path(f"M{axis.place(limit)} {TOP - 4}V{bottom + 2}", class_="limit"))
    drawing.append(drawsvg.Text("λ", 10, axis.place(limit) + 3, TOP, class_="lambda"))
    for k, name in enumerate(names):
        drawing.append(drawsvg.Text(_text(name[:10]), 11, 0, TOP + LANE * (k + 0.5) + 4))
    return drawing


def _mark(rho: float, limit: float, axis: Axis, y: float) -> drawsvg.DrawingParentElement:
    x = axis.place(rho)
    if rho <= limit:
        return drawsvg.Circle(x, y, 2.4, class_="within")
    if rho <= 10.0**axis.top:
        return drawsvg.Path(f"M{x - 2.5} {y - 2.5}l5 5m0-5l-5 5", class_="over")
    return drawsvg.Path(f"M{x - 2} {y - 3}l6 3-6 3Z", class_="beyond")


def _histogram(
    counts: np.ndarray[tuple[int], np.dtype[np.int64]], bins: Sequence[float], limit: float, axis: Axis, base: float
) -> list[drawsvg.Path]:
    """One path for what lies within λ and one for what lies over it; what is beyond the axis is drawn at its end."""
    unit = (LANE - 4) / log1p(counts.max(initial=1))
    within, over, beyond, left = "", "", 0, axis.start
    for count, most in zip(counts, [*bins, float("inf")], strict=True):
        right = axis.place(most)
        if right - left < 1:
            beyond += int(count)
        elif count and most <= limit * (1 + 1e-9):
            within += _bar(left, right, base, unit * log1p(count))
        elif count:
            over += _bar(left, right, base, unit * log1p(count))
        left = right
    if beyond:
        over += _bar(axis.end - 3, axis.end, base, min(unit * log1p(beyond), LANE - 4))
    drawn = [drawsvg.Path(d, class_=kind) for d, kind in ((within, "bar"), (over, "bar over")) if d]
    return drawn + ([_mark(float("inf"), limit, axis, base - LANE / 2)] if beyond else [])


def _bar(left: float, right: float, base: float, height: float) -> str:
    return f"M{left:g} {base:g}V{base - height:.1f}H{right:g}V{base:g}Z"


def _text(text: str) -> str:
    """Text of a record, which drawsvg escapes."""
    return one_line(clipped(text, 300))


def _attribute(text: str) -> Markup:
    """Text of a record within an attribute, which drawsvg leaves as it is."""
    return escape(one_line(clipped(text, 1_000)))


def _written(drawing: drawsvg.Drawing) -> Markup:
    """The SVG without what only a file of its own needs."""
    return Markup(drawing.as_svg(header="", skip_css=True, skip_js=True))  # texts in it are escaped
