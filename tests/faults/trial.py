"""Trials: the suite against a fault, up to the first finding, and against all controls, to the end."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from msgspec import Struct
from rnn_conformance.backends.drop_in import DropInBackend
from rnn_conformance.check import Check
from rnn_conformance.execution import run_unit
from rnn_conformance.record import CheckResult
from rnn_conformance.request import Request
from rnn_conformance.run import in_order, load_checks
from rnn_conformance.strategies import Unit

from .zoo import CONTROLS, Fault

Tell = Callable[[tuple[str, str, str, str]], None]  # told the module, check, cell and dtype that are tried next


class Found(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One check that a module broke, and what was said."""

    check: str
    cell: str
    dtype: str
    how: str  # 'failed', 'crashed', 'timed_out', or 'suite_failed', which is no finding
    message: str = ""
    rho: float | None = None


@dataclass(frozen=True)
class Job:
    """What one process is to do: try a fault, or all controls in one cell."""

    profile: str
    seed: int
    fault: Fault | None = None
    cell: str = ""  # of the controls
    in_order: bool = True  # or with the check that is expected first before the others

    @property
    def keys(self) -> set[tuple[str, str, int, str]]:
        """The trials that come of it."""
        modules = CONTROLS.values() if self.fault is None else (self.fault,)
        kind = self.cell.partition("_")[0]
        return {(m.name, self.profile, self.seed, self.cell) for m in modules if not kind or kind in m.cells}


class Trial(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one run of the suite came to."""

    name: str
    profile: str
    seed: int
    cell: str = ""  # the one in which a control ran; a fault runs in all of its own
    in_order: bool = True
    found: list[Found] = []  # the first finding; of a control all
    units: int = 0
    examples: int = 0
    seconds: float = 0.0  # of one processor, until the first finding, with shrinking
    values: dict[str, int] = {}  # compared with the oracle's, by dtype
    largest_rho: dict[str, float] = {}

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What it is one of a kind by."""
        return self.name, self.profile, self.seed, self.cell

    @property
    def killed(self) -> bool:
        """Whether there is a finding."""
        return any(found.how != "suite_failed" for found in self.found)


def run(job: Job, tell: Tell) -> list[Trial]:
    """Do a job."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if job.fault is None:
        return run_controls(job, tell)
    return [run_fault(job, job.fault, tell)]


def run_fault(job: Job, fault: Fault, tell: Tell) -> Trial:
    """Run the suite against a fault until it finds something."""
    first = "" if job.in_order else fault.caught_by
    every = sorted(in_order(load_checks().values(), "cpu", job.seed), key=lambda pair: pair[0].id != first)
    tried = Tried(fault)
    start = time.process_time()
    for check, unit in every:
        if unit.cell.partition("_")[0] in fault.cells and not tried.found:
            tried.run(check, unit, job.profile, tell)
    return tried.trial(job, time.process_time() - start)


def run_controls(job: Job, tell: Tell) -> list[Trial]:
    """Run the whole suite against all controls in one cell, side by side, so that they share what the oracle says."""
    kind = job.cell.partition("_")[0]
    every = [Tried(control) for control in CONTROLS.values() if kind in control.cells]
    seconds = dict.fromkeys(CONTROLS, 0.0)
    for check, unit in in_order(load_checks().values(), "cpu", job.seed):
        for tried in every if unit.cell == job.cell else ():
            start = time.process_time()
            tried.run(check, unit, job.profile, tell)
            seconds[tried.module.name] += time.process_time() - start
    return [tried.trial(job, seconds[tried.module.name]) for tried in every]


class Tried:
    """A module and what was found about it so far."""

    def __init__(self, module: Fault) -> None:
        self.module = module
        self.backend = DropInBackend(**module.cells, name=module.name)
        self.known = Request().known(self.backend)
        self.results: list[CheckResult] = []
        self.found: list[Found] = []

    def run(self, check: Check, unit: Unit, profile: str, tell: Tell) -> None:
        """Run one check in one unit of work."""
        tell((self.module.name, check.id, unit.cell, unit.dtype))
        try:
            result = run_unit(check, unit, self.backend, profile, expectations=self.known)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"[:2000]
            self.found.append(Found(check=check.id, cell=unit.cell, dtype=unit.dtype, how="suite_failed", message=said))
            return
        self.results.append(result)
        self.found += accused(result)

    def trial(self, job: Job, seconds: float) -> Trial:
        """What it came to."""
        passed = [result for result in self.results if result.outcome == "passed"]
        dtypes = {result.dtype: [r for r in passed if r.dtype == result.dtype] for result in passed}
        return Trial(
            name=self.module.name,
            profile=job.profile,
            seed=job.seed,
            cell=job.cell,
            in_order=job.in_order,
            found=self.found,
            units=len(self.results),
            examples=sum(result.examples for result in self.results),
            seconds=round(seconds, 3),
            values={dtype: sum(result.values for result in some) for dtype, some in dtypes.items()},
            largest_rho={dtype: max(result.largest_rho for result in some) for dtype, some in dtypes.items()},
        )


def accused(result: CheckResult) -> list[Found]:
    """The finding of one unit, where there is one."""
    if result.outcome not in ("failed", "crashed"):
        return []
    finding = result.finding
    message, rho = (result.reason, None) if finding is None else (f"{finding.message}\n{finding.case}", finding.rho)
    return [
        Found(
            check=result.id, cell=result.cell, dtype=result.dtype, how=result.outcome, message=message[:4000], rho=rho
        )
    ]
