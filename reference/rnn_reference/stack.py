"""Stacks: layers, directions, lengths and dropout around the cells.

Within this file arrays are time-major: input and output (steps, ..., batch, features), states (lanes, ..., batch,
features). A lane is one direction of one layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from rnn_reference import cells
from rnn_reference.activations import activations_of
from rnn_reference.cells import Array, Cell, Gates, Recurrent, State
from rnn_reference.directions import join, joined_size
from rnn_reference.layout import Groups, Layout, groups_by_length, merged, part_of
from rnn_reference.parameters import lanes, parameter_shapes, verify, verify_array

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
    recurrent_bias: str = "all",
    peepholes: bool = False,
    clip: float = 0.0,
    input_forget: bool = False,
    forget_bias: float = 0.0,
    activations: str = "",
    merge_mode: str = "concat",
    lengths: Sequence[int] | None = None,
    dropout_masks: Sequence[Array] | None = None,
    return_gates: bool = False,
) -> Any:
    """A stack of LSTM layers.

    With D = 2 where bidirectional and 1 elsewhere, P = proj_size or hidden_size (output's D is 1 too where merge_mode
    joins directions otherwise than by 'concat'):

    Args:
        input: (T, B, input_size), or (B, T, input_size) where batch_first, or unbatched (T, input_size), of a NumPy
            floating-point dtype. Further axes between T and B are carried along.
        parameters: by torch.nn.LSTM's names, of the shapes that `parameter_shapes` gives and of input's dtype.
        recurrent_bias, peepholes: which parameters there are besides torch.nn's; see `parameter_shapes`.
        clip, input_forget, forget_bias: see `cells.extended_lstm_cell`.
        activations: three of `activations.ACTIVATIONS`, with spaces between: of the gates, of the candidate, and of c
            on its way into h; '' for 'sigmoid tanh tanh'.
        merge_mode: how two directions become the output of a layer: 'concat', 'sum', 'mul' or 'ave'; see `directions`.
        hx: (h_0, c_0) of shapes (D·num_layers, B, P) and (D·num_layers, B, hidden_size), without B where input has
            none; zeros where left out.
        lengths: the length of each sequence, 0 to T. Each is treated as if alone: the reverse direction starts at its
            own end, its final state is that after its own last step, and the output is zero beyond it.
        dropout_masks: num_layers - 1 arrays (T, B, D·P) of input's dtype, time-major whatever input's layout is, with
            B = 1 where input is unbatched. The output of layer k is multiplied by mask k before layer k + 1 sees it.
        return_gates: give the gates too.

    Returns:
        output (T, B, D·P) in input's layout, (h_n, c_n) shaped like hx, and, where return_gates, what each lane saw
        and did at each step, as {lane: {name: (T, B, features)}}, time-major. Lanes are l0, l0_reverse, l1, ...; names
        are x (the lane's input), h and c (its states after the step) and the gates i, f, g, o. There are none where
        no sequence has a step.

    Raises:
        ValueError: for shapes, names, dtypes or lengths other than these.

    Source: torch.nn.LSTM's page; see `cells` for the equations.
    """
    shapes = (hidden_size, num_layers, bias, bidirectional, proj_size, recurrent_bias, peepholes)
    stack = lstm_stack(input, *shapes, clip, input_forget, forget_bias, activations, merge_mode)
    return stack.call(input, parameters, hx, batch_first, lengths, dropout_masks, return_gates)


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
    recurrent_bias: str = "all",
    clip: float = 0.0,
    activations: str = "",
    merge_mode: str = "concat",
    lengths: Sequence[int] | None = None,
    dropout_masks: Sequence[Array] | None = None,
    return_gates: bool = False,
) -> Any:
    """A stack of GRU layers.

    Arguments, results and errors are those of `lstm`, with hx and the second result the hidden state alone. Gates are
    r, z and n, and where reset_after m, the recurrent product that the reset gate multiplies.

    Args:
        reset_after: True for torch.nn.GRU (the reset gate acts after the recurrent product), False for the original
            of Cho et al. 2014 (before it).
        clip: see `cells.gru_cell`.
        activations: two of `activations.ACTIVATIONS`, of the gates and of the candidate; '' for 'sigmoid tanh'.
    """
    shapes = (hidden_size, num_layers, bias, bidirectional, reset_after, recurrent_bias)
    stack = gru_stack(input, *shapes, clip, activations, merge_mode)
    return stack.call(input, parameters, hx, batch_first, lengths, dropout_masks, return_gates)


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
    recurrent_bias: str = "all",
    clip: float = 0.0,
    activations: str = "",
    merge_mode: str = "concat",
    residual: bool = False,
    lengths: Sequence[int] | None = None,
    dropout_masks: Sequence[Array] | None = None,
    return_gates: bool = False,
) -> Any:
    """A stack of Elman RNN layers.

    Arguments, results and errors are those of `lstm`, with hx and the second result the hidden state alone. There are
    no gates.

    Args:
        nonlinearity: 'tanh' or 'relu'.
        activations: one of `activations.ACTIVATIONS`, in place of nonlinearity; '' for that.
        residual: whether the state before is added to what enters the nonlinearity; see `cells.residual_rnn_cell`.
    """
    shapes = (hidden_size, num_layers, nonlinearity, bias, bidirectional, recurrent_bias)
    stack = rnn_stack(input, *shapes, clip, activations, merge_mode, residual)
    return stack.call(input, parameters, hx, batch_first, lengths, dropout_masks, return_gates)


def lstm_stack(
    input: Array,
    hidden_size: int,
    num_layers: int,
    bias: bool,
    bidirectional: bool,
    proj_size: int,
    recurrent_bias: str = "all",
    peepholes: bool = False,
    clip: float = 0.0,
    input_forget: bool = False,
    forget_bias: float = 0.0,
    activations: str = "",
    merge_mode: str = "concat",
) -> "Stack":
    """The stack of `lstm`."""
    sizes = (_features(input), hidden_size, num_layers, bias, bidirectional, proj_size)
    shapes = parameter_shapes("lstm", *sizes, recurrent_bias, peepholes, merge_mode)
    cell = cells.LSTM
    if peepholes or clip or input_forget or forget_bias:
        step = partial(cells.extended_lstm_cell, clip=clip, input_forget=input_forget, forget_bias=forget_bias)
        backward = cells.no_derivative if peepholes or clip or input_forget else cells.lstm_cell_backward
        cell = Cell(step, backward)
    widths = (proj_size or hidden_size, hidden_size)
    return Stack(_acting(cell, "lstm", activations), shapes, num_layers, bidirectional, widths, merge_mode)


def gru_stack(
    input: Array,
    hidden_size: int,
    num_layers: int,
    bias: bool,
    bidirectional: bool,
    reset_after: bool,
    recurrent_bias: str = "all",
    clip: float = 0.0,
    activations: str = "",
    merge_mode: str = "concat",
) -> "Stack":
    """The stack of `gru`."""
    sizes = (_features(input), hidden_size, num_layers, bias, bidirectional)
    shapes = parameter_shapes("gru", *sizes, recurrent_bias=recurrent_bias, merge_mode=merge_mode)
    cell = _acting(cells.GRU if reset_after else cells.GRU_RESET_BEFORE, "gru", activations)
    return Stack(_clipping(cell, clip), shapes, num_layers, bidirectional, (hidden_size,), merge_mode)


def rnn_stack(
    input: Array,
    hidden_size: int,
    num_layers: int,
    nonlinearity: str,
    bias: bool,
    bidirectional: bool,
    recurrent_bias: str = "all",
    clip: float = 0.0,
    activations: str = "",
    merge_mode: str = "concat",
    residual: bool = False,
) -> "Stack":
    """The stack of `rnn`."""
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"nonlinearity must be 'tanh' or 'relu', not {nonlinearity!r}")
    sizes = (_features(input), hidden_size, num_layers, bias, bidirectional)
    shapes = parameter_shapes("rnn", *sizes, recurrent_bias=recurrent_bias, merge_mode=merge_mode)
    cell = _acting(cells.RESIDUAL_RNN if residual else cells.RNN, "rnn", activations or nonlinearity)
    return Stack(_clipping(cell, clip), shapes, num_layers, bidirectional, (hidden_size,), merge_mode)


def _acting(cell: Cell, kind: str, activations: str) -> Cell:
    """The cell with these functions in place of its own."""
    if not activations:
        return cell
    act = activations_of(kind, activations)
    return Cell(partial(cell.step, act=act), partial(cell.backward, act=act))


def _clipping(cell: Cell, clip: float) -> Cell:
    return Cell(partial(cell.step, clip=clip), cells.no_derivative) if clip else cell


def _features(input: Array) -> int:
    if input.ndim < 2:
        raise ValueError(f"input must be (steps, batch, features) or (steps, features), not {input.shape}")
    if not np.issubdtype(input.dtype, np.floating):
        raise ValueError(f"input must hold floating-point numbers, not {input.dtype}")
    return int(input.shape[-1])


@dataclass(frozen=True)
class Stack:
    """Layers of one kind of cell."""

    cell: Cell
    shapes: Mapping[str, tuple[int, ...]]  # of the parameters
    num_layers: int
    bidirectional: bool
    widths: tuple[int, ...]  # features of each part of the state: h, and c for the LSTM
    merge_mode: str

    @property
    def lanes(self) -> list[str]:
        """Their names, in the order of the states."""
        return lanes(self.num_layers, self.bidirectional)

    @property
    def directions(self) -> int:
        """2 where bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """The features of every layer's output."""
        return joined_size(self.widths[0], self.bidirectional, self.merge_mode)

    def call(
        self,
        input: Array,
        parameters: Parameters,
        hx: Any,
        batch_first: bool,
        lengths: Sequence[int] | None,
        masks: Sequence[Array] | None,
        return_gates: bool,
    ) -> Any:
        """Check the arguments, bring them into time-major form, run, and give the results input's form."""
        layout, x, state, groups = self.prepare(input, parameters, hx, batch_first, lengths, masks)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            output, final, trace = self.run_groups(x, state, masks, parameters, groups, return_gates)
        output, final = layout.outward(output), tuple(layout.outward_state(part) for part in final)
        result = final[0] if len(final) == 1 else final
        return (output, result, trace) if return_gates else (output, result)

    def prepare(
        self,
        input: Array,
        parameters: Parameters,
        hx: Any,
        batch_first: bool,
        lengths: Sequence[int] | None,
        masks: Sequence[Array] | None,
    ) -> tuple[Layout, Array, State, Groups]:
        """The caller's layout; input and state, verified, in the inner one; the rows of each length."""
        verify(parameters, self.shapes, input.dtype)
        layout = Layout(input.ndim == 2, batch_first)
        x = layout.inward(input)
        if masks is not None and len(masks) != self.num_layers - 1:
            raise ValueError(f"dropout_masks must hold num_layers - 1 = {self.num_layers - 1} arrays, not {len(masks)}")
        for k, mask in enumerate(() if masks is None else masks):
            verify_array(f"dropout_masks[{k}]", mask, (*x.shape[:-1], self.output_size), x.dtype)
        return layout, x, self.state("hx", ("h_0", "c_0"), hx, x, layout), groups_by_length(lengths, x, layout)

    def state(self, argument: str, names: tuple[str, str], value: Any, x: Array, layout: Layout) -> State:
        """The state given as an argument, verified, as a tuple of batched arrays; zeros where it is None."""
        shapes = [(len(self.lanes), *x.shape[1:-1], width) for width in self.widths]
        if value is None:
            return tuple(np.zeros_like(x, shape=shape) for shape in shapes)
        parts = value if isinstance(value, tuple) else (value,)
        if len(parts) != len(shapes):
            wanted = f"({', '.join(names)})" if len(shapes) == 2 else "one array"
            raise ValueError(f"{argument} must be {wanted}, not {len(parts)} array{'s' * (len(parts) != 1)}")
        state = tuple(map(layout.inward_state, parts))
        for name, part, shape in zip(names, state, shapes, strict=False):
            verify_array(name, part, shape, x.dtype)
        return state

    def run_groups(
        self,
        x: Array,
        state: State,
        masks: Sequence[Array] | None,
        parameters: Parameters,
        groups: Groups,
        traced: bool,
    ) -> tuple[Array, State, Trace]:
        """Each group of rows as if the others were not there; zeros beyond their ends."""
        rows = [rows for _, rows in groups]
        alone = [self.run_layers(*part_of(group, x, state, masks), parameters, traced) for group in groups]
        outputs, finals, traces = zip(*alone, strict=True)
        steps, batch = x.shape[0], x.shape[-2]
        output = merged(rows, outputs, steps, batch)
        final = tuple(merged(rows, parts, len(self.lanes), batch) for parts in zip(*finals, strict=True))
        trace = {
            lane: {name: merged(rows, [t[lane].get(name) for t in traces], steps, batch) for name in names}
            for lane, names in traces[-1].items()
        }
        return output, final, trace

    def run_layers(
        self, x: Array, state: State, masks: Sequence[Array] | None, parameters: Parameters, traced: bool
    ) -> tuple[Array, State, Trace]:
        """Every layer on the output of the one below, its directions side by side."""
        trace: Trace = {}
        finals: list[State] = []
        for layer in range(self.num_layers):
            if layer and masks is not None:
                x = x * masks[layer - 1]
            outputs = []
            for k, lane in self.lanes_of(layer):
                at = order(lane)
                output, final, gates = self.run_lane(x[at], parameters, lane, tuple(part[k] for part in state), traced)
                outputs.append(output[at])
                trace[lane] = {name: values[at] for name, values in gates.items()}
                finals.append(final)
            x = join(outputs, self.merge_mode)
        return x, tuple(np.stack(parts) for parts in zip(*finals, strict=True)), trace

    def run_lane(
        self, x: Array, parameters: Parameters, lane: str, state: State, traced: bool
    ) -> tuple[Array, State, Gates]:
        """One direction of one layer, over the steps in the order given."""
        recurrent = recurrent_of(parameters, lane)
        products = x @ parameters[f"weight_ih_{lane}"].T + parameters.get(f"bias_ih_{lane}", 0.0)
        done: list[Gates] = []
        for product in products:
            state, gates = self.cell.step(product, state, recurrent)
            done.append(dict(zip("hc", state, strict=False)) | gates)
        if not done:
            return np.zeros_like(x, shape=(*x.shape[:-1], self.widths[0])), state, {}
        output = np.stack([step["h"] for step in done])
        if not traced:
            return output, state, {}
        return output, state, {"x": x} | {name: np.stack([step[name] for step in done]) for name in done[0]}

    def lanes_of(self, layer: int) -> list[tuple[int, str]]:
        """The lanes of one layer, numbered."""
        return list(enumerate(self.lanes))[layer * self.directions : (layer + 1) * self.directions]


def order(lane: str) -> slice:
    """The steps of a sequence in the order in which a lane takes them, and back again."""
    return slice(None, None, -1 if lane.endswith("_reverse") else 1)


def recurrent_of(parameters: Parameters, lane: str) -> Recurrent:
    """The recurrent parameters of a lane."""
    w_hh, b_hh = parameters[f"weight_hh_{lane}"], parameters.get(f"bias_hh_{lane}", 0.0)
    if not isinstance(b_hh, float) and len(b_hh) < len(w_hh):  # the candidate's alone
        b_hh = np.concatenate([np.zeros_like(b_hh, shape=len(w_hh) - len(b_hh)), b_hh])
    return Recurrent(w_hh, b_hh, parameters.get(f"weight_hr_{lane}"), parameters.get(f"peephole_{lane}"))
