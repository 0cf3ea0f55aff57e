"""The suite from Python: `check_backend` in a script or a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rnn_conformance.backend import Backend
from rnn_conformance.record import Record
from rnn_conformance.report.page import page
from rnn_conformance.request import Profile, Request
from rnn_conformance.run import run_here
from rnn_conformance.verdict import finding_lines, verdict


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
        return page(self.record)


def check_backend(
    backend: Backend, profile: Profile = "smoke", device: str = "cpu", seed: int = 0, checks: Sequence[str] = ()
) -> Outcome:
    """Try a backend in this process.

    Args:
        checks: the ids of those to run; all of them where left out.

    Raises:
        WrongUse: for a device that is not present.
    """
    request = Request(backend=backend.name, profile=profile, device=device, seed=seed)
    return Outcome(run_here(request, backend, checks))
