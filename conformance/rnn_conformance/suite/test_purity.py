"""Purity: a call changes nothing but its results, and depends on nothing but its arguments and weights.

Catches inputs, states and parameters that are written to; results that are buffers and change later; workspaces and
caches that outlive a shape, a weight, a state or the numbers in an array; threads that share memory; copies and saved
layers that are not whole; settings of the process that a call changes.

Cannot see what takes more than some ten calls, or chance, to show; nor what a library lets users do beside a call: to
exchange a parameter for another, to cast or to move a layer that was used before, to draw its first weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from rnn_conformance import world
from rnn_conformance.backends import describe
from rnn_conformance.case import Case
from rnn_conformance.check import check
from rnn_conformance.guard import Guardable, How, Watch, has_pages, shares_memory
from rnn_conformance.oracle import Array, Inputs
from rnn_conformance.subject import Broken, DrivenLayer, NotOffered, Result, Subject
from rnn_conformance.suite.life import bits, life_of

BESIDE_A_PAGE: tuple[How, ...] = ("page after", "page before")
GROWN = 10  # open files or threads more than before are a leak: a pool may grow by a few
PURE = "torch.nn.Module: forward computes results from its arguments and parameters"


def same_bits(a: Array, b: Array) -> bool:
    """Whether two arrays are equal, NaN and the signs of zeros included."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def parts(native: object) -> tuple[object, ...]:
    """A state as a tuple."""
    return native if isinstance(native, tuple) else () if native is None else (native,)


@check(PURE, needs=("values.stack",), lengths=None)
def test_inputs(subject: Subject, case: Case) -> None:
    """A call leaves its input, its initial state and the parameters as they were."""
    inputs = case.inputs()
    layer = subject.layer(case.config, inputs.parameters)
    batched = case.batch_size is not None
    result = layer.of_case(case, inputs)
    read = subject.backend.to_numpy
    if not same_bits(np.array(read(result.native_input)), np.array(layer.own_form(inputs.input, batched))):
        raise Broken("the call changed its input")
    for name, native, given in zip(("h_0", "c_0"), parts(result.native_hx), inputs.hx or (), strict=False):
        if not same_bits(np.array(read(native)), np.array(given if batched else given[:, 0])):
            raise Broken(f"the call changed {name}")
    for name, held in layer.parameters().items():
        if not same_bits(np.array(read(held)), inputs.parameters[name]):
            raise Broken(f"the call changed {name}")


@check(PURE, needs=("values.stack",))
def test_repeat(subject: Subject, case: Case) -> None:
    """The same call on the same arrays gives the same bits."""
    inputs = case.inputs()
    layer = subject.layer(case.config, inputs.parameters)
    first = layer.of_case(case, inputs)
    again = layer.again(first, batched=case.batch_size is not None)
    for name, array in first.arrays.items():
        if not same_bits(array, again.arrays[name]):
            raise Broken(
                f"{name} differs from one call to the next, in {_differing(array, again.arrays[name])} elements"
            )


@check(PURE, needs=("purity.repeat",), share=0.6)
def test_overwritten(subject: Subject, case: Case) -> None:
    """The same arrays with new values in them give what follows from those, whatever is kept of the call before."""
    inputs, batched = case.inputs(), case.batch_size is not None
    layer = subject.layer(case.config, inputs.parameters)
    first = layer.of_case(case, inputs)
    other = replace(inputs, input=-inputs.input, hx=None if inputs.hx is None else tuple(-part for part in inputs.hx))
    overwrite(subject, first.native_input, layer.own_form(other.input, batched))
    for native, part in zip(parts(first.native_hx), other.hx or (), strict=True):
        overwrite(subject, native, part if batched else part[:, 0])
    truth = subject.truth(case.config, other)
    subject.agree(layer.again(first, batched).arrays, truth.budgets, "with new values in the same arrays, ")


def clear(subject: Subject, native: Any) -> None:
    """Write zeros into an array; raise NotOffered where its kind is never written to."""
    overwrite(subject, native, np.zeros(np.shape(subject.backend.to_numpy(native))))


def overwrite(subject: Subject, native: Any, values: Array) -> None:
    """Write into an array that a layer was given; raise NotOffered where its kind is never written to."""
    try:
        subject.backend.assign(native, values)
    except Exception as error:
        raise NotOffered(f"arrays of this kind cannot be written to: {describe(error)}") from error


def _differing(a: Array, b: Array) -> int:
    return int((a != b).sum())


@check(PURE, needs=("values.stack",))
def test_results(subject: Subject, case: Case) -> None:
    """Results do not change after they were returned, whatever is computed later or written into inputs."""
    inputs = case.inputs()
    layer = subject.layer(case.config, inputs.parameters)
    first = layer.of_case(case, inputs)
    before = bits(subject, first)
    other = replace(inputs, input=-inputs.input)
    layer.of_case(case, other)
    if bits(subject, first) != before:
        raise Broken("results of a call changed during the next call")
    try:
        clear(subject, first.native_input)
    except NotOffered:
        return
    if bits(subject, first) != before:
        raise Broken("results of a call changed when its input was overwritten")
    for k, part in enumerate(parts(first.native_state)):  # as users reset the state of some rows
        others = before[: 1 + k] + before[2 + k :]
        try:
            clear(subject, part)
        except NotOffered as error:
            raise Broken(f"{('h_n', 'c_n')[k]} is not to be written into, as input is: {error}") from error
        after = bits(subject, first)
        if after[: 1 + k] + after[2 + k :] != others:
            raise Broken(f"results of a call changed when its {('h_n', 'c_n')[k]} was overwritten")
        before = after


@check(PURE, needs=("values.stack",), unbatched=False, num_layers=1, share=0.7)
def test_calls(subject: Subject, case: Case) -> None:
    """No call depends on an earlier one: larger, then smaller, other batches, with and without state."""
    inputs = case.inputs()
    layer = subject.layer(case.config, inputs.parameters)
    rng = case.rng("calls")
    for _ in range(4):
        steps, rows = (int(rng.choice([1, 2, 5, 9])) for _ in range(2))
        sized = replace(case, seq_len=steps, batch_size=rows, hx=bool(rng.integers(2))).inputs()
        call = replace(sized, parameters=inputs.parameters)
        truth = subject.truth(case.config, call)
        what = f"on a layer that had calls of other sizes, with {steps} steps and batch {rows}, "
        subject.agree(layer(call.input, call.hx).arrays, truth.budgets, what)
    truth = subject.truth(case.config, inputs)
    subject.agree(layer.of_case(case, inputs).arrays, truth.budgets, "after calls of other sizes, ")


@check("torch.optim: step() writes into parameters in place", needs=("shapes.parameters", "values.stack"))
def test_weights(subject: Subject, case: Case) -> None:
    """New weights are seen by the next call, however they are cached or packed, be it all of them or some."""
    inputs = case.inputs()
    layer = subject.layer(case.config, inputs.parameters)
    layer.of_case(case, inputs)
    other = replace(case, seed=case.seed + 1).inputs().parameters
    rng = case.rng("weights")
    some = set(rng.choice(sorted(other), int(rng.integers(1, len(other), endpoint=True)), replace=False))
    views = layer.parameters()
    for name in some:
        subject.assign(views[name], other[name])
    changed = replace(inputs, parameters={name: (other if name in some else inputs.parameters)[name] for name in other})
    truth = subject.truth(case.config, changed)
    subject.agree(layer.of_case(case, changed).arrays, truth.budgets, f"after {', '.join(sorted(some))} changed, ")


@check(
    "torch.nn.Module: forward may be called from several threads", needs=("values.stack",), unbatched=False, share=0.3
)
def test_threads(subject: Subject, case: Case) -> None:
    """Calls from several threads at once, on one layer, do not disturb each other."""
    inputs = case.inputs()
    layer = subject.layer(case.config, inputs.parameters)
    calls = [replace(replace(case, seed=case.seed + k).inputs(), parameters=inputs.parameters) for k in range(2)]
    truths = [subject.truth(case.config, call) for call in calls]

    def several(call: Inputs) -> list[Result]:
        return [layer.of_case(case, call) for _ in range(3)]

    with ThreadPoolExecutor(2) as pool:
        for results, truth in zip(pool.map(several, calls), truths, strict=True):
            for result in results:
                subject.agree(result.arrays, truth.budgets, "in one of two threads, ")


@check("torch.nn.Module: forward computes results, and sets nothing", needs=("values.stack",), lengths=None)
def test_globals(subject: Subject, case: Case) -> None:
    """A call changes no seed, default dtype, number of threads, error handling or other setting of the process."""
    inputs = case.inputs()
    before = world.snapshot(subject.backend)
    layer: DrivenLayer = subject.layer(case.config, inputs.parameters)
    made = world.snapshot(subject.backend)
    layer.of_case(case, inputs)
    if names := [n for n in world.changed(before, made) if "random" not in n]:  # a constructor may draw weights
        raise Broken(f"making a layer changed {', '.join(names)}")
    if names := world.changed(made, world.snapshot(subject.backend)):
        raise Broken(f"a call changed {', '.join(names)}")


@check("copy.deepcopy, torch.nn.Module", needs=("values.stack",), share=0.5)
def test_copies(subject: Subject, case: Case) -> None:
    """A deep copy of a layer computes the same, and goes on doing so when the original's weights change."""
    inputs = case.inputs()
    layer = subject.layer(case.config, inputs.parameters)
    layer.of_case(case, inputs)
    copied = layer.copy()
    truth = subject.truth(case.config, inputs)
    try:
        views = layer.parameters()
    except NotOffered:
        views = {}
    for name, view in views.items():
        subject.assign(view, np.zeros_like(inputs.parameters[name]))
    subject.agree(copied.of_case(case, inputs).arrays, truth.budgets, "from a deep copy, ")


ONE_CASE: dict[str, Any] = {
    "cells": ("lstm", "gru", "rnn_tanh"),
    "dtypes": ("float32",),
    "covering": False,
    "share": 0.01,
    "values": ("uniform",),
    "unbatched": False,
    "num_layers": 1,
    "proj_size": 0,
    "input_size": 8,
    "hidden_size": 32,
    "seq_len": 4,
    "batch_size": 16,
}


@check(PURE, needs=("purity.results",), **ONE_CASE)
def test_afterwards(subject: Subject, case: Case) -> None:
    """Nothing goes on writing into results after the call has returned: a tenth of a second later they are the same."""
    inputs = case.inputs()
    first = subject.layer(case.config, inputs.parameters).of_case(case, inputs)
    before = bits(subject, first)
    time.sleep(0.1)
    if bits(subject, first) != before:
        raise Broken("results changed within 0.1 s after the call had returned, though nothing was called")


@check(PURE, needs=("purity.inputs",), lengths=None, share=0.3)
def test_bounds(subject: Subject, case: Case) -> None:
    """A call writes nothing beside its arguments: what lies around input, states and weights stays the same."""
    require_shared_memory(subject, case)
    inputs = case.inputs()
    with Watch(subject.backend, "canaries") as watch:
        replace(subject, backend=watch.backend).run(case, inputs)
        if damage := watch.damage():
            raise Broken(f"the call wrote {damage}")


@check(PURE, needs=("purity.inputs",), lengths=None, share=0.3)
def test_reads(subject: Subject, case: Case) -> None:
    """A call reads nothing beside its arguments: pages that nobody may read may lie around input, state and weights."""
    require_shared_memory(subject, case)
    if not (isinstance(subject.backend, Guardable) and has_pages()):
        raise NotOffered("a read beside an array ends the process: it is looked for with --isolate alone")
    inputs = case.inputs()
    for how in BESIDE_A_PAGE:
        with Watch(subject.backend, how) as watch:
            replace(subject, backend=watch.backend).run(case, inputs)


def require_shared_memory(subject: Subject, case: Case) -> None:
    """Raise NotOffered where arrays are copied, so that a kernel never sees what lies beside them."""
    if not shares_memory(subject.backend, case.config.device):
        raise NotOffered("from_numpy copies, so that nothing of ours lies beside the arrays that a kernel is given")


@check(PURE, needs=("values.stack",), **ONE_CASE)
def test_leaks(subject: Subject, case: Case) -> None:
    """A thousand equal calls leave nothing behind: less than 2 KiB of memory each, no open file and no thread."""
    inputs = case.inputs()
    layer = subject.layer(case.config, inputs.parameters)
    result = layer.of_case(case, inputs)
    hold(subject, lambda times: layer.often(result, times), 1000, 2**11, "calls")


@check(PURE, needs=("values.stack",), **ONE_CASE)
def test_drops(subject: Subject, case: Case) -> None:
    """Two hundred layers, each made, called once and dropped, leave nothing behind: less than 16 KiB of memory each, no
    open file and no thread.
    """
    inputs = case.inputs()

    def make(times: int) -> None:
        for _ in range(times):
            subject.layer(case.config, inputs.parameters).of_case(case, inputs)

    hold(subject, make, 200, 2**14, "layers")


def hold(subject: Subject, repeat: Callable[[int], None], times: int, most: int, what: str) -> None:
    """Hold the backend to a bound on what its process keeps, once caches are warm; growth must show twice."""
    repeat(times // 10)
    before = world.usage(subject.backend)
    if before is None:
        raise NotOffered("what a process holds cannot be counted here")
    for _ in range(2):
        repeat(times)
        after = world.usage(subject.backend) or before
        grown = after.memory - before.memory
        files, threads = after.files - before.files, after.threads - before.threads
        if grown <= most * times and files < GROWN and threads < GROWN:
            return
        before = after
    raise Broken(f"{times} {what} left {grown / times / 1024:.3g} KiB each, {files} open files and {threads} threads")


@check(PURE, needs=("purity.calls",), machine=life_of, covering=False)
def test_life(subject: Subject, case: Case) -> None:
    """Through a random life (chunks, lengths, new batches, new weights, copies, saving and loading, training, wrong
    calls, a second layer beside it) every result is the oracle's, and none changes afterwards.
    """
    subject.verify(case)
