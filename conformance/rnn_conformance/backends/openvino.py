"""OpenVINO on the CPU: the ONNX models of `onnx_model`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import openvino

from rnn_conformance.arithmetic import Arithmetic, arithmetic_of
from rnn_conformance.backend import Array
from rnn_conformance.backends.onnx_model import OnnxBackend, Run
from rnn_conformance.config import LayerConfig

# f32 is the default of the CPU plugin on processors without bf16 instructions; here it holds everywhere. The number of
# threads is left alone: with INFERENCE_NUM_THREADS = 1 errors are lost (reports/README.md).
EXACTLY = {"INFERENCE_PRECISION_HINT": "f32"}
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


class OpenVinoBackend(OnnxBackend):
    """OpenVINO's CPU plugin.

    It ignores sequence_lens where shapes are dynamic (reports/README.md): it gets them with a model of static shapes.
    """

    name = "openvino"
    policy = replace(OnnxBackend.policy, empty_sequence="state", zero_length="state")

    def __init__(self) -> None:
        self.core = openvino.Core()

    @property
    def version(self) -> str:
        """OpenVINO's."""
        return str(openvino.__version__)

    def supports(self, config: LayerConfig) -> str | None:
        """Not offered is what it refuses itself, and a dtype that it does not compute in."""
        if config.batch_first:
            return "OpenVINO: ParameterMismatch: Can not clone with new dims, where layout is 1"
        if config.dtype == "float64":
            # docs.openvino.ai, CPU Device: "The default floating-point precision of a CPU primitive is f32"
            return "OpenVINO's CPU plugin has no f64 among its inference data types"
        for name in config.activations.split():
            if name not in ("sigmoid", "tanh", "relu"):
                return f"OpenVINO: Unknown activation function: {name.replace('_', '')}"
        return super().supports(config)

    def arithmetic(self, dtype: str) -> Arithmetic:
        """The usual one; x86's conversion to bfloat16 (VCVTNEPS2BF16) takes subnormal numbers as zero."""
        return arithmetic_of(dtype, self.policy.flush_subnormals or dtype == "bfloat16")

    def compile(self, model: Any) -> Run:
        """A compiled model: one for all shapes, or where there are lengths one for each shape."""
        read = self.core.read_model(model.SerializeToString())
        names = [output.name for output in model.graph.output]
        inputs = {value.get_any_name() for value in read.inputs}
        compiled: dict[Any, Any] = {}

        def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
            shapes = {name: feeds[name].shape for name in feeds} if "lengths" in inputs else {}
            key = tuple(shapes.items())
            if key not in compiled:
                chosen = read.clone()
                if shapes:
                    chosen.reshape({name: list(shape) for name, shape in shapes.items()})
                compiled[key] = self.core.compile_model(chosen, "CPU", EXACTLY)
            request = compiled[key].create_infer_request()
            results = request.infer({name: _tensor(array) for name, array in feeds.items()})
            return {name: _array(results[name], request.get_tensor(name)) for name in names}

        return run

    def expectations(self) -> Path | None:
        """What it is known to do otherwise."""
        return Path(__file__).with_name("openvino.toml")

    def environment(self) -> dict[str, str]:
        """That of OpenVINO, and the precision asked for."""
        return {"openvino": openvino.__version__, "inference precision hint": EXACTLY["INFERENCE_PRECISION_HINT"]}


def _tensor(array: Array) -> Any:
    """What the compiled model takes: an array, and bfloat16 as a tensor over its bits."""
    if array.dtype == BFLOAT16:
        bits = np.ascontiguousarray(array).view(np.float16)
        return openvino.Tensor(bits, list(array.shape), openvino.Type.bf16)
    return np.ascontiguousarray(array)


def _array(result: Array, tensor: Any) -> Array:
    """A result as an array of its own; bfloat16 comes as bits that NumPy takes for float16."""
    own = np.array(result)
    return own.view(BFLOAT16) if tensor.element_type == openvino.Type.bf16 else own
