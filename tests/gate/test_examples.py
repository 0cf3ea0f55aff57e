"""The kernel repositories in examples/, used as a stranger would: from a wheel, in a fresh environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from rnn_conformance.record import read_record

from .running import ROOT, run

EXAMPLES = ROOT / "examples"
WORKFLOWS = sorted(EXAMPLES.glob("*/.github/workflows/*.yml"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=[path.parents[2].name for path in WORKFLOWS])
def test_a_gate_is_short_and_does_what_a_gate_does(workflow: Path) -> None:
    text = workflow.read_text()
    assert len(text.splitlines()) < 25
    for due in ("cache: pip", "upload-artifact", "if: always()"):
        assert due in text
    assert "GITHUB_STEP_SUMMARY" in text or "rnn-conformance run" in text  # which writes the summary by itself


@pytest.mark.parametrize(
    ("example", "line"),
    [
        (
            "torch-kernel",
            "rnn-conformance run --lstm fused_lstm:FusedLSTM --expectations expectations.toml --report report",
        ),
        ("numpy-kernel", "pytest -n auto --rnn-time-budget 60s"),
    ],
)
def test_the_gate_s_own_line_is_there(example: str, line: str) -> None:
    (workflow,) = (path.read_text() for path in WORKFLOWS if path.parents[2].name == example)
    assert line in workflow


def test_the_torch_kernel_passes_its_gate(tmp_path: Path) -> None:
    place = tmp_path / "torch-kernel"
    shutil.copytree(EXAMPLES / "torch-kernel", place)
    words = ["run", "--lstm", "fused_lstm:FusedLSTM", "--expectations", "expectations.toml", "--report", "report"]
    chosen = "lstm and float32 and (errors or steps)"
    ran = run(*words, "--profile", "smoke", "-n", "0", "-k", chosen, cwd=place, GITHUB_STEP_SUMMARY="summary.md")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    outcomes = read_record(place / "report" / "record.json").counts
    assert outcomes["expected_failure"] == 3
    assert (place / "summary.md").read_text().startswith("### ✅")
    broken = place / "fused_lstm.py"
    broken.write_text(broken.read_text().replace("i, f, g, o = ", "f, i, g, o = "))
    ran = run(*words, "--profile", "smoke", "-n", "0", "-k", "lstm and float32 and values", cwd=place)
    assert ran.returncode == 1, ran.stdout + ran.stderr


@pytest.mark.slow
def test_the_numpy_kernel_passes_its_gate_from_a_wheel_in_a_fresh_environment(tmp_path: Path) -> None:
    place, wheels = tmp_path / "numpy-kernel", tmp_path / "wheels"
    shutil.copytree(EXAMPLES / "numpy-kernel", place)
    own = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTEST_ADDOPTS", "PIP_CONSTRAINT")}

    def call(*words: str | Path) -> str:
        ran = subprocess.run(list(map(str, words)), cwd=place, env=own, capture_output=True, text=True, timeout=600)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", wheels, ROOT, place)
    venv.create(tmp_path / "fresh", with_pip=True)
    scripts = tmp_path / "fresh" / ("Scripts" if os.name == "nt" else "bin")
    call(scripts / "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", *wheels.glob("*.whl"))
    said = call(scripts / "pytest", "-q", "-k", "gru and float32 and (values or steps)", "--rnn-profile=smoke")
    assert "CONFORMS: tiny-gru 1.0 on cpu" in said
    found = read_record(place / "report" / "record.json")
    assert found.counts["passed"] >= 7
    assert (place / "report" / "index.html").exists()
    summary = call(scripts / "rnn-conformance", "report", "--markdown", "report/record.json")
    assert summary.startswith("### ✅ <code>tiny-gru</code>")
    torchless = subprocess.run([scripts / "rnn-conformance", "run"], cwd=place, env=own, capture_output=True, text=True)
    assert torchless.returncode == 2
    assert "install rnn-conformance[torch]" in torchless.stderr
