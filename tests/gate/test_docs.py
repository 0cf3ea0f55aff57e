"""Every command and code block of README.md, docs/ and the examples' READMEs runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from .running import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("examples/*/README.md"))]
# Blocks that are not run here, by their exact text: the place where CI runs them, and what it runs there.
ELSEWHERE = {
    "pip install nox && nox                 # conformance of PyTorch on the CPU; writes reports/torch-cpu/"
    "{record.json, index.html}\n"
    "nox -s tests                           # this project's own tests\n": (".ci/run", "nox -s lint types tests"),
}
# Code that a walk through shows as it stands in a file, from its first decorator on; and what stands before it there.
REAL = {
    '@check("torch.nn.LSTM, Inputs: (L, H_in)': ("conformance/rnn_conformance/suite/test_structure.py", ""),
    '@fault("values.cell", source="NX-AI': (
        "tests/faults/algebra.py",
        "from tests.faults import FAULTS\nfrom tests.faults.algebra import *\nFAULTS.clear()\n",
    ),
}
FILES = {  # that a document speaks of and does not show
    "README.md": {"rnn.c": (ROOT / "examples" / "command-kernel" / "rnn.c").read_text("utf-8")},
    "docs/expectations.md": {
        "my_kernels.py": (
            "import torch\n\n\nclass HalfForget(torch.nn.LSTM):\n"
            "    def forward(self, input, hx=None):\n"
            "        output, state = super().forward(input, hx)\n"
            "        return output, (state[0], state[1] * 0.5)\n"
        ),
        "known.toml": "[[expectation]]\ncheck = 'values.cell'\nreason = 'c_n is halved'\n",
    },
}


@dataclass(frozen=True)
class Block:
    language: str
    text: str


def blocks(path: Path) -> list[Block]:
    found = re.findall(r"^```(\w*)[^\n]*\n(.*?)^```$", path.read_text("utf-8"), flags=re.M | re.S)
    return [Block(language, text) for language, text in found]


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """`rnn-conformance`, `pytest` and `python` as they are after an installation."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, words in {
        "rnn-conformance": "-m rnn_conformance",
        "pytest": "-m pytest -p no:randomly",
        "python": "",
    }.items():
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_every_block_of_a_document_runs(document: Path, tmp_path: Path, tools: Path) -> None:
    name, place = document.relative_to(ROOT).as_posix(), tmp_path / "place"
    if name.startswith("examples"):
        shutil.copytree(document.parent, place)
    else:
        place.mkdir()
    for file, text in FILES.get(name, {}).items():
        (place / file).write_text(text)
    paths = [str(ROOT / "conformance"), str(ROOT / "reference"), str(place), str(ROOT)]
    own = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(paths)}
    own |= {"OMP_NUM_THREADS": "1", "PYTEST_PLUGINS": "rnn_conformance.plugin"}
    without_compiler = shutil.which("cc") is None
    for block in blocks(document):
        text = block.text
        if without_compiler and text.startswith("cc "):
            continue
        if block.language == "python" and (file := re.match(r"# ([\w/]+\.py)\n", text)):
            (place / file[1]).parent.mkdir(exist_ok=True)
            (place / file[1]).write_text(text)
        if block.language == "python":
            command = ["python", "-c", before_it(text) + text]
        elif block.language in ("console", "sh", "bash") and text not in ELSEWHERE:
            command = [
                "bash",
                "-euc",
                text.replace("nox -s conformance -- ", "rnn-conformance run "),
            ]  # as noxfile.py does
        else:
            continue
        ran = subprocess.run(command, cwd=place, env=os.environ | own, capture_output=True, text=True, timeout=600)
        assert ran.returncode == 0, f"{text}\n{ran.stdout}\n{ran.stderr}"
    if without_compiler and any(block.text.startswith("cc ") for block in blocks(document)):
        pytest.skip("all but the block that needs a C compiler ran: there is none here")


def before_it(text: str) -> str:
    """What stands before code of a file that a document shows without it."""
    return next((before for start, (_, before) in REAL.items() if start in text), "")


@pytest.mark.parametrize("start", REAL)
def test_what_a_walk_through_shows_is_what_is_there(start: str) -> None:
    (text,) = (block.text for block in blocks(ROOT / "docs" / "adding.md") if start in block.text)
    assert text[text.index(start) :] in (ROOT / REAL[start][0]).read_text("utf-8")


@pytest.mark.parametrize("text", ELSEWHERE)
def test_what_is_run_elsewhere_is_run_there(text: str) -> None:
    place, line = ELSEWHERE[text]
    assert line in (ROOT / place).read_text()
    assert any(Block("console", text) in blocks(document) for document in DOCUMENTS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", document.read_text("utf-8")):
        assert (document.parent / target).exists(), target


def test_promises_are_those_that_are_written_down() -> None:
    from dataclasses import replace

    from rnn_conformance.execution import EXAMPLES
    from rnn_conformance.promises import promised
    from rnn_conformance.run import load_checks

    whole = replace(load_checks()["values.cell"], share=1.0)
    rows = [f"| `{name}` | {count} | {promised(whole, name)} |" for name, count in EXAMPLES.items()]
    assert "\n".join(rows) in (ROOT / "docs" / "gate.md").read_text("utf-8")


def test_expectations_in_the_documents_are_well_formed(tmp_path: Path) -> None:
    from rnn_conformance.expectations import read_expectations
    from rnn_conformance.run import load_checks

    shown = [block.text for path in DOCUMENTS for block in blocks(path) if block.language == "toml"]
    assert shown
    for text in shown:
        if "[[expectation]]" in text:
            (tmp_path / "shown.toml").write_text(text)
            assert read_expectations(tmp_path / "shown.toml", load_checks())
