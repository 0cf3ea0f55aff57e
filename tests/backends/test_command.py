"""Commands: the protocol, what becomes of commands that do not keep it, and the example in C."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import rnn_conformance
from rnn_conformance.backend import WrongUse
from rnn_conformance.backends import command, load_backend, safetensors
from rnn_conformance.config import LayerConfig

EXAMPLE = Path(__file__).parents[2] / "examples" / "command-kernel" / "rnn.c"
CONFIG = LayerConfig("rnn_tanh", 1, 1)

SCRIPT = """
import json, os, signal, sys, time
for line in sys.stdin:
    request = json.loads(line)
    if request["op"] == "describe":
        print(json.dumps({DESCRIBE}), flush=True)
    elif request["op"] == "supports":
        print(json.dumps({SUPPORTS}), flush=True)
    else:
        {FORWARD}
"""


def speaking(
    tmp_path: Path, describe: str = "{}", supports: str = "{}", forward: str = "print('{}', flush=True)"
) -> command.CommandBackend:
    """A command that answers so."""
    script = tmp_path / "speaking.py"
    text = SCRIPT.replace("{DESCRIBE}", describe).replace("{SUPPORTS}", supports).replace("{FORWARD}", forward)
    script.write_text(text)
    backend = load_backend("command:" + shlex.join([sys.executable, str(script)]))
    assert isinstance(backend, command.CommandBackend)
    return backend


def call(backend: command.CommandBackend) -> None:
    parameters = {name: np.ones(shape, np.float32) for name, shape in CONFIG.parameter_shapes().items()}
    backend.layer(CONFIG, parameters).forward(np.ones((1, 1, 1), np.float32))


def test_what_it_says_of_itself_is_taken(tmp_path: Path) -> None:
    said = '{"version": "7", "policy": {"lengths": False}, "extras": {"gru": {"reset_after": [False]}}}'
    backend = speaking(tmp_path, said, '{"reason": "not today"}')
    assert (backend.version, backend.policy.lengths) == ("7", False)
    assert backend.extras("gru") == {"reset_after": (False,)}
    assert backend.extras("lstm") == {}
    assert backend.supports(CONFIG) == "not today"
    with pytest.raises(NotImplementedError, match="not today"):
        backend.layer(CONFIG, {})


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        ('print(\'{"error": "no memory"}\', flush=True)', "^no memory$"),
        ("print('hello', flush=True)", "an answer must be a JSON object in one line, not b'hello"),
        ("print('[]', flush=True)", "an answer must be a JSON object"),
        ("sys.exit('out of luck')", "ended with exit code 1: out of luck"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV"),
        ("sys.stdout.write('{}'); sys.exit()", "ended with exit code 0"),
    ],
)
def test_a_bad_answer_is_an_error_and_the_next_question_is_put(tmp_path: Path, forward: str, message: str) -> None:
    backend = speaking(tmp_path, forward=forward)
    for _ in range(2):
        with pytest.raises(command.CommandFailed, match=message):
            call(backend)
    assert backend.supports(CONFIG) is None


def test_a_command_that_does_not_answer_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = speaking(tmp_path, forward="time.sleep(60)")
    assert backend.supports(CONFIG) is None
    monkeypatch.setattr(command, "PATIENCE", 0.1)
    with pytest.raises(command.CommandFailed, match=r"no answer came within 0\.1 seconds"):
        call(backend)


def test_results_that_were_not_written_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        call(speaking(tmp_path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("command:/no/such/kernel", "does not answer .*No such file"),
        (f"command:{shlex.quote(sys.executable)} -c pass", "does not answer .*ended with exit code 0"),
    ],
)
def test_a_command_that_does_not_start_is_wrong_use(name: str, message: str) -> None:
    with pytest.raises(WrongUse, match=message):
        load_backend(name)


def test_a_policy_that_does_not_exist_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="policy must be an object with fields among empty_batch"):
        speaking(tmp_path, '{"policy": {"colour": 1}}')


def test_files_hold_arrays_of_every_dtype(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {str(dtype): rng.integers(-9, 9, (2, 3)).astype(dtype) for dtype in safetensors.NAMES}
    arrays |= {"scalar": np.array(3.0), "none": np.zeros((0, 4), ml_dtypes.bfloat16), "turned": np.eye(3)[:, ::-1].T}
    safetensors.write(tmp_path / "file", arrays)
    back = safetensors.read(tmp_path / "file")
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        assert np.array_equal(back[name], array)


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_example_in_c_conforms(tmp_path: Path) -> None:
    kernel = tmp_path / "rnn"
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", kernel, EXAMPLE, "-lm"], check=True)
    backend = load_backend(f"command:{kernel}")
    checks = ["values.cell", "values.stack", "steps.stepwise", "errors.input", "errors.state", "purity.threads"]
    record = rnn_conformance.check_backend(backend, checks=checks).record
    found = {r.id: r.outcome for r in record.checks if (r.cell, r.dtype) == ("rnn_tanh", "float32")}
    assert found == dict.fromkeys(checks, "passed")
    assert {r.outcome for r in record.checks if (r.cell, r.dtype) != ("rnn_tanh", "float32")} == {"not_offered"}
