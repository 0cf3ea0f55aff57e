"""python -m tests.faults: the suite against the whole zoo; how many faults it kills, and whether it accuses a control."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from . import CONTROLS, FAULTS
from .pool import Job, trials
from .record import PROFILES, ZooRecord, bar, new_record, read, verdict, write

FOLDER = Path("reports/faults")


def main() -> int:
    """The exit code: 0 where the bar is met, 1 where it is not."""
    asked = _parser().parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    only = set(asked.only or ())
    if unknown := only - {*FAULTS, *CONTROLS}:
        print(f"there is no {', '.join(sorted(unknown))} in the zoo", file=sys.stderr)
        return 2
    profiles = asked.profile or list(PROFILES)
    jobs = list(jobs_of(profiles, asked.seeds, only))
    seeds = "1 seed" if asked.seeds == 1 else f"{asked.seeds} seeds"
    modules = len({job.module.name for job in jobs})
    print(f"{modules} modules, {' and '.join(profiles)}, {seeds}: {len(jobs)} runs of the suite", flush=True)
    record = new_record()
    for trial in trials(jobs, asked.workers, asked.patience):
        record.trials.append(trial)
        if line := noteworthy(trial.name, record):
            print(line, flush=True)
    if only:
        for trial in record.trials:
            print(f"{trial.name:40} {trial.profile:6} seed {trial.seed}  {_said(trial)}")
    else:
        record = write(record.joined(read(FOLDER), profiles), FOLDER)
    print(verdict(record))
    return 0 if bar(record).met else 1


def jobs_of(profiles: list[str], seeds: int, only: set[str]) -> Iterator[Job]:
    """Every trial: the first seed in the order of a real run, the others with the expected check first."""
    for profile in profiles:
        for seed in range(seeds):
            for fault in FAULTS.values():
                if not only or fault.name in only:
                    yield Job(fault, profile, seed, in_order=seed == 0)
        for control in CONTROLS.values():
            if not only or control.name in only:
                yield Job(control, profile, 0, in_order=True)


def noteworthy(name: str, record: ZooRecord) -> str:
    """A line about the trial that ended last, where it did not go as it should."""
    trial = record.trials[-1]
    if (name in FAULTS) == trial.killed:
        return ""
    word = "SURVIVED" if name in FAULTS else "ACCUSED"
    return f"{word} {name}, {trial.profile}, seed {trial.seed}: {_said(trial)}"


def _said(trial: object) -> str:
    found = getattr(trial, "found", [])
    place = "; ".join(f"{f.how} {f.check} {f.cell} {f.dtype}" for f in found[:4]) or "nothing found"
    return f"{place}, {getattr(trial, 'examples', 0)} examples, {getattr(trial, 'seconds', 0.0):.1f} s"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Run the suite against the zoo.")
    parser.add_argument("--profile", action="append", choices=PROFILES, help="one of the two (default: both)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="independent seeds (default: 1)")
    parser.add_argument("--only", action="append", metavar="NAME", help="one module; nothing is written then")
    parser.add_argument("-n", dest="workers", type=int, default=os.cpu_count() or 1, help="processes side by side")
    parser.add_argument("--patience", type=float, default=300.0, metavar="S", help="seconds until silence is a hang")
    return parser


if __name__ == "__main__":
    sys.exit(main())
