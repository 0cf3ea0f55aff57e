"""One run: what was asked for, which units of work it has, and the record that their results make."""

from __future__ import annotations

import importlib
import os
import platform
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

import rnn_conformance
from rnn_conformance.backend import Backend, WrongUse
from rnn_conformance.budget import LAMBDA
from rnn_conformance.check import CHECKS, Check
from rnn_conformance.command import command_of
from rnn_conformance.config import CELLS, DTYPES
from rnn_conformance.dialects import REPLAYS, dialect_of
from rnn_conformance.execution import run_unit
from rnn_conformance.measured import AXES, BINS
from rnn_conformance.promises import shortfalls
from rnn_conformance.record import CheckResult, Record
from rnn_conformance.request import Request
from rnn_conformance.result import result_without_examples
from rnn_conformance.strategies import Unit

FAMILIES = (
    "shapes",
    "values",
    "steps",
    "structure",
    "lengths",
    "edges",
    "layout",
    "purity",
    "dropout",
    "special",
    "precision",
    "gradients",
    "errors",
)
SOONEST = (  # they kill most of the zoo (tests/faults) in a second
    "shapes.result",
    "values.cell",
    "values.stack",
    "values.final_state",
    "errors.constructor",
    "errors.input",
    "dropout.mask",
    "gradients.parameters",
    "errors.state",
    "dropout.independence",
    "purity.results",
    "purity.globals",
    "purity.inputs",
    "dropout.gradients",
)
LEFT_OUT = "left out"  # so begins the reason of a unit for which no time was left


def load_checks() -> dict[str, Check]:
    """All checks by id, in the order of their families."""
    for family in FAMILIES:
        importlib.import_module(f"rnn_conformance.suite.test_{family}")
    return {id: check for family in FAMILIES for id, check in CHECKS.items() if check.family == family}


def load_tests() -> dict[str, Callable[..., None]]:
    """The test function of each check by a name of its own, test_FAMILY_NAME, in the order of the families."""
    found = {}
    for family in FAMILIES:
        module = importlib.import_module(f"rnn_conformance.suite.test_{family}")
        for name, function in vars(module).items():
            if hasattr(function, "rnn_check"):
                found[f"test_{family}_{name.removeprefix('test_')}"] = function
    return found


def units(check: Check, device: str, seed: int) -> Iterator[Unit]:
    """The units of work of one check: a row of the report's matrix."""
    for cell in check.cells or CELLS:
        for dtype in check.dtypes or DTYPES:
            yield Unit(check.id, cell, dtype, device, seed)


def rank(unit: Unit) -> tuple[int, int, int]:
    """Its place in a run: dtype by dtype, float32 first, which shows nearly every mistake; then what finds most of them
    in a second; then basic families first.
    """
    dtype = ("float32", "float64", "bfloat16", "float16").index(unit.dtype)
    place = SOONEST.index(unit.check) if unit.check in SOONEST else len(SOONEST)
    return dtype, place, FAMILIES.index(unit.check.partition(".")[0])


def in_order(checks: Iterable[Check], device: str, seed: int) -> list[tuple[Check, Unit]]:
    """The units of work of these checks in the order of a run."""
    every = [(check, unit) for check in checks for unit in units(check, device, seed)]
    return sorted(every, key=lambda pair: rank(pair[1]))


def left_out(unit: Unit, request: Request) -> CheckResult:
    """The result of a unit for which no time was left."""
    reason = f"{LEFT_OUT}: the time budget of {request.time_budget:g} s was spent"
    return result_without_examples(unit, "not_run", reason)


def report_folder(backend: str, device: str) -> Path:
    """Where the report of a backend lies if no other place is named."""
    return Path("reports", f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', backend)}-{device}")


def require_writable(folder: Path) -> None:
    """Raise WrongUse unless files can be made in `folder`, or it can be made itself; leave no trace of the question."""
    nearest = next((place for place in (folder, *folder.absolute().parents) if place.exists()), folder)
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise WrongUse(f"{folder} cannot be written: {error.strerror}; choose another folder with --report") from error


def blocked(results: Iterable[CheckResult]) -> list[CheckResult]:
    """The results in the catalogue's order, a failure as 'blocked' where a check that it stands on failed too."""
    checks = load_checks()
    order = {id: place for place, id in enumerate(checks)}
    by_unit = {(r.id, r.cell, r.dtype, r.device): r for r in results}

    def root(result: CheckResult) -> str:
        for need in checks[result.id].needs if result.id in checks else ():
            below = by_unit.get((need, result.cell, result.dtype, result.device))
            if below is None:
                continue
            if found := root(below) or (need if below.outcome == "failed" else ""):
                return found
        return ""

    marked = []
    for result in by_unit.values():
        reason = root(result) if result.outcome == "failed" else ""
        marked.append(replace(result, outcome="blocked", reason=reason) if reason else result)
    place = {name: k for k, name in enumerate((*CELLS, *DTYPES))}
    return sorted(marked, key=lambda r: (order.get(r.id, 0), place.get(r.cell, 0), place.get(r.dtype, 0)))


def record_of(
    request: Request,
    backend: Backend,
    results: Iterable[CheckResult],
    started: datetime,
    spent: float = 0.0,
    complete: bool = True,
) -> Record:
    """The record of a run that ends now, whose last part started then; its earlier parts took `spent` seconds."""
    checks = blocked(with_script(with_command(result, request), request, backend) for result in results)
    whole = sum(1 for check in load_checks().values() for _ in units(check, request.device, request.seed))
    return Record(
        suite_version=rnn_conformance.__version__,
        backend=str(backend.name),
        backend_version=str(backend.version),
        device=request.device,
        profile=request.profile,
        seed=request.seed,
        started=started.isoformat(timespec="seconds"),
        seconds=round(spent + (datetime.now(UTC) - started).total_seconds(), 3),
        lambda_=LAMBDA,
        policy=asdict(backend.policy),
        environment=environment() | {str(k): str(v) for k, v in backend.environment().items()},
        complete=complete,
        time_budget=request.time_budget,
        suite_units=whole if complete and len(checks) < whole else None,
        shortfalls=shortfalls(checks, request.profile, backend.max_examples),
        bins=BINS,
        axes={axis: list(names) for axis, names in AXES.items()},
        checks=checks,
    )


def with_command(result: CheckResult, request: Request) -> CheckResult:
    """The result, with the line that replays its finding."""
    check = load_checks().get(result.id)
    if check is None or result.finding is None or not result.finding.fields:
        return result
    return replace(result, finding=replace(result.finding, command=command_of(check, result.finding, request)))


def with_script(result: CheckResult, request: Request, backend: Backend) -> CheckResult:
    """The result, with a script for a finding that had none, for the process that found it died; and with what a random
    life of a layer follows from beside its case.
    """
    check, found = load_checks().get(result.id), result.finding
    if check is None or found is None or not found.fields:
        return result
    lives = check.machine is not None
    if found.script and not (lives and found.script.startswith(REPLAYS)):
        return result
    options: dict[str, Any] = {"rtol": request.rtol, "atol": request.atol}
    if lives:
        options |= {"profile": request.profile, "seed": request.seed}
    script = dialect_of(backend).replaying(result.id, found.sentence, found.case, found.fields, **options)
    return replace(result, finding=replace(found, script=script))


def environment() -> dict[str, str]:
    """What decides results on this machine, but for the backend's own part."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processors": str(os.cpu_count()),
        "numpy": np.__version__,
        "hypothesis": version("hypothesis"),
    }


def run_here(request: Request, backend: Backend, ids: Sequence[str] = ()) -> Record:
    """Run the suite in this process, without pytest: all checks, or those named."""
    started = datetime.now(UTC)
    known = request.known(backend)
    checks = [check for id, check in load_checks().items() if not ids or id in ids]
    results = [
        run_unit(check, unit, backend, request.profile, request.rtol, request.atol, known)
        for check, unit in in_order(checks, request.device, request.seed)
    ]
    return record_of(request, backend, results, started)
