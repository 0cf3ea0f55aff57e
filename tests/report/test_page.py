"""The page of one record: all of it is there, nothing of it is markup, and it is small and soon drawn."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from msgspec.structs import replace
from rnn_conformance.config import DTYPES
from rnn_conformance.diagnosis.result import Diagnosis, Named
from rnn_conformance.record import CheckResult, Record
from rnn_conformance.report.page import page
from rnn_conformance.report.plots import spread_of, spread_words
from rnn_conformance.report.standing import standing

from .reading import Element, read
from .records import WORST, changed, failing, finding, full, passing, record, result, written


@pytest.fixture(scope="module")
def failed() -> Element:
    return read(page(failing()))


def by_id(root: Element, id: str) -> Element:
    found = root.all(id=id)
    assert len(found) == 1, f"{len(found)} elements are called {id}"
    return found[0]


@pytest.mark.parametrize(
    ("drawn", "word"),
    [
        (passing(), "conforms"),
        (failing(), "does not conform"),
        (changed(passing(), lambda r: r, complete=False), "incomplete"),
        (record([result(outcome="inconclusive")]), "inconclusive"),
        (record([result(), result("steps.stepwise", outcome="unexpected_pass")]), "inconclusive"),
        (record([result(outcome="not_offered")]), "inconclusive"),
        (record([], complete=False), "incomplete"),
        (record([result(), result("steps.stepwise", outcome="expected_failure")]), "conforms as declared"),
        (record([result()], shortfalls=["steps ran 3 examples, where the profile ci promises 40"]), "inconclusive"),
        (record([result(), result("steps.stepwise", outcome="not_run")], time_budget=60.0), "conforms"),
        (record([result(), result("steps.stepwise", outcome="not_run")]), "inconclusive"),
        (record([]), "inconclusive"),
    ],
)
def test_verdict(drawn: Record, word: str) -> None:
    assert standing(drawn).word == word
    (verdict,) = read(page(drawn)).of_class("verdict")
    assert word in verdict.all("strong")[0].text


def test_what_no_time_was_left_for_is_told_once() -> None:
    left = result("steps.stepwise", outcome="not_run", reason="left out: no time")
    assert standing(record([result(), left], time_budget=60.0)).why.count("left out") == 1


def test_every_finding_is_whole_and_anchored(failed: Element) -> None:
    for unit in failing().findings:
        if unit.finding is None:
            place = by_id(failed, "-".join((unit.id, unit.cell, unit.dtype, unit.device)))
            assert unit.reason in place.text
            continue
        place = by_id(failed, unit.finding.id)
        for text in (unit.finding.message, unit.finding.case, unit.finding.command, "forget gate are swapped"):
            assert text in place.text
        assert [span.text for span in place.of_class("element")[0].all("b")] == ["output", "0", "0", "0"]
        assert f"#{unit.finding.id}" in [a.attributes["href"] for a in place.all("a")]


def test_a_finding_says_what_it_looks_like_and_how_to_replay_it() -> None:
    named = Named("states.ignored", "the initial state is ignored", 0.5)
    command = "rnn-conformance replay 'x'"
    known = finding("values.cell-1", diagnosis=Diagnosis([named, named], 2, "layer 1"), command=command)
    unknown = finding("values.cell-2", diagnosis=Diagnosis(location="it starts in layer 0"))
    plain = finding("values.cell-3", diagnosis=None)
    found = zip(DTYPES, (known, unknown, plain), strict=False)
    checks = [result(dtype=dtype, outcome="failed", finding=one) for dtype, one in found]
    root = read(page(record(checks)))
    whole = by_id(root, "values.cell-1")
    assert [li.text for li in whole.all("li")] == ["the initial state is ignored states.ignored leaves ρ 0.5"] * 2
    assert "layer 1" in whole.of_class("diagnosis")[0].text
    assert whole.all("pre")[0].text == command
    assert "give the same numbers" in whole.of_class("diagnosis")[0].text
    told = by_id(root, "values.cell-2")
    assert "it starts in layer 0" in told.of_class("diagnosis")[0].text
    assert not told.all("li")
    assert not by_id(root, "values.cell-3").of_class("diagnosis")


def test_findings_of_one_check_are_one_article_each_with_its_script(failed: Element) -> None:
    articles = failed.of_class("finding")
    assert [a.all("h3")[0].text.split()[-1] for a in articles] == ["values.cell", "steps.stepwise"]
    assert articles[0].text.count("import numpy as np") == 4
    assert articles[0].text.count("rnn-conformance replay") == 4
    assert len(articles[0].of_class("others")[0].children) == 3
    assert json.loads(articles[0].of_class("whole")[0].all("pre")[-1].text) == finding().fields


def test_in_brief_each_finding_has_its_command_and_a_script_is_whole_or_elsewhere() -> None:
    def longer(r: CheckResult) -> CheckResult:
        some = r.finding
        assert some is not None
        own = f"{r.id} {r.cell} {r.dtype}"
        return replace(r, finding=replace(some, script=f"{some.script}# {own}\n", command=f"replay {own}"))

    drawn = changed(full(16, "failed"), longer)
    root = read(page(drawn))
    assert "told in brief" in by_id(root, "findings").text
    scripts = {pre.text for pre in root.of_class("script")}
    assert 16 < len(scripts) < len(drawn.findings)
    assert scripts <= {r.finding.script for r in drawn.findings if r.finding}
    assert all(len(article.of_class("whole")[0].of_class("script")) == 1 for article in root.of_class("finding"))
    for one in drawn.findings:
        assert one.finding is not None
        assert one.finding.command in [pre.text for pre in by_id(root, one.finding.id).all("pre")]


def test_links_lead_somewhere_and_names_are_unique(failed: Element) -> None:
    names = [e.attributes["id"] for e in failed.all() if "id" in e.attributes]
    assert max(Counter(names).values()) == 1
    targets = {a.attributes["href"] for a in failed.all("a")}
    assert targets <= {f"#{name}" for name in names}


def test_the_matrices_hold_every_unit(failed: Element) -> None:
    drawn = failing()
    slots = [td for td in failed.of_class("checks")[0].all("td") if td.children]
    assert len(slots) == len(drawn.checks)
    outcomes = Counter(td.children[0].classes[1] for td in slots)
    assert outcomes == drawn.counts
    assert all(td.children[0].all("i")[0].text for td in slots), "colour is not the only sign"
    glance = failed.of_class("matrix")[0]
    assert len([td for td in glance.all("td") if td.children]) == 4 * 16


def test_failed_and_blocked_units_lead_to_their_findings(failed: Element) -> None:
    links = list(failed.of_class("checks")[0].all("a"))
    assert Counter(a.classes[1] for a in links) == {"failed": 4, "blocked": 8, "crashed": 1}


def test_what_is_blocked_and_what_is_not_offered_is_told(failed: Element) -> None:
    blocked = by_id(failed, "blocked")
    assert "8 units of 2 checks blocked by values.cell" in " ".join(blocked.all("summary")[0].text.split())
    gaps = by_id(failed, "gaps").text
    assert "relu is not offered" in gaps
    assert "rnn_tanh × float64, float32, bfloat16, float16" in gaps


def test_what_there_was_no_time_for_is_told() -> None:
    left = result("steps.stepwise", outcome="not_run", examples=0, reason="left out: the time budget of 60 s was spent")
    root = read(page(record([result(), left], time_budget=60.0)))
    assert "left out for lack of time: 1" in root.of_class("verdict")[0].text
    assert "the time budget of 60 s was spent" in by_id(root, "gaps").text
    assert "60 s" in root.of_class("facts")[0].text
    short = read(page(record([result()], shortfalls=["steps ran 3 examples, where the profile ci promises 40"])))
    assert "Too little ran: steps ran 3 examples" in short.of_class("verdict")[0].text


def test_bits_distances_and_work_are_told(failed: Element) -> None:
    text = by_id(failed, "glance").text
    assert "< 0 ↓" in text
    (overview,) = by_id(failed, "distances").of_class("plots")
    plots = overview.all("svg", role="img")
    assert len(plots) == 3
    assert "float64 ∞, float32 4.9e6" in plots[0].attributes["aria-label"]
    compared = [r for r in failing().checks if r.values]
    assert sum(len(plot.all("title")) for plot in plots) == len(compared)
    rows = by_id(failed, "work").of_class("effort")[0].all("tr")
    assert len(rows) == 1 + 5 + 4 + 1
    assert len(by_id(failed, "work").of_class("units")[0].all("tr")) == 1 + len(failing().checks)


def test_every_check_shows_its_spread_and_its_worst_case(failed: Element) -> None:
    cards = failed.of_class("card")
    names = [card.all("figcaption")[0].text for card in cards]
    assert names == ["values.cell", "values.stack", "steps.stepwise", "purity.repeat"]
    spread, time, units = cards[0].all("svg", role="img")
    assert "float16 98.62 % of 3,427 numbers within 2.5, 27 over λ" in spread.attributes["aria-label"]
    assert "largest 2.5 near step 2" in time.attributes["aria-label"]
    assert "units 0 to 199" in units.attributes["aria-label"]
    assert [len(lane.of_class("over")) for lane in (spread, cards[1])] == [4, 0]
    assert len(spread.of_class("beyond")) == 3, "what lies beyond the axis is marked"
    assert "Largest ρ ∞ in lstm · float64" in cards[0].text
    assert cards[0].text.count(WORST.case) == 1


def test_bars_lie_on_their_side_of_the_limit(failed: Element) -> None:
    (card, *_) = failed.of_class("card")
    (limit,) = {float(path.attributes["d"].split()[0][1:]) for path in card.all("svg")[0].of_class("limit")}
    for path in card.all("svg")[0].of_class("bar"):
        places = [float(x) for x in re.findall(r"[MH]([0-9.]+)", path.attributes["d"])]
        assert min(places) >= limit if "over" in path.classes else max(places) <= limit


def test_spreads_of_units_are_added() -> None:
    drawn = failing()
    units = [r for r in drawn.checks if r.id == "values.cell" and r.dtype == "float16"]
    total = spread_of(units, len(drawn.bins) + 1)
    assert total.sum() == sum(sum(r.spread) for r in units) == 1000 + 20 + 7 + 2 * 1200
    assert total[3] == 1000 + 2 * 300
    assert spread_words(total, drawn.bins, 10.0).endswith("27 over λ")


def test_coverage_is_counted_and_gaps_are_named(failed: Element) -> None:
    drawn = failing()
    section = by_id(failed, "coverage")
    told = {axis.all("h3")[0].text: [d.text for d in axis.all("dd")] for axis in section.of_class("axis")}
    tried = sum(bool(r.coverage) for r in drawn.checks)
    assert told == {
        "num layers": [f"{5 * tried:,}"] * 3,
        "directions": [f"{10 * tried:,}", f"{5 * tried:,}"],
        "values": [f"{15 * tried:,}", "none"],
    }
    assert len(section.of_class("none")) == 1
    row = section.of_class("coverage")[0].all("tr")[-1]
    assert [cell.text for cell in row.children] == ["huge", *"·····"]


def test_a_record_without_spreads_still_has_a_page() -> None:
    bare = changed(passing(), lambda r: replace(r, spread=[], worst=None, coverage=[]), bins=[], axes={})
    root = read(page(bare))
    assert len(root.of_class("card")) == 4
    assert not root.all(id="coverage")


def test_the_first_screen_says_verdict_bits_and_where_to_look(failed: Element) -> None:
    (top,) = failed.of_class("top")
    look, guess = top.of_class("look")
    assert guess.text == "It looks as if the input and the forget gate are swapped"
    assert [a.attributes["href"] for a in look.all("a")] == ["#values.cell-float64", "#steps.stepwise-gru-float16-cpu"]
    assert "blocks 8 more" in look.text
    bits = {d.all("dt")[0].text: " ".join(d.all("dd")[0].text.split()) for d in top.of_class("precision")[0].all("div")}
    assert bits["float64"] == "< 0 of 53 bits ↓ low"
    assert not read(page(passing())).of_class("look")


def test_policy_environment_and_versions_are_told(failed: Element) -> None:
    text = by_id(failed, "run").text
    for told in ("empty sequence", "refused", "python", "3.11.7", "0.1.0", "2.13.0", "2026-11-24T14:05:56+00:00"):
        assert told in text


@pytest.mark.parametrize("drawn", [passing(), failing(), record([])], ids=["passing", "failing", "empty"])
def test_one_file_that_fetches_nothing(drawn: Record) -> None:
    html = page(drawn)
    assert html.startswith("<!DOCTYPE html>")
    root = read(html)
    assert not root.all("img")
    assert [link.attributes["href"] for link in root.all("link")] == ["data:,"]
    assert all("src" not in e.attributes for e in root.all())
    policy = root.all("meta")[3].attributes["content"]
    assert policy.startswith("default-src 'none'")


def test_two_records_with_equal_text_give_equal_pages() -> None:
    assert page(failing()) == page(failing())


@pytest.mark.parametrize("outcome", ["passed", "failed", "blocked", "not_offered"])
def test_a_full_record_makes_a_page_of_less_than_two_megabytes(outcome: str) -> None:
    drawn = full(64, outcome)
    written(drawn)
    assert len(page(drawn).encode()) < 2_000_000


@pytest.mark.parametrize(("count", "lines"), [(100, 50), (300, 20), (300, 200), (1024, 0), (1024, 10)])
def test_however_many_findings_it_has(count: int, lines: int) -> None:
    left = iter(range(count))

    def some(r: CheckResult) -> CheckResult:
        if next(left, None) is None or r.finding is None:
            return replace(r, outcome="passed", finding=None)
        return replace(r, finding=replace(r.finding, script="x = np.array(['a', \"b\", 1.0, 2.0, 3.0])\n" * lines))

    assert len(page(changed(full(64, "failed"), some)).encode()) < 2_000_000
