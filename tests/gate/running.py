"""Running the command line as a user does: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*words: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """`rnn-conformance WORDS`."""
    return python("-m", "rnn_conformance", *words, cwd=cwd, **variables)


def python(
    *words: str, cwd: Path = ROOT, input: str | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """`python WORDS`, with this project's packages and its tests in its path."""
    places = [str(ROOT / "conformance"), str(ROOT / "reference"), str(ROOT)]
    own = {"PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTEST_ADDOPTS", "GITHUB_STEP_SUMMARY")}
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=environment | own | variables,
        input=input,
        capture_output=True,
        text=True,
        timeout=600,
    )
