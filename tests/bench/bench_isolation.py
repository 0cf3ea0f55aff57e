"""What a process of its own costs a backend: each crossing of a small array, and each death."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from rnn_conformance.backend import Backend
from rnn_conformance.case import Case
from rnn_conformance.config import LayerConfig
from rnn_conformance.isolate import Crashed, IsolatedBackend
from rnn_conformance.request import Request

CASE = Case(LayerConfig("lstm", 3, 4), 5, 2)


@pytest.fixture(scope="module", params=[False, True], ids=["in this process", "isolated"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    made = Request(backend="torch", isolate=request.param).load()
    yield made
    if isinstance(made, IsolatedBackend):
        made.close()


def test_from_numpy(benchmark: BenchmarkFixture, backend: Backend) -> None:
    benchmark(backend.from_numpy, CASE.inputs().input, "cpu")


def test_forward(benchmark: BenchmarkFixture, backend: Backend) -> None:
    inputs = CASE.inputs()
    layer = backend.layer(CASE.config, inputs.parameters)
    x = backend.from_numpy(inputs.input, "cpu")
    hx = tuple(backend.from_numpy(part, "cpu") for part in inputs.hx or ())
    benchmark(layer.forward, x, hx)


def test_to_numpy(benchmark: BenchmarkFixture, backend: Backend) -> None:
    benchmark(backend.to_numpy, backend.from_numpy(CASE.inputs().input, "cpu"))


def test_death(benchmark: BenchmarkFixture) -> None:
    """A call that ends its process, and a fresh one until it has made a layer."""
    backend = Request(backend="torch", isolate=True).load()
    assert isinstance(backend, IsolatedBackend)
    parameters = CASE.inputs().parameters

    def die_and_live() -> None:
        os.kill(backend.process_id or 0, signal.SIGSEGV)
        with pytest.raises(Crashed):
            backend.layer(CASE.config, parameters)
        assert backend.take_death()
        backend.layer(CASE.config, parameters)

    benchmark.pedantic(die_and_live, rounds=5)
    backend.close()
