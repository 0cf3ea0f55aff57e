"""Loading what a request names, and saying at once what is wrong with it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from threadpoolctl import threadpool_limits

from rnn_conformance.backend import Backend, Policy, WrongUse
from rnn_conformance.backends import available, describe, load_backend, load_object
from rnn_conformance.request import KINDS, Request

METHODS = ("forward", "named_parameters", "train", "to")  # those of a module by which it is driven


def load(request: Request) -> Backend:
    """The backend that a request names, its device present, its threads bound to one.

    Raises:
        WrongUse: where there is no such backend or device, or it is not a backend.
    """
    names = {kind: str(getattr(request, kind)) for kind in KINDS if getattr(request, kind)}
    if names:
        modules = {kind: load_object(name) for kind, name in names.items()}
        backend = drop_in(modules, "+".join(names.values()))
    else:
        backend = load_backend(request.backend)
    present(backend, request.device)
    threadpool_limits(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    return backend


def preload(request: Request) -> None:
    """Import what `load` will need, so far as that goes well: loading says what does not."""
    names = [name for kind in KINDS if (name := getattr(request, kind))]
    with suppress(Exception):
        for name in names or [available().get(request.backend, request.backend)]:
            load_object(name)


def drop_in(modules: Mapping[str, Any], name: str = "") -> Backend:
    """The backend over these classes by kind.

    Raises:
        WrongUse: where one is not a class like torch.nn's, or torch is not there.
    """
    made = load_object("rnn_conformance.backends.drop_in:DropInBackend")
    for kind, module in modules.items():
        _require_module(kind, module)
    backend: Backend = made(**modules, name=name)
    return backend


def _require_module(kind: str, module: Any) -> None:
    due = f"--{kind} must name a class like torch.nn.{kind.upper()}"
    if not callable(module):
        raise WrongUse(f"{due}, not {type(module).__name__}")
    if not isinstance(module, type):
        return  # a function that makes modules
    for method in METHODS:
        found = getattr(module, method, None)
        if not callable(found) or getattr(found, "__name__", "") == "_forward_unimplemented":
            raise WrongUse(f"{due}: {module.__module__}:{module.__qualname__} has no method {method!r}")


def present(backend: Backend, device: str) -> None:
    """Raise WrongUse unless what a backend says of itself is of the right types, and it has the device."""
    kind = type(backend).__qualname__
    try:
        devices, version = backend.devices(), backend.version
    except Exception as error:
        raise WrongUse(
            f"backend {backend.name} cannot be asked for its devices and version: {describe(error)}"
        ) from error
    if isinstance(devices, str) or not all(isinstance(one, str) for one in devices):
        raise WrongUse(f"{kind}.devices() must give a tuple of names such as ('cpu',), not {devices!r}")
    for name, value, due in (
        ("name", backend.name, str),
        ("version", version, str),
        ("policy", backend.policy, Policy),
    ):
        if not isinstance(value, due):
            raise WrongUse(f"{kind}.{name} must be a {due.__name__}, not {type(value).__name__}")
    if device not in devices:
        raise WrongUse(f"device {device!r} is not present: {backend.name} runs on {', '.join(devices)}")
