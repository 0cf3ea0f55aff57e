"""One run: what was asked for, which units of work it has, and the record that their results make."""

from __future__ import annotations

import importlib
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
from msgspec.structs import replace

import rnn_conformance
from rnn_conformance.backend import Backend, WrongUse
from rnn_conformance.backends import available, load_backend, load_object
from rnn_conformance.budget import LAMBDA
from rnn_conformance.check import CHECKS, Check, run_unit
from rnn_conformance.config import CELLS, DTYPES
from rnn_conformance.expectations import Expectation, read_expectations
from rnn_conformance.isolate import IsolatedBackend
from rnn_conformance.record import CheckResult, Record
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
Profile = Literal["smoke", "ci", "thorough"]


@dataclass(frozen=True)
class Request:
    """What a user asks for: plain values, so that it can cross to another process."""

    backend: str = "torch"
    lstm: str | None = None
    gru: str | None = None
    rnn: str | None = None
    device: str = "cpu"
    profile: Profile = "ci"
    seed: int = 0
    rtol: float | None = None
    atol: float | None = None
    expectations: str | None = None
    isolate: bool | None = None  # whether the backend runs in a process of its own; None where it may well crash
    call_timeout: float = 30.0  # seconds that one call may take there
    memory_limit: float | None = None  # GiB of address space there

    @property
    def isolated(self) -> bool:
        """Whether the backend runs in a process of its own: what others wrote by hand does, unless it is not wanted."""
        if self.isolate is not None:
            return self.isolate
        return bool(self.lstm or self.gru or self.rnn) or self.backend.partition(":")[0] in ("function", "command")

    def known(self, backend: Backend) -> tuple[Expectation, ...]:
        """The deviations that the file named, or else the backend's own, declares.

        Raises:
            WrongUse: where that file is not well formed.
        """
        path = Path(self.expectations) if self.expectations else backend.expectations()
        return read_expectations(path, load_checks()) if path else ()

    def load(self) -> Backend:
        """The backend asked for, in this process or in one of its own.

        Raises:
            WrongUse: where there is no such backend or device, or loading it ends its process.
        """
        if not self.isolated:
            return self.load_here()
        return IsolatedBackend(asdict(self), self.call_timeout, self.memory_limit)

    def preload(self) -> None:
        """Import what `load_here` will need, so far as that goes well: loading says what does not."""
        modules = [target for target in (self.lstm, self.gru, self.rnn) if target]
        with suppress(Exception):
            for target in modules or [available().get(self.backend, self.backend)]:
                load_object(target)

    def load_here(self) -> Backend:
        """The backend asked for, its device present, its threads bound to one so that processes do not fight.

        Raises:
            WrongUse: where there is no such backend or device.
        """
        modules = {kind: getattr(self, kind) for kind in ("lstm", "gru", "rnn")}
        if any(modules.values()):
            drop_in = load_object("rnn_conformance.backends.drop_in:DropInBackend")
            classes = {kind: load_object(name) for kind, name in modules.items() if name}
            if wrong := [kind for kind, module in classes.items() if not callable(module)]:
                raise WrongUse(f"--{wrong[0]} must name a class, not {type(classes[wrong[0]]).__name__}")
            backend: Backend = drop_in(**classes, name="+".join(name for name in modules.values() if name))
        else:
            backend = load_backend(self.backend)
        if self.device not in backend.devices():
            present = ", ".join(backend.devices())
            raise WrongUse(f"device {self.device!r} is not present: {backend.name} runs on {present}")
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)
        return backend


def load_checks() -> dict[str, Check]:
    """All checks by id, in the order of their families."""
    for family in FAMILIES:
        importlib.import_module(f"rnn_conformance.suite.test_{family}")
    return CHECKS


def units(check: Check, device: str, seed: int) -> Iterator[Unit]:
    """The units of work of one check: a row of the report's matrix."""
    for cell in check.cells or CELLS:
        for dtype in check.dtypes or DTYPES:
            yield Unit(check.id, cell, dtype, device, seed)


def report_folder(backend: str, device: str) -> Path:
    """Where the report of a backend lies if no other place is named."""
    return Path("reports", f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', backend)}-{device}")


def require_writable(folder: Path) -> None:
    """Raise WrongUse unless files can be made in `folder`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
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
    request: Request, backend: Backend, results: Iterable[CheckResult], started: datetime, complete: bool
) -> Record:
    """The record of a run that ends now."""
    return Record(
        suite_version=rnn_conformance.__version__,
        backend=str(backend.name),
        backend_version=str(backend.version),
        device=request.device,
        profile=request.profile,
        seed=request.seed,
        started=started.isoformat(timespec="seconds"),
        seconds=round((datetime.now(UTC) - started).total_seconds(), 3),
        lambda_=LAMBDA,
        policy=asdict(backend.policy),
        environment=environment() | {str(k): str(v) for k, v in backend.environment().items()},
        complete=complete,
        checks=blocked(results),
    )


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
        for check in checks
        for unit in units(check, request.device, request.seed)
    ]
    return record_of(request, backend, results, started, complete=True)
