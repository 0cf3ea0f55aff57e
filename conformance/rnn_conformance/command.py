"""The command of a finding: one line that replays it, with no need of the record."""

from __future__ import annotations

import dataclasses
import json
import shlex
from typing import Any

from rnn_conformance.case import Case
from rnn_conformance.check import Check
from rnn_conformance.config import LayerConfig
from rnn_conformance.record import Finding
from rnn_conformance.request import KINDS, Request


def command_of(check: Check, finding: Finding, request: Request) -> str:
    """The line that replays a finding of this check."""
    named = [f"--{kind}={name}" for kind in KINDS if (name := getattr(request, kind))]
    words = ["rnn-conformance", "replay", f"{check.id} {inline(finding.fields)}"]
    words += named or [f"--backend={request.backend}"]
    if check.machine is not None:  # a random life follows from these, not from the case alone
        words += [f"--profile={request.profile}", f"--seed={request.seed}"]
    words += [f"--{name}={value!r}" for name in ("rtol", "atol") if (value := getattr(request, name)) is not None]
    return shlex.join(words)


def inline(fields: dict[str, Any]) -> str:
    """The fields of a case in one line of JSON, those of its config among them, defaults left out."""
    flat = {name: value for name, value in (fields["config"] | fields).items() if name != "config"}
    usual = {field.name: field.default for kind in (LayerConfig, Case) for field in dataclasses.fields(kind)}
    usual.pop("dtype")  # to be seen at once
    return json.dumps({name: value for name, value in flat.items() if name not in usual or usual[name] != value})
