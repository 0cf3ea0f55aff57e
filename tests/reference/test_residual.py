"""An RNN that adds the state before to what enters its nonlinearity: against torch's loop over that equation."""

from typing import Any

import numpy as np
import pytest
import rnn_reference
import torch

H, STEPS, BATCH, FEATURES, LAYERS = 3, 5, 2, 4, 2
SIZES: dict[str, Any] = {"hidden_size": H, "num_layers": LAYERS, "bidirectional": True}
Arrays = dict[str, np.ndarray]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(17)


@pytest.fixture
def weights(rng: np.random.Generator) -> Arrays:
    shapes = rnn_reference.parameter_shapes("rnn", FEATURES, H, LAYERS, True, True)
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def looped(act: Any, w: dict[str, Any], x: Any, h_0: Any) -> tuple[Any, Any]:
    """The equation, step by step: output and h_n."""
    finals = []
    for layer in range(LAYERS):
        directions = []
        for ending in ("", "_reverse"):
            lane = f"l{layer}{ending}"
            h, states = h_0[len(finals)], []
            for x_t in x.flip(0) if ending else x:
                of_input = x_t @ w[f"weight_ih_{lane}"].T + w[f"bias_ih_{lane}"]
                h = act(of_input + h @ w[f"weight_hh_{lane}"].T + w[f"bias_hh_{lane}"] + h)
                states.append(h)
            finals.append(h)
            directions.append(torch.stack(states[::-1] if ending else states))
        x = torch.cat(directions, -1)
    return x, torch.stack(finals)


@pytest.mark.parametrize(
    ("asked", "act"),
    [
        ({}, torch.tanh),
        ({"nonlinearity": "relu"}, torch.relu),
        ({"activations": "sigmoid"}, torch.sigmoid),
    ],
    ids=["tanh", "relu", "sigmoid"],
)
def test_results_and_gradients_are_those_of_a_loop_in_torch(
    asked: dict[str, str], act: Any, rng: np.random.Generator, weights: Arrays
) -> None:
    x, d_output = (rng.standard_normal((STEPS, BATCH, features)) for features in (FEATURES, 2 * H))
    h_0, d_h_n = (rng.standard_normal((2 * LAYERS, BATCH, H)) for _ in range(2))
    leaves = {n: torch.tensor(a, requires_grad=True) for n, a in {"input": x, "h_0": h_0, **weights}.items()}
    output, h_n = looped(act, leaves, leaves["input"], leaves["h_0"])
    ((output * torch.tensor(d_output)).sum() + (h_n * torch.tensor(d_h_n)).sum()).backward()

    found, final = rnn_reference.rnn(x, weights, h_0, **SIZES, **asked, residual=True)
    np.testing.assert_allclose(found, output.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(final, h_n.detach().numpy(), rtol=1e-12, atol=1e-13)
    gradients = rnn_reference.rnn_gradients(x, weights, h_0, d_output, d_h_n, **SIZES, **asked, residual=True)
    for name, leaf in leaves.items():
        assert leaf.grad is not None
        np.testing.assert_allclose(gradients[name], leaf.grad.numpy(), rtol=1e-10, atol=1e-12, err_msg=name)


def test_it_is_an_identity_beside_the_recurrent_weights(rng: np.random.Generator, weights: Arrays) -> None:
    x = rng.standard_normal((STEPS, BATCH, FEATURES))
    beside = {name: array + np.eye(H) if name.startswith("weight_hh") else array for name, array in weights.items()}
    lengths = [STEPS, 2]
    output, _ = rnn_reference.rnn(x, weights, **SIZES, lengths=lengths, residual=True)
    due, _ = rnn_reference.rnn(x, beside, **SIZES, lengths=lengths)
    np.testing.assert_allclose(output, due, rtol=1e-12, atol=1e-13)


def test_clip_bounds_the_sum_with_the_state_before(rng: np.random.Generator, weights: Arrays) -> None:
    x = rng.standard_normal((STEPS, BATCH, FEATURES))
    h_0 = 100 * np.ones((2 * LAYERS, BATCH, H))
    output, _ = rnn_reference.rnn(x, weights, h_0, **SIZES, clip=0.5, residual=True)
    assert np.abs(output).max() <= np.tanh(0.5)
