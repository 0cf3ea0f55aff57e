"""What a comparison says, in both directions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace
from rnn_conformance.record import CheckResult, Outcome, Record
from rnn_conformance.report.compare import Comparison, compare
from rnn_conformance.report.compare_views import as_html, as_markdown, as_text, conclusion

from .reading import read
from .records import IDS, changed, failing, passing, record, result


def becomes(outcome: Outcome) -> Callable[[CheckResult], CheckResult]:
    """One unit comes to something else."""
    return lambda r: replace(r, outcome=outcome) if is_one(r) else r


def is_one(r: CheckResult) -> bool:
    return (r.id, r.cell, r.dtype) == ("values.cell", "gru", "float32")


def without(r: CheckResult) -> CheckResult | None:
    return None if is_one(r) else r


def kinds(comparison: Comparison) -> list[str]:
    return [change.kind for change in comparison.changes]


OLD = passing()


@pytest.mark.parametrize("outcome", ["failed", "crashed", "timed_out", "blocked", "inconclusive", "not_run"])
def test_broke_and_mended(outcome: Outcome) -> None:
    new = changed(OLD, becomes(outcome))
    there, back = compare(OLD, new), compare(new, OLD)
    assert kinds(there) == ["broke"]
    assert there.regressed
    assert kinds(back) == ["mended"]
    assert not back.regressed


@pytest.mark.parametrize("new", [changed(OLD, without), changed(OLD, becomes("not_offered"))], ids=["gone", "declined"])
def test_vanished_and_appeared(new: Record) -> None:
    there, back = compare(OLD, new), compare(new, OLD)
    assert kinds(there) == ["vanished"]
    assert there.regressed, "what passed is there no more"
    assert kinds(back) == ["appeared"]
    assert not back.regressed


def test_what_appears_wrong_is_a_regression_and_what_vanishes_wrong_is_none() -> None:
    old, new = changed(OLD, without), changed(OLD, becomes("failed"))
    assert compare(old, new).regressed
    assert not compare(new, old).regressed


def test_not_offered_and_absent_are_the_same() -> None:
    assert kinds(compare(changed(OLD, without), changed(OLD, becomes("not_offered")))) == []


@pytest.mark.parametrize(("was", "now"), [("failed", "crashed"), ("blocked", "failed"), ("passed", "expected_failure")])
def test_moved(was: Outcome, now: Outcome) -> None:
    comparison = compare(changed(OLD, becomes(was)), changed(OLD, becomes(now)))
    assert kinds(comparison) == ["moved"]
    assert not comparison.regressed


def spending(seconds: float, examples: int = 15) -> Record:
    checks = [result(dtype=d, backend_seconds=seconds, examples=examples) for d in ("float64", "float32")]
    return record(checks)


@pytest.mark.parametrize(
    ("before", "after", "slower"),
    [(0.3, 0.7, True), (0.3, 0.5, False), (0.01, 0.2, False), (3.0, 5.0, False), (0.0, 1.0, True)],
)
def test_slower_is_twice_and_half_a_second_over_a_check(before: float, after: float, slower: bool) -> None:
    comparison = compare(spending(before), spending(after))
    assert kinds(comparison) == ["slower"] * slower
    assert not comparison.regressed
    assert kinds(compare(spending(after), spending(before))) == []


def test_more_examples_are_not_slower() -> None:
    assert kinds(compare(spending(0.3, 15), spending(3.0, 150))) == []


def test_less_exact_is_half_a_bit_and_a_regression_where_cases_are_the_same() -> None:
    exact, coarse, near = (record([result(effective_bits=bits)]) for bits in (24.0, 23.0, 23.6))
    assert kinds(compare(exact, coarse)) == ["less_exact"]
    assert compare(exact, coarse).regressed
    assert kinds(compare(exact, near)) == []
    assert kinds(compare(coarse, exact)) == []
    other_seed = replace(coarse, seed=1)
    assert kinds(compare(exact, other_seed)) == ["less_exact"]
    assert not compare(exact, other_seed).regressed


def test_a_run_that_was_cut_short_is_a_regression() -> None:
    cut = changed(OLD, lambda r: r, complete=False)
    assert compare(OLD, cut).regressed
    assert not compare(cut, OLD).regressed


def test_what_else_differs() -> None:
    new = replace(
        OLD,
        backend_version="3",
        suite_version="0.2",
        profile="smoke",
        environment={"python": "3.12"},
        policy=OLD.policy | {"unbatched": False},
    )
    found = {(d.what, d.name): (d.before, d.after) for d in compare(OLD, new).differences}
    assert found == {
        ("backend", "backend version"): ("2.13.0", "3"),
        ("suite", "suite version"): ("0.1.0", "0.2"),
        ("profile", "profile"): ("ci", "smoke"),
        ("environment", "python"): ("3.11.7", "3.12"),
        ("environment", "numpy"): ("2.4.6", "absent"),
        ("policy", "unbatched"): ("True", "False"),
    }
    assert not compare(OLD, new).same_cases


def test_what_a_time_budget_leaves_out_is_told_and_not_compared() -> None:
    cut = changed(OLD, becomes("not_run"), time_budget=60.0)
    comparison = compare(OLD, cut)
    assert kinds(comparison) == []
    assert not comparison.regressed
    assert [(d.name, d.before, d.after) for d in comparison.differences] == [
        ("time budget", "None", "60.0"),
        ("units left out", "0", "1"),
    ]


def test_nothing_changed() -> None:
    comparison = compare(OLD, OLD)
    assert not comparison.changes
    assert not comparison.differences
    assert conclusion(comparison) == "NOTHING CHANGED"


def test_the_renderings_say_the_same() -> None:
    comparison = compare(passing(), failing())
    text = as_text(comparison)
    html = read(as_html(comparison)).text
    markdown = as_markdown(comparison)
    for told in (text, html, markdown):
        assert "values.cell" in told
        assert "lstm × float64, float32, bfloat16, float16" in told
        assert "my" in told
    assert text.endswith("REGRESSED\n")
    assert (
        "  values.stack, steps.stepwise lstm × float64, float32, bfloat16, float16: passed → blocked by values.cell\n"
        in text
    )
    assert f"  {', '.join(IDS)} rnn_relu × float64, float32, bfloat16, float16: passed → not offered\n" in text
    assert "  values.cell lstm × float64, float32, bfloat16, float16: passed → failed\n" in text
    assert "| values.cell | lstm × float64, float32, bfloat16, float16 | passed | failed |" in markdown
    assert "✕ regressed" in html
