"""Backends that take few cases, for each is compiled anew: every unit has one that says something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from rnn_conformance.backend import Array, Layer
from rnn_conformance.backends.numpy import NumPyBackend
from rnn_conformance.config import LayerConfig
from rnn_conformance.execution import run_unit
from rnn_conformance.run import load_checks
from rnn_conformance.strategies import Unit

CHECKS = ("values.stack", "gradients.parameters", "gradients.truncated", "gradients.lengths", "lengths.again")


class Narrow(NumPyBackend):
    """The oracle with fewer configs than any profile's part of the covering set is sure to have."""

    max_examples = 1

    def __init__(self) -> None:
        self.seen: set[LayerConfig] = set()

    def supports(self, config: LayerConfig) -> str | None:
        """Stacks of one direction with biases, as Flax has them."""
        taken = config.bias and not (config.bidirectional or config.batch_first or config.beyond_torch())
        return super().supports(config) if taken else "not offered"

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A layer of the oracle, whose config is taken down."""
        made = super().layer(config, parameters)
        self.seen.add(config)
        return made


class Swapped(Narrow):
    """The same with the first two gates of the recurrent weight swapped."""

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A layer of the oracle with other parameters."""
        first, second, rest = np.split(parameters["weight_hh_l0"], (config.hidden_size, 2 * config.hidden_size))
        return super().layer(config, {**parameters, "weight_hh_l0": np.concatenate([second, first, rest])})


class Hard(NumPyBackend):
    """The oracle, tried with one case, mostly with activations of which it has no gradients."""

    max_examples = 1

    def extras(self, cell: str) -> Mapping[str, tuple[Any, ...]]:
        """Three choices of hard_sigmoid beside the usual functions and one more."""
        hard = tuple(f"hard_sigmoid {candidate}" for candidate in ("tanh", "hard_tanh", "softsign"))
        return {"activations": ("", *hard, "tanh sigmoid")}


def outcome(check: str, backend: NumPyBackend, seed: int = 0) -> str:
    """The outcome of a check of a GRU."""
    return run_unit(load_checks()[check], Unit(check, "gru", "float32", "cpu", seed), backend, "smoke").outcome


@pytest.mark.parametrize("check", CHECKS)
def test_a_backend_that_takes_few_configs_is_tried_with_one_of_the_covering_set(check: str) -> None:
    backend = Narrow()
    assert outcome(check, backend) == "passed"
    assert max(config.hidden_size for config in backend.seen) > 1


@pytest.mark.parametrize("check", CHECKS)
def test_swapped_gates_of_a_backend_that_takes_few_configs_are_seen(check: str) -> None:
    assert outcome(check, Swapped()) == "failed"


@pytest.mark.parametrize("check", ["gradients.parameters", "gradients.lengths", "special.saturation_gradients"])
def test_the_one_case_of_a_check_of_gradients_has_activations_with_gradients(check: str) -> None:
    assert {outcome(check, Hard(), seed) for seed in range(8)} == {"passed"}
