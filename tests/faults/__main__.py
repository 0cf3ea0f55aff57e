"""python -m tests.faults: the suite against the zoo: how many faults it kills, and whether it accuses a control."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from rnn_conformance.config import CELLS

from . import FAULTS
from .page import page
from .pool import trials
from .readme import README, with_table
from .record import PROFILES, ZooRecord, bar, new_record, read, verdict, write
from .trial import Job, Trial

FOLDER = Path("reports/faults")


def main() -> int:
    """The exit code: 0 where the bar is met, 1 where it is not, 2 for wrong use."""
    asked = _parser().parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE_BF16"  # products for AMX leak NaN: reports/README.md
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    only = set(asked.only or ())
    if unknown := only - set(FAULTS):
        print(f"there is no fault {', '.join(sorted(unknown))} in the zoo", file=sys.stderr)
        return 2
    profiles = asked.profile or list(PROFILES)
    record = new_record()
    if not only:
        record.joined(read(FOLDER))
    done = {trial.key for trial in record.trials}
    jobs = [job for job in jobs_of(profiles, asked.seeds, only) if not job.keys <= done]
    jobs.sort(key=lambda job: (job.fault is None, job.in_order))  # what is slow comes last
    seeds = "1 seed" if asked.seeds == 1 else f"{asked.seeds} seeds"
    known = f", {len(done)} more are in the record already" if done else ""
    print(f"{' and '.join(profiles)}, {seeds}: {len(jobs)} runs of the suite{known}", flush=True)
    try:
        run_all(jobs, record, asked, keep=not only)
    finally:
        if not only:
            write(record, page(record), FOLDER)
            README.write_text(with_table(README.read_text("utf-8"), record), "utf-8")
    print(verdict(record))
    return 0 if bar(record).met else 1


def run_all(jobs: list[Job], record: ZooRecord, asked: argparse.Namespace, keep: bool) -> None:
    """Run what is to be run, say what is not as it should be, and keep the record up to date."""
    for count, trial in enumerate(trials(jobs, asked.workers, asked.patience), start=1):
        record.trials.append(trial)
        if not keep:
            print(f"{trial.name:40} {trial.profile:6} seed {trial.seed}  {_said(trial)}", flush=True)
        elif (trial.name in FAULTS) != trial.killed:
            word = "SURVIVED" if trial.name in FAULTS else "ACCUSED"
            print(
                f"{count}/{len(jobs)} {word} {trial.name}, {trial.profile}, seed {trial.seed}: {_said(trial)}",
                flush=True,
            )
        if keep and count % 20 == 0:
            write(record, page(record), FOLDER)


def jobs_of(profiles: list[str], seeds: int, only: set[str]) -> Iterator[Job]:
    """Every trial: the first seed in the order of a real run, the others with the expected check first."""
    for profile in profiles:
        for fault in FAULTS.values():
            if not only or fault.name in only:
                for seed in range(seeds):
                    yield Job(profile, seed, fault, in_order=seed == 0)
        for cell in () if only else CELLS:
            yield Job(profile, 0, cell=cell)


def _said(trial: Trial) -> str:
    place = "; ".join(f"{f.how} {f.check} {f.cell} {f.dtype}" for f in trial.found[:4]) or "nothing found"
    return f"{place}, {trial.examples} examples, {trial.seconds:.1f} s"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Run the suite against the zoo.")
    parser.add_argument("--profile", action="append", choices=PROFILES, help="one of the two (default: both)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="independent seeds (default: 1)")
    parser.add_argument("--only", action="append", metavar="NAME", help="one fault; nothing is written then")
    parser.add_argument("-n", dest="workers", type=int, default=os.cpu_count() or 1, help="processes side by side")
    parser.add_argument("--patience", type=float, default=300.0, metavar="S", help="seconds until silence is a hang")
    return parser


if __name__ == "__main__":
    sys.exit(main())
