"""Every hostile backend ends with the right outcome, within its bound, and in a complete record."""

from __future__ import annotations

import gc
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from rnn_conformance.backend import WrongUse
from rnn_conformance.backends.function import FunctionBackend
from rnn_conformance.config import LayerConfig
from rnn_conformance.isolate import PATIENT, IsolatedBackend, TimedOut, process
from rnn_conformance.record import CheckResult, to_json
from rnn_conformance.run import Request, run_here

from . import zoo
from .zoo import Hostile

STACK = "values.stack"


@dataclass(frozen=True)
class Due:
    """What a check must come to."""

    backend: str
    outcome: str
    says: str = ""  # a pattern of the finding's message
    check: str = STACK
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return f"{self.backend}-{self.check}"


LIMITED = (("memory_limit", 4.0),)
ZOO = (
    Due("Hostile", "passed"),
    Due("NullDereference", "crashed", r"forward on input \(.*\) ended its process by SIGSEGV"),
    Due("WildJump", "crashed", "SIGSEGV|SIGILL|SIGBUS"),
    Due("Abort", "crashed", r"SIGABRT.*last words: kernel.cu:17: assertion \\x1b\[31mfailed"),
    Due("DivisionByZero", "crashed", "SIGFPE"),
    Due("StackOverflow", "crashed", "SIGSEGV"),
    Due("DoubleFree", "crashed", "SIGABRT|SIGSEGV"),
    Due("OnlyWhenWide", "crashed", "making LSTM.*SIGSEGV"),
    Due("RaisesWhenWide", "failed", "making LSTM.*RuntimeError"),
    Due("HardExit", "crashed", "with exit code 0"),
    Due("SystemExits", "crashed", "raised SystemExit: no licence found"),
    Due("Interrupts", "crashed", "raised KeyboardInterrupt"),
    Due("NoException", "crashed", "raised Cancelled: by the scheduler"),
    Due("KillsItself", "crashed", "SIGKILL"),
    Due("KillsItsGroup", "crashed", "ended its process"),
    Due("ClosesEverything", "crashed", "ended its process"),
    Due("WritesEverywhere", "crashed", "wrote over the answer|ended its process"),
    Due("CrashesInItsConstructor", "crashed", "making LSTM.*SIGSEGV"),
    Due("CrashesWhenAsked", "crashed", r"supports\(\) ended its process by SIGSEGV"),
    Due("CrashesWhenRead", "crashed", r"to_numpy\(\) ended its process by SIGSEGV"),
    Due("CrashesWhenCalledWrongly", "passed"),
    Due("CrashesWhenCalledWrongly", "crashed", "SIGSEGV", "errors.input"),
    Due("CrashesInThreads", "passed"),
    Due("CrashesInThreads", "crashed", "SIGSEGV", "purity.threads"),
    Due("LeaksProcesses", "crashed|timed_out", "SIGKILL"),
    Due("LoopsInC", "timed_out", "took longer than 0.5 s and was ended by SIGKILL"),
    Due("LoopsInPython", "timed_out", "took longer"),
    Due("LoopsWhenLong", "timed_out", "took longer", "edges.long"),
    Due("LocksTwice", "timed_out", "took longer"),
    Due("StopsItself", "timed_out", "took longer"),
    Due("DeadlocksInAFork", "timed_out", "took longer"),
    Due("HangsOnSignals", "timed_out", "took longer"),
    Due("Recurses", "failed", "RecursionError"),
    Due("Allocates", "failed", "MemoryError", options=LIMITED),
    Due("AllocatesInC", "crashed", "SIGSEGV", options=LIMITED),
    Due("RaisesMutely", "failed", "raised Mute: its message cannot be read"),
    Due("RaisesLoudly", "failed", "raised ValueError"),
    Due("ReturnsTheUnreadable", "crashed", "raised KeyboardInterrupt"),
    Due("ReturnsNests", "failed", "output cannot be read"),
    Due("ReturnsObjects", "failed", "output cannot be read: TypeError: an array of numbers was due, not of object"),
    Due("ReturnsTheHuge", "failed", "output cannot be read: ValueError"),
    Due("ReturnsNothing", "failed", r"forward must give \(output, state\), not None"),
    Due("Prints", "passed"),
    Due("ClosesItsOutput", "passed"),
    Due("WritesIntoItsInput", "failed", "changed its input", "purity.inputs"),
    Due("ReturnsItsInput", "failed", "its input was overwritten|changed its input", "purity.results"),
    Due("LeavesHalfUnwritten", "failed", "was due"),
    Due("fills_its_buffers", "passed"),
    Due("fills_its_buffers", "passed", "", "purity.bounds"),
    Due("fills_its_buffers", "passed", "", "purity.reads"),
    Due("leaves_the_last_row", "failed", r"output\[.*\] is nan, but"),
    Due("writes_past_its_buffer", "failed", r"wrote 1 bytes past the end, from 0 bytes past it", "purity.bounds"),
    Due("reads_past_its_weights", "crashed", r"forward on input .* SIGSEGV", "purity.reads"),
    Due("TakesSignals", "failed", "a call changed .*SIGFPE", "purity.globals"),
    Due("SetsVariables", "failed", "a call changed environment variables", "purity.globals"),
    Due("ChangesFolder", "failed", "a call changed current directory", "purity.globals"),
    Due(
        "WritesPastTheEnd", "failed", r"wrote 1 bytes past the end, from 0 bytes past it, of an array", "purity.bounds"
    ),
    Due("WritesBeforeTheStart", "failed", r"wrote 1 bytes before the start, from 8 bytes before it", "purity.bounds"),
    Due("ReadsPastTheEnd", "crashed", r"forward on input .* SIGSEGV", "purity.reads"),
    Due("ReadsBeforeTheStart", "crashed", r"forward on input .* SIGSEGV", "purity.reads"),
    Due("Hostile", "passed", "", "purity.bounds"),
    Due("Hostile", "passed", "", "purity.reads"),
    Due("ChangesItsOutputLater", "failed", "results changed within", "purity.afterwards"),
    Due("LeaksMemory", "failed", "1000 calls left 1[67][.0-9]* KiB each", "purity.leaks"),
    Due("LeaksFiles", "failed", "1000 open files", "purity.leaks"),
    Due("LeaksThreads", "failed", "threads", "purity.leaks"),
    Due("LeaksLayers", "failed", "200 layers left", "purity.drops"),
    Due("RoundsUp", "failed", "a call changed rounding mode", "purity.globals"),
    Due("FlushesToZero", "failed", "a call changed subnormal numbers", "purity.globals"),
    Due("ReplacesModules", "failed", "a call changed modules", "purity.globals"),
    Due("RecursesDeeper", "failed", "a call changed recursion limit", "purity.globals"),
)


def run(due: Due) -> CheckResult:
    """The one unit of work that is offered, out of a record that is whole."""
    options = {"call_timeout": 0.5 if due.outcome == "timed_out" else 5.0, **dict(due.options)}
    request = Request(backend=f"tests.hostile.zoo:{due.backend}", profile="smoke", isolate=True, **options)
    backend = request.load()
    assert isinstance(backend, IsolatedBackend)
    try:
        record = run_here(request, backend, (due.check,))
    finally:
        backend.close()
    assert record.complete
    assert to_json(record)
    (found,) = [r for r in record.checks if (r.cell, r.dtype) == ("lstm", "float32")]
    return found


@pytest.mark.parametrize("due", ZOO, ids=str)
def test_outcome(due: Due) -> None:
    found = run(due)
    assert re.fullmatch(due.outcome, found.outcome), found
    message = "" if found.finding is None else found.finding.message
    assert re.search(due.says, message), message
    assert (found.finding is None) == (found.outcome == "passed")
    assert len(message) < 20_000


def test_a_crash_is_shrunk_like_any_other_failure() -> None:
    found = run(Due("OnlyWhenWide", "crashed"))
    assert found.finding is not None
    plain = run(Due("RaisesWhenWide", "failed"))
    assert plain.finding is not None
    assert found.finding.case == plain.finding.case


def test_what_is_slow_has_its_time_after_others_did_not_come_back() -> None:
    backend = Request(backend="tests.hostile.zoo:LoopsWhenLong", isolate=True, call_timeout=2.0).load()
    assert isinstance(backend, IsolatedBackend)
    config = LayerConfig("lstm", 1, 1, dtype="float32")
    zeros = {name: np.zeros(shape, "f") for name, shape in config.parameter_shapes().items()}

    def run(steps: int) -> None:
        backend.layer(config, zeros).forward(np.zeros((steps, 1, 1), "f"))

    run(1)
    for _ in range(PATIENT):
        with pytest.raises(TimedOut):
            run(6)
        assert backend.take_death() is not None
    run(1)  # takes 0.3 s, where a tenth of the limit is 0.2 s
    with pytest.raises(TimedOut, match=r"longer than (1\.|2 s)"):
        run(6)
    backend.close()


@pytest.mark.parametrize("module", ["unforkable", "threaded"])
def test_a_library_that_must_not_be_forked_is_served_too(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "FORK", 1.0)
    request = Request(backend=f"tests.hostile.{module}:Crashing", profile="smoke", isolate=True)
    backend = request.load()
    assert isinstance(backend, IsolatedBackend)
    record = run_here(request, backend, ("shapes.parameters", STACK))
    backend.close()
    outcomes = {r.id: r.outcome for r in record.checks if (r.cell, r.dtype) == ("lstm", "float32")}
    assert outcomes == {"shapes.parameters": "passed", STACK: "crashed"}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("dying:Any", "loading the backend ended its process by SIGILL"),
        ("hanging:Any", "loading the backend took longer than 3 s"),
        ("zoo:CrashesWhenMade", "loading the backend ended its process by SIGSEGV"),
        ("zoo:Absent", "has no 'Absent'"),
    ],
)
def test_a_backend_that_cannot_be_loaded_is_wrong_use(name: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("rnn_conformance.isolate", "rnn_conformance.isolate.process"):
        monkeypatch.setattr(f"{module}.START", 3.0)
    with pytest.raises(WrongUse, match=says):
        Request(backend=f"tests.hostile.{name}", isolate=True).load()


def test_nothing_is_left_behind() -> None:
    import os

    run(Due("NullDereference", "crashed"))
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    run(Due("NullDereference", "crashed"))
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_the_zoo_is_all_tried() -> None:
    def every(kind: type) -> set[str]:
        return {kind.__name__} | {name for sub in kind.__subclasses__() for name in every(sub)}

    functions = {name for name, value in vars(zoo).items() if isinstance(value, FunctionBackend)}
    assert (every(Hostile) | functions) - {due.backend for due in ZOO} == {"CrashesWhenMade"}
