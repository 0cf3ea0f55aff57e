"""The gate itself: minimum counts, the time budget, the same cases on any number of workers, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace
from report.records import record, result
from rnn_conformance.config import CELLS, DTYPES
from rnn_conformance.execution import EXAMPLES
from rnn_conformance.promises import promised, shortfalls
from rnn_conformance.record import CheckResult, Record, read_record, to_json
from rnn_conformance.report.standing import standing
from rnn_conformance.run import left_out, load_checks, units
from rnn_conformance.session import spread, unit_of
from rnn_conformance.verdict import verdict, verdict_lines

from .running import run

WRONG = "tests.gate.wrong"


@pytest.mark.parametrize("profile", EXAMPLES)
def test_every_check_promises_something_and_no_more_than_it_draws(profile: str) -> None:
    for check in load_checks().values():
        assert 1 <= promised(check, profile) <= max(1, round(EXAMPLES[profile] * check.share))


def test_too_few_examples_are_an_error_not_a_pass() -> None:
    enough = result("values.stack", examples=promised(load_checks()["values.stack"], "ci"))
    assert shortfalls([enough], "ci") == []
    few = replace(enough, examples=enough.examples - 1)
    assert shortfalls([few], "ci") == [
        f"values ran {few.examples} examples, where the profile ci promises {few.examples + 1}"
    ]
    together = [few, replace(enough, dtype="float64", examples=enough.examples + 1)]
    assert shortfalls(together, "ci") == []  # a family's units promise together


def test_a_backend_that_takes_few_examples_promises_fewer() -> None:
    check = load_checks()["values.stack"]
    assert promised(check, "thorough", 4) == 2 < promised(check, "thorough")
    few = result("values.stack", examples=2)
    assert shortfalls([few], "thorough", 4) == []
    assert shortfalls([few], "thorough")


def test_what_is_not_offered_promises_nothing_and_what_failed_says_enough() -> None:
    assert shortfalls([result("values.stack", outcome="not_offered", examples=0)], "ci") == []
    assert shortfalls([result("values.stack", outcome="failed", examples=1)], "ci") == []
    expected = result("values.stack", outcome="expected_failure", examples=1)
    assert shortfalls([expected], "ci") == []
    assert shortfalls([expected, result("values.cell", examples=1)], "ci")  # which excuses no other unit
    assert shortfalls([result("values.stack", outcome="inconclusive", examples=0)], "ci")


def test_a_family_without_a_single_unit_has_fallen_short() -> None:
    none = [result("values.stack", outcome="not_run", examples=0), result("values.cell", outcome="not_run", examples=0)]
    assert shortfalls(none, "ci") == ["values ran in none of its 2 units of work"]
    assert shortfalls([*none, result("values.stack", dtype="float64", examples=99)], "ci") == []


def test_a_record_that_fell_short_is_not_ok() -> None:
    right = record([result("values.stack")])
    assert right.ok
    short = replace(right, shortfalls=["values ran 3 examples, where the profile ci promises 7"])
    assert not short.ok
    assert verdict(short).startswith("TOO LITTLE RAN on torch 2.13.0 on cpu: values ran 3 examples")
    assert "values ran 3 examples" in standing(short).why


def test_a_record_in_which_nothing_passes_says_whether_anything_was_tried() -> None:
    declared, none = (result("values.stack", outcome=how) for how in ("expected_failure", "not_offered"))
    assert verdict(record([declared])) == "SAYS NOTHING: all that was tried on torch 2.13.0 on cpu fails as declared"
    assert verdict(record([none])) == "SAYS NOTHING: no check ran an example on torch 2.13.0 on cpu"


def test_units_left_out_are_told_and_do_not_fail_a_run_that_did_enough() -> None:
    checks = [
        result("values.stack"),
        result("values.stack", dtype="float64", outcome="not_run", examples=0, reason="x"),
    ]
    in_time = record(checks, time_budget=60.0)
    assert in_time.ok
    assert verdict(in_time).endswith("passes 1 unit of work; 1 were left out for lack of time")
    assert "left out, for 60 s were spent (units of work of each check): values.stack 1" in verdict_lines(
        in_time, Path("r")
    )
    assert "left out for lack of time: 1" in standing(in_time).why
    assert not replace(in_time, time_budget=None).ok  # not run for another reason


def test_a_stale_expectation_is_told() -> None:
    stale = record([result("values.cell"), result("values.stack", outcome="unexpected_pass", reason="take that back")])
    assert not stale.ok
    assert verdict(stale).startswith("STALE: torch")
    assert "STALE values.stack · lstm · float32 · cpu: take that back" in verdict_lines(stale, Path("r"))


def items() -> list[Any]:
    found = []
    for check in reversed(load_checks().values()):
        for unit in units(check, "cpu", 0):
            found.append(SimpleNamespace(callspec=SimpleNamespace(params={"rnn_unit": unit})))
    return found


def test_time_is_spread_over_families_checks_cells_and_dtypes() -> None:
    checks = load_checks()
    ordered = [item.callspec.params["rnn_unit"] for item in spread(items())]
    assert sorted(map(repr, ordered)) == sorted(repr(item.callspec.params["rnn_unit"]) for item in items())
    families = list(dict.fromkeys(check.family for check in checks.values()))
    assert [unit.check.partition(".")[0] for unit in ordered[: len(families)]] == families
    first = ordered[: len(checks)]
    whole = [check.id for check in checks.values() if not check.cells and not check.dtypes]
    assert {unit.check for unit in first} >= set(whole)
    assert {unit.cell for unit in first} >= set(CELLS)
    assert {unit.dtype for unit in first} >= set(DTYPES)
    for id in whole[:3]:
        begun = [(unit.cell, unit.dtype) for unit in ordered if unit.check == id][:4]
        assert len({cell for cell, _ in begun}) == len({dtype for _, dtype in begun}) == 4
    assert ordered == [item.callspec.params["rnn_unit"] for item in spread(items()[::-1])]  # whatever order they had


def test_a_unit_is_known_by_its_test_s_name() -> None:
    unit = next(iter(units(load_checks()["steps.chunks"], "cpu", 3)))
    row = f"[{unit.cell}-{unit.dtype}-cpu]"
    assert unit_of(f"some/suite/test_steps.py::test_chunks{row}", "cpu", 3) == unit
    assert unit_of(f"tests/test_conformance.py::test_steps_chunks{row}", "cpu", 3) == unit
    assert unit_of(f"tests/test_own.py::test_chunks{row}", "cpu", 3) is None


def told(folder: Path) -> Record:
    """The record in this folder, without times."""
    found = read_record(folder / "record.json")
    still = [replace(r, seconds=0.0, backend_seconds=0.0) for r in found.checks]
    return replace(found, started="", seconds=0.0, checks=still)


def test_the_same_seed_gives_the_same_record_on_any_number_of_workers(tmp_path: Path) -> None:
    words = [
        "--backend",
        f"{WRONG}:WrongWhenWide",
        "--profile",
        "smoke",
        "-k",
        "float64 and lstm and (values or steps)",
    ]
    records: dict[str, Record] = {}
    for workers in ("0", "2"):
        alone = tmp_path / f"{workers} workers"  # without what failed in an earlier run
        alone.mkdir()
        ran = run("run", *words, "-n", workers, "--seed", "5", "--report", str(tmp_path / workers), cwd=alone)
        assert ran.returncode == 1, ran.stderr
        records[workers] = told(tmp_path / workers)
    assert records["0"].findings
    assert to_json(records["0"]) == to_json(records["2"])
    alone = tmp_path / "another seed"
    alone.mkdir()
    ran = run("run", *words, "-n", "0", "--seed", "6", "--report", str(tmp_path / "other"), cwd=alone)
    assert ran.returncode == 1
    assert {r.finding.case for r in told(tmp_path / "other").findings if r.finding} != {
        r.finding.case for r in records["0"].findings if r.finding
    }


def test_a_time_budget_leaves_out_what_it_must_and_says_so(tmp_path: Path) -> None:
    words = ["--backend", "numpy", "--profile", "smoke", "-k", "values or shapes", "--time-budget", "0.001s"]
    ran = run("run", *words, "-n", "0", "--report", str(tmp_path))
    assert ran.returncode == 3, ran.stdout + ran.stderr
    found = read_record(tmp_path / "record.json")
    assert found.counts == {"not_run": len(found.checks)}
    assert {r.reason for r in found.checks} == {"left out: the time budget of 0.001 s was spent"}
    assert len(found.shortfalls) == 2
    assert ran.stdout.splitlines()[-1].startswith("TOO LITTLE RAN on numpy")
    assert "left out, for 0.001 s were spent (units of work of each check): shapes.result 16" in ran.stdout


def test_exit_codes_and_the_summary_that_github_shows(tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    words = ["--profile", "smoke", "-n", "0", "-k", "values.cell and lstm and float64"]
    right = run("run", "--backend", "numpy", *words, "--report", str(tmp_path / "a"), GITHUB_STEP_SUMMARY=str(summary))
    assert right.returncode == 0, right.stdout + right.stderr
    assert right.stdout.splitlines()[-1].startswith("CONFORMS: numpy")
    assert ": conforms\n" in summary.read_text()
    swapped = ["--backend", f"{WRONG}:SwappedGates"]
    wrong = run("run", *swapped, *words, "--report", str(tmp_path / "b"), GITHUB_STEP_SUMMARY=str(summary))
    assert wrong.returncode == 1
    assert wrong.stdout.splitlines()[-1].startswith("DOES NOT CONFORM: swapped-gates")
    assert "does not conform" in summary.read_text()
    known = tmp_path / "expectations.toml"
    known.write_text("[[expectation]]\ncheck = 'values.cell'\nreason = 'gates are swapped'\n")
    expected = run("run", *swapped, *words, "--expectations", str(known), "--report", str(tmp_path / "c"))
    assert json.loads((tmp_path / "c" / "record.json").read_bytes())["checks"][0]["outcome"] == "expected_failure"
    assert "1 expected failure" in expected.stdout
    stale = run("run", "--backend", "numpy", *words, "--expectations", str(known), "--report", str(tmp_path / "d"))
    assert stale.returncode == 1
    assert stale.stdout.splitlines()[-1].startswith("STALE: numpy")


def test_left_out_is_not_passed() -> None:
    from rnn_conformance.request import Request

    unit = next(iter(units(load_checks()["values.cell"], "cpu", 0)))
    some: CheckResult = left_out(unit, Request(time_budget=60))
    assert (some.outcome, some.examples) == ("not_run", 0)
