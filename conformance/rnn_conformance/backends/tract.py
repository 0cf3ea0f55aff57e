"""tract on the CPU: the ONNX models of `onnx_model`, one for each shape."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tract

from rnn_conformance.arithmetic import Arithmetic
from rnn_conformance.backend import Array
from rnn_conformance.backends.onnx_model import OnnxBackend, Run
from rnn_conformance.config import LayerConfig


class TractBackend(OnnxBackend):
    """tract, whose recurrent operators need sizes that are known."""

    name = "tract"
    policy = replace(OnnxBackend.policy, lengths=False)  # Non constant seq_len is not supported

    @property
    def version(self) -> str:
        """That of tract."""
        return str(tract.version())

    def supports(self, config: LayerConfig) -> str | None:
        """Not offered is what it refuses itself, in its own words."""
        if config.batch_first and config.bidirectional:
            return "tract: Output mismatch after rewiring expansion, where layout is 1 and there are two directions"
        if config.dtype == "float16":  # of operator LSTM where there is no initial_h, of the others always
            return "tract: Trying to substitute a 1,1,F16 by 1,1,F32"
        if config.dtype != "float32":
            return "tract: LstmEpilogue only supports f32 and f16 preactivations"
        return super().supports(config)

    def arithmetic(self, dtype: str) -> Arithmetic:
        """However small they are, tanh errs by up to 2^-20.7, and sigmoid, which is 1 + 2^-19.8 of 1000, by that."""
        return replace(super().arithmetic(dtype), activation_error=2.0**-20)

    def compile(self, model: Any) -> Run:
        """A model for each choice of shapes."""
        outputs = [output.name for output in model.graph.output]
        runnables: dict[Any, tuple[list[str], Any]] = {}

        def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
            given = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
            key = tuple((name, array.shape) for name, array in given.items())
            try:
                if key not in runnables:
                    runnables[key] = _runnable(model, given)
                names, runnable = runnables[key]
                results = [tensor.to_numpy() for tensor in runnable.run([given[name] for name in names])]
            except tract.TractError as error:  # its backtrace names places of the machine that it was built on
                raise tract.TractError(str(error).split("Stack backtrace")[0].strip()) from None
            return {name: np.array(result) for name, result in zip(outputs, results, strict=True)}

        return run

    def expectations(self) -> Path | None:
        """What it is known to do otherwise."""
        return Path(__file__).with_name("tract.toml")

    def environment(self) -> dict[str, str]:
        """That of tract."""
        return {"tract": str(tract.version())}


def _runnable(model: Any, given: Mapping[str, Array]) -> tuple[list[str], Any]:
    """The names of a model's inputs in order, and the model made ready for arrays of these shapes."""
    static = onnx.ModelProto.FromString(model.SerializeToString())
    for value in static.graph.input:
        for dimension, size in zip(value.type.tensor_type.shape.dim, given[value.name].shape, strict=True):
            if dimension.dim_param:  # a symbol; a wrong size beside it is tract's to refuse
                dimension.dim_value = size
    for value in static.graph.output:
        value.type.tensor_type.ClearField("shape")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        file.write_bytes(static.SerializeToString())
        inferred = tract.onnx().load(str(file))
    names = [inferred.input_name(k) for k in range(inferred.input_count())]
    return names, inferred.into_model().into_runnable()
