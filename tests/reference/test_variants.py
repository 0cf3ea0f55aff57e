"""What the oracle knows beyond torch.nn: peepholes, clip, coupled gates, and which gates have a recurrent bias."""

from typing import Any

import numpy as np
import pytest
import rnn_reference

RNG = np.random.default_rng(5)
X = RNG.standard_normal((4, 2, 3))
H = 3


def weights(kind: str, **more: Any) -> dict[str, np.ndarray]:
    shapes = rnn_reference.parameter_shapes(kind, 3, H, 2, True, True, **more)
    return {name: RNG.standard_normal(shape) for name, shape in shapes.items()}


def run(kind: str, parameters: dict[str, np.ndarray], **more: Any) -> Any:
    call = getattr(rnn_reference, kind)
    return call(X, parameters, hidden_size=H, num_layers=2, bidirectional=True, **more)


def same(one: Any, other: Any) -> bool:
    parts = [(result[0], *(result[1] if isinstance(result[1], tuple) else (result[1],))) for result in (one, other)]
    return all(np.allclose(a, b, rtol=1e-12, atol=1e-14) for a, b in zip(*parts, strict=True))


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_no_recurrent_bias_is_one_of_zeros(kind: str) -> None:
    parameters = weights(kind, recurrent_bias="none")
    full = {n: np.zeros(s) for n, s in rnn_reference.parameter_shapes(kind, 3, H, 2, True, True).items()} | parameters
    assert not any(name.startswith("bias_hh") for name in parameters)
    assert same(run(kind, parameters, recurrent_bias="none"), run(kind, full))


@pytest.mark.parametrize("reset_after", [True, False])
def test_a_candidates_recurrent_bias_is_one_of_zeros_elsewhere(reset_after: bool) -> None:
    parameters = weights("gru", recurrent_bias="candidate")
    full = {n: np.append(np.zeros(2 * H), a) if n.startswith("bias_hh") else a for n, a in parameters.items()}
    short = run("gru", parameters, recurrent_bias="candidate", reset_after=reset_after)
    assert same(short, run("gru", full, reset_after=reset_after))


def test_gradients_of_a_candidates_recurrent_bias_are_the_last_of_all() -> None:
    parameters = weights("gru", recurrent_bias="candidate")
    full = {n: np.append(np.zeros(2 * H), a) if n.startswith("bias_hh") else a for n, a in parameters.items()}
    d_output = RNG.standard_normal((4, 2, 2 * H))
    sizes = {"hidden_size": H, "num_layers": 2, "bidirectional": True}
    short = rnn_reference.gru_gradients(X, parameters, None, d_output, None, **sizes, recurrent_bias="candidate")
    long = rnn_reference.gru_gradients(X, full, None, d_output, None, **sizes)
    for name, gradient in short.items():
        assert gradient.shape == parameters[name].shape if name in parameters else True
        assert np.allclose(gradient, long[name][-H:] if name.startswith("bias_hh") else long[name], rtol=1e-12)


def test_one_step_with_everything_follows_onnx_equations() -> None:
    x, h, c = (RNG.standard_normal(shape) for shape in ((1, 1, 2), (1, 1, 3), (1, 1, 3)))
    shapes = rnn_reference.parameter_shapes("lstm", 2, 3, peepholes=True)
    w = {name: 2 * RNG.standard_normal(shape) for name, shape in shapes.items()}
    output, (_, c_n) = rnn_reference.lstm(x, w, (h, c), hidden_size=3, peepholes=True, clip=0.7)

    def f(v: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-np.clip(v, -0.7, 0.7)))

    def g(v: np.ndarray) -> np.ndarray:
        return np.tanh(np.clip(v, -0.7, 0.7))

    z = w["weight_ih_l0"] @ x[0, 0] + w["weight_hh_l0"] @ h[0, 0] + w["bias_ih_l0"] + w["bias_hh_l0"]
    (z_i, z_f, z_g, z_o), (p_i, p_f, p_o), c = z.reshape(4, 3), w["peephole_l0"].reshape(3, 3), c[0, 0]
    new = f(z_f + p_f * c) * c + f(z_i + p_i * c) * g(z_g)
    assert np.allclose(c_n[0, 0], new, rtol=1e-12)
    assert np.allclose(output[0, 0], f(z_o + p_o * new) * np.tanh(new), rtol=1e-12)


def test_coupled_gates_add_up_to_one() -> None:
    _, _, gates = run("lstm", weights("lstm"), input_forget=True, return_gates=True)
    assert all(np.allclose(lane["i"] + lane["f"], 1, rtol=1e-15) for lane in gates.values())


def with_forget_bias(parameters: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same with 1 added to the forget gate's own biases."""
    other = {name: array.copy() for name, array in parameters.items()}
    for name, array in other.items():
        if name.startswith("bias_ih"):
            array[H : 2 * H] += 1
    return other


def test_a_forget_bias_is_a_bias_of_the_forget_gate() -> None:
    parameters = weights("lstm")
    assert same(run("lstm", parameters, forget_bias=1.0), run("lstm", with_forget_bias(parameters)))


def test_gradients_with_a_forget_bias_are_those_with_it_among_the_biases() -> None:
    parameters = weights("lstm")
    d_output, d_state = (
        RNG.standard_normal((4, 2, 2 * H)),
        (RNG.standard_normal((4, 2, H)), RNG.standard_normal((4, 2, H))),
    )
    sizes = {"hidden_size": H, "num_layers": 2, "bidirectional": True}
    found = rnn_reference.lstm_gradients(X, parameters, None, d_output, d_state, **sizes, forget_bias=1.0)
    due = rnn_reference.lstm_gradients(X, with_forget_bias(parameters), None, d_output, d_state, **sizes)
    assert found.keys() == due.keys()
    assert all(np.allclose(gradient, due[name], rtol=1e-12, atol=1e-14) for name, gradient in found.items())


@pytest.mark.parametrize(("kind", "more"), [("rnn", {"nonlinearity": "relu"}), ("rnn", {}), ("gru", {}), ("lstm", {})])
def test_a_wide_clip_changes_nothing_and_a_narrow_one_something(kind: str, more: dict[str, Any]) -> None:
    parameters = weights(kind)
    assert same(run(kind, parameters, clip=1e6, **more), run(kind, parameters, **more))
    assert not same(run(kind, parameters, clip=0.1, **more), run(kind, parameters, **more))


def test_clip_bounds_what_enters_a_gate() -> None:
    output, _ = run("rnn", weights("rnn"), clip=0.5)
    assert np.abs(output).max() <= np.tanh(0.5)


@pytest.mark.parametrize(
    ("kind", "more", "message"),
    [
        ("lstm", {"recurrent_bias": "candidate"}, "recurrent_bias must be all, none or, for a GRU, candidate"),
        ("gru", {"recurrent_bias": "some"}, "recurrent_bias must be all, none or, for a GRU, candidate"),
        ("rnn", {"peepholes": True}, "peepholes are defined for the LSTM only, not for the RNN"),
    ],
)
def test_what_no_cell_has_is_refused(kind: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rnn_reference.parameter_shapes(kind, 3, H, **more)


@pytest.mark.parametrize("more", [{"peepholes": True}, {"clip": 1.0}, {"input_forget": True}])
def test_gradients_that_the_oracle_does_not_have_are_refused(more: dict[str, Any]) -> None:
    parameters = weights("lstm", peepholes="peepholes" in more)
    sizes = {"hidden_size": H, "num_layers": 2, "bidirectional": True}
    with pytest.raises(NotImplementedError, match="the oracle has no gradients with"):
        rnn_reference.lstm_gradients(X, parameters, None, np.ones((4, 2, 2 * H)), None, **sizes, **more)
