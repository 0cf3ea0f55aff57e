"""Expectations: a small predicate that is never evaluated as Python, and a region that hides nothing beside it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rnn_conformance.backend import WrongUse
from rnn_conformance.case import Case
from rnn_conformance.config import LayerConfig
from rnn_conformance.execution import EXAMPLES, run_unit
from rnn_conformance.expectations import FIELDS, Expectation, fields_of, read_expectations
from rnn_conformance.record import CheckResult
from rnn_conformance.run import load_checks
from rnn_conformance.strategies import Unit

from .wrong import Right, SwappedGates, WrongWhenWide

CASE = Case(LayerConfig("lstm", 3, 4, num_layers=2, bidirectional=True), seq_len=5, batch_size=2, lengths=(5, 3))
UNIT = Unit("values.stack", "lstm", "float64", "cpu", 0)


def written(tmp_path: Path, **fields: str) -> Path:
    path = tmp_path / "expectations.toml"
    lines = [f"{name} = '''{value}'''" for name, value in fields.items()]
    path.write_text("\n".join(["[[expectation]]", *lines, ""]), encoding="utf-8")
    return path


def covers(where: str, case: Case = CASE) -> bool:
    return Expectation(check="values.cell", reason="known", where=where).covers("values.cell", case)


@pytest.mark.parametrize(
    ("where", "due"),
    [
        ("True", True),
        ("cell == 'lstm'", True),
        ("cell != 'lstm'", False),
        ("hidden_size >= 4 and num_layers == 2", True),
        ("hidden_size > 4 or not bidirectional", False),
        ("dtype in ('float32', 'bfloat16')", True),
        ("dtype not in ['float32']", False),
        ("2 < seq_len < 6", True),
        ("lengths == None", False),
        ("3 in lengths", True),
        ("batch_size == None", False),
        ("cell < 3", False),  # kinds that have no order
        ("3 in cell", False),
        ("hidden_size > -1", True),
        ("dropout == 0.0", True),
        ("reset_after and clip > 0", False),
    ],
)
def test_a_predicate_compares_fields(where: str, due: bool, tmp_path: Path) -> None:
    (read,) = read_expectations(written(tmp_path, check="values.cell", reason="r", where=where), load_checks())
    assert read.covers("values.cell", CASE) is due
    assert not read.covers("values.stack", CASE)


@pytest.mark.parametrize(
    ("where", "due"),
    [
        ("__import__('os').system('true')", "only comparisons"),
        ("cell.upper() == 'LSTM'", "only comparisons"),
        ("hidden_size * 2 > 3", "only comparisons"),
        ("(lambda: 1)()", "only comparisons"),
        ("[x for x in lengths]", "only comparisons"),
        ("f'{cell}'", "only comparisons"),
        ("(n := 3) > 2", "only comparisons"),
        ("cell is 'lstm'", "only comparisons"),
        ("-'a' == 1", "only comparisons"),
        ("9 ** 9 ** 9 > 1", "only comparisons"),
        ("lengths[0] > 1", "only comparisons"),
        ("b'a' == cell", "only comparisons"),
        ("kernel == 'lstm'", "names 'kernel', which is none of"),
        ("", "is not an expression"),
        ("cell ==", "is not an expression"),
        ("import os", "is not an expression"),
        ("not " * 300 + "True", "is nested too deeply"),
        ("(" * 5000 + "1" + ")" * 5000, "is not an expression"),
    ],
)
def test_anything_else_is_refused(where: str, due: str, tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match=due.replace("(", r"\(")):
        read_expectations(written(tmp_path, check="values.cell", reason="r", where=where), load_checks())


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("[[expectation]]\ncheck = 'values.cell'", "missing required field `reason`"),
        ("[[expectation]]\ncheck = 'values.cell'\nreason = ' '", "needs a reason"),
        ("[[expectation]]\ncheck = 'values.nope'\nreason = 'r'", "there is no check 'values.nope'"),
        ("[[expectation]]\ncheck = 'values.cell'\nreason = 'r'\nwhen = 'x'", "unknown field `when`"),
        ("[[expectations]]\ncheck = 'values.cell'\nreason = 'r'", "unknown field `expectations`"),
        ("[[expectation]]\ncheck = 3\nreason = 'r'", "Expected `str | array`, got `int`"),
        ("[[expectation]]\ncheck = []\nreason = 'r'", "of length >= 1"),
        ("[[expectation]]\ncheck = ['values.cell', 'values.nope']\nreason = 'r'", "there is no check 'values.nope'"),
        ("expectation = ", "is not a file of expectations"),
    ],
)
def test_a_file_that_is_not_well_formed(text: str, due: str, tmp_path: Path) -> None:
    path = tmp_path / "expectations.toml"
    path.write_text(text)
    with pytest.raises(WrongUse, match=due):
        read_expectations(path, load_checks())


def test_one_reason_for_several_checks(tmp_path: Path) -> None:
    path = tmp_path / "expectations.toml"
    path.write_text("[[expectation]]\ncheck = ['values.cell', 'values.stack']\nreason = 'r'\nwhere = 'not bias'\n")
    cell, stack = read_expectations(path, load_checks())
    assert cell == Expectation(check="values.cell", reason="r", where="not bias")
    assert stack == Expectation(check="values.stack", reason="r", where="not bias")


TOKENS = [*sorted(FIELDS), "and", "or", "not", "in", "==", "<", ">=", "(", ")", ",", "-", "1", "0.5", "'lstm'", "None"]
TOKENS += [
    "__import__('os')",
    ".",
    "[",
    "]",
    "{",
    "}",
    "*",
    "lambda:",
    ":=",
    "if",
    "else",
    "is",
    "'",
    "\\",
    "#",
    "\x00",
]
NOT_FOR_TOML = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="'")


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=12).map(" ".join) | st.text(NOT_FOR_TOML, max_size=40))
def test_a_predicate_is_refused_or_gives_a_truth(where: str) -> None:
    from rnn_conformance.expectations import DEEPEST, _parsed, _verify

    try:
        _verify(_parsed(where), DEEPEST)
    except ValueError:
        return
    assert covers(where) in (True, False)


def expecting(where: str, check: str = "values.stack") -> tuple[Expectation, ...]:
    return (Expectation(check=check, reason="a known deviation", where=where),)


def ran(
    backend: Any, where: str | None, check: str = "values.stack", profile: str = "smoke", **options: Any
) -> CheckResult:
    known = () if where is None else expecting(where, check)
    unit = replace(UNIT, check=check)
    return run_unit(load_checks()[check], unit, backend, profile, expectations=known, **options)


def test_an_expected_failure_is_confirmed_once_and_never_shrunk() -> None:
    tried: list[Case] = []
    expected = ran(SwappedGates(), "True", note=tried.append)
    assert expected.outcome == "expected_failure"
    assert expected.reason == "a known deviation"
    assert expected.finding is not None
    assert [expected.finding.case] == [str(case) for case in tried]  # the first, as it was drawn, and no other


def test_a_region_takes_no_place_of_the_cases_beside_it() -> None:
    wide: list[Case] = []
    (there,) = expecting("hidden_size >= 3 or bidirectional")
    ran_here = partial(ran, WrongWhenWide(), there.where, profile="ci")
    ran_here(note=lambda case: wide.append(case) if there.covers(there.check, case) else None)
    assert len(wide) == 1
    narrow = ran_here().examples - 1
    assert narrow >= EXAMPLES["ci"]


def test_what_lies_in_the_region_hides_nothing_beside_it() -> None:
    assert ran(WrongWhenWide(), None).outcome == "failed"
    wide = ran(WrongWhenWide(), "not bidirectional")
    assert wide.outcome == "failed"
    assert wide.finding is not None
    assert wide.finding.fields["config"]["bidirectional"]
    assert ran(WrongWhenWide(), "hidden_size >= 3 or bidirectional").outcome == "expected_failure"


def test_every_region_that_showed_its_failure_is_told() -> None:
    known = (
        Expectation(check="values.stack", reason="wrong when wide", where="not bidirectional and hidden_size >= 3"),
        Expectation(check="values.stack", reason="wrong in both directions", where="bidirectional"),
    )
    told = run_unit(load_checks()["values.stack"], UNIT, WrongWhenWide(), "ci", expectations=known)
    assert {*told.reason.split("; ")} == {"wrong when wide", "wrong in both directions"}


def test_numbers_that_are_declared_to_be_wrong_are_no_measure_of_precision() -> None:
    assert ran(WrongWhenWide(), None).effective_bits is not None
    declared = ran(WrongWhenWide(), "hidden_size >= 3 or bidirectional")
    assert declared.values
    assert declared.effective_bits is None


def test_a_stale_expectation_fails_the_unit() -> None:
    right = ran(Right(), "True")
    assert right.outcome == "unexpected_pass"
    assert "take that back" in right.reason


def test_a_region_that_no_case_enters_changes_nothing() -> None:
    assert ran(Right(), "hidden_size > 100000").outcome == "passed"


def test_a_random_life_can_be_expected_too() -> None:
    assert ran(SwappedGates(), None, "purity.life").outcome == "failed"
    assert ran(SwappedGates(), "cell == 'lstm'", "purity.life").outcome == "expected_failure"
    assert ran(SwappedGates(), "cell == 'gru'", "purity.life").outcome == "failed"


def test_an_expected_life_is_not_made_smaller() -> None:
    lives: list[Case] = []
    ran(SwappedGates(), "cell == 'lstm'", "purity.life", note=lives.append)
    assert len(lives) == 1


def test_every_field_is_a_case_s_own() -> None:
    assert set(fields_of(CASE)) == FIELDS
