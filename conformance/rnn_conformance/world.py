"""Settings of the whole process, which a kernel must leave alone."""

from __future__ import annotations

import locale
import os
import random
import signal
import threading
from typing import Any, Protocol, runtime_checkable

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
        "SIGINT's handler": signal.getsignal(signal.SIGINT),
        "SIGTERM's handler": signal.getsignal(signal.SIGTERM),
        "trace function of threads": threading.gettrace(),
    }
    return found | {BACKEND + name: value for name, value in backend.settings().items()}


def _hashable(state: Any) -> tuple[Any, ...]:
    return (state[0], state[1].tobytes(), *state[2:])


def changed(before: Any, after: Any) -> list[str]:
    """The names of what differs."""
    if isinstance(before, Distant):
        return before.changed(after)
    return [name.removeprefix(BACKEND) for name, value in before.items() if after[name] != value]


def restore(backend: Backend, before: Any) -> None:
    """Undo what a backend changed, so that the next check starts clean."""
    if isinstance(before, Distant):
        before.restore()
        return
    after = snapshot(backend)
    if after == before:
        return
    os.chdir(before["current directory"])
    os.environ.clear()
    os.environ.update(before["environment variables"])
    np.seterr(**before["NumPy's error handling"])
    np.set_printoptions(**before["NumPy's print options"])
    locale.setlocale(locale.LC_ALL, before["locale"])
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, before["SIGINT's handler"])
        signal.signal(signal.SIGTERM, before["SIGTERM's handler"])
    own = {name.removeprefix(BACKEND): value for name, value in before.items() if name.startswith(BACKEND)}
    if own:
        backend.restore(own)
