"""The interface that a backend meets: `Backend` makes layers, `Layer` runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from rnn_conformance.arithmetic import Arithmetic, arithmetic_of
from rnn_conformance.config import BEYOND, LayerConfig

Array = np.ndarray[Any, Any]


class WrongUse(Exception):
    """The user asked for something that cannot be; the message says in one sentence what to change."""


@dataclass(frozen=True)
class Policy:
    """What a backend does where correct implementations differ. It is held to what it says here."""

    empty_sequence: Literal["refused", "state"] = "refused"  # T = 0: an error, or the initial state returned
    empty_batch: Literal["refused", "empty"] = "empty"  # B = 0: an error, or empty results
    zero_length: Literal["refused", "state"] = "refused"  # one of several lengths is 0: an error, or its state returned
    lengths: bool = True  # whether variable lengths are taken at all
    padding: Literal["zero", "undefined"] = "zero"  # output beyond a length: zeros, or nothing that is promised
    flush_subnormals: bool = False  # whether numbers below the smallest normal one may become zero
    unbatched: bool = True  # whether input may come without a batch axis


class ParametersDiffer(ValueError):
    """A layer was made, but its parameters are not of the names and shapes that are due."""


class Differentiate(Protocol):
    """Takes the gradients of a scalar by output and by the final state, and gives those by name."""

    def __call__(self, output_gradient: Any, state_gradient: Any, retain_graph: bool = False) -> Mapping[str, Any]:
        """Differentiate; where `retain_graph`, it will be called again, and gives that time's gradients alone."""
        ...


class Layer(ABC):
    """One recurrent stack with its parameters."""

    @abstractmethod
    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        """Run the stack, as torch.nn.LSTM's (GRU's, RNN's) forward does.

        Args:
            input: (T, B, input_size), or (B, T, input_size) where the config has batch_first, or (T, input_size); in
                the backend's own type.
            hx: (h_0, c_0) for an LSTM and h_0 for others, (lanes, B, features) each; None for zeros.
            lengths: the length of each sequence, in any order; values of input beyond them have no meaning.
            training: whether dropout acts.

        Returns:
            output, zero beyond each length unless the policy says that it is undefined there, and (h_n, c_n) for an
            LSTM, h_n for others.
        """

    def alone(self, name: str, input: Any, hx: Any = None, lengths: Sequence[int] | None = None) -> Any:
        """Run the stack for one of its results, by the way in which the implementation is asked for that alone.

        Args:
            name: `output`, `h_n` or (of an LSTM) `c_n`, of the shape that `forward` gives it; or `last`, what the
                directions of the last layer give last, each after its own last step, joined as the output is:
                (B, output_size), and (output_size,) for input without a batch axis.

        Source: the optional outputs Y, Y_h and Y_c of ONNX's operators; `return_sequences`, which left out gives
            `last`, and `return_state` of keras.layers.LSTM; `return_carry` of flax.linen.RNN.
        """
        raise NotImplementedError

    def gradients(
        self,
        input: Any,
        hx: Any,
        output_gradient: Any,
        state_gradient: Any,
        lengths: Sequence[int] | None = None,
        frozen: Collection[str] = (),
        accumulate: bool = False,
    ) -> tuple[Any, Any, Mapping[str, Any]]:
        """Run the stack in training, without dropout, and differentiate a scalar through it.

        Args:
            output_gradient, state_gradient: its gradients by output and by the final state, of their shapes.
            frozen: the names of parameters whose gradients nobody wants; the result must lack them.
            accumulate: whether gradients by parameters are added to those of the call before, as `backward` does.

        Returns:
            output, the final state, and the gradients by name: 'input', 'h_0' and 'c_0' where hx was given, and each
            parameter.
        """
        raise NotImplementedError

    def taped(
        self, input: Any, hx: Any, lengths: Sequence[int] | None = None, training: bool = True
    ) -> tuple[Any, Any, Differentiate]:
        """Run the stack, without dropout: output, the final state, and what differentiates it later.

        Args:
            training: whether it is in training, or in eval, where nothing but dropout is another.
        """
        raise NotImplementedError

    def parameters(self) -> Mapping[str, Any]:
        """The parameters as the layer holds them, by torch.nn's names."""
        raise NotImplementedError

    def save(self) -> Any:
        """What `load` takes, apart from the layer from now on: as torch's state_dict, written to a file."""
        raise NotImplementedError

    def load(self, saved: Any) -> None:
        """Take the parameters of the layer whose `save` gave this."""
        raise NotImplementedError


class Backend(ABC):
    """An implementation under test."""

    name: str = ""
    policy: Policy = Policy()
    max_examples: int | None = None  # so many cases in each unit, of few shapes, where each shape is compiled anew

    drops: tuple[str, ...] = ()  # the fields of config.DROPOUTS that it takes

    @abstractmethod
    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A new layer of this config with these parameters.

        Args:
            parameters: by torch.nn's names, in the config's dtype (bfloat16 is `ml_dtypes.bfloat16`).
        """

    @property
    def version(self) -> str:
        """The version of the implementation."""
        return "unknown"

    def devices(self) -> Sequence[str]:
        """The devices present."""
        return ("cpu",)

    def supports(self, config: LayerConfig) -> str | None:
        """None where a layer of this config is offered, and the reason where it is not."""
        return None

    def extras(self, cell: str) -> Mapping[str, tuple[Any, ...]]:
        """What it offers beyond torch.nn: fields of the config for this cell, each with the values to try.

        A field that is not named stays at its default, which is torch.nn's way. Where torch.nn's way is not offered,
        it is left out of the values.
        """
        return {}

    def lacks(self, config: LayerConfig) -> str | None:
        """Why a config is not offered whose fields beyond torch.nn `extras` does not name; None where it names them."""
        offered = self.extras(config.cell)
        given = {name: getattr(config, name) for name in BEYOND}
        usual = {field.name: field.default for field in fields(config)}
        wrong = [f"{n}={v!r}" for n, v in given.items() if v not in offered.get(n, (usual[n],))]
        return f"{', '.join(wrong)} is not offered" if wrong else None

    def arithmetic(self, dtype: str) -> Arithmetic:
        """The arithmetic to which layers of this dtype are held."""
        return arithmetic_of(dtype, self.policy.flush_subnormals)

    def from_numpy(self, array: Array, device: str) -> Any:
        """The backend's array of these values, sharing memory and strides where it can."""
        return array

    def to_numpy(self, array: Any) -> Array:
        """The values of a backend's array, of the same dtype and shape."""
        if not isinstance(array, np.ndarray):
            raise TypeError(f"a NumPy array was due, not {type(array).__name__}")
        return array

    def device_of(self, array: Any) -> str:
        """The device on which a backend's array lies."""
        return "cpu"

    def assign(self, array: Any, values: Array) -> None:
        """Write values into a backend's array in place, as an optimizer writes into parameters."""
        array[...] = values

    def rebind(self, array: Any, values: Array) -> None:
        """Let a parameter be these values where they lie, strides and all, as `parameter.data = tensor` does."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """Settings of the whole process that belong to the library; a call must leave them as they were."""
        return {}

    def restore(self, settings: Mapping[str, Any]) -> None:
        """Set them again to what `settings` gave earlier."""
        if settings:
            raise NotImplementedError(f"{type(self).__name__} has settings() and needs restore()")

    def expectations(self) -> Path | None:
        """The file of this backend's known deviations, where one comes with it."""
        return None

    def environment(self) -> dict[str, str]:
        """Versions and settings that decide results, for the record."""
        return {}


def refusal(backend: Backend, config: LayerConfig) -> str | None:
    """Why a backend does not offer a config; None where it does."""
    if lacking := [name for name in config.dropouts() if name not in backend.drops]:
        return f"there is no {', '.join(lacking)}"
    return backend.supports(config)
