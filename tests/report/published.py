"""`python -m tests.report.published`: the matrix over the committed records, and README's table of their verdicts."""

from __future__ import annotations

import sys
from pathlib import Path

from rnn_conformance.cli import main
from rnn_conformance.record import Record, read_record
from rnn_conformance.report.standing import standing
from rnn_conformance.verdict import printable

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
BACKENDS = ROOT / "docs" / "backends-table.md"
NONE = "no record: "  # what the state of a backend without one says, before the reason
BEGIN, END = "<!-- verdicts of the records in reports/ -->\n", "<!-- end of verdicts -->\n"


def records() -> dict[str, Record]:
    """The committed records of backends, by the name of their folder."""
    return {path.parent.name: read_record(path) for path in sorted(ROOT.glob("reports/*-cpu/record.json"))}


def table(found: dict[str, Record]) -> str:
    """Their verdicts in Markdown, and the backends that have none."""
    lines = ["| backend | verdict | units passed | declared | profile | report |", "|---|---|---|---|---|---|"]
    for folder, record in found.items():
        name = printable(f"{record.backend} {record.backend_version}")
        counts = [str(record.counts.get(outcome, 0)) for outcome in ("passed", "expected_failure")]
        place = f"[{folder}](reports/{folder}/index.html)"
        tried = f"{record.profile}, in part" if record.suite_units else record.profile
        lines.append(f"| {name} | {standing(record).word} | {' | '.join(counts)} | {tried} | {place} |")
    return "\n".join(lines + [f"| {name} | no record | | | | {why} |" for name, why in unrecorded().items()])


def unrecorded() -> dict[str, str]:
    """Why there is no record of a backend, as docs/backends-table.md has it, by the backend's name."""
    rows = [line.strip("| ").split(" | ") for line in BACKENDS.read_text("utf-8").splitlines() if line.startswith("| ")]
    return {row[0]: row[-1].partition(NONE)[2] for row in rows if NONE in row[-1]}


def with_table(text: str) -> str:
    """README.md with the verdicts of the committed records."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{table(records())}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text("utf-8")), "utf-8")
    paths = [str(ROOT / "reports" / folder / "record.json") for folder in records()]
    sys.exit(main(["report", *paths, "--output", str(ROOT / "reports" / "index.html")]))
