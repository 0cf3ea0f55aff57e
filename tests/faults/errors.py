"""Mistakes with calls and arguments that should be refused."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .base import GRU, LSTM, Around, Call, Kernel, State, each, on_data
from .zoo import fault


@fault("errors.input", "input with features too many", cells="gru", probe="wrong", wrong="features")
class FeaturesTooManyIgnored(Around):
    """Features beyond input_size are ignored."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        return on_data(lambda x: x[..., : self.input_size], input), hx


@fault("errors.input", "input of another dtype", cells="lstm", probe="wrong", wrong="dtype")
class OtherDtypesCast(Around):
    """Input of another dtype is cast."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        return on_data(lambda x: x.to(next(self.parameters()).dtype), input), hx


@fault("errors.input", "input of integers", cells="rnn", probe="wrong", wrong="integers")
class IntegersTaken(Around):
    """Input of integers is taken as numbers."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        weight = next(self.parameters())
        return on_data(lambda x: x if x.is_floating_point() else x.to(weight.dtype), input), hx


@fault("errors.input", "input of four axes", cells="gru", probe="wrong", wrong="axes")
class AxesTooManyFlattened(Around):
    """An input of four axes is flattened."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        four = isinstance(input, Tensor) and input.dim() == 4
        return input.flatten(0, 1) if four else input, hx


@fault("errors.state", "a state with rows too many", cells="lstm", probe="wrong", wrong="rows", hx=True)
class RowsTooManyIgnored(Around):
    """Rows of the state beyond the batch are ignored."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        if isinstance(input, PackedSequence) or input.dim() < 3:
            return input, hx
        rows = input.shape[0 if self.batch_first else 1]
        return input, each(lambda part: part[:, :rows] if part.dim() == 3 else part, hx)


@fault(
    "errors.state",
    "a state with lanes too many",
    source="PaddlePaddle/Paddle#39655",
    cells="gru",
    probe="wrong",
    wrong="lanes",
    hx=True,
)
class LanesTooManyIgnored(Around):
    """Lanes of the state beyond those of the layer are ignored."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        lanes = self.num_layers * (2 if self.bidirectional else 1)
        return input, each(lambda part: part[:lanes], hx)


@fault("errors.state", "a state of one row for a batch", cells="rnn", probe="wrong", wrong="one row", hx=True)
class StateBroadcast(Around):
    """A state of one row serves the whole batch."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        if isinstance(input, PackedSequence) or input.dim() < 3 or hx is None:
            return input, hx
        rows = input.shape[0 if self.batch_first else 1]
        return input, hx.expand(-1, rows, -1).contiguous() if hx.dim() == 3 and hx.shape[1] == 1 else hx


@fault("errors.state", "a state without a batch axis", cells="gru", probe="wrong", wrong="state axes", hx=True)
class StateAxesGuessed(Around):
    """A state without a batch axis serves all rows of a batch."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        if isinstance(input, PackedSequence) or input.dim() < 3 or hx is None or hx.dim() == 3:
            return input, hx
        rows = input.shape[0 if self.batch_first else 1]
        return input, hx.unsqueeze(1).expand(-1, rows, -1).contiguous()


@fault("errors.state", "three states", cells="lstm", probe="wrong", wrong="three states", hx=True)
class ThirdStateIgnored(Around):
    """A third state is ignored."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        return input, hx and hx[:2]


@fault(
    "errors.state",
    "h_0 alone",
    cells="lstm",
    source="onnx/onnx-tensorflow#408",
    probe="wrong",
    wrong="h_0 alone",
    hx=True,
)
class CellStateOptional(LSTM):
    """An LSTM given h_0 alone takes c_0 as zeros."""

    def as_state(self, hx: Any) -> State:
        if isinstance(hx, Tensor):
            return hx, hx.new_zeros(*hx.shape[:-1], self.hidden_size)
        return super().as_state(hx)


@fault(
    "errors.packed_input",
    "packed input with features too many",
    cells="gru",
    probe="wrong",
    wrong="features",
    lengths=(6, 2, 4),
)
class PackedFeaturesUnchecked(Kernel):
    """Features beyond input_size are ignored in packed input."""

    def enter(self, input: Any, hx: Any) -> tuple[Tensor, State, Call]:
        packed = isinstance(input, PackedSequence)
        return super().enter(on_data(lambda x: x[:, : self.input_size], input) if packed else input, hx)


@fault("errors.recovery", "a right call after a wrong one", cells="gru", probe="recovery")
class WrongCallPoisonsNext(Around):
    """After a call that was refused, the next one forgets its state."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        poisoned = self.__dict__.pop("poisoned", False)
        try:
            return super().forward(input, each(torch.zeros_like, hx) if poisoned else hx)
        except Exception:
            self.__dict__["poisoned"] = True
            raise


@fault("errors.constructor", "dropout above 1", cells="rnn", probe="constructor", dropout=1.5)
class RateClamped(Around):
    """A dropout that is no probability is clamped to one."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        keywords["dropout"] = min(max(keywords.get("dropout", 0.0), 0.0), 1.0)
        super().__init__(*arguments, **keywords)


@fault("errors.constructor", "num_layers=0", cells="gru", probe="constructor", num_layers=0)
class NoLayersIsOne(Around):
    """num_layers=0 makes one layer."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        keywords["num_layers"] = max(keywords.get("num_layers", 1), 1)
        super().__init__(*arguments, **keywords)


@fault("errors.constructor", "proj_size for a GRU", cells="gru", probe="constructor", proj_size=1)
class ProjectionIgnored(GRU):
    """A GRU ignores proj_size."""

    def __init__(self, *arguments: Any, proj_size: int = 0, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)


@fault("errors.constructor", "proj_size equal to hidden_size", cells="lstm", probe="constructor", proj_size=5)
class ProjectionTooLargeIgnored(Around):
    """A proj_size that is not smaller than hidden_size is ignored."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        if keywords.get("proj_size", 0) >= keywords["hidden_size"]:
            keywords["proj_size"] = 0
        super().__init__(*arguments, **keywords)


@fault("edges.empty_sequence", "a sequence of no steps", cells="gru", probe="wrong", wrong="no steps")
class NoStepsTaken(Around):
    """A sequence of no steps gives the initial state back, and the backend does not say so."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        batched = isinstance(input, Tensor) and input.dim() == 3
        if not isinstance(input, Tensor) or input.shape[1 if self.batch_first and batched else 0]:
            return super().forward(input, hx)
        directions = 2 if self.bidirectional else 1
        rows = input.shape[:2] if batched else ()
        shape = (self.num_layers * directions, *([max(rows)] if batched else []), self.hidden_size)
        output = input.new_zeros(*input.shape[:-1], self.hidden_size * directions)
        return output, input.new_zeros(shape) if hx is None else hx.clone()


@fault("errors.input", "a feature too few", cells="lstm", probe="wrong", wrong="fewer features")
class MissingFeaturesAreZero(Around):
    """Features that are missing are taken for zeros."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        return on_data(lambda x: nn.functional.pad(x, (0, max(0, self.input_size - x.shape[-1]))), input), hx


@fault("errors.state", "a lane too few", cells="gru", probe="wrong", wrong="fewer lanes", hx=True, num_layers=2)
class MissingLanesAreZero(Around):
    """Layers for which the state has no lane start from zeros."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        if hx is None or hx.dim() < 2:
            return input, hx
        lanes = self.num_layers * (2 if self.bidirectional else 1)
        return input, nn.functional.pad(hx, (0, 0) * (hx.dim() - 1) + (0, max(0, lanes - len(hx))))


@fault("errors.state", "a row too few", cells="rnn", probe="wrong", wrong="fewer rows", hx=True)
class MissingRowsAreZero(Around):
    """Rows for which the state is missing start from zeros."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        if hx is None or isinstance(input, PackedSequence) or input.dim() != 3 or hx.dim() != 3:
            return input, hx
        rows = input.shape[0 if self.batch_first else 1]
        return input, nn.functional.pad(hx, (0, 0, 0, max(0, rows - hx.shape[1])))
