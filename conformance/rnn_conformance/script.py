"""The script of a finding: a stand-alone program that drives the backend and shows the deviation again.

The check is run once more on the finding's case, with everything that it does to the backend noted down. A call that is
wrong on its own arguments becomes a plain script; its numbers are written into it. Where no single call and no short
series of calls shows the mistake (a result that changes later, a rate of dropout), the script lets the suite replay the
case, and says so in its first line. Nothing in a script comes from a record.
"""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rnn_conformance import world
from rnn_conformance.backend import Backend
from rnn_conformance.case import Case
from rnn_conformance.dialects import LONGEST, Dialect, dialect_of
from rnn_conformance.isolate import death_of
from rnn_conformance.judge import Judge, Wrong
from rnn_conformance.subject import BackendRaised, Broken, NotOffered, SaysNothing, Subject
from rnn_conformance.trace import Called, Copied, Differentiated, Event, Made, Trace, Wrote

if TYPE_CHECKING:
    from rnn_conformance.check import Check

MOST_EVENTS = 8  # of a plain script


def script_of(check: Check, case: Case, error: Broken, subject: Subject) -> str:
    """The script of a finding."""
    outcome = getattr(error, "outcome", "failed")  # or of a backend in another process, crashed or timed_out
    before = world.snapshot(subject.backend)
    dialect = dialect_of(subject.backend)
    try:
        plain = "" if outcome == "timed_out" else _plain(check, case, error, subject, dialect)
    except Exception:  # whatever a faulty backend raises when it is used once more
        plain = ""
    finally:
        death_of(subject.backend)
        world.restore(subject.backend, before)
    if 0 < len(plain) <= LONGEST:
        return plain
    return dialect.replaying(check.id, check.sentence, str(case), case.to_dict(), rtol=subject.rtol, atol=subject.atol)


def _plain(check: Check, case: Case, error: Broken, subject: Subject, dialect: Dialect) -> str:
    """The script without the suite's checks, where there can be one."""
    trace = _observed(check, case, subject)
    judge = Judge(subject.backend.arithmetic(case.config.dtype), subject.backend.policy, subject.rtol, subject.atol)
    said = [f"{check.id}: {check.sentence}", str(case)]
    raised = isinstance(error, BackendRaised) or getattr(error, "outcome", "failed") == "crashed"
    if raised or "must be refused" in str(error):
        wanted = "raised" if raised else "accepted"
        for events in _candidates(trace, len(trace.events) - 1):
            if _again(events, subject.backend).raised == (wanted == "raised"):
                return dialect.script([*said, str(error)], events, wanted)
        return ""
    for at, event in enumerate(trace.events):
        if isinstance(event, Called) and judge.wrong(trace.configs[event.layer], event):
            for events in _candidates(trace, at):
                last = _again(events, subject.backend)
                wrong = judge.wrong(trace.configs[event.layer], last) if isinstance(last, Called) else None
                if wrong is not None:
                    return dialect.script(said, events, _readable(wrong, last))
    return ""


def _readable(wrong: Wrong, call: Any) -> Wrong:
    """The name under which a script finds the array."""
    return (
        replace(wrong, array=f"gradient {wrong.array}")
        if isinstance(call, Differentiated)
        and wrong.array
        not in (
            "output",
            "h_n",
            "c_n",
        )
        else wrong
    )


def _observed(check: Check, case: Case, subject: Subject) -> Trace:
    """What the check does with the backend in this case."""
    trace = Trace(subject.backend)
    with suppress(Broken, SaysNothing, NotOffered):
        check.body(Subject(trace.backend, rtol=subject.rtol, atol=subject.atol), case)
    death_of(subject.backend)
    return trace


def _candidates(trace: Trace, at: int) -> list[list[Event]]:
    """The event alone on a new layer; and all that led to it, where that is short."""
    if at < 0:
        return []
    event = trace.events[at]
    found: list[list[Event]] = []
    if isinstance(event, Made):
        return [[event]]
    if isinstance(event, Differentiated) and (event.frozen or event.accumulate):
        return []
    if isinstance(event, Called):
        if not event.weights:
            return []
        found.append([Made(trace.configs[event.layer], dict(event.weights)), replace(event, layer=0, given_by=None)])
    before = trace.events[: at + 1]
    if len(before) <= MOST_EVENTS and not any(isinstance(e, Differentiated) for e in before[:-1]):
        found.append(before)
    return found


def _again(events: list[Event], backend: Backend) -> Any:
    """Do all this once more; the last event as it went this time."""
    death_of(backend)  # which died while something else was tried
    trace = Trace(backend)
    layers: list[Any] = []
    states: dict[int, Any] = {}

    def native(array: Any, device: str) -> Any:
        if isinstance(array, tuple):
            return tuple(native(part, device) for part in array)
        return None if array is None else backend.from_numpy(array.copy(), device)

    try:
        for at, event in enumerate(events):
            if isinstance(event, Made):
                layers.append(trace.backend.layer(event.config, event.parameters))
            elif isinstance(event, Wrote):
                trace.backend.assign(layers[event.layer].parameters()[event.name], event.values)
            elif isinstance(event, Copied):
                layers.append(deepcopy(layers[event.layer]))
            else:
                layer, device = layers[event.layer], trace.configs[event.layer].device
                hx = native(event.hx, device) if event.given_by is None else states[event.given_by]
                x = native(event.input, device)
                if isinstance(event, Differentiated):
                    d_output, d_state = native(event.d_output, device), native(event.d_state, device)
                    layer.gradients(x, hx, d_output, d_state, event.lengths, event.frozen, event.accumulate)
                else:
                    states[at] = layer.forward(x, hx, lengths=event.lengths, training=event.training)[1]
    except Exception:
        if len(trace.events) < len(events):  # it failed before the event that is to be shown
            raise
    return trace.events[-1]
