"""Failing examples of earlier runs: Hypothesis's own database, from which they are drawn first in the next run."""

from __future__ import annotations

from pathlib import Path

from hypothesis.database import DirectoryBasedExampleDatabase, ExampleDatabase

from rnn_conformance.backend import WrongUse
from rnn_conformance.run import report_folder
from rnn_conformance.strategies import Unit

FOLDER = Path(".hypothesis", "rnn-conformance")  # beside Hypothesis's own `examples`
LARGEST = 64 * 1024  # bytes of an example; Hypothesis draws at most 8 KiB for one


def examples_of(unit: Unit, backend: str) -> ExampleDatabase:
    """The failing examples of this unit of work, in a folder of the current one that the first failure makes.

    Raises:
        WrongUse: where a file is too large for an example, so that it is not read.
    """
    folder = FOLDER.absolute() / report_folder(backend, unit.device).name / f"{unit.check}-{unit.cell}-{unit.dtype}"
    for file in folder.glob("*/*"):
        if file.stat().st_size > LARGEST:
            raise WrongUse(f"{file} is no example of Hypothesis's, being {file.stat().st_size} bytes long: remove it")
    return DirectoryBasedExampleDatabase(folder)
