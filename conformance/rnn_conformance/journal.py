"""The journal of a run: results as they come, one to a line, so that nothing found is lost where a run is cut short.

It lies beside the record while a run lasts, and is locked, so that two runs into one folder do not mix. A run that came
to its end takes it away; of one that did not, `--resume` goes on from it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from rnn_conformance.backend import WrongUse
from rnn_conformance.case import Case
from rnn_conformance.record import LARGEST, CheckResult
from rnn_conformance.strategies import Unit

try:
    import fcntl
except ImportError:  # pragma: no cover: on Windows two runs into one folder are not kept apart
    fcntl = None  # type: ignore[assignment]

NAME = "journal.jsonl"


class Head(Struct, frozen=True, forbid_unknown_fields=True):
    """What a run was asked: only one that was asked the same can go on. And when this part of it began."""

    suite: str
    backend: str
    backend_version: str
    asked: dict[str, bool | int | float | str | None]
    began: float = 0.0  # seconds since the epoch
    spent: float = 0.0  # seconds of the parts before this one

    def same_run(self, other: Head) -> bool:
        """Whether these are parts of one run."""
        return replace(self, began=other.began, spent=other.spent) == other


class Journal:
    """The open journal of this run."""

    def __init__(self, folder: Path, head: Head, resume: bool = False) -> None:
        """Open it, and lock it.

        Raises:
            WrongUse: where another run is writing here, or was asked something else than what is to be resumed.
        """
        self.path = folder / NAME
        self.results: list[CheckResult] = []  # of the run that is resumed
        self.spent = 0.0  # seconds of its parts
        self.failed = ""  # why results could not be written
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.file: BinaryIO = open(self.path, "a+b", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise WrongUse(
                f"{folder} cannot be written: {error.strerror}; choose another folder with --report"
            ) from error
        try:
            self._lock(folder)
            if resume:
                self.results, self.spent = read_journal(self.path, head)
        except WrongUse:
            self.file.close()
            raise
        self.file.truncate(0)
        self._line(replace(head, began=time.time(), spent=self.spent))
        for result in self.results:
            self.add(result)

    def _lock(self, folder: Path) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise WrongUse(f"another run is writing into {folder}; choose another folder with --report") from error

    def _line(self, what: Struct) -> None:
        line = b"\n" * bool(self.failed) + msgspec.json.encode(what) + b"\n"
        try:
            if self.file.write(line) < len(line):
                self.failed = "no room for a whole line"
        except OSError as error:  # a full disk: what was found is still in memory
            self.failed = error.strerror or str(error)

    def add(self, result: CheckResult) -> None:
        """Write down what a unit came to."""
        self._line(result)

    def close(self, complete: bool) -> None:
        """Let go of it; a run that is complete needs it no more."""
        if complete:
            with suppress(OSError):
                self.path.unlink()
        self.file.close()


def read_journal(path: Path, head: Head) -> tuple[list[CheckResult], float]:
    """The results in a journal, but for a last line that was cut short; and the seconds of the run so far.

    Raises:
        WrongUse: where it is too large, or of a run that was asked something else.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise WrongUse(f"{path} is no journal: it is larger than {LARGEST:,} bytes")
        ended = path.stat().st_mtime  # when the last result was written
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise WrongUse(f"{path} cannot be read: {error.strerror}") from error
    if not lines:
        return [], 0.0
    try:
        found = msgspec.json.decode(lines[0], type=Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WrongUse(f"{path} is no journal: {error}; leave --resume out") from error
    if not found.same_run(head):
        raise WrongUse(f"{path} is of a run that was asked something else; leave --resume out")
    spent = found.spent + max(0.0, ended - found.began) if found.began else 0.0
    return [result for line in lines[1:] if (result := _result(line)) is not None], spent


def _result(line: bytes) -> CheckResult | None:
    try:
        return msgspec.json.decode(line, type=CheckResult)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class Trying(Struct, frozen=True, forbid_unknown_fields=True):
    """What is being tried."""

    unit: Unit
    fields: dict[str, Any]  # of the case


class Notebook:
    """A file that always says which case is being tried, whatever becomes of the process that tries it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"trying-{os.getpid()}.json"
        self.file: BinaryIO | None = None

    def note(self, unit: Unit, case: Case) -> None:
        """Write the case down, before it is tried."""
        text = msgspec.json.encode(Trying(unit, case.to_dict()))
        with suppress(OSError):
            if self.file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.file = open(self.path, "wb", buffering=0)  # noqa: SIM115
            self.file.seek(0)
            self.file.write(text)
            self.file.truncate(len(text))

    def close(self) -> None:
        """Take it away."""
        if self.file is not None:
            self.file.close()
            with suppress(OSError):
                self.path.unlink()


def last_tried(folder: Path, unit: Unit) -> Case | None:
    """The case of this unit that a process was trying when it died, where one was."""
    for path in _notebooks(folder):
        try:
            found = msgspec.json.decode(path.read_bytes()[:LARGEST], type=Trying)
            if found.unit == unit:
                return Case.from_dict(found.fields)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, TypeError, KeyError):
            continue
    return None


def died(folder: Path) -> bool:
    """Whether a process died here while it was trying a case: one that ends by itself takes its notebook away."""
    return any(True for _ in _notebooks(folder))


def forget_notebooks(folder: Path) -> None:
    """Take away those of processes that died."""
    for path in _notebooks(folder):
        with suppress(OSError):
            path.unlink()


def _notebooks(folder: Path) -> Iterable[Path]:
    return folder.glob("trying-*.json")
