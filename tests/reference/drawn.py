"""Random settings of the oracle, and what torch gives for them in float64."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import rnn_reference
import torch
from rnn_reference.parameters import GATES
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

CELLS = ["lstm", "gru", "rnn_tanh", "rnn_relu"]
STATES = {"lstm": ("h", "c"), "gru": ("h",), "rnn": ("h",)}


@dataclass
class Setting:
    """One call of the oracle and the gradients by what it gives. Arrays lie as the caller of `batch_first` has them."""

    kind: str
    keywords: dict[str, Any]
    parameters: dict[str, np.ndarray]
    input: np.ndarray
    hx: Any
    output_gradient: np.ndarray
    state_gradient: Any

    def __repr__(self) -> str:
        shown = {k: [m.shape for m in v] if k == "dropout_masks" and v else v for k, v in self.keywords.items()}
        return f"{self.kind}(input {self.input.shape}, hx {'none' if self.hx is None else 'given'}, {shown})"

    def forward(self, **changes: Any) -> Any:
        """What the oracle gives."""
        function = getattr(rnn_reference, self.kind)
        return function(self.input, self.parameters, self.hx, **self.keywords, **changes)

    def gradients(self) -> dict[str, np.ndarray]:
        """The oracle's gradients."""
        function = getattr(rnn_reference, f"{self.kind}_gradients")
        gradients = (self.output_gradient, self.state_gradient)
        found: dict[str, np.ndarray] = function(self.input, self.parameters, self.hx, *gradients, **self.keywords)
        return found

    def loss(self, arrays: dict[str, np.ndarray]) -> Any:
        """The scalar whose gradients those are, with some arrays replaced."""
        parts = tuple(arrays[f"{name}_0"] for name in STATES[self.kind])
        parameters = {name: arrays[name] for name in self.parameters}
        hx = parts if self.kind == "lstm" else parts[0]
        output, final = getattr(rnn_reference, self.kind)(arrays["input"], parameters, hx, **self.keywords)
        pairs = zip(as_tuple(final), as_tuple(self.state_gradient), strict=True)
        return (output * self.output_gradient).sum() + sum((a * b).sum() for a, b in pairs)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything that has a gradient, by name; zeros for a state left out."""
        zeros = tuple(np.zeros_like(part) for part in as_tuple(self.state_gradient))
        parts = zeros if self.hx is None else as_tuple(self.hx)
        states = {f"{name}_0": part for name, part in zip(STATES[self.kind], parts, strict=True)}
        return {"input": self.input} | states | self.parameters


def as_tuple(state: Any) -> tuple[Any, ...]:
    """One state or (h, c) as a tuple."""
    return state if isinstance(state, tuple) else (state,)


def draw(cell: str, seed: int, *, largest: int = 9, batched: bool = False, **fixed: Any) -> Setting:
    """A random setting of one of CELLS, or 'gru_original'.

    Args:
        largest: the largest of its sizes; now and then one is four times as large.
        batched: whether it has a batch, of three rows or more, and three steps or more.
        fixed: keywords of the oracle that are not drawn.
    """
    rng = np.random.default_rng([seed, *cell.encode()])
    kind = cell.split("_")[0]

    def size() -> int:
        return int(rng.integers(1, (4 if rng.random() < 0.05 else 1) * largest + 1))

    def coin(chance: float = 0.5) -> bool:
        return bool(rng.random() < chance)

    steps, batch, features, hidden = size(), size(), size(), size()
    unbatched = coin(0.15) and not batched
    if batched:
        steps, batch = max(steps, 3), max(batch, 3)
    keywords: dict[str, Any] = {
        "hidden_size": hidden,
        "num_layers": int(rng.integers(1, 4)),
        "bias": coin(),
        "batch_first": coin(),
        "bidirectional": coin(),
    }
    if kind == "lstm":
        keywords["proj_size"] = int(rng.integers(1, hidden)) if hidden > 1 and coin() else 0
    if kind == "rnn":
        keywords["nonlinearity"] = cell.split("_")[1]
    if cell == "gru_original":
        keywords["reset_after"] = False
    with_masks, with_lengths = coin(), coin()
    keywords |= fixed
    directions = 2 if keywords["bidirectional"] else 1
    width = (keywords.get("proj_size") or hidden) * directions
    if with_lengths and not unbatched:
        keywords["lengths"] = [int(n) for n in rng.integers(1, steps + 1, batch)]
    rows = 1 if unbatched else batch
    if with_masks:
        shape = (keywords["num_layers"] - 1, steps, rows, width)
        keywords["dropout_masks"] = list((rng.random(shape) < 0.7) / 0.7)
    sizes = {name: keywords.get(name, 0) for name in ("num_layers", "bias", "bidirectional", "proj_size")}
    shapes = rnn_reference.parameter_shapes(kind, features, hidden, **sizes)
    scale = rng.choice([0.3, 1.0, 2.0]) / np.sqrt(hidden)
    parameters = {name: scale * rng.standard_normal(shape) for name, shape in shapes.items()}

    def sequence(last: int) -> np.ndarray:
        middle = (steps,) if unbatched else (batch, steps) if keywords["batch_first"] else (steps, batch)
        return rng.standard_normal((*middle, last))

    def state() -> Any:
        lanes = keywords["num_layers"] * directions
        widths = (width // directions, hidden)[: len(STATES[kind])]
        parts = [rng.standard_normal((lanes, w) if unbatched else (lanes, batch, w)) for w in widths]
        return tuple(parts) if kind == "lstm" else parts[0]

    hx = state() if coin() else None
    return Setting(kind, keywords, parameters, sequence(features), hx, sequence(width), state())


def torch_results(s: Setting) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Results by name (output, h_n, c_n) and gradients by name, from torch.

    Without masks one torch stack computes them; with masks single layers are composed, multiplied by the masks between.
    """
    given = {name: torch.tensor(array, requires_grad=True) for name, array in s.arrays().items()}
    masks = s.keywords.get("dropout_masks")
    layers, directions = s.keywords["num_layers"], 2 if s.keywords["bidirectional"] else 1
    depth = 1 if masks is not None else layers
    x: Any = given["input"]
    finals: list[tuple[torch.Tensor, ...]] = []
    for first in range(0, layers, depth):
        if first and masks is not None:
            x = x * _mask(s, masks[first - 1])
        module, values = _module(s, given, first, depth, x.shape[-1])
        lanes = slice(first * directions, (first + depth) * directions)
        states = tuple(given[f"{name}_0"][lanes] for name in STATES[s.kind])
        hx = None if s.hx is None and not torch.is_grad_enabled() else states if s.kind == "lstm" else states[0]
        x, final = torch.func.functional_call(module, values, (_packed(s, x), hx))
        if isinstance(x, PackedSequence):
            steps = s.input.shape[1 if s.keywords["batch_first"] else 0]
            x, _ = pad_packed_sequence(x, s.keywords["batch_first"], total_length=steps)
        finals.append(as_tuple(final))
    final = tuple(torch.cat(parts) for parts in zip(*finals, strict=True))
    results = {"output": x} | {f"{n}_n": part for n, part in zip(STATES[s.kind], final, strict=True)}
    gradients: dict[str, np.ndarray] = {}
    if torch.is_grad_enabled():
        weights = map(torch.tensor, (s.output_gradient, *as_tuple(s.state_gradient)))
        loss = sum((a * b).sum() for a, b in zip(results.values(), weights, strict=True))
        found = torch.autograd.grad(loss, list(given.values()))
        gradients = {name: gradient.numpy() for name, gradient in zip(given, found, strict=True)}
    return {name: result.detach().numpy() for name, result in results.items()}, gradients


def _module(s: Setting, given: dict[str, torch.Tensor], first: int, depth: int, features: int) -> Any:
    """A torch stack for some of the layers, and its parameters under its own names."""
    passed = ("hidden_size", "bias", "batch_first", "bidirectional", "proj_size", "nonlinearity")
    keywords = {name: s.keywords[name] for name in passed if name in s.keywords}
    module = getattr(torch.nn, s.kind.upper())(features, num_layers=depth, dtype=torch.float64, **keywords)
    names = {name: _renumbered(name, first) for name, _ in module.named_parameters()}
    assert module.weight_ih_l0.shape[0] == GATES[s.kind] * s.keywords["hidden_size"]
    return module, {name: given[wanted] for name, wanted in names.items()}


def _renumbered(name: str, first: int) -> str:
    head, _, lane = name.rpartition("_l")
    number, reverse, _ = lane.partition("_reverse")
    return f"{head}_l{int(number) + first}{reverse}"


def _mask(s: Setting, mask: np.ndarray) -> torch.Tensor:
    """A time-major mask in the layout of the setting."""
    unbatched, batch_first = s.input.ndim == 2, s.keywords["batch_first"]
    return torch.tensor(mask[:, 0] if unbatched else mask.swapaxes(0, 1) if batch_first else mask)


def _packed(s: Setting, x: torch.Tensor) -> Any:
    lengths = s.keywords.get("lengths")
    if lengths is None:
        return x
    return pack_padded_sequence(x, torch.tensor(lengths), s.keywords["batch_first"], enforce_sorted=False)


def difference(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to the largest of what is expected; infinite where shapes differ."""
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return float("inf")
    largest = np.max(np.abs(expected), initial=0.0)
    return float(np.max(np.abs(actual - expected), initial=0.0) / (largest or 1.0))
