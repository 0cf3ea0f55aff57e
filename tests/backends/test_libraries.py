"""Backends of libraries: a few checks of each that is installed, and that a wrong kernel behind it is seen."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rnn_conformance.backend import Backend, Layer, WrongUse
from rnn_conformance.backends import load_backend
from rnn_conformance.config import LayerConfig
from rnn_conformance.execution import run_unit
from rnn_conformance.expectations import Expectation
from rnn_conformance.record import CheckResult
from rnn_conformance.run import Request, load_checks
from rnn_conformance.strategies import Unit

QUANTIZED = ("torch-quantized", "torch-quantized-float16")
TORCH = ("torch-compile-aot", "torch-export", "torch-functional", *QUANTIZED, "torch-script")
KERAS = ("keras-jax", "keras-tensorflow", "keras-torch")
OTHERS = ("equinox", "flax", "flax-nnx", "haiku", *KERAS, "mlx", "ncnn", "paddle", "paddle-cell", "tflite", "tinygrad")
CHECKS = ("shapes.result", "values.stack", "structure.directions", "gradients.parameters", "errors.recovery")
ALONE = ("flax", "flax-nnx", *KERAS, "tflite")  # backends that can be asked for one result alone
NO_GRADIENTS = ("ncnn", "tflite", *QUANTIZED)
ONE_CELL = {"tinygrad": "lstm"}  # backends without a GRU
pytestmark = pytest.mark.filterwarnings("ignore")  # libraries warn


def loaded(name: str) -> Backend:
    """The backend, or a skipped test where its library is not installed."""
    try:
        return load_backend(name)
    except WrongUse as error:
        pytest.skip(str(error))


def outcome(backend: Backend, check: str, examples: int = 1) -> CheckResult:
    """One check of a GRU, where there is one, in float32."""
    backend.max_examples = examples
    known = Request(backend=backend.name).known(backend)
    unit = Unit(check, ONE_CELL.get(backend.name, "gru"), "float32", "cpu", 0)
    return run_unit(load_checks()[check], unit, backend, "smoke", expectations=known)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", TORCH + OTHERS)
def test_conforms(name: str, check: str) -> None:
    if (name, check) == ("ncnn", "errors.recovery"):
        pytest.skip("a wrong state ends the process, which is declared")
    result = outcome(loaded(name), check)
    if check == "gradients.parameters" and name in NO_GRADIENTS:
        assert result.outcome == "not_offered"
    else:
        assert result.examples
        assert result.outcome in ("passed", "expected_failure"), result.finding


@pytest.mark.parametrize("check", ["values.stack", "gradients.parameters"])
@pytest.mark.parametrize("name", TORCH + OTHERS)
def test_a_kernel_with_two_gates_swapped_is_seen(name: str, check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if check == "gradients.parameters" and name in NO_GRADIENTS:
        pytest.skip("it has no gradients")
    backend = loaded(name)
    make = backend.layer

    def swapped(config: LayerConfig, parameters: Mapping[str, Any]) -> Layer:
        first, second, rest = np.split(parameters["weight_hh_l0"], (config.hidden_size, 2 * config.hidden_size))
        return make(config, {**parameters, "weight_hh_l0": np.concatenate([second, first, rest])})

    monkeypatch.setattr(backend, "layer", swapped)
    assert outcome(backend, check, examples=12).outcome == "failed"  # some of which no deviation is declared


@pytest.mark.parametrize(("ignored", "due"), [(False, "passed"), (True, "failed")])
@pytest.mark.parametrize("check", ["values.stack", "gradients.parameters"])
@pytest.mark.parametrize("name", ["flax", "flax-nnx"])
def test_simple_cells_heed_residual(
    name: str, check: str, ignored: bool, due: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend: Any = loaded(name)
    offered, make = backend.extras, backend.cell
    monkeypatch.setattr(backend, "extras", lambda cell: {**offered(cell), "residual": (True,)})
    if ignored:
        monkeypatch.setattr(backend, "cell", lambda config, *a, **o: make(replace(config, residual=False), *a, **o))
    unit = Unit(check, "rnn_tanh", "float32", "cpu", 0)
    assert run_unit(load_checks()[check], unit, backend, "smoke").outcome == due


@pytest.mark.parametrize(("confused", "due"), [(False, "passed"), (True, "failed")])
@pytest.mark.parametrize("check", ["structure.directions", "gradients.state"])
def test_of_all_states_haiku_computed_the_last_one_last(
    check: str, confused: bool, due: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend: Any = loaded("haiku")
    if confused:
        module = sys.modules[type(backend).__module__]
        taken = vars(module)["last_state"]
        monkeypatch.setattr(module, "last_state", lambda states, reverse, major: taken(states, not reverse, major))
    assert outcome(backend, check, examples=6).outcome == due


@pytest.mark.parametrize(("left", "due"), [(False, "passed"), (True, "failed")])
@pytest.mark.parametrize(("check", "kept"), [("values.stack", False), ("lengths.alone", True)])
@pytest.mark.parametrize("name", ["flax", "flax-nnx"])
def test_an_output_of_flax_left_in_reverse_order_is_seen(
    name: str, check: str, kept: bool, left: bool, due: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend: Any = loaded(name)
    offered = backend.extras
    monkeypatch.setattr(backend, "extras", lambda cell: {**offered(cell), "merge_mode": ("concat",)})
    if left and kept:
        module = sys.modules[type(backend).__module__]
        made = vars(module)["rnn_options"]
        monkeypatch.setattr(module, "rnn_options", lambda *given: {**made(*given), "keep_order": False})
    elif left:
        monkeypatch.setattr("rnn_conformance.backends.flax.in_order", lambda result, **_: result)
    assert outcome(backend, check, examples=6).outcome == due


@pytest.mark.parametrize(("ignored", "due"), [(False, "passed"), (True, "failed")])
@pytest.mark.parametrize("field", ["input_dropout", "recurrent_dropout"])
@pytest.mark.parametrize("name", KERAS)
def test_keras_heeds_rates_within_layers(
    name: str, field: str, ignored: bool, due: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend: Any = loaded(name)
    make = backend.layer
    if ignored:
        monkeypatch.setattr(backend, "layer", lambda config, given: make(replace(config, **{field: 0.0}), given))
    check = {"input_dropout": "dropout.input", "recurrent_dropout": "dropout.recurrent"}[field]
    assert outcome(backend, check).outcome == due


@pytest.mark.parametrize("name", ALONE)
def test_a_result_alone_conforms(name: str) -> None:
    result = outcome(loaded(name), "values.alone")
    assert result.examples
    assert result.outcome in ("passed", "expected_failure"), result.finding


@pytest.mark.parametrize(("most", "clears"), [(0, True), (10**9, False)])
def test_what_jax_keeps_of_calls_is_let_go_before_it_ends_the_process(
    most: int, clears: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend: Any = loaded("keras-jax")
    cleared = []
    monkeypatch.setattr("rnn_conformance.backends.keras.MOST_MAPPINGS", most)
    monkeypatch.setattr(backend.library, "clear_caches", lambda: cleared.append(True))
    assert outcome(backend, "values.stack").outcome == "passed"
    assert bool(cleared) == clears


@pytest.mark.parametrize("name", KERAS)
def test_a_last_layer_that_returns_one_result_is_made_once(name: str) -> None:
    backend = loaded(name)
    config = LayerConfig("gru", 2, 3, num_layers=2, bidirectional=True)
    layer: Any = backend.layer(config, {n: np.ones(s, np.float32) for n, s in config.parameter_shapes().items()})
    input = backend.from_numpy(np.ones((4, 1, 2), np.float32), "cpu")
    made = []
    for _ in range(2):
        assert backend.to_numpy(layer.alone("last", input)).shape == (1, 6)
        made.append(layer.last["last"])
    assert made[0] is made[1]
    assert made[0] is not layer.layers[-1]
    copied = deepcopy(layer)
    assert backend.to_numpy(copied.alone("last", input)).shape == (1, 6)
    assert copied.last["last"] is not made[0]


@pytest.mark.parametrize("name", KERAS)
def test_a_stack_whose_third_layer_is_two_layers_can_be_copied(name: str) -> None:
    backend = loaded(name)
    config = LayerConfig("gru", 2, 3, num_layers=3, bidirectional=True)
    parameters = {name: np.ones(shape, np.float32) for name, shape in config.parameter_shapes().items()}
    copied = deepcopy(backend.layer(config, parameters))
    output, _ = copied.forward(backend.from_numpy(np.ones((4, 1, 2), np.float32), "cpu"))
    assert backend.to_numpy(output).shape == (4, 1, 6)


@pytest.mark.parametrize("name", ["torch-export", "torch-compile-aot"])
def test_dropout_left_out_of_decompositions_is_seen(name: str) -> None:
    result = outcome(loaded(name), "dropout.rate")
    assert result.outcome == "expected_failure"
    assert result.finding is not None
    assert "0 of" in result.finding.message


def test_few_cases_are_other_ones_in_other_units() -> None:
    backend = loaded("torch-export")
    seeds = set()
    backend.max_examples = 1
    monitored = backend.layer

    def watched(config: LayerConfig, parameters: Mapping[str, Any]) -> Layer:
        seeds.add(config)
        return monitored(config, parameters)

    backend.layer = watched  # type: ignore[method-assign]
    for check in ("shapes.result", "values.stack", "values.final_state", "purity.repeat"):
        assert (
            run_unit(load_checks()[check], Unit(check, "rnn_tanh", "float32", "cpu", 0), backend, "smoke").examples == 1
        )
    assert len(seeds) > 1


def test_a_missing_library_is_said_in_one_sentence_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(WrongUse, match=r"keras.*install rnn-conformance\[keras-torch\]"):
        load_backend("keras-torch")


@pytest.mark.parametrize(("sometimes", "due"), [(True, "passed"), (False, "unexpected_pass")])
def test_a_region_that_fails_only_sometimes_may_pass(sometimes: bool, due: str) -> None:
    known = Expectation(check="values.cell", reason="for this test", sometimes=sometimes)
    unit = Unit("values.cell", "gru", "float32", "cpu", 0)
    assert (
        run_unit(load_checks()["values.cell"], unit, load_backend("numpy"), "smoke", expectations=(known,)).outcome
        == due
    )
