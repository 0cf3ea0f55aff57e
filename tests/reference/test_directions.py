"""How two directions become the output of a layer: against torch's layers of one direction, joined by torch."""

from typing import Any

import numpy as np
import pytest
import rnn_reference
import torch

H, STEPS, BATCH, FEATURES, LAYERS = 3, 5, 2, 4, 2
TORCH: dict[str, Any] = {
    "concat": lambda a, b: torch.cat([a, b], -1),
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "ave": lambda a, b: (a + b) / 2,
}


def stacked(kind: str, merge_mode: str, w: dict[str, Any], x: Any, hx: Any) -> Any:
    """Torch's layers, one for each lane: output and final state."""
    finals = []
    for layer in range(LAYERS):
        outputs = []
        for k, ending in enumerate(("", "_reverse")):
            names = [f"{part}_l{layer}{ending}" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            one = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[kind](x.shape[-1], H).double()
            own = {f"{name.rpartition('_l')[0]}_l0": w[name] for name in names}
            at = 2 * layer + k
            state = tuple(part[at : at + 1] for part in hx)
            given = x.flip(0) if k else x
            output, final = torch.func.functional_call(one, own, (given, state if kind == "lstm" else state[0]))
            outputs.append(output.flip(0) if k else output)
            finals.append(final if kind == "lstm" else (final,))
        x = TORCH[merge_mode](*outputs)
    return x, [torch.cat(parts) for parts in zip(*finals, strict=True)]


@pytest.mark.parametrize("merge_mode", TORCH)
@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_results_and_gradients_are_those_of_layers_joined_by_torch(kind: str, merge_mode: str) -> None:
    rng = np.random.default_rng(11)
    sizes = (FEATURES, H, LAYERS, True, True)
    shapes = rnn_reference.parameter_shapes(kind, *sizes, merge_mode=merge_mode)
    w = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    x = rng.standard_normal((STEPS, BATCH, FEATURES))
    parts = 2 if kind == "lstm" else 1
    hx, d_state = ([rng.standard_normal((2 * LAYERS, BATCH, H)) for _ in range(parts)] for _ in range(2))
    d_output = rng.standard_normal((STEPS, BATCH, 2 * H if merge_mode == "concat" else H))
    leaves = {name: torch.tensor(array, requires_grad=True) for name, array in w.items()}
    leaf, states = torch.tensor(x, requires_grad=True), [torch.tensor(part, requires_grad=True) for part in hx]
    output, final = stacked(kind, merge_mode, leaves, leaf, states)
    loss = (output * torch.tensor(d_output)).sum()
    (loss + sum((a * torch.tensor(b)).sum() for a, b in zip(final, d_state, strict=True))).backward()

    more: dict[str, Any] = {"hidden_size": H, "num_layers": LAYERS, "bidirectional": True, "merge_mode": merge_mode}
    state, d_final = (tuple(p) if parts == 2 else p[0] for p in (hx, d_state))
    found, _ = getattr(rnn_reference, kind)(x, w, state, **more)
    np.testing.assert_allclose(found, output.detach().numpy(), rtol=1e-12, atol=1e-13)
    gradients = getattr(rnn_reference, f"{kind}_gradients")(x, w, state, d_output, d_final, **more)
    due = {"input": leaf, **dict(zip(("h_0", "c_0"), states, strict=False)), **leaves}
    for name, tensor in due.items():
        assert tensor.grad is not None
        np.testing.assert_allclose(gradients[name], tensor.grad.numpy(), rtol=1e-10, atol=1e-12, err_msg=name)


def test_one_direction_is_merged_with_none() -> None:
    rng = np.random.default_rng(2)
    w = {name: rng.standard_normal(shape) for name, shape in rnn_reference.parameter_shapes("gru", 2, H).items()}
    x = rng.standard_normal((STEPS, BATCH, 2))
    one, other = (rnn_reference.gru(x, w, hidden_size=H, merge_mode=mode)[0] for mode in ("concat", "mul"))
    np.testing.assert_array_equal(one, other)


def test_other_modes_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="merge_mode must be one of concat, sum, mul, ave, not 'max'"):
        rnn_reference.parameter_shapes("gru", 2, H, bidirectional=True, merge_mode="max")
