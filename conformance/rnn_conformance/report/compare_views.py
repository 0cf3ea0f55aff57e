"""A comparison for a terminal, for Markdown and as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rnn_conformance.report.compare import KINDS, Change, Comparison, Kind
from rnn_conformance.report.markdown import plain, table
from rnn_conformance.report.outcomes import MARKS
from rnn_conformance.report.render import render
from rnn_conformance.report.text import one_line, plural
from rnn_conformance.report.units import places


@dataclass(frozen=True)
class Line:
    """The changes of one check that are the same, or of several."""

    check: str  # or several, with commas
    where: str
    before: str
    after: str


def lines(changes: Sequence[Change]) -> list[Line]:
    """Changes of one kind, told together where they are the same, the worst first; many checks in one line where they
    are blocked or gone.
    """
    told: dict[tuple[str, str, str], list[Change]] = {}
    for change in changes:
        told.setdefault((change.result.id, change.before, change.after), []).append(change)
    order = list(MARKS)
    checks: dict[tuple[str, str, str, str], list[str]] = {}
    for (check, was, now), some in sorted(told.items(), key=lambda item: order.index(item[1][0].result.outcome)):
        where = "all units" if some[0].kind == "slower" else places(change.result for change in some)
        in_short = some[0].kind == "vanished" or some[0].result.outcome == "blocked"
        checks.setdefault(("" if in_short else check, where, was, now), []).append(check)
    return [Line(", ".join(ids), where, was, now) for (_, where, was, now), ids in checks.items()]


def sections(comparison: Comparison) -> list[tuple[Kind, str, list[Line], int]]:
    """Each kind of change that occurs: its name, its lines and how many changes they are."""
    found = []
    for kind, title in KINDS.items():
        if changes := comparison.of(kind):
            found.append((kind, title, lines(changes), len(changes)))
    return found


def conclusion(comparison: Comparison) -> str:
    """The last line."""
    if comparison.regressed:
        return "REGRESSED"
    return "NO REGRESSION" if comparison.changes else "NOTHING CHANGED"


def as_text(comparison: Comparison) -> str:
    """For a terminal; nothing in it moves the cursor."""
    told = [f"old: {_name(comparison, 0)}", f"new: {_name(comparison, 1)}"]
    for _, title, some, count in sections(comparison):
        told += ["", f"{title} ({count})"]
        told += ["  " + one_line(f"{line.check} {line.where}: {line.before} → {line.after}") for line in some]
    if comparison.differences:
        told += ["", "Not the same in both"]
        told += ["  " + one_line(f"{d.what}: {d.name}: {d.before} → {d.after}") for d in comparison.differences]
    return "\n".join([*told, "", conclusion(comparison)]) + "\n"


def as_markdown(comparison: Comparison) -> str:
    """For a CI summary."""
    icon = "❌" if comparison.regressed else "✅"
    parts = [
        f"### {icon} {conclusion(comparison).capitalize()}",
        f"- old: {plain(_name(comparison, 0))}\n- new: {plain(_name(comparison, 1))}",
    ]
    for _, title, some, count in sections(comparison):
        rows = [[plain(x, 2_000) for x in (line.check, line.where, line.before, line.after)] for line in some]
        parts += [f"**{title}** ({plural(count, 'change')})", table(["check", "where", "before", "after"], rows)]
    if comparison.differences:
        rows = [[plain(x, 400) for x in (d.what, d.name, d.before, d.after)] for d in comparison.differences]
        parts += ["**Not the same in both**", table(["", "what", "before", "after"], rows)]
    return "\n\n".join(parts) + "\n"


def as_html(comparison: Comparison) -> str:
    """One page that needs no network."""
    return render(
        "compare.html.jinja",
        comparison=comparison,
        conclusion=conclusion(comparison).capitalize(),
        sections=sections(comparison),
        sides=list(zip(("Old", "New"), (comparison.old, comparison.new), comparison.standings, strict=True)),
    )


def _name(comparison: Comparison, side: int) -> str:
    record, found = (comparison.old, comparison.new)[side], comparison.standings[side]
    name = f"{record.backend} {record.backend_version} on {record.device}, {record.profile}, {record.started}"
    return one_line(f"{name}: {found.word}")
