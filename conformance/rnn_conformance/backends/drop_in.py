"""Door 1: classes with torch.nn.LSTM's, GRU's and RNN's constructor, parameters and forward."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnn_conformance.arithmetic import Arithmetic, arithmetic_of
from rnn_conformance.backend import Array, Backend, Differentiate, Layer, ParametersDiffer
from rnn_conformance.config import LayerConfig

SETTERS: dict[str, Callable[[Any], Any]] = {
    "default dtype": torch.set_default_dtype,
    "number of threads": torch.set_num_threads,
    "gradient mode": torch.set_grad_enabled,
    "deterministic algorithms": torch.use_deterministic_algorithms,
    "float32 matmul precision": torch.set_float32_matmul_precision,
    "random state": lambda state: torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8)),
}

cudnn_version: Callable[[], int | None] = torch.backends.cudnn.version


class ModuleLayer(Layer):
    """A torch module driven through its own interface."""

    def __init__(self, module: torch.nn.Module, config: LayerConfig) -> None:
        self.module = module
        self.config = config

    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        """The module's forward; a batch with lengths goes in packed and must come out packed."""
        self.module.train(training)
        with torch.no_grad():
            return self.run(input, hx, lengths)

    def run(self, input: Any, hx: Any, lengths: Sequence[int] | None) -> Any:
        """Call the module in the mode that it is in."""
        if lengths is None:
            return self._call(input, hx)
        first = self.config.batch_first
        descending = list(lengths) == sorted(lengths, reverse=True)  # then as users do who sort by hand
        packed = pack_padded_sequence(input, list(lengths), batch_first=first, enforce_sorted=descending)
        output, state = self._call(packed, hx)
        if not isinstance(output, PackedSequence):
            raise TypeError(f"packed input must give packed output, not {type(output).__name__}")
        return pad_packed_sequence(output, batch_first=first, total_length=input.shape[1 if first else 0])[0], state

    def _call(self, input: Any, hx: Any) -> Any:
        return self.module(input) if hx is None else self.module(input, hx)

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
        """The module's forward, and autograd's backward through it."""
        output, state, differentiate = self._taped(input, hx, lengths, frozen, accumulate)
        return output, state, differentiate(output_gradient, state_gradient)

    def taped(
        self, input: Any, hx: Any, lengths: Sequence[int] | None = None, training: bool = True
    ) -> tuple[Any, Any, Differentiate]:
        """The module's forward, and autograd's backward for later."""
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
        self.module.train(training)
        own = self.parameters()
        for name, parameter in own.items():
            parameter.requires_grad_(name not in frozen)
        with torch.enable_grad():
            return taped(self.run, own, input, hx, lengths, frozen, accumulate)

    def parameters(self) -> Mapping[str, Any]:
        """The module's named parameters."""
        return dict(self.module.named_parameters())

    def save(self) -> Any:
        """The module's state_dict, as a file."""
        file = io.BytesIO()
        torch.save(self.module.state_dict(), file)
        return file.getvalue()

    def load(self, saved: Any) -> None:
        """Load a state_dict from such a file."""
        self.module.load_state_dict(torch.load(io.BytesIO(saved), weights_only=True))


def taped(
    run: Callable[..., Any],
    parameters: Mapping[str, Any],
    input: Any,
    hx: Any,
    lengths: Sequence[int] | None,
    frozen: Collection[str] = (),
    accumulate: bool = False,
) -> tuple[Any, Any, Differentiate]:
    """Run `run(input, hx, lengths)`: its results, and what takes the gradients by all that it was given."""
    parts = () if hx is None else hx if isinstance(hx, tuple) else (hx,)
    given = {"input": input} | dict(zip(("h_0", "c_0"), parts, strict=False))
    leaves = {name: tensor.detach().requires_grad_(name not in frozen) for name, tensor in given.items()}
    states_in = tuple(leaves[name] for name in ("h_0", "c_0") if name in leaves)
    output, state = run(
        leaves["input"], None if hx is None else states_in if isinstance(hx, tuple) else states_in[0], lengths
    )
    results = [output, *(state if isinstance(state, tuple) else (state,))]

    def differentiate(output_gradient: Any, state_gradient: Any, retain_graph: bool = False) -> Mapping[str, Any]:
        d_states = state_gradient if isinstance(state_gradient, tuple) else (state_gradient,)
        wanted = leaves | dict(parameters)
        for tensor in wanted.values():
            tensor.grad = tensor.grad if accumulate else None
        upstream = zip(results, (output_gradient, *d_states), strict=True)
        joined = [pair for pair in upstream if pair[0].requires_grad]  # others pass nothing on; torch would refuse them
        torch.autograd.backward([y for y, _ in joined], [dy for _, dy in joined], retain_graph=retain_graph)
        found = {name: tensor.grad for name, tensor in wanted.items()}
        return {name: gradient for name, gradient in found.items() if gradient is not None}

    return output, state, differentiate


@lru_cache
def _parameters_of(module: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(module).parameters


def _over_memory_of(array: Array) -> torch.Tensor:
    """A tensor that is the same part of its storage as the array is of the memory that it is a view of.

    `torch.from_numpy` begins a storage at the array's own first element, so that no kernel would ever see an offset.
    """
    if array.dtype == ml_dtypes.bfloat16:
        return _over_memory_of(array.view(np.int16)).view(torch.bfloat16)
    whole = array.base
    if not isinstance(whole, np.ndarray) or not whole.flags.c_contiguous or not array.flags.writeable:
        return torch.from_numpy(array)
    step = array.itemsize
    offset, rest = divmod(_address(array) - _address(whole), step)
    if rest or offset < 0 or any(stride % step for stride in array.strides):
        return torch.from_numpy(array)
    memory = whole.reshape(-1).view(np.uint8)[: whole.nbytes // step * step].view(array.dtype)
    return torch.from_numpy(memory).as_strided(array.shape, [stride // step for stride in array.strides], offset)


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


class DropInBackend(Backend):
    """Backend over drop-in modules. A kind that is not given is not offered."""

    def __init__(self, lstm: Any = None, gru: Any = None, rnn: Any = None, name: str = "") -> None:
        self.modules = {"lstm": lstm, "gru": gru, "rnn": rnn}
        given = [module for module in self.modules.values() if module is not None]
        self.name = name or "+".join(f"{module.__module__}:{module.__qualname__}" for module in given)

    def expectations(self) -> Path | None:
        """What torch.nn itself does otherwise, and what takes its place may do too."""
        return Path(__file__).with_name("drop_in.toml")

    @property
    def version(self) -> str:
        """That of the package from which the modules come, where it says one."""
        given = [module for module in self.modules.values() if module is not None]
        package = inspect.getmodule(given[0])
        return str(getattr(package, "__version__", "unknown"))

    def devices(self) -> Sequence[str]:
        """cpu, and cuda and mps where torch finds them."""
        found = ["cpu"]
        if torch.cuda.is_available():
            found.append("cuda")
        if torch.backends.mps.is_available():
            found.append("mps")
        return found

    def arithmetic(self, dtype: str) -> Arithmetic:
        """The usual one; x86's bfloat16 products (VDPBF16PS) take subnormal numbers as zero, whatever torch is told."""
        return arithmetic_of(dtype, self.policy.flush_subnormals or dtype == "bfloat16")

    def supports(self, config: LayerConfig) -> str | None:
        """Not offered is a kind without a class, and an argument that the constructor does not take."""
        module = self.modules[config.kind]
        if module is None:
            return f"no {config.kind.upper()} is offered"
        taken = _parameters_of(module)
        if any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in taken.values()):
            return None
        lacking = [name for name in config.torch_arguments() if name not in taken]
        return f"the constructor of {module.__name__} has no {', '.join(lacking)}" if lacking else None

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A module of the config's class with these parameters copied in."""
        return ModuleLayer(self.filled(self.module(config), config, parameters), config)

    def module(self, config: LayerConfig) -> Any:
        """A new module of the config's class."""
        module = self.modules[config.kind](**config.torch_arguments())
        return module.to(device=config.device, dtype=getattr(torch, config.dtype))

    def filled(self, module: Any, config: LayerConfig, parameters: Mapping[str, Array]) -> Any:
        """The module, once these parameters are copied in.

        Raises:
            ValueError: where it has others.
        """
        own = dict(module.named_parameters())
        if set(own) != set(parameters):
            raise ParametersDiffer(f"named_parameters() gives {sorted(own)}, but {sorted(parameters)} were due")
        with torch.no_grad():
            for name, values in parameters.items():
                if tuple(own[name].shape) != values.shape:
                    wrong = f"{name} has the shape {tuple(own[name].shape)}"
                    raise ParametersDiffer(f"{wrong}, but {values.shape} was due")
                own[name].copy_(self.from_numpy(values, config.device))
        return module

    def from_numpy(self, array: Array, device: str) -> Any:
        """A tensor over the same memory, on the CPU; a copy elsewhere."""
        return _over_memory_of(array).to(device)

    def to_numpy(self, array: Any) -> Array:
        """The tensor's values."""
        if not isinstance(array, torch.Tensor):
            raise TypeError(f"a tensor was due, not {type(array).__name__}")
        tensor = array.detach().cpu()
        if tensor.dtype == torch.bfloat16:
            return np.asarray(tensor.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16))
        return np.asarray(tensor.numpy())

    def device_of(self, array: Any) -> str:
        """The type of the tensor's device."""
        return str(array.device.type)

    def assign(self, array: Any, values: Array) -> None:
        """Copy values into the tensor."""
        with torch.no_grad():
            array.copy_(self.from_numpy(values, str(array.device)))

    def rebind(self, array: Any, values: Array) -> None:
        """Let the tensor be a view of this memory."""
        array.data = self.from_numpy(values, str(array.device))

    def settings(self) -> dict[str, Any]:
        """Torch's settings that hold for the whole process."""
        return {
            "default dtype": torch.get_default_dtype(),
            "number of threads": torch.get_num_threads(),
            "gradient mode": torch.is_grad_enabled(),
            "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
            "float32 matmul precision": torch.get_float32_matmul_precision(),
            "random state": torch.get_rng_state().numpy().tobytes(),
        }

    def restore(self, settings: Mapping[str, Any]) -> None:
        """Set those of torch's settings that differ; to set some of them imports half of torch."""
        now = self.settings()
        for name, value in settings.items():
            if now[name] != value:
                SETTERS[name](value)

    def environment(self) -> dict[str, str]:
        """torch, its threads and oneDNN, and the GPU where there is one."""
        found = {
            "torch": torch.__version__,
            "torch threads": str(torch.get_num_threads()),
            "oneDNN": str(torch.backends.mkldnn.enabled),
        }
        if torch.cuda.is_available():
            found |= {
                "cuda": torch.version.cuda or "",
                "cudnn": str(cudnn_version()),
                "gpu": torch.cuda.get_device_name(),
            }
        return found
