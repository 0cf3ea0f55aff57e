"""The command line: run, report, compare, badge, replay, backends, checks, schema."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NoReturn

from rnn_conformance.backend import WrongUse
from rnn_conformance.request import KINDS, PROFILES, Request, natural, positive, seconds

CONFORMS, FINDINGS, WRONG_USE, SUITE_FAILED = range(4)
NOTHING_RAN = (4, 5)  # pytest's exit codes for wrong use, and for no test chosen
INTERRUPTED = "rnn-conformance: interrupted"
SUMMARY = "GITHUB_STEP_SUMMARY"  # where GitHub Actions says which file it shows


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        self.exit(WRONG_USE, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 conforms, 1 findings, 2 wrong use, 3 the suite itself failed or was interrupted."""
    parsed = _parser().parse_args(arguments)
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        code: int = parsed.command(parsed)
        sys.stdout.flush()
    except WrongUse as error:
        print(f"rnn-conformance: {error}", file=sys.stderr)
        return WRONG_USE
    except BrokenPipeError:  # `rnn-conformance checks | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CONFORMS
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return SUITE_FAILED
    except Exception:
        traceback.print_exc()
        print("rnn-conformance: the suite itself failed", file=sys.stderr)
        return SUITE_FAILED
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="rnn-conformance", description="Is a recurrent kernel right?")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, does: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=does[0].lower() + does[1:-1], description=does)
        made.set_defaults(command=run)
        return made

    _run_options(command("run", "Try a backend; write a record and a report.", _run))
    report = command("report", "Draw the page of a record, or the matrix over several.", _report)
    report.add_argument("records", nargs="+", type=Path, metavar="RECORD", help="a record.json")
    report.add_argument("--markdown", action="store_true", help="write a summary of each to standard output instead")
    report.add_argument("--output", type=Path, metavar="FILE", help="the page (default: index.html beside the records)")
    compare = command("compare", "Say what became of a backend; exit with 1 where it got worse.", _compare)
    compare.add_argument("old", type=Path, metavar="OLD", help="a record.json")
    compare.add_argument("new", type=Path, metavar="NEW", help="a later one")
    compare.add_argument("--markdown", action="store_true", help="write Markdown")
    compare.add_argument("--html", type=Path, metavar="FILE", help="write a page too")
    badge = command("badge", "Draw the badge of a record, as SVG.", _badge)
    badge.add_argument("record", type=Path, metavar="RECORD", help="a record.json")
    badge.add_argument("--output", type=Path, metavar="FILE", help="a file (default: standard output)")
    replay = command("replay", "Replay one finding; exit with 1 where it shows again.", _replay)
    replay.add_argument("finding", metavar="FINDING", help="RECORD#ID, or the check and the case that `run` prints")
    replay.add_argument("--script", action="store_true", help="print the script of a finding in a record instead")
    _backend_options(replay, None)
    _isolation_options(replay)
    command("backends", "List backends.", _backends)
    command("checks", "List checks.", _checks)
    command("schema", "Print the JSON Schema of a record.", _schema)
    return parser


def _backend_options(parser: argparse.ArgumentParser, backend: str | None) -> None:
    """What names a backend, and how it is held to its numbers."""
    parser.add_argument("--backend", default=backend, metavar="NAME", help="one of `backends`, or module:Class")
    for kind in KINDS:
        parser.add_argument(f"--{kind}", metavar="M:C", help=f"a drop-in for torch.nn.{kind.upper()}, as module:Class")
    profile, seed = ("ci", 0) if backend else (None, None)  # a replayed finding's are in its record
    parser.add_argument("--profile", default=profile, choices=PROFILES, help="how hard to try (default: ci)")
    parser.add_argument(
        "--seed", type=_typed(natural), default=seed, metavar="N", help="the cases follow from it (default: 0)"
    )
    parser.add_argument("--rtol", type=float, help="a house rule, relative, in place of the error budget")
    parser.add_argument("--atol", type=float, help="a house rule, absolute, in place of the error budget")


def _isolation_options(parser: argparse.ArgumentParser) -> None:
    """Whether the backend has a process of its own, and what it may take there."""
    parser.add_argument(
        "--isolate",
        action=argparse.BooleanOptionalAction,
        help="run the backend in a process of its own (default: what may crash)",
    )
    parser.add_argument(
        "--call-timeout",
        type=_typed(positive),
        default=30.0,
        metavar="S",
        help="seconds for one call there (default: 30)",
    )
    parser.add_argument(
        "--memory-limit", type=_typed(positive), metavar="GIB", help="address space there (default: no limit)"
    )


def _run_options(run: argparse.ArgumentParser) -> None:
    _backend_options(run, "torch")
    run.add_argument("--device", default="cpu", help="cpu (the default), cuda or mps")
    run.add_argument("--expectations", metavar="FILE", help="known deviations in TOML (default: the backend's own)")
    run.add_argument(
        "--time-budget", type=_typed(seconds), metavar="T", help="spread this time, such as 60s, over the checks"
    )
    run.add_argument(
        "-n", dest="workers", type=_typed(_workers), default="auto", help="processes (default: one for each processor)"
    )
    run.add_argument(
        "-k", dest="expression", default="", metavar="EXPR", help='a choice of checks, such as "lstm and steps"'
    )
    run.add_argument("--fail-fast", action="store_true", help="stop at the first finding")
    _isolation_options(run)
    run.add_argument("--resume", action="store_true", help="go on from a run that was cut short")
    run.add_argument("--report", type=Path, metavar="DIR", help="folder for record.json and index.html")


def _typed(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """The conversion, its complaint in its own words."""

    def converted(text: str) -> Any:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return converted


def _workers(text: str) -> str:
    return text if text == "auto" else str(natural(text))


def _run(parsed: argparse.Namespace) -> int:
    import pytest

    import rnn_conformance
    from rnn_conformance.isolate import IsolatedBackend
    from rnn_conformance.journal import Head, Journal, died
    from rnn_conformance.keeper import Keeper
    from rnn_conformance.progress import Progress
    from rnn_conformance.report.markdown import summary
    from rnn_conformance.run import report_folder, require_writable
    from rnn_conformance.verdict import verdict_lines

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    request = Request(**{asked.name: getattr(parsed, asked.name) for asked in fields(Request)})
    backend = request.load()
    request.known(backend)
    folder = parsed.report or report_folder(backend.name, request.device)
    require_writable(folder)
    if isinstance(backend, IsolatedBackend):
        backend.close()
    head = Head(rnn_conformance.__version__, backend.name, backend.version, asdict(request) | {"-k": parsed.expression})
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    journal = Journal(folder, head, parsed.resume)
    if parsed.resume and request.isolate is None and died(folder):
        print("the process of the run that is resumed died: the backend has one of its own now", file=sys.stderr)
        request = replace(request, isolate=True)
    progress = Progress()
    status: int = pytest.ExitCode.INTERNAL_ERROR
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        status = pytest.main(_pytest_arguments(parsed, request, folder), plugins=[progress, Keeper(journal)])
    finally:
        signal.signal(signal.SIGTERM, _leave)
        progress.stop()
        nothing = progress.record is None and not parsed.resume and (progress.wrong_use or status in NOTHING_RAN)
        journal.close(bool(nothing) or (progress.record is not None and progress.record.complete))
        if nothing:
            _take_away(missing)
    record = progress.record
    if status == pytest.ExitCode.INTERRUPTED and record is None and not progress.errors:
        raise KeyboardInterrupt
    if status == pytest.ExitCode.NO_TESTS_COLLECTED and record is None:
        raise WrongUse(f"-k {parsed.expression!r} chooses no check; `rnn-conformance checks` lists them")
    if status == pytest.ExitCode.USAGE_ERROR:
        raise WrongUse(f"-k {parsed.expression!r} is not what pytest takes")
    if progress.wrong_use:
        raise WrongUse(progress.wrong_use)
    if record is not None and (progress.errors or progress.unwritten):
        print("\n".join(verdict_lines(record, progress.folder or folder)))
    if record is None or progress.errors or progress.unwritten:
        print(progress.unwritten, file=sys.stderr)
        print("\n\n".join(progress.errors) or f"pytest ended with {status!r}", file=sys.stderr)
        print("rnn-conformance: the suite itself failed", file=sys.stderr)
        return SUITE_FAILED
    print("\n".join(verdict_lines(record, folder)))
    if os.environ.get(SUMMARY):
        _append(Path(os.environ[SUMMARY]), summary(record))
    if record.ok:
        return CONFORMS
    return FINDINGS if record.findings or "unexpected_pass" in record.counts else SUITE_FAILED


def _take_away(folders: Sequence[Path]) -> None:
    """Take folders away again that were made for nothing."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _leave(number: int, frame: object) -> NoReturn:
    """End at once, where nothing was found yet: an exception may be lost in what a library does when it is imported."""
    os.write(2, f"{INTERRUPTED}\n".encode())
    os._exit(SUITE_FAILED)


def _interrupt(number: int, frame: object) -> NoReturn:
    """Take a polite request to end like Ctrl-C."""
    raise KeyboardInterrupt


def _pytest_arguments(parsed: argparse.Namespace, request: Request, folder: Path) -> list[str]:
    """The run as a pytest run that ignores the project in whose folder it is started."""
    suite = Path(__file__).with_name("suite")
    chosen = {asked.name: getattr(request, asked.name) for asked in fields(Request)}
    given = [f"--rnn-{name.replace('_', '-')}={value}" for name, value in chosen.items() if value is not None]
    arguments = [str(suite), f"--rootdir={suite}", "-c", str(suite / "pytest.ini"), "-p", "rnn_conformance.plugin"]
    arguments += ["-p", "no:terminal", "-p", "no:cacheprovider", f"--rnn-report={folder}", *given]
    if parsed.expression:
        arguments += ["-k", parsed.expression]
    if parsed.fail_fast:
        arguments += ["--maxfail=1"]
    if request.time_budget is not None:
        arguments += ["--maxschedchunk=1"]  # or a worker would take many units ahead, out of their order
    return arguments + ([] if parsed.workers == "0" else ["-n", parsed.workers])


def _report(parsed: argparse.Namespace) -> int:
    from rnn_conformance.record import read_record, write_atomically
    from rnn_conformance.report.markdown import summary
    from rnn_conformance.report.matrix import matrix
    from rnn_conformance.report.page import page

    records = [read_record(path) for path in parsed.records]
    if parsed.markdown:
        _write(parsed.output, "\n".join(map(summary, records)))
        return CONFORMS
    folders = [path.absolute().parent for path in parsed.records]
    output = parsed.output or Path(os.path.commonpath(folders), "index.html")
    if len(records) == 1:
        html = page(records[0])
    else:
        pages = [os.path.relpath(folder / "index.html", output.absolute().parent) for folder in folders]
        html = matrix(records, [page.replace(os.sep, "/") for page in pages])
    write_atomically(output, html.encode())
    print(_shown(output))
    return CONFORMS


def _compare(parsed: argparse.Namespace) -> int:
    from rnn_conformance.record import read_record, write_atomically
    from rnn_conformance.report.compare import compare
    from rnn_conformance.report.compare_views import as_html, as_markdown, as_text

    comparison = compare(read_record(parsed.old), read_record(parsed.new))
    if parsed.html:
        write_atomically(parsed.html, as_html(comparison).encode())
    print(as_markdown(comparison) if parsed.markdown else as_text(comparison), end="")
    return FINDINGS if comparison.regressed else CONFORMS


def _badge(parsed: argparse.Namespace) -> int:
    from rnn_conformance.record import read_record
    from rnn_conformance.report.badge import badge

    _write(parsed.output, badge(read_record(parsed.record)))
    return CONFORMS


def _replay(parsed: argparse.Namespace) -> int:
    from rnn_conformance.replay import replay_named, script_named

    if parsed.script:
        print(script_named(parsed.finding), end="")
        return CONFORMS
    given = {asked.name: getattr(parsed, asked.name) for asked in fields(Request) if hasattr(parsed, asked.name)}
    shown = replay_named(parsed.finding, {name: value for name, value in given.items() if value is not None})
    print("\n".join(shown.lines))
    return FINDINGS if shown.again else CONFORMS


def _backends(parsed: argparse.Namespace) -> int:
    from rnn_conformance.backends import available

    for name, target in sorted(available().items()):
        print(f"{name:20} {target}")
    return CONFORMS


def _checks(parsed: argparse.Namespace) -> int:
    from rnn_conformance.run import load_checks

    for check in load_checks().values():
        print(f"{check.id:24} {check.sentence}")
    return CONFORMS


def _schema(parsed: argparse.Namespace) -> int:
    from rnn_conformance.record import json_schema

    print(json_schema(), end="")
    return CONFORMS


def _write(path: Path | None, text: str) -> None:
    """Write to a file, or to standard output."""
    from rnn_conformance.record import write_atomically

    if path is None:
        print(text, end="" if text.endswith("\n") else "\n")
    else:
        write_atomically(path, text.encode())
        print(_shown(path))


def _append(path: Path, text: str) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        print(f"rnn-conformance: {SUMMARY} {path} cannot be written: {error.strerror}", file=sys.stderr)


def _shown(path: Path) -> str:
    """A path as short as it can be told."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
