"""The kernels that are measured: correct ones that differ, and ones that are less exact than they claim."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from rnn_conformance.backend import Backend
from rnn_conformance.backends.drop_in import DropInBackend
from rnn_conformance.backends.numpy import NumPyBackend
from rnn_conformance.backends.torch import TorchBackend
from rnn_conformance.backends.torch_cell import TorchCellBackend
from rnn_conformance.case import Case
from rnn_conformance.subject import Subject

from tests.faults import CONTROLS, FAULTS, Fault


@dataclass(frozen=True)
class Kernel:
    """One implementation, and how it is set up."""

    name: str
    backend: Backend
    dtypes: tuple[str, ...] = ()  # those in which it is wrong; empty for a correct one
    onednn: bool = True

    def offers(self, case: Case) -> bool:
        """Whether it takes this case."""
        return not self.backend.supports(case.config) and (not self.dtypes or case.config.dtype in self.dtypes)

    def results(self, case: Case) -> Mapping[str, Any]:
        """What it gives for a case."""
        context: AbstractContextManager[Any] = nullcontext()
        if not self.onednn:
            context = torch.backends.mkldnn.flags(enabled=False)  # type: ignore[no-untyped-call]
        with context:
            return Subject(self.backend).run(case, case.inputs()).arrays


def _drop_in(fault: Fault) -> Backend:
    return DropInBackend(lstm=fault.lstm, gru=fault.gru, rnn=fault.rnn, name=fault.name)


def correct() -> list[Kernel]:
    """torch with oneDNN on and off, its cells, NumPy, and every control of the zoo."""
    return [
        Kernel("torch", TorchBackend()),
        Kernel("torch without oneDNN", TorchBackend(), onednn=False),
        Kernel("torch's cells", TorchCellBackend()),
        Kernel("NumPy in the dtype", NumPyBackend()),
        *(Kernel(name, _drop_in(control)) for name, control in CONTROLS.items()),
    ]


def imprecise() -> list[Kernel]:
    """The zoo's family of precision, each in the dtypes in which it is wrong."""
    every = ("float64", "float32", "bfloat16", "float16")
    return [
        Kernel(name, _drop_in(fault), fault.dtypes or every)
        for name, fault in FAULTS.items()
        if fault.family == "precision"
    ]
