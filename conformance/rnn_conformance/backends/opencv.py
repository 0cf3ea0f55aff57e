"""OpenCV's cv2.dnn on the CPU: the ONNX models of `onnx_model`."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rnn_conformance.arithmetic import Arithmetic
from rnn_conformance.backend import Array
from rnn_conformance.backends.onnx_model import ACTIVATIONS, OnnxBackend, Run
from rnn_conformance.config import LayerConfig


class OpenCvBackend(OnnxBackend):
    """cv2.dnn, for inference in float32."""

    name = "opencv"
    policy = replace(OnnxBackend.policy, empty_batch="refused")

    def __init__(self) -> None:
        cv2.setNumThreads(1)

    @property
    def version(self) -> str:
        """OpenCV's."""
        return str(cv2.__version__)

    def supports(self, config: LayerConfig) -> str | None:
        """Not offered is what it refuses itself, and all but float32."""
        if config.kind == "rnn":
            return "cv2.dnn: Can't create layer of type RNN"
        if config.batch_first:
            return "cv2.dnn: Requested and source matrices have different count of elements, where layout is 1"
        if config.kind == "lstm" and not config.bias:
            return "cv2.dnn: One or more matrix operands are empty, where B is left out"
        if config.dtype != "float32":
            return "cv2.dnn computes in float32 (DNN_TARGET_CPU)"
        if config.kind == "gru" and config.activations:
            return "cv2.dnn: DNN/ONNX/Attribute[activations]: 'Strings' are not supported"
        if config.activations and config.bidirectional:
            return "cv2.dnn: Assertion failed activations.size() == 3, where there are two directions"
        for name in config.activations.split():
            if name not in ("sigmoid", "tanh"):
                return f"cv2.dnn: Activation function [{ACTIVATIONS[name][0]}] for layer LSTM is not supported"
        return super().supports(config)

    def refuses_alone(self, config: LayerConfig, name: str) -> str | None:
        """What it refuses itself, in its own words."""
        if name == "c_n":
            return "cv2.dnn: Assertion failed outShapes.size() == outTypes.size(), where Y_h is left out before Y_c"
        return super().refuses_alone(config, name)

    def arithmetic(self, dtype: str) -> Arithmetic:
        """GRU's tanh and sigmoid err by some 2^-24 however small they are."""
        return replace(super().arithmetic(dtype), activation_error=2.0**-24)

    def compile(self, model: Any) -> Run:
        """A network, which holds one call at a time."""
        net = cv2.dnn.readNetFromONNX(np.frombuffer(model.SerializeToString(), np.uint8))
        names = [output.name for output in model.graph.output]
        lock = threading.Lock()

        def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
            with lock:
                for name, array in feeds.items():
                    net.setInput(np.ascontiguousarray(array), name)
                return {name: np.array(result) for name, result in zip(names, net.forward(names), strict=True)}

        return run

    def environment(self) -> dict[str, str]:
        """That of OpenCV."""
        return {"opencv": cv2.__version__}

    def expectations(self) -> Path | None:
        """What it is known to do otherwise."""
        return Path(__file__).with_name("opencv.toml")
