"""Modules that misbehave: that raise, give something else, die, or change the process they run in."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch

from .base import Around
from .zoo import fault


@fault("shapes.result", "every config", cells="lstm")
class GivesNone(Around):
    """Forward ends without a return."""

    def behind(self, output: Any, state: Any) -> Any:
        return None


@fault("shapes.result", "every config", cells="gru")
class GivesOutputAlone(Around):
    """The final state is not returned."""

    def behind(self, output: Any, state: Any) -> Any:
        return output


@fault("shapes.result", "every config", cells="lstm")
class GivesThreeResults(Around):
    """h_n and c_n are returned side by side, not as one state."""

    def behind(self, output: Any, state: Any) -> Any:
        return output, *state


@fault("shapes.result", "every config", cells="lstm")
class StateInAList(Around):
    """The state is a list."""

    def behind(self, output: Any, state: Any) -> Any:
        return output, list(state)


@fault("shapes.result", "every config", cells="rnn")
class GivesNumpyArrays(Around):
    """h_n is a NumPy array."""

    def behind(self, output: Any, state: Any) -> Any:
        return output, state.detach().float().numpy()


@fault("shapes.result", "an odd hidden_size", cells="gru", hidden_size=5)
class RefusesOddSizes(Around):
    """An odd hidden_size raises IndexError."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        if self.hidden_size % 2:
            raise IndexError(f"tile of {self.hidden_size} is out of range")
        return input, hx


@fault("shapes.result", "unbatched input", cells="rnn", unbatched=True)
class UnbatchedGivesBatch(Around):
    """Input without a batch axis gives results with one."""

    def behind(self, output: Any, state: Any) -> Any:
        return (
            (output.unsqueeze(1), state) if isinstance(output, torch.Tensor) and output.dim() == 2 else (output, state)
        )


@fault("purity.globals", "every config", cells="lstm", probe="settings")
class SeedsTheGenerator(Around):
    """Each call seeds torch's generator."""

    def behind(self, output: Any, state: Any) -> Any:
        torch.manual_seed(0)
        return output, state


@fault("purity.globals", "every config", cells="gru", probe="settings")
class SetsDefaultDtype(Around):
    """Each call sets torch's default dtype to its own."""

    def behind(self, output: Any, state: Any) -> Any:
        torch.set_default_dtype(torch.float64)
        return output, state


@fault("purity.globals", "every config", cells="rnn", probe="settings")
class SetsThreads(Around):
    """Each call changes the number of threads."""

    def behind(self, output: Any, state: Any) -> Any:
        torch.set_num_threads(torch.get_num_threads() % 2 + 1)
        return output, state


@fault("purity.globals", "every config", cells="gru", probe="settings")
class SetsNumpysErrors(Around):
    """Each call makes NumPy raise on overflow."""

    def behind(self, output: Any, state: Any) -> Any:
        np.seterr(all="raise")
        return output, state


@fault("edges.empty_batch", "an empty batch", cells="lstm", probe="dies", batch=0)
class DiesOnEmptyBatch(Around):
    """An empty batch kills the process."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        if isinstance(input, torch.Tensor) and 0 in input.shape:
            os._exit(139)
        return input, hx


@fault("purity.results", "results without a gradient", cells="lstm", probe="written_into")
class ResultsOfInferenceMode(Around):
    """Without gradients results come from inference mode, so that nobody may write into them."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if torch.is_grad_enabled():
            return super().forward(input, hx)
        with torch.inference_mode():
            return super().forward(input, hx)
