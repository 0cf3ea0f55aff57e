"""The zoo: faulty drop-in LSTM, GRU and RNN modules, each one planted mistake, and correct controls beside them."""

from importlib import import_module

from .zoo import CONTROLS, FAULTS, Fault

FAMILIES = (
    "algebra",
    "layers",
    "states",
    "batch",
    "lengths",
    "sizes",
    "projections",
    "combinations",
    "precision",
    "memory",
    "dropout",
    "gradients",
    "special",
    "errors",
    "dtypes",
    "behaviour",
    "controls",
)
for family in FAMILIES:
    import_module(f"{__name__}.{family}")

__all__ = ["CONTROLS", "FAULTS", "Fault"]
