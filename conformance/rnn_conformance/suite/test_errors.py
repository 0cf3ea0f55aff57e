"""Errors: wrong calls and wrong constructor arguments are refused, and do no harm.

Catches wrong axes, features, rows, lanes (too many or too few), dtypes, lengths and constructor arguments that are
computed with all the same, declared lacks that are not, and refusals that leave a layer broken.

Cannot see whether a message is helpful: it must be an exception, of whatever words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np

from rnn_conformance.case import Case
from rnn_conformance.check import check
from rnn_conformance.config import LayerConfig
from rnn_conformance.oracle import Inputs
from rnn_conformance.subject import BackendRaised, Broken, DrivenLayer, NotOffered, SaysNothing, Subject

REFUSED = "torch.nn.RNNBase.check_input, check_hidden_size and __init__ raise RuntimeError, ValueError or TypeError"
Call = tuple[Any, Any, Any]  # input, state parts (or what stands in their place), lengths
WrongCalls = Callable[[Case, Inputs], Iterator[tuple[str, Call]]]
ROW_TOO_MANY = "with a row too many"
PLAIN: dict[str, Any] = {"unbatched": False, "batch_first": False, "share": 0.4}


def wrong_inputs(case: Case, inputs: Inputs) -> Iterator[tuple[str, Call]]:
    """Calls with an input that no layer of this case can take, each with what is wrong about it."""
    x, hx, lengths = inputs.input, inputs.hx or (), inputs.lengths
    other = np.float32 if x.dtype == np.float64 else np.float64
    yield "input with a feature too many", (np.concatenate([x, x[..., :1]], axis=-1), hx, lengths)
    yield "input without features", (x[..., :0], hx, lengths)
    yield "input with a feature too few", (x[..., :-1], hx, lengths)
    yield "input of another dtype", (x.astype(other), hx, lengths)
    yield "input of integers", (x.astype(np.int64), hx, lengths)
    if lengths is None:
        yield "input of one axis", (x[:, 0, 0], hx, None)
        yield "input of four axes", (x[np.newaxis], hx, None)
        yield "no input", (None, hx, None)


def wrong_states(case: Case, inputs: Inputs) -> Iterator[tuple[str, Call]]:
    """Calls with a state that no layer of this case can take."""
    x, hx, lengths = inputs.input, inputs.hx or (), inputs.lengths
    other = np.float32 if x.dtype == np.float64 else np.float64
    for k, name in enumerate(("h_0", "c_0")[: len(hx)]):
        part = hx[k]
        wrong = {
            ROW_TOO_MANY: np.concatenate([part, part[:, :1]], axis=1),
            "with a lane too many": np.concatenate([part, part[:1]]),
            "with a feature too many": np.concatenate([part, part[..., :1]], axis=-1),
            "with a row too few": part[:, :-1],
            "with a lane too few": part[:-1],
            "with a feature too few": part[..., :-1],
            "of another dtype": part.astype(other),
            **({"with one row for all": part[:, :1]} if part.shape[1] > 1 else {}),
            "of one axis": part[0, 0],
            "of two axes for batched input": part[:, 0],
        }
        for what, array in wrong.items():
            yield f"{name} {what}", (x, (*hx[:k], array, *hx[k + 1 :]), lengths)
    yield "three states", (x, (*hx, hx[0], hx[0])[:3], lengths)
    alone = case.config.kind == "lstm"
    yield ("h_0 alone for an LSTM", (x, hx[0], lengths)) if alone else ("two states", (x, (hx[0], hx[0]), lengths))
    if x.shape[1] > 1 and lengths is None:
        yield "states of a batch for input without one", (x[:, 0], hx, None)


def wrong_lengths(case: Case, inputs: Inputs) -> Iterator[tuple[str, Call]]:
    """Calls with lengths that the input does not have."""
    x, hx = inputs.input, inputs.hx or ()
    steps, rows = x.shape[:2]
    yield "a length too many", (x, hx, (steps,) * (rows + 1))
    yield "no lengths for a batch that has rows", (x, hx, ())
    yield "a length beyond the steps", (x, hx, (steps + 1,) * rows)
    yield "a length below zero", (x, hx, (steps,) * (rows - 1) + (-1,))


def wrong_configs(config: LayerConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Fields that no config can have, each with what is wrong about them."""
    yield "hidden_size=0", {"hidden_size": 0}
    yield "a negative hidden_size", {"hidden_size": -2}
    yield "num_layers=0", {"num_layers": 0}
    yield "a negative num_layers", {"num_layers": -1}
    yield "dropout above 1", {"dropout": 1.5}
    yield "a negative dropout", {"dropout": -0.5}
    if config.kind == "lstm":
        yield "proj_size equal to hidden_size", {"proj_size": config.hidden_size}
        yield "proj_size above hidden_size", {"proj_size": config.hidden_size + 1}
        yield "a negative proj_size", {"proj_size": -1}
    else:
        yield f"proj_size for {config.kind.upper()}", {"proj_size": 1, "hidden_size": 3}


def impossible(config: LayerConfig, changed: dict[str, Any]) -> LayerConfig:
    """A config with these fields, which its own constructor would refuse."""
    made = object.__new__(LayerConfig)
    for field in fields(LayerConfig):
        object.__setattr__(made, field.name, changed.get(field.name, getattr(config, field.name)))
    return made


def rows_too_many(case: Case, inputs: Inputs) -> Iterator[tuple[str, Call]]:
    """Of the wrong states, those that have a row more than the batch."""
    return (wrong for wrong in wrong_states(case, inputs) if ROW_TOO_MANY in wrong[0])


def with_order(case: Case) -> Case:
    """The case with lengths that are not in order.

    Raises:
        SaysNothing: where they are equal.
    """
    lengths = tuple(sorted(case.lengths or ()))
    if lengths[0] == lengths[-1]:
        raise SaysNothing("lengths that are equal are in order")
    return replace(case, lengths=lengths)


def refuse_all(subject: Subject, case: Case, wrong: WrongCalls) -> None:
    """Hold the backend to an error for each of these calls."""
    inputs = case.inputs()
    layer = subject.layer(case.config, inputs.parameters)
    for what, call in wrong(case, inputs):
        if what in ("h_0 of another dtype", "c_0 of another dtype"):
            refused_or_promoted(subject, case, layer, what, call)
        else:
            subject.refuses(what, partial(layer.wrongly, *call))


def refused_or_promoted(subject: Subject, case: Case, layer: DrivenLayer, what: str, call: Call) -> None:
    """A state of another dtype may be promoted, as torch's operations do, if the output is right then."""
    inputs = case.inputs()
    parts = tuple(part.astype(given.dtype) for part, given in zip(call[1], inputs.hx or (), strict=True))
    truth = subject.truth_unguarded(case.config, replace(inputs, hx=parts))
    try:
        output = layer(inputs.input, call[1], inputs.lengths).arrays["output"]
    except Broken:  # refused, or a result that is not even of the right form
        return
    subject.agree({"output": output}, truth.budgets, f"with {what}, ")


@check(REFUSED, needs=("values.stack",), hx=True, **PLAIN)
def test_input(subject: Subject, case: Case) -> None:
    """Input of wrong axes, features or dtype is refused with an exception."""
    refuse_all(subject, case, wrong_inputs)


@check(REFUSED, needs=("values.stack",), hx=True, **PLAIN)
def test_state(subject: Subject, case: Case) -> None:
    """A state of wrong axes, rows, lanes, features, dtype or number is refused with an exception."""
    refuse_all(subject, case, wrong_states)


@check(REFUSED, needs=("lengths.alone",), hx=True, lengths=True, **PLAIN)
def test_packed_input(subject: Subject, case: Case) -> None:
    """Input with lengths that differ is refused like input without, when its features or dtype are wrong."""
    subject.require_lengths()
    refuse_all(subject, with_order(case), wrong_inputs)


@check(REFUSED, needs=("lengths.alone",), hx=True, lengths=True, **PLAIN)
def test_packed_equal(subject: Subject, case: Case) -> None:
    """Input with lengths that are all equal is refused like input without, when its features or dtype are wrong."""
    subject.require_lengths()
    refuse_all(subject, replace(case, lengths=(case.seq_len,) * (case.batch_size or 1)), wrong_inputs)


@check(REFUSED, needs=("lengths.alone",), hx=True, lengths=True, **PLAIN)
def test_packed_rows(subject: Subject, case: Case) -> None:
    """A state with a row too many is refused for input with lengths too, when rows are not in order of length."""
    subject.require_lengths()
    refuse_all(subject, with_order(case), rows_too_many)


@check(REFUSED, needs=("lengths.alone",), hx=True, lengths=True, deadly=True, **PLAIN)
def test_packed_state(subject: Subject, case: Case) -> None:
    """A wrong state is refused for input with lengths like for input without, in order of length or not, and does not
    end the process.
    """
    subject.require_lengths()
    ordered = replace(case, lengths=tuple(sorted(case.lengths or (), reverse=True)))
    refuse_all(subject, ordered, wrong_states)
    refuse_all(subject, with_order(case), lambda *call: (w for w in wrong_states(*call) if ROW_TOO_MANY not in w[0]))


@check(REFUSED, needs=("lengths.alone",), hx=True, **PLAIN)
def test_lengths(subject: Subject, case: Case) -> None:
    """Lengths too many, too few, beyond the steps or below zero are refused with an exception."""
    subject.require_lengths()
    refuse_all(subject, case, wrong_lengths)


@check(REFUSED, needs=("errors.input", "errors.state"), hx=True, **PLAIN)
def test_recovery(subject: Subject, case: Case) -> None:
    """A wrong call leaves nothing behind: the next right one gives the oracle's results."""
    inputs = case.inputs()
    truth = subject.truth(case.config, inputs)
    layer = subject.layer(case.config, inputs.parameters)
    wrong = [*wrong_inputs(case, inputs), *wrong_states(case, inputs)]
    for place in case.rng("wrong").permutation(len(wrong))[:6]:
        what, call = wrong[place]
        try_wrongly(layer, call)
        subject.agree(layer.of_case(case, inputs).arrays, truth.budgets, f"after a call with {what}, ")


def try_wrongly(layer: DrivenLayer, call: Call) -> None:
    """Make a wrong call, whose refusal is another check's matter."""
    try:
        layer.wrongly(*call)
    except BackendRaised:
        return


@check(REFUSED, needs=("values.stack",), hx=False, unbatched=False, share=0.4)
def test_constructor(subject: Subject, case: Case) -> None:
    """Constructor arguments that make no layer are refused with an exception, at the latest by the first call."""
    inputs = case.inputs()
    for what, changed in wrong_configs(case.config):
        config = impossible(case.config, changed)

        def make_and_call(config: LayerConfig = config) -> None:
            subject.layer(config, inputs.parameters).wrongly(inputs.input, (), None)

        subject.refuses(what, make_and_call)


@check("the backend's own declaration", needs=("shapes.result",), offered=False, dropout=0.5, share=0.4)
def test_unsupported(subject: Subject, case: Case) -> None:
    """A config that the backend declares unsupported is refused with an exception, not computed as another one."""
    inputs = case.inputs()
    for config in (case.config, replace(case.config, dropout=0.0)):
        reason = subject.supports(config)
        if reason is None:
            continue
        try:
            layer = subject.backend.layer(config, inputs.parameters)
            layer.forward(subject.backend.from_numpy(inputs.input, config.device))
        except Exception:
            return
        raise Broken(f"{config} is declared unsupported ({reason}), but gave a result")
    raise NotOffered("every config is offered")
