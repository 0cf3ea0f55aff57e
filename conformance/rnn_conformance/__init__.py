"""Property-based conformance tests for recurrent kernels."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnn_conformance.api import check_backend
    from rnn_conformance.arithmetic import Arithmetic, arithmetic_of, tf32
    from rnn_conformance.backend import Backend, Layer, Policy
    from rnn_conformance.backends.function import function
    from rnn_conformance.case import Case
    from rnn_conformance.config import LayerConfig

__version__ = "0.1.0"
__all__ = [
    "Arithmetic",
    "Backend",
    "Case",
    "Layer",
    "LayerConfig",
    "Policy",
    "arithmetic_of",
    "check_backend",
    "function",
    "tf32",
]

_MODULES = {
    "api": ("check_backend",),
    "arithmetic": ("Arithmetic", "arithmetic_of", "tf32"),
    "backend": ("Backend", "Layer", "Policy"),
    "backends.function": ("function",),
    "case": ("Case",),
    "config": ("LayerConfig",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for: a pytest run that loads the plugin and no check pays for none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
