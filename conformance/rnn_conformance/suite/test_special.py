"""Special: saturation, NaN and infinity, subnormal numbers, signed zeros.

Catches NaN that is swallowed or reaches other rows, the past or the other direction; overflow within activations and
their derivatives; infinities that become NaN; subnormals that are flushed without a word.

Cannot see which NaN it is, exceptions flags of the processor, nor what becomes of infinite weights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from rnn_conformance.arithmetic import arithmetic_of
from rnn_conformance.case import Case, upstream_of
from rnn_conformance.check import check
from rnn_conformance.config import numpy_dtype
from rnn_conformance.oracle import Array, Inputs, arguments_of, arrays_of, reference, truth_of
from rnn_conformance.subject import Broken, SaysNothing, Subject
from rnn_conformance.suite.test_gradients import CHAIN_RULE, DERIVED

IEEE = (
    "IEEE 754 and the equations of torch.nn.LSTM, GRU and RNN: a result depends on what stands in its equations alone"
)


class Shut(Array):
    """float64 whose quotients, which the oracle's sigmoids are, are 0 where a correct kernel may round them to 0."""

    least: ClassVar[float]

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Shut what divides to almost 0."""
        plain = [x.view(np.ndarray) if isinstance(x, Shut) else x for x in inputs]
        result = getattr(ufunc, method)(*plain, **kwargs)
        if ufunc is np.divide:
            result = np.where(result < self.least, 0, result)
        return result.view(type(self))


def plain_results(case: Case, inputs: Inputs, kind: type[Array] = np.ndarray) -> dict[str, Array]:
    """The oracle's results in float64, special values and all, computed with arrays of this kind."""
    arrays = {name: array.astype(np.float64).view(kind) for name, array in arrays_of(inputs).items()}
    with np.errstate(all="ignore"):
        output, final = reference(**arguments_of(case.config, inputs, arrays))
    finals = final if isinstance(final, tuple) else (final,)
    plain = (np.asarray(array).squeeze(-3) for array in (output, *finals))
    return dict(zip(("output", "h_n", "c_n"), plain, strict=False))


def plant(case: Case, inputs: Inputs, value: float, places: tuple[str, ...]) -> tuple[str, Inputs]:
    """The inputs with one element replaced, and where that is."""
    rng = case.rng("plant")
    place = str(rng.choice([p for p in places if p != "hx" or inputs.hx is not None]))
    if place == "input":
        target = inputs.input.copy()
        changed = replace(inputs, input=target)
    elif place == "hx":
        parts = [part.copy() for part in inputs.hx or ()]
        target = parts[int(rng.integers(len(parts)))]
        changed = replace(inputs, hx=tuple(parts))
    else:
        idle = "weight_hh" if inputs.hx is None else ()  # a kernel may leave out what multiplies a state of zeros
        place = str(rng.choice([name for name in sorted(inputs.parameters) if not name.startswith(idle)]))
        target = inputs.parameters[place].copy()
        changed = replace(inputs, parameters=dict(inputs.parameters) | {place: target})
    index = tuple(int(rng.integers(n)) for n in target.shape)
    target[index] = value
    return f"{place}{list(index)} = {value}", changed


def require_pattern(what: str, name: str, actual: Array, due: Array) -> Array:
    """Raise Broken unless NaN and infinities stand where they are due; where neither is due."""
    wide = actual.astype(np.float64)
    for kind, test in (("NaN", np.isnan), ("infinite", np.isinf)):
        wrong = np.argwhere(test(wide) != test(due))
        if len(wrong):
            index = tuple(int(k) for k in wrong[0])
            verb = "is" if test(wide[index]) else "is not"
            raise Broken(
                f"with {what}, {name}{list(index)} {verb} {kind} ({wide[index]}), but {due[index]:.6g} was due"
            )
    return np.isfinite(due)


@check(IEEE, needs=("values.stack",), values=("integers", "uniform", "normal"), lengths=None)
def test_nan(subject: Subject, case: Case) -> None:
    """NaN in one element of input, state or weights reaches what depends on it: not other rows, nor the past, nor the
    other direction of a layer; and all else stays as it was.
    """
    inputs = case.inputs()
    truth = subject.truth(case.config, inputs)
    what, planted = plant(case, inputs, np.nan, ("input", "input", "hx", "parameters"))
    arrays = subject.run(case, planted).arrays
    for name, due in plain_results(case, planted).items():
        untouched = require_pattern(what, name, arrays[name], due)
        clean = truth.budgets[name]
        calm = np.where(untouched, arrays[name], clean.truth.astype(arrays[name].dtype))
        subject.agree({name: calm}, {name: clean}, f"with {what}, ")


@check(IEEE, needs=("values.stack",), values=("integers", "uniform", "normal"), lengths=None)
def test_inf(subject: Subject, case: Case) -> None:
    """Infinity in one element of input or state saturates gates; it becomes NaN only where the equations make it so."""
    inputs = case.inputs()
    sign = case.rng("sign").choice([-1.0, 1.0])
    what, planted = plant(case, inputs, sign * np.inf, ("input", "input", "hx"))
    due = plain_results(case, planted)
    arithmetic = subject.backend.arithmetic(case.config.dtype)
    least = max(arithmetic.activation_error, arithmetic.unit_roundoff)  # as far as a sigmoid may err
    shut = plain_results(case, planted, type("Shut", (Shut,), {"least": least}))
    if any(np.any(np.isnan(shut[name]) != np.isnan(due[name])) for name in due):
        raise SaysNothing("infinity meets a gate that may round to 0, which makes NaN of it")
    arrays = subject.run(case, planted).arrays
    clean = truth_of(case.config, inputs, arithmetic)
    if clean.overflows:
        raise SaysNothing(clean.says_nothing)
    before = plain_results(case, inputs)
    for name in due:
        finite = require_pattern(what, name, arrays[name], due[name])
        same = finite & (due[name] == before[name])
        calm = np.where(same, arrays[name], clean.budgets[name].truth.astype(arrays[name].dtype))
        subject.agree({name: calm}, {name: clean.budgets[name]}, f"with {what}, ")


def driven(case: Case, inputs: Inputs, farthest: float) -> Inputs:
    """The inputs with one feature of every step and row at 4 to 2**farthest, of either sign, and the others at 0."""
    rng = case.rng("saturation")
    input = np.zeros(inputs.input.shape)
    at = rng.integers(input.shape[-1], size=input.shape[:-1])[..., np.newaxis]
    exponents = rng.uniform(2, farthest, input.shape[:-1])
    np.put_along_axis(input, at, (np.exp2(exponents) * rng.choice([-1, 1], exponents.shape))[..., np.newaxis], axis=-1)
    return replace(inputs, input=input.astype(numpy_dtype(case.config.dtype)))


@check(
    IEEE, needs=("values.stack",), cells=("lstm", "gru", "rnn_tanh"), values=("saturating", "normal"), unbatched=False
)
def test_saturation(subject: Subject, case: Case) -> None:
    """Gates driven as far as the dtype reaches saturate: no NaN, no output beyond 1, and the oracle's values."""
    largest = arithmetic_of(case.config.dtype).largest
    inputs = driven(case, case.inputs(), np.log2(largest) - 4)
    truth = truth_of(case.config, inputs, subject.backend.arithmetic(case.config.dtype))
    if case.config.activations and truth.overflows:  # not all of them saturate
        raise SaysNothing(truth.says_nothing)
    arrays = subject.run(case, inputs).arrays
    usual = not case.config.activations and case.config.merge_mode != "sum"
    bounded = usual and case.config.proj_size == 0 and inputs.hx is None
    if bounded and np.any(np.abs(arrays["output"].astype(float)) > 1):
        raise Broken("an output lies beyond 1")
    subject.agree(arrays, truth.budgets, "with gates driven as far as the dtype reaches, ")


@check(
    CHAIN_RULE,
    needs=("special.saturation",),
    **DERIVED | {"values": ("uniform", "normal")},  # the input alone saturates gates: no state grows roundoff
    cells=("lstm", "gru", "rnn_tanh"),
    unbatched=False,
)
def test_saturation_gradients(subject: Subject, case: Case) -> None:
    """Gates driven far beyond where exp overflows pass on what their equations say, which is almost nothing: no NaN."""
    farthest = np.log2(np.log(arithmetic_of(case.config.dtype).largest)) + 3
    inputs = driven(case, case.inputs(), farthest)
    upstream = upstream_of(case, inputs)
    truth = subject.gradient_truth_unguarded(case.config, inputs, upstream)
    _, found = subject.layer(case.config, inputs.parameters).gradients(case, inputs, upstream)
    subject.agree(found, truth.budgets, "with gates driven beyond where exp overflows, the gradient by ")


@check(IEEE, needs=("values.stack",), cells=("rnn_tanh", "rnn_relu"), values=("integers",), bias=False, num_layers=1)
def test_subnormals(subject: Subject, case: Case) -> None:
    """Subnormal numbers are kept, or flushed to zero if the backend declares that."""
    inputs = case.inputs()
    arithmetic = subject.backend.arithmetic(case.config.dtype)
    unit = arithmetic.stored_smallest * 4
    hx = None if inputs.hx is None else tuple((part.astype(float) * unit).astype(part.dtype) for part in inputs.hx)
    tiny = replace(inputs, input=(inputs.input.astype(float) * unit).astype(inputs.input.dtype), hx=hx)
    exact = truth_of(case.config, tiny, replace(arithmetic, smallest=arithmetic.stored_smallest))
    if exact.overflows:
        raise SaysNothing(exact.says_nothing)
    subject.agree(subject.run(case, tiny).arrays, exact.budgets, "with subnormal input, ")


@check(IEEE, needs=("values.stack",), values=("integers", "normal"))
def test_zeros(subject: Subject, case: Case) -> None:
    """Zeros of either sign count as zero and no more, be it some or all of input, a state or a parameter."""
    inputs = case.inputs()
    rng = case.rng("zeros")

    def zeroed(array: Array, share: float) -> Array:
        zeros = np.where(rng.integers(2, size=array.shape), 0.0, -0.0)
        return np.where(rng.random(array.shape) < share, zeros, array.astype(float)).astype(array.dtype)

    input, *hx = (zeroed(array, rng.choice((0.5, 0.5, 1.0))) for array in (inputs.input, *(inputs.hx or ())))
    name = str(rng.choice(sorted(inputs.parameters)))
    parameters = dict(inputs.parameters) | {name: zeroed(inputs.parameters[name], rng.choice((0.5, 1.0)))}
    inputs = Inputs(parameters, input, tuple(hx) or None, inputs.lengths)
    truth = subject.truth_unguarded(case.config, inputs)
    subject.agree(subject.run(case, inputs).arrays, truth.budgets, "with zeros of both signs, ")
