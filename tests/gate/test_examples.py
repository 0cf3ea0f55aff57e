"""The kernel repositories in examples/, used as a stranger would: from a wheel, in a fresh environment.

The steps of each workflow file run as they stand there; only how much is tried is less. `pip` installs into the fresh
environment all that it would on another machine but torch, which is lent by links from the environment of the tests,
with what torch itself needs. To install it took 18 s of a processor and 786 MB for the CPU alone, and elsewhere pip
would fetch gigabytes for CUDA, at each run of the tests; and a copy is no better proof than a link that it is found.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rnn_conformance.record import read_record

from .running import ROOT

EXAMPLES = ROOT / "examples"
WORKFLOWS = {path.parents[2].name: path for path in sorted(EXAMPLES.glob("*/.github/workflows/*.yml"))}
PYTHONS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTEST_ADDOPTS", "PYTEST_PLUGINS", "GITHUB_STEP_SUMMARY")


def steps(example: str) -> list[str]:
    """What the workflow of an example runs, step by step."""
    text = WORKFLOWS[example].read_text()
    return [" ".join(found.split()) for found in re.findall(r"- run: (?:>\n)?(.*(?:\n {10}.*)*)", text)]


@dataclass(frozen=True)
class Stranger:
    """Someone with a copy of an example, a fresh environment and this project's wheel."""

    place: Path
    scripts: Path
    variables: dict[str, str]

    def runs(self, step: str, due: int = 0) -> str:
        """Run a step as GitHub's runner does."""
        words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step]
        ran = subprocess.run(words, cwd=self.place, env=self.variables, capture_output=True, text=True, timeout=600)
        assert ran.returncode == due, step + ran.stdout + ran.stderr
        return ran.stdout


def stranger(example: str, folder: Path) -> Stranger:
    place, fresh, wheels = folder / example, folder / "fresh", folder / "wheels"
    shutil.copytree(EXAMPLES / example, place)
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(wheels), str(ROOT)]
    subprocess.run(words, check=True, timeout=600)
    venv.create(fresh, with_pip=True)
    scripts = fresh / ("Scripts" if os.name == "nt" else "bin")
    links = " ".join(filter(None, (str(wheels), os.environ.get("PIP_FIND_LINKS"))))
    own = {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    own |= {
        "PIP_FIND_LINKS": links,
        "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
        "PIP_QUIET": "1",
        "PIP_NO_COMPILE": "1",
    }
    own |= {"GITHUB_STEP_SUMMARY": str(place / "summary.md")}
    return Stranger(place, scripts, {k: v for k, v in os.environ.items() if k not in PYTHONS} | own)


def lend(name: str, fresh: Path) -> None:
    """Link a distribution of this environment, and all that it needs, into a fresh one, for pip to find them there."""
    (packages,) = fresh.glob("[Ll]ib/**/site-packages")
    wanted, lent = [name], dict[str, Distribution]()
    while wanted:
        found = distribution(wanted.pop())
        if canonicalize_name(found.name) not in lent:
            lent[canonicalize_name(found.name)] = found
            needs = map(Requirement, found.requires or ())
            wanted += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    for found in lent.values():
        for top in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
            here, there = packages / top, Path(str(found.locate_file(top)))
            if top.endswith(".dist-info"):  # without RECORD, so that pip can never uninstall through a link
                here.mkdir()
                shutil.copy(there / "METADATA", here)
            elif not here.exists():
                here.symlink_to(there)


@pytest.mark.parametrize("example", WORKFLOWS)
def test_a_gate_is_short_and_does_what_a_gate_does(example: str) -> None:
    text = WORKFLOWS[example].read_text()
    assert len(text.splitlines()) < 25
    for due in ("cache: pip", "path: .hypothesis", "upload-artifact", "if: always()"):
        assert due in text
    # `rnn-conformance run` writes the summary by itself
    assert any("$GITHUB_STEP_SUMMARY" in step or step.startswith("rnn-conformance run") for step in steps(example))


@pytest.mark.slow
def test_the_torch_kernel_passes_its_gate_from_a_wheel_in_a_fresh_environment(tmp_path: Path) -> None:
    user = stranger("torch-kernel", tmp_path)
    lend("torch", tmp_path / "fresh")
    install, gate, compare, keep = steps("torch-kernel")
    assert install.startswith("pip install . ")
    assert gate.startswith("rnn-conformance run --lstm ")
    less = "--profile smoke -n 0 -k 'lstm and float32 and ({})'"
    user.runs(install)
    where = user.runs("cd / && python -c 'import rnn_conformance, fused_lstm; print(rnn_conformance.__file__)'")
    assert Path(where.strip()).is_relative_to(tmp_path / "fresh")
    user.runs(f"{gate} {less.format('errors or steps')}")
    found = read_record(user.place / "report" / "record.json")
    assert found.counts["expected_failure"] == 3
    assert (user.place / "report" / "index.html").exists()
    user.runs(compare)  # with nothing yet
    user.runs(keep)
    user.runs(compare)
    summary = (user.place / "summary.md").read_text()
    assert summary.startswith("### ✅")
    assert summary.count("### ") == 2
    broken = user.place / "fused_lstm.py"
    broken.write_text(broken.read_text().replace("i, f, g, o = ", "f, i, g, o = "))
    said = user.runs(f"{gate} {less.format('values and cell')}", due=1)
    assert "DOES NOT CONFORM" in said
    assert "looks like: the gates are read in the order f, i, g, o" in said


@pytest.mark.slow
def test_the_numpy_kernel_passes_its_gate_from_a_wheel_in_a_fresh_environment(tmp_path: Path) -> None:
    user = stranger("numpy-kernel", tmp_path)
    install, gate, summary = steps("numpy-kernel")
    assert install.startswith("pip install . ")
    assert gate.startswith("pytest ")
    user.runs(install)
    said = user.runs(f"{gate} -q -k 'gru and float32 and (values or steps)' --rnn-profile=smoke")
    assert "CONFORMS: tiny-gru 1.0 on cpu" in said
    found = read_record(user.place / "report" / "record.json")
    assert found.counts["passed"] >= 7
    assert (user.place / "report" / "index.html").exists()
    user.runs(summary)
    assert (user.place / "summary.md").read_text().startswith("### ✅ <code>tiny-gru</code>")
    torchless = user.runs("rnn-conformance run 2>&1", due=2)
    assert "install rnn-conformance[torch]" in torchless
