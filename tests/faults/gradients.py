"""Mistakes in gradients, with results that are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from .base import GRU, LSTM, RNN, Around, Kernel, Lane, State, each, on_data
from .zoo import fault

Change = Callable[[Tensor], Tensor]


class _Backward(torch.autograd.Function):
    """The identity, with a gradient that was changed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, change: Change) -> Tensor:
        ctx.change = change
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.change(gradient), None


def backward(change: Change) -> Change:
    """A function that is the identity forward, and `change` backward."""
    return lambda x: _Backward.apply(x, change)  # type: ignore[no-untyped-call,no-any-return]


def times(factor: float | Tensor) -> Change:
    return lambda gradient: gradient * factor


class OfParameters(Around):
    """Changes the gradients of parameters whose names begin so."""

    prefix: ClassVar[str] = ""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        for name, parameter in self.named_parameters():
            if name.startswith(self.prefix):
                parameter.register_hook(self.changed)  # type: ignore[no-untyped-call]

    def changed(self, gradient: Tensor) -> Tensor:
        """The gradient that a parameter gets."""
        return gradient * 0


# By input and states


@fault("gradients.input", "every config", source="jcjohnson/torch-rnn#36", cells="gru", probe="gradients")
class InputGradientLost(Around):
    """The input gets no gradient."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        return on_data(Tensor.detach, input), hx


@fault("gradients.input", "every config", cells="rnn", probe="gradients")
class InputGradientAThousandthSmall(Around):
    """The gradient by the input is scaled by 0.999."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        return on_data(backward(times(0.999)), input), hx


@fault("gradients.input", "more than one step", cells="lstm", probe="gradients")
class InputGradientsTimeReversed(Around):
    """The gradient by the input comes in reverse order of steps, as from a backward pass that is not flipped back."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        if isinstance(input, PackedSequence):
            return input, hx
        axis = 1 if self.batch_first and input.dim() == 3 else 0
        return backward(lambda gradient: gradient.flip(axis))(input), hx


@fault("gradients.input", "lengths", cells="gru", probe="gradients", lengths=(6, 2, 4))
class PackedGradientLost(Around):
    """Packed input gets a gradient of zeros."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        return on_data(backward(times(0)), input) if isinstance(input, PackedSequence) else input, hx


@fault("gradients.state", "a state", cells="gru", probe="gradients", hx=True)
class StateGradientLost(Around):
    """h_0 gets a gradient of zeros."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        return input, each(backward(times(0)), hx)


@fault("gradients.state", "a state", cells="lstm", probe="gradients", hx=True)
class CellStateGradientDoubled(Around):
    """The gradient by c_0 is doubled."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        return input, hx and (hx[0], backward(times(2))(hx[1]))


@fault("gradients.state", "a state, more than one layer", cells="rnn", probe="gradients", hx=True, num_layers=2)
class UpperStateGradientsLost(Around):
    """Of the initial states only the first layer's gets a gradient."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        first = 2 if self.bidirectional else 1
        return input, hx if hx is None else torch.cat((hx[:first], backward(times(0))(hx[first:])))


# By parameters


@fault("gradients.parameters", "every config", cells="lstm", probe="gradients")
class InputWeightGradientsDoubled(OfParameters):
    """The gradients by the input weights are doubled."""

    prefix = "weight_ih"

    def changed(self, gradient: Tensor) -> Tensor:
        return gradient * 2


@fault("gradients.parameters", "every config", cells="gru", probe="gradients")
class RecurrentWeightGradientsAThousandthSmall(OfParameters):
    """The gradients by the recurrent weights are scaled by 0.999."""

    prefix = "weight_hh"

    def changed(self, gradient: Tensor) -> Tensor:
        return gradient * 0.999


@fault("gradients.parameters", "a bias", cells="lstm", probe="gradients")
class InputBiasGradientLost(OfParameters):
    """The input biases get gradients of zeros."""

    prefix = "bias_ih"


@fault("gradients.parameters", "a bias", cells="gru", probe="gradients")
class RecurrentBiasGradientDoubled(OfParameters):
    """The gradients by the recurrent biases are doubled."""

    prefix = "bias_hh"

    def changed(self, gradient: Tensor) -> Tensor:
        return gradient * 2


@fault("gradients.parameters", "a bias, more than one row", cells="rnn", probe="gradients")
class BiasGradientsAveraged(OfParameters):
    """The gradients by biases are means over rows, not sums."""

    prefix = "bias"

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        batched = not isinstance(input, PackedSequence) and input.dim() == 3
        self.__dict__["rows"] = max(input.shape[0 if self.batch_first else 1], 1) if batched else 1
        return input, hx

    def changed(self, gradient: Tensor) -> Tensor:
        rows: int = self.__dict__["rows"]
        return gradient / rows


@fault("gradients.parameters", "a projection", cells="lstm", probe="gradients", proj_size=2)
class ProjectionGradientLost(OfParameters):
    """The projection gets a gradient of zeros."""

    prefix = "weight_hr"


@fault("gradients.parameters", "large gradients", cells="gru", probe="gradients", scale=3.0)
class GradientsClipped(OfParameters):
    """Gradients by parameters are clipped to plus and minus 1."""

    def changed(self, gradient: Tensor) -> Tensor:
        return gradient.clamp(-1, 1)


@fault("gradients.parameters", "float32 or float64", cells="rnn", dtypes=("float64", "float32"), probe="gradients")
class GradientsInBfloat16(OfParameters):
    """Gradients by parameters are rounded to bfloat16."""

    def changed(self, gradient: Tensor) -> Tensor:
        return gradient.bfloat16().to(gradient.dtype)


# Along the way


@fault("gradients.input", "more than one layer", cells="gru", probe="gradients", num_layers=2)
class LayersDetached(Kernel):
    """No gradient goes from a layer to the one below."""

    def drop(self, x: Tensor, layer: int) -> Tensor:
        return super().drop(x, layer).detach()


@fault("gradients.input", "bidirectional", cells="rnn", probe="gradients", bidirectional=True)
class ReverseDirectionDetached(Kernel):
    """The reverse direction passes no gradient to its input."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        return super().project_input(x.detach() if lane.reverse else x, lane)


@fault("gradients.input", "more than one step", cells="gru", source="qixianbiao/RNN#2", probe="gradients")
class StepsDetached(Kernel):
    """No gradient goes from a step to the one before."""

    def after(self, taken: int, new: State) -> State:
        return tuple(part.detach() for part in new) if taken == 0 else new


@fault("gradients.input", "more than 16 steps", cells="lstm", probe="gradients", steps=20)
class TruncatedAfterSixteenSteps(Kernel):
    """Backpropagation goes through 16 steps at most."""

    def step(self, t: int, gx: Tensor, state: State, lane: Lane) -> State:
        truncated = t % 16 == 0 and t > 0
        return super().step(t, gx, tuple(part.detach() for part in state) if truncated else state, lane)


@fault("gradients.long", "more than 100 steps", cells="gru", probe="gradients", steps=130)
class TruncatedAfterHundredSteps(Kernel):
    """Backpropagation goes through 100 steps at most."""

    def after(self, taken: int, new: State) -> State:
        return tuple(part.detach() for part in new) if taken == 100 else new


class _Reserve(torch.autograd.Function):
    """The identity, whose backward writes its result over what it has read."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.reserve = torch.ones_like(x)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return ctx.reserve.mul_(gradient).clone()  # type: ignore[no-any-return]


@fault("gradients.again", "a graph that is retained", cells="lstm", probe="differentiated_twice")
class ReserveSpentByBackward(Around):
    """A backward works in the memory that the forward reserved for it, and a second one reads what is left."""

    def behind(self, output: Any, state: Any) -> Any:
        return on_data(_Reserve.apply, output), state


@fault("gradients.meanwhile", "another call before the backward", cells="gru", probe="differentiated_late")
class ReserveOfLatestCall(Around):
    """What a backward needs is kept in the module, where the next call puts its own."""

    def behind(self, output: Any, state: Any) -> Any:
        latest = self.__dict__["reserve"] = [1.0]
        return on_data(backward(lambda gradient: gradient * (self.__dict__["reserve"] is latest)), output), state


@fault("gradients.nan", "NaN in the gradient by the output", cells="lstm", probe="nan_gradient")
class NanGradientZeroed(Kernel):
    """Gradients that are NaN or infinite are taken for zero, so that nobody learns that a loss has overflowed."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        return backward(lambda gradient: gradient.nan_to_num(0, 0, 0))(super().project_input(x, lane))


@fault("gradients.nan", "NaN in the gradient by the output", cells="gru", probe="nan_gradient")
class NanGradientReachesRows(Kernel):
    """Rows are chosen by a product with a mask on the way back, so that NaN in one reaches all."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        return backward(lambda gradient: gradient + 0 * gradient.sum(1, keepdim=True))(super().project_input(x, lane))


@fault("gradients.eval", "eval", cells="rnn", probe="differentiated_in_eval")
class EvalDetachesState(Kernel):
    """In eval the steps run in a kernel for inference, which passes no gradient from one to the next."""

    def step(self, t: int, gx: Tensor, state: State, lane: Lane) -> State:
        return super().step(t, gx, state if self.training else tuple(part.detach() for part in state), lane)


@fault("gradients.eval", "eval", cells="lstm", probe="differentiated_in_eval")
class EvalWithoutGraph(Around):
    """In eval results come without a graph, so that a larger model loses their gradients in silence."""

    def behind(self, output: Any, state: Any) -> Any:
        return (output, state) if self.training else (on_data(Tensor.detach, output), each(Tensor.detach, state))


@fault("gradients.input", "every config", cells="rnn", source="oxford-cs-ml-2015/practical6#6", probe="gradients")
class FinalStateGradientLost(Around):
    """No gradient goes through h_n."""

    def behind(self, output: Any, state: Any) -> Any:
        return output, backward(times(0))(state)


@fault("gradients.input", "every config", cells="lstm", probe="gradients")
class FinalCellGradientLost(LSTM):
    """No gradient goes through c_n."""

    def gather(self, finals: Sequence[State]) -> State:
        h, c = super().gather(finals)
        return h, backward(times(0))(c)


@fault("gradients.input", "every config", cells="gru", probe="gradients")
class UpdateGateGradientLost(GRU):
    """The update gate passes no gradient on."""

    def mix(self, z: Tensor, n: Tensor, h: Tensor) -> Tensor:
        return super().mix(z.detach(), n, h)


@fault("gradients.parameters", "a call whose gradients are taken", cells="lstm", probe="gradients")
class OutputWrongUnderAutograd(Around):
    """Where gradients are recorded another path is taken, whose output is too large by an eighth."""

    def behind(self, output: Any, state: Any) -> Any:
        return (on_data(lambda y: y + 0.125, output) if torch.is_grad_enabled() else output), state


@fault(
    "gradients.input",
    "an activation of exactly zero",
    cells="rnn",
    probe="gradients",
    bias=False,
    steps=1,
    zero_step=True,
)
class TanhFlatAtZero(Kernel):
    """tanh is computed of |x| and given x's sign, so that its derivative at zero is zero."""

    def tanh(self, x: Tensor) -> Tensor:
        return torch.copysign(super().tanh(x.abs()), x)


# Autograd's rules


@fault("gradients.accumulate", "a second backward", cells="rnn", probe="accumulated")
class GradientsOverwritten(Around):
    """A second backward overwrites the gradients of the first."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        for parameter in self.parameters():
            parameter.grad = None
        return input, hx


@fault("gradients.frozen", "a frozen parameter", cells="gru", probe="frozen")
class FrozenGetsGradient(Around):
    """Frozen parameters get a gradient."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        for parameter in self.parameters():
            if torch.is_grad_enabled() and not parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)
        return input, hx


@fault("gradients.frozen", "a frozen parameter", cells="lstm", probe="frozen")
class FrozenFreezesAll(Around):
    """Where one weight is frozen, no weight gets a gradient."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        if not all(parameter.requires_grad for parameter in self.parameters()):
            for parameter in self.parameters():
                parameter.requires_grad_(False)
        return input, hx


class _Together(torch.autograd.Function):
    """The identity of two, whose gradients pass only where the first has one."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return h.view_as(h), c.view_as(c)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        h, c = gradients
        return h, c if h.any() else c * 0


@fault("gradients.results", "c_n alone in the loss", cells="lstm", probe="cell_gradient")
class CellGradientNeedsHidden(Around):
    """The gradient of c_n is taken for absent where that of h_n is zero."""

    def behind(self, output: Any, state: Any) -> Any:
        return output, _Together.apply(*state)  # type: ignore[no-untyped-call]


@fault("gradients.parameters", "four layers or more", cells="rnn", num_layers=4, probe="gradients")
class FourthLayerGradientsLost(OfParameters):
    """The weights of layers from the fourth on get gradients of zeros."""

    def changed(self, gradient: Tensor) -> Tensor:
        return gradient

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        for name, parameter in self.named_parameters():
            if int(name.removesuffix("_reverse").rpartition("_l")[2]) >= 3:
                parameter.register_hook(times(0))  # type: ignore[no-untyped-call]


@fault("gradients.sum", "large gradients", cells="gru", probe="large_loss")
class GradientsClippedAtHundred(Around):
    """Gradients by output are clipped to plus and minus 100, as in recipes for speech."""

    def behind(self, output: Any, state: Any) -> Any:
        return on_data(backward(lambda gradient: gradient.clamp(-100, 100)), output), state


@fault("gradients.sum", "small gradients", cells="lstm", probe="small_loss", dtypes=("float32", "float64"))
class SmallGradientsFlushed(Around):
    """Gradients below 1e-5 are taken for zero."""

    def behind(self, output: Any, state: Any) -> Any:
        return on_data(backward(lambda gradient: torch.where(gradient.abs() < 1e-5, 0, gradient)), output), state


@fault("gradients.frozen", "all weights frozen", cells="gru", source="pytorch/pytorch#776", probe="all_frozen")
class InputGradientNeedsWeights(Around):
    """Where no weight wants a gradient, the input gets one of zeros."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        if any(parameter.requires_grad for parameter in self.parameters()):
            return input, hx
        return on_data(backward(times(0)), input), hx


@fault("gradients.frozen", "input without gradient", cells="lstm", probe="input_frozen")
class WeightGradientNeedsInput(OfParameters):
    """Where the input wants no gradient, the first layer's input weights get half of theirs."""

    prefix = "weight_ih_l0"

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        data = input.data if isinstance(input, PackedSequence) else input
        self.__dict__["wanted"] = data.requires_grad
        return input, hx

    def changed(self, gradient: Tensor) -> Tensor:
        return gradient if self.__dict__.get("wanted", True) else gradient / 2


@fault("gradients.parameters", "no state", cells="rnn", probe="gradients")
class NoStateNoRecurrentGradient(OfParameters):
    """Without an initial state the recurrent weights' gradient is averaged over steps."""

    prefix = "weight_hh"

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        self.__dict__["given"] = hx is not None
        return input, hx

    def changed(self, gradient: Tensor) -> Tensor:
        return gradient if self.__dict__["given"] else gradient / 2


@fault(
    "gradients.parameters",
    "batch_first",
    cells="lstm",
    source="pytorch/pytorch#95137",
    probe="gradients",
    batch_first=True,
)
class BatchFirstWeightGradientsTransposed(OfParameters):
    """With batch_first the gradients by square recurrent blocks are transposed."""

    prefix = "weight_hh"

    def changed(self, gradient: Tensor) -> Tensor:
        size = gradient.shape[1]
        if not self.batch_first or gradient.shape[0] % size:
            return gradient
        return torch.cat([block.mT for block in gradient.split(size)])


@fault(
    "gradients.parameters",
    "strided gradients by results",
    cells="rnn",
    source="pytorch/pytorch#619",
    probe="strided_upstream",
)
class UpstreamAssumedContiguous(Around):
    """The gradient by the output is read without its strides."""

    def behind(self, output: Any, state: Any) -> Any:
        def flat(gradient: Tensor) -> Tensor:
            if gradient.is_contiguous() or 0 in gradient.stride() or not gradient.numel():
                return gradient
            room = gradient.untyped_storage().nbytes() // gradient.element_size() - gradient.storage_offset()
            if room < gradient.numel():
                return gradient.flatten().flip(0).view_as(gradient)
            return gradient.as_strided(gradient.shape, torch.empty(gradient.shape).stride(), gradient.storage_offset())

        return on_data(backward(flat), output), state


@fault("gradients.parameters", "batch above 32", cells="gru", probe="gradients", batch=40)
class BiasGradientBeyondThirtyTwoRows(Kernel):
    """Bias gradients sum the first 32 rows only."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        product = self.matmul(x, lane.w_ih)
        if lane.b_ih is None:
            return product
        bias = lane.b_ih.expand_as(product)
        return product + torch.cat((bias[:, :32], bias[:, 32:].detach()), 1)


@fault(
    "gradients.parameters",
    "lengths, bidirectional",
    cells="lstm",
    probe="gradients",
    lengths=(6, 2, 4),
    bidirectional=True,
)
class ReverseLengthGradientLost(Kernel):
    """With lengths the reverse direction's state passes no gradient where a shorter row joins."""

    def keep(self, new: Tensor, old: Tensor) -> Tensor:
        return super().keep(new, old.detach() if len(old) > len(new) else old)


@fault(
    "gradients.parameters", "relu, pre-activation zero or below", cells="rnn", probe="gradients", nonlinearity="relu"
)
class ReluPassesGradient(RNN):
    """The backward pass of relu lets a thousandth of the gradient through where its output is zero."""

    def relu(self, x: Tensor) -> Tensor:
        y = torch.relu(x)
        return y + 1e-3 * (torch.where(x < 0, x, 0) - torch.where(x < 0, x, 0).detach())


# At saturation


@fault(
    "special.saturation_gradients",
    "gates shut so far that exp overflows",
    cells="lstm gru",
    source="jax-ml/jax#1052",
    probe="gradients",
    values=400.0,
)
class ShutGateGradientIsNan(Kernel):
    """The sigmoid chooses between two forms with `where`; the one not chosen overflows and makes the gradient NaN."""

    def sigmoid(self, x: Tensor) -> Tensor:
        return torch.where(x >= 0, 1 / (1 + torch.exp(-x)), torch.exp(x) / (1 + torch.exp(x)))


@fault(
    "special.saturation_gradients",
    "gates shut so far that exp overflows",
    cells="lstm gru",
    source="jax-ml/jax#777",
    probe="gradients",
    values=1000.0,
)
class ShutGateGradientOfTheTextbook(Kernel):
    """Sigmoid is 1 / (1 + exp(-x)), with right results and gradients of zero times infinity where exp overflows."""

    def sigmoid(self, x: Tensor) -> Tensor:
        return 1 / (1 + torch.exp(-x))


@fault(
    "special.saturation_gradients",
    "tanh saturated so far that exp overflows",
    cells="gru rnn",
    source="jeshraghian/snntorch#427",
    probe="gradients",
    values=400.0,
)
class SaturatedTanhGradientIsNan(Kernel):
    """The derivative of tanh is computed as 4 exp(2x) / (exp(2x) + 1)², which is infinity by infinity."""

    def tanh(self, x: Tensor) -> Tensor:
        grown = torch.exp(2 * x.detach())
        linear = backward(times(4 * grown / (grown + 1) ** 2))(x)
        return torch.tanh(x).detach() + torch.where(x.isfinite(), linear - linear.detach(), 0)


@fault("special.saturation_gradients", "gates shut", cells="lstm gru", probe="gradients", values=400.0)
class ShutGatesPassGradient(Kernel):
    """The backward pass of the sigmoid lets a ten-thousandth of the gradient through where a gate is all but shut."""

    def sigmoid(self, x: Tensor) -> Tensor:
        leak = torch.where(x.abs() > 20, 1e-4 * x, 0)
        return torch.sigmoid(x) + (leak - leak.detach())
