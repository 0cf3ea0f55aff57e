"""ONNX Runtime on the CPU: the ONNX operators LSTM, GRU and RNN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from rnn_conformance.arithmetic import Arithmetic
from rnn_conformance.backend import Array
from rnn_conformance.backends.onnx_model import OnnxBackend, Run
from rnn_conformance.config import LayerConfig

SILENT = 4  # only what is fatal is logged
BATCH_FIRST = "ONNX Runtime: Batchwise recurrent operations (layout == 1) are not supported"  # its words


class OnnxRuntimeBackend(OnnxBackend):
    """ONNX Runtime's CPU execution provider."""

    name = "onnxruntime"
    policy = replace(OnnxBackend.policy, empty_sequence="state", zero_length="state")

    @property
    def version(self) -> str:
        """ONNX Runtime's."""
        return str(onnxruntime.__version__)

    def supports(self, config: LayerConfig) -> str | None:
        """Not offered is what it refuses itself, in its own words."""
        if config.batch_first:
            return BATCH_FIRST
        if config.dtype == "float64":
            kind = config.kind.upper()
            lacking = f"{kind} operator does not support double yet"
            return f"ONNX Runtime: {lacking}" if kind != "RNN" else "ONNX Runtime: Could not find an implementation"
        if config.dtype == "bfloat16":
            return "ONNX Runtime: Could not find an implementation"
        return super().supports(config)

    def arithmetic(self, dtype: str) -> Arithmetic:
        """Sigmoids of LSTM and GRU are clamped at ±18 and exact next to 1; RNN's tanh is 2 / (1 + e^-2x) - 1.

        Both err by some 2·2^-24 however small they are: reports/README.md shows it.
        """
        return replace(super().arithmetic(dtype), activation_error=2.0**-24)

    def compile(self, model: Any) -> Run:
        """A session with one thread."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = SILENT
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]

        def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
            return dict(zip(names, session.run(names, dict(feeds)), strict=True))

        return run

    def environment(self) -> dict[str, str]:
        """Those of ONNX Runtime and of the package that makes its models."""
        return {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__}

    def expectations(self) -> Path | None:
        """What it is known to do otherwise."""
        return Path(__file__).with_name("onnxruntime.toml")
