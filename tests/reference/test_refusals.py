"""Every wrong argument is refused with a sentence that names it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rnn_reference
from rnn_reference import parameter_shapes

Call = dict[str, Any]
T, B, F, H = 4, 2, 3, 5


def right(kind: str, **options: Any) -> Call:
    """Arguments that are right: two layers of five on three features."""
    sizes = {"num_layers": 2, **options}
    weights = {name: np.zeros(shape) for name, shape in parameter_shapes(kind, F, H, **sizes).items()}
    return {"input": np.zeros((T, B, F)), "parameters": weights, "hidden_size": H, **sizes}


def call(kind: str, arguments: Call) -> None:
    getattr(rnn_reference, kind)(**arguments)


def call_gradients(kind: str, arguments: Call) -> None:
    given = {"hx": None, "output_gradient": np.zeros((T, B, H)), "state_gradient": None}
    getattr(rnn_reference, f"{kind}_gradients")(**given | arguments)


def changed(name: str, value: Any) -> Callable[[Call], None]:
    """One argument replaced, or made from what it was."""

    def change(arguments: Call) -> None:
        arguments[name] = value(arguments.get(name)) if callable(value) else value

    return change


def weight(name: str, value: Any) -> Callable[[Call], None]:
    def change(arguments: Call) -> None:
        arguments["parameters"][name] = value

    return change


def no_weight(name: str) -> Callable[[Call], None]:
    return lambda arguments: arguments["parameters"].pop(name)


def both(*changes: Callable[[Call], None]) -> Callable[[Call], None]:
    def change(arguments: Call) -> None:
        for one in changes:
            one(arguments)

    return change


def state(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    return np.zeros(shape, dtype)


UNBATCHED = changed("input", state(T, F))
MASK = state(T, B, H)

ANY = {  # refused by every kind
    "input of one axis": (changed("input", state(3)), r"input must be .* not \(3,\)"),
    "input of no axis": (changed("input", np.array(1.0)), r"input must be .* not \(\)"),
    "input of integers": (
        changed("input", state(T, B, F, dtype=int)),
        "input must hold floating-point numbers, not int",
    ),
    "complex input": (changed("input", state(T, B, F, dtype=complex)), "input must hold floating.* not complex128"),
    "input without features": (changed("input", state(T, B, 0)), "input_size must be at least 1, not 0"),
    "more features than weights take": (
        changed("input", state(T, B, F + 1)),
        r"weight_ih_l0 must have the shape \(\d+, 4\)",
    ),
    "another dtype than the parameters'": (
        changed("input", state(T, B, F, dtype=np.float32)),
        "weight_ih_l0 must be float32, as input is, not float64",
    ),
    "hidden_size of zero": (changed("hidden_size", 0), "hidden_size must be at least 1, not 0"),
    "another hidden_size": (changed("hidden_size", H + 1), r"weight_ih_l0 must have the shape"),
    "no layers": (changed("num_layers", 0), "num_layers must be at least 1, not 0"),
    "fewer layers than parameters": (changed("num_layers", 1), "parameters has weight_ih_l1, .* does not use"),
    "more layers than parameters": (changed("num_layers", 3), "parameters lacks weight_ih_l2, weight_hh_l2"),
    "no reverse parameters": (changed("bidirectional", True), "parameters lacks weight_ih_l0_reverse"),
    "parameters of biases that are not used": (changed("bias", False), "parameters has bias_ih_l0, .* does not use"),
    "a missing weight": (no_weight("weight_hh_l1"), "parameters lacks weight_hh_l1$"),
    "a missing bias": (no_weight("bias_hh_l0"), "parameters lacks bias_hh_l0$"),
    "an unknown weight": (weight("weight_xh_l0", state(1, 1)), "parameters has weight_xh_l0, which"),
    "a transposed weight": (weight("weight_hh_l0", state(1, 2)), r"weight_hh_l0 must have the shape .* not \(1, 2\)"),
    "a bias of two axes": (weight("bias_ih_l1", state(1, 2)), r"bias_ih_l1 must have the shape .* not \(1, 2\)"),
    "too few lengths": (changed("lengths", [1]), r"lengths must be 2 integers from 0 to 4, not \[1\]"),
    "too many lengths": (changed("lengths", [1, 2, 3]), r"lengths must be 2 integers .* not \[1, 2, 3\]"),
    "a length that is too long": (changed("lengths", [1, T + 1]), r"lengths must be 2 integers .* not \[1, 5\]"),
    "a negative length": (changed("lengths", [1, -1]), r"lengths must be 2 integers .* not \[1, -1\]"),
    "a fractional length": (changed("lengths", [1, 2.5]), r"lengths must be 2 integers .* not \[1, 2.5\]"),
    "lengths without a batch": (both(UNBATCHED, changed("lengths", [2])), "lengths need a batch"),
    "too many masks": (
        changed("dropout_masks", [MASK, MASK]),
        "dropout_masks must hold num_layers - 1 = 1 arrays, not 2",
    ),
    "too few masks": (changed("dropout_masks", []), "dropout_masks must hold num_layers - 1 = 1 arrays, not 0"),
    "a mask of another shape": (
        changed("dropout_masks", [state(B, T, H)]),
        r"dropout_masks\[0\] must be float64 of shape \(4, 2, 5\), not float64 of shape \(2, 4, 5\)",
    ),
    "a mask of another dtype": (
        changed("dropout_masks", [state(T, B, H, dtype=bool)]),
        r"dropout_masks\[0\] must be float64 .* not bool",
    ),
}
ONE_STATE = {  # by gru and rnn
    "two states": (changed("hx", (state(2, B, H), state(2, B, H))), "hx must be one array, not 2 arrays"),
    "a state of another batch": (changed("hx", state(2, B + 1, H)), r"h_0 must be float64 of shape \(2, 2, 5\), not"),
    "a state of other layers": (changed("hx", state(1, B, H)), r"h_0 must be .* not float64 of shape \(1, 2, 5\)"),
    "a state of another width": (changed("hx", state(2, B, H - 1)), r"h_0 must be .* not float64 of shape \(2, 2, 4\)"),
    "a state of another dtype": (changed("hx", state(2, B, H, dtype=np.float32)), "h_0 must be float64 .* not float32"),
    "a state without a batch": (changed("hx", state(2, H)), r"h_0 must be .* not float64 of shape \(2, 5\)"),
}
TWO_STATES = {  # by lstm
    "one state": (changed("hx", state(2, B, H)), r"hx must be \(h_0, c_0\), not 1 array$"),
    "three states": (changed("hx", (state(2, B, H),) * 3), r"hx must be \(h_0, c_0\), not 3 arrays"),
    "a wrong h_0": (changed("hx", (state(2, B, H + 1), state(2, B, H))), r"h_0 must be .* not float64 of shape"),
    "a wrong c_0": (changed("hx", (state(2, B, H), state(2, B, H + 1))), r"c_0 must be .* not float64 of shape"),
    "a batch in the state alone": (
        both(UNBATCHED, changed("hx", (state(2, 1, H), state(2, 1, H)))),
        r"h_0 must be .* of shape \(2, 1, 5\), not float64 of shape",
    ),
    "a projection as wide as the state": (changed("proj_size", H), r"proj_size must be .* less than hidden_size \(5\)"),
    "a negative projection": (changed("proj_size", -1), "proj_size must be at least 0"),
    "no projection parameters": (changed("proj_size", 2), "parameters lacks weight_hr_l0"),
}
RNN = {
    "another nonlinearity": (
        changed("nonlinearity", "sigmoid"),
        "nonlinearity must be 'tanh' or 'relu', not 'sigmoid'",
    ),
    "a nonlinearity in capitals": (changed("nonlinearity", "TANH"), "nonlinearity must be"),
}
CASES = {"lstm": ANY | TWO_STATES, "gru": ANY | ONE_STATE, "rnn": ANY | ONE_STATE | RNN}
EACH = [
    pytest.param(kind, *case, id=f"{kind}: {name}") for kind, cases in CASES.items() for name, case in cases.items()
]


@pytest.mark.parametrize(("kind", "change", "message"), EACH)
@pytest.mark.parametrize("caller", [call, call_gradients])
def test_a_wrong_argument_is_refused_by_name(caller: Any, kind: str, change: Any, message: str) -> None:
    arguments = right(kind)
    caller(kind, arguments)  # right as it is
    change(arguments)
    with pytest.raises(ValueError, match=message):
        caller(kind, arguments)


@pytest.mark.parametrize(
    ("kind", "argument"),
    [("gru", "proj_size"), ("rnn", "proj_size"), ("rnn", "reset_after"), ("lstm", "nonlinearity"), ("lstm", "dropout")],
)
@pytest.mark.parametrize("caller", [call, call_gradients])
def test_an_argument_that_a_kind_does_not_have_is_refused_by_name(caller: Any, kind: str, argument: str) -> None:
    with pytest.raises(TypeError, match=argument):
        caller(kind, right(kind) | {argument: 1})


GRADIENTS = {
    "an output gradient of another shape": ("output_gradient", state(T, B, H + 1), "output_gradient must be float64"),
    "a time-major output gradient of batch-first input": (
        "output_gradient",
        state(B, T, H),
        r"output_gradient must be float64 of shape \(4, 2, 5\), not float64 of shape \(2, 4, 5\)",
    ),
    "an output gradient of another dtype": ("output_gradient", state(T, B, H, dtype=np.float32), "not float32"),
    "a state gradient of another shape": ("state_gradient", state(1, B, H), "the gradient by h_n must be float64"),
    "two state gradients": ("state_gradient", (state(2, B, H),) * 2, "state_gradient must be one array, not 2 arrays"),
}


@pytest.mark.parametrize(("name", "value", "message"), GRADIENTS.values(), ids=list(GRADIENTS))
@pytest.mark.parametrize("kind", ["gru", "rnn"])
def test_gradients_that_the_results_cannot_have_are_refused(kind: str, name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call_gradients(kind, right(kind) | {name: value})


def test_a_wrong_gradient_of_the_cell_state_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="the gradient by c_n must be"):
        call_gradients("lstm", right("lstm") | {"state_gradient": (state(2, B, H), state(1, B, H))})
    with pytest.raises(ValueError, match=r"state_gradient must be \(the gradient by h_n, the gradient by c_n\)"):
        call_gradients("lstm", right("lstm") | {"state_gradient": state(2, B, H)})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("LSTM", 3, 5), "cell must be one of lstm, gru, rnn, not 'LSTM'"),
        (("lstm", 0, 5), "input_size must be at least 1, not 0"),
        (("lstm", 3, 0), "hidden_size must be at least 1, not 0"),
        (("lstm", 3, 5, 0), "num_layers must be at least 1, not 0"),
        (("gru", 3, 5, 1, True, False, 2), "proj_size is defined for the LSTM only, not for the GRU"),
        (("lstm", 3, 5, 1, True, False, 5), r"proj_size must be at least 0 and less than hidden_size \(5\), not 5"),
    ],
)
def test_shapes_that_do_not_exist_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parameter_shapes(*arguments)
