"""Cases: a config, an input shape and the values, small enough to print and to replay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import ml_dtypes
import numpy as np

from rnn_conformance.config import LayerConfig, numpy_dtype
from rnn_conformance.oracle import Inputs, Upstream

Array = np.ndarray[Any, Any]
Rng = np.random.Generator

PROFILES = ("integers", "uniform", "normal", "saturating", "onehot", "constant", "tiny", "huge", "growing")
LAYOUTS = ("contiguous", "offset", "strided", "transposed", "padded")
EXPANDED = "expanded"  # along an axis along which all values are equal, all are the same memory


@dataclass(frozen=True)
class Case:
    """One case. `inputs` gives its numbers, which follow from these fields alone."""

    config: LayerConfig
    seq_len: int
    batch_size: int | None  # None for input without a batch axis
    lengths: tuple[int, ...] | None = None
    hx: bool = True  # whether an initial state is given
    values: str = "integers"
    layout: str = "contiguous"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.values not in PROFILES:
            raise ValueError(f"values must be one of {', '.join(PROFILES)}, not {self.values!r}")
        if self.layout not in (*LAYOUTS, EXPANDED):
            raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, not {self.layout!r}")
        if self.lengths is not None and len(self.lengths) != self.batch_size:
            raise ValueError(f"lengths must hold {self.batch_size} numbers, one for each row, not {len(self.lengths)}")

    def rng(self, purpose: str) -> Rng:
        """Random numbers that belong to this case, apart for each purpose."""
        return np.random.default_rng([self.seed, *purpose.encode()])

    def inputs(self) -> Inputs:
        """The numbers, rounded to the config's dtype."""
        rng, config = self.rng("values"), self.config
        rows = 1 if self.batch_size is None else self.batch_size
        parameters = {
            name: _rounded(_parameter(rng, self.values, name, shape, config), config.dtype)
            for name, shape in config.parameter_shapes().items()
        }
        input = _rounded(_INPUTS[self.values](rng, (self.seq_len, rows, config.input_size)), config.dtype)
        hx = None
        if self.hx:
            shapes = [(config.lanes, rows, size) for size in config.state_sizes]
            hx = tuple(_rounded(_state(rng, self.values, shape), config.dtype) for shape in shapes)
        return Inputs(parameters, input, hx, self.lengths)

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Case:
        """The case of which `to_dict` gave these fields.

        Raises:
            ValueError, TypeError: for fields that no case has.
        """
        lengths = fields.get("lengths")
        config = LayerConfig(**fields["config"])
        return cls(**{**fields, "config": config, "lengths": None if lengths is None else tuple(lengths)})

    def __str__(self) -> str:
        steps = f"{self.seq_len} step{'s' * (self.seq_len != 1)}"
        batch = "no batch axis" if self.batch_size is None else f"batch {self.batch_size}"
        lengths = "" if self.lengths is None else f" of lengths {', '.join(map(str, self.lengths))}"
        state = "an initial state" if self.hx else "no initial state"
        layout = "" if self.layout == "contiguous" else f", {self.layout} input"
        return f"{self.config}; {steps}, {batch}{lengths}, {state}, {self.values} values{layout}, seed {self.seed}"


def upstream_of(case: Case, inputs: Inputs) -> Upstream:
    """A loss that weighs every element of output and final states, each differently."""
    rng, config = case.rng("loss"), case.config
    steps, rows = inputs.input.shape[:2]
    dtype = numpy_dtype(config.dtype)

    def weights(*shape: int) -> Array:
        return np.asarray(rng.integers(1, 5, shape) * rng.choice([-0.5, 0.5], shape)).astype(dtype)

    state = tuple(weights(config.lanes, rows, size) for size in config.state_sizes)
    return Upstream(weights(steps, rows, config.output_size), state)


def _rounded(array: Array, dtype: str) -> Array:
    with np.errstate(over="ignore", under="ignore"):
        return array.astype(numpy_dtype(dtype))


def _integers(rng: Rng, shape: tuple[int, ...]) -> Array:
    """Nonzero integers from -3 to 3."""
    return np.asarray(rng.integers(1, 4, shape) * rng.choice([-1, 1], shape), dtype=float)


def _onehot(rng: Rng, shape: tuple[int, ...]) -> Array:
    hot = rng.integers(0, shape[-1], shape[:-1])
    return np.asarray(np.arange(shape[-1]) == hot[..., np.newaxis], dtype=float)


def _constant(rng: Rng, shape: tuple[int, ...]) -> Array:
    return np.broadcast_to(rng.standard_normal(shape[1:]), shape)


def _scaled(scale: float) -> Callable[[Rng, tuple[int, ...]], Array]:
    return lambda rng, shape: rng.standard_normal(shape) * scale


_INPUTS: dict[str, Callable[[Rng, tuple[int, ...]], Array]] = {
    "integers": _integers,
    "uniform": _scaled(1),
    "normal": _scaled(1),
    "saturating": _scaled(4),
    "onehot": _onehot,
    "constant": _constant,
    "tiny": _scaled(2.0**-17),  # subnormal in float16
    "huge": _scaled(512),
    "growing": lambda rng, shape: rng.uniform(0.5, 1.5, shape),
}


def _state(rng: Rng, values: str, shape: tuple[int, ...]) -> Array:
    if values == "integers":
        return _integers(rng, shape) / 2
    return rng.standard_normal(shape) * {"tiny": 2.0**-17, "saturating": 4.0, "huge": 64.0}.get(values, 1.0)


def _parameter(rng: Rng, values: str, name: str, shape: tuple[int, ...], config: LayerConfig) -> Array:
    """Never constant within a gate, of both signs, of a size that leaves gates where they act."""
    if values == "integers":
        halvings = int(np.log2(sqrt(shape[-1]))) if len(shape) == 2 else 0
        return _integers(rng, shape) / 2.0**halvings
    if values == "uniform":
        bound = 1 / sqrt(config.hidden_size)
        return rng.uniform(-bound, bound, shape)
    if values == "growing":
        return _growing(rng, name, shape, config)
    if len(shape) == 1:
        return rng.standard_normal(shape) * (2.0**-17 if values == "tiny" else 0.5)
    gain = {"saturating": 4.0, "huge": 1.0, "normal": rng.choice([0.5, 1.0, 2.0])}.get(values, 1.0)
    return np.asarray(rng.standard_normal(shape) * gain / sqrt(shape[-1]))


def _growing(rng: Rng, name: str, shape: tuple[int, ...], config: LayerConfig) -> Array:
    """Parameters under which an LSTM's cell state grows by about one at every step.

    Input is positive. Its weights hold the input and the forget gate open and give the candidate a sign for each unit.
    """
    drawn = np.asarray(rng.uniform(0.5, 1.5, shape) * 0.1)
    if name.startswith("weight_ih") and config.kind == "lstm":
        size, signs = config.hidden_size, rng.choice([-1.0, 1.0], (config.hidden_size, 1))
        opened = rng.uniform(4, 8, shape) / shape[-1] * (1 if "_l0" in name else 4)
        opened[2 * size : 3 * size] *= signs
        opened[3 * size :] = rng.standard_normal((size, shape[-1]))
        return np.asarray(opened)
    return np.asarray(drawn * rng.choice([-1.0, 1.0], shape))


def lay_out(array: Array, layout: str) -> Array:
    """The same values elsewhere in memory: at an odd offset, with gaps, with axes in another order, within a frame."""
    if layout == "contiguous" or not array.size:
        return np.array(array, order="C")
    if layout == EXPANDED:
        own = np.array(array, order="C")
        equal = [bool((own == own.take([0], axis)).all()) for axis in range(own.ndim)]
        strides = tuple(0 if same else n for same, n in zip(equal, own.strides, strict=True))
        return np.asarray(np.lib.stride_tricks.as_strided(own, own.shape, strides))
    filler = np.array(ml_dtypes.bfloat16(np.nan)).astype(array.dtype)
    if layout == "offset":
        buffer = np.full(array.size + 3, filler)
        place = buffer[3:].reshape(array.shape)
    elif layout == "strided":
        place = np.full([2 * n for n in array.shape], filler)[tuple(slice(1, None, 2) for _ in array.shape)]
    elif layout == "transposed":
        place = np.full(array.shape[::-1], filler).transpose()
    else:
        place = np.full([n + 2 for n in array.shape], filler)[tuple(slice(1, -1) for _ in array.shape)]
    place[...] = array
    return place
