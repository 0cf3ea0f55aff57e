"""What is published of real backends is drawn from their committed records."""

from __future__ import annotations

from rnn_conformance.report.page import page

from .published import README, ROOT, records, with_table


def test_the_readme_has_the_verdicts_of_the_records() -> None:
    text = README.read_text("utf-8")
    assert with_table(text) == text, "run `python -m tests.report.published`"


def test_every_committed_page_is_that_of_its_record() -> None:
    assert records()
    for folder, record in records().items():
        assert (ROOT / "reports" / folder / "index.html").read_text("utf-8") == page(record), folder
