"""Records: the typed, versioned JSON result of one run, validated when written and when read."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from rnn_conformance.backend import WrongUse
from rnn_conformance.diagnosis.result import Diagnosis

LARGEST = 2**26  # bytes of a file that is read: more is refused before memory is taken for it
SCHEMA_VERSION = 1
Outcome = Literal[
    "passed",
    "failed",
    "blocked",
    "inconclusive",
    "expected_failure",
    "unexpected_pass",
    "not_offered",
    "crashed",
    "timed_out",
    "not_run",
]
Count = Annotated[int, Meta(ge=0, le=2**50)]  # so that sums of counts are counts too
Seconds = Annotated[float, Meta(ge=0)]
Text = Annotated[str, Meta(max_length=20_000)]


class Finding(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The smallest case that breaks a check, with what was seen."""

    id: Text
    sentence: Text
    source: Text
    message: Text
    case: Text
    fields: dict[str, Any]  # those of Case.to_dict, from which it can be replayed
    rho: float | None = None
    element: dict[str, int | str] = {}
    diagnosis: Diagnosis | None = None  # of a number beyond its budget
    script: Text = ""  # a dozen lines that show it again, without pytest or Hypothesis
    command: Text = ""  # one line that replays it


class Along(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How ρ goes along one axis."""

    size: Count  # of the axis
    rho: Annotated[list[Seconds], Meta(max_length=64)]  # the largest of each of its parts


class Worst(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The case in which a unit of work showed its largest ρ."""

    case: Text
    array: Text
    along: dict[str, Along]  # by axis: step, unit, ...


class CheckResult(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What one unit of work came to."""

    id: Text
    cell: Text
    dtype: Text
    device: Text
    outcome: Outcome
    examples: Count
    inconclusive: Count
    seconds: Seconds
    backend_seconds: Seconds
    values: Count  # numbers compared with the oracle's
    largest_rho: Seconds
    effective_bits: float | None = None
    spread: list[Count] = []  # how many of the numbers compared have a ρ in each of the record's bins
    worst: Worst | None = None
    coverage: list[list[Count]] = []  # how many examples fell into each class of each of the record's axes
    reason: Text = ""  # why it was not offered, or which check blocks it
    finding: Finding | None = None


class Record(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One run."""

    schema_version: Literal[1] = 1
    suite_version: Text
    backend: Text
    backend_version: Text
    device: Text
    profile: Literal["smoke", "ci", "thorough"]
    seed: Count
    started: Text  # UTC, ISO 8601
    seconds: Seconds
    lambda_: Annotated[float, Meta(gt=0)] = msgspec.field(name="lambda")
    policy: dict[str, bool | str]
    environment: dict[str, Text]
    complete: bool  # False where the run was interrupted
    time_budget: Seconds | None = None  # where one was given
    suite_units: Count | None = None  # how many the suite has, where only some of them were asked for
    shortfalls: list[Text] = []  # families that ran fewer examples than the profile promises
    bins: list[Seconds] = []  # upper ends; what lies beyond the last has a bin of its own
    axes: dict[str, list[Text]] = {}  # classes of cases by axis
    checks: list[CheckResult]  # the last field, which `to_json` lays out

    def __post_init__(self) -> None:
        sizes = [len(names) for names in self.axes.values()]
        for result in self.checks:
            if len(result.spread) > len(self.bins) + 1:
                raise ValueError(f"the spread of {result.id} has more numbers than the record has bins")
            if result.coverage and [len(counts) for counts in result.coverage] != sizes:
                raise ValueError(f"the coverage of {result.id} is not that of the record's axes")

    @property
    def counts(self) -> dict[str, int]:
        """How many units came to each outcome that occurs."""
        found: dict[str, int] = {}
        for result in self.checks:
            found[result.outcome] = found.get(result.outcome, 0) + 1
        return found

    @property
    def findings(self) -> list[CheckResult]:
        """The failed units, basic ones before those that they block."""
        return [result for result in self.checks if result.outcome in ("failed", "crashed", "timed_out")]

    @property
    def left_out(self) -> list[CheckResult]:
        """The units for which the time budget left no time."""
        return [] if self.time_budget is None else [result for result in self.checks if result.outcome == "not_run"]

    @property
    def ok(self) -> bool:
        """Whether the backend conforms: nothing failed or said nothing, and as much ran as the profile promises."""
        bad = {"failed", "crashed", "timed_out", "blocked", "inconclusive", "unexpected_pass"}
        idle = self.counts.get("not_run", 0) > len(self.left_out)
        return self.complete and "passed" in self.counts and not (bad & set(self.counts) or idle or self.shortfalls)


def to_json(record: Record) -> bytes:
    """The record as JSON, one line for each unit of work, once it has been read back and found whole."""
    head = msgspec.json.encode(replace(record, checks=[])).removesuffix(b"]}")
    lines = [msgspec.json.encode(result) for result in record.checks]
    text = head + b"\n" + b",\n".join(lines) + b"\n]}\n"
    msgspec.json.decode(text, type=Record)
    return text


def read_record(path: Path) -> Record:
    """The record in this file.

    Raises:
        WrongUse: where it cannot be read or is not a record.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise WrongUse(f"{path} is not a record: it is larger than {LARGEST:,} bytes")
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except OSError as error:
        raise WrongUse(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WrongUse(f"{path} is not a record of schema version {SCHEMA_VERSION}: {error}") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        WrongUse: where its folder cannot be written.
    """
    name = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as error:
        with suppress(OSError):
            os.unlink(name)
        raise WrongUse(
            f"{path.parent} cannot be written: {error.strerror}; choose another folder with --report"
        ) from error


def json_schema() -> str:
    """The JSON Schema of a record."""
    return json.dumps(msgspec.json.schema(Record), indent=2) + "\n"
