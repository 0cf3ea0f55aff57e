"""The suite in a user's own test tree: pytest's options mean what they always mean, and nobody else pays for it."""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ElementTree
from importlib.util import find_spec
from pathlib import Path

import pytest
from rnn_conformance.record import read_record

from .running import python

OWN = "def test_of_their_own():\n    pass\n"
CHOSEN = "(values and lstm and float64) or own"
VALUES = ("cell", "stack", "default_state", "final_state", "alone")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A user's project: one test of their own, and one import."""
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\naddopts = --strict-markers --strict-config -p rnn_conformance.plugin\n"
    )
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_own.py").write_text(OWN)
    (tmp_path / "tests" / "test_conformance.py").write_text("from rnn_conformance.suite.all import *\n")
    return tmp_path


def pytested(tree: Path, *words: str, backend: str = "numpy") -> subprocess.CompletedProcess[str]:
    return python("-m", "pytest", "-q", f"--rnn-backend={backend}", "--rnn-profile=smoke", *words, cwd=tree)


def counts(ran: subprocess.CompletedProcess[str]) -> str:
    return ran.stdout.strip().splitlines()[-1].rpartition(" in ")[0].strip("= ")


@pytest.mark.parametrize("workers", ["0", "2"])
def test_every_check_is_a_test_chosen_with_k_and_reported_in_junit(workers: str, tree: Path) -> None:
    ran = pytested(tree, "-k", CHOSEN, "-n", workers, "--junitxml=junit.xml", "--rnn-report=out")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert counts(ran).startswith("6 passed")
    assert "CONFORMS: numpy" in ran.stdout
    found = read_record(tree / "out" / "record.json")
    assert found.complete
    assert {r.id for r in found.checks} == {f"values.{n}" for n in VALUES}
    names = {case.attrib["name"] for case in ElementTree.parse(tree / "junit.xml").iter("testcase")}
    assert names == {f"test_{r.id.replace('.', '_')}[lstm-float64-cpu]" for r in found.checks} | {"test_of_their_own"}


def test_all_checks_are_there(tree: Path) -> None:
    from rnn_conformance.run import load_checks, units

    ran = pytested(tree, "--collect-only", "-m", "rnn_conformance")
    ids = [line.partition("::")[2] for line in ran.stdout.splitlines() if "::" in line]
    due = [
        f"test_{check.id.replace('.', '_')}[{u.cell}-{u.dtype}-{u.device}]"
        for check in load_checks().values()
        for u in units(check, "cpu", 0)
    ]
    assert sorted(ids) == sorted(due)


def test_m_leaves_the_checks_out(tree: Path) -> None:
    ran = pytested(tree, "-m", "not rnn_conformance")
    assert counts(ran).startswith("1 passed")
    assert not (tree / "reports").exists()


def test_lf_runs_what_failed_last(tree: Path) -> None:
    swapped = "tests.gate.wrong:SwappedGates"
    ran = pytested(tree, "-k", "values and lstm and float64", backend=swapped)
    assert ran.returncode == 1
    failed = counts(ran).partition(" ")[0]
    assert int(failed) >= 2
    assert "replay: rnn-conformance replay 'values.cell " in ran.stdout
    again = pytested(tree, "--lf", backend=swapped)
    assert counts(again).startswith(f"{failed} failed")
    mended = pytested(tree, "--lf")
    assert counts(mended).startswith(f"{failed} passed")


@pytest.mark.skipif(find_spec("pytest_randomly") is None, reason="pytest-randomly is not installed")
def test_a_random_order_changes_nothing(tree: Path) -> None:
    found = []
    for seed in ("1", "2"):
        words = ["-p", "randomly", "-p", "no:cacheprovider", f"--randomly-seed={seed}", f"--rnn-report={seed}"]
        ran = pytested(tree, "-k", "values and lstm and float64", *words)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        found.append(read_record(tree / seed / "record.json"))
    first, second = ([(r.id, r.examples, r.values, r.largest_rho) for r in one.checks] for one in found)
    assert first == second


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_wrong_name_is_one_sentence(workers: str, tree: Path) -> None:
    ran = pytested(tree, "-n", workers, backend="nosuch")
    assert ran.returncode != 0
    assert "rnn-conformance: no backend is called 'nosuch': choose one of" in ran.stdout
    assert "Traceback" not in ran.stdout + ran.stderr
    assert not (tree / "reports").exists()


def test_a_wrong_option_is_one_sentence(tree: Path) -> None:
    ran = pytested(tree, "--rnn-time-budget=soon")
    assert ran.returncode == 4
    assert "--rnn-time-budget: invalid seconds value: 'soon'" in ran.stderr


def test_a_run_that_asks_for_nothing_imports_nothing(tree: Path) -> None:
    (tree / "tests" / "test_conformance.py").unlink()
    (tree / "conftest.py").write_text(
        "import sys\n\n\ndef pytest_unconfigure():\n"
        "    heavy = {'torch', 'hypothesis', 'numpy', 'msgspec', 'jinja2', 'rnn_reference'} & set(sys.modules)\n"
        "    ours = {name for name in sys.modules if name.startswith('rnn_conformance.')}\n"
        "    print('\\nHEAVY', sorted(heavy), sorted(ours))\n"
    )
    words = ["-s", "-p", "no:hypothesispytest", "-p", "no:randomly"]  # plugins that import those themselves
    ran = pytested(tree, *words)
    assert ran.returncode == 0
    assert "HEAVY [] ['rnn_conformance.plugin', 'rnn_conformance.request']" in ran.stdout


def test_the_suite_itself_runs_from_pytest(tmp_path: Path) -> None:
    words = ["--pyargs", "rnn_conformance.suite", "-p", "rnn_conformance.plugin", "-p", "no:cacheprovider"]
    ran = pytested(tmp_path, *words, "-k", "values and rnn_tanh and float64", "--rnn-report=out")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "CONFORMS: numpy" in ran.stdout
