"""Gradients without torch: against finite differences, and what is defined where torch has no answer."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rnn_reference import lstm_gradients, parameter_shapes, rnn_gradients

from .drawn import CELLS, Setting, as_tuple, difference, draw

FIVE = [*CELLS, "gru_original"]


def in_dtype(setting: Setting, dtype: Any) -> Setting:
    """The same setting in another dtype."""

    def cast(value: Any) -> Any:
        return tuple(map(cast, value)) if isinstance(value, tuple) else None if value is None else value.astype(dtype)

    masks = setting.keywords.get("dropout_masks")
    keywords = setting.keywords | ({"dropout_masks": [cast(mask) for mask in masks]} if masks is not None else {})
    parameters = {name: cast(array) for name, array in setting.parameters.items()}
    fields = ("input", "hx", "output_gradient", "state_gradient")
    changes = {field: cast(getattr(setting, field)) for field in fields}
    return replace(setting, keywords=keywords, parameters=parameters, **changes)


def finite_differences(setting: Setting, step: float = 1e-4) -> dict[str, np.ndarray]:
    """Central differences of fourth order, element by element."""
    arrays, found = setting.arrays(), {}
    for name, array in arrays.items():
        found[name] = np.zeros_like(array)
        for index in np.ndindex(array.shape):

            def moved(by: float, name: str = name, index: Any = index) -> Any:
                changed = arrays[name].copy()
                changed[index] += by
                return setting.loss(arrays | {name: changed})

            near, far = moved(step) - moved(-step), moved(2 * step) - moved(-2 * step)
            found[name][index] = (8 * near - far) / (12 * step)
    return found


@pytest.mark.parametrize("cell", ["gru_original", *CELLS])
def test_gradients_equal_finite_differences_in_longdouble(cell: str) -> None:
    """The only other source for the original GRU, which torch lacks."""
    for seed in range(20 if cell == "gru_original" else 4):
        fixed = {"bias": True} if cell == "rnn_relu" else {}  # without one, whole layers rest on the kink at 0
        setting = in_dtype(draw(cell, seed, largest=2, **fixed), np.longdouble)
        actual, expected = setting.gradients(), finite_differences(setting)
        worst = {name: difference(actual[name], expected[name]) for name in expected}
        assert actual.keys() == expected.keys()
        assert max(worst.values()) <= 1e-9, (seed, setting, worst)


@pytest.mark.parametrize("cell", FIVE)
def test_a_state_left_out_has_the_gradient_of_a_zero_state(cell: str) -> None:
    setting = draw(cell, 3)
    zeros = tuple(np.zeros_like(part) for part in as_tuple(setting.state_gradient))
    without = replace(setting, hx=None).gradients()
    given = replace(setting, hx=zeros if len(zeros) == 2 else zeros[0]).gradients()
    assert without["h_0"].any()
    for name, gradient in given.items():
        np.testing.assert_array_equal(without[name], gradient)


@pytest.mark.parametrize("cell", FIVE)
def test_a_state_gradient_left_out_is_zero(cell: str) -> None:
    setting = draw(cell, 4)
    zeros = tuple(np.zeros_like(part) for part in as_tuple(setting.state_gradient))
    without = replace(setting, state_gradient=None).gradients()
    given = replace(setting, state_gradient=zeros if len(zeros) == 2 else zeros[0]).gradients()
    for name, gradient in given.items():
        np.testing.assert_array_equal(without[name], gradient)


@pytest.mark.parametrize("cell", FIVE)
def test_gradients_are_linear_in_the_gradients_given(cell: str) -> None:
    setting = draw(cell, 5)
    of_output = replace(setting, state_gradient=None).gradients()
    of_state = replace(setting, output_gradient=np.zeros_like(setting.output_gradient)).gradients()
    for name, gradient in setting.gradients().items():
        assert difference(of_output[name] + of_state[name], gradient) < 1e-12
    assert all(of_state[name].any() for name in setting.parameters if name.startswith("weight_hh"))


@pytest.mark.parametrize("cell", FIVE)
def test_what_lies_beyond_the_end_of_a_sequence_counts_for_nothing(cell: str) -> None:
    setting = draw(cell, 11, batched=True, batch_first=False)
    steps, batch = setting.input.shape[:2]
    lengths = [max(steps - 1 - k % 2, 0) for k in range(batch)]
    setting.keywords |= {"lengths": lengths, "dropout_masks": None}
    expected = setting.gradients()
    beyond = np.arange(steps)[:, None] >= lengths
    for array in (setting.input, setting.output_gradient):
        array[beyond] = np.nan
    actual = setting.gradients()
    for name, gradient in expected.items():
        np.testing.assert_array_equal(actual[name], gradient)
    assert beyond.any()
    assert not actual["input"][beyond].any()


@pytest.mark.parametrize("cell", FIVE)
def test_a_sequence_of_length_zero_passes_its_state_gradient_through(cell: str) -> None:
    setting = draw(cell, 11, batched=True, batch_first=False)
    setting.keywords |= {"lengths": [0] * setting.input.shape[1], "dropout_masks": None}
    found = setting.gradients()
    for name, gradient in zip(("h_0", "c_0"), as_tuple(setting.state_gradient), strict=False):
        np.testing.assert_array_equal(found[name], gradient)
    assert not any(found[name].any() for name in ["input", *setting.parameters])
    assert {name: found[name].shape for name in setting.parameters} == {
        name: array.shape for name, array in setting.parameters.items()
    }


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize("batch", [0, 2])
def test_no_steps_and_no_rows_have_gradients_of_the_right_shapes(steps: int, batch: int) -> None:
    shapes = parameter_shapes("lstm", 3, 4, 2, bidirectional=True, proj_size=2)
    weights = {name: np.ones(shape) for name, shape in shapes.items()}
    options: dict[str, Any] = {"hidden_size": 4, "num_layers": 2, "bidirectional": True, "proj_size": 2}
    found = lstm_gradients(np.ones((steps, batch, 3)), weights, None, np.ones((steps, batch, 4)), None, **options)
    states = {"input": (steps, batch, 3), "h_0": (4, batch, 2), "c_0": (4, batch, 4)}
    assert {name: gradient.shape for name, gradient in found.items()} == states | shapes
    assert steps * batch or not any(found[name].any() for name in weights)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("cell", FIVE)
def test_results_and_gradients_keep_the_dtype(cell: str, dtype: type) -> None:
    setting = in_dtype(draw(cell, 6, largest=3), dtype)
    output, final = setting.forward()
    found = setting.gradients()
    assert {output.dtype, *(part.dtype for part in as_tuple(final))} == {np.dtype(dtype)}
    assert {gradient.dtype for gradient in found.values()} == {np.dtype(dtype)}


def test_longdouble_is_computed_in_longdouble() -> None:
    setting = draw("lstm", 8)
    fine, coarse = in_dtype(setting, np.longdouble).gradients(), setting.gradients()
    apart = max(difference(coarse[name], gradient) for name, gradient in fine.items())
    assert 0 < apart < 1e-12


def test_relu_has_no_gradient_at_zero() -> None:
    weights = {name: np.zeros(shape) for name, shape in parameter_shapes("rnn", 1, 1).items()}
    ones = np.ones((1, 1, 1))
    found = rnn_gradients(ones, weights, None, ones, None, hidden_size=1, nonlinearity="relu")
    assert not any(gradient.any() for gradient in found.values())
