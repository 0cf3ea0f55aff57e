"""The command line: rnn-conformance run, backends, checks."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pytest

from rnn_conformance.backend import WrongUse
from rnn_conformance.backends import available
from rnn_conformance.check import EXAMPLES
from rnn_conformance.progress import Progress
from rnn_conformance.run import Request, load_checks, report_folder, require_writable
from rnn_conformance.verdict import verdict_lines

CONFORMS, FINDINGS, WRONG_USE, SUITE_FAILED = range(4)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 conforms, 1 findings, 2 wrong use, 3 the suite itself failed."""
    parsed = _parser().parse_args(arguments)
    try:
        code: int = parsed.command(parsed)
    except WrongUse as error:
        print(f"rnn-conformance: {error}", file=sys.stderr)
        return WRONG_USE
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rnn-conformance", description="Is a recurrent kernel right?")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="try a backend", description="Try a backend and write a record and a report.")
    run.set_defaults(command=_run)
    run.add_argument("--backend", default="torch", metavar="NAME", help="a name that `backends` lists, or module:Class")
    for kind in ("lstm", "gru", "rnn"):
        run.add_argument(f"--{kind}", metavar="M:C", help=f"a drop-in for torch.nn.{kind.upper()}, as module:Class")
    run.add_argument("--device", default="cpu", help="cpu (the default), cuda or mps")
    run.add_argument("--profile", default="ci", choices=EXAMPLES, help="how hard to try (default: ci)")
    run.add_argument("--seed", type=_natural, default=0, metavar="N", help="the cases follow from it (default: 0)")
    run.add_argument("--rtol", type=float, help="a house rule, relative, in place of the error budget")
    run.add_argument("--atol", type=float, help="a house rule, absolute, in place of the error budget")
    run.add_argument("--expectations", metavar="FILE", help="known deviations in TOML (default: the backend's own)")
    run.add_argument(
        "-n", dest="workers", default="auto", help="processes (default: one for each processor; 0 for none)"
    )
    run.add_argument(
        "-k", dest="expression", default="", metavar="EXPR", help='a choice of checks, such as "lstm and steps"'
    )
    run.add_argument("--fail-fast", action="store_true", help="stop at the first finding")
    run.add_argument(
        "--isolate",
        action=argparse.BooleanOptionalAction,
        help="run the backend in a process of its own (default: what others wrote by hand)",
    )
    run.add_argument(
        "--call-timeout", type=_positive, default=30.0, metavar="S", help="seconds for one call there (default: 30)"
    )
    run.add_argument("--memory-limit", type=_positive, metavar="GIB", help="address space there (default: no limit)")
    run.add_argument("--report", type=Path, metavar="DIR", help="folder for record.json and index.html")
    commands.add_parser("backends", help="list backends").set_defaults(command=_backends)
    commands.add_parser("checks", help="list checks").set_defaults(command=_checks)
    return parser


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, not {number}")
    return number


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, not {number:g}")
    return number


def _run(parsed: argparse.Namespace) -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    request = Request(**{asked.name: getattr(parsed, asked.name) for asked in fields(Request)})
    backend = request.load()
    request.known(backend)
    folder = parsed.report or report_folder(backend.name, request.device)
    require_writable(folder)
    progress = Progress()
    status = pytest.main(_pytest_arguments(parsed, request, folder), plugins=[progress])
    progress.stop()
    record = progress.record
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise WrongUse(f"-k {parsed.expression!r} chooses no check; `rnn-conformance checks` lists them")
    if status == pytest.ExitCode.USAGE_ERROR:
        raise WrongUse(f"-n {parsed.workers} or -k {parsed.expression!r} is not what pytest takes")
    if record is None or progress.errors:
        print("\n\n".join(progress.errors) or f"pytest ended with {status!r}", file=sys.stderr)
        print("rnn-conformance: the suite itself failed", file=sys.stderr)
        return SUITE_FAILED
    print("\n".join(verdict_lines(record, folder)))
    if record.ok:
        return CONFORMS
    return FINDINGS if record.findings else SUITE_FAILED


def _pytest_arguments(parsed: argparse.Namespace, request: Request, folder: Path) -> list[str]:
    """The run as a pytest run that ignores the project in whose folder it is started."""
    suite = Path(__file__).with_name("suite")
    chosen = {asked.name: getattr(request, asked.name) for asked in fields(Request)}
    given = [f"--rnn-{name}={value}" for name, value in chosen.items() if value is not None]
    arguments = [str(suite), f"--rootdir={suite}", "-c", str(suite / "pytest.ini"), "-p", "rnn_conformance.plugin"]
    arguments += ["-p", "no:terminal", "-p", "no:cacheprovider", f"--rnn-report={folder}", *given]
    if parsed.expression:
        arguments += ["-k", parsed.expression]
    if parsed.fail_fast:
        arguments += ["--maxfail=1"]
    return arguments + ([] if parsed.workers == "0" else ["-n", parsed.workers])


def _backends(parsed: argparse.Namespace) -> int:
    for name, target in sorted(available().items()):
        print(f"{name:20} {target}")
    return CONFORMS


def _checks(parsed: argparse.Namespace) -> int:
    for check in load_checks().values():
        print(f"{check.id:24} {check.sentence}")
    return CONFORMS


if __name__ == "__main__":
    sys.exit(main())
