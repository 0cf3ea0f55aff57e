"""Door 2: functions over NumPy arrays, and the example in C behind ctypes."""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rnn_conformance
from rnn_conformance.backend import WrongUse
from rnn_conformance.backends import load_backend
from rnn_conformance.backends.function import FunctionBackend
from rnn_conformance.config import LayerConfig
from rnn_conformance.oracle import reference

EXAMPLE = Path(__file__).parents[2] / "examples" / "ctypes-kernel"
CHECKS = ["values.cell", "values.stack", "lengths.alone", "purity.inputs", "purity.weights", "errors.unsupported"]


def oracle(config: LayerConfig, parameters: Any, x: Any, state: Any, lengths: Any = None) -> Any:
    return reference(config, parameters, x, state, lengths=lengths)


def without_lengths(config: LayerConfig, parameters: Any, x: Any, state: Any) -> Any:
    return reference(config, parameters, x, state)


def zeros(config: LayerConfig, parameters: Any, x: Any, state: Any) -> Any:
    output, final = reference(config, parameters, x, state)
    return 0 * output, final


def only_float64(config: LayerConfig) -> str | None:
    return None if config.dtype in ("float32", "float64") else "float32 and float64 are offered"


def outcomes(backend: Any, checks: list[str]) -> set[tuple[str, str]]:
    record = rnn_conformance.check_backend(backend, checks=checks).record
    return {(result.id, result.outcome) for result in record.checks if result.dtype == "float32"}


def test_a_right_function_conforms() -> None:
    backend = rnn_conformance.function(oracle, supports=only_float64)
    assert outcomes(backend, CHECKS) == {(check, "passed") for check in CHECKS}


def test_a_wrong_function_does_not() -> None:
    backend = rnn_conformance.function(zeros, supports=only_float64)
    assert outcomes(backend, ["values.cell"]) == {("values.cell", "failed")}


def test_lengths_are_not_offered_where_the_function_has_no_such_parameter() -> None:
    backend = rnn_conformance.function(supports=only_float64)(without_lengths)
    found = outcomes(backend, ["values.cell", "lengths.alone", "purity.inputs"])
    assert found == {("values.cell", "passed"), ("lengths.alone", "not_offered"), ("purity.inputs", "passed")}


def test_a_decorated_function_can_still_be_called() -> None:
    @rnn_conformance.function
    def forward(config: Any, parameters: Any, x: Any, state: Any) -> Any:
        return x, state

    assert forward(None, {}, 1, 2) == (1, 2)
    assert forward.name == f"{__name__}:forward"


def test_a_plain_function_is_taken_by_name() -> None:
    backend = load_backend(f"{__name__}:without_lengths")
    assert isinstance(backend, FunctionBackend)
    assert not backend.policy.lengths


def test_what_is_neither_function_nor_backend_is_refused() -> None:
    with pytest.raises(WrongUse, match=r"must be a function or a subclass of rnn_conformance\.Backend, not list"):
        load_backend(f"{__name__}:CHECKS")


def test_fields_beyond_torch_are_refused_unless_declared() -> None:
    config = LayerConfig("gru", 1, 1, reset_after=False)
    assert rnn_conformance.function(oracle).supports(config) == "reset_after=False is not offered"
    backend = rnn_conformance.function(oracle, extras=lambda cell: {"reset_after": (False,)} if cell == "gru" else {})
    assert backend.supports(config) is None
    assert backend.supports(LayerConfig("gru", 1, 1)) == "reset_after=True is not offered"


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_example_in_c_conforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLE)
    try:
        backend = load_backend("kernel:forward")
    finally:
        sys.modules.pop("kernel", None)
    checks = ["values.cell", "values.stack", "steps.stepwise", "layout.input", "errors.input", "errors.state"]
    record = rnn_conformance.check_backend(backend, checks=checks).record
    found = {r.id: r.outcome for r in record.checks if (r.cell, r.dtype) == ("lstm", "float32")}
    assert found == dict.fromkeys(checks, "passed")
    assert {r.outcome for r in record.checks if (r.cell, r.dtype) != ("lstm", "float32")} == {"not_offered"}


def test_results_can_be_written_into_buffers_that_are_full_of_nan() -> None:
    seen = []

    def written(config: LayerConfig, parameters: Any, x: Any, state: Any, out: Any) -> None:
        output, final = reference(config, parameters, x, state)
        finals = zip(out[1], final, strict=True) if config.kind == "lstm" else [(out[1], final)]
        for due, given in ((out[0], output), *finals):
            seen.append(np.isnan(due).all() and due.flags.c_contiguous)
            assert (due.shape, due.dtype) == (given.shape, given.dtype)
            due[...] = given

    checks = ["shapes.result", "values.stack", "steps.stepwise", "edges.empty_batch", "errors.input", "errors.state"]
    backend = rnn_conformance.function(written, supports=only_float64)
    assert outcomes(backend, checks) == {(check, "passed") for check in checks}
    assert all(seen)
