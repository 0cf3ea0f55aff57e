"""What the oracle promises beyond its numbers: layouts, lengths, states, masks, further axes, gates."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from .drawn import CELLS, Setting, as_tuple, difference, draw

FIVE = [*CELLS, "gru_original"]
Array = np.ndarray


def without_lengths_and_masks(cell: str, seed: int, **fixed: Any) -> Setting:
    setting = draw(cell, seed, **fixed)
    setting.keywords.pop("lengths", None)
    setting.keywords.pop("dropout_masks", None)
    return setting


def results(setting: Setting, **changes: Any) -> list[Array]:
    """output, h_n and, for an LSTM, c_n."""
    output, final = setting.forward(**changes)
    return [output, *as_tuple(final)]


def mapped(function: Any, state: Any) -> Any:
    """`function` of a state's parts; of None, None."""
    if isinstance(state, tuple):
        return tuple(map(function, state))
    return None if state is None else function(state)


@pytest.mark.parametrize("cell", FIVE)
def test_each_sequence_is_treated_as_if_alone_and_followed_by_zeros(cell: str) -> None:
    setting = without_lengths_and_masks(cell, 21, batched=True, batch_first=False, bidirectional=True)
    steps, batch = setting.input.shape[:2]
    lengths = [steps, 0, *(k % steps for k in range(batch))][:batch]
    output, *final = results(setting, lengths=lengths)
    for row, length in enumerate(lengths):
        hx = mapped(lambda part, row=row: part[:, row : row + 1], setting.hx)
        alone = results(replace(setting, input=setting.input[:length, row : row + 1], hx=hx))
        np.testing.assert_allclose(output[:length, row : row + 1], alone[0], rtol=1e-12, atol=1e-14)
        assert not output[length:, row].any()
        for part, expected in zip(final, alone[1:], strict=True):
            np.testing.assert_allclose(part[:, row : row + 1], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("cell", FIVE)
def test_padding_changes_nothing_even_where_it_is_not_a_number(cell: str) -> None:
    setting = draw(cell, 11, batched=True, batch_first=False)
    steps, batch = setting.input.shape[:2]
    setting.keywords |= {"lengths": [max(steps - 1 - k % 2, 0) for k in range(batch)], "dropout_masks": None}
    expected = results(setting)
    setting.input[np.arange(steps)[:, None] >= setting.keywords["lengths"]] = np.nan
    for actual, wanted in zip(results(setting), expected, strict=True):
        np.testing.assert_array_equal(actual, wanted)


@pytest.mark.parametrize("cell", FIVE)
def test_no_steps_give_the_initial_state_and_no_rows_give_no_rows(cell: str) -> None:
    setting = without_lengths_and_masks(cell, 11, batched=True, batch_first=False)
    hx = mapped(lambda part: part + 1, setting.state_gradient)
    output, *final = results(replace(setting, input=setting.input[:0], hx=hx))
    assert output.shape == (0, *setting.output_gradient.shape[1:])
    for part, expected in zip(final, as_tuple(hx), strict=True):
        np.testing.assert_array_equal(part, expected)
    nobody = replace(setting, input=setting.input[:, :0], hx=None)
    empty: list[int] = []
    for lengths in (None, empty):
        shapes = [part.shape for part in results(nobody, lengths=lengths)]
        assert all(shape[1] == 0 for shape in shapes)
        assert shapes[0][0] == len(setting.input)


@pytest.mark.parametrize("cell", FIVE)
def test_batch_first_is_a_transpose_and_unbatched_is_a_batch_of_one(cell: str) -> None:
    setting = without_lengths_and_masks(cell, 21, batched=True, batch_first=False)
    output, *final = results(setting)
    swapped = replace(setting, input=setting.input.swapaxes(0, 1), keywords=setting.keywords | {"batch_first": True})
    transposed, *same = results(swapped)
    np.testing.assert_array_equal(transposed.swapaxes(0, 1), output)
    np.testing.assert_array_equal(same[0], final[0])
    for batch_first in (False, True):
        hx = mapped(lambda part: part[:, 0], setting.hx)
        keywords = setting.keywords | {"batch_first": batch_first}
        alone = results(replace(setting, input=setting.input[:, 0], hx=hx, keywords=keywords))
        assert difference(alone[0], output[:, 0]) < 1e-13
        assert difference(alone[1], final[0][:, 0]) < 1e-13


@pytest.mark.parametrize("cell", FIVE)
def test_masks_of_ones_change_nothing_and_masks_of_zeros_cut_the_layers_apart(cell: str) -> None:
    setting = without_lengths_and_masks(cell, 21, batched=True, batch_first=False, num_layers=2)
    ones = np.ones((*setting.input.shape[:2], setting.output_gradient.shape[-1]))
    for actual, expected in zip(results(setting, dropout_masks=[ones]), results(setting), strict=True):
        np.testing.assert_array_equal(actual, expected)
    one, other = (
        results(replace(setting, input=setting.input * factor), dropout_masks=[0 * ones])[0] for factor in (1, 2)
    )
    np.testing.assert_array_equal(one, other)


def with_axis(setting: Setting, copies: list[Setting]) -> Setting:
    """`copies` along an axis between steps and batch."""

    def stacked(name: str) -> Any:
        parts = [getattr(copy, name) for copy in copies]
        if isinstance(parts[0], tuple):
            return tuple(np.stack(part, axis=1) for part in zip(*parts, strict=True))
        return None if parts[0] is None else np.stack(parts, axis=1)

    keywords = dict(setting.keywords)
    if keywords.get("dropout_masks") is not None:
        keywords["dropout_masks"] = [np.stack([mask] * len(copies), axis=1) for mask in keywords["dropout_masks"]]
    fields = ("input", "hx", "output_gradient", "state_gradient")
    return replace(setting, keywords=keywords, **{name: stacked(name) for name in fields})


def varied(setting: Setting, count: int) -> list[Setting]:
    return [
        replace(setting, input=setting.input * (k + 1), output_gradient=setting.output_gradient - k)
        for k in range(count)
    ]


@pytest.mark.parametrize("cell", FIVE)
def test_further_axes_give_the_same_as_a_loop_over_them(cell: str) -> None:
    for seed in range(30, 45):
        setting = draw(cell, seed, batched=True, batch_first=False)
        copies = varied(setting, 3)
        whole = with_axis(setting, copies)
        for k, copy in enumerate(copies):
            for actual, expected in zip(results(whole), results(copy), strict=True):
                assert difference(actual[:, k], expected) < 1e-12
            found = copy.gradients()
            for name, gradient in whole.gradients().items():
                part = gradient[k] if name in setting.parameters else gradient[:, k]
                wanted = found[name][np.newaxis] if name.startswith("bias") else found[name]
                assert difference(part, wanted) < 1e-12, name


class Widened(np.ndarray):
    """An array whose every operation gives each of three runs along the axis before batch, as the error budget's do."""

    __array_priority__ = 1.0  # so that np.stack and np.concatenate give this class too

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Any:
        plain = [x.view(np.ndarray) if isinstance(x, Widened) else x for x in inputs]
        result = getattr(ufunc, method)(*plain, **keywords)
        wide = np.broadcast_to(result, np.broadcast_shapes(result.shape, (3, 1, 1)))
        return wide.copy().view(Widened)


@pytest.mark.parametrize("cell", FIVE)
def test_arrays_that_widen_as_they_are_computed_with_stay_of_their_class(cell: str) -> None:
    for seed in range(30, 45):
        setting = draw(cell, seed, batched=True, batch_first=False)
        wide = with_axis(setting, [setting])
        fields = ("input", "hx", "output_gradient", "state_gradient")
        changes = {name: mapped(lambda array: array.view(Widened), getattr(wide, name)) for name in fields}
        parameters: dict[str, Array] = {name: array.view(Widened) for name, array in wide.parameters.items()}
        wide = replace(wide, parameters=parameters, **changes)
        for actual, expected in zip(results(wide), results(setting), strict=True):
            assert isinstance(actual, Widened)
            assert difference(np.asarray(actual), np.stack([expected] * 3, axis=1)) < 1e-12
        expected_gradients = setting.gradients()
        for name, gradient in wide.gradients().items():
            expected = expected_gradients[name]
            kept = expected[np.newaxis] if name.startswith("bias") else expected
            assert isinstance(gradient, Widened)
            axis = 0 if name in setting.parameters else 1
            assert difference(np.asarray(gradient), np.stack([kept] * 3, axis=axis)) < 1e-12, name


GATES = {"lstm": set("ifgoc"), "gru": set("rznm"), "gru_original": set("rzn"), "rnn_tanh": set(), "rnn_relu": set()}


@pytest.mark.parametrize("cell", FIVE)
def test_gates_are_given_for_every_lane_and_explain_the_output(cell: str) -> None:
    setting = without_lengths_and_masks(cell, 21, batched=True, batch_first=False, num_layers=2, bidirectional=True)
    output, final, gates = setting.forward(return_gates=True)
    assert list(gates) == ["l0", "l0_reverse", "l1", "l1_reverse"]
    assert {frozenset(lane) for lane in gates.values()} == {frozenset(GATES[cell] | {"x", "h"})}
    np.testing.assert_array_equal(gates["l0"]["x"], setting.input)
    np.testing.assert_array_equal(gates["l0_reverse"]["x"], setting.input)
    below = np.concatenate([gates["l0"]["h"], gates["l0_reverse"]["h"]], axis=-1)
    np.testing.assert_array_equal(gates["l1"]["x"], below)
    np.testing.assert_array_equal(np.concatenate([gates["l1"]["h"], gates["l1_reverse"]["h"]], axis=-1), output)
    for k, (name, lane) in enumerate(gates.items()):
        last, before = (0, slice(1, None)) if name.endswith("_reverse") else (-1, slice(None, -1))
        after = slice(None, -1) if name.endswith("_reverse") else slice(1, None)
        for letter, part in zip("hc", as_tuple(final), strict=False):
            np.testing.assert_array_equal(lane[letter][last], part[k])
        if cell == "lstm":
            c = lane["f"][after] * lane["c"][before] + lane["i"][after] * lane["g"][after]
            np.testing.assert_allclose(lane["c"][after], c, rtol=1e-12)
        if cell.startswith("gru"):
            h = (1 - lane["z"][after]) * lane["n"][after] + lane["z"][after] * lane["h"][before]
            np.testing.assert_allclose(lane["h"][after], h, rtol=1e-12)


@pytest.mark.parametrize("cell", FIVE)
def test_gates_beyond_the_end_are_zero_and_asking_for_them_changes_nothing(cell: str) -> None:
    setting = without_lengths_and_masks(cell, 21, batched=True, batch_first=False)
    steps, batch = setting.input.shape[:2]
    lengths = [steps - 1, 0, *[1] * batch][:batch]
    output, final, gates = setting.forward(lengths=lengths, return_gates=True)
    beyond = np.arange(steps)[:, None] >= lengths
    for lane in gates.values():
        for values in lane.values():
            assert values.shape[:2] == (steps, batch)
            assert not values[beyond].any()
            assert values[~beyond].any()
    for actual, expected in zip([output, *as_tuple(final)], results(setting, lengths=lengths), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("cell", FIVE)
def test_arguments_are_left_as_they_were(cell: str) -> None:
    setting = draw(cell, 17)
    before = {name: array.copy() for name, array in setting.arrays().items()}
    setting.forward()
    setting.gradients()
    for name, array in setting.arrays().items():
        np.testing.assert_array_equal(array, before[name])
