"""The example calls on the pages of torch.nn.LSTM, GRU and RNN and in PyTorch's LSTM tutorial."""

from typing import Any

import numpy as np
import pytest
import torch
from rnn_reference import gru, lstm, parameter_shapes, rnn

from .drawn import as_tuple, difference

FUNCTIONS: dict[str, Any] = {"lstm": lstm, "gru": gru, "rnn": rnn}


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def parameters(kind: str, *sizes: Any, **options: Any) -> dict[str, np.ndarray]:
    shapes = parameter_shapes(kind, *sizes, **options)
    return {name: np.random.default_rng(k).uniform(-0.5, 0.5, shape) for k, (name, shape) in enumerate(shapes.items())}


def test_five_steps_one_at_a_time_equal_the_stack_of_them() -> None:
    """The tutorial's LSTM(3, 3): five (1, 1, 3) steps, then (5, 1, 3) at once."""
    weights, steps = parameters("lstm", 3, 3), normal(5, 1, 3)
    start = (normal(1, 1, 3), normal(1, 1, 3) / 2)
    hidden: Any = start
    outputs = []
    for step in steps:
        output, hidden = lstm(step.reshape(1, 1, -1), weights, hidden, hidden_size=3)
        assert output.shape == (1, 1, 3)
        outputs.append(output)
    whole, final = lstm(steps, weights, start, hidden_size=3)
    assert whole.shape == (5, 1, 3)
    assert [part.shape for part in final] == [(1, 1, 3), (1, 1, 3)]
    np.testing.assert_allclose(whole, np.concatenate(outputs), rtol=1e-14)
    for actual, expected in zip(hidden, final, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-14)


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_two_layers_of_twenty_on_ten(kind: str) -> None:
    """LSTM(10, 20, 2), GRU(10, 20, 2) and RNN(10, 20, 2) on input (5, 3, 10) and states (2, 3, 20)."""
    weights, x = parameters(kind, 10, 20, 2), normal(5, 3, 10)
    h_0, c_0 = normal(2, 3, 20), normal(2, 3, 20) * 2
    hx: Any = (h_0, c_0) if kind == "lstm" else h_0
    output, final = FUNCTIONS[kind](x, weights, hx, hidden_size=20, num_layers=2)
    assert output.shape == (5, 3, 20)
    assert [part.shape for part in as_tuple(final)] == [(2, 3, 20)] * (2 if kind == "lstm" else 1)
    np.testing.assert_array_equal(as_tuple(final)[0][1], output[-1])
    module = getattr(torch.nn, kind.upper())(10, 20, 2, dtype=torch.float64)
    tensors = {name: torch.tensor(array) for name, array in weights.items()}
    states = tuple(map(torch.tensor, as_tuple(hx)))
    with torch.no_grad():
        arguments = (torch.tensor(x), states if kind == "lstm" else states[0])
        expected, _ = torch.func.functional_call(module, tensors, arguments)
    assert difference(output, expected.numpy()) <= 1e-13


def test_the_published_shapes_of_the_rnns_weights() -> None:
    expected = {"weight_ih_l0": (20, 10), "weight_ih_l1": (20, 20), "weight_hh_l0": (20, 20), "weight_hh_l1": (20, 20)}
    shapes = parameter_shapes("rnn", 10, 20, 2)
    assert {name: shape for name, shape in shapes.items() if name.startswith("weight")} == expected
    assert {shape for name, shape in shapes.items() if name.startswith("bias")} == {(20,)}


def test_the_published_shape_of_the_weights_above_the_first_layer() -> None:
    """weight_ih_l[k] is (4·hidden_size, num_directions·hidden_size) for k > 0, gates in the order i, f, g, o."""
    shapes = parameter_shapes("lstm", 10, 20, 3, bidirectional=True)
    assert {shapes[f"weight_ih_l{k}{end}"] for k in (1, 2) for end in ("", "_reverse")} == {(80, 40)}
    weights, x = parameters("lstm", 10, 20), normal(5, 3, 10)
    *_, gates = lstm(x, weights, hidden_size=20, return_gates=True)
    first = x[0] @ weights["weight_ih_l0"].T + weights["bias_ih_l0"] + weights["bias_hh_l0"]
    for k, gate in enumerate("ifgo"):
        rows = first[:, 20 * k : 20 * (k + 1)]
        expected = np.tanh(rows) if gate == "g" else 1 / (1 + np.exp(-rows))
        np.testing.assert_allclose(gates["l0"][gate][0], expected, rtol=1e-13)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    ("kind", "options"),
    [*((kind, options) for kind in FUNCTIONS for options in ({}, {"bias": False})), ("lstm", {"proj_size": 3})],
)
def test_names_and_shapes_are_torchs_in_torchs_order(kind: str, bidirectional: bool, options: dict[str, Any]) -> None:
    module = getattr(torch.nn, kind.upper())(7, 5, 3, bidirectional=bidirectional, **options)
    expected = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    actual = parameter_shapes(kind, 7, 5, 3, bidirectional=bidirectional, **options)
    assert list(actual.items()) == list(expected.items())


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_a_view_separates_the_directions(kind: str) -> None:
    """output.view(seq_len, batch, num_directions, hidden_size): forward is 0 and reverse is 1."""
    weights, x = parameters(kind, 10, 20, bidirectional=True), normal(5, 3, 10)
    output, final = FUNCTIONS[kind](x, weights, hidden_size=20, bidirectional=True)
    separated = output.reshape(5, 3, 2, 20)
    h_n = as_tuple(final)[0]
    np.testing.assert_array_equal(h_n, np.stack([separated[-1, :, 0], separated[0, :, 1]]))
    back = {name.removesuffix("_reverse"): w for name, w in weights.items() if name.endswith("_reverse")}
    alone, _ = FUNCTIONS[kind](x[::-1], back, hidden_size=20)
    np.testing.assert_allclose(separated[:, :, 1], alone[::-1], rtol=1e-14)
