"""The catalogue of checks is the checks' own."""

from __future__ import annotations

from pathlib import Path

from rnn_conformance.catalogue import page
from rnn_conformance.run import load_checks

CHECKS = Path(__file__).parents[2] / "docs" / "checks.md"


def test_docs_checks_is_fresh() -> None:
    assert CHECKS.read_text("utf-8") == page(), "run `python -m rnn_conformance.catalogue > docs/checks.md`"


def test_every_check_says_what_it_states_and_whence() -> None:
    for check in load_checks().values():
        assert check.sentence.endswith("."), check.id
        assert check.source, check.id


def test_what_a_check_stands_on_comes_before_it() -> None:
    seen: set[str] = set()
    for check in load_checks().values():
        assert set(check.needs) <= seen | {c for c in load_checks() if c.partition(".")[0] == check.family}, check.id
        seen.add(check.id)
