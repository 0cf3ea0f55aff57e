"""torch.compile: torch.nn.LSTM, GRU and RNN traced by Dynamo and compiled by Inductor, once for each shape."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch._dynamo.config

from rnn_conformance.backend import Array, Layer, Policy
from rnn_conformance.backends.drop_in import ModuleLayer
from rnn_conformance.backends.torch import TorchBackend
from rnn_conformance.config import LayerConfig

# Without allow_rnn, Dynamo breaks the graph at every nn.LSTM, GRU and RNN and runs it uncompiled ("Set
# torch._dynamo.config.allow_rnn=True to enable experimental support for RNN, GRU, and LSTM in Dynamo"); beyond the
# limits calls are refused. Each holds in the thread that sets it.
SETTINGS = {"allow_rnn": True, "recompile_limit": 1 << 20, "accumulated_recompile_limit": 1 << 20}


class CompiledLayer(ModuleLayer):
    """A compiled module, which shares what was compiled with all that were made alike."""

    def __init__(self, module: torch.nn.Module, config: LayerConfig, compiler: str) -> None:
        super().__init__(module, config)
        self.compiler = compiler
        self.compiled = torch.compile(module, backend=compiler, fullgraph=True, dynamic=False)

    def _call(self, input: Any, hx: Any) -> Any:
        with torch._dynamo.config.patch(SETTINGS):
            return self.compiled(input) if hx is None else self.compiled(input, hx)

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledLayer:
        return CompiledLayer(deepcopy(self.module, memo), self.config, self.compiler)


class TorchCompileBackend(TorchBackend):
    """PyTorch's modules under torch.compile."""

    # Dynamo takes no packed sequence into one graph: "Attempted to call function marked as skipped"
    policy = replace(Policy(), lengths=False)
    max_examples = 1
    compiler = "inductor"

    def __init__(self) -> None:
        super().__init__()
        self.name = "torch-compile"

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A module with these parameters, compiled when it is called."""
        return CompiledLayer(self.filled(self.module(config), config, parameters), config, self.compiler)

    def expectations(self) -> Path | None:
        """What Inductor and the decompositions are known to do otherwise."""
        return Path(__file__).with_name("torch_compile.toml")

    def environment(self) -> dict[str, str]:
        """Torch's, and the compiler behind Dynamo."""
        return super().environment() | {"torch.compile backend": self.compiler}


class TorchAotBackend(TorchCompileBackend):
    """The same without code generation: Dynamo, AOTAutograd and Inductor's decompositions, run one by one."""

    compiler = "aot_eager_decomp_partition"

    def __init__(self) -> None:
        super().__init__()
        self.name = "torch-compile-aot"

    def expectations(self) -> Path | None:
        """What the decompositions are known to do otherwise."""
        return Path(__file__).with_name("torch_decomposed.toml")
