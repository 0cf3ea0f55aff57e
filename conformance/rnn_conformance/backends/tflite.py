"""LiteRT, once TensorFlow Lite, on the CPU: the Keras models of `keras`, converted."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from rnn_conformance.backend import Array, Layer
from rnn_conformance.backends.keras import KerasBackend, KerasLayer, KerasTensorFlowBackend
from rnn_conformance.config import LayerConfig

Run = Callable[..., dict[str, Array]]
FLOAT32_ALONE = "the converter: 'tf.StridedSlice' op is neither a custom op nor a flex op, where it is not in float32"


class TfliteLayer(KerasLayer):
    """Keras layers, and the models to which they were converted, one for each choice of shapes."""

    def __init__(self, backend: KerasBackend, config: LayerConfig, parameters: Mapping[str, Array]) -> None:
        super().__init__(backend, config, parameters)
        self.held = {name: array.copy() for name, array in parameters.items()}
        self.models: dict[Any, Run] = {}
        self.lock = threading.Lock()  # an interpreter holds one call at a time

    def __deepcopy__(self, memo: dict[int, Any]) -> TfliteLayer:
        return TfliteLayer(self.backend, self.config, self.held)

    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        """Run the model for these shapes."""
        output, *state = self.results("", input, hx, lengths)
        return output, tuple(state) if self.config.kind == "lstm" else state[0]

    def alone(self, name: str, input: Any, hx: Any = None, lengths: Sequence[int] | None = None) -> Any:
        """Run the model for these shapes that gives this result alone."""
        (result,) = self.results(name, input, hx, lengths)
        return result

    def results(self, alone: str, input: Any, hx: Any, lengths: Sequence[int] | None) -> list[Array]:
        """What the model gives that has this result alone, or all where none is named."""
        parts = () if hx is None else super()._parts(hx)
        feeds = {"x": input, **dict(zip(("h_0", "c_0"), parts, strict=False))}
        if lengths is not None:
            rows_first = input if self.config.batch_first else input.swapaxes(0, 1)
            feeds["mask"] = np.asarray(super()._mask(rows_first, lengths))
        key = (alone, *((name, array.shape) for name, array in feeds.items()))
        with self.lock:
            if key not in self.models:
                self.models[key] = self.converted(feeds, alone)
            found = self.models[key](**{name: np.ascontiguousarray(array) for name, array in feeds.items()})
        return [found[f"output_{k}"] for k in range(len(found))]

    def converted(self, feeds: Mapping[str, Array], alone: str) -> Run:
        """The model of the whole stack for arrays of these shapes."""
        keras = self.backend.keras
        inputs = {
            name: keras.Input(batch_shape=a.shape, dtype="bool" if name == "mask" else self.config.dtype, name=name)
            for name, a in feeds.items()
        }
        hx = tuple(inputs[name] for name in ("h_0", "c_0") if name in inputs)
        call = inputs["x"], hx or None, inputs.get("mask")
        if alone:
            outputs = [self.run_alone(alone, *call)]
        else:
            output, state = self.run(*call, training=False)
            outputs = [output, *(state if isinstance(state, tuple) else (state,))]
        model = keras.Model(list(inputs.values()), outputs)
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it has saved
            content = self.backend.library.lite.TFLiteConverter.from_keras_model(model).convert()
        run: Run = Interpreter(model_content=content, num_threads=1).get_signature_runner()
        return run

    def _parts(self, hx: Any) -> tuple[Any, ...]:
        """Symbols, which stand for arrays whose lanes were counted."""
        return tuple(hx)

    def _mask(self, x: Any, lengths: Any) -> Any:
        """The mask that stands for lengths is an input of its own."""
        return lengths

    def gradients(
        self,
        input: Any,
        hx: Any,
        output_gradient: Any,
        state_gradient: Any,
        lengths: Sequence[int] | None = None,
        frozen: Collection[str] = (),
        accumulate: bool = False,
    ) -> tuple[Any, Any, Mapping[str, Any]]:
        """Converted models are for inference."""
        raise NotImplementedError("converted models have no gradients")


class TfliteBackend(KerasTensorFlowBackend):
    """LiteRT's interpreter with XNNPACK, as it comes."""

    policy = replace(KerasTensorFlowBackend.policy, empty_batch="refused")  # Invalid tensor size.
    max_examples = 1
    drops: tuple[str, ...] = ()
    ways = 2  # not stateful: the state would lie in the interpreter, from one call to the next

    def __init__(self) -> None:
        super().__init__()
        self.name = "tflite"

    @property
    def version(self) -> str:
        """LiteRT's."""
        return version("ai-edge-litert")

    def supports(self, config: LayerConfig) -> str | None:
        """What Keras has, in float32 and without dropout."""
        if config.dropout:
            return "what is converted is Keras's call in inference"
        return FLOAT32_ALONE if config.dtype != "float32" else super().supports(config)

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """Keras layers with copies of these parameters, to be converted.

        Raises:
            NotImplementedError: for a config that `supports` refuses.
            ValueError: for one that cannot exist.
        """
        if reason := self.supports(config):
            raise NotImplementedError(reason)
        config.parameter_shapes()
        return TfliteLayer(self, config, parameters)

    def expectations(self) -> Path | None:
        """What it is known to do otherwise."""
        return Path(__file__).with_name("tflite.toml")

    def environment(self) -> dict[str, str]:
        """LiteRT, and what makes its models."""
        return {"ai-edge-litert": self.version, **super().environment()}
