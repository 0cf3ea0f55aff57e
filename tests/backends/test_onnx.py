"""Backends over ONNX models: the models themselves, and each backend whose library is installed."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rnn_conformance.backend import Layer, WrongUse
from rnn_conformance.backends import BUILT_IN, EXTRAS, load_backend
from rnn_conformance.case import Case
from rnn_conformance.config import LayerConfig
from rnn_conformance.execution import run_unit
from rnn_conformance.oracle import STATES, reference
from rnn_conformance.request import Request
from rnn_conformance.run import load_checks, run_here
from rnn_conformance.strategies import Unit

OPERATORS = ("LSTM", "GRU", "RNN")
CHECKS = ["values.cell", "values.stack", "values.alone", "steps.stepwise", "errors.unsupported"]
OVER_ONNX = ["onnx-reference", "onnxruntime", "onnxruntime-torch-export", "openvino", "opencv", "tract"]


def backend_named(name: str) -> Any:
    """The backend, where its library is installed."""
    try:
        return load_backend(name)
    except WrongUse as reason:
        if "there is no module" in str(reason):
            pytest.skip(str(reason))
        raise


def nodes(config: LayerConfig, hx: bool = False, lengths: bool = False, alone: str = "") -> list[Any]:
    """The recurrent nodes of a config's model."""
    pytest.importorskip("onnx")
    from rnn_conformance.backends.onnx_model import model_of

    parameters = Case(config, 2, 2).inputs().parameters
    model = model_of(config, parameters, hx, lengths, alone)
    return [node for node in model.graph.node if node.op_type in OPERATORS]


def attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def test_optional_inputs_are_left_out_and_given() -> None:
    (node,) = nodes(LayerConfig("lstm", 2, 3, bias=False))
    assert list(node.input) == ["input", "W_0", "R_0"]
    (node,) = nodes(LayerConfig("lstm", 2, 3, peepholes=True), hx=True, lengths=True)
    assert list(node.input) == ["input", "W_0", "R_0", "B_0", "lengths", "h_0_0", "c_0_0", "P_0"]
    (node,) = nodes(LayerConfig("gru", 2, 3, bias=False), hx=True)
    assert list(node.input) == ["input", "W_0", "R_0", "", "", "h_0_0"]


def test_outputs_that_nobody_asks_for_are_left_out() -> None:
    def outputs(alone: str, bidirectional: bool = False) -> list[list[str]]:
        config = LayerConfig("lstm", 2, 3, num_layers=2, bidirectional=bidirectional)
        return [list(node.output) for node in nodes(config, alone=alone)]

    assert outputs("") == [["y_0", "h_n_0", "c_n_0"], ["y_1", "h_n_1", "c_n_1"]]
    assert outputs("output") == [["y_0"], ["y_1"]]
    assert outputs("h_n") == [["y_0", "h_n_0"], ["", "h_n_1"]]
    assert outputs("c_n") == [["y_0", "", "c_n_0"], ["", "", "c_n_1"]]
    assert outputs("c_n", bidirectional=True)[1:] == [["", "", "c_n_1_0"], ["", "", "c_n_1_1"]]


def test_attributes_are_left_out_at_their_defaults_and_given_elsewhere() -> None:
    assert attributes(nodes(LayerConfig("gru", 2, 3, reset_after=False))[0]) == {"hidden_size": 3}
    found = attributes(nodes(LayerConfig("lstm", 2, 3, clip=0.5, input_forget=True, batch_first=True))[0])
    assert found == {"hidden_size": 3, "clip": 0.5, "input_forget": 1, "layout": 1}
    assert attributes(nodes(LayerConfig("gru", 2, 3))[0])["linear_before_reset"] == 1
    assert attributes(nodes(LayerConfig("rnn_relu", 2, 3))[0])["activations"] == [b"Relu"]


def test_activations_of_both_directions_have_their_own_alpha_and_beta() -> None:
    config = LayerConfig("lstm", 2, 3, bidirectional=True, activations="hard_sigmoid scaled_tanh tanh")
    found = attributes(nodes(config)[0])
    assert found["activations"] == [b"HardSigmoid", b"ScaledTanh", b"Tanh"] * 2
    assert found["activation_alpha"] == pytest.approx([1 / 6, 0.75] * 2)
    assert found["activation_beta"] == [0.5] * 4
    assert not {"activation_alpha", "activation_beta"} & attributes(nodes(LayerConfig("rnn_relu", 2, 3))[0]).keys()


def test_an_alpha_given_to_another_function_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = backend_named("onnxruntime")
    from rnn_conformance.backends import onnx_model

    monkeypatch.setitem(onnx_model.ACTIVATIONS, "hard_sigmoid", ("HardSigmoid", [0.75], [0.5]))
    found = run_unit(load_checks()["values.cell"], Unit("values.cell", "lstm", "float32", "cpu", 0), backend, "smoke")
    assert found.outcome == "failed"
    assert found.finding is not None
    assert "hard_sigmoid" in found.finding.case


def test_every_direction_is_driven() -> None:
    def directions(bidirectional: bool) -> list[bytes]:
        config = LayerConfig("gru", 2, 3, num_layers=3, bidirectional=bidirectional)
        return [attributes(node).get("direction", b"") for node in nodes(config)]

    assert directions(False) == [b"", b"", b""]
    assert directions(True) == [b"bidirectional", b"", b"reverse", b"bidirectional"]


@pytest.mark.parametrize("hx", [True, False])
@pytest.mark.parametrize("lengths", [None, (4, 1, 2)])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
def test_models_are_valid(cell: str, lengths: Any, hx: bool) -> None:
    onnx = pytest.importorskip("onnx")
    from rnn_conformance.backends.onnx_model import model_of

    for batch_first in (False, True):
        config = LayerConfig(cell, 2, 3, num_layers=3, bidirectional=True, batch_first=batch_first)
        parameters = Case(config, 4, 3).inputs().parameters
        for alone in ("", "output", *STATES[: len(config.state_sizes)]):
            model = model_of(config, parameters, hx, lengths is not None, alone)
            onnx.checker.check_model(model, full_check=True)


def undeclared(backend: Any, cell: str) -> Case:
    """A case with all that a backend takes, or where it is known to deviate there, a plainer one."""
    extras = {field: values[-1] for field, values in backend.extras(cell).items()}
    known = Request(backend=backend.name).known(backend)
    lengths = (5, 2, 4) if backend.policy.lengths else None
    full = Case(
        LayerConfig(cell, 3, 4, num_layers=2, bidirectional=True, **extras), 5, 3, lengths, values="uniform", seed=1
    )
    plain = replace(full, config=LayerConfig(cell, 3, 4, num_layers=2), lengths=None)
    return plain if any(expectation.covers("values.stack", full) for expectation in known) else full


@pytest.mark.parametrize("name", OVER_ONNX)
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
def test_a_backend_equals_the_oracle(name: str, cell: str) -> None:
    backend = backend_named(name)
    case = undeclared(backend, cell)
    if reason := backend.supports(case.config):
        pytest.skip(reason)
    inputs = case.inputs()
    hx = inputs.hx if cell == "lstm" else inputs.hx[0]
    output, state = backend.layer(case.config, inputs.parameters).forward(inputs.input, hx, case.lengths)
    due, final = reference(case.config, inputs.parameters, inputs.input, hx, lengths=case.lengths)
    assert np.allclose(output, due, atol=1e-5)
    for part, whole in zip(state if cell == "lstm" else (state,), final if cell == "lstm" else (final,), strict=True):
        assert np.allclose(part, whole, atol=1e-5)


@pytest.mark.parametrize("name", OVER_ONNX)
def test_a_backend_conforms_but_for_what_it_declares(name: str) -> None:
    backend = backend_named(name)
    known = Request(backend=name).known(backend)
    for check in CHECKS:
        for cell in ("lstm", "gru"):
            found = run_unit(
                load_checks()[check], Unit(check, cell, "float32", "cpu", 0), backend, "smoke", expectations=known
            )
            assert found.outcome in ("passed", "expected_failure", "not_offered"), found.finding
            assert found.examples or check not in ("values.cell", "values.stack")


@pytest.mark.parametrize("name", OVER_ONNX)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_two_gates_swapped_are_seen_beside_what_is_declared(
    name: str, cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = backend_named(name)
    make = backend.layer

    def swapped(config: LayerConfig, parameters: Mapping[str, Any]) -> Layer:
        first, second, rest = np.split(parameters["weight_hh_l0"], (config.hidden_size, 2 * config.hidden_size))
        return make(config, {**parameters, "weight_hh_l0": np.concatenate([second, first, rest])})

    monkeypatch.setattr(backend, "layer", swapped)
    known, unit = Request(backend=name).known(backend), Unit("values.stack", cell, "float32", "cpu", 0)
    assert run_unit(load_checks()[unit.check], unit, backend, "smoke", expectations=known).outcome == "failed"


EXTRA_OF = {name: EXTRAS.get(target.partition(":")[0].rpartition(".")[2], "") for name, target in BUILT_IN.items()}


@pytest.mark.parametrize("name", sorted(name for name, extra in EXTRA_OF.items() if extra))
def test_a_missing_library_gets_one_sentence_that_names_the_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    others = ("openvino", "cv2", "keras", "jax", "flax", "equinox", "haiku", "ncnn", "paddle")
    for missing in ("torch", "onnx", "onnxruntime", *others):
        monkeypatch.setitem(sys.modules, missing, None)
    for loaded in [other for other in sys.modules if other.startswith("rnn_conformance.backends.")]:
        monkeypatch.delitem(sys.modules, loaded)
    with pytest.raises(WrongUse, match=rf"there is no module .*\(install rnn-conformance\[{EXTRA_OF[name]}\]\)"):
        load_backend(name)


def test_backends_that_have_ended_processes_run_in_one_of_their_own() -> None:
    assert Request(backend="onnxruntime").isolated
    assert not Request(backend="onnxruntime", isolate=False).isolated
    assert not Request(backend="onnx-reference").isolated


def test_an_abort_is_an_expected_failure_where_it_is_declared() -> None:
    backend_named("onnxruntime")
    request = Request(backend="onnxruntime", profile="smoke")
    isolated = request.load()
    try:
        record = run_here(request, isolated, ["edges.empty_batch"])
    finally:
        isolated.close()
    outcomes = {(r.cell, r.outcome) for r in record.checks if r.dtype == "float32"}
    assert {("lstm", "expected_failure"), ("gru", "expected_failure"), ("rnn_tanh", "passed")} <= outcomes
