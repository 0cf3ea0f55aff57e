"""The badge of a record: a small SVG with the backend's name and the verdict."""

from __future__ import annotations

from unicodedata import east_asian_width

from rnn_conformance.record import Record
from rnn_conformance.report.render import render
from rnn_conformance.report.standing import standing
from rnn_conformance.report.text import one_line

COLOURS = {"good": "#17693a", "bad": "#b3201b", "warn": "#7a4d00"}
LONGEST = 40


def badge(record: Record) -> str:
    """The badge, as SVG; its title says it in words."""
    found = standing(record)
    name = one_line(record.backend)
    left = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
    right = f"{found.mark} {found.word}"
    title = one_line(f"{name[:200]} {record.backend_version[:60]} on {record.device[:60]}: {found.word}")
    return render(
        "badge.svg.jinja",
        left=left,
        right=right,
        title=title,
        colour=COLOURS[found.tone],
        left_width=_width(left),
        right_width=_width(right),
    )


def _width(text: str) -> int:
    """About how wide `text` is with its margins, at 11 pixels."""
    units = {"W": 12.0, "F": 12.0}
    return 12 + round(sum(units.get(east_asian_width(c), 4.0 if c in "iljt.,:;|!' " else 6.9) for c in text))
