"""torch.export: torch.nn.LSTM, GRU and RNN as graphs of core ATen operations, one for each shape."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch.func import functional_call

from rnn_conformance.backend import Array, Layer, Policy
from rnn_conformance.backends.drop_in import ModuleLayer
from rnn_conformance.backends.torch import TorchBackend
from rnn_conformance.config import LayerConfig

Form = Any  # (shape, strides, dtype) of each tensor, nested as the arguments are


def form_of(argument: Any) -> Form:
    """What a graph is specialized for; strides too, for the decompositions take views of what they are shown."""
    if isinstance(argument, tuple):
        return tuple(form_of(part) for part in argument)
    if isinstance(argument, torch.Tensor):
        return (tuple(argument.shape), argument.stride(), argument.dtype)
    return argument


class ExportedLayer(ModuleLayer):
    """A module whose calls go to the graph that was exported for their form."""

    def __init__(self, module: torch.nn.Module, config: LayerConfig, backend: TorchExportBackend) -> None:
        super().__init__(module, config)
        self.backend = backend

    def _call(self, input: Any, hx: Any) -> Any:
        given = (input,) if hx is None else (input, hx)
        graph = self.backend.graph(self.module, self.config, given)
        return functional_call(graph, dict(self.module.named_parameters()), given)

    def __deepcopy__(self, memo: dict[int, Any]) -> ExportedLayer:
        return ExportedLayer(deepcopy(self.module, memo), self.config, self.backend)


class TorchExportBackend(TorchBackend):
    """PyTorch's modules after torch.export.export(...).run_decompositions(): what runtimes such as ExecuTorch get."""

    # Exporting a packed sequence fails: "Could not guard on data-dependent expression", in one_layer_lstm_data
    policy = replace(Policy(), lengths=False)
    max_examples = 1

    def __init__(self) -> None:
        super().__init__()
        self.name = "torch-export"
        self.graphs: dict[Any, Any] = {}
        self.tracing = Lock()

    def graph(self, module: torch.nn.Module, config: LayerConfig, given: tuple[Any, ...]) -> Any:
        """The graph for arguments of this form, exported once; its parameters are replaced at every call."""
        key = (config, form_of(given), module.training)
        with self.tracing:
            if key not in self.graphs:
                self.graphs[key] = torch.export.export(module, given).run_decompositions().module()
            return self.graphs[key]

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A module with these parameters, exported when it is called."""
        return ExportedLayer(self.filled(self.module(config), config, parameters), config, self)

    def expectations(self) -> Path | None:
        """What the decompositions are known to do otherwise."""
        return Path(__file__).with_name("torch_decomposed.toml")
