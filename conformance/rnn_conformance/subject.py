"""A backend as checks see it: driven with NumPy arrays, its results verified in form and compared with the oracle."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np

from rnn_conformance.backend import Backend, Layer, ParametersDiffer, WrongUse, refusal
from rnn_conformance.backends import describe
from rnn_conformance.budget import LAMBDA, Budget
from rnn_conformance.case import Case, lay_out
from rnn_conformance.config import LayerConfig, numpy_dtype
from rnn_conformance.measured import Measured, axes_of
from rnn_conformance.oracle import STATES, Inputs, Truth, Upstream, gradient_truth, last_truth, truth_of, zero_beyond

Array = np.ndarray[Any, Any]


class Broken(AssertionError):
    """A backend broke a check; the message says how."""

    outcome: ClassVar[Literal["failed", "crashed", "timed_out"]] = "failed"


class Deviation(Broken):
    """A number lies beyond its budget."""

    def __init__(self, message: str, rho: float, element: Mapping[str, int | str]) -> None:
        super().__init__(message)
        self.rho = rho
        self.element = dict(element)


class BackendRaised(Broken):
    """A backend raised an exception where none was due."""

    def __init__(self, doing: str, error: BaseException) -> None:
        super().__init__(f"{doing} raised {describe(error)}")
        self.error = error


class SaysNothing(Exception):
    """The case cannot tell right from wrong; another is to be drawn."""


class NotOffered(Exception):
    """The backend does not offer the case's config, for this reason."""


@dataclass
class Result:
    """What one call was given and gave, in the backend's own types, and its results time-major and batched."""

    native_input: Any
    native_hx: Any
    native_output: Any
    native_state: Any  # to hand on
    arrays: dict[str, Array]


@dataclass
class Subject:
    """The backend under test, within one unit of work."""

    backend: Backend
    measured: Measured = field(default_factory=Measured)
    rtol: float | None = None  # a house rule instead of the budget
    atol: float | None = None

    def supports(self, config: LayerConfig) -> str | None:
        """Why the backend does not offer a config; None where it does.

        Raises:
            BackendRaised: where it fails to say.
        """
        try:
            return refusal(self.backend, config)
        except WrongUse:
            raise
        except Exception as error:
            raise BackendRaised("supports()", error) from error

    def assign(self, parameter: Any, values: Array) -> None:
        """Write into a parameter, as an optimizer does.

        Raises:
            BackendRaised: where it cannot be written to.
        """
        try:
            self.backend.assign(parameter, values)
        except Exception as error:
            raise BackendRaised("writing into a parameter", error) from error

    def rebind(self, parameter: Any, values: Array) -> None:
        """Let a parameter be an array that lies elsewhere.

        Raises:
            NotOffered: where parameters keep the memory that they have.
            BackendRaised: where it fails.
        """
        try:
            self.backend.rebind(parameter, values)
        except NotImplementedError as error:
            raise NotOffered("parameters keep the memory that they have") from error
        except Exception as error:
            raise BackendRaised("giving a parameter other memory", error) from error

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> DrivenLayer:
        """A layer of the backend.

        Raises:
            NotOffered: where the backend says so.
            BackendRaised: where it fails.
        """
        if reason := self.supports(config):
            raise NotOffered(reason)
        try:
            with _quiet(), self._timed():
                layer = self.backend.layer(config, parameters)
        except NotImplementedError as error:
            raise NotOffered(str(error) or "NotImplementedError") from error
        except Exception as error:
            raise BackendRaised(f"making {config}", error) from error
        if not isinstance(layer, Layer):
            raise WrongUse(f"{type(self.backend).__qualname__}.layer() must give a Layer, not {type(layer).__name__}")
        return DrivenLayer(self, layer, config)

    def run(self, case: Case, inputs: Inputs, training: bool = False) -> Result:
        """One call of a new layer."""
        layer = self.layer(case.config, inputs.parameters)
        return layer.of_case(case, inputs, training)

    def truth(self, config: LayerConfig, inputs: Inputs) -> Truth:
        """The oracle's answer.

        Raises:
            SaysNothing: where the case cannot tell right from wrong.
        """
        truth = truth_of(config, inputs, self.backend.arithmetic(config.dtype))
        if truth.says_nothing:
            raise SaysNothing(truth.says_nothing)
        return truth

    def truth_unguarded(self, config: LayerConfig, inputs: Inputs) -> Truth:
        """The oracle's answer, though a wrong kernel may pass with it: for cases made to show one certain mistake."""
        truth = truth_of(config, inputs, self.backend.arithmetic(config.dtype))
        if truth.overflows:
            raise SaysNothing(truth.says_nothing)
        return truth

    def last_truth(self, config: LayerConfig, inputs: Inputs) -> Truth:
        """What the oracle's directions give last, joined as the output is.

        Raises:
            SaysNothing: where that overflows.
        """
        truth = last_truth(config, inputs, self.backend.arithmetic(config.dtype))
        if truth.says_nothing:
            raise SaysNothing(truth.says_nothing)
        return truth

    def gradient_truth(self, config: LayerConfig, inputs: Inputs, upstream: Upstream) -> Truth:
        """The oracle's gradients.

        Raises:
            NotOffered: where the oracle has none.
            SaysNothing: where gradients of zeros would pass.
        """
        truth = self.gradient_truth_unguarded(config, inputs, upstream)
        if truth.says_nothing:
            raise SaysNothing(truth.says_nothing)
        return truth

    def gradient_truth_unguarded(self, config: LayerConfig, inputs: Inputs, upstream: Upstream) -> Truth:
        """The oracle's gradients, though zeros may pass for them: for cases made to show one certain mistake.

        Raises:
            NotOffered: where the oracle has none.
            SaysNothing: where they overflow.
        """
        try:
            truth = gradient_truth(config, inputs, upstream, self.backend.arithmetic(config.dtype))
        except NotImplementedError as error:
            raise NotOffered(str(error)) from error
        if truth.overflows:
            raise SaysNothing(truth.says_nothing)
        return truth

    def agree(self, results: Mapping[str, Array], budgets: Mapping[str, Budget], what: str = "") -> None:
        """Hold every array to its budget.

        Raises:
            Deviation: for the first element, in the order of time, beyond its budget.
        """
        beyond: list[Deviation] = []
        rhos: dict[str, Array] = {}
        for name, actual in results.items():
            budget = budgets[name]
            if actual.shape != budget.truth.shape:
                raise Broken(f"{what}{name} has the shape {actual.shape}, but {budget.truth.shape} was due")
            rho, limit = self._rho(actual, budget), LAMBDA
            rhos[what + name] = rho
            if rho.size and rho.max() > limit:
                beyond.append(_deviation(what + name, actual, budget, rho, limit))
        self.measured.add(rhos)
        if beyond:
            raise beyond[0]

    def _rho(self, actual: Array, budget: Budget) -> Array:
        if self.rtol is None and self.atol is None:
            return budget.rho(actual)
        allowed = (self.atol or 0.0) + (self.rtol or 0.0) * np.abs(budget.truth)
        return Budget(budget.truth, np.maximum(allowed, np.finfo(np.float64).tiny) / LAMBDA).rho(actual)

    def verify(self, case: Case) -> None:
        """One call equals the oracle."""
        inputs = case.inputs()
        truth = self.truth(case.config, inputs)
        self.agree(self.run(case, inputs).arrays, truth.budgets)

    def refuses(self, doing: str, call: Callable[[], Any]) -> None:
        """Hold the backend to an error.

        Raises:
            Broken: where `call` gives a result instead.
        """
        try:
            call()
        except NotOffered:
            return
        except BackendRaised as raised:
            if not isinstance(raised.error, ParametersDiffer):  # that one is the adapter's word, not a refusal
                return
        raise Broken(f"{doing} must be refused with an error, but gave a result")

    def require_lengths(self) -> None:
        """Raise NotOffered where the backend takes no lengths."""
        if not self.backend.policy.lengths:
            raise NotOffered("variable lengths are not offered")

    def require_unbatched(self) -> None:
        """Raise NotOffered where the backend takes no input without a batch axis."""
        if not self.backend.policy.unbatched:
            raise NotOffered("input without a batch axis is not offered")

    def _timed(self) -> _Timer:
        return _Timer(self.measured)


@dataclass
class DrivenLayer:
    """A layer whose results are verified in form."""

    subject: Subject
    layer: Layer
    config: LayerConfig

    def __call__(
        self,
        input: Array,
        hx: Any = None,
        lengths: Sequence[int] | None = None,
        *,
        batched: bool = True,
        layout: str = "contiguous",
        training: bool = False,
    ) -> Result:
        """Call the layer with time-major input, and a state of arrays or one that an earlier call gave.

        Raises:
            BackendRaised: where the layer fails.
            Broken: where its results are not of the form that is due.
        """
        native_hx = hx.native_state if isinstance(hx, Result) else self._outward_state(hx, batched, layout)
        native = self._outward(self.own_form(input, batched), layout)
        steps, rows = input.shape[:2]
        try:
            with _quiet(), self.subject._timed():
                given = self.layer.forward(native, native_hx, lengths=lengths, training=training)
        except Exception as error:
            raise BackendRaised(f"forward on input {tuple(native.shape)}", error) from error
        arrays = self._verified(given, steps, rows, batched, lengths)
        return Result(native, native_hx, given[0], given[1], arrays)

    def wrongly(self, input: Array | None, hx: Any, lengths: Sequence[int] | None) -> None:
        """A call that is to be refused, its arguments as they are.

        Raises:
            BackendRaised: as it should.
        """
        try:
            parts = tuple(self._outward(part, "contiguous") for part in hx) if isinstance(hx, tuple) else None
            native = None if input is None else self._outward(input, "contiguous")
            alone = parts is None or (self.config.kind != "lstm" and len(parts) == 1)
            native_hx = self._outward(hx, "contiguous") if parts is None else parts[0] if alone else parts or None
            with _quiet():
                self.layer.forward(native, native_hx, lengths=lengths)
        except Exception as error:
            raise BackendRaised("a wrong call", error) from error

    def of_case(self, case: Case, inputs: Inputs, training: bool = False) -> Result:
        """The call that a case describes."""
        if inputs.lengths is not None:
            self.subject.require_lengths()
        if case.batch_size is None:
            self.subject.require_unbatched()
        batched = case.batch_size is not None
        return self(inputs.input, inputs.hx, inputs.lengths, batched=batched, layout=case.layout, training=training)

    def alone(self, name: str, case: Case, inputs: Inputs) -> Array:
        """The result of this name, asked for alone; the output time-major and batched, others batched.

        Raises:
            NotOffered: where the layer cannot be asked for it alone.
            BackendRaised: where it fails.
            Broken: where it is not of the form that is due.
        """
        if inputs.lengths is not None:
            self.subject.require_lengths()
        if case.batch_size is None:
            self.subject.require_unbatched()
        batched = case.batch_size is not None
        native = self._outward(self.own_form(inputs.input, batched), case.layout)
        native_hx = self._outward_state(inputs.hx, batched, case.layout)
        given = self._asked(f"{name} alone", lambda: self.layer.alone(name, native, native_hx, inputs.lengths))
        return self._verified_alone(name, given, inputs, batched)

    def gradients(
        self,
        case: Case,
        inputs: Inputs,
        upstream: Upstream,
        frozen: Collection[str] = (),
        accumulate: bool = False,
        hx: Result | None = None,
        upstream_layout: str = "",
    ) -> tuple[Result, dict[str, Array]]:
        """The results of a call in training, and the gradients by name, the input's time-major and batched.

        Args:
            upstream_layout: that of the gradients by the results, where it is not the case's.
            hx: an earlier result whose state is the initial one, in place of the inputs' own.

        Raises:
            NotOffered: where the layer has no gradients.
            BackendRaised: where it fails.
            Broken: where a gradient is missing or not of the form that is due.
        """
        if inputs.lengths is not None:
            self.subject.require_lengths()
        if case.batch_size is None:
            self.subject.require_unbatched()
        batched = case.batch_size is not None
        native = self._outward(self.own_form(inputs.input, batched), case.layout)
        native_hx = hx.native_state if hx else self._outward_state(inputs.hx, batched, case.layout)
        d_output, d_state = self._outward_upstream(upstream, batched, upstream_layout or case.layout, inputs.lengths)
        try:
            with _quiet(), self.subject._timed():
                output, state, found = self.layer.gradients(
                    native, native_hx, d_output, d_state, inputs.lengths, frozen, accumulate
                )
        except NotImplementedError as error:
            raise NotOffered("gradients are not offered") from error
        except Exception as error:
            raise BackendRaised(f"the gradients of a call on input {tuple(native.shape)}", error) from error
        steps, rows = inputs.input.shape[:2]
        arrays = self._verified((output, state), steps, rows, batched, inputs.lengths)
        result = Result(native, native_hx, output, state, arrays)
        return result, self._verified_gradients(found, native_hx is not None, steps, rows, batched, frozen)

    def taped(
        self, case: Case, inputs: Inputs, upstream: Upstream, training: bool = True
    ) -> tuple[Result, Callable[..., dict[str, Array]]]:
        """The results of a call, and a function that gives the gradients, whatever was called meanwhile.

        That function takes `retain_graph`, without which it is called once.

        Raises:
            NotOffered: where the layer cannot differentiate later.
            BackendRaised: where it fails.
            Broken: where a result is not of the form that is due.
        """
        if inputs.lengths is not None:
            self.subject.require_lengths()
        if case.batch_size is None:
            self.subject.require_unbatched()
        batched = case.batch_size is not None
        native = self._outward(self.own_form(inputs.input, batched), case.layout)
        native_hx = self._outward_state(inputs.hx, batched, case.layout)
        gradients_by_results = self._outward_upstream(upstream, batched, case.layout, inputs.lengths)
        steps, rows = inputs.input.shape[:2]
        output, state, differentiate = self._asked(
            "differentiating later", lambda: self.layer.taped(native, native_hx, inputs.lengths, training)
        )
        arrays = self._verified((output, state), steps, rows, batched, inputs.lengths)
        result = Result(native, native_hx, output, state, arrays)

        def gradients(retain_graph: bool = False) -> dict[str, Array]:
            found = self._asked("differentiating a call", lambda: differentiate(*gradients_by_results, retain_graph))
            return self._verified_gradients(found, native_hx is not None, steps, rows, batched, ())

        return result, gradients

    def _outward_upstream(
        self, upstream: Upstream, batched: bool, layout: str, lengths: Sequence[int] | None
    ) -> tuple[Any, Any]:
        output = self._outward(self.own_form(self._promised(upstream.output, lengths), batched), layout)
        return output, self._outward_state(upstream.state, batched, layout)

    def _verified_gradients(
        self, found: Mapping[str, Any], with_hx: bool, steps: int, rows: int, batched: bool, frozen: Collection[str]
    ) -> dict[str, Array]:
        shapes: dict[str, tuple[int, ...]] = dict(self.config.parameter_shapes())
        states = dict(zip(("h_0", "c_0"), self.config.state_sizes, strict=False)) if with_hx else {}
        due = {"input", *states, *shapes} - set(frozen)
        states = {name: size for name, size in states.items() if name in due}
        if missing := sorted(due - set(found)):
            raise Broken(f"there is no gradient by {', '.join(missing)}")
        if extra := sorted(set(found) - due):
            raise Broken(f"there is a gradient by {', '.join(extra)}, for which nobody asked")
        first = self.config.batch_first
        arrays = {}
        if "input" in due:
            shape = (steps, rows, self.config.input_size)
            arrays["input"] = self._read("the gradient by input", found["input"], shape, batched, first)
        for name, size in states.items():
            arrays[name] = self._read(
                f"the gradient by {name}", found[name], (self.config.lanes, rows, size), batched, False
            )
        for name in set(shapes) & due:
            arrays[name] = self._read(f"the gradient by {name}", found[name], shapes[name], True, False)
        return arrays

    def again(self, result: Result, batched: bool = True) -> Result:
        """The same call once more, on the very same arrays."""
        try:
            with _quiet(), self.subject._timed():
                given = self.layer.forward(result.native_input, result.native_hx)
        except Exception as error:
            raise BackendRaised("the same call once more", error) from error
        steps, rows = result.arrays["output"].shape[:2]
        return replace(
            result,
            native_output=given[0],
            native_state=given[1],
            arrays=self._verified(given, steps, rows, batched, None),
        )

    def often(self, result: Result, times: int) -> None:
        """The same call many times, its results dropped unseen."""
        try:
            with _quiet(), self.subject._timed():
                for _ in range(times):
                    self.layer.forward(result.native_input, result.native_hx)
        except Exception as error:
            raise BackendRaised("the same call many times", error) from error

    def parameters(self) -> Mapping[str, Any]:
        """The layer's parameters in the backend's own type.

        Raises:
            NotOffered: where the layer gives no view of them.
            BackendRaised: where it fails.
        """
        views: Mapping[str, Any] = self._asked("a view of the parameters", self.layer.parameters)
        return views

    def copy(self) -> DrivenLayer:
        """A deep copy of the layer."""
        return replace(self, layer=self._asked("copy.deepcopy of the layer", lambda: deepcopy(self.layer)))

    def save(self) -> Any:
        """What `load` takes.

        Raises:
            NotOffered: where the layer cannot be saved.
            BackendRaised: where it fails.
        """
        return self._asked("save()", self.layer.save)

    def load(self, saved: Any) -> None:
        """Take the parameters from what another layer's `save` gave."""
        self._asked("load()", lambda: self.layer.load(saved))

    def _asked(self, what: str, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except NotImplementedError as error:
            raise NotOffered(f"{what} is not offered") from error
        except Exception as error:
            raise BackendRaised(what, error) from error

    def own_form(self, array: Array, batched: bool) -> Array:
        """Time-major input as the layer takes it."""
        if not batched:
            return array[:, 0]
        return array.swapaxes(0, 1) if self.config.batch_first else array

    def _outward(self, array: Array, layout: str) -> Any:
        return self.subject.backend.from_numpy(lay_out(array, layout), self.config.device)

    def _outward_state(self, hx: Sequence[Array] | None, batched: bool, layout: str) -> Any:
        if hx is None:
            return None
        parts = tuple(self._outward(part if batched else part[:, 0], layout) for part in hx)
        return parts if self.config.kind == "lstm" else parts[0]

    def _promised(self, output: Array, lengths: Sequence[int] | None) -> Array:
        """Time-major output, or its gradient, with zeros beyond each length where the policy promises nothing there."""
        if lengths is None or self.subject.backend.policy.padding == "zero":
            return output
        return zero_beyond(output, lengths)

    def _verified(
        self, given: Any, steps: int, rows: int, batched: bool, lengths: Sequence[int] | None
    ) -> dict[str, Array]:
        """The results as time-major arrays, once they have the form that torch.nn's page gives them."""
        if not isinstance(given, tuple) or len(given) != 2:
            raise Broken(f"forward must give (output, state), not {_kind(given)}")
        output, state = given
        if self.config.kind == "lstm" and not (isinstance(state, tuple) and len(state) == 2):
            raise Broken(f"an LSTM's state must be (h_n, c_n), not {_kind(state)}")
        if self.config.kind != "lstm" and isinstance(state, tuple):
            raise Broken(f"a {self.config.kind.upper()}'s state must be h_n alone, not {_kind(state)}")
        parts = dict(zip(STATES, state if isinstance(state, tuple) else (state,), strict=False))
        arrays = {
            "output": self._read(
                "output", output, (steps, rows, self.config.output_size), batched, self.config.batch_first
            )
        }
        arrays["output"] = self._promised(arrays["output"], lengths)
        for (name, part), size in zip(parts.items(), self.config.state_sizes, strict=True):
            arrays[name] = self._read(name, part, (self.config.lanes, rows, size), batched, False)
        return arrays

    def _verified_alone(self, name: str, given: Any, inputs: Inputs, batched: bool) -> Array:
        """A result that was asked for alone, once it has the form that it has beside others."""
        config, (steps, rows) = self.config, inputs.input.shape[:2]
        if name == "last":  # it has neither steps nor lanes
            due = (rows, config.output_size) if batched else (config.output_size,)
            return self._read(name, given, due, True, False).reshape(rows, config.output_size)
        if name == "output":
            shape = (steps, rows, config.output_size)
            return self._promised(self._read(name, given, shape, batched, config.batch_first), inputs.lengths)
        size = dict(zip(STATES, config.state_sizes, strict=False))[name]
        return self._read(name, given, (config.lanes, rows, size), batched, False)

    def _read(self, name: str, native: Any, shape: tuple[int, ...], batched: bool, batch_first: bool) -> Array:
        try:
            array = self.subject.backend.to_numpy(native)
            device = self.subject.backend.device_of(native)
        except Exception as error:
            raise Broken(f"{name} cannot be read: {describe(error)}") from error
        due = (shape[0], *shape[2:]) if not batched else (shape[1], shape[0], *shape[2:]) if batch_first else shape
        if array.shape != due:
            raise Broken(f"{name} has the shape {array.shape}, but {due} was due")
        if array.dtype != numpy_dtype(self.config.dtype):
            raise Broken(f"{name} is {array.dtype}, but {self.config.dtype} was due")
        if device != self.config.device:
            raise Broken(f"{name} is on {device}, but {self.config.device} was due")
        if not batched:
            return np.array(array[:, np.newaxis])
        return np.array(array.swapaxes(0, 1) if batch_first else array)


def _kind(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else type(value).__name__


def _deviation(name: str, actual: Array, budget: Budget, rho: Array, limit: float) -> Deviation:
    """The first deviating element, in words."""
    index = tuple(int(k) for k in np.argwhere(rho > limit)[0])
    axes = axes_of(name, actual.ndim)
    element: dict[str, int | str] = {"array": name} | dict(zip(axes, index, strict=True))
    place = ", ".join(f"{axis} {k}" for axis, k in zip(axes, index, strict=True))
    got, due, sigma = (float(a[index]) for a in (actual, budget.truth, budget.sigma))
    count = int((rho > limit).sum())
    message = (
        f"{name}[{place}] is {got:.9g}, but {due:.9g} was due: {abs(got - due):.3g} apart, "
        f"where correct arithmetic strays by σ = {sigma:.2g} and {limit:g} σ are allowed "
        f"(ρ = {float(rho[index]):.3g}); "
        f"{count} of {rho.size} elements deviate, the largest ρ is {float(rho.max()):.3g}"
    )
    return Deviation(message, float(rho.max()), element)


class _Timer:
    def __init__(self, measured: Measured) -> None:
        self.measured = measured

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self.measured.backend_seconds += time.perf_counter() - self.start


class _quiet(warnings.catch_warnings):  # noqa: N801
    """A context in which warnings stay unseen: a library's advice is not a finding."""

    def __init__(self) -> None:
        super().__init__(record=False, action="ignore")
