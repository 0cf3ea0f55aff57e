"""Other activations: a kernel that has them right is left alone, and what kernels do wrong with them is seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from rnn_conformance.backend import Array, Layer
from rnn_conformance.backends.numpy import NumPyBackend
from rnn_conformance.config import LayerConfig
from rnn_conformance.execution import run_unit
from rnn_conformance.run import load_checks
from rnn_conformance.strategies import Unit


class Mistaken(NumPyBackend):
    """The oracle with other activations than were asked for."""

    def wrong(self, names: list[str]) -> list[str]:
        """The names that are used."""
        return names

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        names = " ".join(self.wrong(config.activations.split()))
        return super().layer(replace(config, activations=names), parameters)


class Ignoring(Mistaken):
    """It always has the usual ones."""

    def wrong(self, names: list[str]) -> list[str]:
        return []


class FirstOfAll(Mistaken):
    """The function of the gates is the candidate's too."""

    def wrong(self, names: list[str]) -> list[str]:
        return [names[0], names[0], *names[2:]] if names else []


class CandidateInCell(Mistaken):
    """An LSTM's cell state has the candidate's function, as where a framework has two functions only."""

    def wrong(self, names: list[str]) -> list[str]:
        return [*names[:2], names[1]] if len(names) == 3 else names


@pytest.mark.parametrize(
    ("kind", "cells"),
    [
        (Ignoring, ("lstm", "gru", "rnn_tanh", "rnn_relu")),
        (FirstOfAll, ("lstm", "gru")),
        (CandidateInCell, ("lstm",)),
    ],
)
def test_other_functions_than_were_asked_for_are_seen(kind: type[Mistaken], cells: tuple[str, ...]) -> None:
    for cell in cells:
        unit = Unit("values.cell", cell, "float32", "cpu", 0)
        result = run_unit(load_checks()[unit.check], unit, kind(), "ci")
        assert result.outcome == "failed", cell
        assert result.finding is not None
        assert result.finding.fields["config"]["activations"]


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
def test_gradients_with_those_that_were_asked_for_pass(cell: str, dtype: str) -> None:
    for check in ("gradients.parameters", "gradients.input"):
        result = run_unit(load_checks()[check], Unit(check, cell, dtype, "cpu", 0), Mistaken(), "smoke")
        assert result.outcome == "passed", result.finding
