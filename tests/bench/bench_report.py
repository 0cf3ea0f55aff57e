"""What is drawn from records: the page of a full record that passes or fails, and the matrix over twenty backends."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from pytest_benchmark.fixture import BenchmarkFixture
from report.records import full  # as pytest sees tests/report from here
from rnn_conformance.record import to_json
from rnn_conformance.report.matrix import matrix
from rnn_conformance.report.page import page

CHECKS = 66  # of 16 units each


@pytest.mark.parametrize("outcome", ["passed", "failed"])
def test_page(benchmark: BenchmarkFixture, outcome: str) -> None:
    """The page of a record of 1,056 units."""
    html = benchmark(page, full(CHECKS, outcome))
    benchmark.extra_info["bytes"] = len(html.encode())


def test_record(benchmark: BenchmarkFixture) -> None:
    """A record as JSON, validated."""
    text = benchmark(to_json, full(CHECKS))
    benchmark.extra_info["bytes"] = len(text)


def test_matrix(benchmark: BenchmarkFixture) -> None:
    """Twenty backends, of which half fail."""
    records = [replace(full(CHECKS, ("passed", "failed")[k % 2]), backend=f"backend-{k}") for k in range(20)]
    html = benchmark(matrix, records)
    benchmark.extra_info["bytes"] = len(html.encode())
