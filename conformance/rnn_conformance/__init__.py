"""Property-based conformance tests for recurrent kernels."""

from rnn_conformance.arithmetic import Arithmetic, arithmetic_of, tf32
from rnn_conformance.backend import Backend, Layer, Policy
from rnn_conformance.case import Case
from rnn_conformance.config import LayerConfig

__version__ = "0.1.0"
__all__ = ["Arithmetic", "Backend", "Case", "Layer", "LayerConfig", "Policy", "arithmetic_of", "tf32"]
