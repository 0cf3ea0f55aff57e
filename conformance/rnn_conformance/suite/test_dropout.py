"""Dropout: none in eval; in training between layers, element by element, at the stated rate; within layers if asked.

Catches masks after the last layer, in eval, unscaled, at another rate, shared by steps, rows, units, layers,
directions or calls; modes that outlast themselves; a backward pass that forgets the mask or draws another. The masks
are recovered, not only counted: the upper layers are given weights under which each of their units passes on one unit
of the layer below, so that the output shows which of them were dropped, and the oracle replays those masks. Masks
within layers, which few backends have, are recovered from what units give that do not see each other (`within`).

Cannot see a rate that is off by less than the exact binomial test resolves (about 0.04 in one unit of work, within
layers 0.14; its false-alarm probability is 1e-12 a test), or subtler dependence than between neighbours; how elements
of input with lengths depend on each other; the rate at which a GRU's reset gate loses h; the backward pass of relu,
and of bfloat16 and float16, where a unit that was kept may be zero too; whether a seed of the library's own generator
gives the same masks again.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import exp, lgamma, log, log1p
from typing import Any

import numpy as np
from rnn_reference.parameters import lanes

from rnn_conformance.case import Case, upstream_of
from rnn_conformance.check import check
from rnn_conformance.config import LayerConfig
from rnn_conformance.oracle import Array, Inputs
from rnn_conformance.strategies import resized
from rnn_conformance.subject import Broken, DrivenLayer, Result, Subject
from rnn_conformance.suite import within

DROPOUT = (
    "torch.nn.LSTM, dropout: if non-zero, introduces a Dropout layer on the outputs of each LSTM layer except the last "
    "layer, with dropout probability equal to dropout; torch.nn.Dropout scales by 1 / (1 - p) in training"
)
# under which masks can be recovered
USUAL: dict[str, Any] = {"activations": "", "merge_mode": "concat", "residual": False}
FALSE_ALARM = 1e-12  # of each test of a rate; a run makes fewer than a thousand of them
RATES = (0.1, 0.25, 0.5, 0.75, 0.9)
GATE_OPEN, GATE_SHUT = 8.0, -30.0
NOTHING = 1e-9  # less than this passes a gate that is shut


def revealing(config: LayerConfig, inputs: Inputs) -> Inputs:
    """Inputs under which each unit above layer 0 passes on one unit of the layer below, and remembers nothing."""
    parameters = {name: np.array(array) for name, array in inputs.parameters.items()}
    size, passed = config.hidden_size, config.state_sizes[0]
    candidate = {"lstm": 2, "gru": 2, "rnn": 0}[config.kind]
    gate_biases = {"lstm": (GATE_OPEN, GATE_SHUT, 0.0, GATE_OPEN), "gru": (0.0, GATE_SHUT, 0.0), "rnn": (0.0,)}
    for lane in lanes(config.num_layers, config.bidirectional)[config.num_directions :]:
        direction = int(lane.endswith("_reverse"))
        w_ih = parameters[f"weight_ih_{lane}"]
        w_ih[...] = 0
        rows = slice(candidate * size, (candidate + 1) * size)
        w_ih[rows, direction * passed : (direction + 1) * passed] = np.eye(size, passed)
        parameters[f"weight_hh_{lane}"][...] = 0
        if config.proj_size:
            parameters[f"weight_hr_{lane}"][...] = np.eye(passed, size)
        if config.bias:
            parameters[f"bias_ih_{lane}"][...] = np.repeat(gate_biases[config.kind], size)
        if f"bias_hh_{lane}" in parameters:
            parameters[f"bias_hh_{lane}"][...] = 0
    if config.nonlinearity == "relu":  # or half of layer 0's units would be zero, dropped or not
        for lane in lanes(1, config.bidirectional):
            if config.bias:
                parameters[f"bias_ih_{lane}"][...] = np.abs(parameters[f"bias_ih_{lane}"]) + 1
            parameters[f"weight_ih_{lane}"][...] = np.abs(parameters[f"weight_ih_{lane}"])
            w_hh = np.abs(parameters[f"weight_hh_{lane}"].astype(float))
            parameters[f"weight_hh_{lane}"][...] = w_hh / (2 * size * w_hh.max())  # states do not grow
        hx = None if inputs.hx is None else tuple(np.abs(part) for part in inputs.hx)
        inputs = replace(inputs, input=np.abs(inputs.input), hx=hx)
    return replace(inputs, parameters=parameters)


def with_masks(config: LayerConfig, inputs: Inputs, dropped: Array) -> Inputs:
    """Inputs of a stack of two layers with the mask that drops these units, and scales the others."""
    return replace(inputs, dropout_masks=(np.where(dropped, 0.0, 1 / (1 - config.dropout)),))


def dropped_in(result: Result) -> Array:
    """Which units of layer 0 were dropped on their way up.

    A unit that was kept is nowhere near zero but by a chance of one in millions.
    """
    return np.asarray(np.abs(result.arrays["output"].astype(float)) < NOTHING)


def see(layer: DrivenLayer, case: Case, inputs: Inputs) -> tuple[Array, Result]:
    """Call the layer in training: which units of layer 0 were dropped, and the result."""
    result = layer.of_case(case, inputs, training=True)
    return dropped_in(result), result


def log_binomial_tail(successes: int, trials: int, rate: float) -> float:
    """Log of the probability of a count at least as far out, on its own side of the mean: the exact binomial tail."""
    up = successes >= trials * rate
    counts = range(successes, trials + 1) if up else range(successes, -1, -1)
    first = lgamma(trials + 1) - lgamma(successes + 1) - lgamma(trials - successes + 1)
    first += successes * log(rate) + (trials - successes) * log1p(-rate)
    total, term = 0.0, 1.0
    for k in counts:
        total += term
        if term < 1e-17 * total:
            break
        odds = rate / (1 - rate)
        term *= (trials - k) / (k + 1) * odds if up else k / (trials - k + 1) / odds
    return first + log(total)


def require_rate(what: str, successes: int, trials: int, rate: float) -> None:
    """Raise Broken where a count is too far from its rate to be chance."""
    if trials and log_binomial_tail(successes, trials, rate) < log(FALSE_ALARM / 2):
        chance = exp(log_binomial_tail(successes, trials, rate))
        raise Broken(f"{what}: {successes} of {trials}, where a rate of {rate:g} was due (chance {chance:.1g})")


@check(DROPOUT, needs=("values.stack",), lengths=None, num_layers=(2, 3), dropout=RATES)
def test_eval(subject: Subject, case: Case) -> None:
    """In eval, dropout changes nothing."""
    subject.verify(case)


@check(
    DROPOUT,
    needs=("dropout.eval",),
    values=("uniform",),
    num_layers=2,
    lengths=None,
    dropout=RATES,
    **USUAL,
)
def test_mask(subject: Subject, case: Case) -> None:
    """In training each element between two layers is either dropped or scaled by 1 / (1 - p); the last layer's output
    and all states are what follows from that.
    """
    if not case.config.bias:  # no gate can be shut then, and only a first step from no state remembers nothing
        case = replace(case, seq_len=1, lengths=None, hx=False)
    inputs = revealing(case.config, case.inputs())
    dropped, result = see(subject.layer(case.config, inputs.parameters), case, inputs)
    truth = subject.truth_unguarded(case.config, with_masks(case.config, inputs, dropped))
    subject.agree(result.arrays, truth.budgets, "with the recovered mask replayed, ")


@check(
    DROPOUT,
    needs=("dropout.mask",),
    cells=("lstm", "gru", "rnn_tanh"),  # relu has no derivative where a unit was dropped
    dtypes=("float64", "float32"),  # in narrower ones a unit that was kept may be zero by chance
    values=("uniform",),
    num_layers=2,
    bias=True,
    lengths=None,
    dropout=RATES,
    **USUAL,
    share=0.6,
)
def test_gradients(subject: Subject, case: Case) -> None:
    """In training gradients pass between layers where numbers did, and are scaled as those were."""
    inputs = revealing(case.config, case.inputs())
    upstream = upstream_of(case, inputs)
    result, found = subject.layer(case.config, inputs.parameters).gradients(case, inputs, upstream)
    masked = with_masks(case.config, inputs, dropped_in(result))
    truth = subject.gradient_truth(case.config, masked, upstream)
    subject.agree(found, truth.budgets, "with the recovered mask replayed, the gradient by ")


LARGE: dict[str, Any] = USUAL | {
    "values": ("uniform",),
    "num_layers": 2,
    "hidden_size": 16,
    "input_size": 5,
    "seq_len": 12,
    "batch_size": 9,
    "bias": True,
    "proj_size": 0,
    "hx": False,
    "unbatched": False,
    "dropout": RATES,
    "covering": False,
    "share": 0.5,
}


@check(DROPOUT, needs=("dropout.mask",), **{**LARGE, "share": 1.0})
def test_rate(subject: Subject, case: Case) -> None:
    """Elements are dropped at the stated rate, by an exact binomial test, over all and in each step, row and unit."""
    inputs = revealing(case.config, case.inputs())
    layer = subject.layer(case.config, inputs.parameters)
    dropped = np.stack([see(layer, case, inputs)[0] for _ in range(4)])
    rate = case.config.dropout
    require_rate("dropped in all", int(dropped.sum()), dropped.size, rate)
    for axis, name in enumerate(("step", "row", "unit"), start=1):
        for k, some in enumerate(np.moveaxis(dropped, axis, 0)):
            require_rate(f"dropped in {name} {k}", int(some.sum()), some.size, rate)


@check(DROPOUT, needs=("dropout.mask",), bidirectional=True, **LARGE)
def test_independence(subject: Subject, case: Case) -> None:
    """Each element is dropped on its own: not with its neighbour in time, batch or units, nor as in the other
    direction or in the call before.
    """
    inputs = revealing(case.config, case.inputs())
    layer = subject.layer(case.config, inputs.parameters)
    first, second = see(layer, case, inputs)[0], see(layer, case, inputs)[0]
    rate, size = case.config.dropout, case.config.hidden_size
    same = {"the next call": first == second}
    same["the other direction"] = first[..., :size] == first[..., size:]
    for axis, name in enumerate(("step", "row", "unit")):
        along = np.moveaxis(first, axis, 0)
        even = len(along) // 2 * 2
        same[f"the next {name}"] = along[0:even:2] == along[1:even:2]
    for name, agrees in same.items():
        chance = rate * rate + (1 - rate) * (1 - rate)
        require_rate(f"dropped or kept as in {name}", int(agrees.sum()), agrees.size, chance)


@check(DROPOUT, needs=("dropout.mask",), **{**LARGE, "num_layers": 3, "seq_len": 1, "batch_size": 65})
def test_layers(subject: Subject, case: Case) -> None:
    """Each layer but the last drops units of its own, at the stated rate, whatever the layer below dropped."""
    config = case.config
    inputs = revealing(config, case.inputs())
    states = subject.run(case, inputs, training=True).arrays["h_n"].astype(float)  # after one step: all layers' outputs
    d = config.num_directions
    lowest, below, above = (np.concatenate(list(states[k * d : (k + 1) * d]), axis=-1) for k in range(3))
    clear = np.abs(lowest) > NOTHING
    passed = clear & (np.abs(below) > NOTHING)
    dropped = passed & (np.abs(above) < NOTHING)
    require_rate("dropped above layer 0", int((clear & ~passed).sum()), int(clear.sum()), config.dropout)
    require_rate("dropped above layer 1", int(dropped.sum()), int(passed.sum()), config.dropout)


@check(DROPOUT, needs=("dropout.mask",), num_layers=(2, 3, 4), dropout=(0.0, 1.0))
def test_extremes(subject: Subject, case: Case) -> None:
    """P = 0 drops nothing, and p = 1 everything between layers, without NaN."""
    inputs = case.inputs()
    if case.config.dropout == 1:
        shape = (*inputs.input.shape[:2], case.config.output_size)
        inputs = replace(inputs, dropout_masks=(np.zeros(shape),) * (case.config.num_layers - 1))
    truth = subject.truth_unguarded(case.config, inputs)
    arrays = subject.run(case, inputs, training=True).arrays
    subject.agree(arrays, truth.budgets, f"in training with dropout={case.config.dropout}, ")


@check(DROPOUT, needs=("values.stack",), num_layers=1, dropout=RATES)
def test_one_layer(subject: Subject, case: Case) -> None:
    """One layer has nothing between layers to drop: training equals eval."""
    inputs = case.inputs()
    truth = subject.truth(case.config, inputs)
    for config in (case.config, resized(case, dropout=0.0).config):
        arrays = subject.run(replace(case, config=config), inputs, training=True).arrays
        subject.agree(arrays, truth.budgets, f"in training with dropout={config.dropout}, ")


@check(DROPOUT, needs=("dropout.mask",), **{**LARGE, "seq_len": 5, "batch_size": 3, "dropout": 0.5})
def test_modes(subject: Subject, case: Case) -> None:
    """Neither mode leaves anything behind: eval after training is eval, and training after eval drops again."""
    inputs = revealing(case.config, case.inputs())
    truth = subject.truth_unguarded(case.config, inputs)
    layer = subject.layer(case.config, inputs.parameters)
    for turn in ("before training", "after training", "after training again"):
        subject.agree(layer.of_case(case, inputs).arrays, truth.budgets, f"in eval {turn}, ")
        if not see(layer, case, inputs)[0].any():
            raise Broken(f"in training after a call in eval {turn}, nothing was dropped")


WITHIN = (
    'keras.layers.LSTM, dropout: "Fraction of the units to drop for the linear transformation of the inputs"; '
    'recurrent_dropout: "... of the recurrent state"; the same mask for all steps: Gal and Ghahramani, "A '
    'Theoretically Grounded Application of Dropout in Recurrent Neural Networks", 2016'
)
APART: dict[str, Any] = USUAL | {
    "values": ("uniform",),
    "num_layers": (1, 2),
    "hidden_size": 12,
    "input_size": (7, 12, 17),
    "seq_len": 4,
    "batch_size": 9,
    "bias": True,  # or an input gate would act on nothing where the candidate's input was dropped
    "proj_size": 0,
    "hx": True,
    "unbatched": False,
    "covering": False,
    "share": 0.3,
    "dtypes": ("float64", "float32"),  # in narrower ones results may not tell which units were dropped
}
CALLS = 6


@check(
    WITHIN,
    needs=("values.stack",),
    lengths=None,
    input_dropout=(0.0, *RATES),
    recurrent_dropout=RATES,
)
def test_within_eval(subject: Subject, case: Case) -> None:
    """In eval, dropout of the input and of the recurrent state changes nothing."""
    subject.verify(case)


@check(WITHIN, needs=("values.stack",), input_dropout=RATES, **APART)
def test_input(subject: Subject, case: Case) -> None:
    """In training features of the first layer's input are dropped where they enter gates, at the stated rate, or scaled
    by 1 / (1 - p), by one mask for all steps of a call, which is of each row's and direction's own.
    """
    _within(subject, case, "input_dropout")


@check(WITHIN, needs=("values.stack",), recurrent_dropout=RATES, **APART)
def test_recurrent(subject: Subject, case: Case) -> None:
    """In training units of h are dropped where they enter gates, at the stated rate, or scaled by 1 / (1 - p), by one
    mask for all steps of a call, which is of each row's, layer's and direction's own.
    """
    _within(subject, case, "recurrent_dropout")


def _within(subject: Subject, case: Case, name: str) -> None:
    config = case.config
    inputs = within.kept_apart(config, case.inputs())
    layer = subject.layer(config, inputs.parameters)
    dropped = np.stack([_dropped_within(subject, layer, case, inputs, name) for _ in range(CALLS)])
    rate = getattr(config, name)
    gates = list(enumerate(np.moveaxis(dropped, -1, 0)))
    if config.kind == "gru" and name == "recurrent_dropout":
        del gates[0]  # a reset gate may act on nothing where the candidate's input was dropped
    for gate, own in gates:
        require_rate(f"dropped of what enters gate {gate}", int(own.sum()), own.size, rate)
        _require_independence(own, rate, f"for gate {gate} dropped or kept as in ")
    subject.agree(layer.of_case(case, inputs).arrays, subject.truth(config, inputs).budgets, "in eval after training, ")


def _dropped_within(subject: Subject, layer: DrivenLayer, case: Case, inputs: Inputs, name: str) -> Array:
    """What a call in training dropped of what units see: (lanes, B, units, gates), those that have a rate alone."""
    config = case.config
    arrays = layer.of_case(case, inputs, training=True).arrays
    found = within.recovered(subject, config, inputs, name, arrays)
    subject.agree(arrays, found.budgets, "in training, with the masks that explain it best, ")
    if name == "recurrent_dropout":
        return found.dropped
    return found.dropped[: config.num_directions, :, : config.input_size]  # further units see those features again


def _require_independence(dropped: Array, rate: float, what: str) -> None:
    """Raise Broken where neighbours are dropped together.

    Args:
        dropped: (calls, lanes, B, units).
    """
    chance = rate * rate + (1 - rate) * (1 - rate)
    for axis, name in enumerate(("the next call", "the next lane", "the next row", "the next unit")):
        places = list(np.moveaxis(dropped, axis, 0))
        agrees = np.array([a == b for a, b in list(pairwise(places))[::2]])
        require_rate(what + name, int(agrees.sum()), agrees.size, chance)


SMOOTH: dict[str, Any] = APART | {
    "cells": ("lstm", "gru", "rnn_tanh"),
    "num_layers": 1,
    "batch_size": 1,  # one row has one mask, under which its weights are others
    "input_size": (7, 12),
    "share": 0.6,
}


@check(WITHIN, needs=("dropout.input",), input_dropout=0.5, **SMOOTH)
def test_input_gradients(subject: Subject, case: Case) -> None:
    """In training gradients pass the mask of the input where numbers did, and are scaled as those were."""
    _within_gradients(subject, case, "input_dropout")


@check(WITHIN, needs=("dropout.recurrent",), recurrent_dropout=0.5, **SMOOTH)
def test_recurrent_gradients(subject: Subject, case: Case) -> None:
    """In training gradients pass the mask of h where numbers did, and are scaled as those were."""
    _within_gradients(subject, case, "recurrent_dropout")


def _within_gradients(subject: Subject, case: Case, name: str) -> None:
    inputs = within.kept_apart(case.config, case.inputs())
    upstream = upstream_of(case, inputs)
    result, found = subject.layer(case.config, inputs.parameters).gradients(case, inputs, upstream)
    masks = within.recovered(subject, case.config, inputs, name, result.arrays)
    truth = subject.gradient_truth(case.config, within.masked(case.config, inputs, name, masks.factors[:, 0]), upstream)
    due = within.gradients_of_weights(case.config, truth.budgets, name, masks)
    subject.agree(found, due, "with the masks that explain its results best, the gradient by ")
