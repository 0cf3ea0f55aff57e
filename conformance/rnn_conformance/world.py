"""Settings of the whole process, which a kernel must leave alone."""

from __future__ import annotations

import locale
import os
import random
import signal
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnn_conformance.backend import Backend

BACKEND = "backend: "


def snapshot(backend: Backend) -> dict[str, Any]:
    """What can be seen of the process and of the backend's library, by name."""
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


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The names of what differs."""
    return [name.removeprefix(BACKEND) for name, value in before.items() if after[name] != value]


def restore(backend: Backend, before: Mapping[str, Any]) -> None:
    """Undo what a backend changed, so that the next check starts clean."""
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
