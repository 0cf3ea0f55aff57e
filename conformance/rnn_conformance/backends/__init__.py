"""Backends by name: those that come with the suite, entry points, `module:Class`, `module:function`, `command:...`."""

from __future__ import annotations

import importlib
import inspect
import os
import shlex
import sys
from importlib.metadata import entry_points
from typing import Any

from rnn_conformance.backend import Backend, WrongUse

BUILT_IN = {
    "torch": "rnn_conformance.backends.torch:TorchBackend",
    "torch-cell": "rnn_conformance.backends.torch_cell:TorchCellBackend",
    "torch-compile": "rnn_conformance.backends.torch_compile:TorchCompileBackend",
    "torch-compile-aot": "rnn_conformance.backends.torch_compile:TorchAotBackend",
    "torch-export": "rnn_conformance.backends.torch_export:TorchExportBackend",
    "torch-functional": "rnn_conformance.backends.torch_functional:TorchFunctionalBackend",
    "torch-quantized": "rnn_conformance.backends.torch_quantized:TorchQuantizedBackend",
    "torch-quantized-float16": "rnn_conformance.backends.torch_quantized:TorchQuantizedFloat16Backend",
    "torch-script": "rnn_conformance.backends.torch_script:TorchScriptBackend",
    "equinox": "rnn_conformance.backends.equinox:EquinoxBackend",
    "flax": "rnn_conformance.backends.flax:FlaxBackend",
    "flax-nnx": "rnn_conformance.backends.flax_nnx:FlaxNnxBackend",
    "haiku": "rnn_conformance.backends.haiku:HaikuBackend",
    "keras-jax": "rnn_conformance.backends.keras:KerasJaxBackend",
    "keras-tensorflow": "rnn_conformance.backends.keras:KerasTensorFlowBackend",
    "keras-torch": "rnn_conformance.backends.keras:KerasTorchBackend",
    "mlx": "rnn_conformance.backends.mlx:MlxBackend",
    "ncnn": "rnn_conformance.backends.ncnn:NcnnBackend",
    "numpy": "rnn_conformance.backends.numpy:NumPyBackend",
    "opencv": "rnn_conformance.backends.opencv:OpenCvBackend",
    "openvino": "rnn_conformance.backends.openvino:OpenVinoBackend",
    "paddle": "rnn_conformance.backends.paddle:PaddleBackend",
    "paddle-cell": "rnn_conformance.backends.paddle_cell:PaddleCellBackend",
    "tflite": "rnn_conformance.backends.tflite:TfliteBackend",
    "tinygrad": "rnn_conformance.backends.tinygrad:TinygradBackend",
    "tract": "rnn_conformance.backends.tract:TractBackend",
    "onnx-reference": "rnn_conformance.backends.onnx_reference:OnnxReferenceBackend",
    "onnxruntime": "rnn_conformance.backends.onnxruntime:OnnxRuntimeBackend",
    "onnxruntime-torch-export": "rnn_conformance.backends.onnxruntime_torch_export:TorchExportBackend",
}

EXTRAS = {  # what to install for each file of this folder
    "drop_in": "torch",
    "equinox": "equinox",
    "flax": "flax",
    "flax_nnx": "flax",
    "haiku": "haiku",
    "mlx": "mlx",
    "ncnn": "ncnn",
    "onnx_reference": "onnx",
    "onnxruntime": "onnxruntime",
    "onnxruntime_torch_export": "onnxruntime-torch-export",
    "opencv": "opencv",
    "openvino": "openvino",
    "paddle": "paddle",
    "paddle_cell": "paddle",
    "tflite": "tflite",
    "tinygrad": "tinygrad",
    "tract": "tract",
    "torch": "torch",
    "torch_cell": "torch",
    "torch_compile": "torch",
    "torch_export": "torch",
    "torch_functional": "torch",
    "torch_quantized": "torch",
    "torch_script": "torch",
}


# what ends processes
CRASHING = frozenset(
    {
        "ncnn",
        "onnxruntime",
        "onnxruntime-torch-export",
        "openvino",
        "paddle",
        "torch-compile",
        "torch-compile-aot",
        "tract",
    }
)


def available() -> dict[str, str]:
    """Where each backend that has a name is found, by name."""
    return {point.name: point.value for point in entry_points(group="rnn_conformance.backends")} | BUILT_IN


def load_backend(name: str) -> Backend:
    """The backend of this name, of this `module:Class` or `module:function`, or of this `command:executable arguments`.

    Raises:
        WrongUse: where there is none, it does not import, or it is not a backend.
    """
    if name.startswith("command:"):
        from rnn_conformance.backends.command import CommandBackend

        return CommandBackend(shlex.split(name.removeprefix("command:")))
    target = available().get(name, name)
    if ":" not in target:
        raise WrongUse(
            f"no backend is called {name!r}: choose one of {', '.join(sorted(available()))}, or write module:Class"
        )
    return backend_of(load_object(target), name)


def backend_of(made: Any, name: str) -> Backend:
    """The backend that a class or an object is.

    Args:
        name: by which it goes where it has none.

    Raises:
        WrongUse: where it is none.
    """
    try:
        backend = made() if isinstance(made, type) else made
    except Exception as error:
        raise WrongUse(f"backend {name} cannot be made: {describe(error)}") from error
    if inspect.isroutine(backend):
        from rnn_conformance.backends.function import FunctionBackend

        backend = FunctionBackend(backend)
    if not isinstance(backend, Backend):
        kind = type(backend).__name__
        raise WrongUse(f"{name} must be a function or a subclass of rnn_conformance.Backend, not {kind}")
    backend.name = backend.name or name
    return backend


def load_object(target: str) -> Any:
    """What `module:name` stands for; the current directory is searched too.

    Raises:
        WrongUse: where the module does not import or has no such name.
    """
    module_name, _, attribute = target.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    extra = EXTRAS.get(module_name.removeprefix(f"{__name__}."))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        hint = f" (install rnn-conformance[{extra}])" if extra else ""
        raise WrongUse(f"{target} cannot be imported: there is no module {error.name!r}{hint}") from error
    except Exception as error:
        hint = f" (the releases that rnn-conformance[{extra}] installs go together)" if extra else ""
        raise WrongUse(f"{target} cannot be imported: {describe(error)}{hint}") from error
    if not attribute or not hasattr(module, attribute):
        raise WrongUse(f"module {module_name!r} has no {attribute or 'class after the colon'!r}")
    return getattr(module, attribute)


def describe(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
