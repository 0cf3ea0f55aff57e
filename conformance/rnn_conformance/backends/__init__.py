"""Backends by name: those that come with the suite, entry points, and `module:Class`."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.metadata import entry_points
from typing import Any

from rnn_conformance.backend import Backend, WrongUse

BUILT_IN = {
    "torch": "rnn_conformance.backends.torch:TorchBackend",
    "torch-cell": "rnn_conformance.backends.torch_cell:TorchCellBackend",
    "numpy": "rnn_conformance.backends.numpy:NumPyBackend",
}


def available() -> dict[str, str]:
    """Where each backend that has a name is found, by name."""
    return {point.name: point.value for point in entry_points(group="rnn_conformance.backends")} | BUILT_IN


def load_backend(name: str) -> Backend:
    """The backend of this name, or of this `module:Class`.

    Raises:
        WrongUse: where there is none, it does not import, or it is not a backend.
    """
    target = available().get(name, name)
    if ":" not in target:
        raise WrongUse(
            f"no backend is called {name!r}: choose one of {', '.join(sorted(available()))}, or write module:Class"
        )
    return backend_of(load_object(target), name)


def backend_of(made: Any, name: str) -> Backend:
    """The backend that a class or an object is.

    Args:
        name: by which it goes where it has none.

    Raises:
        WrongUse: where it is none.
    """
    try:
        backend = made() if isinstance(made, type) else made
    except Exception as error:
        raise WrongUse(f"backend {name} cannot be made: {describe(error)}") from error
    if not isinstance(backend, Backend):
        raise WrongUse(f"{name} must be a subclass of rnn_conformance.Backend, not {type(backend).__name__}")
    backend.name = backend.name or name
    return backend


def load_object(target: str) -> Any:
    """What `module:name` stands for; the current directory is searched too.

    Raises:
        WrongUse: where the module does not import or has no such name.
    """
    module_name, _, attribute = target.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        hint = " (install rnn-conformance[torch])" if error.name == "torch" else ""
        raise WrongUse(f"{target} cannot be imported: there is no module {error.name!r}{hint}") from error
    except Exception as error:
        raise WrongUse(f"{target} cannot be imported: {describe(error)}") from error
    if not attribute or not hasattr(module, attribute):
        raise WrongUse(f"module {module_name!r} has no {attribute or 'class after the colon'!r}")
    return getattr(module, attribute)


def describe(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
