"""All hypotheses, in the order in which those that fit equally well are named."""

from __future__ import annotations

from rnn_conformance.diagnosis.hypotheses import (  # noqa: F401
    activations,
    beyond,
    gates,
    gradients,
    lengths,
    precision,
    sequences,
    stacks,
    states,
    weights,
)
from rnn_conformance.diagnosis.hypotheses.base import CATALOGUE, Hypothesis, Kind


def hypotheses(kind: Kind) -> list[Hypothesis]:
    """Those about results, or about gradients."""
    return [hypothesis for hypothesis in CATALOGUE.values() if hypothesis.kind == kind]
