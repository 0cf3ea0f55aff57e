"""The oracle where the answer is known without it: by symmetry, by saturation, or by hand."""

from math import exp, tanh
from typing import Any

import numpy as np
import pytest
from rnn_reference import gru, lstm, parameter_shapes, rnn

Array = np.ndarray


def zeros(kind: str, features: int, hidden: int, **options: Any) -> dict[str, Array]:
    return {name: np.zeros(shape) for name, shape in parameter_shapes(kind, features, hidden, **options).items()}


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def arrays(*shapes: tuple[int, ...]) -> list[Array]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal(shape) for shape in shapes]


def test_zero_weights_halve_the_lstms_cell_state() -> None:
    x, h, c = arrays((4, 2, 3), (1, 2, 5), (1, 2, 5))
    output, (h_n, c_n) = lstm(x, zeros("lstm", 3, 5), (h, c), hidden_size=5)
    halved = np.stack([c[0] / 2**step for step in range(1, 5)])
    np.testing.assert_array_equal(c_n[0], halved[-1])
    np.testing.assert_array_equal(output, 0.5 * np.tanh(halved))
    np.testing.assert_array_equal(h_n[0], output[-1])


@pytest.mark.parametrize("reset_after", [True, False])
def test_zero_weights_halve_the_grus_state(reset_after: bool) -> None:
    x, h = arrays((4, 2, 3), (1, 2, 5))
    output, h_n = gru(x, zeros("gru", 3, 5), h, hidden_size=5, reset_after=reset_after)
    np.testing.assert_array_equal(output, np.stack([h[0] / 2**step for step in range(1, 5)]))
    np.testing.assert_array_equal(h_n[0], output[-1])


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_zero_weights_make_the_rnn_zero(nonlinearity: str) -> None:
    x, h = arrays((4, 2, 3), (1, 2, 5))
    output, h_n = rnn(x, zeros("rnn", 3, 5), h, hidden_size=5, nonlinearity=nonlinearity)
    assert not output.any()
    assert not h_n.any()


def test_an_open_forget_gate_and_a_closed_input_gate_keep_the_cell_state() -> None:
    x, h, c = arrays((7, 2, 3), (1, 2, 4), (1, 2, 4))
    weights = zeros("lstm", 3, 4)
    weights["bias_ih_l0"][:] = np.repeat([-1e3, 1e3, 0.7, 1e3], 4)  # i shut, f open, o open
    output, (_, c_n) = lstm(x, weights, (h, c), hidden_size=4)
    np.testing.assert_array_equal(c_n, c)
    np.testing.assert_array_equal(output, np.broadcast_to(np.tanh(c), output.shape))


def test_a_closed_forget_gate_and_an_open_input_gate_take_the_candidate() -> None:
    x, h, c = arrays((7, 2, 3), (1, 2, 4), (1, 2, 4))
    weights = zeros("lstm", 3, 4)
    weights["bias_hh_l0"][:] = np.repeat([1e3, -1e3, 0.7, -1e3], 4)
    output, (_, c_n) = lstm(x, weights, (h, c), hidden_size=4)
    np.testing.assert_array_equal(c_n, np.full(c.shape, np.tanh(0.7)))
    assert not output.any()


@pytest.mark.parametrize("reset_after", [True, False])
def test_an_open_update_gate_keeps_the_grus_state_and_a_closed_one_replaces_it(reset_after: bool) -> None:
    x, h = arrays((7, 2, 3), (1, 2, 4))
    weights = zeros("gru", 3, 4)
    weights["bias_ih_l0"][:] = np.repeat([0.0, 1e3, 0.7], 4)
    output, _ = gru(x, weights, h, hidden_size=4, reset_after=reset_after)
    np.testing.assert_array_equal(output, np.broadcast_to(h, output.shape))
    weights["bias_ih_l0"][4:8] = -1e3
    output, _ = gru(x, weights, h, hidden_size=4, reset_after=reset_after)
    np.testing.assert_array_equal(output, np.full(output.shape, np.tanh(0.7)))


def test_an_rnn_whose_weights_are_the_identity_sums_its_input() -> None:
    (x,) = map(np.abs, arrays((6, 2, 3)))
    weights = zeros("rnn", 3, 3) | {"weight_ih_l0": np.eye(3), "weight_hh_l0": np.eye(3)}
    output, _ = rnn(x, weights, hidden_size=3, nonlinearity="relu")
    np.testing.assert_allclose(output, np.cumsum(x, axis=0), rtol=1e-15)


def test_a_projection_by_a_selection_selects() -> None:
    x, h, c = arrays((1, 2, 3), (1, 2, 2), (1, 2, 4))
    weights = zeros("lstm", 3, 4, proj_size=2) | {"weight_hr_l0": np.eye(4)[[3, 1]]}
    output, (h_n, c_n) = lstm(x, weights, (h, c), hidden_size=4, proj_size=2)
    np.testing.assert_array_equal(output[0], 0.5 * np.tanh(c[0] / 2)[:, [3, 1]])
    np.testing.assert_array_equal(h_n, output)
    np.testing.assert_array_equal(c_n, c / 2)


def one_unit(kind: str, w: list[float], u: list[float], b: list[float], d: list[float]) -> dict[str, Array]:
    """Parameters of one unit with one input: input weights, recurrent weights, both biases, gate by gate."""
    names = [name for name in parameter_shapes(kind, 1, 1) if name.startswith("weight")]
    weights = dict(zip(names, (np.array(w)[:, None], np.array(u)[:, None]), strict=True))
    return weights | {"bias_ih_l0": np.array(b), "bias_hh_l0": np.array(d)}


X = [0.5, -1.25, 2.0]
W, U, B, D = [0.5, -0.25, 1.5, 0.75], [-1.0, 0.6, 0.3, 0.9], [0.12, 0.2, -0.3, 0.4], [-0.05, 0.15, 0.25, -0.35]


def near(actual: Array, expected: list[float]) -> None:
    np.testing.assert_allclose(actual.ravel(), expected, rtol=1e-14)


def test_one_lstm_unit_by_hand() -> None:
    h, c, expected = 0.3, -0.8, []
    for x in X:
        i, f, g, o = (W[k] * x + B[k] + U[k] * h + D[k] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        expected.append(h)
    start = (np.full((1, 1, 1), 0.3), np.full((1, 1, 1), -0.8))
    output, (h_n, c_n) = lstm(np.array(X).reshape(3, 1, 1), one_unit("lstm", W, U, B, D), start, hidden_size=1)
    near(output, expected)
    near(h_n, [h])
    near(c_n, [c])


@pytest.mark.parametrize("reset_after", [True, False])
def test_one_gru_unit_by_hand(reset_after: bool) -> None:
    h, expected = 0.3, []
    for x in X:
        r = sigmoid(W[0] * x + B[0] + U[0] * h + D[0])
        z = sigmoid(W[1] * x + B[1] + U[1] * h + D[1])
        n = tanh(W[2] * x + B[2] + (r * (U[2] * h + D[2]) if reset_after else U[2] * (r * h) + D[2]))
        h = (1 - z) * n + z * h
        expected.append(h)
    start, weights = np.full((1, 1, 1), 0.3), one_unit("gru", W[:3], U[:3], B[:3], D[:3])
    output, h_n = gru(np.array(X).reshape(3, 1, 1), weights, start, hidden_size=1, reset_after=reset_after)
    near(output, expected)
    near(h_n, [h])


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_one_rnn_unit_by_hand(nonlinearity: str) -> None:
    h, expected = 0.3, []
    for x in X:
        a = W[0] * x + B[0] + U[0] * h + D[0]
        h = tanh(a) if nonlinearity == "tanh" else max(a, 0.0)
        expected.append(h)
    weights = one_unit("rnn", W[:1], U[:1], B[:1], D[:1])
    start = np.full((1, 1, 1), 0.3)
    output, _ = rnn(np.array(X).reshape(3, 1, 1), weights, start, hidden_size=1, nonlinearity=nonlinearity)
    near(output, expected)


def test_two_units_of_the_original_gru_by_hand() -> None:
    """The reset gate of each unit acts on that unit's state before the recurrent product mixes them."""
    rng = np.random.default_rng(2)
    weights = {name: rng.standard_normal(shape) for name, shape in parameter_shapes("gru", 1, 2).items()}
    w, u, b, d = (weights[name] for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"))
    old, x = [0.3, -0.9], 0.7
    a = [w[k, 0] * x + b[k] + d[k] for k in range(6)]
    r = [sigmoid(a[k] + u[k, 0] * old[0] + u[k, 1] * old[1]) for k in (0, 1)]
    z = [sigmoid(a[k] + u[k, 0] * old[0] + u[k, 1] * old[1]) for k in (2, 3)]
    n = [tanh(a[k] + u[k, 0] * r[0] * old[0] + u[k, 1] * r[1] * old[1]) for k in (4, 5)]
    output, _ = gru(np.array([[[x]]]), weights, np.array([[old]]), hidden_size=2, reset_after=False)
    near(output, [(1 - z[k]) * n[k] + z[k] * old[k] for k in (0, 1)])


def test_both_grus_agree_where_the_reset_gate_commutes_with_the_product_and_only_there() -> None:
    x, h = arrays((5, 2, 3), (1, 2, 4))
    rng = np.random.default_rng(3)
    weights = {name: rng.standard_normal(shape) for name, shape in parameter_shapes("gru", 3, 4).items()}
    weights["bias_hh_l0"][8:] = 0
    apart = [gru(x, weights, h, hidden_size=4, reset_after=after)[0] for after in (True, False)]
    assert np.abs(apart[0] - apart[1]).max() > 1e-2
    weights["weight_hh_l0"][8:] = np.diag(np.diag(weights["weight_hh_l0"][8:]))
    equal = [gru(x, weights, h, hidden_size=4, reset_after=after)[0] for after in (True, False)]
    np.testing.assert_allclose(equal[0], equal[1], rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_saturated_gates_are_exact_and_warn_of_nothing(dtype: type) -> None:
    weights = {name: np.full(shape, 100, dtype) for name, shape in parameter_shapes("lstm", 3, 4).items()}
    for sign in (1, -1):
        output, _, gates = lstm(np.full((5, 2, 3), sign * 100, dtype), weights, hidden_size=4, return_gates=True)
        assert output.dtype == dtype
        assert (gates["l0"]["o"] == (sign > 0)).all()
        assert (gates["l0"]["g"] == sign).all()
