"""A command may answer anything: the call that got it is the finding, and the next call gets another chance."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from rnn_conformance.isolate import IsolatedBackend
from rnn_conformance.run import Request, run_here

MANNERS = (
    ("politely", "passed", ""),
    ("garbage", "failed", "an answer must be a JSON object in one line, not b'"),
    ("an array", "failed", "an answer must be a JSON object in one line"),
    ("nested", "failed", "an answer must be a JSON object in one line"),
    ("half a line", "failed", "ended with exit code 0"),
    ("two answers", "failed", "must be one line, after which came"),
    ("too much", "failed", "an answer must be a JSON object in one line, not [0-9,]+ bytes"),
    ("an error", "failed", "raised CommandFailed"),
    ("no results", "failed", "FileNotFoundError"),
    ("damaged results", "failed", "is not in the safetensors format"),
    ("the results of another call", "failed", "was due"),
    ("nothing", "timed_out", "took longer than 2 s"),
)


@pytest.mark.parametrize(("manner", "outcome", "says"), MANNERS)
def test_outcome(manner: str, outcome: str, says: str) -> None:
    command = shlex.join([sys.executable, str(Path(__file__).with_name("answers.py")), manner])
    request = Request(backend=f"command:{command}", profile="smoke", call_timeout=2.0 if manner == "nothing" else 20.0)
    backend = request.load()
    assert isinstance(backend, IsolatedBackend)
    try:
        record = run_here(request, backend, ("values.stack",))
    finally:
        backend.close()
    (found,) = [r for r in record.checks if (r.cell, r.dtype) == ("lstm", "float32")]
    assert found.outcome == outcome, found
    assert re.search(says, found.finding.message if found.finding else ""), found.finding
