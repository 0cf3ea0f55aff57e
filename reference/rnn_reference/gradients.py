"""Gradients of the stacks: backpropagation through time (Werbos 1990), the steps of `stack` in reverse.

`d_v` is the gradient of a scalar by `v`. Arrays lie as in `stack`; `cells` has the derivative of each cell.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnn_reference.cells import Array, Factors, Gates, State
from rnn_reference.directions import join_backward
from rnn_reference.layout import merged, part_of
from rnn_reference.parameters import verify_array
from rnn_reference.stack import Parameters, Stack, gru_stack, lstm_stack, order, recurrent_of, rnn_stack

Gradients = dict[str, Array]


def lstm_gradients(
    input: Array,
    parameters: Parameters,
    hx: tuple[Array, Array] | None,
    output_gradient: Array,
    state_gradient: tuple[Array, Array] | None,
    *,
    hidden_size: int,
    num_layers: int = 1,
    bias: bool = True,
    batch_first: bool = False,
    bidirectional: bool = False,
    proj_size: int = 0,
    recurrent_bias: str = "all",
    peepholes: bool = False,
    clip: float = 0.0,
    input_forget: bool = False,
    forget_bias: float = 0.0,
    activations: str = "",
    merge_mode: str = "concat",
    lengths: Sequence[int] | None = None,
    dropout_masks: Sequence[Array] | None = None,
) -> Gradients:
    """The gradients of a scalar by all that `lstm` takes, from its gradients by all that `lstm` gives.

    Args:
        output_gradient: the gradient by output, of output's shape. Beyond the end of a sequence it counts for nothing.
        state_gradient: the gradients by (h_n, c_n), of their shapes; zeros where left out.

    The other arguments are those of `lstm`.

    Returns:
        The gradient by 'input', 'h_0' and 'c_0' (where hx is left out, by the zeros in its place) and each parameter,
        by name and of the same shape. Where input has further axes between T and B, these come first in the gradients
        by parameters: (..., rows, columns) for a weight and (..., 1, rows) for a bias.

    Raises:
        ValueError: as `lstm` does, and for gradients of other shapes or dtypes.
        NotImplementedError: with peepholes, clip, input_forget, or hard_sigmoid among the activations.

    Source: the chain rule; the derivatives of each cell are in `cells`.
    """
    shapes = (hidden_size, num_layers, bias, bidirectional, proj_size, recurrent_bias, peepholes)
    stack = lstm_stack(input, *shapes, clip, input_forget, forget_bias, activations, merge_mode)
    return _call(stack, input, parameters, hx, output_gradient, state_gradient, batch_first, lengths, dropout_masks)


def gru_gradients(
    input: Array,
    parameters: Parameters,
    hx: Array | None,
    output_gradient: Array,
    state_gradient: Array | None,
    *,
    hidden_size: int,
    num_layers: int = 1,
    bias: bool = True,
    batch_first: bool = False,
    bidirectional: bool = False,
    reset_after: bool = True,
    recurrent_bias: str = "all",
    clip: float = 0.0,
    activations: str = "",
    merge_mode: str = "concat",
    lengths: Sequence[int] | None = None,
    dropout_masks: Sequence[Array] | None = None,
) -> Gradients:
    """The gradients of a scalar by all that `gru` takes: as `lstm_gradients`, without a cell state."""
    shapes = (hidden_size, num_layers, bias, bidirectional, reset_after, recurrent_bias)
    stack = gru_stack(input, *shapes, clip, activations, merge_mode)
    return _call(stack, input, parameters, hx, output_gradient, state_gradient, batch_first, lengths, dropout_masks)


def rnn_gradients(
    input: Array,
    parameters: Parameters,
    hx: Array | None,
    output_gradient: Array,
    state_gradient: Array | None,
    *,
    hidden_size: int,
    num_layers: int = 1,
    nonlinearity: str = "tanh",
    bias: bool = True,
    batch_first: bool = False,
    bidirectional: bool = False,
    recurrent_bias: str = "all",
    clip: float = 0.0,
    activations: str = "",
    merge_mode: str = "concat",
    residual: bool = False,
    lengths: Sequence[int] | None = None,
    dropout_masks: Sequence[Array] | None = None,
) -> Gradients:
    """The gradients of a scalar by all that `rnn` takes: as `lstm_gradients`, without a cell state.

    The derivative of relu at 0 is 0, as in torch.
    """
    shapes = (hidden_size, num_layers, nonlinearity, bias, bidirectional, recurrent_bias)
    stack = rnn_stack(input, *shapes, clip, activations, merge_mode, residual)
    return _call(stack, input, parameters, hx, output_gradient, state_gradient, batch_first, lengths, dropout_masks)


def _call(
    stack: Stack,
    input: Array,
    parameters: Parameters,
    hx: Any,
    output_gradient: Array,
    state_gradient: Any,
    batch_first: bool,
    lengths: Sequence[int] | None,
    masks: Sequence[Array] | None,
) -> Gradients:
    """Check the arguments, bring them into time-major form, go back group by group, and give the results their form."""
    layout, x, state, groups = stack.prepare(input, parameters, hx, batch_first, lengths, masks)
    d_final = stack.state("state_gradient", ("the gradient by h_n", "the gradient by c_n"), state_gradient, x, layout)
    output_shape = (*input.shape[:-1], stack.output_size)
    verify_array("output_gradient", output_gradient, output_shape, x.dtype)
    d_output = layout.inward(output_gradient)
    rows = [rows for _, rows in groups]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        alone = [
            _layers(stack, *part_of(group, x, state, masks), parameters, *part_of(group, d_output, d_final)[:2])
            for group in groups
        ]
        d_xs, d_states, by_parameter = zip(*alone, strict=True)
        result = {"input": layout.outward(merged(rows, d_xs, x.shape[0], x.shape[-2]))}
        for name, parts in zip(("h_0", "c_0"), zip(*d_states, strict=True), strict=False):
            result[name] = layout.outward_state(merged(rows, parts, len(stack.lanes), x.shape[-2]))
        for name, shape in stack.shapes.items():
            none = np.zeros_like(x, shape=(*x.shape[1:-2], *(1, *shape)[-2:]))
            gradient = sum((part[name] for part in by_parameter if name in part), none)
            result[name] = gradient.reshape(shape) if x.ndim == 3 else gradient
    return result


def _layers(
    stack: Stack,
    x: Array,
    state: State,
    masks: Sequence[Array] | None,
    parameters: Parameters,
    d_output: Array,
    d_final: State,
) -> tuple[Array, State, Gradients]:
    """Every layer, from the last to the first: `Stack.run_layers` in reverse."""
    trace = stack.run_layers(x, state, masks, parameters, traced=True)[2]
    gradients: Gradients = {}
    d_states: dict[int, State] = {}
    for layer in reversed(range(stack.num_layers)):
        d_inputs = []
        own = stack.lanes_of(layer)
        d_hs = join_backward(d_output, [trace[lane].get("h", d_output) for _, lane in own], stack.merge_mode)
        for (k, lane), d_h in zip(own, d_hs, strict=True):
            at = order(lane)
            left = {name: values[at] for name, values in trace[lane].items()}
            before, after = tuple(s[k] for s in state), tuple(s[k] for s in d_final)
            d_input, d_states[k], found = lane_gradients(stack, parameters, lane, before, left, d_h[at], after)
            d_inputs.append(d_input[at])
            gradients |= found
        d_output = sum(d_inputs[1:], d_inputs[0])
        if layer and masks is not None:
            d_output = d_output * masks[layer - 1]
    in_order = [d_states[k] for k in range(len(stack.lanes))]
    return d_output, tuple(np.stack(parts) for parts in zip(*in_order, strict=True)), gradients


def lane_gradients(
    stack: Stack, parameters: Parameters, lane: str, state: State, left: Gates, d_output: Array, d_state: State
) -> tuple[Array, State, Gradients]:
    """One direction of one layer, from its last step to its first: `Stack.run_lane` in reverse."""
    if not left:  # no step: zeros of the input's width
        return d_output[..., :0] @ parameters[f"weight_ih_{lane}"][:0], d_state, {}
    recurrent = recurrent_of(parameters, lane)
    before = [_shifted(first, left[name]) for first, name in zip(state, "hc", strict=False)]
    d_products: list[Array] = []
    factors: list[Factors] = []
    for t in reversed(range(len(d_output))):
        d_new = (d_output[t] + d_state[0], *d_state[1:])
        at_t = {name: values[t] for name, values in left.items()}
        d_product, d_state, factor = stack.cell.backward(d_new, tuple(part[t] for part in before), at_t, recurrent)
        d_products.append(d_product)
        factors.append(factor | {"weight_ih": [(d_product, at_t["x"])]})
    gradients: Gradients = {}
    for weight in factors[0]:
        blocks = [_summed(block) for block in zip(*(factor[weight] for factor in factors), strict=True)]
        by_weight, by_bias = zip(*blocks, strict=True)
        gradients[f"{weight}_{lane}"] = np.concatenate(by_weight, axis=-2)
        bias = f"{weight.replace('weight', 'bias')}_{lane}"
        if bias in parameters:
            gradients[bias] = np.concatenate(by_bias, axis=-1)[..., -len(parameters[bias]) :]
    return np.stack(d_products[::-1]) @ parameters[f"weight_ih_{lane}"], d_state, gradients


def _shifted(first: Array, states: Array) -> Array:
    """The states before each step: `first`, and all but the last of those after each step."""
    wide = np.broadcast_to(first, states.shape[1:])
    return np.concatenate([wide[np.newaxis], states[:-1]])


def _summed(factors: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Σ d aᵀ and Σ d over steps and batch: gradients by a weight (..., rows, columns) and its bias (..., 1, rows)."""
    d, a = (np.concatenate(part, axis=-2) for part in zip(*factors, strict=True))
    return d.swapaxes(-1, -2) @ a, d[..., np.newaxis, :, :].sum(-2)
