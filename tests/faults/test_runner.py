"""The runner: trials in processes of their own, what they come to, and the page drawn of it."""

import os
import time
from pathlib import Path

import pytest
from rnn_conformance.run import load_checks

from . import CONTROLS, FAULTS, trial
from .page import page
from .pool import trials
from .readme import README, with_table
from .record import ZooRecord, bar, new_record, read, verdict, write
from .trial import Found, Job, Tell, Trial

ONE = FAULTS["no-recurrence"]


def answering(job: Job, tell: Tell) -> list[Trial]:
    """A run that finds something, unless its seed says that it dies, hangs or raises."""
    tell((ONE.name, "values.cell", "lstm", "float32"))
    if job.seed == 1:
        os._exit(3)
    if job.seed == 2:
        time.sleep(600)
    if job.seed == 3:
        raise RuntimeError("the suite itself is at fault")
    return [a_trial(ONE.name, job.profile, job.seed)]


def a_trial(name: str, profile: str = "ci", seed: int = 0, *, killed: bool = True, seconds: float = 1.0) -> Trial:
    found = [Found(check="values.cell", cell="lstm", dtype="float32", how="failed", message="<b>5 & 6</b>")]
    return Trial(
        name=name,
        profile=profile,
        seed=seed,
        in_order=seed == 0,
        found=found if killed else [],
        seconds=seconds,
        values={"float32": 1000},
    )


@pytest.mark.filterwarnings("ignore")
def test_a_process_that_dies_or_hangs_harms_no_other() -> None:
    """What was tried last is what broke it, and the rest goes on."""
    jobs = [Job("ci", seed, ONE) for seed in range(5)]
    found = {t.seed: t for t in trials(jobs, workers=2, patience=3.0, run=answering)}
    assert [found[seed].found[0].how for seed in range(5)] == ["failed", "crashed", "timed_out", "crashed", "failed"]
    assert {t.found[0].check for t in found.values()} == {"values.cell"}
    assert all(t.killed for t in found.values())


@pytest.mark.parametrize("in_order", [True, False])
def test_run_stops_at_the_first_finding(in_order: bool) -> None:
    """A fault's run ends where the first check fails, and the check expected comes first where order is free."""
    told: list[tuple[str, str, str, str]] = []
    (result,) = trial.run(Job("smoke", 0, FAULTS["gates-ordered-ifog"], in_order=in_order), told.append)
    assert result.killed
    assert result.found[0].check == told[-1][1] == "values.cell"
    assert told[0][1] == (next(iter(load_checks())) if in_order else "values.cell")
    assert result.examples > 0
    assert result.seconds > 0


def test_controls_run_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every control of a cell is tried in every unit of the cell, and none is accused."""
    one = {"values.cell": load_checks()["values.cell"]}
    monkeypatch.setattr(trial, "load_checks", lambda: one)
    job = Job("smoke", 0, cell="gru")
    found = trial.run(job, lambda _: None)
    assert {t.key for t in found} == job.keys
    assert {t.units for t in found} == {4}
    assert not any(t.found for t in found)
    assert all(count > 100 for t in found for count in t.values.values())


def record_of(*given: Trial) -> ZooRecord:
    record = new_record()
    record.trials.extend(given)
    return record


def test_bar() -> None:
    """One survivor of ci, a slow median or one accused control is enough to miss the bar."""
    first, second = list(FAULTS)[:2]
    control = next(iter(CONTROLS))
    good = [a_trial(first), a_trial(second), a_trial(control, killed=False)]
    assert bar(record_of(*good)).met
    assert not bar(record_of(*good, a_trial(first, seed=1, killed=False))).met
    assert not bar(record_of(*good, a_trial(control, seed=1))).met
    assert not bar(record_of(*(a_trial(name, seconds=9.0) for name in (first, second)))).met
    smoke = [a_trial(name, "smoke", killed=k > 2) for k, name in enumerate(list(FAULTS)[:20])]
    assert bar(record_of(*smoke)).met
    assert not bar(record_of(*smoke, a_trial(first, "smoke", seed=1, killed=False))).met


def test_a_suite_that_fails_has_found_nothing() -> None:
    """An error of the suite's own is no finding."""
    error = Found(check="values.cell", cell="lstm", dtype="float32", how="suite_failed")
    assert not Trial(name="x", profile="ci", seed=0, in_order=True, found=[error]).killed


def test_record_and_page(tmp_path: Path) -> None:
    """The record comes back as it was written; its page names every fault, and is escaped."""
    record = record_of(a_trial(ONE.name), a_trial("wider-inside"))
    write(record, page(record), tmp_path)
    assert read(tmp_path) == record
    text = (tmp_path / "index.html").read_text("utf-8")
    assert text == page(record)
    assert all(f'id="{name}"' in text for name in FAULTS)
    assert "<b>5" not in text
    assert "&lt;b&gt;5 &amp; 6" in text
    assert verdict(record).rstrip(".").partition(": ")[2] in text
    assert "://" not in text.replace("https://github.com/", "")


def test_earlier_trials_are_kept(tmp_path: Path) -> None:
    """A run adds to the record, unless the suite or the zoo has changed since."""
    write(record_of(a_trial(ONE.name, "smoke"), a_trial(ONE.name, seconds=7.0)), "", tmp_path)
    joined = record_of(a_trial(ONE.name)).joined(read(tmp_path))
    assert [(t.profile, t.seconds) for t in joined.trials] == [("smoke", 1.0), ("ci", 1.0)]
    changed = record_of(a_trial(ONE.name))
    changed.digest = "another"
    assert len(changed.joined(read(tmp_path)).trials) == 1


def test_the_readme_says_what_the_record_says() -> None:
    record = read(README.parent / "reports" / "faults")
    assert record is not None
    text = README.read_text("utf-8")
    assert with_table(text, record) == text
