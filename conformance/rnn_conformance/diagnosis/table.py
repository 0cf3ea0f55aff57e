"""The table of hypotheses of docs/diagnosis.md: `python -m rnn_conformance.diagnosis.table` prints it."""

from __future__ import annotations

from rnn_conformance.diagnosis.catalogue import hypotheses
from rnn_conformance.diagnosis.hypotheses.base import Hypothesis
from rnn_conformance.diagnosis.sizes import SIZES


def every() -> list[Hypothesis]:
    """All hypotheses."""
    return [*hypotheses("values"), *SIZES.values(), *hypotheses("gradients")]


def table() -> str:
    """In Markdown, one section for each family."""
    families: dict[str, list[Hypothesis]] = {}
    for hypothesis in every():
        families.setdefault(hypothesis.id.partition(".")[0], []).append(hypothesis)
    parts = [f"{len(every())} hypotheses."]
    for family, members in families.items():
        rows = [f"| `{h.id}` | {h.sentence.replace('|', chr(92) + '|').replace('{amount}', '*a*')} |" for h in members]
        parts.append(
            "\n".join([f"### {family} ({len(members)})", "", "| id | what the kernel does |", "|---|---|", *rows])
        )
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(table(), end="")
