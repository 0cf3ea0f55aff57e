"""What shows, without the suite, that a module of the zoo is wrong: one situation, with torch.nn in it and with it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from .zoo import CELLS, Fault

Seen = list[Any]  # tensors, and words for what is no tensor
ROUNDINGS = 30  # units in the last place by which correct kernels may differ here
SEVERAL = ((6, 2, False), (2, 5, True), (6, 2, True), (6, 2, False), (2, 2, False))  # calls: steps, rows, a state


@dataclass(frozen=True)
class Situation:
    """One layer and one call, small, and what is special about it."""

    input_size: int = 3
    hidden_size: int = 5
    num_layers: int = 1
    bias: bool = True
    batch_first: bool = False
    bidirectional: bool = False
    proj_size: int = 0
    dropout: float = 0.0
    nonlinearity: str = ""
    steps: int = 6
    batch: int = 3
    unbatched: bool = False
    lengths: tuple[int, ...] = ()
    hx: bool = False
    state_scale: float = 1.0
    zero_state: int | None = None  # the part of the state that is zeros
    dtype: str = "float32"
    scale: float = 1.0  # of the weights
    values: float | None = None  # of every input, where they are not drawn
    plant: float | None = None  # one element of the input
    zero_step: bool = False
    wrong: str = ""

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments that are not at their defaults."""
        names = [field.name for field in fields(self)][: [field.name for field in fields(self)].index("steps")]
        default = Situation()
        given = {name: getattr(self, name) for name in names if getattr(self, name) != getattr(default, name)}
        return {"input_size": self.input_size, "hidden_size": self.hidden_size} | given

    def module(self, cls: type[nn.RNNBase]) -> nn.RNNBase:
        """A module with weights that follow from the situation alone."""
        module = cls(**self.arguments()).to(getattr(torch, self.dtype)).eval()
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for _, parameter in sorted(module.named_parameters()):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5 * self.scale)
        return module

    def input(self, steps: int | None = None, batch: int | None = None, seed: int = 8) -> Any:
        """Input for a call."""
        steps, batch = self.steps if steps is None else steps, self.batch if batch is None else batch
        x = torch.randn(steps, batch, self.input_size, generator=torch.Generator().manual_seed(seed))
        x = x.to(getattr(torch, self.dtype))
        if self.values is not None:
            x = torch.sign(x) * self.values
        if self.plant is not None:
            x[steps // 2, 1, 0] = self.plant
        if self.zero_step:
            x[steps // 2] = 0
        if self.lengths:
            return pack_padded_sequence(x, list(self.lengths), enforce_sorted=False)
        if self.unbatched:
            return x[:, 0]
        return x.transpose(0, 1).contiguous() if self.batch_first else x

    def state(self, module: nn.RNNBase, batch: int | None = None) -> Any:
        """An initial state, where the situation has one."""
        if not self.hx:
            return None
        lanes = self.num_layers * (2 if self.bidirectional else 1)
        rows = () if self.unbatched else (self.batch if batch is None else batch,)
        generator = torch.Generator().manual_seed(9)
        sizes = [self.proj_size or self.hidden_size, self.hidden_size]
        parts = [torch.randn(lanes, *rows, size, generator=generator).to(getattr(torch, self.dtype)) for size in sizes]
        parts = [part * (0 if k == self.zero_state else self.state_scale) for k, part in enumerate(parts)]
        return (parts[0], parts[1]) if isinstance(module, nn.LSTM) else parts[0]


def tensors(results: Any) -> Iterator[Any]:
    """The tensors of nested results, in order, and words for their nesting."""
    if isinstance(results, PackedSequence):
        yield from (*pad_packed_sequence(results), "packed")
    elif isinstance(results, tuple):
        yield f"tuple of {len(results)}"
        for part in results:
            yield from tensors(part)
    else:
        yield results if isinstance(results, Tensor) else type(results).__name__


def called(module: nn.RNNBase, x: Any, hx: Any) -> Any:
    """One call, with the state only where there is one."""
    return module(x) if hx is None else module(x, hx)


def forward(cls: type[nn.RNNBase], at: Situation) -> Seen:
    module = at.module(cls)
    with torch.no_grad():
        return list(tensors(called(module, at.input(), at.state(module))))


def layout(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """Input and state at an offset and with gaps."""
    module = at.module(cls)

    def spread(x: Tensor) -> Tensor:
        return torch.stack((torch.full_like(x, torch.nan), x), -1)[..., 1]

    hx = at.state(module)
    hx = tuple(map(spread, hx)) if isinstance(hx, tuple) else hx if hx is None else spread(hx)
    with torch.no_grad():
        return list(tensors(called(module, spread(at.input()), hx)))


def transposed(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """Input without gaps, its axes in reverse order in memory."""
    x = at.input()
    with torch.no_grad():
        return list(tensors(at.module(cls)(x.permute(2, 1, 0).contiguous().permute(2, 1, 0))))


def relaid(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """Weights that are transposed views."""
    module = at.module(cls)
    for parameter in module.parameters():
        if parameter.dim() == 2:
            parameter.data = parameter.data.mT.contiguous().mT
    with torch.no_grad():
        return list(tensors(called(module, at.input(), at.state(module))))


def expanded(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """Rows of input that share memory, each with a state of its own."""
    module = at.module(cls)
    with torch.no_grad():
        return list(tensors(called(module, at.input()[:, :1].expand(-1, at.batch, -1), at.state(module))))


def overwritten(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """The same input and state, after other numbers were written into them."""
    module = at.module(cls)
    x, hx = at.input(), at.state(module)
    with torch.no_grad():
        called(module, x, hx)
        for part in (x, *(hx if isinstance(hx, tuple) else (hx,))):
            if part is not None:
                part.neg_()
        return list(tensors(called(module, x, hx)))


def other_lengths(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """A call with lengths, and another with their shorter ones all 1."""
    module = at.module(cls)
    with torch.no_grad():
        ones = tuple(length if length == max(at.lengths) else 1 for length in at.lengths)
        return [part for some in (at, replace(at, lengths=ones)) for part in tensors(module(some.input()))]


def calls(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """Several calls, of other sizes too; then all results, inputs, states and weights as they are in the end."""
    module, held = at.module(cls), []
    with torch.no_grad():
        for k, (steps, batch, hx) in enumerate(SEVERAL):
            x = at.input(steps, batch, seed=k)
            state = replace(at, hx=at.hx or hx).state(module, batch)
            held += [x, *tensors(state), *tensors(called(module, x, state))]
    return [*held, *(parameter.detach() for parameter in module.parameters())]


def written_into(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """The output, after zeros were written into the final state."""
    with torch.no_grad():
        output, state = at.module(cls)(at.input())
        for part in state if isinstance(state, tuple) else (state,):
            part.zero_()
        return list(tensors(output))


def repeated(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """Whether the same call gives the same bits."""
    module = at.module(cls)
    with torch.no_grad():
        return [f"{torch.equal(module(at.input())[0], module(at.input())[0])}"]


def new_weights(cls: type[nn.RNNBase], at: Situation) -> Seen:
    module = at.module(cls)
    with torch.no_grad():
        called(module, at.input(), at.state(module))
        for parameter in module.parameters():
            parameter.mul_(-0.5)
        return list(tensors(called(module, at.input(), at.state(module))))


def some_weights(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """New biases, and all other weights as they were."""
    module = at.module(cls)
    with torch.no_grad():
        module(at.input())
        for name, parameter in module.named_parameters():
            if name.startswith("bias"):
                parameter.mul_(-0.5)
        return list(tensors(module(at.input())))


def zero_recurrent_weights(cls: type[nn.RNNBase], at: Situation) -> Seen:
    module = at.module(cls)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.startswith("weight_hh"):
                parameter.zero_()
        return list(tensors(module(at.input())))


def bias_and_none(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """A module without biases, then one with them."""
    return forward(cls, replace(at, bias=False)) + forward(cls, at)


def two_layers(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """A second module of the same sizes and other weights."""
    return forward(cls, at) + forward(cls, replace(at, scale=-at.scale))


def handed_on(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """Two calls, the second from the state of the first."""
    module = at.module(cls)
    with torch.no_grad():
        _, state = called(module, at.input(), at.state(module))
        return list(tensors(module(at.input(seed=10), state)))


def threads(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """Calls from two threads at once, each on an input of its own."""
    module = at.module(cls)

    def several(seed: int) -> Seen:
        with torch.no_grad():
            return [part for _ in range(20) for part in tensors(module(at.input(seed=seed)))]

    with ThreadPoolExecutor(2) as pool:
        return [part for seen in pool.map(several, (8, 11)) for part in seen]


def copied(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """A deep copy, after the original's weights were zeroed."""
    module = at.module(cls)
    twin = deepcopy(module)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        return list(tensors(twin(at.input())))


def training(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """Two calls in training, the generator seeded before: a module that drops as torch.nn does gives the same."""
    module = at.module(cls).train()
    torch.manual_seed(1)
    with torch.no_grad():
        return [part for _ in range(2) for part in tensors(module(at.input()))]


def evaluation(cls: type[nn.RNNBase], at: Situation) -> Seen:
    return forward(cls, at)


def modes(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """Eval after training."""
    module = at.module(cls).train()
    with torch.no_grad():
        module(at.input())
        return list(tensors(module.eval()(at.input())))


def modes_back(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """Training after eval, the generator seeded between."""
    module = at.module(cls)
    with torch.no_grad():
        module(at.input())
        torch.manual_seed(1)
        return list(tensors(module.train()(at.input())))


def gradients(
    cls: type[nn.RNNBase],
    at: Situation,
    times: int = 1,
    freeze: str | tuple[str, ...] = "",
    weights: tuple[float, ...] = (1.0, 0.7, 0.4),
) -> Seen:
    """Results, and the gradients of a loss over output, h_n and c_n by input, state and parameters."""
    module = at.module(cls).train()
    hx = at.state(module)
    parts = [part.requires_grad_() for part in (hx if isinstance(hx, tuple) else (hx,)) if part is not None]
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(not freeze or not name.startswith(freeze))
    x = at.input()
    leaf = (x.data if isinstance(x, PackedSequence) else x).requires_grad_("input" not in freeze)
    for _ in range(times):
        given = x._replace(data=leaf) if isinstance(x, PackedSequence) else leaf
        results = [
            part for part in tensors(called(module, given, hx)) if isinstance(part, Tensor) and part.requires_grad
        ]
        wave = [torch.cos(torch.arange(part.numel(), dtype=part.dtype)).view_as(part) for part in results]
        sum(w * (part * k).sum() for w, part, k in zip(weights, results, wave, strict=False)).backward()  # type: ignore[union-attr]
    found = [leaf.grad, *(part.grad for part in parts), *(p.grad for _, p in sorted(module.named_parameters()))]
    shown = [part.detach() for part in results]
    return [*shown, *("none" if gradient is None else gradient for gradient in found)]


def differentiated_twice(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """The gradients by parameters of a second backward through a graph that was retained."""
    module = at.module(cls).train()
    loss = module(at.input())[0].square().sum()
    loss.backward(retain_graph=True)
    module.zero_grad()
    loss.backward()
    return [parameter.grad for _, parameter in sorted(module.named_parameters())]


def differentiated_late(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """The gradients by parameters of a call, after which there was another."""
    module = at.module(cls).train()
    loss = module(at.input())[0].square().sum()
    module(at.input(seed=10))
    loss.backward()
    return [parameter.grad for _, parameter in sorted(module.named_parameters())]


def nan_gradient(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """Where the gradients are NaN that come of NaN in the gradient by one row's last output."""
    module, x = at.module(cls).train(), at.input().requires_grad_()
    output, _ = module(x)
    gradient = torch.ones_like(output)
    gradient[-1, 0] = torch.nan
    output.backward(gradient)
    return [leaf.grad.isnan().float() for leaf in (x, *module.parameters()) if leaf.grad is not None]


def differentiated_in_eval(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """The gradients by parameters in eval."""
    module = at.module(cls).eval()
    output, _ = module(at.input())
    (output.square().sum() + sum(parameter.sum() for parameter in module.parameters())).backward()
    return [parameter.grad for _, parameter in sorted(module.named_parameters())]


def accumulated(cls: type[nn.RNNBase], at: Situation) -> Seen:
    return gradients(cls, at, times=2)


def frozen(cls: type[nn.RNNBase], at: Situation) -> Seen:
    return gradients(cls, at, freeze="weight_hh")


def all_frozen(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """No parameter wants a gradient."""
    return gradients(cls, at, freeze=("weight", "bias"))


def input_frozen(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """The input wants no gradient."""
    return gradients(cls, at, freeze=("input",))


def large_loss(cls: type[nn.RNNBase], at: Situation) -> Seen:
    return gradients(cls, at, weights=(4096.0, 2048.0, 1024.0))


def small_loss(cls: type[nn.RNNBase], at: Situation) -> Seen:
    return gradients(cls, at, weights=(2.0**-20, 2.0**-21, 2.0**-22))


def dropout_gradients(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """Gradients in training, the generator seeded before; a module with masks of its own differs already there."""
    torch.manual_seed(1)
    return gradients(cls, at)


def strided_upstream(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """Gradients where that of the output has gaps."""
    module = at.module(cls).train()
    output, _ = module(at.input())
    wave = torch.cos(torch.arange(2 * output.numel(), dtype=output.dtype)).view(*output.shape, 2)
    output.backward(wave[..., 0])
    return [parameter.grad for _, parameter in sorted(module.named_parameters())]


def cell_gradient(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """c_n alone in the loss."""
    return gradients(cls, at, weights=(0.0, 0.0, 1.0))


def misuse(at: Situation, x: Any, hx: Any) -> tuple[Any, Any]:
    """Arguments that are wrong in the way that the situation names."""

    def part(change: Callable[[Tensor], Tensor]) -> Any:
        return tuple(map(change, hx)) if isinstance(hx, tuple) else change(hx)

    def data(change: Callable[[Tensor], Tensor]) -> Any:
        return x._replace(data=change(x.data)) if isinstance(x, PackedSequence) else change(x)

    changed: dict[str, Callable[[], tuple[Any, Any]]] = {
        "features": lambda: (data(lambda a: torch.cat((a, a[..., :1]), -1)), hx),
        "fewer features": lambda: (data(lambda a: a[..., :-1]), hx),
        "fewer lanes": lambda: (x, part(lambda a: a[:-1])),
        "fewer rows": lambda: (x, part(lambda a: a[:, :-1])),
        "dtype": lambda: (data(Tensor.double), hx),
        "integers": lambda: (data(Tensor.long), hx),
        "axes": lambda: (x.unsqueeze(0), hx),
        "no steps": lambda: (x[:0], hx),
        "rows": lambda: (x, part(lambda a: torch.cat((a, a[:, :1]), 1))),
        "one row": lambda: (x, part(lambda a: a[:, :1])),
        "lanes": lambda: (x, part(lambda a: torch.cat((a, a[:1])))),
        "state axes": lambda: (x, part(lambda a: a[:, 0])),
        "three states": lambda: (x, (*hx, hx[0])),
        "h_0 alone": lambda: (x, hx[0]),
    }
    return changed[at.wrong]()


def wrong(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """A call that torch.nn refuses."""
    module = at.module(cls)
    x, hx = misuse(at, at.input(), at.state(module))
    with torch.no_grad():
        called(module, x, hx)
    return ["taken"]


def recovery(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """A right call after a wrong one."""
    at = replace(at, hx=True, wrong="features")
    module = at.module(cls)
    hx = at.state(module)
    with torch.no_grad():
        with contextlib.suppress(Exception):
            called(module, *misuse(at, at.input(), hx))
        return list(tensors(module(at.input(), hx)))


def constructor(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """Arguments of which torch.nn makes no layer."""
    cls(**at.arguments())
    return ["taken"]


def settings(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """Settings of the process after a call."""
    before = torch.get_default_dtype(), torch.get_num_threads(), np.geterr(), torch.get_rng_state()
    module = at.module(cls)
    made = torch.get_rng_state()
    try:
        with torch.no_grad():
            module(at.input())
        drawn = bool((torch.get_rng_state() != made).any())
        return [f"{torch.get_default_dtype()} {torch.get_num_threads()} {np.geterr()} {drawn}"]
    finally:
        torch.set_default_dtype(before[0])
        torch.set_num_threads(before[1])
        np.seterr(**before[2])
        torch.set_rng_state(before[3])


def dies(cls: type[nn.RNNBase], at: Situation) -> Seen:
    """Whether a process survives the call."""
    script = (
        f"from {__name__} import Situation, forward; import {cls.__module__} as module\n"
        f"forward(module.{cls.__qualname__}, Situation(**{vars(at)!r}))"
    )
    found = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run([sys.executable, "-c", script], env=found, check=False, capture_output=True)
    return [f"exit {done.returncode}"]


PROBES: Mapping[str, Callable[[type[nn.RNNBase], Situation], Seen]] = {
    probe.__name__: probe
    for probe in (
        *(forward, layout, transposed, relaid, expanded, calls, overwritten, other_lengths, written_into, repeated),
        *(new_weights, some_weights, zero_recurrent_weights, two_layers, bias_and_none, handed_on, threads, copied),
        *(training, evaluation, modes, modes_back, gradients, accumulated, frozen, all_frozen, input_frozen),
        *(differentiated_twice, differentiated_late, large_loss, small_loss, dropout_gradients),
        *(strided_upstream, cell_gradient, nan_gradient, differentiated_in_eval),
        *(wrong, recovery, constructor, settings, dies),
    )
}


def situation_of(fault: Fault, cell: str) -> tuple[str, Situation]:
    """The probe and the situation that a fault names."""
    shows = dict(fault.shows)
    probe = shows.pop("probe", "forward")
    if fault.dtypes:
        shows.setdefault("dtype", fault.dtypes[0])
    if probe in ("training", "evaluation", "modes", "modes_back"):
        shows = {"num_layers": 2, "dropout": 0.5} | shows
    return probe, Situation(**shows)


def differs(seen: Seen, due: Seen) -> bool:
    """Whether what was seen is further from what was due than rounding can bring it."""
    if len(seen) != len(due):
        return True
    for a, b in zip(seen, due, strict=True):
        if not isinstance(a, Tensor) or not isinstance(b, Tensor):
            if not (isinstance(a, str) and isinstance(b, str) and a == b):
                return True
            continue
        if a.shape != b.shape or a.dtype != b.dtype or a.device != b.device:
            return True
        if not a.is_floating_point():
            if not torch.equal(a, b):
                return True
            continue
        allowed = torch.finfo(a.dtype).eps * (ROUNDINGS if a.dtype in (torch.float32, torch.float64) else 2)
        scale = float(b.double().nan_to_num(0, 0, 0).abs().max()) if b.numel() else 0.0
        if not torch.allclose(a.double(), b.double(), rtol=allowed, atol=allowed * scale, equal_nan=True):
            return True
    return False


def shown(fault: Fault, cell: str) -> bool:
    """Whether the module of this cell is seen to be wrong where the fault says."""
    probe, at = situation_of(fault, cell)
    due = ["raised"] if probe in ("wrong", "constructor") else outcome(CELLS[cell], probe, at)
    return differs(outcome(fault.cells[cell], probe, at), due)


def outcome(cls: type[nn.RNNBase], probe: str, at: Situation) -> Seen:
    """What the probe sees, or that the module raised."""
    try:
        return PROBES[probe](cls, at)
    except Exception:
        return ["raised"]
