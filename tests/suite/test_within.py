"""Dropout within layers: a kernel that drops as is due is left alone, and what kernels do wrong with masks is seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rnn_conformance.backend import Array, Backend, Layer
from rnn_conformance.config import DROPOUTS, LayerConfig
from rnn_conformance.execution import run_unit
from rnn_conformance.oracle import reference, reference_gradients
from rnn_conformance.record import CheckResult
from rnn_conformance.run import load_checks
from rnn_conformance.strategies import Unit
from rnn_conformance.suite.within import WEIGHTS
from rnn_reference.parameters import GATES

CELLS = ("lstm", "gru", "rnn_tanh")


def wide(arrays: Any) -> Any:
    """In float64."""
    return tuple(map(wide, arrays)) if isinstance(arrays, tuple) else arrays if arrays is None else np.float64(arrays)


def narrow(arrays: Any, dtype: Any) -> Any:
    """Rounded once."""
    if isinstance(arrays, dict):
        return {name: narrow(array, dtype) for name, array in arrays.items()}
    return tuple(narrow(a, dtype) for a in arrays) if isinstance(arrays, tuple) else arrays.astype(dtype)


class Dropping(Layer):
    """The oracle, row by row: under one mask for all steps, a row's weights are those without what was dropped."""

    def __init__(self, backend: Masks, config: LayerConfig, parameters: Mapping[str, Array]) -> None:
        self.backend, self.config = backend, config
        self.held = {name: array.astype(np.float64) for name, array in parameters.items()}

    def masks(self, rows: int, training: bool) -> list[dict[str, Array]]:
        """For each row what its weights are multiplied by."""
        rates = {weight: getattr(self.config, name) for name, weight in WEIGHTS.items()}
        drawn: list[dict[str, Array]] = []
        for row in range(rows):
            drawn.append({})
            for name, weight in self.held.items():
                rate = rates.get(name.partition("_l")[0], 0.0)
                if "weight_ih" in name and "_l0" not in name:
                    rate = 0.0
                if rate and self.backend.acts(training):
                    shape = (GATES[self.config.kind], 1, weight.shape[1])
                    mask = self.backend.mask(shape, rate, row, name)
                    drawn[row][name] = np.broadcast_to(mask, (len(mask), self.config.hidden_size, shape[2])).reshape(
                        weight.shape
                    )
        return [drawn[0] for _ in drawn] if self.backend.one_mask_for_all_rows else drawn

    def parts(self, row: int, input: Array, hx: Any, masks: list[dict[str, Array]]) -> tuple[Any, ...]:
        """The parameters, input and state of one row, in the oracle's order of axes."""
        at = [row]
        parameters = {name: array * masks[row].get(name, 1.0) for name, array in self.held.items()}
        own = input[at] if self.config.batch_first else input[:, at]
        state = tuple(h[:, at] for h in hx) if isinstance(hx, tuple) else hx if hx is None else hx[:, at]
        return parameters, own, state

    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        axis, dtype = (0 if self.config.batch_first else 1), input.dtype
        input, hx = wide(input), wide(hx)
        rows = input.shape[axis]
        masks = self.masks(rows, training)
        found = []
        for row in range(rows):
            own = None if lengths is None else (lengths[row],)
            parameters, x, state = self.parts(row, input, hx, masks)
            found.append(reference(self.config, parameters, x, state, lengths=own))
        output = np.concatenate([y for y, _ in found], axis).astype(dtype)
        if self.config.kind != "lstm":
            return output, np.concatenate([h for _, h in found], 1).astype(dtype)
        return output, tuple(np.concatenate([s[k] for _, s in found], 1).astype(dtype) for k in range(2))

    def gradients(self, *given: Any) -> Any:
        dtype, (input, hx, output_gradient, state_gradient) = given[0].dtype, wide(given[:4])
        masks = self.masks(1, training=True)
        parameters, x, state = self.parts(0, input, hx, masks)
        output, final = reference(self.config, parameters, x, state)
        own = {name: array * 1.0 for name, array in self.held.items()} if self.backend.forgets_backward else parameters
        found = reference_gradients(self.config, own, x, state, output_gradient, state_gradient)
        if self.backend.scales_gradients_of_weights:
            found |= {name: found[name] * mask for name, mask in masks[0].items()}
        return narrow((output, final, found), dtype)


class Masks(Backend):
    """It draws masks as is due; a subclass makes one mistake."""

    name = "masks"
    drops = DROPOUTS
    one_mask_for_all_rows = False
    forgets_backward = False
    scales_gradients_of_weights = True

    def __init__(self) -> None:
        self.policy = replace(self.policy, unbatched=False)
        self.random = np.random.default_rng(5)

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        return Dropping(self, config, parameters)

    def acts(self, training: bool) -> bool:
        """Whether units are dropped."""
        return training

    def mask(self, shape: tuple[int, ...], rate: float, row: int, name: str) -> Array:
        """Of what enters each gate: (gates, 1, features)."""
        kept: Array = (self.random.random(shape) >= rate) / (1 - rate)
        return kept


class AllGatesAlike(Masks):
    """One mask for all gates, which the sentence leaves open."""

    def mask(self, shape: tuple[int, ...], rate: float, row: int, name: str) -> Array:
        return super().mask((1, *shape[1:]), rate, row, name).repeat(shape[0], 0)


class InEval(Masks):
    """It drops in eval too."""

    def acts(self, training: bool) -> bool:
        return True


class Never(Masks):
    """It drops nothing."""

    def acts(self, training: bool) -> bool:
        return False


class Unscaled(Masks):
    """What is kept is not scaled."""

    def mask(self, shape: tuple[int, ...], rate: float, row: int, name: str) -> Array:
        return super().mask(shape, rate, row, name) * (1 - rate)


class OtherRate(Masks):
    """It drops what should be kept, and keeps what should be dropped."""

    def mask(self, shape: tuple[int, ...], rate: float, row: int, name: str) -> Array:
        return super().mask(shape, 1 - rate, row, name) * rate / (1 - rate)


class OneForAllRows(Masks):
    """All rows have one mask."""

    one_mask_for_all_rows = True


class OnceAndForAll(Masks):
    """Every call has the first one's masks."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: dict[Any, Array] = {}

    def mask(self, shape: tuple[int, ...], rate: float, row: int, name: str) -> Array:
        key = (shape, rate, row, name)
        if key not in self.drawn:
            self.drawn[key] = super().mask(*key)
        return self.drawn[key]


class FirstGateAlone(Masks):
    """What enters the first gate alone is dropped."""

    def mask(self, shape: tuple[int, ...], rate: float, row: int, name: str) -> Array:
        drawn = super().mask(shape, rate, row, name)
        drawn[1:] = 1
        return drawn


class ForgetsBackward(Masks):
    """The backward pass knows nothing of the masks."""

    forgets_backward = True


class WeightsUnmasked(Masks):
    """The gradient of weights is that of what was not masked."""

    scales_gradients_of_weights = False


def result_of(check: str, backend: Backend, cell: str, dtype: str = "float32") -> CheckResult:
    """One check in one unit of work."""
    return run_unit(load_checks()[check], Unit(check, cell, dtype, "cpu", 0), backend, "ci")


OF_MASKS = ("dropout.input", "dropout.recurrent")
OF_GRADIENTS = ("dropout.input_gradients", "dropout.recurrent_gradients")


@pytest.mark.parametrize("backend", [Masks, AllGatesAlike])
@pytest.mark.parametrize("cell", [*CELLS, "rnn_relu"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_masks_that_are_due_pass(dtype: str, cell: str, backend: type[Masks]) -> None:
    for check in ("dropout.within_eval", *OF_MASKS, *(OF_GRADIENTS if cell != "rnn_relu" else ())):
        result = result_of(check, backend(), cell, dtype)
        assert result.outcome == "passed", (check, result.finding)


@pytest.mark.parametrize(
    "backend", [InEval, Never, Unscaled, OtherRate, OneForAllRows, OnceAndForAll], ids=lambda b: b.__name__
)
@pytest.mark.parametrize("cell", [*CELLS, "rnn_relu"])
@pytest.mark.parametrize("check", OF_MASKS)
def test_wrong_masks_are_seen(check: str, cell: str, backend: type[Masks]) -> None:
    assert result_of(check, backend(), cell).outcome == "failed"


@pytest.mark.parametrize("check", OF_MASKS)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_gates_left_out_are_seen(cell: str, check: str) -> None:
    assert result_of(check, FirstGateAlone(), cell).outcome == "failed"


def test_dropout_in_eval_is_seen_by_values() -> None:
    assert result_of("dropout.within_eval", InEval(), "lstm").outcome == "failed"


@pytest.mark.parametrize("backend", [ForgetsBackward, WeightsUnmasked], ids=lambda b: b.__name__)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("check", OF_GRADIENTS)
def test_gradients_without_masks_are_seen(check: str, cell: str, backend: type[Masks]) -> None:
    assert result_of(check, backend(), cell).outcome == "failed"


def test_a_backend_that_does_not_say_that_it_drops_is_not_asked_to() -> None:
    class Silent(Masks):
        drops = ()

    assert result_of("dropout.recurrent", Silent(), "lstm").outcome == "not_offered"
