"""What faults are made of: torch.nn's own kernel with something done around it, and a faithful one cut into steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

State = tuple[Tensor, ...]  # (h, c) for the LSTM and (h,) for the others


def each(change: Callable[[Tensor], Tensor], state: Any) -> Any:
    """A state, one tensor or a tuple of two, with each part changed; None stays None."""
    return state if state is None else tuple(map(change, state)) if isinstance(state, tuple) else change(state)


def on_data(change: Callable[[Tensor], Tensor], input: Any) -> Any:
    """An input or an output, packed or not, with its numbers changed."""
    return input._replace(data=change(input.data)) if isinstance(input, PackedSequence) else change(input)


class Around(nn.RNNBase):
    """torch.nn's own kernel, with something done to what it is given or to what it gives."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        """torch.nn's forward between `before` and `behind`."""
        output, state = super().forward(*self.before(input, hx))
        return self.behind(output, state)

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        """What torch.nn is given."""
        return input, hx

    def behind(self, output: Any, state: Any) -> Any:
        """What the caller is given."""
        return output, state


@dataclass(frozen=True)
class Call:
    """What one call of `forward` was given, next to its values."""

    sizes: list[int]  # how many sequences are still running at each step; all of them where there are no lengths
    batched: bool = True
    packed: PackedSequence | None = None

    @property
    def steps(self) -> int:
        """The number of time steps."""
        return len(self.sizes)

    @property
    def uneven(self) -> bool:
        """Whether some sequence is shorter than another."""
        return self.sizes[-1] < self.sizes[0]


@dataclass(frozen=True)
class Lane:
    """One direction of one layer, with its parameters."""

    layer: int
    reverse: bool
    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor | None
    b_hh: Tensor | None
    w_hr: Tensor | None

    def changed(self, change: Callable[[Tensor], Tensor]) -> Lane:
        """The lane with every parameter changed."""
        held = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **{name: change(value) for name, value in held.items()})


class Kernel(nn.RNNBase):
    """What the three cells share: the call, the layers, the directions and the loop over time."""

    @property
    def directions(self) -> int:
        """1, or 2 where bidirectional."""
        return 2 if self.bidirectional else 1

    # The call

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Run the stack as torch.nn does."""
        self._update_flat_weights()
        x, state, call = self.enter(input, hx)
        output, final = self.run(x, state, call)
        return self.leave(output, final, call)

    def enter(self, input: Any, hx: Any) -> tuple[Tensor, State, Call]:
        """Check the arguments; give the input as (step, row, feature) and the state as (lane, row, feature)."""
        state = None if hx is None else self.as_state(hx)
        if isinstance(input, PackedSequence):
            self.check_input(input.data, input.batch_sizes)
            x, _ = pad_packed_sequence(PackedSequence(input.data, input.batch_sizes))
            call = Call(input.batch_sizes.tolist(), packed=input)
        else:
            if input.dim() not in (2, 3):
                raise ValueError(f"{self.mode}: Expected input to be 2D or 3D, got {input.dim()}D instead")
            if state is not None and any(part.dim() != input.dim() for part in state):
                raise RuntimeError(f"For {input.dim()}-D input, hx should also be {input.dim()}-D")
            batched = input.dim() == 3
            if not batched:
                x = input.unsqueeze(1)
                state = state and tuple(part.unsqueeze(1) for part in state)
            else:
                x = input.transpose(0, 1) if self.batch_first else input
            self.check_input(x, None)
            call = Call([x.shape[1]] * x.shape[0], batched)
        if not call.steps:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        if state is None:
            return x, self.default_state(x), call
        self.check_state(x, state)
        return x, self.sort_state(state, call), call

    def leave(self, output: Tensor, final: State, call: Call) -> Any:
        """Give the results the form of the arguments."""
        if call.packed is not None:
            data = torch.cat([y[:size] for y, size in zip(output, call.sizes, strict=True)])
            result = PackedSequence(
                data, call.packed.batch_sizes, call.packed.sorted_indices, call.packed.unsorted_indices
            )
            return result, self.as_result(self.unsort_state(final, call))
        if not call.batched:
            return output.squeeze(1), self.as_result(tuple(part.squeeze(1) for part in final))
        return (output.transpose(0, 1) if self.batch_first else output), self.as_result(final)

    def as_state(self, hx: Any) -> State:
        """The state as a tuple, whatever the cell."""
        return (hx,)

    def as_result(self, state: State) -> Any:
        """The state as torch.nn returns it."""
        return state[0]

    def state_sizes(self) -> tuple[int, ...]:
        """The number of features of each part of the state."""
        return (self.hidden_size,)

    def default_state(self, x: Tensor) -> State:
        """Zeros."""
        lanes = self.num_layers * self.directions
        return tuple(x.new_zeros(lanes, x.shape[1], size) for size in self.state_sizes())

    def check_state(self, x: Tensor, state: State) -> None:
        """Refuse a state of another shape or dtype."""
        for part, size in zip(state, self.state_sizes(), strict=True):
            expected = (self.num_layers * self.directions, x.shape[1], size)
            if tuple(part.shape) != expected:
                raise RuntimeError(f"Expected hidden size {expected}, got {list(part.shape)}")
            if part.dtype != x.dtype:
                raise ValueError(f"state dtype ({part.dtype}) does not match input dtype ({x.dtype})")

    def sort_state(self, state: State, call: Call) -> State:
        """Bring the rows of the state into the order of the packed sequences."""
        order = None if call.packed is None else call.packed.sorted_indices
        return state if order is None else tuple(part.index_select(1, order) for part in state)

    def unsort_state(self, state: State, call: Call) -> State:
        """Bring them back."""
        order = None if call.packed is None else call.packed.unsorted_indices
        return state if order is None else tuple(part.index_select(1, order) for part in state)

    # The stack

    def run(self, x: Tensor, state: State, call: Call) -> tuple[Tensor, State]:
        """Every layer on the output of the one below."""
        finals: list[State] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(self.directions):
                output, final = self.scan(
                    x, self.pick_state(state, layer, direction), self.lane(layer, direction), call
                )
                outputs.append(output)
                finals.append(final)
            x = self.join(outputs)
            if layer < self.num_layers - 1:
                x = self.drop(x, layer)
        return x, self.gather(finals)

    def lane(self, layer: int, direction: int) -> Lane:
        """The parameters of one direction of one layer."""
        tail = f"_l{layer}" + ("_reverse" if direction else "")

        def get(name: str) -> Any:
            return getattr(self, name + tail, None)

        return Lane(
            layer, bool(direction), get("weight_ih"), get("weight_hh"), get("bias_ih"), get("bias_hh"), get("weight_hr")
        )

    def pick_state(self, state: State, layer: int, direction: int) -> State:
        """The initial state of one lane."""
        return tuple(part[layer * self.directions + direction] for part in state)

    def join(self, outputs: Sequence[Tensor]) -> Tensor:
        """Both directions side by side."""
        return torch.cat(list(outputs), -1) if len(outputs) > 1 else outputs[0]

    def gather(self, finals: Sequence[State]) -> State:
        """The final states of all lanes, one after another."""
        return tuple(torch.stack(parts) for parts in zip(*finals, strict=True))

    def drop(self, x: Tensor, layer: int) -> Tensor:
        """Dropout between two layers."""
        return nn.functional.dropout(x, self.dropout, self.training)

    # The loop

    def scan(self, x: Tensor, state: State, lane: Lane, call: Call) -> tuple[Tensor, State]:
        """One direction of one layer over all steps: its outputs and its final state."""
        product = self.project_input(x, lane).unbind(0)
        outputs: list[Tensor] = [x] * call.steps
        for taken, t in enumerate(self.order(lane, call)):
            size = call.sizes[t]
            rows = tuple(part[:size] for part in state)
            new = self.after(taken, self.step(t, product[t][:size], rows, lane))
            outputs[t] = self.fill(new[0], call)
            state = tuple(self.keep(a, b) for a, b in zip(new, state, strict=True))
        return torch.stack(outputs), state

    def order(self, lane: Lane, call: Call) -> Iterable[int]:
        """The steps in the order in which they are taken. Backwards, a shorter sequence joins at its own end."""
        return range(call.steps - 1, -1, -1) if lane.reverse else range(call.steps)

    def after(self, taken: int, new: State) -> State:
        """The state after a step, before which so many were taken."""
        return new

    def keep(self, new: Tensor, old: Tensor) -> Tensor:
        """Rows that are not running keep their state."""
        return new if len(new) == len(old) else torch.cat((new, old[len(new) :]))

    def fill(self, h: Tensor, call: Call) -> Tensor:
        """The output of one step, with zeros for the rows that are not running."""
        missing = call.sizes[0] - len(h)
        return h if not missing else torch.cat((h, h.new_zeros(missing, h.shape[1])))

    # The arithmetic

    def matmul(self, x: Tensor, w: Tensor) -> Tensor:
        """Every product of the kernel."""
        return x @ w.mT

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        """The products of all steps' inputs at once."""
        product = self.matmul(x, lane.w_ih)
        return product if lane.b_ih is None else product + lane.b_ih

    def project_state(self, h: Tensor, lane: Lane) -> Tensor:
        """The recurrent product."""
        product = self.matmul(h, lane.w_hh)
        return product if lane.b_hh is None else product + lane.b_hh

    def sigmoid(self, x: Tensor) -> Tensor:
        """Every sigmoid of the kernel."""
        return torch.sigmoid(x)

    def tanh(self, x: Tensor) -> Tensor:
        """Every tanh of the kernel."""
        return torch.tanh(x)

    def relu(self, x: Tensor) -> Tensor:
        """Every relu of the kernel."""
        return torch.relu(x)

    def step(self, t: int, gx: Tensor, state: State, lane: Lane) -> State:
        """The cell: the new state, of which the first part is the output."""
        raise NotImplementedError


class LSTM(Kernel, nn.LSTM):
    """torch.nn.LSTM over plain operations."""

    def as_state(self, hx: Any) -> State:
        h, c = hx
        return h, c

    def as_result(self, state: State) -> Any:
        return state

    def state_sizes(self) -> tuple[int, ...]:
        return self.proj_size or self.hidden_size, self.hidden_size

    def step(self, t: int, gx: Tensor, state: State, lane: Lane) -> State:
        h, c = state
        i, f, g, o = self.gates(gx, self.project_state(h, lane))
        c = self.combine(i, f, g, c)
        return self.project(self.emit(o, c), lane), c

    def gates(self, gx: Tensor, gh: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Input gate, forget gate, candidate, output gate."""
        i, f, g, o = (gx + gh).chunk(4, -1)
        return self.sigmoid(i), self.sigmoid(f), self.tanh(g), self.sigmoid(o)

    def combine(self, i: Tensor, f: Tensor, g: Tensor, c: Tensor) -> Tensor:
        """The new cell state."""
        return f * c + i * g

    def emit(self, o: Tensor, c: Tensor) -> Tensor:
        """The new hidden state."""
        return o * self.tanh(c)

    def project(self, h: Tensor, lane: Lane) -> Tensor:
        """The projection, where there is one."""
        return h if lane.w_hr is None else self.matmul(h, lane.w_hr)


class GRU(Kernel, nn.GRU):
    """torch.nn.GRU over plain operations."""

    def step(self, t: int, gx: Tensor, state: State, lane: Lane) -> State:
        (h,) = state
        _, z, n = self.gates(gx, self.project_state(h, lane), h, lane)
        return (self.mix(z, n, h),)

    def gates(self, gx: Tensor, gh: Tensor, h: Tensor, lane: Lane) -> tuple[Tensor, Tensor, Tensor]:
        """Reset gate, update gate, candidate."""
        xr, xz, xn = gx.chunk(3, -1)
        hr, hz, hn = gh.chunk(3, -1)
        r = self.sigmoid(xr + hr)
        return r, self.sigmoid(xz + hz), self.tanh(xn + r * hn)

    def mix(self, z: Tensor, n: Tensor, h: Tensor) -> Tensor:
        """The new state between the candidate and the old one."""
        return (1 - z) * n + z * h


class RNN(Kernel, nn.RNN):
    """torch.nn.RNN over plain operations."""

    def step(self, t: int, gx: Tensor, state: State, lane: Lane) -> State:
        a = gx + self.project_state(state[0], lane)
        return (self.relu(a) if self.nonlinearity == "relu" else self.tanh(a),)
