"""Weights: where each framework keeps what the oracle, like torch.nn, calls weight_ih, weight_hh, bias_ih and bias_hh.

One table says how each framework lays out one lane, that is one direction of one layer; two functions carry parameters
there and back. They transpose, reorder, negate and stack, and compute nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

GATES = {"lstm": "ifgo", "gru": "rzn", "rnn": "h"}  # in torch.nn's order


@dataclass(frozen=True)
class Convention:
    """How a framework lays out one lane of one kind of cell.

    The fields weight_ih to peephole hold its names for these; '' where it has none. A name with `{gate}` stands for one
    array per gate. Where two fields hold the same name, their arrays are joined: weights along the features that
    they take, biases end to end, or as the rows of a matrix where `bias_rows`.
    """

    gates: str  # the order in which it stacks them, in the letters of GATES
    weight_ih: str = "weight_ih"
    weight_hh: str = "weight_hh"
    bias_ih: str = "bias_ih"
    bias_hh: str = "bias_hh"
    weight_hr: str = ""
    peephole: str = ""
    transposed: bool = False  # weights are (features, gates · hidden_size)
    projection_transposed: bool = False  # weight_hr alone is (hidden_size, proj_size)
    bias_rows: bool = False
    negated: str = ""  # gates that act as 1 - gate there; sigmoid(-x) = 1 - sigmoid(x)
    spelled: tuple[tuple[str, str], ...] = ()  # names of one gate that it spells otherwise, and how
    reset_after: bool | None = None  # the one kind of GRU that it computes; None where a flag chooses
    recurrent_bias: str = "all"  # the config's field for which it has room; see LayerConfig

    @property
    def fields(self) -> dict[str, str]:
        """Its names by the oracle's, without those that it lacks."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "peephole")
        return {name: given for name in names if (given := getattr(self, name))}

    def spell(self, template: str, gate: str) -> str:
        """The name of one gate's array."""
        name = template.format(gate=gate)
        return dict(self.spelled).get(name, name)


_TORCH: dict[str, Any] = {"weight_hr": "weight_hr"}
_KERAS: dict[str, Any] = {"weight_ih": "kernel", "weight_hh": "recurrent_kernel", "bias_ih": "bias", "transposed": True}
_FLAX: dict[str, Any] = {"weight_ih": "i{gate}/kernel", "weight_hh": "h{gate}/kernel", "transposed": True}
_NNX: dict[str, Any] = {"weight_ih": "dense_i/kernel", "weight_hh": "dense_h/kernel", "transposed": True}
_ONNX: dict[str, Any] = {"weight_ih": "W", "weight_hh": "R", "bias_ih": "B", "bias_hh": "B"}
_NCNN: dict[str, Any] = {"weight_ih": "weight_xc", "bias_ih": "bias_c", "weight_hh": "weight_hc"}

CONVENTIONS: dict[str, dict[str, Convention]] = {
    # torch.nn.LSTM: "weight_ih_l[k] (W_ii|W_if|W_ig|W_io)"; torch.nn.GRU: "(W_ir|W_iz|W_in)"
    "torch": {
        "lstm": Convention("ifgo", **_TORCH),
        "gru": Convention("rzn", reset_after=True),
        "rnn": Convention("h"),
    },
    # onnx.ai/onnx/operators/onnx__LSTM.html: "W[iofc] - W parameter weight matrix for input, output, forget, and cell
    # gates", "P[iof]"; onnx__GRU.html: "W[zrh]", "Ht = (1 - zt) (.) ht + zt (.) Ht-1"; "B: ... [Wb[zrh], Rb[zrh]]"
    "onnx": {
        "lstm": Convention("iofg", **_ONNX, peephole="P"),
        "gru": Convention("zrn", **_ONNX),
        "rnn": Convention("h", **_ONNX),
    },
    # keras/src/layers/rnn/lstm.py, call: "z0, z1, z2, z3" are i, f, c and o; gru.py, call: z, r, hh, "h = z * h_tm1 +
    # (1 - z) * hh"; build: bias (2, 3 * units) where reset_after ("separate biases for input and recurrent kernels")
    "keras": {
        "lstm": Convention("ifgo", **_KERAS, bias_hh="", recurrent_bias="none"),
        "gru": Convention("zrn", **_KERAS, bias_hh="", reset_after=False, recurrent_bias="none"),
        "gru_reset_after": Convention("zrn", **_KERAS, bias_hh="bias", bias_rows=True, reset_after=True),
        "rnn": Convention("h", **_KERAS, bias_hh="", recurrent_bias="none"),
    },
    # flax.linen.LSTMCell: "where ... b_hi", biases stand on the hidden products alone; GRUCell: "n = tanh(W_in x + b_in
    # + r * (W_hn h + b_hn))", "h' = (1 - z) * n + z * h"; SimpleCell: "h' = tanh(W_i x + b_i + W_h h)"
    "flax": {
        "lstm": Convention("ifgo", **_FLAX, bias_ih="h{gate}/bias", bias_hh="", recurrent_bias="none"),
        "gru": Convention(
            "rzn",
            **_FLAX,
            bias_ih="i{gate}/bias",
            bias_hh="h{gate}/bias",
            reset_after=True,
            recurrent_bias="candidate",
        ),
        "rnn": Convention(
            "h",
            weight_ih="i/kernel",
            weight_hh="h/kernel",
            bias_ih="i/bias",
            bias_hh="",
            transposed=True,
            recurrent_bias="none",
        ),
    },
    # flax.nnx.LSTMCell: the names of linen's, but `if_`, for `if` is a word of Python; OptimizedLSTMCell: "i, f, g, o =
    # jnp.split(y, indices_or_sections=4, axis=-1)"; GRUCell: "r, z, n", and no b_hn, which its page shows
    "flax-nnx": {
        "lstm": Convention(
            "ifgo",
            **_FLAX,
            bias_ih="h{gate}/bias",
            bias_hh="",
            spelled=(("if/kernel", "if_/kernel"),),
            recurrent_bias="none",
        ),
        "lstm_optimized": Convention("ifgo", **_NNX, bias_ih="dense_h/bias", bias_hh="", recurrent_bias="none"),
        "gru": Convention("rzn", **_NNX, bias_ih="dense_i/bias", bias_hh="", reset_after=True, recurrent_bias="none"),
        "rnn": Convention("h", **_NNX, bias_ih="dense_i/bias", bias_hh="", recurrent_bias="none"),
    },
    # equinox.nn.LSTMCell.__call__: "i, f, g, o = jnp.split(lin, 4)"; GRUCell.__call__: reset, inp, new, "new = tanh(
    # igates[2] + reset * (hgates[2] + bias_n))", "new + inp * (hidden - new)"
    "equinox": {
        "lstm": Convention("ifgo", bias_ih="bias", bias_hh="", recurrent_bias="none"),
        "gru": Convention("rzn", bias_ih="bias", bias_hh="bias_n", reset_after=True, recurrent_bias="candidate"),
    },
    # haiku.LSTM: "i, g, f, o = jnp.split(gated, 4)" of one Linear over [x, h], "f = sigmoid(f + 1)"; haiku.GRU: "z, r",
    # "a = tanh(W_ia x + W_ha (r h) + b_a)", "h' = (1 - z) h + z a"; VanillaRNN: "relu(W_i x + b_i + W_h h + b_h)"
    "haiku": {
        "lstm": Convention(
            "igfo", weight_ih="w", weight_hh="w", bias_ih="b", bias_hh="", transposed=True, recurrent_bias="none"
        ),
        "gru": Convention(
            "zrn",
            weight_ih="w_i",
            weight_hh="w_h",
            bias_ih="b",
            bias_hh="",
            transposed=True,
            negated="z",
            reset_after=False,
            recurrent_bias="none",
        ),
        "rnn": Convention(
            "h",
            weight_ih="linear/w",
            weight_hh="linear_1/w",
            bias_ih="linear/b",
            bias_hh="linear_1/b",
            transposed=True,
        ),
        "rnn_single_bias": Convention(
            "h",
            weight_ih="linear/w",
            weight_hh="linear_1/w",
            bias_ih="linear/b",
            bias_hh="",
            transposed=True,
            recurrent_bias="none",
        ),
    },
    # mlx.nn.LSTM: "Wx (4H, D)", gates i, f, g, o; mlx.nn.GRU: "b (3H)", "bhn (H)", r, z, n, "(1 - z) n + z h"
    "mlx": {
        "lstm": Convention("ifgo", weight_ih="Wx", weight_hh="Wh", bias_ih="bias", bias_hh="", recurrent_bias="none"),
        "gru": Convention(
            "rzn",
            weight_ih="Wx",
            weight_hh="Wh",
            bias_ih="b",
            bias_hh="bhn",
            reset_after=True,
            recurrent_bias="candidate",
        ),
        "rnn": Convention("h", weight_ih="Wxh", weight_hh="Whh", bias_ih="bias", bias_hh="", recurrent_bias="none"),
    },
    # tinygrad.nn.LSTMCell: "i, f, g, o = gates.chunk(4, dim=1)"
    "tinygrad": {"lstm": Convention("ifgo")},
    # paddle.nn.LSTMCell: i, f, g (there c̃), o, and weight_ho of (hidden_size, proj_size), which its page does not list;
    # GRUCell: r, z, c, "h_t = z_t * h_{t-1} + (1 - z_t) * c̃_t", reset after
    "paddle": {
        "lstm": Convention("ifgo", weight_hr="weight_ho", projection_transposed=True),
        "gru": Convention("rzn", reset_after=True),
        "rnn": Convention("h"),
    },
    # ncnn wiki, "operators", LSTM: "weight_xc_data, bias_c_data, weight_hc_data" with gates I, F, O, G; GRU: R, U, N,
    # and the bias in four rows "R U WN BN"
    "ncnn": {
        "lstm": Convention("ifog", **_NCNN, bias_hh="", weight_hr="weight_hr", recurrent_bias="none"),
        "gru": Convention("rzn", **_NCNN, bias_hh="bias_c", reset_after=True, recurrent_bias="candidate"),
        "rnn": Convention("h", **_NCNN, bias_hh="", recurrent_bias="none"),
    },
}


def lay_out(convention: Convention, parameters: Mapping[str, Array], lane: str, library: Any = np) -> dict[str, Array]:
    """The parameters of one lane (l0, l0_reverse, l1, ...) by the framework's names, in its layout.

    Args:
        library: whose arrays they are, if it has NumPy's functions and not NumPy's arrays.

    Raises:
        ValueError: for a parameter for which the framework has no place.
    """
    of_lane = {name.removesuffix(f"_{lane}"): a for name, a in parameters.items() if _lane_of(name) == lane}
    if homeless := [name for name in of_lane if name not in convention.fields]:
        raise ValueError(f"there is no place for {', '.join(homeless)}")
    laid: dict[str, list[Array]] = {}
    for name, template in convention.fields.items():
        if name not in of_lane:
            continue
        blocks = _blocks(convention, name, _projected(convention, name, of_lane[name]), library)
        if "{gate}" in template:
            laid |= {convention.spell(template, gate): [_turned(convention, block)] for gate, block in blocks.items()}
        else:
            laid.setdefault(template, []).append(_turned(convention, library.concatenate(list(blocks.values()))))
    return {name: _joined(convention, parts, library) for name, parts in laid.items()}


def take_back(
    convention: Convention, arrays: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], lane: str
) -> dict[str, Array]:
    """The parameters of one lane by the oracle's names, from arrays in the framework's layout: `lay_out` undone.

    Args:
        shapes: those of the parameters, by the oracle's names, as `LayerConfig.parameter_shapes` gives them.
    """
    found: dict[str, Array] = {}
    taken: dict[str, int] = {}  # how much of an array that is joined has been taken
    for name, template in convention.fields.items():
        shape = shapes.get(f"{name}_{lane}")
        if shape is None:
            continue
        blocks = _blocks(convention, name, np.empty(shape))
        if "{gate}" in template:
            parts = {gate: _turned(convention, arrays[convention.spell(template, gate)]) for gate in blocks}
        else:
            start = taken.get(template, 0)
            if len(shape) == 1:
                mine = arrays[template].reshape(-1)[start : start + shape[0]]
            else:
                mine = _projected(convention, name, _turned(convention, arrays[template]))[:, start : start + shape[1]]
            taken[template] = start + shape[-1]
            cuts = np.cumsum([len(block) for block in blocks.values()])[:-1]
            parts = dict(zip(blocks, np.split(mine, cuts), strict=True))
        found[f"{name}_{lane}"] = np.concatenate([_signed(convention, gate, parts[gate]) for gate in _order(parts)])
    return found


def _lane_of(name: str) -> str:
    """The end of a parameter's name: 'l0_reverse' of 'weight_ih_l0_reverse'."""
    return name[name.rindex("_l") + 1 :]


def _blocks(convention: Convention, name: str, array: Array, library: Any = np) -> dict[str, Array]:
    """The gates of an array of the oracle in the framework's order and sign; all of a projection."""
    if name == "weight_hr":
        return {"": array}
    kind = next(kind for kind, gates in GATES.items() if sorted(gates) == sorted(convention.gates))
    gates = GATES[kind]
    if name == "peephole":
        gates = "ifo"
    elif name == "bias_hh" and convention.recurrent_bias == "candidate":
        gates = "n"
    blocks = dict(zip(gates, library.split(array, len(gates)), strict=True))
    return {gate: _signed(convention, gate, blocks[gate]) for gate in convention.gates if gate in blocks}


def _order(parts: Mapping[str, Array]) -> list[str]:
    """Gates in the oracle's order."""
    return sorted(parts, key=lambda gate: max(gates.find(gate) for gates in GATES.values()))


def _signed(convention: Convention, gate: str, block: Array) -> Array:
    return -block if gate and gate in convention.negated else block


def _turned(convention: Convention, array: Array) -> Array:
    """A weight as the framework multiplies it, and back; a bias as it is."""
    return array.T if convention.transposed and array.ndim == 2 else array


def _projected(convention: Convention, name: str, array: Array) -> Array:
    """A projection as the framework multiplies it, and back; all else as it is."""
    return array.T if convention.projection_transposed and name == "weight_hr" else array


def _joined(convention: Convention, parts: list[Array], library: Any) -> Array:
    if len(parts) == 1:
        return parts[0]
    if parts[0].ndim == 1 and convention.bias_rows:
        stacked: Array = library.stack(parts)
        return stacked
    joined: Array = library.concatenate(parts, axis=0 if parts[0].ndim == 1 or convention.transposed else 1)
    return joined
