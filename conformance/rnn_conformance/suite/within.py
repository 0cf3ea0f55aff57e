"""Dropout within a layer: inputs under which units do not mix, and masks recovered from what each of them gives.

Where no hidden unit sees another, all that one gives in a call follows from its own few bits: for each gate, whether
what enters it was dropped. Each choice of bits is tried, and the one whose results lie nearest is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from rnn_reference.parameters import GATES, lanes

from rnn_conformance.budget import LAMBDA, Budget
from rnn_conformance.config import LayerConfig
from rnn_conformance.oracle import Array, Inputs
from rnn_conformance.subject import Subject

WEIGHTS = {"input_dropout": "weight_ih", "recurrent_dropout": "weight_hh"}  # those that what is dropped would meet


def kept_apart(config: LayerConfig, inputs: Inputs) -> Inputs:
    """Inputs under which unit j sees its own state and feature j of the input alone, and no layer sees the one below.

    Features come round again where there are fewer of them than units. Nothing is near zero, and nothing is negative in
    a relu: a unit that was dropped gives what one that was kept does not.
    """
    parameters = {
        name: _far_from_zero(array) if "bias" in name else np.array(array) for name, array in inputs.parameters.items()
    }
    for lane in lanes(config.num_layers, config.bidirectional):
        for name in ("weight_ih", "weight_hh"):
            weight = parameters[f"{name}_{lane}"]
            weight[...] = _diagonal(weight, config.hidden_size)
            if name == "weight_ih" and "_l0" not in f"_{lane}":
                weight[...] = 0
    hx = None if inputs.hx is None else tuple(map(_far_from_zero, inputs.hx))
    apart = replace(inputs, parameters=parameters, input=_far_from_zero(inputs.input), hx=hx)
    if config.nonlinearity != "relu":
        return apart
    positive = {name: np.abs(array) for name, array in parameters.items()}
    return replace(apart, parameters=positive, input=np.abs(apart.input), hx=hx and tuple(map(np.abs, hx)))


def _diagonal(weight: Array, size: int) -> Array:
    """A matrix of gates over features with one feature for each unit."""
    units, features = np.arange(size), weight.shape[1]
    sees = np.zeros((size, features), bool)
    sees[units, units % features] = True
    return np.where(np.tile(sees, (len(weight) // size, 1)), _far_from_zero(weight), 0)


def _far_from_zero(array: Array) -> Array:
    """Numbers of the same signs, from 0.5 to 1."""
    size = np.abs(array.astype(np.float64))
    found: Array = np.where(array < 0, -1.0, 1.0) * (0.5 + 0.5 * size / max(size.max(), 1e-300))
    return found.astype(array.dtype)


@dataclass(frozen=True)
class Recovered:
    """The masks of one call and what is due under them."""

    factors: Array  # (lanes, B, hidden_size, gates): what enters a gate was multiplied by this
    told: Array  # of that shape: whether another factor would have been seen
    budgets: Mapping[str, Budget]  # of output, h_n and, for an LSTM, c_n

    @property
    def dropped(self) -> Array:
        """Whether it was dropped."""
        return np.asarray(self.factors == 0)


def recovered(
    subject: Subject, config: LayerConfig, inputs: Inputs, name: str, results: Mapping[str, Array]
) -> Recovered:
    """The masks that explain best what a call in training gave.

    Args:
        name: the field of the config that has the rate.
        inputs: those of the call, kept apart.
    """
    choices = np.array(list(product((0.0, 1 / (1 - getattr(config, name))), repeat=GATES[config.kind])))
    truths = [subject.truth_unguarded(config, masked(config, inputs, name, choice)).budgets for choice in choices]
    distances = np.stack([_distances(config, truth, results) for truth in truths])  # (choices, lanes, B, hidden_size)
    nearest = distances.argmin(0)
    factors = choices[nearest]
    told = [
        np.where(choices[:, gate].reshape(-1, 1, 1, 1) == factors[..., gate], np.inf, distances).min(0) > LAMBDA
        for gate in range(choices.shape[1])
    ]
    return Recovered(factors, np.stack(told, axis=-1), _chosen(config, truths, nearest))


def masked(config: LayerConfig, inputs: Inputs, name: str, factors: Array) -> Inputs:
    """Inputs whose weights are what those of a call are after its masks.

    Args:
        factors: (gates,) for all lanes and units alike, or (lanes, hidden_size, gates); of a batch of one row.
    """
    parameters = dict(inputs.parameters)
    names = lanes(config.num_layers, config.bidirectional)
    each = np.broadcast_to(factors, (len(names), config.hidden_size, factors.shape[-1]))
    for lane, own in zip(names, each, strict=True):
        weight = f"{WEIGHTS[name]}_{lane}"
        parameters[weight] = parameters[weight].astype(np.float64) * own.T.reshape(-1, 1)
    return replace(inputs, parameters=parameters)


def gradients_of_weights(
    config: LayerConfig, budgets: Mapping[str, Budget], name: str, masks: Recovered
) -> dict[str, Budget]:
    """The budgets of all gradients, where those by `masked` weights are turned into those by the layer's own.

    What a weight is multiplied with was masked: feature k for a gate as unit k, which alone sees it, showed. Where it
    showed nothing, nothing is due, nor of the weights of that unit, whose gates may have been others.
    """
    found = dict(budgets)
    for k, lane in enumerate(lanes(config.num_layers, config.bidirectional)):
        weight = f"{WEIGHTS[name]}_{lane}"
        features = budgets[weight].truth.shape[1]
        columns, told = (
            array[k, 0, :features].T.repeat(config.hidden_size, axis=0) for array in (masks.factors, masks.told)
        )
        told &= np.tile(masks.told[k, 0].all(-1), GATES[config.kind])[:, np.newaxis]
        sigma = np.maximum(budgets[weight].sigma * columns, np.finfo(np.float64).tiny)
        found[weight] = Budget(budgets[weight].truth * columns, np.where(told, sigma, np.inf))
    return found


def _distances(config: LayerConfig, truth: Mapping[str, Budget], results: Mapping[str, Array]) -> Array:
    """The largest ρ in what each unit gives: (lanes, B, hidden_size)."""
    rhos = {name: truth[name].rho(actual) for name, actual in results.items()}
    output = np.stack(np.split(rhos.pop("output").max(0), config.num_directions, axis=-1))
    worst: Array = np.max(list(rhos.values()), axis=0)
    worst[-config.num_directions :] = np.maximum(worst[-config.num_directions :], output)
    return worst


def _chosen(config: LayerConfig, truths: list[Mapping[str, Budget]], nearest: Array) -> dict[str, Budget]:
    """The budgets of each unit under the choice that was nearest for it."""
    top = np.concatenate(list(nearest[-config.num_directions :]), axis=-1)
    found = {}
    for name, first in truths[0].items():
        at = np.broadcast_to(top if name == "output" else nearest, first.truth.shape)[np.newaxis]
        truth, sigma = (
            np.take_along_axis(np.stack([getattr(budgets[name], part) for budgets in truths]), at, 0)[0]
            for part in ("truth", "sigma")
        )
        found[name] = Budget(truth, sigma)
    return found
