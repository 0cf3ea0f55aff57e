"""The oracle against torch.nn in float64 on one thread, and the budget at K = 8 against one oracle run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import rnn_reference
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from rnn_conformance.arithmetic import arithmetic_of
from rnn_conformance.budget import RUNS, budgets

MODULES = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}
SIZES = [pytest.param((50, 16, 256), id="T50-B16-H256"), pytest.param((20, 3, 16), id="T20-B3-H16")]
Work = tuple[torch.nn.Module, np.ndarray[Any, Any], Callable[..., Any]]


@pytest.fixture(params=list(MODULES))
def kind(request: pytest.FixtureRequest) -> str:
    """lstm, gru or rnn."""
    return str(request.param)


@pytest.fixture(params=SIZES)
def work(request: pytest.FixtureRequest, kind: str) -> Work:
    """A torch module, an input, and the oracle as a function of arrays by name."""
    torch.set_num_threads(1)
    steps, batch, hidden = request.param
    module = MODULES[kind](hidden, hidden).double()
    x = np.random.default_rng(0).standard_normal((steps, batch, hidden))

    def oracle(arrays: Mapping[str, Any]) -> dict[str, Any]:
        parameters = {name: array for name, array in arrays.items() if name != "input"}
        return {"output": getattr(rnn_reference, kind)(arrays["input"], parameters, hidden_size=hidden)[0]}

    return module, x, oracle


def arrays_of(module: torch.nn.Module, x: np.ndarray[Any, Any]) -> dict[str, Any]:
    """The arguments of the oracle."""
    return {"input": x} | {name: p.detach().numpy() for name, p in module.named_parameters()}


def test_torch(benchmark: BenchmarkFixture, work: Work) -> None:
    """torch.nn's forward."""
    module, x, _ = work
    benchmark.group = benchmark.name.partition("[")[2]
    with torch.no_grad():
        benchmark(module, torch.from_numpy(x))


def test_oracle(benchmark: BenchmarkFixture, work: Work) -> None:
    """The oracle's."""
    module, x, oracle = work
    benchmark.group = benchmark.name.partition("[")[2]
    benchmark(oracle, arrays_of(module, x))


def test_budget(benchmark: BenchmarkFixture, work: Work) -> None:
    """The truth and K noisy runs, with σ."""
    module, x, oracle = work
    benchmark.group = benchmark.name.partition("[")[2]
    arrays = arrays_of(module, x[:, np.newaxis])
    benchmark(budgets, oracle, arrays, arithmetic_of("float32"), runs=RUNS)
