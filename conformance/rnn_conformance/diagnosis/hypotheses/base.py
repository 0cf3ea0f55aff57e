"""The register of hypotheses, and what families of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from rnn_conformance.diagnosis.kernel import Kernel, Results

Array = np.ndarray[Any, Any]
Change = Callable[[Kernel], Kernel | None]
Kind = Literal["values", "gradients"]


@dataclass(frozen=True)
class Hypothesis:
    """One mistake."""

    id: str
    sentence: str  # what the kernel does, for a person
    change: Change  # the mistaken kernel; None where the mistake cannot be made
    kind: Kind = "values"
    tuned: bool = False  # whether it has a number that is fitted to what the backend gave


CATALOGUE: dict[str, Hypothesis] = {}


def add(id: str, sentence: str, change: Change, kind: Kind = "values", tuned: bool = False) -> None:
    """Register one hypothesis."""
    if id in CATALOGUE:
        raise ValueError(f"two hypotheses of the id {id}")
    CATALOGUE[id] = Hypothesis(id, sentence, change, kind, tuned)


def mistake(id: str, sentence: str) -> Callable[[Change], Change]:
    """Register a change of the kernel."""

    def put(change: Change) -> Change:
        add(id, sentence, change)
        return change

    return put


def on_results(change: Callable[[Kernel, Results], Results]) -> Change:
    """The change of a kernel that gives other results."""
    return lambda kernel: replace(kernel, leave=(*kernel.leave, change))


def tuned(build: Callable[[Kernel, float], Kernel | None], example: float) -> Change:
    """The change of a kernel by a number that is fitted to what the backend gave, by Gauss and Newton's steps from 0.

    Where the number is known already, as `kernel.amount`, it is that; where the backend gave nothing, it is `example`.
    """

    def change(kernel: Kernel) -> Kernel | None:
        if kernel.amount is not None or not kernel.seen:
            amount = example if kernel.amount is None else kernel.amount
            return _noted(build(kernel, amount), amount)
        if build(kernel, example) is None:
            return None
        right = _vector(kernel, 0.0, build)
        if right.size != sum(array.size for array in kernel.seen.values()):
            return None
        slope = (_vector(kernel, example, build) - right) / example
        if not np.isfinite(slope).all() or not slope.any():
            return None
        due = np.concatenate([kernel.seen[name].astype(right.dtype).ravel() for name in sorted(kernel.seen)])
        amount, rest = 0.0, due - right
        for _ in range(6):
            amount += float((rest @ slope) / (slope @ slope))
            rest = due - _vector(kernel, amount, build)
            if not np.isfinite(rest).all():
                return None
        return _noted(build(kernel, amount), amount)

    return change


def _vector(kernel: Kernel, amount: float, build: Callable[[Kernel, float], Kernel | None]) -> Array:
    """All results of a kernel that is changed by a number, in one row."""
    changed = build(kernel, amount)
    assert changed is not None
    results = changed.results()
    return np.concatenate([results[name].squeeze(-3).ravel() for name in sorted(results)])


def _noted(kernel: Kernel | None, amount: float) -> Kernel | None:
    return None if kernel is None else replace(kernel, amount=amount)


def with_parameters(kernel: Kernel, changed: Mapping[str, Array]) -> Kernel | None:
    """The kernel with some parameters in place of its own; None where there are none."""
    return replace(kernel, parameters={**kernel.parameters, **changed}) if changed else None


def each(kernel: Kernel, start: str, change: Callable[[Array], Array]) -> Kernel | None:
    """The kernel with every parameter whose name starts so changed."""
    changed = {name: change(array) for name, array in kernel.parameters.items() if name.startswith(start)}
    return with_parameters(kernel, changed)


def rows_of(kernel: Kernel, gate: int) -> slice:
    """The rows of one gate in a parameter."""
    size = kernel.config.hidden_size
    return slice(gate * size, (gate + 1) * size)


def gated(name: str) -> bool:
    """Whether a parameter has rows for each gate."""
    return not name.startswith(("weight_hr", "peephole"))
