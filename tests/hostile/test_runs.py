"""Runs that are cut short: by signals, by the death of a process, by a full disk, by a second run."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rnn_conformance.cli import main
from rnn_conformance.isolate import IsolatedBackend
from rnn_conformance.journal import Head, Journal
from rnn_conformance.record import Record, read_record
from rnn_conformance.run import Request, run_here

ROOT = Path(__file__).parents[2]


def command(folder: Path, *options: str) -> list[str]:
    run = [sys.executable, "-m", "rnn_conformance", "run", "--profile", "smoke", "--report", str(folder)]
    return [*run, *options]


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(folder, *options),
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        preexec_fn=heed_interrupts,  # which a shell's background jobs ignore
    )


def heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def environment() -> dict[str, str]:
    paths = [str(ROOT / "conformance"), str(ROOT / "reference"), str(ROOT)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def finish(folder: Path, *options: str) -> tuple[int, Record, str]:
    run = start(folder, *options)
    said = "\n".join(run.communicate(timeout=240))
    return run.returncode, read_record(folder / "record.json"), said


def lines(folder: Path) -> list[Any]:
    try:
        return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    except (OSError, ValueError):
        return []


def wait(run: subprocess.Popen[str], folder: Path, come: Callable[[list[Any]], object]) -> None:
    """Wait for something to come into the journal of a run; a run that ends without it fails."""
    while not come(lines(folder)):
        assert run.poll() is None, "\n".join(run.communicate())
        time.sleep(0.02)


def at_least(count: int) -> Callable[[list[Any]], bool]:
    return lambda written: len(written) >= count


def a_finding(written: list[Any]) -> bool:
    return any(line.get("finding") for line in written)


@pytest.mark.parametrize(("sign", "workers"), [(signal.SIGINT, "0"), (signal.SIGTERM, "0"), (signal.SIGTERM, "1")])
def test_a_signal_ends_a_run_with_a_partial_record_from_which_it_goes_on(
    sign: signal.Signals, workers: str, tmp_path: Path
) -> None:
    families = "values or shapes or steps or structure or lengths"
    options = ("--backend", "numpy", "-n", workers, "-k", f"lstm and float32 and ({families})")
    run = start(tmp_path, *options)
    wait(run, tmp_path, at_least(3))
    run.send_signal(sign)
    said = "\n".join(run.communicate(timeout=60))
    partial = read_record(tmp_path / "record.json")
    assert not partial.complete, said
    assert "INCOMPLETE" in said
    assert run.returncode == 3
    begun = {r.id: r.seconds for r in partial.checks}
    assert begun
    os.utime(tmp_path / "journal.jsonl", (0, time.time() + 1000))  # as if its last result had come then
    code, whole, said = finish(tmp_path, *options, "--resume")
    assert (code, whole.complete) == (0, True), said
    assert len(whole.checks) > len(begun)
    assert whole.seconds > 1000
    assert begun.items() <= {r.id: r.seconds for r in whole.checks}.items()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "record.json"]


def test_a_killed_run_is_resumed_from_its_journal(tmp_path: Path) -> None:
    options = ("--backend", "numpy", "-n", "0", "-k", "lstm and float32 and (values or shapes)")
    run = start(tmp_path, *options)
    wait(run, tmp_path, at_least(3))
    run.kill()
    run.communicate()
    known = len(lines(tmp_path)) - 1
    assert not (tmp_path / "record.json").exists()
    other = main(command(tmp_path, *options, "--seed", "1", "--resume")[3:])
    assert other == 2
    code, whole, _ = finish(tmp_path, *options, "--resume")
    assert (code, whole.complete) == (0, True)
    assert len(whole.checks) > known


def test_a_resumed_run_tells_the_seconds_of_all_its_parts(tmp_path: Path) -> None:
    head = Head("0.1.0", "numpy", "2", {"seed": 0})
    for part, due in enumerate((0.0, 100.0, 200.0)):
        journal = Journal(tmp_path, head, resume=part > 0)
        assert journal.spent == pytest.approx(due, abs=10)
        journal.close(complete=False)
        os.utime(journal.path, (0, time.time() + 100))  # as if its last result had come then


def test_two_runs_into_one_folder_do_not_mix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--backend", "numpy", "-n", "0", "-k", "lstm and float32 and values")
    run = start(tmp_path, *options)
    wait(run, tmp_path, at_least(1))
    assert main(command(tmp_path, *options)[3:]) == 2
    assert "another run is writing into" in capsys.readouterr().err
    run.kill()
    run.communicate()


def test_the_death_of_a_worker_of_xdist_is_a_finding_with_its_smallest_case(tmp_path: Path) -> None:
    options = ("--backend", "tests.hostile.zoo:OnlyWhenWide", "--no-isolate", "-n", "1")
    code, record, said = finish(tmp_path, *options, "-k", "lstm and float32 and (shapes or values)")
    assert code == 1, said
    assert record.complete
    crashed = [r for r in record.checks if r.outcome == "crashed"]
    assert crashed
    for result in crashed:
        assert result.finding is not None
        assert "SIGSEGV" in result.finding.message
        assert "hidden_size" in result.finding.case
    assert not list(tmp_path.glob("trying-*"))


def test_after_a_crash_without_isolation_the_resumed_run_is_isolated(tmp_path: Path) -> None:
    options = (
        "--backend",
        "tests.hostile.zoo:OnlyWhenWide",
        "-n",
        "0",
        "-k",
        "lstm and float32 and (shapes or values)",
    )
    run = start(tmp_path, *options)
    run.communicate(timeout=240)
    assert run.returncode == -signal.SIGSEGV
    assert len(lines(tmp_path)) >= 1
    code, record, said = finish(tmp_path, *options, "--resume")
    assert "the backend has one of its own now" in said
    assert (code, record.complete) == (1, True), said
    assert {r.outcome for r in record.checks} >= {"crashed"}
    assert all(r.finding for r in record.checks if r.outcome == "crashed")
    assert not list(tmp_path.glob("trying-*"))


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("NullDereference", ("--isolate",), "ended its process by SIGSEGV"),
        ("LoopsInC", ("--isolate", "--call-timeout", "0.5"), "took longer than 0.5 s"),
        ("AllocatesInC", ("--isolate", "--memory-limit", "4"), "ended its process by SIGSEGV"),
    ],
)
def test_the_replay_of_a_crash_survives_it(
    name: str, options: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    case = '{"cell": "lstm", "input_size": 1, "hidden_size": 1, "dtype": "float32", "seq_len": 1, "batch_size": 1}'
    assert main(["replay", f"values.stack {case}", "--backend", f"tests.hostile.zoo:{name}", *options]) == 1
    assert re.search(f"FAILED: .*{says}", capsys.readouterr().out)


def test_a_worker_that_is_killed_takes_no_finding_with_it(tmp_path: Path) -> None:
    options = ("--backend", "tests.gate.wrong:SwappedGates", "-k", "lstm and float64 and (values or steps)")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    run = start(killed, *options, "-n", "1")
    wait(run, killed, a_finding)
    os.kill(worker_of(run.pid), signal.SIGKILL)
    said = "\n".join(run.communicate(timeout=240))
    record = read_record(killed / "record.json")
    assert (run.returncode, record.complete) == (1, True), said
    _, other, _ = finish(whole, *options, "-n", "0")
    died = {r.id for r in record.checks if r.outcome == "crashed"}
    assert len(died) == 1
    assert findings(record, died) == findings(other, died)
    assert findings(other, died)


def worker_of(pid: int) -> int:
    """The process of xdist's one worker."""
    (worker,) = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return worker


def findings(record: Record, but: set[str]) -> dict[str, str]:
    return {r.id: r.finding.id for r in record.checks if r.finding is not None and r.id not in but}


def test_a_full_disk_loses_no_finding(tmp_path: Path) -> None:
    options = ("--backend", "tests.gate.wrong:SwappedGates", "-n", "0", "-k", "lstm and float64 and (values or steps)")
    small, roomy = tmp_path / "small", tmp_path / "roomy"
    small.mkdir()
    mounted = ["unshare", "-rm", "sh", "-euc", 'mount -t tmpfs -o size=16k tmpfs "$0"; exec "$@"', str(small)]
    if shutil.which("unshare") is None or subprocess.run([*mounted, "true"], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    run = subprocess.run(
        [*mounted, *command(small, *options)], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=240
    )
    assert run.returncode == 3, run.stdout + run.stderr
    assert "No space left on device" in run.stderr
    (said,) = [line for line in run.stdout.splitlines() if line.startswith("report: ")]
    record = read_record(Path(said.removeprefix("report: ")).with_name("record.json"))
    _, other, _ = finish(roomy, *options)
    assert findings(record, set())
    assert findings(record, set()) == findings(other, set())
    for id in findings(record, set()):
        assert f"FAILED {id} " in run.stderr


def test_a_run_that_is_interrupted_before_it_tried_anything_says_so(tmp_path: Path) -> None:
    run = start(tmp_path, "--backend", "tests.hostile.hanging:Any", "--no-isolate")
    while not heeds(run.pid, signal.SIGTERM):
        assert run.poll() is None
        time.sleep(0.02)
    run.send_signal(signal.SIGTERM)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out) == (3, "")
    assert err == "rnn-conformance: interrupted\n"


def heeds(pid: int, sign: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(re.findall(r"SigCgt:\s*(\w+)", status)[0], 16) >> (sign - 1) & 1)


def test_a_record_that_cannot_be_written_is_written_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    run = start(folder, "--backend", "numpy", "-n", "0", "-k", "lstm and float32 and values")
    wait(run, folder, at_least(1))
    (folder / "record.json").mkdir()
    (folder / "record.json" / "in the way").touch()
    out, err = run.communicate(timeout=120)
    assert run.returncode == 3
    assert "cannot be written" in err
    (said,) = [line for line in out.splitlines() if line.startswith("report: ")]
    assert read_record(Path(said.removeprefix("report: ")).with_name("record.json")).counts["passed"]


def without_times(record: Record) -> list[dict[str, Any]]:
    found = json.loads(msgspec.json.encode(record))["checks"]
    for result in found:
        del result["seconds"], result["backend_seconds"]
    return list(found)


def test_isolation_changes_no_result() -> None:
    found = []
    checks = ("values.stack", "steps.chunks", "layout.input", "purity.threads", "gradients.sum", "dropout.mask")
    for isolate in (False, True):
        request = Request(backend="torch", profile="smoke", isolate=isolate)
        backend = request.load()
        found.append(without_times(run_here(request, backend, checks)))
        assert {result["id"] for result in found[-1] if result["outcome"] == "passed"} == set(checks)
        if isinstance(backend, IsolatedBackend):
            backend.close()
    assert found[0] == found[1]
