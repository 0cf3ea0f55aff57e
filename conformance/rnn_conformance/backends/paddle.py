"""paddle.nn.LSTM, GRU and SimpleRNN, in Paddle's dynamic mode."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import paddle
from rnn_reference.parameters import lanes

from rnn_conformance.backend import Array, Backend, Differentiate, Layer, Policy
from rnn_conformance.config import LayerConfig
from rnn_conformance.weights import CONVENTIONS, lay_out

MODULES = {"lstm": paddle.nn.LSTM, "gru": paddle.nn.GRU, "rnn": paddle.nn.SimpleRNN}


class PaddleLayer(Layer):
    """A Paddle layer driven through its own interface."""

    def __init__(self, module: Any, config: LayerConfig) -> None:
        self.module = module
        self.config = config

    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        """The layer's forward; lengths go in as sequence_length."""
        (self.module.train if training else self.module.eval)()
        with paddle.no_grad():
            return self.run(input, hx, lengths)

    def run(self, input: Any, hx: Any, lengths: Sequence[int] | None) -> Any:
        """Call the layer in the mode that it is in."""
        return self.module(input, hx, None if lengths is None else paddle.to_tensor(np.array(lengths, np.int64)))

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
        """The layer's forward, and paddle.autograd's backward through it."""
        output, state, differentiate = self._taped(input, hx, lengths, frozen, accumulate)
        return output, state, differentiate(output_gradient, state_gradient)

    def taped(
        self, input: Any, hx: Any, lengths: Sequence[int] | None = None, training: bool = True
    ) -> tuple[Any, Any, Differentiate]:
        """The layer's forward, and paddle.autograd's backward for later."""
        return self._taped(input, hx, lengths, training=training)

    def _taped(
        self,
        input: Any,
        hx: Any,
        lengths: Sequence[int] | None,
        frozen: Collection[str] = (),
        accumulate: bool = False,
        training: bool = True,
    ) -> tuple[Any, Any, Differentiate]:
        (self.module.train if training else self.module.eval)()
        own = self._held()
        for name, parameter in own.items():
            parameter.stop_gradient = name in frozen
        parts = () if hx is None else hx if isinstance(hx, tuple) else (hx,)
        leaves = {"input": input.detach()} | {
            name: part.detach() for name, part in zip(("h_0", "c_0"), parts, strict=False)
        }
        for name, leaf in leaves.items():
            leaf.stop_gradient = name in frozen
        states = tuple(leaf for name, leaf in leaves.items() if name != "input")
        with paddle.enable_grad():
            given = None if hx is None else states if isinstance(hx, tuple) else states[0]
            output, state = self.run(leaves["input"], given, lengths)
        results = [output, *(state if isinstance(state, tuple) else (state,))]

        def differentiate(output_gradient: Any, state_gradient: Any, retain_graph: bool = False) -> Mapping[str, Any]:
            d_states = state_gradient if isinstance(state_gradient, tuple) else (state_gradient,)
            wanted = leaves | own
            if not accumulate:
                for tensor in wanted.values():
                    tensor.clear_gradient(set_to_zero=False)
            paddle.autograd.backward(results, [output_gradient, *d_states], retain_graph=retain_graph)
            found = {name: tensor.grad for name, tensor in wanted.items()}
            return {name: _turned(name, gradient) for name, gradient in found.items() if gradient is not None}

        return output, state, differentiate

    def _held(self) -> dict[str, Any]:
        """The parameters by torch.nn's names, each as Paddle lays it out.

        They are taken from the cells: with proj_size the layer's own names are mixed up (reports/README.md).
        """
        names = CONVENTIONS["paddle"][self.config.kind].fields
        found: dict[str, Any] = {}
        for k, lane in enumerate(lanes(self.config.num_layers, self.config.bidirectional)):
            cell = self.cell(k // self.config.num_directions, lane.endswith("_reverse"))
            found |= {f"{name}_{lane}": getattr(cell, own) for name, own in names.items() if hasattr(cell, own)}
        due = self.config.parameter_shapes()
        return {name: parameter for name, parameter in found.items() if name in due}

    def cell(self, layer: int, reverse: bool) -> Any:
        """The cell of one direction of a layer, which is an RNN or a BiRNN."""
        own = self.module[layer]
        return own.cell if isinstance(own, paddle.nn.RNN) else own.cell_bw if reverse else own.cell_fw

    def parameters(self) -> Mapping[str, Any]:
        """The cells' parameters; of weight_ho its transpose, which shares its memory."""
        with paddle.no_grad():
            return {name: _turned(name, parameter) for name, parameter in self._held().items()}

    def save(self) -> Any:
        """The layer's state_dict, as a file."""
        file = io.BytesIO()
        paddle.save(self.module.state_dict(), file)
        return file.getvalue()

    def load(self, saved: Any) -> None:
        """Set a state_dict from such a file."""
        self.module.set_state_dict(paddle.load(io.BytesIO(saved)))


def _turned(name: str, array: Any) -> Any:
    """A projection as torch.nn lays it out, or the other way round; all else as it is."""
    return array.t() if name.startswith("weight_hr") else array


def options(config: LayerConfig) -> dict[str, Any]:
    """What Paddle's layers and cells take alike beyond their sizes."""
    found: dict[str, Any] = {"proj_size": config.proj_size} if config.kind == "lstm" else {}
    if config.kind == "rnn":
        found["activation"] = config.nonlinearity
    return found if config.bias else found | {"bias_ih_attr": False, "bias_hh_attr": False}


class PaddleBackend(Backend):
    """PaddlePaddle on the CPU."""

    name = "paddle"
    kind: ClassVar[type[PaddleLayer]] = PaddleLayer
    # paddle.nn.LSTM, Inputs: "If `time_major` is True, the shape is `[time_steps, batch_size, input_size]`, else, ..."
    # No page says what its output is beyond a length; a stack of cells leaves other numbers there than the kernel.
    policy = replace(Policy(), unbatched=False, zero_length="state", padding="undefined")

    def __init__(self) -> None:
        paddle.set_device("cpu")

    @property
    def version(self) -> str:
        """Paddle's."""
        return str(paddle.__version__)

    def supports(self, config: LayerConfig) -> str | None:
        """float32 and float64."""
        if config.dtype not in ("float32", "float64"):
            return "paddle: There are no kernels which are registered in the coalesce_tensor operator"
        return self.lacks(config)

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A layer with these parameters copied in.

        Raises:
            NotImplementedError: for a config that `supports` refuses.
        """
        if reason := self.supports(config):
            raise NotImplementedError(reason)
        before = paddle.get_default_dtype()
        paddle.set_default_dtype(config.dtype)
        try:
            layer = self.kind(self.module(config), config)
        finally:
            paddle.set_default_dtype(before)
        held = layer._held()
        with paddle.no_grad():
            for lane in lanes(config.num_layers, config.bidirectional):
                for name, own in CONVENTIONS["paddle"][config.kind].fields.items():
                    if f"{name}_{lane}" in held:
                        laid = lay_out(CONVENTIONS["paddle"][config.kind], parameters, lane)
                        held[f"{name}_{lane}"].set_value(np.ascontiguousarray(laid[own]))
        return layer

    def module(self, config: LayerConfig) -> Any:
        """What Paddle has for this config, in its default dtype."""
        return MODULES[config.kind](
            config.input_size,
            config.hidden_size,
            config.num_layers,
            direction="bidirect" if config.bidirectional else "forward",
            time_major=not config.batch_first,
            dropout=config.dropout,
            **options(config),
        )

    def from_numpy(self, array: Array, device: str) -> Any:
        """A tensor over the same memory where no stride is negative, for which DLPack's reader is not made."""
        if array.size == 0 or not array.flags.writeable or any(stride < 0 for stride in array.strides):
            return paddle.to_tensor(np.ascontiguousarray(array))
        return paddle.from_dlpack(array)

    def to_numpy(self, array: Any) -> Array:
        """The tensor's values."""
        if not isinstance(array, paddle.Tensor):
            raise TypeError(f"a tensor was due, not {type(array).__name__}")
        return np.asarray(array.detach().numpy())

    def assign(self, array: Any, values: Array) -> None:
        """Set the tensor's values."""
        with paddle.no_grad():
            array[...] = paddle.to_tensor(np.ascontiguousarray(values))  # set_value forgets a view's strides

    def settings(self) -> dict[str, Any]:
        """Paddle's settings that hold for the whole process."""
        return {"default dtype": paddle.get_default_dtype(), "gradient mode": paddle.is_grad_enabled()}

    def restore(self, settings: Mapping[str, Any]) -> None:
        """Set them again."""
        setters: dict[str, Callable[[Any], Any]] = {
            "default dtype": paddle.set_default_dtype,
            "gradient mode": paddle.set_grad_enabled,
        }
        for name, value in settings.items():
            setters[name](value)

    def expectations(self) -> Path | None:
        """What Paddle is known to do otherwise."""
        return Path(__file__).with_name("paddle.toml")

    def environment(self) -> dict[str, str]:
        """Paddle and its device."""
        return {"paddle": self.version, "device": str(paddle.device.get_device())}
