"""Runs scripts and commands of findings in this process, a fresh one: JSON in, exit codes out."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import sys
from typing import Any


def ended(run: Any) -> tuple[int, str]:
    """How a program ends, and what it prints last."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = run() or 0
    except SystemExit as error:
        code = error.code or 0
    except Exception as error:  # Python itself would end with 1
        code = 1
        said.write(f"{type(error).__name__}: {error}")
    return int(code), said.getvalue().strip()[-500:]


def main() -> None:
    """Run what stdin lists."""
    from rnn_conformance import world
    from rnn_conformance.backends import load_backend
    from rnn_conformance.cli import main as command

    backend = load_backend("torch")  # whose settings a fault may have changed before the next job
    start = world.snapshot(backend)
    results = {}
    for name, job in json.loads(sys.stdin.read()).items():
        if name.startswith("script"):
            code = compile(job, name, "exec")
            results[name] = ended(lambda code=code: exec(code, {"__name__": "__main__"}))
        else:
            results[name] = ended(lambda job=job: command(shlex.split(job)[1:]))
        world.restore(backend, start)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
