"""Templates: everything from a record is escaped, and characters that do not show are written out."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rnn_conformance.report import text
from rnn_conformance.report.outcomes import MARKS


def _finalized(value: Any) -> Any:
    """What a template writes in place of a value of a record."""
    return text.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("rnn_conformance.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalized,
    )
    for name in ("clipped", "short", "number", "precision", "seconds", "plural", "pretty", "compact", "one_line"):
        environment.filters[name] = getattr(text, name)
    environment.globals["marks"] = MARKS
    return environment


@cache
def _own(name: str) -> str:
    """A file of this package, which is no record's text."""
    return resources.files(__package__).joinpath("templates", name).read_text("utf-8")


def render(template: str, script: str = "", **values: Any) -> str:
    """A whole page, with its style and its script within it and leave to run nothing else."""
    source = _own(script) if script else ""
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    found = _environment().get_template(template)
    style = Markup(_own("style.css"))
    return found.render(style=style, script=Markup(source), script_hash=f"sha256-{digest}", **values)
