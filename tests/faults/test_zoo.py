"""The zoo itself: every fault is really wrong where it says, and every control agrees with torch.nn."""

from collections import Counter

import pytest
import torch
from rnn_conformance.run import load_checks

from . import CONTROLS, FAMILIES, FAULTS, Fault
from .selftest import Situation, differs, outcome, shown
from .zoo import CELLS

torch.set_num_threads(1)

MODULES = [pytest.param(fault, cell, id=f"{name}-{cell}") for name, fault in FAULTS.items() for cell in fault.cells]
SITUATIONS = {
    "one layer": Situation(),
    "a stack": Situation(num_layers=3, bidirectional=True, batch_first=True, hx=True),
    "no bias": Situation(bias=False, num_layers=2, steps=20, batch=5, scale=0.5),
    "lengths": Situation(lengths=(2, 6, 4), bidirectional=True, num_layers=2, hx=True),
    "unbatched": Situation(unbatched=True, hx=True),
    "wide": Situation(input_size=17, hidden_size=65, batch=9, scale=0.25),
    "float64": Situation(dtype="float64", num_layers=2, hx=True),
    "float64 lengths": Situation(dtype="float64", lengths=(6, 1, 3), bidirectional=True),
}
HALF = ("bfloat16", "float16")


@pytest.mark.parametrize(("fault", "cell"), MODULES)
@pytest.mark.filterwarnings("ignore")
def test_fault_shows(fault: Fault, cell: str) -> None:
    """Every fault differs from torch.nn in the situation that it names."""
    assert shown(fault, cell)


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("place", SITUATIONS)
def test_control_agrees(name: str, place: str) -> None:
    """Every control agrees with torch.nn, in one call and in several, with gradients and from state to state."""
    at = SITUATIONS[place]
    probes = ["forward", "gradients"] + (["calls", "layout", "new_weights"] if place == "a stack" else [])
    for cell, module in CONTROLS[name].cells.items():
        for probe in probes:
            due = outcome(CELLS[cell], probe, at)
            assert due != ["raised"]
            assert not differs(outcome(module, probe, at), due), f"{cell}, {probe}"


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", CONTROLS)
def test_control_agrees_in_half(name: str, dtype: str) -> None:
    """Every control computes in half precision too, near what float32 gives."""
    for cell, module in CONTROLS[name].cells.items():
        seen = [outcome(cls, "forward", Situation(dtype=dt)) for cls, dt in ((module, dtype), (CELLS[cell], "float32"))]
        for half, due in zip(*seen, strict=True):
            if isinstance(due, torch.Tensor):
                assert half.dtype == getattr(torch, dtype)
                assert (half.float() - due).abs().max() < 0.05


def test_counts() -> None:
    """There are a hundred faults and eight controls at least, of every family, a third of the hundred with a source."""
    assert len(FAULTS) >= 100
    assert len(CONTROLS) >= 8
    families = Counter(fault.family for fault in FAULTS.values())
    assert set(families) == set(FAMILIES) - {"controls"}
    assert min(families.values()) >= 4
    assert sum(bool(fault.source) for fault in FAULTS.values()) >= 30


def test_caught_by_names_a_check() -> None:
    """The check expected to catch a fault exists; a control names none."""
    checks = load_checks()
    assert {fault.caught_by for fault in FAULTS.values()} <= set(checks)
    assert {control.caught_by for control in CONTROLS.values()} == {""}


def test_names_are_one_of_a_kind() -> None:
    """No name is given twice, and each sentence is said once."""
    everything = [*FAULTS.values(), *CONTROLS.values()]
    assert len({thing.name for thing in everything}) == len(everything)
    assert len({thing.summary for thing in everything}) == len(everything)
    assert all(thing.summary.endswith(".") for thing in everything)


def test_sources_are_threads() -> None:
    """A source names a repository and a number."""
    for fault in FAULTS.values():
        owner, _, rest = fault.source.partition("/")
        assert not fault.source or (owner and rest.partition("#")[2].isdigit()), fault.name
