"""Settings of the whole process, which a kernel must leave alone."""

from __future__ import annotations

import ctypes
import gc
import locale
import os
import random
import signal
import sys
import threading
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np

from rnn_conformance.backend import Backend

BACKEND = "backend: "


@runtime_checkable
class Distant(Protocol):
    """A snapshot of another process."""

    def changed(self, later: Any) -> list[str]:
        """The names of what differs."""

    def restore(self) -> None:
        """Undo what was changed."""


@runtime_checkable
class Elsewhere(Protocol):
    """A backend in another process."""

    def world(self) -> Distant:
        """What can be seen of that process."""

    def usage(self) -> Usage | None:
        """What that process holds."""


@dataclass(frozen=True)
class Usage:
    """What a process holds."""

    memory: int  # bytes, resident
    files: int
    threads: int


def usage(backend: Backend) -> Usage | None:
    """What the backend's process holds; None where it cannot be counted."""
    if isinstance(backend, Elsewhere):
        return backend.usage()
    if not sys.platform.startswith("linux"):
        return None
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    held = (len(os.listdir(f"/proc/self/{kind}")) for kind in ("fd", "task"))
    return Usage(pages * os.sysconf("SC_PAGESIZE"), *held)


def snapshot(backend: Backend) -> Any:
    """What can be seen of the backend's process and of its library, by name; where that process is another, it is
    what `changed` and `restore` take.
    """
    if isinstance(backend, Elsewhere):
        return backend.world()
    found = {
        "current directory": os.getcwd(),
        "environment variables": dict(os.environ),
        "Python's random state": random.getstate(),
        "NumPy's random state": _hashable(np.random.get_state(legacy=True)),
        "NumPy's error handling": np.geterr(),
        "NumPy's print options": np.get_printoptions(),
        "locale": locale.setlocale(locale.LC_ALL),
        "trace function of threads": threading.gettrace(),
        "recursion limit": sys.getrecursionlimit(),
        "garbage collection": gc.isenabled(),
        "modules": _Kept(sys.modules),
        "import path": list(sys.path),
        "rounding mode": None if LIBC is None else LIBC.fegetround(),
        "subnormal numbers": float(SUBNORMAL * np.float32(1)),
    }
    found |= {f"{sign.name}'s handler": signal.getsignal(sign) for sign in signal.valid_signals() if _has_name(sign)}
    return found | {BACKEND + name: value for name, value in backend.settings().items()}


class _Kept(dict[str, Any]):
    """Modules, of which others may be imported later."""

    def __eq__(self, later: object) -> bool:
        return isinstance(later, dict) and all(later.get(name) is module for name, module in self.items())

    def __ne__(self, later: object) -> bool:
        return not self == later

    __hash__ = None


def _has_name(sign: int) -> TypeGuard[signal.Signals]:
    return isinstance(sign, signal.Signals)


def _hashable(state: Any) -> tuple[Any, ...]:
    return (state[0], state[1].tobytes(), *state[2:])


def changed(before: Any, after: Any) -> list[str]:
    """The names of what differs."""
    if isinstance(before, Distant):
        return before.changed(after)
    return [name.removeprefix(BACKEND) for name, value in before.items() if value != after[name]]


def restore(backend: Backend, before: Any) -> None:
    """Undo what a backend changed, so that the next check starts clean."""
    if isinstance(before, Distant):
        before.restore()
        return
    names = changed(before, snapshot(backend))
    if not names:
        return
    if {"rounding mode", "subnormal numbers"} & set(names) and LIBC is not None:
        LIBC.fesetenv(ENVIRONMENT)
    os.chdir(before["current directory"])
    os.environ.clear()
    os.environ.update(before["environment variables"])
    np.seterr(**before["NumPy's error handling"])
    np.set_printoptions(**before["NumPy's print options"])
    locale.setlocale(locale.LC_ALL, before["locale"])
    sys.setrecursionlimit(before["recursion limit"])
    (gc.enable if before["garbage collection"] else gc.disable)()
    sys.modules.update(before["modules"])
    sys.path[:] = before["import path"]
    if threading.current_thread() is threading.main_thread():
        for sign in filter(_has_name, signal.valid_signals()):
            if f"{sign.name}'s handler" in names:
                signal.signal(sign, before[f"{sign.name}'s handler"])
    own = {name.removeprefix(BACKEND): value for name, value in before.items() if name.startswith(BACKEND)}
    if own:
        backend.restore(own)


def _libc() -> Any:
    """The C library, where it has the functions that set how numbers are rounded."""
    try:
        found = ctypes.CDLL(None)
        found.fegetenv(ENVIRONMENT)
    except (AttributeError, OSError, TypeError):
        return None
    return found


ENVIRONMENT = ctypes.create_string_buffer(256)  # how numbers are rounded when this process starts
LIBC = _libc()
SUBNORMAL = np.float32(1e-40)
