"""How one check is run in one unit of work: its own cases, the covering set, and what Hypothesis draws."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, reject, seed, settings
from hypothesis.database import ExampleDatabase
from hypothesis.errors import Flaky, Unsatisfiable
from hypothesis.stateful import run_state_machine_as_test
from rnn_reference.activations import has_gradients

from rnn_conformance import world
from rnn_conformance.attempts import Attempts
from rnn_conformance.backend import Backend, refusal
from rnn_conformance.case import Case
from rnn_conformance.check import Check
from rnn_conformance.config import LayerConfig
from rnn_conformance.covering import Share, covering_cases
from rnn_conformance.expectations import Expectation
from rnn_conformance.measured import Measured
from rnn_conformance.record import CheckResult
from rnn_conformance.result import result_of
from rnn_conformance.strategies import Unit, cases
from rnn_conformance.subject import Broken, Subject

EXAMPLES = {"smoke": 2, "ci": 10, "thorough": 200}  # that Hypothesis draws
COVERING: dict[str, Share] = {"smoke": "cells", "ci": "dtypes", "thorough": "whole"}  # before them
SEARCH = 40  # cases drawn where one before them has failed, for a failure that can be made smaller


def run_unit(
    check: Check,
    unit: Unit,
    backend: Backend,
    profile: str,
    rtol: float | None = None,
    atol: float | None = None,
    expectations: tuple[Expectation, ...] = (),
    note: Callable[[Case], None] = lambda case: None,
    database: ExampleDatabase | None = None,
) -> CheckResult:
    """Run one check in one unit of work: explicit cases, then what Hypothesis draws, down to the smallest failure.

    Args:
        note: takes down each case before it is tried.
        database: has the failing examples of earlier runs, which are drawn first, and keeps those of this one.
    """
    start = time.perf_counter()
    before = world.snapshot(backend)
    run = Attempts(check, Subject(backend, Measured(), rtol, atol), expectations=expectations, note=note)
    explicit_failure = None
    printed = check.explicit(unit) if check.explicit else []
    few = backend.max_examples
    share = COVERING[profile] if few is None else "whole"  # a few of all, for this unit's part may hold none on offer
    covering = covering_cases(unit, check.drawn, share, extras_of(check, backend, unit.cell)) if check.covering else []
    if few is not None:
        printed, covering = [], _few([case for case in printed + covering if _offered(backend, case)], few, unit)
    for case in printed + covering:
        try:
            run.attempt(case)
        except Broken as error:
            explicit_failure = explicit_failure or run.failure
            if error.outcome == "timed_out":
                break
    run.failure = None
    world.restore(backend, before)
    tried = len(printed) + len(covering)
    examples = max(1, round(EXAMPLES[profile] * check.share))
    if explicit_failure:
        examples = max(examples, SEARCH)
    if few is not None:  # drawn where no other said anything, and one more, for the first that is drawn is trivial
        examples = 0 if run.examples else min(max(examples, 2), few + 1)
    refused = sum(run.not_offered.values()) == tried and not (run.unsupported == tried and _offers_some(backend, unit))
    if examples and (not tried or not refused):
        _generate(run, unit, examples, database)
    world.restore(backend, before)
    return result_of(run, unit, run.failure or explicit_failure, time.perf_counter() - start)


def extras_of(check: Check, backend: Backend, cell: str) -> dict[str, tuple[Any, ...]]:
    """What the backend offers beyond torch.nn, as far as the oracle has what the check is about."""
    extras = dict(backend.extras(cell))
    if check.gradients and "activations" in extras:
        extras["activations"] = tuple(filter(has_gradients, extras["activations"])) or extras["activations"]
    return extras


def _offers_some(backend: Backend, unit: Unit) -> bool:
    """Whether it supports the plainest config of this unit, so that others are worth drawing."""
    extras = {name: values[0] for name, values in backend.extras(unit.cell).items()}
    return backend.supports(LayerConfig(unit.cell, 1, 1, dtype=unit.dtype, device=unit.device, **extras)) is None


def _offered(backend: Backend, case: Case) -> bool:
    """Whether a backend says that it takes this case."""
    policy = backend.policy
    taken = (case.lengths is None or policy.lengths) and (case.batch_size is not None or policy.unbatched)
    return taken and not refusal(backend, case.config)


def _few(cases: list[Case], count: int, unit: Unit) -> list[Case]:
    """So many of the cases, others in other units, so that all of them have their turn."""
    first = unit.entropy % max(len(cases), 1)
    return (cases + cases)[first : first + min(count, len(cases))]


def _generate(run: Attempts, unit: Unit, examples: int, database: ExampleDatabase | None) -> None:
    """Let Hypothesis draw cases and shrink a failing one; the smallest stays in `run.failure`."""
    chosen = settings(
        max_examples=examples,
        stateful_step_count=10,
        database=database,
        deadline=None,
        derandomize=False,
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.reuse, Phase.generate, Phase.shrink),
    )

    @chosen  # above the seed, which would take the database away
    @seed(unit.entropy)
    @given(cases(unit, **extras_of(run.check, run.subject.backend, unit.cell) | run.check.drawn))
    def drawn(case: Case) -> None:
        if not run.shrink(case):
            reject()

    try:
        if run.check.machine is None:
            drawn()
        else:
            run_state_machine_as_test(seed(unit.entropy)(run.check.machine(unit, run.subject, run)), settings=chosen)
    except (Broken, Flaky, ExceptionGroup):
        if run.failure is None and not run.expected:
            raise
    except Unsatisfiable:
        return
