"""The zoo: faulty drop-in LSTM, GRU and RNN modules, each one planted mistake, and correct controls beside them."""

from . import algebra  # noqa: F401
from .zoo import CONTROLS, FAULTS, Fault

__all__ = ["CONTROLS", "FAULTS", "Fault"]
