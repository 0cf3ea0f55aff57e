"""The catalogue of checks, from their own docstrings: `python -m rnn_conformance.catalogue > docs/checks.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from inspect import cleandoc
from itertools import groupby

from rnn_conformance.check import Check
from rnn_conformance.config import CELLS
from rnn_conformance.execution import COVERING, EXAMPLES
from rnn_conformance.run import load_checks

HEAD = """# The checks

Generated from the checks' own docstrings by `python -m rnn_conformance.catalogue`. Each check runs in every cell, dtype
and device; it begins with its published examples where there are any, then takes cases in which each pair of options
occurs together, and Hypothesis goes on from there."""


def page() -> str:
    """docs/checks.md."""
    return "\n".join([HEAD, "", *_profiles(), *_families()])


def _profiles() -> Iterator[str]:
    shares = {
        "whole": "all, in each cell and dtype",
        "dtypes": "all, divided among the dtypes of each cell",
        "cells": "all, divided among the dtypes of the LSTM, and again among the other cells and dtypes",
    }
    yield "| profile | cases that Hypothesis draws for each check, cell and dtype | cases that cover all pairs |"
    yield "|---|---|---|"
    for profile, examples in EXAMPLES.items():
        yield f"| {profile} | {examples} times the check's share | {shares[COVERING[profile]]} |"
    yield ""


def _families() -> Iterator[str]:
    for _, some in groupby(load_checks().values(), key=lambda check: check.family):
        checks = list(some)
        title, _, rest = cleandoc(sys.modules[checks[0].module].__doc__ or "").partition("\n\n")
        name, _, states = title.partition(": ")
        yield from (f"## {name}", "", f"{states[0].upper()}{states[1:]}", "", rest, "")
        yield "| check | states | source | stands on | share |"
        yield "|---|---|---|---|---|"
        yield from map(_row, checks)
        yield ""


def _row(check: Check) -> str:
    cells = f" ({', '.join(check.cells)})" if check.cells and check.cells != CELLS else ""
    needs = ", ".join(f"`{need}`" for need in check.needs) or "–"
    return f"| `{check.id}`{cells} | {check.sentence} | {check.source} | {needs} | {check.share:g} |"


if __name__ == "__main__":
    sys.stdout.write(page())
