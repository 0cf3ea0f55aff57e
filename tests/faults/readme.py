"""What README.md says of detection: a table between two marks, from the record of the zoo."""

from __future__ import annotations

from pathlib import Path

from rnn_conformance.config import DTYPES

from .record import PROFILES, ZooRecord, bar

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- measured by nox -s faults -->\n", "<!-- end -->\n"


def table(record: ZooRecord) -> str:
    """The figures in Markdown."""
    met = bar(record)
    lines = [
        "| profile | seeds | killed | tried, of all faults under all seeds | controls accused |",
        "|---|---|---|---|---|",
    ]
    for profile in PROFILES:
        some, of = met.killed[profile]
        if not of:
            continue
        seeds = len({trial.seed for trial in record.of(profile)})
        controls = record.of(profile, controls=True)
        accused = f"{len({t.name for t in controls if t.found})} of {len({t.name for t in controls})}"
        tried = f"{of:,} of {len(record.faults) * seeds:,}"
        lines.append(f"| {profile} | {seeds} | {some:,} | {tried} | {accused if controls else 'not tried'} |")
    values = ", ".join(f"{met.values[dtype]:,} in {dtype}" for dtype in DTYPES if met.values.get(dtype))
    if met.seconds is not None:
        lines += ["", f"The median time to the first finding is {met.seconds:g} s of one processor."]
    if values:
        lines += ["", f"Numbers of controls compared: {values}."]
    return "\n".join(lines)


def with_table(text: str, record: ZooRecord) -> str:
    """README.md with the figures of this record."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{table(record)}\n\n{END}{after}"
