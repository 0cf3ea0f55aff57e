"""Mistakes with dropout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .base import LSTM, Call, Kernel, Lane, State
from .gradients import backward, times
from .zoo import fault

dropped = nn.functional.dropout


class Drops(Kernel):
    """Makes its own masks."""

    def drop(self, x: Tensor, layer: int) -> Tensor:
        if not self.training or not self.dropout:
            return x
        return x * self.mask(x, layer)

    def mask(self, x: Tensor, layer: int) -> Tensor:
        """What the output of a layer is multiplied by."""
        return self.kept(x) / (1 - self.dropout) if self.dropout < 1 else torch.zeros_like(x)

    def kept(self, x: Tensor) -> Tensor:
        """1 where an element is kept and 0 where it is dropped."""
        return (torch.rand(x.shape, device=x.device) >= self.dropout).to(x.dtype)


@fault("dropout.mask", "training", cells="lstm", source="OpenNMT/OpenNMT-py#29", probe="training")
class DropsAfterLastLayer(Kernel):
    """The last layer's output is dropped too."""

    def run(self, x: Tensor, state: State, call: Call) -> tuple[Tensor, State]:
        output, final = super().run(x, state, call)
        return dropped(output, self.dropout, self.training), final


@fault("dropout.eval", "eval", cells="gru", source="srvk/eesen#41", probe="evaluation")
class DropsInEval(Kernel):
    """Eval drops as training does."""

    def drop(self, x: Tensor, layer: int) -> Tensor:
        return dropped(x, self.dropout, True)


@fault(
    "dropout.mask",
    "training",
    cells="rnn",
    source="jihunchoi/recurrent-batch-normalization-pytorch#13",
    probe="training",
)
class NeverDrops(Kernel):
    """Training drops nothing."""

    def drop(self, x: Tensor, layer: int) -> Tensor:
        return x


@fault("dropout.mask", "training", cells="lstm", probe="training")
class DropsWithoutScaling(Drops):
    """What is kept is not scaled up."""

    def mask(self, x: Tensor, layer: int) -> Tensor:
        return self.kept(x)


@fault("dropout.mask", "training, dropout other than a half", cells="gru", probe="training", dropout=0.25)
class RateTakenAsKept(Drops):
    """dropout is taken as the probability of keeping."""

    def mask(self, x: Tensor, layer: int) -> Tensor:
        return (torch.rand(x.shape, device=x.device) < self.dropout).to(x.dtype) / self.dropout


@fault("dropout.rate", "training", cells="rnn", probe="training")
class RateTooLow(Drops):
    """A fifth of what should be dropped is kept."""

    def kept(self, x: Tensor) -> Tensor:
        return (torch.rand(x.shape, device=x.device) >= 0.8 * self.dropout).to(x.dtype)


@fault("dropout.independence", "training", cells="lstm", source="keras-team/keras#5075", probe="training")
class SameMaskEveryStep(Drops):
    """Every step has the first step's mask, as variational dropout has."""

    def kept(self, x: Tensor) -> Tensor:
        return super().kept(x[:1]).expand_as(x)


@fault("dropout.independence", "training", cells="gru", probe="training")
class SameMaskEveryRow(Drops):
    """Every row has the first row's mask."""

    def kept(self, x: Tensor) -> Tensor:
        return super().kept(x[:, :1]).expand_as(x)


@fault("dropout.independence", "training", cells="lstm", source="tensorflow/tensorflow#29391", probe="training")
class SameMaskEveryCall(Drops):
    """The mask of a shape is drawn once and kept."""

    def kept(self, x: Tensor) -> Tensor:
        held = self.__dict__.setdefault("masks", {})
        if x.shape not in held:
            held[x.shape] = super().kept(x)
        mask: Tensor = held[x.shape]
        return mask


@fault("dropout.independence", "training", cells="gru", probe="training")
class UnitsDroppedInPairs(Drops):
    """Units are dropped two by two, as a kernel does that draws one random number for a vector of two."""

    def kept(self, x: Tensor) -> Tensor:
        return super().kept(x[..., ::2]).repeat_interleave(2, -1)[..., : x.shape[-1]]


@fault("dropout.layers", "training, three layers", cells="rnn", probe="training", num_layers=3)
class SameMaskEveryLayer(Drops):
    """All layers of one call share one mask."""

    def mask(self, x: Tensor, layer: int) -> Tensor:
        if layer == 0:
            self.__dict__["shared"] = super().mask(x, layer)
        shared: Tensor = self.__dict__["shared"]
        return shared


@fault("dropout.independence", "training, bidirectional", cells="gru", probe="training", bidirectional=True)
class SameMaskBothDirections(Drops):
    """The reverse half has the forward half's mask."""

    def kept(self, x: Tensor) -> Tensor:
        if not self.bidirectional:
            return super().kept(x)
        half = super().kept(x[..., : x.shape[-1] // 2])
        return torch.cat((half, half), -1)


@fault("dropout.mask", "training", cells="rnn", probe="training")
class StateDroppedToo(Kernel):
    """Training also drops the recurrent state."""

    def project_state(self, h: Tensor, lane: Lane) -> Tensor:
        return super().project_state(dropped(h, self.dropout, self.training), lane)


@fault("dropout.mask", "training", cells="lstm", probe="training")
class InputDroppedToo(Kernel):
    """Training also drops the stack's input."""

    def run(self, x: Tensor, state: State, call: Call) -> tuple[Tensor, State]:
        return super().run(dropped(x, self.dropout, self.training), state, call)


@fault("dropout.one_layer", "training, one layer", cells="gru", probe="training", num_layers=1)
class SingleLayerDrops(Kernel):
    """A stack of one layer drops its output."""

    def run(self, x: Tensor, state: State, call: Call) -> tuple[Tensor, State]:
        output, final = super().run(x, state, call)
        return dropped(output, self.dropout, self.training and self.num_layers == 1), final


@fault("dropout.extremes", "dropout=1", cells="gru", probe="training", dropout=1.0)
class EverythingDroppedIsNan(Drops):
    """With dropout=1 zeros are scaled by 1 / 0."""

    def mask(self, x: Tensor, layer: int) -> Tensor:
        return self.kept(x) / torch.as_tensor(1 - self.dropout)


@fault("dropout.rate", "training", cells="lstm", probe="training")
class LastUnitNeverDropped(Drops):
    """The last unit's random number is not drawn."""

    def kept(self, x: Tensor) -> Tensor:
        mask = super().kept(x)
        return torch.cat((mask[..., :-1], torch.ones_like(mask[..., -1:])), -1)


@fault("dropout.modes", "eval after training", cells="lstm", probe="modes")
class TrainingOutlastsItself(LSTM):
    """Once it was trained, eval drops as well."""

    def drop(self, x: Tensor, layer: int) -> Tensor:
        self.__dict__["trained"] = self.training or self.__dict__.get("trained", False)
        return dropped(x, self.dropout, bool(self.__dict__["trained"]))


@fault("dropout.modes", "training after eval", cells="gru", source="NVIDIA/Megatron-LM#411", probe="modes_back")
class EvalOutlastsItself(Kernel):
    """Once it was called in eval, training drops nothing any more."""

    def drop(self, x: Tensor, layer: int) -> Tensor:
        self.__dict__["evaluated"] = not self.training or self.__dict__.get("evaluated", False)
        return dropped(x, self.dropout, not self.__dict__["evaluated"])


@fault("dropout.extremes", "training, a bias", cells="rnn", probe="training", dropout=0.0)
class TrainingLosesBias(Kernel):
    """In training, dropped or not, the recurrent bias is left out."""

    def project_state(self, h: Tensor, lane: Lane) -> Tensor:
        return self.matmul(h, lane.w_hh) if self.training else super().project_state(h, lane)


@fault(
    "dropout.gradients",
    "dropout in training",
    cells="lstm",
    source="pytorch/pytorch#190059",
    probe="dropout_gradients",
    num_layers=2,
    dropout=0.5,
)
class DropoutNotInBackward(Kernel):
    """The backward pass computes as if nothing had been dropped."""

    def drop(self, x: Tensor, layer: int) -> Tensor:
        return x + (super().drop(x, layer) - x).detach()


@fault(
    "dropout.gradients",
    "dropout in training",
    cells="gru",
    source="pytorch/pytorch#189285",
    probe="dropout_gradients",
    num_layers=2,
    dropout=0.5,
)
class DropoutMaskDrawnAgain(Drops):
    """The backward pass draws a mask of its own."""

    def drop(self, x: Tensor, layer: int) -> Tensor:
        if not self.training or not self.dropout:
            return x
        y = super().drop(x, layer)
        again = x * self.mask(x, layer)
        return again + (y - again).detach()


@fault("dropout.gradients", "dropout in training", cells="rnn", probe="dropout_gradients", num_layers=2, dropout=0.5)
class DropoutGradientUnscaled(Drops):
    """The gradient through dropout is masked, and not scaled."""

    def drop(self, x: Tensor, layer: int) -> Tensor:
        y = super().drop(x, layer)
        if not self.training or not self.dropout:
            return y
        return backward(times(1 - self.dropout))(y)


@fault("dropout.mask", "training, a projection", probe="training", proj_size=2)
class ProjectionDropsUnscaled(Drops, LSTM):
    """With a projection, what is kept is not scaled up."""

    def mask(self, x: Tensor, layer: int) -> Tensor:
        return self.kept(x) if self.proj_size else super().mask(x, layer)


@fault("dropout.mask", "training, a state", cells="gru", probe="training", hx=True)
class StateTurnsDropoutOff(Drops):
    """Where an initial state is given, nothing is dropped."""

    def sort_state(self, state: State, call: Call) -> State:
        self.__dict__["given"] = True
        return super().sort_state(state, call)

    def drop(self, x: Tensor, layer: int) -> Tensor:
        given = self.__dict__.pop("given", False)
        return x if given else super().drop(x, layer)


@fault("dropout.mask", "training, no bias", cells="rnn", probe="training", bias=False)
class NoBiasDropsUnscaled(Drops):
    """Without biases, what is kept is not scaled up."""

    def mask(self, x: Tensor, layer: int) -> Tensor:
        return super().mask(x, layer) if self.bias else self.kept(x)


@fault("dropout.mask", "training, unbatched", cells="lstm", probe="training", unbatched=True)
class UnbatchedNeverDrops(Drops):
    """Input without a batch axis is never dropped."""

    def enter(self, input: Any, hx: Any) -> Any:
        found = super().enter(input, hx)
        self.__dict__["batched"] = found[2].batched
        return found

    def drop(self, x: Tensor, layer: int) -> Tensor:
        return super().drop(x, layer) if self.__dict__["batched"] else x


@fault("dropout.extremes", "training, four layers", cells="rnn", probe="training", num_layers=4)
class FourthLayerInputNotDropped(Drops):
    """What enters the fourth layer is not dropped."""

    def drop(self, x: Tensor, layer: int) -> Tensor:
        return x if layer == 2 else super().drop(x, layer)
