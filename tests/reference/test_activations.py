"""Other activations: each function against torch's, and that each gate has its own, forward and backward."""

from typing import Any

import numpy as np
import pytest
import rnn_reference
import torch
from rnn_reference.activations import ACTIVATIONS
from torch.nn import functional

H, STEPS, BATCH, FEATURES = 3, 5, 2, 4
TORCH: dict[str, Any] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": functional.relu,
    "leaky_relu": lambda x: functional.leaky_relu(x, 0.25),
    "hard_sigmoid": functional.hardsigmoid,
    "hard_tanh": functional.hardtanh,
    "elu": functional.elu,
    "softplus": functional.softplus,
    "softsign": functional.softsign,
    "scaled_tanh": lambda x: 0.75 * torch.tanh(0.5 * x),
    "affine": lambda x: 0.75 * x + 0.5,
    "thresholded_relu": lambda x: functional.threshold(x, 0.3125, 0.0),
}
CHOICES = {
    "lstm": [
        "hard_sigmoid scaled_tanh hard_tanh",
        "sigmoid leaky_relu tanh",
        "scaled_tanh tanh relu",
        "softsign affine elu",
    ],
    "gru": ["hard_sigmoid scaled_tanh", "sigmoid leaky_relu", "softsign softplus"],
    "rnn": list(ACTIVATIONS),
}


def stepped(kind: str, names: str, w: dict[str, Any], x: Any, state: tuple[Any, ...], reset_after: bool) -> Any:
    """One layer in torch's operations: its output and final state."""
    f, *others = [TORCH[name] for name in names.split()]
    g, last = (others or [f])[0], (others or [f])[-1]
    outputs = []
    for x_t in x:
        h = state[0]
        a = x_t @ w["weight_ih_l0"].T + w["bias_ih_l0"]
        b = h @ w["weight_hh_l0"].T + w["bias_hh_l0"]
        if kind == "rnn":
            state = (f(a + b),)
        elif kind == "lstm":
            i, forget, candidate, o = (a + b).chunk(4, -1)
            c = f(forget) * state[1] + f(i) * g(candidate)
            state = (f(o) * last(c), c)
        else:
            (a_r, a_z, a_n), (b_r, b_z, b_n) = a.chunk(3, -1), b.chunk(3, -1)
            r, z = f(a_r + b_r), f(a_z + b_z)
            if not reset_after:
                b_n = (r * h) @ w["weight_hh_l0"][2 * H :].T + w["bias_hh_l0"][2 * H :]
            n = g(a_n + (r * b_n if reset_after else b_n))
            state = ((1 - z) * n + z * h,)
        outputs.append(state[0])
    return torch.stack(outputs), state


def test_every_function_and_its_derivative_is_torchs() -> None:
    x = np.random.default_rng(0).uniform(-6, 6, 500)
    assert ACTIVATIONS.keys() == TORCH.keys()
    for name, function in ACTIVATIONS.items():
        leaf = torch.tensor(x, requires_grad=True)
        due = TORCH[name](leaf)
        due.sum().backward()
        np.testing.assert_allclose(function(x), due.detach().numpy(), rtol=1e-14, atol=1e-15, err_msg=name)
        if name == "hard_sigmoid":
            continue
        slope = function.back(np.ones_like(x), function(x))
        assert leaf.grad is not None
        np.testing.assert_allclose(slope, leaf.grad.numpy(), rtol=1e-12, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, np.longdouble])
def test_functions_and_derivatives_keep_the_dtype(dtype: Any) -> None:
    x = np.linspace(-5, 5, 7, dtype=dtype)
    for name, function in ACTIVATIONS.items():
        assert function(x).dtype == dtype, name
        assert name == "hard_sigmoid" or function.back(x, function(x)).dtype == dtype, name


@pytest.mark.parametrize(
    ("kind", "names", "reset_after"),
    [
        (kind, names, after)
        for kind in CHOICES
        for names in CHOICES[kind]
        for after in (True, False)[: 1 + (kind == "gru")]
    ],
)
def test_each_gate_has_its_own_function_forward_and_backward(kind: str, names: str, reset_after: bool) -> None:
    rng = np.random.default_rng(7)
    w = {n: 2 * rng.standard_normal(s) for n, s in rnn_reference.parameter_shapes(kind, FEATURES, H).items()}
    x, d_output = rng.standard_normal((STEPS, BATCH, FEATURES)), rng.standard_normal((STEPS, BATCH, H))
    parts = 2 if kind == "lstm" else 1
    hx, d_state = ([rng.standard_normal((1, BATCH, H)) for _ in range(parts)] for _ in range(2))
    leaves = {n: torch.tensor(a, requires_grad=True) for n, a in w.items()}
    leaf, states = torch.tensor(x, requires_grad=True), [torch.tensor(part, requires_grad=True) for part in hx]
    output, final = stepped(kind, names, leaves, leaf, tuple(part[0] for part in states), reset_after)
    loss = (output * torch.tensor(d_output)).sum()
    loss = loss + sum((a * torch.tensor(b[0])).sum() for a, b in zip(final, d_state, strict=True))
    loss.backward()

    more: dict[str, Any] = {"hidden_size": H, "activations": names}
    more |= {"reset_after": reset_after} if kind == "gru" else {}
    state, d_final = (tuple(p) if parts == 2 else p[0] for p in (hx, d_state))
    found, _ = getattr(rnn_reference, kind)(x, w, state, **more)
    np.testing.assert_allclose(found, output.detach().numpy(), rtol=1e-12, atol=1e-13)
    if "hard_sigmoid" in names:
        return
    gradients = getattr(rnn_reference, f"{kind}_gradients")(x, w, state, d_output, d_final, **more)
    due = {"input": leaf, **dict(zip(("h_0", "c_0"), states, strict=False)), **leaves}
    for name, tensor in due.items():
        assert tensor.grad is not None
        np.testing.assert_allclose(gradients[name], tensor.grad.numpy(), rtol=1e-10, atol=1e-12, err_msg=name)


def test_the_usual_ones_by_name_are_those_of_torch() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((STEPS, BATCH, FEATURES))
    for kind, names in {"lstm": "sigmoid tanh tanh", "gru": "sigmoid tanh", "rnn": "tanh"}.items():
        w = {n: rng.standard_normal(s) for n, s in rnn_reference.parameter_shapes(kind, FEATURES, H).items()}
        run = getattr(rnn_reference, kind)
        np.testing.assert_array_equal(
            run(x, w, hidden_size=H, activations=names)[0], run(x, w, hidden_size=H)[0], err_msg=kind
        )


@pytest.mark.parametrize("names", ["tanh", "sigmoid tanh softmax", "sigmoid tanh tanh tanh"])
def test_other_names_or_another_number_of_them_are_refused(names: str) -> None:
    w = {n: np.ones(s) for n, s in rnn_reference.parameter_shapes("lstm", FEATURES, H).items()}
    with pytest.raises(ValueError, match="activations of this cell must be 3 of sigmoid, tanh, relu"):
        rnn_reference.lstm(np.ones((STEPS, BATCH, FEATURES)), w, hidden_size=H, activations=names)


def test_a_hard_sigmoid_has_no_gradients() -> None:
    w = {n: np.ones(s) for n, s in rnn_reference.parameter_shapes("gru", FEATURES, H).items()}
    x, d_output = np.ones((STEPS, BATCH, FEATURES)), np.ones((STEPS, BATCH, H))
    with pytest.raises(NotImplementedError, match="the oracle has no gradients with hard_sigmoid"):
        rnn_reference.gru_gradients(x, w, None, d_output, None, hidden_size=H, activations="hard_sigmoid tanh")
