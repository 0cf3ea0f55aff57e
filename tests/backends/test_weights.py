"""Every convention of `weights` holds each parameter once, in a place that its documentation names."""

import numpy as np
import pytest
from rnn_conformance.config import LayerConfig
from rnn_conformance.weights import CONVENTIONS, GATES, Convention, lay_out, take_back
from rnn_reference.parameters import lanes

H, IN = 4, 3
ALL = [(framework, name) for framework, kinds in CONVENTIONS.items() for name in kinds]


def numbered(config: LayerConfig) -> dict[str, np.ndarray]:
    """Parameters of which no two numbers are equal."""
    shapes, start, found = config.parameter_shapes(), 1, {}
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        found[name] = np.arange(start, start + size, dtype=float).reshape(shape)
        start += size
    return found


def config_of(name: str, convention: Convention, **more: object) -> LayerConfig:
    """A config with all that the convention has room for."""
    kind = name.partition("_")[0]
    cell = "rnn_tanh" if kind == "rnn" else kind
    return LayerConfig(
        cell,
        IN,
        H,
        num_layers=2,
        bidirectional=True,
        recurrent_bias=convention.recurrent_bias,
        peepholes=bool(convention.peephole),
        proj_size=2 if convention.weight_hr else 0,
        **more,
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("framework", "name"), ALL)
def test_parameters_come_back_from_every_layout(framework: str, name: str, bias: bool) -> None:
    convention = CONVENTIONS[framework][name]
    config = config_of(name, convention, bias=bias)
    parameters, shapes = numbered(config), config.parameter_shapes()
    back = {}
    for lane in lanes(config.num_layers, config.bidirectional):
        laid = lay_out(convention, parameters, lane)
        back |= take_back(convention, laid, shapes, lane)
        numbers = np.concatenate([np.abs(array).ravel() for array in laid.values()])
        own = np.concatenate([array.ravel() for n, array in parameters.items() if n.endswith(f"_{lane}")])
        assert sorted(numbers) == sorted(own)
    assert sorted(back) == sorted(parameters)
    for parameter, array in parameters.items():
        assert np.array_equal(back[parameter], array), parameter


@pytest.mark.parametrize(("framework", "name"), ALL)
def test_gates_are_those_of_the_cell(framework: str, name: str) -> None:
    assert sorted(CONVENTIONS[framework][name].gates) == sorted(GATES[name.partition("_")[0]])


def gate(parameters: dict[str, np.ndarray], name: str, kind: str, letter: str) -> np.ndarray:
    """The rows of one gate in the oracle's layout."""
    k = GATES[kind].index(letter)
    return parameters[name][k * H : (k + 1) * H]


@pytest.mark.parametrize(
    ("framework", "name", "array", "index", "parameter", "letter", "form"),
    [
        # each line is a sentence of that framework's documentation, read without the table
        ("onnx", "lstm", "W", slice(H, 2 * H), "weight_ih_l0", "o", lambda a: a),
        ("onnx", "lstm", "W", slice(3 * H, 4 * H), "weight_ih_l0", "g", lambda a: a),
        ("onnx", "lstm", "B", slice(4 * H, 5 * H), "bias_hh_l0", "i", lambda a: a),
        ("onnx", "lstm", "B", slice(6 * H, 7 * H), "bias_hh_l0", "f", lambda a: a),
        ("onnx", "gru", "R", slice(0, H), "weight_hh_l0", "z", lambda a: a),
        ("onnx", "gru", "B", slice(5 * H, 6 * H), "bias_hh_l0", "n", lambda a: a),
        ("keras", "lstm", "kernel", (slice(None), slice(2 * H, 3 * H)), "weight_ih_l0", "g", lambda a: a.T),
        ("keras", "gru", "recurrent_kernel", (slice(None), slice(0, H)), "weight_hh_l0", "z", lambda a: a.T),
        ("keras", "gru_reset_after", "bias", (1, slice(H, 2 * H)), "bias_hh_l0", "r", lambda a: a),
        ("flax", "lstm", "hg/kernel", slice(None), "weight_hh_l0", "g", lambda a: a.T),
        ("flax", "gru", "hn/bias", slice(None), "bias_hh_l0", None, lambda a: a),
        ("flax-nnx", "lstm", "if_/kernel", slice(None), "weight_ih_l0", "f", lambda a: a.T),
        ("flax-nnx", "lstm", "hf/bias", slice(None), "bias_ih_l0", "f", lambda a: a),
        (
            "flax-nnx",
            "lstm_optimized",
            "dense_h/kernel",
            (slice(None), slice(2 * H, 3 * H)),
            "weight_hh_l0",
            "g",
            lambda a: a.T,
        ),
        ("flax-nnx", "gru", "dense_i/bias", slice(H, 2 * H), "bias_ih_l0", "z", lambda a: a),
        ("equinox", "gru", "bias_n", slice(None), "bias_hh_l0", None, lambda a: a),
        ("haiku", "lstm", "w", (slice(0, IN), slice(H, 2 * H)), "weight_ih_l0", "g", lambda a: a.T),
        ("haiku", "lstm", "w", (slice(IN, IN + H), slice(2 * H, 3 * H)), "weight_hh_l0", "f", lambda a: a.T),
        ("haiku", "gru", "w_i", (slice(None), slice(0, H)), "weight_ih_l0", "z", lambda a: -a.T),
        ("haiku", "rnn_single_bias", "linear/b", slice(None), "bias_ih_l0", None, lambda a: a),
        ("mlx", "gru", "bhn", slice(None), "bias_hh_l0", None, lambda a: a),
        ("ncnn", "lstm", "weight_hc", slice(2 * H, 3 * H), "weight_hh_l0", "o", lambda a: a),
        ("ncnn", "gru", "bias_c", slice(3 * H, 4 * H), "bias_hh_l0", None, lambda a: a),
        ("tinygrad", "lstm", "weight_ih", slice(3 * H, 4 * H), "weight_ih_l0", "o", lambda a: a),
        ("paddle", "gru", "weight_hh", slice(H, 2 * H), "weight_hh_l0", "z", lambda a: a),
        ("paddle", "lstm", "weight_ih", slice(2 * H, 3 * H), "weight_ih_l0", "g", lambda a: a),
        ("paddle", "lstm", "weight_ho", slice(None), "weight_hr_l0", None, lambda a: a.T),
    ],
)
def test_a_gate_lies_where_the_documentation_says(
    framework: str, name: str, array: str, index: object, parameter: str, letter: str | None, form: object
) -> None:
    convention = CONVENTIONS[framework][name]
    parameters = numbered(config_of(name, convention))
    kind = name.partition("_")[0]
    due = parameters[parameter] if letter is None else gate(parameters, parameter, kind, letter)
    assert np.array_equal(lay_out(convention, parameters, "l0")[array][index], form(due))


def test_onnx_peepholes_are_in_the_order_i_o_f() -> None:
    convention = CONVENTIONS["onnx"]["lstm"]
    parameters = numbered(config_of("lstm", convention))
    i, f, o = np.split(parameters["peephole_l1_reverse"], 3)
    assert np.array_equal(lay_out(convention, parameters, "l1_reverse")["P"], np.concatenate([i, o, f]))


def test_a_parameter_without_a_place_is_refused() -> None:
    parameters = numbered(LayerConfig("lstm", IN, H))
    with pytest.raises(ValueError, match="no place for bias_hh"):
        lay_out(CONVENTIONS["flax"]["lstm"], parameters, "l0")
