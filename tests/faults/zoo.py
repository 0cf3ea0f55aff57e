"""The register of the zoo: what a fault is, and how a module of this package puts one in."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import nn

from .base import GRU, LSTM, RNN, Kernel

CELLS: dict[str, type[Any]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
STEPPED: dict[str, type[Any]] = {"lstm": LSTM, "gru": GRU, "rnn": RNN}

C = TypeVar("C", bound=type)


@dataclass(frozen=True)
class Fault:
    """One planted mistake (or, among the controls, one legitimate difference) as drop-in modules."""

    name: str
    family: str
    summary: str  # the mistake in one sentence
    where: str  # the configs in which it shows
    caught_by: str  # the check expected to see it first; '' for a control
    lstm: type[nn.RNNBase] | None = None
    gru: type[nn.RNNBase] | None = None
    rnn: type[nn.RNNBase] | None = None
    source: str = ""  # a report of this mistake, or of a close relative, in a real framework
    dtypes: tuple[str, ...] = ()  # those in which it shows; empty for all
    shows: Mapping[str, Any] = field(default_factory=dict)  # one case inside `where`, in the words of selftest.py

    @property
    def cells(self) -> dict[str, type[nn.RNNBase]]:
        """The faulty modules by the name of their cell."""
        return {cell: module for cell in CELLS if (module := getattr(self, cell)) is not None}


FAULTS: dict[str, Fault] = {}
CONTROLS: dict[str, Fault] = {}


def fault(
    caught_by: str,
    where: str = "every config",
    *,
    cells: str = "lstm gru rnn",
    source: str = "",
    dtypes: tuple[str, ...] = (),
    **shows: Any,
) -> Callable[[C], C]:
    """Register a class as a fault. A subclass of one cell is that cell; a mix-in over `Kernel` becomes all `cells`."""
    return _register(FAULTS, caught_by, where, cells, source, dtypes, shows)


def control(where: str = "every config", *, cells: str = "lstm gru rnn", **shows: Any) -> Callable[[C], C]:
    """Register a class as a control: correct, and different."""
    return _register(CONTROLS, "", where, cells, "", (), shows)


def _register(
    zoo: dict[str, Fault],
    caught_by: str,
    where: str,
    cells: str,
    source: str,
    dtypes: tuple[str, ...],
    shows: Mapping[str, Any],
) -> Callable[[C], C]:
    def put(cls: C) -> C:
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", cls.__name__).lower()
        if name in zoo:
            raise ValueError(f"two entries of the name {name}")
        zoo[name] = Fault(
            name=name,
            family=cls.__module__.rpartition(".")[2],
            summary=(cls.__doc__ or "").partition("\n")[0],
            where=where,
            caught_by=caught_by,
            source=source,
            dtypes=dtypes,
            shows=dict(shows),
            **_modules(cls, cells.split()),
        )
        return cls

    return put


def _modules(cls: type, cells: list[str]) -> dict[str, type[Any]]:
    for cell, base in CELLS.items():
        if issubclass(cls, base):
            return {cell: cls}
    bases = STEPPED if issubclass(cls, Kernel) else CELLS
    return {cell: _drop_in(cls, bases[cell]) for cell in cells}


def _drop_in(mixin: type, base: type[Any]) -> type[Any]:
    """The mix-in as a module of one cell, importable (and so picklable) under a name of its own."""
    name = mixin.__name__ + base.__name__
    module = type(name, (mixin, base), {"__module__": mixin.__module__, "__doc__": mixin.__doc__, "__qualname__": name})
    setattr(sys.modules[mixin.__module__], name, module)
    return module
