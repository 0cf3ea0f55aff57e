"""The suite's own pace: examples per second, and the share of the time that is spent inside the backend."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from rnn_conformance.backends import load_backend
from rnn_conformance.record import Record
from rnn_conformance.run import Request, run_here

CHECKS = ("values.stack", "steps.chunks", "structure.layers", "lengths.alone", "gradients.parameters", "purity.calls")


@pytest.mark.parametrize("name", ["torch", "numpy"])
def test_pace(benchmark: BenchmarkFixture, name: str) -> None:
    """Six checks over all cells and dtypes, in this process, in the smoke profile."""
    backend = load_backend(name)
    record: Record = benchmark.pedantic(run_here, (Request(backend=name, profile="smoke"), backend, CHECKS), rounds=3)
    seconds = sum(result.seconds for result in record.checks)
    examples = sum(result.examples for result in record.checks)
    benchmark.extra_info["examples per second"] = round(examples / seconds, 1)
    share = sum(result.backend_seconds for result in record.checks) / seconds
    benchmark.extra_info["share inside the backend"] = round(share, 3)
    print(f"\n{name}: {examples / seconds:.0f} examples per second, {share:.0%} of the time inside the backend")
