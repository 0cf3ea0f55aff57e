"""torch.ao.quantization.quantize_dynamic: torch.nn.LSTM and GRU with weights of 8 bits, or in float16."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.ao.quantization import quantize_dynamic

from rnn_conformance.arithmetic import Arithmetic, arithmetic_of
from rnn_conformance.backend import Array, Layer, Policy
from rnn_conformance.backends.drop_in import ModuleLayer
from rnn_conformance.backends.torch import TorchBackend
from rnn_conformance.config import LayerConfig


class QuantizedLayer(ModuleLayer):
    """A module that holds packed weights: they have no gradients, and no views."""

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
        """There are none: quantized modules are made for inference."""
        raise NotImplementedError

    def taped(self, input: Any, hx: Any, lengths: Sequence[int] | None = None, training: bool = True) -> Any:
        """There are no gradients."""
        raise NotImplementedError

    def parameters(self) -> Mapping[str, Any]:
        """There are none."""
        raise NotImplementedError

    def load(self, saved: Any) -> None:
        """Load a state_dict, whose packed weights are objects that `weights_only` refuses by name."""
        self.module.load_state_dict(torch.load(io.BytesIO(saved), weights_only=False))


class TorchQuantizedBackend(TorchBackend):
    """PyTorch's modules after dynamic quantization."""

    weight_dtype = torch.qint8
    # RNNBase.check_input of torch.ao.nn.quantized.dynamic: "input must have 3 dimensions"
    policy = replace(Policy(), unbatched=False)

    def __init__(self) -> None:
        super().__init__()
        self.name = "torch-quantized"

    def arithmetic(self, dtype: str) -> Arithmetic:
        """8 bits for the factors of products: weights in 255 steps, what they are multiplied with in 127.

        Weights have one spacing for each matrix, MinMaxObserver(qint8, per_tensor_symmetric); inputs and states have
        one for all that a matrix multiplies at once, of 7 bits on the engines x86 and fbgemm.
        """
        return replace(super().arithmetic(dtype), name="int8", input_steps=127, weight_steps=255)

    def supports(self, config: LayerConfig) -> str | None:
        """float32 LSTMs and GRUs with biases and without projections."""
        if config.kind == "rnn":
            return "quantize_dynamic has no RNN among its default mappings"
        if config.dtype != "float32":
            return "quantized modules take float32"
        if not config.bias:
            return "quantized.dynamic.RNNBase.from_float: mod.bias must be True"
        return "torch.ao.nn.quantized.dynamic.LSTM has no proj_size" if config.proj_size else None

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A module that was quantized with these parameters.

        Raises:
            NotImplementedError: for a config that `supports` refuses.
        """
        if reason := self.supports(config):
            raise NotImplementedError(reason)
        holder = torch.nn.Sequential(self.filled(self.module(config), config, parameters))
        kinds = {torch.nn.LSTM, torch.nn.GRU}
        quantized: Any = quantize_dynamic(holder, kinds, dtype=self.weight_dtype)  # type: ignore[no-untyped-call]
        return QuantizedLayer(quantized[0], config)

    def expectations(self) -> Path | None:
        """What dynamically quantized modules are known to do otherwise."""
        return Path(__file__).with_name("torch_quantized.toml")

    def environment(self) -> dict[str, str]:
        """Torch's, and the engine."""
        return super().environment() | {"quantized engine": torch.backends.quantized.engine}


class TorchQuantizedFloat16Backend(TorchQuantizedBackend):
    """The same with weights that are stored in float16; fbgemm widens them again and computes in float32."""

    weight_dtype = torch.float16

    def __init__(self) -> None:
        super().__init__()
        self.name = "torch-quantized-float16"

    def arithmetic(self, dtype: str) -> Arithmetic:
        """float32 but for the weights. Biases, inputs and states are kept in float32.

        fbgemm rounds weights to the nearest float16, to even, subnormal ones too; beyond 65504 it warns and takes that.
        """
        return replace(arithmetic_of(dtype), name="float32, weights in float16", weight_dtype="float16")

    def supports(self, config: LayerConfig) -> str | None:
        """What weights of 8 bits are offered for, on an engine that is fbgemm."""
        engine = torch.backends.quantized.engine
        if engine not in ("x86", "fbgemm"):
            return f"quantized::linear_prepack_fp16 is currently not supported by {engine.upper()}"
        return super().supports(config)

    def expectations(self) -> Path | None:
        """What such modules are known to do otherwise."""
        return Path(__file__).with_name("torch_quantized_float16.toml")
