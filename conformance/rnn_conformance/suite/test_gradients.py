"""Gradients: of input, states and every parameter, by backpropagation through time.

Catches gradients that are lost, doubled, scaled, cut off between steps, layers, directions or at h_n and c_n, not
accumulated, given to frozen parameters, clipped, flushed, read from padding; what a backward needs and a later call,
or the backward itself, overwrites; upstream gradients without memory of their own, or that are NaN.

Cannot see second derivatives, nor anything of backends without gradients.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from rnn_conformance.case import Case, upstream_of
from rnn_conformance.check import check
from rnn_conformance.config import LayerConfig
from rnn_conformance.oracle import Upstream
from rnn_conformance.strategies import SMALL, Unit
from rnn_conformance.subject import BackendRaised, Broken, NotOffered, Subject

CHAIN_RULE = "torch.autograd: the gradient of a scalar by a leaf, by the chain rule; Werbos 1990 for sequences"
CALM = ("integers", "uniform", "normal", "onehot", "constant")  # values under which gates are not shut
DERIVED: dict[str, Any] = {  # as the oracle has gradients
    "values": CALM,
    "clip": 0.0,
    "peepholes": False,
    "input_forget": False,
    "gradients": True,
}


def verify(subject: Subject, case: Case, *names: str) -> None:
    """The gradients by these names, or by the parameters where there is none, equal the oracle's."""
    inputs = case.inputs()
    upstream = upstream_of(case, inputs)
    truth = subject.gradient_truth(case.config, inputs, upstream)
    layer = subject.layer(case.config, inputs.parameters)
    result, found = layer.gradients(case, inputs, upstream)
    budgets = subject.truth_unguarded(case.config, inputs).budgets
    subject.agree(result.arrays, budgets, "where gradients are taken, ")  # a kernel may go another way then
    chosen = {name: array for name, array in found.items() if name in (names or inputs.parameters)}
    subject.agree(chosen, truth.budgets, "the gradient by ")


@check(CHAIN_RULE, needs=("values.stack",), **DERIVED, lengths=None)
def test_input(subject: Subject, case: Case) -> None:
    """The gradient by input equals the oracle's, through every layer, direction, step and final state."""
    verify(subject, case, "input")


@check(CHAIN_RULE, needs=("values.stack",), **DERIVED, lengths=None, hx=True)
def test_state(subject: Subject, case: Case) -> None:
    """The gradients by h_0 and c_0 equal the oracle's."""
    verify(subject, case, "h_0", "c_0")


def wide(unit: Unit) -> list[Case]:
    """More rows, features and units than tiles have."""
    config = LayerConfig(unit.cell, 33, 34, dtype=unit.dtype, device=unit.device)
    return [Case(config, seq_len=2, batch_size=35, values="uniform", seed=unit.entropy)]


@check(CHAIN_RULE, needs=("values.stack",), explicit=wide, **DERIVED, lengths=None)
def test_parameters(subject: Subject, case: Case) -> None:
    """The gradient by every weight and bias of every layer and direction equals the oracle's."""
    verify(subject, case)


@check(CHAIN_RULE, needs=("gradients.parameters",), **DERIVED, lengths=True, share=0.6)
def test_lengths(subject: Subject, case: Case) -> None:
    """With lengths, padding has no part in any gradient and a gradient of zero."""
    inputs = case.inputs()
    for row, length in enumerate(case.lengths or ()):
        inputs.input[length:, row] = 97
    upstream = upstream_of(case, inputs)
    truth = subject.gradient_truth(case.config, inputs, upstream)
    _, found = subject.layer(case.config, inputs.parameters).gradients(case, inputs, upstream)
    subject.agree(found, truth.budgets, "the gradient by ")


@check(
    "torch.nn.LSTM, Outputs: h_n and c_n are results like output",
    needs=("gradients.parameters",),
    **DERIVED,
    hx=True,
    share=0.6,
)
def test_results(subject: Subject, case: Case) -> None:
    """Each of output, h_n and c_n passes its own gradient on, when it is the only one in the loss."""
    inputs = case.inputs()
    whole = upstream_of(case, inputs)
    nothing = Upstream(np.zeros_like(whole.output), tuple(np.zeros_like(part) for part in whole.state))
    layer = subject.layer(case.config, inputs.parameters)
    alone = {"output": replace(nothing, output=whole.output)}
    for k, name in enumerate(("h_n", "c_n")[: len(whole.state)]):
        state = tuple(
            part if place == k else zeros
            for place, (part, zeros) in enumerate(zip(whole.state, nothing.state, strict=True))
        )
        alone[name] = replace(nothing, state=state)
    for name, upstream in alone.items():
        truth = subject.gradient_truth(case.config, inputs, upstream)
        _, found = layer.gradients(case, inputs, upstream)
        subject.agree(found, truth.budgets, f"with {name} alone in the loss, the gradient by ")


@check("torch.Tensor.grad: backward accumulates", needs=("gradients.parameters",), **DERIVED, share=0.6)
def test_accumulate(subject: Subject, case: Case) -> None:
    """A second backward adds its gradients to those of the first."""
    inputs = case.inputs()
    upstream = upstream_of(case, inputs)
    truth = subject.gradient_truth(case.config, inputs, upstream)
    layer = subject.layer(case.config, inputs.parameters)
    layer.gradients(case, inputs, upstream)
    _, found = layer.gradients(case, inputs, upstream, accumulate=True)
    summed = {name: found[name] for name in inputs.parameters}
    doubled = {name: truth.budgets[name].times(2) for name in summed}
    subject.agree(summed, doubled, "after a second backward, the gradient by ")


@check("torch.Tensor.requires_grad", needs=("gradients.parameters",), **DERIVED, share=0.6)
def test_frozen(subject: Subject, case: Case) -> None:
    """A parameter, input or state for which nobody wants a gradient gets none, and changes no other."""
    inputs = case.inputs()
    upstream = upstream_of(case, inputs)
    names = sorted([*inputs.parameters, "input", *(("h_0", "c_0")[: len(inputs.hx)] if inputs.hx else ())])
    wanted = names[int(case.rng("wanted").integers(len(names)))]  # one at least is
    choices = {
        "some": [name for name in names if name != wanted and case.rng(f"freeze {name}").integers(2)],
        "all parameters": sorted(inputs.parameters),
        "all arguments": [name for name in names if name not in inputs.parameters],
    }
    frozen = choices[str(case.rng("frozen").choice(sorted(choices)))]
    truth = subject.gradient_truth(case.config, inputs, upstream)
    _, found = subject.layer(case.config, inputs.parameters).gradients(case, inputs, upstream, frozen=frozen)
    subject.agree(found, truth.budgets, f"with {', '.join(frozen) or 'nothing'} frozen, the gradient by ")


@check("torch.Tensor.sum: its gradient is expanded from one number", needs=("gradients.parameters",), **DERIVED)
def test_sum(subject: Subject, case: Case) -> None:
    """Gradients that are one number for all elements, without memory of their own, count like any others, be that
    number small or, as scaled losses make it, large.
    """
    inputs = case.inputs()
    whole = upstream_of(case, inputs)
    number = 2.0 ** case.rng("number").choice((-3, 0, 3) if case.config.dtype == "float16" else (-20, 0, 12))
    same = Upstream(np.full_like(whole.output, number), tuple(np.full_like(part, number) for part in whole.state))
    truth = subject.gradient_truth(case.config, inputs, same)
    layer = subject.layer(case.config, inputs.parameters)
    _, found = layer.gradients(case, inputs, same, upstream_layout="expanded")
    subject.agree(found, truth.budgets, f"the gradient of {number:g} times the sum of all results by ")


@check("torch.autograd: a graph keeps what its backward needs", needs=("gradients.parameters",), **DERIVED, share=0.6)
def test_meanwhile(subject: Subject, case: Case) -> None:
    """A call can be differentiated after other calls of the same layer: what it needs for that is its own."""
    inputs = case.inputs()
    upstream = upstream_of(case, inputs)
    truth = subject.gradient_truth(case.config, inputs, upstream)
    layer = subject.layer(case.config, inputs.parameters)
    _, differentiate = layer.taped(case, inputs, upstream)
    other = replace(inputs, input=-inputs.input[::-1])
    layer.taped(case, other, upstream)
    layer.of_case(case, other)
    subject.agree(differentiate(), truth.budgets, "with other calls before its backward, the gradient by ")


@check("torch.Tensor.backward, retain_graph", needs=("gradients.meanwhile",), **DERIVED, share=0.6)
def test_again(subject: Subject, case: Case) -> None:
    """A graph that is retained gives the same gradients a second time: a backward leaves what it reads as it was."""
    inputs = case.inputs()
    upstream = upstream_of(case, inputs)
    truth = subject.gradient_truth(case.config, inputs, upstream)
    _, differentiate = subject.layer(case.config, inputs.parameters).taped(case, inputs, upstream)
    subject.agree(differentiate(retain_graph=True), truth.budgets, "with its graph retained, the gradient by ")
    subject.agree(differentiate(), truth.budgets, "the second time through its graph, the gradient by ")


@check(
    "torch.nn.Module.eval: equivalent with self.train(False), which is about dropout",
    needs=("gradients.meanwhile",),
    **DERIVED,
    dropout=(0.0, 0.5),
    share=0.6,
)
def test_eval(subject: Subject, case: Case) -> None:
    """Gradients that are taken in eval are those without dropout, unless they are refused, as cuDNN does."""
    inputs = case.inputs()
    upstream = upstream_of(case, inputs)
    truth = subject.gradient_truth(case.config, inputs, upstream)
    layer = subject.layer(case.config, inputs.parameters)
    try:
        _, differentiate = layer.taped(case, inputs, upstream, training=False)
        found = differentiate()
    except BackendRaised as refusal:
        raise NotOffered("gradients in eval are refused") from refusal
    subject.agree(found, truth.budgets, "in eval, the gradient by ")


def many_steps(unit: Unit) -> list[Case]:
    """More steps than blocks of them have."""
    config = LayerConfig(unit.cell, 3, 5, dtype=unit.dtype, device=unit.device)
    return [Case(config, seq_len=257, batch_size=2, values="uniform", seed=unit.entropy)]


@check(
    CHAIN_RULE,
    needs=("gradients.input", "gradients.parameters"),
    explicit=many_steps,
    **DERIVED,
    lengths=None,
    share=0.3,
    num_layers=1,
    hidden_size=SMALL,
    seq_len=(257, 129, 200),
    batch_size=(1, 2, 3),
    covering=False,
)
def test_long(subject: Subject, case: Case) -> None:
    """Gradients go back through every step of a long sequence."""
    inputs = case.inputs()
    upstream = upstream_of(case, inputs)
    truth = subject.gradient_truth(case.config, inputs, upstream)
    _, found = subject.layer(case.config, inputs.parameters).gradients(case, inputs, upstream)
    subject.agree(found, truth.budgets, f"over {case.seq_len} steps, the gradient by ")


@check(
    "IEEE 754 and the chain rule: torch.amp.GradScaler skips a step whose gradients are infinite or NaN",
    needs=("gradients.parameters",),
    **DERIVED,
    cells=("lstm", "gru", "rnn_tanh"),  # relu may choose its gradient, and so lose NaN
    activations="",
    lengths=False,
    unbatched=False,
    batch_size=(2, 3, 4),
    share=0.6,
)
def test_nan(subject: Subject, case: Case) -> None:
    """NaN or infinity in the gradient by a row's output reaches its input and the weights, and no other row."""
    inputs = case.inputs()
    upstream = upstream_of(case, inputs)
    truth = subject.gradient_truth(case.config, inputs, upstream)
    rng = case.rng("nan")
    step, row = (int(rng.integers(n)) for n in inputs.input.shape[:2])
    value = rng.choice((np.nan, np.inf, -np.inf))
    output = upstream.output.copy()
    output[step, row] = value
    layer = subject.layer(case.config, inputs.parameters)
    _, found = layer.gradients(case, inputs, replace(upstream, output=output))
    what = f"with {value} as the gradient by output[step {step}, row {row}], the gradient by "
    last = f"weight_ih_l{case.config.num_layers - 1}"
    reached = {f"input[step {step}, row {row}]": found["input"][step, row]}
    reached |= {name: array for name, array in found.items() if name.startswith(last)}
    for name, array in reached.items():
        if np.isfinite(array.astype(np.float64)).all():
            raise Broken(f"{what}{name} is finite")
    of_rows = {name: array.copy() for name, array in found.items() if name not in inputs.parameters}
    for name, array in of_rows.items():
        array[:, row] = truth.budgets[name].truth[:, row].astype(array.dtype)
    subject.agree(of_rows, truth.budgets, what)


@check(
    "PyTorch's example of word-level language modelling: repackage_hidden, truncated backpropagation",
    needs=("gradients.parameters",),
    **DERIVED,
    bidirectional=False,
    unbatched=False,
    hx=True,
    share=0.6,
)
def test_truncated(subject: Subject, case: Case) -> None:
    """Cut into chunks, with the state handed on, each chunk has the gradients of a sequence of its own."""
    inputs = case.inputs()
    upstream = upstream_of(case, inputs)
    now = len(inputs.input) // 2
    if now == 0:
        verify(subject, case)
        return
    layer = subject.layer(case.config, inputs.parameters)
    result = None
    for part in (slice(None, now), slice(now, None)):
        state = inputs.hx if result is None else tuple(result.arrays[n] for n in ("h_n", "c_n") if n in result.arrays)
        chunk = replace(inputs, input=inputs.input[part], hx=state)
        loss = replace(upstream, output=upstream.output[part])
        truth = subject.gradient_truth(case.config, chunk, loss)
        result, found = layer.gradients(case, chunk, loss, hx=result)
        subject.agree(
            found,
            truth.budgets,
            f"in the chunk of steps {part.start or 0} to {part.stop or 'the end'}, the gradient by ",
        )
