"""What is measured while a unit of work runs: how far results stray, where the worst does, what was tried."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rnn_conformance.budget import LAMBDA
from rnn_conformance.case import LAYOUTS, PROFILES, Case
from rnn_conformance.record import Along, Worst

Array = np.ndarray[Any, Any]

BELOW, ABOVE = 8, 15  # doublings under and over λ that are told apart
BINS = [LAMBDA * 2.0**k for k in range(-BELOW, ABOVE + 1)]  # upper ends; one more bin holds what is beyond
LEAST = 0.75 * BINS[0]  # lies in the lowest bin, as zero does
FINEST = 64  # numbers that tell how ρ goes along an axis

SIZES = {"1": 1, "2 to 3": 3, "4 to 15": 15, "16 to 63": 63, "64 and more": 1 << 62}
AXES: dict[str, tuple[str, ...]] = {
    "num_layers": ("1", "2", "3 and more"),
    "directions": ("1", "2"),
    "batch_first": ("False", "True"),
    "bias": ("True", "False"),
    "dropout": ("0", "more"),
    "projection": ("none", "given"),
    "hidden_size": tuple(SIZES),
    "input_size": tuple(SIZES),
    "steps": ("0", *SIZES),
    "batch": ("no axis", "0", *SIZES),
    "lengths": ("none", "equal", "different", "with 0"),
    "initial state": ("none", "given"),
    "values": PROFILES,
    "layout": LAYOUTS,
}


def classes(case: Case) -> tuple[str, ...]:
    """The class of a case on each of `AXES`."""
    config = case.config
    return (
        str(config.num_layers) if config.num_layers < 3 else "3 and more",
        str(config.num_directions),
        str(config.batch_first),
        str(config.bias),
        "more" if config.dropout else "0",
        "given" if config.proj_size else "none",
        _size(config.hidden_size),
        _size(config.input_size),
        _size(case.seq_len),
        "no axis" if case.batch_size is None else _size(case.batch_size),
        _lengths(case.lengths),
        "given" if case.hx else "none",
        case.values,
        case.layout,
    )


def _size(size: int) -> str:
    return next(name for name, most in SIZES.items() if size <= most) if size else "0"


def _lengths(lengths: tuple[int, ...] | None) -> str:
    if lengths is None:
        return "none"
    if 0 in lengths:
        return "with 0"
    return "equal" if len(set(lengths)) < 2 else "different"


@dataclass
class Measured:
    """What was measured over the examples of one unit of work."""

    values: int = 0
    largest_rho: float = 0.0
    sum_of_squares: float = 0.0
    backend_seconds: float = 0.0
    spread: Array = field(default_factory=lambda: np.zeros(len(BINS) + 1, np.int64))  # values in each of `BINS`
    case: Case | None = None  # which is being tried
    worst: tuple[Case | None, str, dict[str, Array]] | None = None  # the case, the array and ρ of all its arrays
    tried: dict[tuple[str, ...], int] = field(default_factory=dict)

    def add(self, rhos: dict[str, Array]) -> None:
        """Count the deviations of the arrays that one call gave, by name."""
        for name, rho in rhos.items():
            if not rho.size:
                continue
            self.values += rho.size
            largest = float(rho.max())
            self.sum_of_squares += float(np.square(np.minimum(rho, 1e150)).sum())
            doublings = np.frexp(np.maximum(rho, LEAST) / LAMBDA)[1]  # fast, where logarithms and np.histogram are not
            bins = np.minimum(doublings + BELOW, len(BINS))
            self.spread += np.bincount(bins.ravel(), minlength=len(BINS) + 1)
            if largest > self.largest_rho:
                self.largest_rho, self.worst = largest, (self.case, name, rhos)

    def count(self, case: Case) -> None:
        """Count one example by its classes."""
        kind = classes(case)
        self.tried[kind] = self.tried.get(kind, 0) + 1

    @property
    def coverage(self) -> list[list[int]]:
        """How many examples fell into each class of each of `AXES`; nothing where none was counted."""
        if not self.tried:
            return []
        found = [dict.fromkeys(names, 0) for names in AXES.values()]
        for kind, count in self.tried.items():
            for axis, name in zip(found, kind, strict=True):
                axis[name] += count
        return [list(axis.values()) for axis in found]

    @property
    def worst_case(self) -> Worst | None:
        """The case of the largest ρ, and how ρ goes along time and over units there."""
        if self.worst is None:
            return None
        case, name, rhos = self.worst
        along = _along(name, rhos[name])
        for other, rho in rhos.items():
            if "step" not in along and "step" in axes_of(other, rho.ndim):
                along |= {"step": _along(other, rho)["step"]}
        return Worst(case="" if case is None else str(case), array=name, along=along)


def axes_of(name: str, ndim: int) -> tuple[str, ...]:
    """What the axes of an array stand for, by the array's name."""
    if ndim == 3:
        return ("step" if name.rpartition(" ")[2] in ("output", "input") else "lane", "row", "unit")
    if name.rpartition(" ")[2] == "last":
        return ("row", "unit")
    return ("gate unit", "column")[:ndim]


def _along(name: str, rho: Array) -> dict[str, Along]:
    """The largest ρ at each place of each axis but the rows."""
    found = {}
    for k, axis in enumerate(axes_of(name, rho.ndim)):
        if axis != "row" and rho.size:
            largest = rho.max(axis=tuple(other for other in range(rho.ndim) if other != k))
            found[axis] = Along(size=len(largest), rho=[float(f"{x:.3g}") for x in _coarse(largest)])
    return found


def _coarse(numbers: Array) -> Array:
    """The largest of each of at most `FINEST` parts of about equal length."""
    starts = np.unique(np.linspace(0, len(numbers), min(len(numbers), FINEST), endpoint=False).astype(int))
    coarse: Array = np.maximum.reduceat(numbers, starts)
    return coarse


def trimmed(counts: Array) -> list[int]:
    """`counts` without the zeros at its end."""
    return [int(n) for n in np.trim_zeros(counts, "b")]
