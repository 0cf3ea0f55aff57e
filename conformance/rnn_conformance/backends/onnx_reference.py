"""ONNX's own reference implementation: onnx.reference.ReferenceEvaluator on the models of `onnx_model`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from onnx.reference import ReferenceEvaluator

from rnn_conformance.backend import Array
from rnn_conformance.backends.onnx_model import ACTIVATIONS, OnnxBackend, Run
from rnn_conformance.config import LayerConfig


class OnnxReferenceBackend(OnnxBackend):
    """The reference implementation, held to what it takes."""

    name = "onnx-reference"
    policy = replace(OnnxBackend.policy, flush_subnormals=True)  # in float16 e^12 overflows

    @property
    def version(self) -> str:
        """That of onnx."""
        return str(onnx.__version__)

    def supports(self, config: LayerConfig) -> str | None:
        """Not offered is what it refuses itself, in its own words."""
        named = config.activations or config.nonlinearity
        if config.kind == "rnn" and named in ACTIVATIONS and named not in ("tanh", "affine"):
            return f"onnx.reference: Unknown activation function {ACTIVATIONS[named][0]!r}"
        return super().supports(config)

    def compile(self, model: Any) -> Run:
        """An evaluator."""
        evaluator = ReferenceEvaluator(model)
        names = [output.name for output in model.graph.output]

        def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
            return dict(zip(names, evaluator.run(names, dict(feeds)), strict=True))

        return run

    def expectations(self) -> Path | None:
        """What it is known to do otherwise."""
        return Path(__file__).with_name("onnx_reference.toml")

    def environment(self) -> dict[str, str]:
        """That of onnx."""
        return {"onnx": onnx.__version__}
