"""Replaying a finding: its check once more, in its case, on the backend that the user names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import msgspec

from rnn_conformance.backend import Backend, WrongUse
from rnn_conformance.backends import available, load_backend, load_object
from rnn_conformance.case import Case
from rnn_conformance.check import Check
from rnn_conformance.config import LayerConfig
from rnn_conformance.execution import run_unit
from rnn_conformance.isolate import IsolatedBackend, death_of
from rnn_conformance.loading import drop_in
from rnn_conformance.record import Finding, read_record
from rnn_conformance.request import KINDS, Profile, Request
from rnn_conformance.run import load_checks
from rnn_conformance.strategies import Unit
from rnn_conformance.subject import Broken, NotOffered, SaysNothing, Subject
from rnn_conformance.verdict import printable

MOST_NUMBERS = 10**8
RANDOM_TRIES = 100  # what dropout drops is drawn anew in each call, of a small case mostly nothing
ISOLATION = ("isolate", "call_timeout", "memory_limit")  # options of a backend in a process of its own
CONFIG = tuple(field.name for field in fields(LayerConfig))
CASE = tuple(field.name for field in fields(Case))


@dataclass(frozen=True)
class Shown:
    """What a replay came to."""

    again: bool  # whether the backend breaks the check again
    lines: list[str]


def replay(
    check: str,
    case: Mapping[str, Any],
    backend: Backend | str | None = None,
    *,
    lstm: Any = None,
    gru: Any = None,
    rnn: Any = None,
    profile: Profile = "ci",
    seed: int = 0,
    rtol: float | None = None,
    atol: float | None = None,
) -> Shown:
    """Run a check once more in one case.

    Args:
        case: the fields of the case, as a finding has them.
        backend: a backend or its name; without it, drop-in classes by kind, or their names.
        profile, seed: those of the run, from which a random life of a layer follows; no other check needs them.

    Raises:
        WrongUse: where there is no such check, case or backend.
    """
    found = load_checks().get(check)
    if found is None:
        raise WrongUse(f"there is no check {check!r}; `rnn-conformance checks` lists them")
    given_modules = zip(KINDS, (lstm, gru, rnn), strict=True)
    modules = {k: load_object(m) if isinstance(m, str) else m for k, m in given_modules if m is not None}
    if isinstance(backend, str):
        backend = load_backend(backend)
    given = backend or drop_in(modules)
    return _replayed(found, case_of(case), given, profile, seed, rtol, atol)


def _replayed(
    check: Check, case: Case, backend: Backend, profile: Profile, seed: int, rtol: float | None, atol: float | None
) -> Shown:
    head = [f"{check.id}: {check.sentence}", f"    case: {case}"]
    message = ""
    try:
        if check.machine is not None:
            config = case.config
            unit = Unit(check.id, config.cell, config.dtype, config.device, seed)
            result = run_unit(check, unit, backend, profile, rtol, atol)
            message = result.finding.message if result.finding is not None else ""
        else:
            for _ in range(RANDOM_TRIES if case.config.dropout or case.config.dropouts() else 1):
                _tried(check, Subject(backend, rtol=rtol, atol=atol), case)
    except Broken as error:
        message = str(error)
    except SaysNothing as error:
        return Shown(False, [*head, f"    SAYS NOTHING: {error}"])
    except NotOffered as error:
        return Shown(False, [*head, f"    NOT OFFERED: {printable(str(error))}"])
    if message:
        return Shown(True, [*head, f"    FAILED: {printable(message)}"])
    return Shown(False, [*head, f"    PASSED: {backend.name} gives what is due"])


def _tried(check: Check, subject: Subject, case: Case) -> None:
    """Run the check; whatever it makes of an error, the death of the backend's process breaks it."""
    try:
        check.body(subject, case)
    finally:
        if death := death_of(subject.backend):
            raise death


def case_of(given: Mapping[str, Any]) -> Case:
    """The case of these fields, those of its config among them or apart.

    Raises:
        WrongUse: where no case has them, or it cannot exist.
    """
    own = dict(given)
    config = own.pop("config", None)
    if config is None:
        config = {name: own.pop(name) for name in CONFIG if name in own}
    try:
        unknown = sorted({*own, *config} - {*CONFIG, *CASE})
        if unknown:
            raise WrongUse(f"there is no such case: it has the unknown field {unknown[0]!r}")
        case: Case = msgspec.convert(own | {"config": config}, Case)
    except (TypeError, ValueError) as error:
        raise WrongUse(f"there is no such case: {' '.join(str(error).split())}") from error
    if min(case.seq_len, case.batch_size or 0, case.seed) < 0:
        raise WrongUse("there is no such case: seq_len, batch_size and seed must be 0 or more")
    if not all(0 <= length <= case.seq_len for length in case.lengths or ()):
        raise WrongUse(f"there is no such case: lengths must lie between 0 and seq_len, {case.seq_len}")
    if case.seq_len * (case.batch_size or 1) * (case.config.input_size + case.config.hidden_size) > MOST_NUMBERS:
        raise WrongUse("there is no such case: it is too large to replay")
    return case


def replay_named(finding: str, options: dict[str, Any]) -> Shown:
    """Replay what the command line names: `RECORD#ID`, or a check and the fields of a case.

    Raises:
        WrongUse: where there is no such finding or backend.
    """
    path, _, id = finding.rpartition("#")
    head, _, text = finding.partition(" ")
    if text.lstrip().startswith("{"):
        check, case = head, _fields(text)
    elif path:
        check, found, recorded = _recorded(Path(path), id)
        case = found.fields
        if not any(options.get(name) for name in ("backend", *KINDS)):
            options = options | {"backend": _known(recorded["backend"])}
        options = {name: recorded[name] for name in ("profile", "seed")} | options
    else:
        raise WrongUse(f"{finding!r} names no finding: write RECORD#ID, or a check and its case as `run` prints them")
    names = {name: options.pop(name) for name in ("backend", *KINDS) if options.get(name)}
    alone = {name: options[name] for name in ISOLATION if name in options}
    backend = Request(**names, device=case_of(case).config.device, **alone).load()
    house = {name: options[name] for name in ("profile", "seed", "rtol", "atol") if name in options}
    try:
        return replay(check, case, backend, **house)
    finally:
        if isinstance(backend, IsolatedBackend):
            backend.close()


def script_named(finding: str) -> str:
    """The script of a finding, named as `RECORD#ID`. It is printed and not run.

    Raises:
        WrongUse: where there is no such finding, or it has no script.
    """
    path, _, id = finding.rpartition("#")
    if not path or finding.partition(" ")[2].lstrip().startswith("{"):
        raise WrongUse("--script prints the script of a finding in a record: write RECORD#ID")
    _, found, _ = _recorded(Path(path), id)
    if not found.script:
        raise WrongUse(f"{finding} has no script")
    return printable(found.script)


def _fields(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WrongUse(f"the case is not JSON: {error}") from error
    return dict(found)


def _recorded(path: Path, id: str) -> tuple[str, Finding, dict[str, Any]]:
    """The check, the finding itself and the options of a finding in a record."""
    record = read_record(path)
    for result in record.checks:
        if result.finding is not None and result.finding.id == id:
            options = {"backend": record.backend, "profile": record.profile, "seed": record.seed}
            return result.id, result.finding, options
    raise WrongUse(f"{path} has no finding {id!r}")


def _known(backend: str) -> str:
    """A backend's name from a record, which may not say what is imported: only names that are known here count."""
    if backend not in available():
        raise WrongUse(f"the record is of {printable(backend)!r}: say how it is loaded, with --backend or --lstm")
    return backend
