"""Shapes: names, shapes, dtypes and devices of results and parameters.

Catches results that lack an axis or have one too many, states in another form, parameters under other names or of
other shapes, float32 where float64 was due, results on another device, None.

Cannot see what the numbers are: all other families do.
"""

from __future__ import annotations

import numpy as np

from rnn_conformance.case import Case
from rnn_conformance.check import check
from rnn_conformance.config import numpy_dtype
from rnn_conformance.subject import Broken, Subject
from rnn_conformance.suite import published


@check(
    "torch.nn.LSTM, Outputs: output (L, N, D·H_out), (N, L, D·H_out) or (L, D·H_out), h_n and c_n (D·num_layers, N, H)",
    explicit=lambda unit: published.two_layers(unit) + published.two_directions(unit),
)
def test_result(subject: Subject, case: Case) -> None:
    """Output and final states have the shapes, dtype and device that torch.nn's page gives, batched and unbatched,
    batch_first or not, projected or not.
    """
    subject.run(case, case.inputs())


@check(
    "torch.nn.LSTM, Variables: weight_ih_l[k] is (4·hidden_size, input_size), for k > 0 (4·hidden_size, D·hidden_size)",
    explicit=published.two_layers,
    share=0.4,
)
def test_parameters(subject: Subject, case: Case) -> None:
    """The layer's parameters have torch.nn's names, shapes and dtype, and the values that were given."""
    given = case.inputs().parameters
    layer = subject.layer(case.config, given)
    held = {name: subject.backend.to_numpy(value) for name, value in layer.parameters().items()}
    if sorted(held) != sorted(given):
        raise Broken(f"the parameters are named {sorted(held)}, but {sorted(given)} were due")
    for name, values in given.items():
        if held[name].shape != values.shape:
            raise Broken(f"{name} has the shape {held[name].shape}, but {values.shape} was due")
        if held[name].dtype != numpy_dtype(case.config.dtype):
            raise Broken(f"{name} is {held[name].dtype}, but {case.config.dtype} was due")
        if not np.array_equal(held[name], values):
            raise Broken(f"{name} does not hold the values that it was given")
