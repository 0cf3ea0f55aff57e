"""What most users deploy: a torch.nn stack exported by torch.onnx.export and run by ONNX Runtime."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from rnn_reference.parameters import lanes

from rnn_conformance.backend import Array, Layer
from rnn_conformance.backends.onnx_model import OnnxLayer, Run
from rnn_conformance.backends.onnxruntime import OnnxRuntimeBackend
from rnn_conformance.config import LayerConfig

STATES = ("h", "c")
EXPORTING = threading.Lock()  # torch.onnx.export sets a global and allows no second export beside it


class ExportedLayer(OnnxLayer):
    """A torch.nn stack, exported once with a state and once without."""

    backend: TorchExportBackend

    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        """Run the exported model.

        Raises:
            ValueError: for a state of more or fewer parts than the model has inputs for.
        """
        feeds = {"input": input}
        names = STATES[: len(self.config.state_sizes)]
        if hx is not None:
            parts = zip(names, hx if isinstance(hx, tuple) else (hx,), strict=True)
            feeds |= {f"{name}_0": part for name, part in parts}
        found = self.run(hx is not None, lengths is not None)(feeds)
        state = tuple(found[f"{name}_n"] for name in names)
        return found["output"], state if self.config.kind == "lstm" else state[0]

    def run(self, hx: bool, lengths: bool, alone: str = "") -> Run:
        """The session of the export that has these inputs."""
        with EXPORTING:
            if (hx, lengths, alone) not in self.compiled:
                self.compiled[hx, lengths, alone] = self.backend.compile(self.exported(hx))
            return self.compiled[hx, lengths, alone]

    def exported(self, hx: bool) -> Any:
        """The module as a model whose steps and batch are symbols."""
        config = self.config
        module: Any = getattr(torch.nn, config.kind.upper())(**config.torch_arguments())
        module = module.eval().to(getattr(torch, config.dtype))
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(torch.from_numpy(self.held[name]))
        steps, rows = 3, 2
        shape = (rows, steps, config.input_size) if config.batch_first else (steps, rows, config.input_size)
        count = len(lanes(config.num_layers, config.bidirectional))
        dtype = getattr(torch, config.dtype)
        parts = tuple(torch.zeros(count, rows, size, dtype=dtype) for size in config.state_sizes)
        names = [f"{name}_0" for name in STATES[: len(parts)]] if hx else []
        sequence = {0: "batch", 1: "steps"} if config.batch_first else {0: "steps", 1: "batch"}
        file: Any = io.BytesIO()
        with warnings.catch_warnings(action="ignore"):  # of this exporter's age
            torch.onnx.export(
                module,
                (torch.zeros(shape, dtype=dtype), *((parts if len(parts) == 2 else parts[0],) if hx else ())),
                file,
                dynamo=False,
                opset_version=17,
                input_names=["input", *names],
                output_names=["output", *(f"{name}_n" for name in STATES[: len(parts)])],
                dynamic_axes={"input": sequence, "output": sequence} | {name: {1: "batch"} for name in names},
            )
        return onnx.load_model_from_string(file.getvalue())


class TorchExportBackend(OnnxRuntimeBackend):
    """torch.onnx.export (TorchScript's, which has the recurrent operators) and ONNX Runtime."""

    name = "onnxruntime-torch-export"
    policy = replace(OnnxRuntimeBackend.policy, lengths=False)  # its models take tensors, not packed sequences

    def extras(self, cell: str) -> Mapping[str, tuple[Any, ...]]:
        """Nothing that torch.nn has not."""
        return {}

    def supports(self, config: LayerConfig) -> str | None:
        """What ONNX Runtime lacks, and what torch.onnx.export refuses, in its own words.

        batch_first is offered: the exporter transposes, and does not use `layout`.
        """
        if config.proj_size:
            return "torch.onnx.export: Unsupported: ONNX export of operator LSTM, LSTMs with projections"
        if config.dtype in ("float64", "bfloat16"):
            return f"ONNX Runtime: no {config.dtype} in recurrent operators"
        return "dropout is training's, and models are exported for inference" if config.dropout else self.lacks(config)

    def refuses_alone(self, config: LayerConfig, name: str) -> str | None:
        """torch.nn's forward, which is what is exported, gives all results."""
        return "torch.nn's forward gives all results"

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A stack with these parameters, to be exported when it is first called.

        Raises:
            NotImplementedError: for a config that `supports` refuses.
            ValueError: for one that cannot exist.
        """
        if reason := self.supports(config):
            raise NotImplementedError(reason)
        config.parameter_shapes()
        return ExportedLayer(self, config, parameters)

    def expectations(self) -> Path | None:
        """What is known to be otherwise."""
        return Path(__file__).with_name("onnxruntime_torch_export.toml")

    def environment(self) -> dict[str, str]:
        """Those of the exporter and of the runtime."""
        return super().environment() | {"torch": str(torch.__version__), "numpy": np.__version__}
