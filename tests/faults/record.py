"""The record of the zoo: what was tried, what was found, and whether that meets the bar."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from statistics import median

import msgspec
import rnn_conformance
import rnn_reference
import torch
from msgspec import Struct
from rnn_conformance.budget import LAMBDA
from rnn_conformance.record import write_atomically
from rnn_conformance.run import environment

from . import CONTROLS, FAMILIES, FAULTS
from .trial import Trial
from .zoo import Fault

PROFILES = ("smoke", "ci")
LEAST_KILLED = {"ci": 1.0, "smoke": 0.85}
MOST_SECONDS = 2.0  # the median, of ci, to the first finding
DECIDING = ["arithmetic", "backend", "budget", "case", "check", "config", "attempts", "execution"]
DECIDING += ["covering", "expectations", "measured", "oracle", "strategies", "subject", "world"]
LEAST_VALUES = 100_000  # of controls, compared in each dtype


class Module(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One module of the zoo, in words."""

    name: str
    family: str
    summary: str
    where: str
    cells: list[str]
    caught_by: str = ""
    source: str = ""


class ZooRecord(Struct, forbid_unknown_fields=True, kw_only=True):
    """Every trial of a run."""

    schema_version: int = 1
    suite_version: str
    digest: str  # of the sources that decide results
    started: str
    lambda_: float = msgspec.field(name="lambda")
    environment: dict[str, str]
    faults: list[Module]
    controls: list[Module]
    trials: list[Trial] = []

    def joined(self, earlier: ZooRecord | None) -> ZooRecord:
        """This record with the trials that only an earlier one has, where suite and zoo are the same to the letter."""
        if earlier is not None and earlier.digest == self.digest:
            here = {trial.key for trial in self.trials}
            self.trials[:0] = [trial for trial in earlier.trials if trial.key not in here]
        return self

    def of(self, profile: str, controls: bool = False) -> list[Trial]:
        """The trials of faults (or of controls) under one profile."""
        names = {module.name for module in (self.controls if controls else self.faults)}
        return [trial for trial in self.trials if trial.profile == profile and trial.name in names]


def digest() -> str:
    """One number for the sources of the oracle, the suite and the zoo, but for those that only report."""
    suite, oracle, zoo = (
        Path(str(file)).parent for file in (rnn_conformance.__file__, rnn_reference.__file__, __file__)
    )
    sources = [
        *suite.glob("suite/*.py"),
        *oracle.glob("*.py"),
        suite / "backends/drop_in.py",
        suite / "backends/drop_in.toml",
    ]
    sources += [suite / f"{name}.py" for name in DECIDING]
    sources += [zoo / f"{name}.py" for name in ("base", "zoo", "trial", *FAMILIES)]
    found = sha256()
    for path in sorted(sources):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()[:16]


def new_record() -> ZooRecord:
    """A record with the zoo in it and no trial."""
    return ZooRecord(
        suite_version=rnn_conformance.__version__,
        digest=digest(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        lambda_=LAMBDA,
        environment=environment() | {"torch": str(torch.__version__)},
        faults=[_module(fault) for fault in FAULTS.values()],
        controls=[_module(control) for control in CONTROLS.values()],
    )


def _module(fault: Fault) -> Module:
    words = {name: getattr(fault, name) for name in ("name", "family", "summary", "where", "caught_by", "source")}
    return Module(cells=list(fault.cells), **words)


@dataclass(frozen=True)
class Bar:
    """What was measured against what is asked."""

    killed: dict[str, tuple[int, int]]  # by profile: how many trials of faults, of how many
    seconds: float | None  # the median to the first finding, in order, of ci
    accused: list[Trial]  # of controls
    values: dict[str, int]  # of controls, compared in each dtype

    @property
    def met(self) -> bool:
        """Whether all of it is reached, as far as it was measured."""
        enough = all(some >= LEAST_KILLED[profile] * all_ for profile, (some, all_) in self.killed.items() if all_)
        quick = self.seconds is None or self.seconds < MOST_SECONDS
        return enough and quick and not self.accused


def bar(record: ZooRecord) -> Bar:
    """The bar, from the record's trials."""
    killed = {}
    for profile in PROFILES:
        found = record.of(profile)
        killed[profile] = (sum(trial.killed for trial in found), len(found))
    quick = [trial.seconds for trial in record.of("ci") if trial.in_order and trial.killed]
    controls = [trial for profile in PROFILES for trial in record.of(profile, controls=True)]
    values: dict[str, int] = {}
    for trial in controls:
        for dtype, count in trial.values.items():
            values[dtype] = values.get(dtype, 0) + count
    accused = [trial for trial in controls if trial.found]
    return Bar(killed, round(median(quick), 2) if quick else None, accused, values)


def verdict(record: ZooRecord) -> str:
    """One line that says it all."""
    measured = bar(record)
    parts = [f"{profile}: {some} of {all_} killed" for profile, (some, all_) in measured.killed.items() if all_]
    if measured.seconds is not None:
        parts.append(f"median {measured.seconds:g} s to the first finding")
    if measured.values:
        parts.append(f"{len({trial.name for trial in measured.accused})} of {len(record.controls)} controls accused")
    return f"{'The bar is met' if measured.met else 'The bar is not met'}: {', '.join(parts)}."


def write(record: ZooRecord, page: str, folder: Path) -> None:
    """Write the record and its page."""
    folder.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(record), indent=1).decode()
    write_atomically(folder / "record.json", text.encode())
    write_atomically(folder / "index.html", page.encode())


def read(folder: Path) -> ZooRecord | None:
    """The record in a folder, where there is one that can be read."""
    try:
        return msgspec.json.decode((folder / "record.json").read_bytes(), type=ZooRecord)
    except (OSError, msgspec.DecodeError):
        return None
