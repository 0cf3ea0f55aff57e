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


CATALOGUE: dict[str, Hypothesis] = {}


def add(id: str, sentence: str, change: Change, kind: Kind = "values") -> None:
    """Register one hypothesis."""
    if id in CATALOGUE:
        raise ValueError(f"two hypotheses of the id {id}")
    CATALOGUE[id] = Hypothesis(id, sentence, change, kind)


def mistake(id: str, sentence: str) -> Callable[[Change], Change]:
    """Register a change of the kernel."""

    def put(change: Change) -> Change:
        add(id, sentence, change)
        return change

    return put


def on_results(change: Callable[[Kernel, Results], Results]) -> Change:
    """The change of a kernel that gives other results."""
    return lambda kernel: replace(kernel, leave=(*kernel.leave, change))


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
    return not name.startswith("weight_hr")
