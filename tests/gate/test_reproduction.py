"""Every finding's script and command show it again, in a fresh process; and neither accuses a kernel that is right."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from rnn_conformance.case import Case
from rnn_conformance.check import Check
from rnn_conformance.cli import main
from rnn_conformance.command import command_of
from rnn_conformance.config import CELLS, DTYPES, LayerConfig
from rnn_conformance.execution import run_unit
from rnn_conformance.loading import drop_in
from rnn_conformance.record import Finding, read_record
from rnn_conformance.request import Request
from rnn_conformance.result import crashed_result
from rnn_conformance.run import load_checks, run_here, with_command, with_script
from rnn_conformance.strategies import Unit

from .running import ROOT, python, run
from .wrong import SwappedGates

sys.path.insert(0, str(ROOT))
from tests.faults import FAULTS, Fault

WRONG = "tests.gate.wrong"
FAMILIES = sorted({fault.family for fault in FAULTS.values()})
# In a fresh process they are right, or mostly: what is wrong follows from what the process did before, or from a race.
HISTORY = {"weights-cached-by-size", "scratch-shared-by-threads", "graph-cached-without-bias"}
LETHAL = {"dies-on-empty-batch"}


def found(fault: Fault) -> tuple[Check, Finding] | None:
    """The first finding of the check that is to catch a fault."""
    check, backend = load_checks()[fault.caught_by], drop_in(fault.cells)
    for dtype in fault.dtypes or DTYPES[1::-1]:
        for cell in check.cells or CELLS:
            if cell.partition("_")[0] in fault.cells:
                result = run_unit(check, Unit(check.id, cell, dtype, "cpu", 0), backend, "smoke")
                if result.finding is not None:
                    return check, result.finding
    return None


def faithful(script: str, fault: Fault) -> str:
    """The script with the zoo's faithful kernels in the place of the faulty ones."""
    for cell, module in fault.cells.items():
        line = rf"^from {re.escape(module.__module__)} import {module.__name__}$"
        script = re.sub(line, f"from tests.faults.base import {cell.upper()} as {module.__name__}", script, flags=re.M)
        script = script.replace(f"{module.__module__}:{module.__name__}'", f"tests.faults.base:{cell.upper()}'")
    return script


def repeated(jobs: dict[str, str]) -> dict[str, tuple[int, str]]:
    """Run all of them in one fresh process."""
    ran = python("-m", "tests.gate.repeat", input=json.dumps(jobs))
    assert ran.returncode == 0, ran.stderr
    results: dict[str, tuple[int, str]] = json.loads(ran.stdout.splitlines()[-1])
    return results


@pytest.mark.parametrize("family", FAMILIES)
def test_scripts_and_commands_reproduce_over_the_zoo(family: str) -> None:
    jobs: dict[str, str] = {}
    lengths = []
    for name, fault in FAULTS.items():
        if fault.family != family or name in HISTORY | LETHAL or (shown := found(fault)) is None:
            continue
        check, finding = shown
        modules = {kind: f"{module.__module__}:{module.__qualname__}" for kind, module in fault.cells.items()}
        jobs[f"script of {name}"] = finding.script
        jobs[f"script of {name}, faithful"] = faithful(finding.script, fault)
        jobs[f"command of {name}"] = command_of(check, finding, Request(**modules))
        lines = finding.script.splitlines()
        lengths.append(sum(not re.match(r"    '(weight|bias)_", line) for line in lines))  # but for the parameters
        assert not re.search(r"^(import|from) (pytest|hypothesis)", finding.script, flags=re.M)
    assert jobs
    assert max(lengths) <= 50
    wrong = {name: result for name, result in repeated(jobs).items() if (result[0] == 0) != name.endswith("faithful")}
    assert not wrong


def finding_of(id: str, backend: Any, cell: str = "lstm", dtype: str = "float64") -> Finding:
    result = run_unit(load_checks()[id], Unit(id, cell, dtype, "cpu", 0), backend, "smoke")
    assert result.finding is not None
    return result.finding


@pytest.mark.parametrize("id", ["values.stack", "steps.chunks", "lengths.alone", "structure.layers"])
def test_a_backend_without_torch_is_driven_through_its_interface(id: str, tmp_path: Path) -> None:
    script = finding_of(id, SwappedGates()).script.replace("from gate.wrong", f"from {WRONG}")
    (tmp_path / "show.py").write_text(script)
    ran = python(str(tmp_path / "show.py"))
    assert ran.returncode == 1, ran.stderr + script


def test_a_plain_script_needs_no_suite(tmp_path: Path) -> None:
    from .wrong import SwappedLSTM

    script = finding_of("values.cell", drop_in({"lstm": SwappedLSTM}), dtype="float32").script
    assert "rnn_conformance" not in script
    assert len(script.splitlines()) < 30
    (tmp_path / "show.py").write_text(script.replace("from gate.wrong", f"from {WRONG}"))
    ran = python(str(tmp_path / "show.py"))
    assert ran.returncode == 1, ran.stderr
    assert re.search(r"output\[0, 0, 0\] is -?\d.* but -?\d.* was due", ran.stdout)


def test_a_finding_in_a_record_is_replayed_by_its_name(tmp_path: Path) -> None:
    words = ["--profile", "smoke", "-n", "0", "-k", "values and cell and lstm and float64"]
    ran = run("run", "--backend", f"{WRONG}:SwappedGates", *words, "--report", str(tmp_path))
    assert ran.returncode == 1
    (result,) = read_record(tmp_path / "record.json").checks
    assert result.finding is not None
    assert f"replay: {result.finding.command}" in ran.stdout
    name = f"{tmp_path / 'record.json'}#{result.finding.id}"
    assert main(["replay", name]) == 2  # the record does not say what is imported
    for words, due in ((["--backend", f"{WRONG}:SwappedGates"], 1), (["--backend", "numpy"], 0)):
        again = run("replay", name, *words)
        assert again.returncode == due, again.stderr
    assert main(["replay", f"{tmp_path / 'record.json'}#nothing", "--backend", "numpy"]) == 2
    shell = subprocess.run(
        result.finding.command.replace("rnn-conformance", f"{sys.executable} -m rnn_conformance", 1),
        shell=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{ROOT}/conformance:{ROOT}/reference", "PATH": "/usr/bin:/bin"},
    )
    assert shell.returncode == 1, shell.stderr
    assert "FAILED: output[" in shell.stdout


def test_every_unit_of_a_check_reproduces_from_the_page_and_the_terminal(tmp_path: Path) -> None:
    checks = " or ".join(("cell", "agreement", "chunks", "constructor"))
    words = ["--profile", "smoke", "-n", "0", "-k", f"lstm and ({checks})"]
    ran = run("run", "--lstm", f"{WRONG}:SwappedLSTM", "--no-isolate", *words, "--report", str(tmp_path))
    assert ran.returncode == 1, ran.stderr
    found = [result.finding for result in read_record(tmp_path / "record.json").findings]
    html = (tmp_path / "index.html").read_text("utf-8")
    shown = [unescape(text) for text in re.findall(r"<pre[^>]*>(.*?)</pre>", html, flags=re.S)]
    jobs = {}
    for finding in found:
        assert finding is not None
        assert finding.command in ran.stdout
        assert {finding.command, finding.script} <= set(shown)
        jobs |= {f"script of {finding.id}": finding.script, f"command of {finding.id}": finding.command}
    assert len(jobs) >= 8
    assert {name: result for name, result in repeated(jobs).items() if result[0] != 1} == {}
    (line, *_) = re.findall(r"script: rnn-conformance (.*)", ran.stdout)
    printed = run(*shlex.split(line)).stdout
    assert printed == next(finding.script for finding in found if finding is not None)


def test_what_kills_its_process_does_it_again(tmp_path: Path) -> None:
    (name,) = LETHAL
    ((kind, module),) = FAULTS[name].cells.items()
    words = ["run", f"--{kind}", f"{module.__module__}:{module.__qualname__}", "--profile", "smoke", "-n", "0"]
    ran = run(*words, "-k", "empty_batch and lstm and float32", "--report", str(tmp_path))
    assert ran.returncode == 1, ran.stderr
    (result,) = read_record(tmp_path / "record.json").findings
    assert result.outcome == "crashed"
    assert result.finding is not None
    assert python("-c", result.finding.script).returncode == 139
    assert run(*shlex.split(result.finding.command)[1:]).returncode == 1


def test_what_the_suite_s_own_process_died_of_has_a_script_too() -> None:
    case = Case(LayerConfig("lstm", 1, 1), 1, 1)
    unit = Unit("values.cell", "lstm", "float32", "cpu", 0)
    died = crashed_result(load_checks()["values.cell"], unit, f"Killed in {sys.prefix}/lib/a.py, /x/tmp/b", case)
    assert died.reason == "Killed in lib/a.py, /x/tmp/b"
    request = Request(backend=f"{WRONG}:SwappedGates")
    told = with_script(with_command(died, request), request, SwappedGates()).finding
    assert told is not None
    jobs = {"script": told.script.replace("gate.wrong:", f"{WRONG}:"), "command": told.command}
    assert repeated(jobs)["command"][0] == 0  # float32 is not offered
    assert "NOT OFFERED" in repeated(jobs)["script"][1]


def test_a_script_is_printed_for_a_finding_in_a_record_alone(tmp_path: Path) -> None:
    from msgspec.structs import replace
    from report.records import finding, record, result
    from rnn_conformance.record import to_json

    bad = finding(id="x", script="print(1)\x1b[31m\n")
    units = [replace(result("values.cell", outcome="failed"), finding=bad)]
    units.append(replace(result("values.stack", outcome="failed"), finding=replace(bad, id="y", script="")))
    (tmp_path / "record.json").write_bytes(to_json(record(units)))
    printed = run("replay", f"{tmp_path / 'record.json'}#x", "--script")
    assert printed.stdout == "print(1)\\x1b[31m\n"
    for name in (f"{tmp_path / 'record.json'}#y", f"{tmp_path / 'record.json'}#z", 'values.cell {"cell": "lstm"}'):
        refused = run("replay", name, "--script")
        assert refused.returncode == 2
        assert len(refused.stderr.splitlines()) == 1


def test_a_life_is_replayed_from_its_seed_and_profile() -> None:
    fault = FAULTS["default-state-carried-over"]
    modules = {kind: f"{module.__module__}:{module.__qualname__}" for kind, module in fault.cells.items()}
    record = run_here(Request(profile="smoke", seed=5, **modules), drop_in(fault.cells), ["purity.life"])
    jobs = {}
    for result in record.findings[-1:]:
        assert result.finding is not None
        jobs |= {f"script {result.finding.id}": result.finding.script, result.finding.id: result.finding.command}
        assert "profile='smoke', seed=5" in result.finding.script
    assert jobs
    assert {name: result for name, result in repeated(jobs).items() if result[0] != 1} == {}


def test_text_from_a_record_is_never_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from msgspec.structs import replace
    from report.records import finding, record, result

    touched = tmp_path / "touched"
    evil = f"__import__('pathlib').Path({str(touched)!r}).touch()"
    (tmp_path / "evil.py").write_text(evil)
    fields = {"config": {"cell": "lstm", "input_size": 1, "hidden_size": 1, "dtype": evil}, "seq_len": evil}
    bad = finding(id="x", script=evil, command=evil, fields=fields)
    path = tmp_path / "record.json"
    from rnn_conformance.record import to_json

    one = record([replace(result("values.cell", outcome="failed"), finding=bad)], backend=f"{tmp_path}/evil:evil")
    path.write_bytes(to_json(one))
    for words in (["report", str(path)], ["replay", f"{path}#x"], ["replay", f"{path}#x", "--backend", "numpy"]):
        main(words)
    assert not touched.exists()
