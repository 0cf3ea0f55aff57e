"""One trial: the suite against one module of the zoo, up to the first finding or, for a control, to the end."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from importlib import resources

import torch
from msgspec import Struct
from rnn_conformance.backends.drop_in import DropInBackend
from rnn_conformance.check import Check, run_unit
from rnn_conformance.expectations import Expectation, read_expectations
from rnn_conformance.record import CheckResult
from rnn_conformance.run import load_checks, units
from rnn_conformance.strategies import Unit

from .base import Kernel
from .zoo import Fault

Tell = Callable[[tuple[str, str, str]], None]  # told the check, cell and dtype that are tried next


class Found(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One check that a module broke, and what was said."""

    check: str
    cell: str
    dtype: str
    how: str  # 'failed', 'crashed', 'timed_out', or 'suite_failed', which is no finding
    message: str = ""
    rho: float | None = None


class Trial(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one run of the suite came to."""

    name: str
    profile: str
    seed: int
    in_order: bool  # whether checks ran in the catalogue's order, or the one that is expected first before the others
    found: list[Found] = []  # the first finding; of a control all
    units: int = 0
    examples: int = 0
    seconds: float = 0.0  # of one processor, until the first finding, with shrinking
    values: dict[str, int] = {}  # compared with the oracle's, by dtype
    largest_rho: dict[str, float] = {}

    @property
    def killed(self) -> bool:
        """Whether there is a finding."""
        return any(found.how != "suite_failed" for found in self.found)


def known_of(module: Fault) -> tuple[Expectation, ...]:
    """What torch.nn itself is known to do otherwise, for a module that computes by it."""
    if any(issubclass(cls, Kernel) for cls in module.cells.values()):
        return ()
    with resources.as_file(resources.files("rnn_conformance.backends").joinpath("torch.toml")) as path:
        return read_expectations(path, load_checks())


def work(module: Fault, seed: int, first: str) -> Iterator[tuple[Check, Unit]]:
    """Every unit of work of the module's cells, in the catalogue's order but for the check named."""
    checks = load_checks()
    for check in sorted(checks.values(), key=lambda check: check.id != first):
        for unit in units(check, "cpu", seed):
            if unit.cell.partition("_")[0] in module.cells:
                yield check, unit


def run(module: Fault, profile: str, seed: int, in_order: bool, tell: Tell) -> Trial:
    """Run the suite against a module."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    backend = DropInBackend(**module.cells, name=module.name)
    known = known_of(module)
    results: list[CheckResult] = []
    found: list[Found] = []
    start = time.process_time()
    for check, unit in work(module, seed, "" if in_order else module.caught_by):
        tell((check.id, unit.cell, unit.dtype))
        try:
            results.append(run_unit(check, unit, backend, profile, expectations=known))
        except Exception as error:
            said = f"{type(error).__name__}: {error}"[:2000]
            found.append(Found(check=check.id, cell=unit.cell, dtype=unit.dtype, how="suite_failed", message=said))
        else:
            found += accused(results[-1])
        if found and module.caught_by:
            break
    seconds = time.process_time() - start
    dtypes = {result.dtype: [r for r in results if r.dtype == result.dtype] for result in results}
    return Trial(
        name=module.name,
        profile=profile,
        seed=seed,
        in_order=in_order,
        found=found,
        units=len(results),
        examples=sum(result.examples for result in results),
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
