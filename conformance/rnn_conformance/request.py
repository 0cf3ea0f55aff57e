"""What a user asks for: plain values, the same on the command line, in pytest and in Python.

Importing this imports no library, so that a pytest run which asks for nothing pays for nothing.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rnn_conformance.backend import Backend
    from rnn_conformance.expectations import Expectation

Profile = Literal["smoke", "ci", "thorough"]
PROFILES: tuple[Profile, ...] = ("smoke", "ci", "thorough")
KINDS = ("lstm", "gru", "rnn")
SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Request:
    """One run, as it is asked for: it can cross to another process."""

    backend: str = "torch"
    lstm: str | None = None
    gru: str | None = None
    rnn: str | None = None
    device: str = "cpu"
    profile: Profile = "ci"
    seed: int = 0
    rtol: float | None = None
    atol: float | None = None
    expectations: str | None = None
    time_budget: float | None = None  # seconds
    isolate: bool | None = None  # whether the backend runs in a process of its own; None where it may well crash
    call_timeout: float = 30.0  # seconds that one call may take there
    memory_limit: float | None = None  # GiB of address space there

    @property
    def isolated(self) -> bool:
        """Whether the backend runs in a process of its own: what others wrote by hand, or is known to crash, does."""
        if self.isolate is not None:
            return self.isolate
        from rnn_conformance.backends import CRASHING

        by_hand = bool(self.lstm or self.gru or self.rnn) or self.backend.partition(":")[0] in ("function", "command")
        return by_hand or self.backend in CRASHING

    def known(self, backend: Backend) -> tuple[Expectation, ...]:
        """The deviations that the file named, or else the backend's own, declares.

        Raises:
            WrongUse: where that file is not well formed.
        """
        from pathlib import Path

        from rnn_conformance.expectations import read_expectations
        from rnn_conformance.run import load_checks

        path = Path(self.expectations) if self.expectations else backend.expectations()
        return read_expectations(path, load_checks()) if path else ()

    def load(self) -> Backend:
        """The backend asked for, in this process or in one of its own.

        Raises:
            WrongUse: where there is no such backend or device, or loading it ends its process.
        """
        if self.isolated:
            from dataclasses import asdict

            from rnn_conformance.isolate import IsolatedBackend

            return IsolatedBackend(asdict(self), self.call_timeout, self.memory_limit)
        from rnn_conformance.loading import load

        return load(self)


def seconds(text: str) -> float:
    """The seconds that '90', '60s', '2m' or '1h' stand for.

    Raises:
        ValueError: for anything else.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if found is None or not math.isfinite(number := float(found[1]) * SECONDS[found[2]]) or not number:
        raise ValueError(f"{text!r} is no span of time, such as 60s or 2m")
    return number


def switch(text: str) -> bool:
    """What 'True' and 'False' stand for.

    Raises:
        ValueError: for anything else.
    """
    if text not in ("True", "False"):
        raise ValueError(f"{text!r} is neither True nor False")
    return text == "True"


def positive(text: str) -> float:
    """The number that `text` stands for, above 0.

    Raises:
        ValueError: for anything else.
    """
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError(f"{text} is no number above 0")
    return number


def natural(text: str) -> int:
    """The number that `text` stands for, 0 or more.

    Raises:
        ValueError: for anything else.
    """
    if not text.isascii() or not text.isdecimal():
        raise ValueError(f"{text!r} is no whole number of 0 or more")
    return int(text)
