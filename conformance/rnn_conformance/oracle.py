"""The truth about a case: the oracle's results, their error budget, and whether the case can tell right from wrong."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np
import rnn_reference
from rnn_reference.directions import join
from rnn_reference.parameters import GATES

from rnn_conformance.arithmetic import Arithmetic
from rnn_conformance.budget import LAMBDA, Budget, budgets
from rnn_conformance.config import LayerConfig

Array = np.ndarray[Any, Any]
Parameters = Mapping[str, Array]


def _arguments(config: LayerConfig) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "hidden_size": config.hidden_size,
        "num_layers": config.num_layers,
        "bias": config.bias,
        "batch_first": config.batch_first,
        "bidirectional": config.bidirectional,
    }
    arguments |= config.beyond_torch()
    if config.kind == "lstm":
        arguments["proj_size"] = config.proj_size
    if config.kind == "rnn":
        arguments["nonlinearity"] = config.nonlinearity
    return arguments


def reference(
    config: LayerConfig,
    parameters: Parameters,
    input: Array,
    hx: Any = None,
    *,
    lengths: Sequence[int] | None = None,
    dropout_masks: Sequence[Array] | None = None,
) -> Any:
    """The oracle's output and final state for a config, in the config's own layout."""
    run = getattr(rnn_reference, config.kind)
    return run(input, parameters, hx, **_arguments(config), lengths=lengths, dropout_masks=dropout_masks)


def reference_gradients(
    config: LayerConfig,
    parameters: Parameters,
    input: Array,
    hx: Any,
    output_gradient: Array,
    state_gradient: Any,
    *,
    lengths: Sequence[int] | None = None,
    dropout_masks: Sequence[Array] | None = None,
) -> dict[str, Array]:
    """The oracle's gradients by name for a config, in the config's own layout."""
    run = getattr(rnn_reference, f"{config.kind}_gradients")
    more = {"lengths": lengths, "dropout_masks": dropout_masks}
    found: dict[str, Array] = run(input, parameters, hx, output_gradient, state_gradient, **_arguments(config), **more)
    return found


@dataclass(frozen=True)
class Inputs:
    """What a layer is given, time-major and batched: input (T, B, features), state parts (lanes, B, features)."""

    parameters: Parameters
    input: Array
    hx: tuple[Array, ...] | None = None
    lengths: tuple[int, ...] | None = None
    dropout_masks: tuple[Array, ...] | None = None  # one between each two layers, (T, B, features)

    def rows(self, index: Sequence[int]) -> Inputs:
        """Only these rows of the batch, in this order."""
        at = list(index)
        hx = None if self.hx is None else tuple(part[:, at] for part in self.hx)
        lengths = None if self.lengths is None else tuple(self.lengths[k] for k in at)
        return replace(self, input=self.input[:, at], hx=hx, lengths=lengths)


STATES = ("h_n", "c_n")


def zero_beyond(output: Array, lengths: Sequence[int]) -> Array:
    """Time-major output (T, B, features) with zeros beyond the length of each row."""
    within = np.arange(len(output))[:, np.newaxis] < np.array(lengths)
    return np.where(within[:, :, np.newaxis], output, np.zeros((), output.dtype))


@dataclass(frozen=True)
class Truth:
    """The oracle's answer to one case."""

    budgets: Mapping[str, Budget]  # of output, h_n and, for an LSTM, c_n
    says_nothing: str = ""  # why the case cannot tell right from wrong, where it cannot
    overflows: bool = False  # whether that is because numbers may leave the dtype's range


_REMEMBERED: OrderedDict[bytes, Truth] = OrderedDict()
MOST_REMEMBERED = 4096


def remembered(compute: Callable[[], Truth], *parts: Any) -> Truth:
    """What `compute` gives, or gave before for equal parts: many checks ask about the same case.

    Args:
        parts: all that the truth follows from: mappings of arrays, and values whose repr tells them apart.
    """
    digest = blake2b(digest_size=16)
    for part in parts:
        arrays = part if isinstance(part, Mapping) else {}
        digest.update(f"{[(n, a.shape, a.dtype) for n, a in arrays.items()] or part};".encode())
        for array in arrays.values():
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    key = digest.digest()
    if key not in _REMEMBERED:
        _REMEMBERED[key] = compute()
        if len(_REMEMBERED) > MOST_REMEMBERED:
            _REMEMBERED.popitem(last=False)
    _REMEMBERED.move_to_end(key)
    return _REMEMBERED[key]


def truth_of(config: LayerConfig, inputs: Inputs, arithmetic: Arithmetic) -> Truth:
    """The oracle's answer, and whether a kernel that is plainly wrong would pass with it (the vacuity guard)."""
    config = replace(config, batch_first=False, device="")
    compute = partial(_truth_of, config, inputs, arithmetic)
    return remembered(compute, config, inputs.lengths, arithmetic, arrays_of(inputs))


def _truth_of(config: LayerConfig, inputs: Inputs, arithmetic: Arithmetic) -> Truth:
    arrays = arithmetic.stored(arrays_of(inputs))
    compute = _named_results(config, inputs)
    found, overflowed = budgets(compute, arrays, arithmetic)
    reason = "numbers may overflow or jump" if overflowed else ""
    if not all(np.isfinite(b.truth).all() and (np.abs(b.truth) < arithmetic.largest).all() for b in found.values()):
        reason = "the result overflows"
    if not all(np.isfinite(budget.sigma).all() for budget in found.values()):
        reason = "the budget overflows"
    if not reason and any(chaotic(budget) for budget in found.values()):
        return Truth(found, "roundoff grows to half of the values, so that they are chance's and not the equations'")
    return Truth(found, reason or _vacuity(config, inputs, arrays, compute, found), bool(reason))


def last_truth(config: LayerConfig, inputs: Inputs, arithmetic: Arithmetic) -> Truth:
    """What the directions of the last layer give last, joined as the output is: `last` (B, output_size).

    Two directions give it at different steps, so that where they are joined otherwise than side by side the output
    has it nowhere. It is computed from h_n, which is what each direction gives last.
    """
    config = replace(config, batch_first=False, device="")
    compute = partial(_last_truth, config, inputs, arithmetic)
    return remembered(compute, "last", config, inputs.lengths, arithmetic, arrays_of(inputs))


def _last_truth(config: LayerConfig, inputs: Inputs, arithmetic: Arithmetic) -> Truth:
    results = _named_results(config, inputs)

    def compute(arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {"last": join(list(results(arrays)["h_n"][-config.num_directions :]), config.merge_mode)}

    found, overflowed = budgets(compute, arithmetic.stored(arrays_of(inputs)), arithmetic)
    within = bool((np.abs(found["last"].truth) < arithmetic.largest).all())
    return Truth(found, "" if within and not overflowed else "the last output overflows")


@dataclass(frozen=True)
class Upstream:
    """The gradients of a scalar loss by a layer's results: by output, and by each part of the final state."""

    output: Array
    state: tuple[Array, ...]


def gradient_truth(config: LayerConfig, inputs: Inputs, upstream: Upstream, arithmetic: Arithmetic) -> Truth:
    """The oracle's gradients by input, initial state and every parameter, with their budgets.

    Frameworks add up the gradients of parameters in the dtype in which they store them, so that here sums are held to
    that. A gradient that zeros would pass for says nothing.
    """
    config = replace(config, batch_first=False, device="")
    loss = {"output": upstream.output} | {f"state{k}": part for k, part in enumerate(upstream.state)}
    compute = partial(_gradient_truth, config, inputs, upstream, arithmetic)
    return remembered(compute, config, inputs.lengths, arithmetic, arrays_of(inputs), loss)


def _gradient_truth(config: LayerConfig, inputs: Inputs, upstream: Upstream, arithmetic: Arithmetic) -> Truth:
    arrays = arithmetic.stored(arrays_of(inputs)) | {"d_output": upstream.output[:, np.newaxis]}
    arrays |= {f"d_state{k}": part[:, np.newaxis] for k, part in enumerate(upstream.state)}

    def compute(given: Mapping[str, Array]) -> Mapping[str, Array]:
        parts = tuple(given[f"d_state{k}"] for k in range(len(upstream.state)))
        d_state = parts if config.kind == "lstm" else parts[0]
        call = arguments_of(config, inputs, given)
        return reference_gradients(**call, output_gradient=given["d_output"], state_gradient=d_state)

    in_storage = replace(arithmetic, accumulator_roundoff=arithmetic.unit_roundoff)
    found, overflowed = budgets(compute, arrays, in_storage)
    for name, shape in config.parameter_shapes().items():
        found[name] = Budget(found[name].truth.reshape(shape), found[name].sigma.reshape(shape))
    if overflowed or not all(np.isfinite(b.sigma).all() and np.isfinite(b.truth).all() for b in found.values()):
        return Truth(found, "a gradient overflows", overflows=True)
    if any((np.abs(b.truth) + LAMBDA * b.sigma >= arithmetic.largest).any() for b in found.values()):
        return Truth(found, "a gradient may overflow", overflows=True)
    empty = [name for name, b in found.items() if b.truth.any() and b.rho(np.zeros_like(b.truth)).max() <= LAMBDA]
    return Truth(found, f"a gradient of zeros by {empty[0]} would pass too" if empty else "")


def arrays_of(inputs: Inputs) -> dict[str, Array]:
    """The arrays by name, with an axis for the runs in all but the parameters."""
    arrays = dict(inputs.parameters) | {"input": inputs.input[:, np.newaxis]}
    arrays |= {f"hx{k}": part[:, np.newaxis] for k, part in enumerate(inputs.hx or ())}
    return arrays | {f"mask{k}": mask[:, np.newaxis] for k, mask in enumerate(inputs.dropout_masks or ())}


def arguments_of(config: LayerConfig, inputs: Inputs, arrays: Mapping[str, Array]) -> dict[str, Any]:
    """The arguments of `reference`, taken from arrays named by `arrays_of`."""
    parts = tuple(arrays[f"hx{k}"] for k in range(len(inputs.hx or ())))
    masks = inputs.dropout_masks
    return {
        "config": replace(config, batch_first=False),
        "parameters": {name: arrays[name] for name in inputs.parameters},
        "input": arrays["input"],
        "hx": None if inputs.hx is None else parts if config.kind == "lstm" else parts[0],
        "lengths": inputs.lengths,
        "dropout_masks": None if masks is None else [arrays[f"mask{k}"] for k in range(len(masks))],
    }


def chaotic(budget: Budget) -> bool:
    """Whether roundoff grows until results are more chance's than the equations'; K runs cannot tell its tails then."""
    if not budget.truth.size:
        return False
    with np.errstate(over="ignore"):
        size = np.sqrt(np.square(budget.truth.astype(np.float64)).mean())
    return bool(budget.sigma.max() > 0.5 * size)


def _named_results(config: LayerConfig, inputs: Inputs) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    def compute(arrays: Mapping[str, Array]) -> dict[str, Array]:
        output, final = reference(**arguments_of(config, inputs, arrays))
        finals = final if isinstance(final, tuple) else (final,)
        return {"output": output} | dict(zip(STATES, finals, strict=False))

    return compute


def _vacuity(
    config: LayerConfig, inputs: Inputs, arrays: Mapping[str, Array], compute: Any, found: Mapping[str, Budget]
) -> str:
    """Which plainly wrong kernel would pass, if any. One that is right for this case does not count."""
    wide = {name: array.astype(np.float64) for name, array in arrays.items()}
    wrong = {"without recurrence": {n: a * (0 if n.startswith("weight_hh") else 1) for n, a in wide.items()}}
    if GATES[config.kind] > 1:
        wrong["with two gates swapped"] = {n: _swap_gates(config, n, a) for n, a in wide.items()}
    mutants = {name: compute(changed) for name, changed in wrong.items()}
    mutants["of zeros"] = {name: np.zeros_like(b.truth)[..., np.newaxis, :, :] for name, b in found.items()}
    for name, results in mutants.items():
        worst, differs = 0.0, False
        for key, budget in found.items():
            result = results[key].squeeze(-3)
            if not result.size:
                continue
            worst = max(worst, float(budget.rho(result).max()))
            differs |= bool((np.abs(result - budget.truth) > 1e-12 * np.abs(budget.truth)).any())
        if differs and worst <= LAMBDA:
            return f"a kernel {name} would pass too"
    return ""


def _swap_gates(config: LayerConfig, name: str, array: Array) -> Array:
    """The parameter with its first two gates swapped, where it has gates."""
    if not array.ndim or array.shape[0] != GATES[config.kind] * config.hidden_size or name.startswith(("hx", "input")):
        return array
    first, second, rest = np.split(array, [config.hidden_size, 2 * config.hidden_size])
    return np.concatenate([second, first, rest])
