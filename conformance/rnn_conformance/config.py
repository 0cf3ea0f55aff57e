"""What a layer is built from: the arguments of torch.nn.LSTM, GRU and RNN, with a dtype and a device."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import ml_dtypes
import numpy as np
from rnn_reference import parameter_shapes
from rnn_reference.activations import activations_of
from rnn_reference.directions import joined_size

CELLS = ("lstm", "gru", "rnn_tanh", "rnn_relu")
DTYPES = ("float64", "float32", "bfloat16", "float16")
# what torch.nn does not have
BEYOND = (
    "reset_after",
    "recurrent_bias",
    "peepholes",
    "clip",
    "input_forget",
    "forget_bias",
    "activations",
    "merge_mode",
    "residual",
)

DROPOUTS = ("input_dropout", "recurrent_dropout")  # nor these, which act within a layer and in training alone


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype of this name, `ml_dtypes.bfloat16` included."""
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


@dataclass(frozen=True)
class LayerConfig:
    """One recurrent stack. Fields are torch.nn's, but that `cell` names the kind and the nonlinearity together.

    Those from `reset_after` on say what torch.nn does not have; they are drawn for backends whose `extras` name them,
    and the last two for those whose `drops` name them. Those two drop units by one mask for all steps of a call, which
    is of each layer's and direction's own, as keras.layers.LSTM's `dropout` and `recurrent_dropout` do (Gal and
    Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks", 2016).

    Raises:
        ValueError: for a config that cannot exist, in one sentence that names the field to change.
    """

    cell: str
    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    batch_first: bool = False
    dropout: float = 0.0
    bidirectional: bool = False
    proj_size: int = 0
    dtype: str = "float32"
    device: str = "cpu"
    reset_after: bool = True  # of a GRU: whether the reset gate acts after the recurrent product, as in torch.nn
    recurrent_bias: str = "all"  # the gates that have a bias_hh: all, none, or of a GRU the candidate alone
    peepholes: bool = False  # of an LSTM: whether gates see the cell state
    clip: float = 0.0  # what enters gates is kept within ±clip; 0 for no bounds
    input_forget: bool = False  # of an LSTM: whether the forget gate is 1 - the input gate
    forget_bias: float = 0.0  # of an LSTM: added to what enters the forget gate
    activations: str = ""  # of gates, candidate and an LSTM's cell, in ONNX's order: "hard_sigmoid tanh tanh"
    merge_mode: str = "concat"  # how two directions become the output of a layer: concat, sum, mul or ave
    residual: bool = False  # of an RNN: whether the state before is added to what enters the nonlinearity
    input_dropout: float = 0.0  # of the first layer's input, where it enters gates
    recurrent_dropout: float = 0.0  # of every layer's h, where it enters gates

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}, not {self.cell!r}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {self.dtype!r}")
        for name in ("dropout", *DROPOUTS):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a probability from 0 to 1, not {getattr(self, name)}")
        if self.clip < 0:
            raise ValueError(f"clip must be at least 0, not {self.clip}")
        for name in ("input_forget", "forget_bias") if self.kind != "lstm" else ():
            if getattr(self, name):
                raise ValueError(f"{name} is defined for the LSTM only, not for the {self.kind.upper()}")
        if self.kind != "gru" and not self.reset_after:
            raise ValueError(f"reset_after is defined for the GRU only, not for the {self.kind.upper()}")
        if self.kind != "rnn" and self.residual:
            raise ValueError(f"residual is defined for the RNN only, not for the {self.kind.upper()}")
        activations_of(self.kind, self.activations)
        self.parameter_shapes()

    @property
    def kind(self) -> str:
        """The class of torch.nn that this is, in lower case: 'lstm', 'gru' or 'rnn'."""
        return self.cell.partition("_")[0]

    @property
    def nonlinearity(self) -> str:
        """'tanh' or 'relu' for an RNN, '' for others."""
        return self.cell.partition("_")[2]

    @property
    def num_directions(self) -> int:
        """2 where bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def side_by_side(self) -> bool:
        """Whether the output has two directions one after the other, as torch.nn's."""
        return self.bidirectional and self.merge_mode == "concat"

    @property
    def lanes(self) -> int:
        """The number of directions of all layers together: the first axis of the states."""
        return self.num_layers * self.num_directions

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The features of each part of the state: h, and c for an LSTM."""
        return (self.proj_size or self.hidden_size, self.hidden_size)[: 2 if self.kind == "lstm" else 1]

    @property
    def output_size(self) -> int:
        """The features of the output."""
        return joined_size(self.state_sizes[0], self.bidirectional, self.merge_mode)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter by torch.nn's name."""
        return parameter_shapes(
            self.kind,
            self.input_size,
            self.hidden_size,
            self.num_layers,
            self.bias,
            self.bidirectional,
            self.proj_size,
            self.recurrent_bias,
            self.peepholes,
            self.merge_mode,
        )

    def beyond_torch(self) -> dict[str, Any]:
        """The fields that torch.nn does not have, without those that stand at torch.nn's own ways."""
        usual = {field.name: field.default for field in fields(self)}
        return {name: value for name in BEYOND if (value := getattr(self, name)) != usual[name]}

    def dropouts(self) -> dict[str, float]:
        """The rates of dropout within layers, without those that are 0."""
        return {name: rate for name in DROPOUTS if (rate := getattr(self, name))}

    def torch_arguments(self) -> dict[str, Any]:
        """The keyword arguments of torch.nn's constructor, without those that stand at their defaults."""
        defaults = {
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
            "proj_size": 0,
        }
        given = {"input_size": self.input_size, "hidden_size": self.hidden_size}
        given |= {name: getattr(self, name) for name, usual in defaults.items() if getattr(self, name) != usual}
        return given | ({"nonlinearity": "relu"} if self.cell == "rnn_relu" else {})

    def __str__(self) -> str:
        given = self.torch_arguments() | self.beyond_torch() | self.dropouts()
        arguments = ", ".join(f"{name}={value!r}" for name, value in given.items())
        return f"{self.kind.upper()}({arguments}) in {self.dtype} on {self.device}"

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)
