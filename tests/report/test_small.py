"""The badge, the Markdown summary, the matrix over backends, and how text and numbers are shown."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from rnn_conformance.diagnosis.result import Diagnosis, Named
from rnn_conformance.record import Record
from rnn_conformance.report.badge import badge
from rnn_conformance.report.markdown import plain, summary
from rnn_conformance.report.matrix import matrix
from rnn_conformance.report.measures import pooled_bits
from rnn_conformance.report.page import page
from rnn_conformance.report.text import anchor, number, pretty, visible

from .reading import read
from .records import changed, failing, finding, full, passing, record, result


@pytest.mark.parametrize(
    ("drawn", "word", "colour"),
    [
        (passing(), "conforms", "#17693a"),
        (failing(), "does not conform", "#b3201b"),
        (changed(passing(), lambda r: r, complete=False), "incomplete", "#7a4d00"),
    ],
)
def test_a_badge_says_the_verdict(drawn: Record, word: str, colour: str) -> None:
    svg = badge(drawn)
    root = ElementTree.fromstring(svg)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"].endswith(word)
    assert colour in svg
    assert "<script" not in svg


def test_a_summary_says_what_a_reviewer_needs() -> None:
    text = summary(failing())
    assert text.startswith("### ❌ <code>my&#95;kernels:FastLSTM</code> 2.13.0 on cpu: does not conform\n")
    assert "| values | 4 | 4 |" in text.replace("|  ", "| ").replace("  ", " ").replace("| | ", "| ")
    assert "**values.cell** in lstm × float64, float32, bfloat16, float16 (4 failed)" in text
    assert "Segmentation fault" in text
    assert "values.cell-float64" in text


def test_a_summary_says_what_a_finding_looks_like_and_how_to_replay_it() -> None:
    named = Named("states.ignored", "the initial state is ignored", 0.5)
    known = finding(diagnosis=Diagnosis([named]), command="rnn-conformance replay 'x|y'")
    text = summary(record([result(outcome="failed", finding=known)]))
    assert "- looks like: the initial state is ignored" in text
    assert "- replay: <code>rnn-conformance replay 'x&#124;y'</code>" in text


def test_a_summary_of_many_findings_stays_short() -> None:
    text = summary(full(64, "failed"))
    assert "44 more checks broken" in text
    assert len(text) < 40_000


@pytest.mark.parametrize(
    "hostile", ["a|b", "<b>", "*x*", "@someone", "#12", "`", "[x](y)", "https://x", "www.x", "\x1b", "a\nb"]
)
def test_plain_markdown_has_no_meaning(hostile: str) -> None:
    text = plain(hostile)
    assert not set("|<>*@`[]\x1b\n") & set(text)
    assert "://" not in text
    assert "www." not in text


def test_the_matrix_has_a_line_for_each_record_and_leads_to_its_page() -> None:
    drawn = [passing(), failing(), record([result(id="values.cell")], backend="a b/../c")]
    root = read(matrix(drawn))
    assert root.of_class("verdict")[0].text == "2 of 3 backends conform."
    rows = root.all("tbody")[0].all("tr")
    assert len(rows) == 3
    assert [row.all("th")[0].all("a")[0].attributes["href"] for row in rows] == [
        "torch-cpu/index.html",
        "my_kernels-FastLSTM-cpu/index.html",
        "a-b-..-c-cpu/index.html",
    ]
    for row in rows:
        assert len(row.all("td")) == 4 + 4
    known = {f"#{e.attributes['id']}" for e in read(page(drawn[1])).all() if "id" in e.attributes}
    inner = [a.attributes["href"].partition("/index.html")[2] for a in rows[1].all("a")]
    assert {target for target in inner if target} <= known
    assert "#values.cell-float64" in inner
    assert "4 failed, 4 blocked, 16 passed, 8 not offered" in rows[1].text


def test_the_matrix_says_how_many_declare_deviations() -> None:
    declaring = record([result(), result("steps.stepwise", outcome="expected_failure")])
    (verdict,) = read(matrix([passing(), declaring])).of_class("verdict")
    assert verdict.text.startswith("2 of 2 backends conform, 1 of them but for deviations that are declared")


def test_a_page_and_the_matrix_say_where_only_some_units_were_asked_for() -> None:
    some = record([result()], suite_units=1203)
    assert "not asked for: 1,202 more that the suite has." in read(page(some)).of_class("verdict")[0].text
    assert ["in part" in row.text for row in read(matrix([passing(), some])).all("tbody")[0].all("tr")] == [False, True]


def test_the_matrix_takes_other_places() -> None:
    html = matrix([passing()], ["elsewhere/torch 2.html"])
    assert 'href="elsewhere/torch%202.html"' in html


def test_pooled_bits() -> None:
    assert pooled_bits([result(effective_bits=24.0)] * 3) == pytest.approx(24.0)
    assert pooled_bits([result(effective_bits=24.0), result(effective_bits=-1e300)]) == pytest.approx(-1e300)
    assert pooled_bits([result(values=0)]) is None
    two = [result(effective_bits=10.0, values=100), result(effective_bits=11.0, values=300)]
    assert pooled_bits(two) == pytest.approx(10.596, abs=1e-3)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (7.123, "7.12"),
        (1e6, "1e6"),
        (1.5e18, "1.5e18"),
        (2e-7, "2e-7"),
        (24300.0, "24,300"),
        (1234.5, "1,234"),
        (float("nan"), "NaN"),
        (float("inf"), "∞"),
        (1e300, "∞"),
        (-1e300, "−∞"),
        (None, "–"),
    ],
)
def test_numbers(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_visible_text() -> None:
    assert visible("plain ρ ≤ λ\n\t") == "plain ρ ≤ λ\n\t"
    assert visible("\x1b[2J\u202eabc\ud800") == "\\x1b[2J\\u202eabc\\ud800"


def test_pretty_stays_json() -> None:
    import json

    value = {"a": "\u202e\U000e0001\x00 ρ", "b": [1, None]}
    assert json.loads(visible(pretty(value))) == value


def test_anchors() -> None:
    assert anchor("values.cell-2148c606") == "values.cell-2148c606"
    assert anchor("a b") == anchor("a b") != anchor("a  b")
    assert anchor('"><script>').startswith("a-script-")
