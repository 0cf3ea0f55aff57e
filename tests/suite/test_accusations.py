"""Cases in which the suite once accused a correct kernel."""

from rnn_conformance.replay import replay

LEAVES_FLOAT16 = {
    "config": {"cell": "rnn_relu", "input_size": 4, "hidden_size": 1, "bias": False, "dtype": "float16"},
    "seq_len": 20,
    "batch_size": 1,
    "seed": 178381329625,
}


def test_a_relu_rnn_that_rightly_overflows_is_no_finding_of_subnormals() -> None:
    shown = replay("special.subnormals", LEAVES_FLOAT16, backend="numpy")
    assert not shown.again
    assert "SAYS NOTHING: the result overflows" in "\n".join(shown.lines)
