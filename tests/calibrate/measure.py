"""What is measured of each kernel: the largest ρ of every case, under this budget and under others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rnn_conformance.arithmetic import Arithmetic, arithmetic_of
from rnn_conformance.backends.numpy import NumPyBackend
from rnn_conformance.budget import LAMBDA, Budget
from rnn_conformance.case import Case
from rnn_conformance.config import CELLS, DTYPES, LayerConfig
from rnn_conformance.oracle import Truth, truth_of
from rnn_conformance.subject import Subject

from .kernels import Kernel

Array = np.ndarray[Any, Any]
DEFAULTS = {  # of torch.testing.assert_close: rtol and atol
    "float64": (1e-7, 1e-7),
    "float32": (1.3e-6, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
    "float16": (1e-3, 1e-5),
}


def drawn(seed: int, dtype: str) -> Case:
    """One case: mostly small, some wide, some deep, some long; every value profile but the tiny and the huge one."""
    rng = np.random.default_rng([seed, DTYPES.index(dtype)])
    cell = str(rng.choice(CELLS))
    hidden, steps = int(np.exp2(rng.uniform(0, 7))), int(np.exp2(rng.uniform(0, 6)))
    if rng.random() < 0.05:
        hidden, steps = int(rng.integers(128, 257)), 6
    elif rng.random() < 0.05:
        hidden, steps = 3, int(rng.integers(100, 301))
    config = LayerConfig(
        cell,
        int(np.exp2(rng.uniform(0, 6))),
        hidden,
        num_layers=int(rng.choice([1, 1, 2, 3])),
        bidirectional=bool(rng.integers(2)),
        bias=bool(rng.random() < 0.8),
        proj_size=int(rng.integers(1, hidden)) if cell == "lstm" and hidden > 1 and rng.random() < 0.2 else 0,
        dtype=dtype,
    )
    values = str(rng.choice(["uniform", "normal", "normal", "saturating", "integers", "onehot", "constant"]))
    return Case(config, steps, int(rng.integers(1, 9)), values=values, seed=seed)


@dataclass
class Spread:
    """How far one kernel strays in one dtype."""

    largest: list[float] = field(default_factory=list)  # ρ of each case
    mean: list[float] = field(default_factory=list)  # the largest root mean square of ρ over one result, of each case
    cases: int = 0
    values: int = 0
    accused: int = 0

    def add(self, results: Mapping[str, Array], budgets: Mapping[str, Budget]) -> None:
        """Count one case."""
        rhos = [budgets[name].rho(array) for name, array in results.items() if array.size]
        largest = max(float(rho.max()) for rho in rhos)
        self.largest.append(largest)
        self.mean.append(max(float(np.sqrt(np.square(np.minimum(rho, 1e150)).mean())) for rho in rhos))
        self.cases += 1
        self.values += sum(rho.size for rho in rhos)
        self.accused += largest > LAMBDA


def simpler(case: Case, truth: Truth) -> dict[str, Budget]:
    """The other budget of the design: the worst of 4 jittered runs joined with the error of a plain kernel in the same
    dtype and a floor of 2u·max|truth|, times 4; as a σ, so that its limit is λ too.
    """
    plain = Subject(NumPyBackend()).run(case, case.inputs()).arrays
    u = arithmetic_of(case.config.dtype).unit_roundoff
    found = {}
    for name, budget in truth.budgets.items():
        jittered = budget.sigma * np.abs(np.random.default_rng(0).standard_normal((4, *budget.sigma.shape))).max(axis=0)
        error = np.abs(plain[name].astype(budget.truth.dtype) - budget.truth)
        floor = 2 * u * np.abs(budget.truth).max(initial=0.0)
        found[name] = Budget(budget.truth, np.maximum(np.maximum(jittered, error), floor) * 4 / LAMBDA)
    return found


def widths(case: Case, truth: Truth) -> Iterator[float]:
    """How many times wider torch.testing.assert_close's default is than λσ, over the elements."""
    rtol, atol = DEFAULTS[case.config.dtype]
    for budget in truth.budgets.values():
        yield from np.ravel((atol + rtol * np.abs(budget.truth)) / (LAMBDA * budget.sigma)).astype(float)[:50]


@dataclass
class Measured:
    """All that one calibration came to."""

    correct: dict[tuple[str, str], Spread] = field(default_factory=dict)  # by kernel and dtype
    imprecise: dict[tuple[str, str], Spread] = field(default_factory=dict)
    simpler: dict[tuple[str, str], Spread] = field(default_factory=dict)  # all of them under the other budget
    width: dict[str, list[float]] = field(default_factory=dict)
    passed_by_default: dict[tuple[str, str], int] = field(default_factory=dict)  # imprecise, under torch's default
    silent: int = 0


def add(found: Measured, case: Case, kernels: list[Kernel], wrong: list[Kernel]) -> None:
    """Try every kernel on one case, each under the arithmetic that it declares."""
    dtype = case.config.dtype
    usual = truth_of(case.config, case.inputs(), arithmetic_of(dtype))
    if usual.says_nothing:
        found.silent += 1
        return
    others: dict[Arithmetic, dict[str, Budget]] = {}
    found.width.setdefault(dtype, []).extend(widths(case, usual))
    for many, spreads in ((kernels, found.correct), (wrong, found.imprecise)):
        for kernel in many:
            if not kernel.offers(case):
                continue
            results, key = kernel.results(case), (kernel.name, dtype)
            arithmetic = kernel.backend.arithmetic(dtype)
            truth = truth_of(case.config, case.inputs(), arithmetic)
            if many is wrong and not _differs(results, truth):
                continue
            if arithmetic not in others:
                others[arithmetic] = simpler(case, truth)
            spreads.setdefault(key, Spread()).add(results, truth.budgets)
            found.simpler.setdefault(key, Spread()).add(results, others[arithmetic])
            if many is wrong:
                found.passed_by_default[key] = found.passed_by_default.get(key, 0) + _by_default(results, truth, dtype)


def _differs(results: Mapping[str, Array], truth: Truth) -> bool:
    """Whether a result is not even the nearest number of its dtype: an imprecise kernel may be exact by luck."""
    return any((array != truth.budgets[name].truth.astype(array.dtype)).any() for name, array in results.items())


def _by_default(results: Mapping[str, Array], truth: Truth, dtype: str) -> bool:
    rtol, atol = DEFAULTS[dtype]
    return all(
        np.allclose(array.astype(float), truth.budgets[name].truth.astype(float), rtol, atol)
        for name, array in results.items()
    )
