"""Stacks: layers, directions, lengths and dropout around the cells.

Within this file arrays are time-major: input and output (steps, ..., batch, features), states (lanes, ..., batch,
features). A lane is one direction of one layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_reference import cells
from rnn_reference.cells import Array, Cell, Gates, Recurrent, State
from rnn_reference.parameters import lanes, parameter_shapes, verify

Parameters = Mapping[str, Array]
Trace = dict[str, Gates]


def lstm(
    input: Array,
    parameters: Parameters,
    hx: tuple[Array, Array] | None = None,
    *,
    hidden_size: int,
    num_layers: int = 1,
    bias: bool = True,
    batch_first: bool = False,
    bidirectional: bool = False,
    proj_size: int = 0,
    lengths: Sequence[int] | None = None,
    dropout_masks: Sequence[Array] | None = None,
    return_gates: bool = False,
) -> Any:
    """A stack of LSTM layers.

    With D = 2 where bidirectional and 1 elsewhere, P = proj_size or hidden_size:

    Args:
        input: (T, B, input_size), or (B, T, input_size) where batch_first, or unbatched (T, input_size). Further axes
            between T and B are carried along.
        parameters: by torch.nn.LSTM's names, of the shapes that `parameter_shapes` gives and of input's dtype.
        hx: (h_0, c_0) of shapes (D·num_layers, B, P) and (D·num_layers, B, hidden_size), without B where input has
            none; zeros where left out.
        lengths: the length of each sequence, 0 to T. Each is treated as if alone: the reverse direction starts at its
            own end, its final state is that after its own last step, and the output is zero beyond it.
        dropout_masks: num_layers - 1 arrays of the shape of a time-major output. The output of layer k is multiplied
            by mask k before layer k + 1 sees it.
        return_gates: give the gates too.

    Returns:
        output (T, B, D·P) in input's layout, (h_n, c_n) shaped like hx, and, where return_gates, the gates as
        {lane: {gate: (T, B, hidden_size)}}, time-major; lanes are l0, l0_reverse, l1, ..., gates i, f, g, o, and c.

    Raises:
        ValueError: for shapes, names, dtypes or lengths other than these.

    Source: torch.nn.LSTM's page; see `cells` for the equations.
    """
    shapes = parameter_shapes("lstm", input.shape[-1], hidden_size, num_layers, bias, bidirectional, proj_size)
    widths = (proj_size or hidden_size, hidden_size)
    stack = Stack(cells.lstm_cell, num_layers, bias, bidirectional, widths)
    return stack.call(input, parameters, shapes, hx, batch_first, lengths, dropout_masks, return_gates)


def gru(
    input: Array,
    parameters: Parameters,
    hx: Array | None = None,
    *,
    hidden_size: int,
    num_layers: int = 1,
    bias: bool = True,
    batch_first: bool = False,
    bidirectional: bool = False,
    reset_after: bool = True,
    lengths: Sequence[int] | None = None,
    dropout_masks: Sequence[Array] | None = None,
    return_gates: bool = False,
) -> Any:
    """A stack of GRU layers.

    Arguments, results and errors are those of `lstm`, with hx and the second result the hidden state alone.

    Args:
        reset_after: True for torch.nn.GRU (the reset gate acts after the recurrent product), False for the original
            of Cho et al. 2014 (before it).
    """
    shapes = parameter_shapes("gru", input.shape[-1], hidden_size, num_layers, bias, bidirectional)
    cell = cells.gru_cell if reset_after else cells.gru_reset_before_cell
    stack = Stack(cell, num_layers, bias, bidirectional, (hidden_size,))
    return stack.call(input, parameters, shapes, hx, batch_first, lengths, dropout_masks, return_gates)


def rnn(
    input: Array,
    parameters: Parameters,
    hx: Array | None = None,
    *,
    hidden_size: int,
    num_layers: int = 1,
    nonlinearity: str = "tanh",
    bias: bool = True,
    batch_first: bool = False,
    bidirectional: bool = False,
    lengths: Sequence[int] | None = None,
    dropout_masks: Sequence[Array] | None = None,
    return_gates: bool = False,
) -> Any:
    """A stack of Elman RNN layers.

    Arguments, results and errors are those of `lstm`, with hx and the second result the hidden state alone.

    Args:
        nonlinearity: 'tanh' or 'relu'.
    """
    by_name = {"tanh": cells.rnn_tanh_cell, "relu": cells.rnn_relu_cell}
    if nonlinearity not in by_name:
        raise ValueError(f"nonlinearity must be 'tanh' or 'relu', not {nonlinearity!r}")
    shapes = parameter_shapes("rnn", input.shape[-1], hidden_size, num_layers, bias, bidirectional)
    stack = Stack(by_name[nonlinearity], num_layers, bias, bidirectional, (hidden_size,))
    return stack.call(input, parameters, shapes, hx, batch_first, lengths, dropout_masks, return_gates)


@dataclass(frozen=True)
class Stack:
    """Layers of one kind of cell."""

    cell: Cell
    num_layers: int
    bias: bool
    bidirectional: bool
    widths: tuple[int, ...]  # features of each part of the state: h, and c for the LSTM

    def call(
        self,
        input: Array,
        parameters: Parameters,
        shapes: Mapping[str, tuple[int, ...]],
        hx: Any,
        batch_first: bool,
        lengths: Sequence[int] | None,
        masks: Sequence[Array] | None,
        return_gates: bool,
    ) -> Any:
        """Check the arguments, bring them into time-major form, run, and give the results input's form."""
        if input.ndim < 2:
            raise ValueError(f"input must be (steps, batch, features) or (steps, features), not {input.shape}")
        verify(parameters, shapes, input.dtype)
        unbatched = input.ndim == 2
        if unbatched and lengths is not None:
            raise ValueError("lengths need a batch; unbatched input has one sequence, of the length that it has")
        swap = batch_first and not unbatched
        x = input[:, np.newaxis] if unbatched else input.swapaxes(0, -2) if swap else input
        state = self.initial_state(x, hx, unbatched)
        self.verify_masks(x, masks)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            output, final, trace = self.run_lengths(x, parameters, state, lengths, masks)
        if unbatched:
            output, final = output[..., 0, :], tuple(part[..., 0, :] for part in final)
        elif swap:
            output = output.swapaxes(0, -2)
        result = final[0] if len(final) == 1 else final
        return (output, result, trace) if return_gates else (output, result)

    def initial_state(self, x: Array, hx: Any, unbatched: bool) -> State:
        """`hx`, verified, as a tuple of batched arrays; zeros where it is None."""
        rows = len(lanes(self.num_layers, self.bidirectional))
        shapes = [(rows, *x.shape[1:-1], width) for width in self.widths]
        if hx is None:
            return tuple(np.zeros_like(x, shape=shape) for shape in shapes)
        parts = hx if isinstance(hx, tuple) else (hx,)
        if len(parts) != len(shapes):
            raise ValueError(f"hx must be {'(h_0, c_0)' if len(shapes) == 2 else 'one array'}, not {len(parts)} arrays")
        state = tuple(part[..., np.newaxis, :] for part in parts) if unbatched else parts
        for name, part, shape in zip(("h_0", "c_0"), state, shapes, strict=False):
            if part.shape != shape or part.dtype != x.dtype:
                raise ValueError(f"{name} must be {x.dtype} of shape {shape}, not {part.dtype} of shape {part.shape}")
        return state

    def verify_masks(self, x: Array, masks: Sequence[Array] | None) -> None:
        """Raise ValueError unless there is one mask between each two layers, shaped like what it multiplies."""
        if masks is None:
            return
        if len(masks) != self.num_layers - 1:
            raise ValueError(f"dropout_masks must hold num_layers - 1 = {self.num_layers - 1} arrays, not {len(masks)}")
        shape = (*x.shape[:-1], self.widths[0] * (2 if self.bidirectional else 1))
        for mask in masks:
            if mask.shape != shape:
                raise ValueError(f"each of dropout_masks must have the shape {shape}, not {mask.shape}")

    def run_lengths(
        self,
        x: Array,
        parameters: Parameters,
        state: State,
        lengths: Sequence[int] | None,
        masks: Sequence[Array] | None,
    ) -> tuple[Array, State, Trace]:
        """Sequences of equal length together, each group as if the others were not there; zeros beyond their ends."""
        if lengths is None:
            return self.run_layers(x, parameters, state, masks)
        steps, batch = x.shape[0], x.shape[-2]
        if len(lengths) != batch or not all(0 <= length <= steps for length in lengths):
            raise ValueError(f"lengths must be {batch} numbers from 0 to {steps}, not {list(lengths)}")
        results = []
        for length in sorted(set(lengths)):
            rows = np.flatnonzero(np.equal(lengths, length))
            some = None if masks is None else [mask[:length, ..., rows, :] for mask in masks]
            alone = self.run_layers(x[:length, ..., rows, :], parameters, tuple(s[..., rows, :] for s in state), some)
            results.append((rows, alone))
        if not results:  # an empty batch
            return self.run_layers(x, parameters, state, masks)
        return _merge(results, steps, batch)

    def run_layers(
        self, x: Array, parameters: Parameters, state: State, masks: Sequence[Array] | None
    ) -> tuple[Array, State, Trace]:
        """Every layer on the output of the one below, its directions side by side."""
        trace: Trace = {}
        finals: list[State] = []
        names = lanes(self.num_layers, self.bidirectional)
        directions = len(names) // self.num_layers
        for layer in range(self.num_layers):
            if layer and masks is not None:
                x = x * masks[layer - 1]
            outputs = []
            for k in range(layer * directions, (layer + 1) * directions):
                reverse = names[k].endswith("_reverse")
                steps = x[::-1] if reverse else x
                output, final, gates = self.run_lane(steps, parameters, names[k], tuple(part[k] for part in state))
                outputs.append(output[::-1] if reverse else output)
                trace[names[k]] = {gate: values[::-1] if reverse else values for gate, values in gates.items()}
                finals.append(final)
            x = np.concatenate(outputs, axis=-1)
        return x, tuple(np.stack(parts) for parts in zip(*finals, strict=True)), trace

    def run_lane(self, x: Array, parameters: Parameters, lane: str, state: State) -> tuple[Array, State, Gates]:
        """One direction of one layer, over the steps in the order given."""
        b_ih = parameters[f"bias_ih_{lane}"] if self.bias else 0.0
        b_hh = parameters[f"bias_hh_{lane}"] if self.bias else 0.0
        recurrent = Recurrent(parameters[f"weight_hh_{lane}"], b_hh, parameters.get(f"weight_hr_{lane}"))
        products = x @ parameters[f"weight_ih_{lane}"].T + b_ih
        outputs, gates = [], []
        for product in products:
            state, gate = self.cell(product, state, recurrent)
            outputs.append(state[0])
            gates.append(gate | {"c": state[1]} if len(state) == 2 else gate)
        output = np.stack(outputs) if outputs else np.zeros_like(x, shape=(*x.shape[:-1], self.widths[0]))
        return output, state, {name: np.stack([gate[name] for gate in gates]) for name in gates[0]} if gates else {}


def _merge(results: Sequence[Any], steps: int, batch: int) -> tuple[Array, State, Trace]:
    """The results of groups of rows in one batch, with zeros beyond the ends."""

    def padded(parts: list[tuple[Array, Array]], rows: int) -> Array:
        first = parts[-1][1]
        whole = np.zeros_like(first, shape=(rows, *first.shape[1:-2], batch, first.shape[-1]))
        for index, part in parts:
            whole[: len(part), ..., index, :] = part
        return whole

    output = padded([(rows, alone[0]) for rows, alone in results], steps)
    width = len(results[-1][1][1])
    final = tuple(
        padded([(rows, alone[1][k]) for rows, alone in results], len(results[-1][1][1][k])) for k in range(width)
    )
    trace = {
        lane: {gate: padded([(r, a[2][lane][gate]) for r, a in results if a[2][lane]], steps) for gate in gates}
        for lane, gates in results[-1][1][2].items()
    }
    return output, final, trace
