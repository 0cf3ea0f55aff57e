"""Backends that make the mistake of one hypothesis, and cases in which mistakes show."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from rnn_conformance.backend import Array, Layer
from rnn_conformance.backends.numpy import NumPyBackend, OracleLayer
from rnn_conformance.case import Case
from rnn_conformance.config import CELLS, LayerConfig
from rnn_conformance.diagnosis.backward import differentiated
from rnn_conformance.diagnosis.hypotheses.base import Hypothesis
from rnn_conformance.diagnosis.kernel import Kernel, kernel_of
from rnn_conformance.oracle import Inputs, arrays_of


class MistakenLayer(OracleLayer):
    """The oracle with a mistake, in the dtype asked for."""

    def __init__(self, config: LayerConfig, parameters: Mapping[str, Array], hypothesis: Hypothesis) -> None:
        super().__init__(config, parameters)
        self.hypothesis = hypothesis

    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        if self.hypothesis.kind == "gradients":
            return super().forward(input, hx, lengths, training)
        results = self.changed(self.kernel(input, hx, lengths)).results()
        outward = {n: np.asarray(a).squeeze(-3).astype(input.dtype) for n, a in results.items()}
        output = self.swapped(outward.pop("output"), input)
        state = tuple(part[:, 0] if input.ndim == 2 else part for part in outward.values())
        return output, state if len(state) == 2 else state[0]

    def gradients(
        self,
        input: Any,
        hx: Any,
        output_gradient: Any,
        state_gradient: Any,
        lengths: Sequence[int] | None = None,
        frozen: Collection[str] = (),
        accumulate: bool = False,
    ) -> Any:
        output, state = self.forward(input, hx, lengths)
        parts = state_gradient if isinstance(state_gradient, tuple) else (state_gradient,)
        d_state = tuple(self.batched(part)[:, np.newaxis] for part in parts)
        d_output = self.time_major(output_gradient)[:, np.newaxis]
        found = self.changed(differentiated(self.kernel(input, hx, lengths), d_output, d_state)).results()
        shaped = {n: np.asarray(a).squeeze(-3).astype(input.dtype) for n, a in found.items()}
        for name, shape in self.config.parameter_shapes().items():
            shaped[name] = shaped[name].reshape(shape)
        shaped["input"] = self.swapped(shaped["input"], input)
        for name in ("h_0", "c_0"):
            if name in shaped and input.ndim == 2:
                shaped[name] = shaped[name][:, 0]
        return output, state, shaped

    def changed(self, kernel: Kernel) -> Kernel:
        """The mistaken kernel; the right one where the mistake cannot be made."""
        return self.hypothesis.change(kernel) or kernel

    def kernel(self, input: Array, hx: Any, lengths: Sequence[int] | None) -> Kernel:
        """The right kernel on what the layer is given."""
        parts = hx if isinstance(hx, tuple) or hx is None else (hx,)
        state = None if parts is None else tuple(self.batched(part) for part in parts)
        inputs = Inputs(self.held, self.time_major(input), state, None if lengths is None else tuple(lengths))
        return kernel_of(self.config, inputs, arrays_of(inputs))

    def time_major(self, sequence: Array) -> Array:
        """A sequence as (steps, batch, features)."""
        if sequence.ndim == 2:
            return sequence[:, np.newaxis]
        return sequence.swapaxes(0, 1) if self.config.batch_first else sequence

    def batched(self, part: Array) -> Array:
        """A state as (lanes, batch, features)."""
        return part[:, np.newaxis] if part.ndim == 2 else part

    def swapped(self, sequence: Array, like: Array) -> Array:
        """A time-major sequence in the layer's own form."""
        if like.ndim == 2:
            return sequence[:, 0]
        return sequence.swapaxes(0, 1) if self.config.batch_first else sequence


class MistakenBackend(NumPyBackend):
    """The oracle as a backend, with a mistake."""

    def __init__(self, hypothesis: Hypothesis) -> None:
        self.hypothesis = hypothesis

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        return MistakenLayer(config, parameters, self.hypothesis)


@cache
def cases() -> tuple[Case, ...]:
    """Cases that show mistakes, simple ones first."""
    return tuple(case for cell in CELLS for case in _of_cell(cell)) + tuple(_special())


def _of_cell(cell: str) -> Iterator[Case]:
    one = Case(LayerConfig(cell, 3, 4), 5, 3, values="normal", seed=1)
    yield one
    yield replace(one, config=LayerConfig(cell, 3, 4, num_layers=3, bidirectional=True), seed=2)
    yield replace(one, config=LayerConfig(cell, 3, 4, num_layers=3))


def _special() -> Iterator[Case]:
    for cell in CELLS:
        two = LayerConfig(cell, 3, 4, num_layers=2, bidirectional=True)
        yield Case(two, 5, 4, (2, 5, 3, 1), values="normal", seed=3)
        yield Case(LayerConfig(cell, 4, 4, num_layers=2), 5, 4, values="normal", seed=4)
        yield Case(LayerConfig(cell, 4, 4), 4, 4, values="normal", seed=5)
        yield Case(LayerConfig(cell, 8, 4, num_layers=2, bidirectional=True), 5, 3, values="normal", seed=5)
        yield Case(LayerConfig(cell, 2, 2), 40, 2, values="saturating", seed=6)
        yield Case(LayerConfig(cell, 5, 11), 3, 7, values="normal", seed=7)
        yield Case(LayerConfig(cell, 9, 17), 3, 2, values="uniform", seed=8)
        yield Case(LayerConfig(cell, 33, 35), 2, 2, values="uniform", seed=8)
        yield Case(LayerConfig(cell, 66, 67), 2, 2, values="uniform", seed=8)
        yield Case(LayerConfig(cell, 2, 3), 3, 2, hx=False, values="normal", seed=9)
        yield Case(LayerConfig(cell, 2, 3, dtype="float64"), 3, 2, values="normal", seed=10)
        yield Case(LayerConfig(cell, 2, 2), 70, 2, values="uniform", seed=11)
        yield Case(LayerConfig(cell, 2, 2), 70, 2, values="huge", seed=12)
        yield Case(LayerConfig(cell, 2, 2), 5, 2, values="huge", seed=13)
    yield Case(LayerConfig("lstm", 3, 4, proj_size=2, bidirectional=True), 4, 3, values="normal", seed=14)
    yield Case(LayerConfig("lstm", 3, 4, num_layers=3, proj_size=2), 4, 3, values="normal", seed=14)
    yield Case(LayerConfig("lstm", 2, 3, proj_size=2, dtype="float64"), 4, 3, values="normal", seed=14)
    yield Case(LayerConfig("rnn_tanh", 3, 4, residual=True), 4, 3, values="normal", seed=14)
    yield Case(LayerConfig("lstm", 3, 4, peepholes=True), 4, 3, values="normal", seed=14)
    yield Case(LayerConfig("gru", 3, 4, reset_after=False), 4, 3, values="normal", seed=14)
    for more in ({"clip": 0.5}, {"input_forget": True}, {"forget_bias": 1.0}, {"activations": "tanh sigmoid sigmoid"}):
        yield Case(LayerConfig("lstm", 3, 4, **more), 4, 3, values="normal", seed=14)
    for mode in ("sum", "mul"):
        merged = LayerConfig("gru", 3, 4, num_layers=2, bidirectional=True, merge_mode=mode)
        yield Case(merged, 4, 3, values="normal", seed=15)
    yield Case(LayerConfig("lstm", 1, 1), 40, 1, values="growing")
