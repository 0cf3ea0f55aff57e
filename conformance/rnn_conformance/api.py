"""The suite from Python: `check_backend` in a script or a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from inspect import isroutine
from typing import Any

from rnn_conformance.backend import Backend, WrongUse
from rnn_conformance.backends import backend_of, load_backend, load_object
from rnn_conformance.backends.function import FunctionBackend
from rnn_conformance.loading import drop_in, present
from rnn_conformance.record import Record
from rnn_conformance.report.page import page
from rnn_conformance.request import KINDS, PROFILES, Profile, Request
from rnn_conformance.run import load_checks, run_here
from rnn_conformance.verdict import finding_lines, verdict

FRAME = "width: 100%; height: 40em; border: 0"


@dataclass(frozen=True, repr=False)
class Outcome:
    """What `check_backend` found."""

    record: Record

    @property
    def ok(self) -> bool:
        """Whether the backend conforms."""
        return self.record.ok

    def __repr__(self) -> str:
        lines = [line for result in self.record.findings for line in finding_lines(result)]
        return "\n".join([*lines, verdict(self.record)])

    def _repr_html_(self) -> str:
        """The page, in a frame of its own, so that its style stays within it."""
        return f'<iframe srcdoc="{escape(page(self.record))}" style="{FRAME}" title="rnn-conformance"></iframe>'


def check_backend(
    backend: Backend | type[Backend] | str | None = None,
    profile: Profile = "smoke",
    device: str = "cpu",
    seed: int = 0,
    checks: Sequence[str] = (),
    *,
    lstm: Any = None,
    gru: Any = None,
    rnn: Any = None,
) -> Outcome:
    """Try a backend in this process.

    Args:
        backend: a backend, its class, or its name as on the command line.
        checks: the ids of those to run; all of them where left out.
        lstm, gru, rnn: in place of a backend, drop-in classes for torch.nn's, or `module:Class`.

    Raises:
        WrongUse: where there is no such backend, device, profile or check.
    """
    modules = {kind: one for kind, one in zip(KINDS, (lstm, gru, rnn), strict=True) if one is not None}
    if (backend is None) != bool(modules):
        raise WrongUse("give either a backend, or drop-in classes as lstm, gru and rnn")
    if profile not in PROFILES:
        raise WrongUse(f"profile must be one of {', '.join(PROFILES)}, not {profile!r}")
    if unknown := sorted(set(checks) - set(load_checks())):
        raise WrongUse(f"there is no check {unknown[0]!r}; `rnn-conformance checks` lists them")
    found = _made(backend) if backend is not None else drop_in({kind: _module(one) for kind, one in modules.items()})
    present(found, device)
    names: dict[str, Any] = {kind: _name(module) for kind, module in modules.items()}
    request = Request(backend=_name(backend), profile=profile, device=device, seed=seed, **names)
    return Outcome(run_here(request, found, checks))


def _made(backend: Backend | type[Backend] | str) -> Backend:
    """A backend, from what stands for it."""
    if isinstance(backend, str):
        return load_backend(backend)
    return backend_of(backend, backend.__name__ if isinstance(backend, type) else type(backend).__name__)


def _module(given: Any) -> Any:
    return load_object(given) if isinstance(given, str) else given


def _name(given: Any) -> str:
    """How the command line names it."""
    if isinstance(given, str):
        return given
    if isinstance(given, FunctionBackend):
        return given.name
    kind = given if isinstance(given, type) or isroutine(given) else type(given)
    return f"{kind.__module__}:{kind.__qualname__}"
