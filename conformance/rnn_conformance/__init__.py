"""Property-based conformance tests for recurrent kernels."""

from typing import Any

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


def check_backend(*arguments: Any, **options: Any) -> Any:
    """Try a backend in this process: `api.check_backend`, which imports Hypothesis when it is called."""
    from rnn_conformance import api

    return api.check_backend(*arguments, **options)
