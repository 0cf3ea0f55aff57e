"""python -m tests.hostile.interrupt: how long a run of the whole suite on torch takes to end once it is told to."""

from __future__ import annotations

import argparse
import signal
import tempfile
import time
from pathlib import Path

from rnn_conformance.record import read_record

from .test_runs import at_least, start, wait

SIGNS = (signal.SIGINT, signal.SIGTERM)
MOST = 5.0  # seconds that are promised


def ended(sign: signal.Signals, workers: int, units: int) -> tuple[float, int]:
    """Seconds from the signal, sent after so many units of work, to the end, and the units in the partial record."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = start(folder, "--backend", "torch", "-n", str(workers))
        wait(run, folder, at_least(units + 1))
        run.send_signal(sign)
        sent = time.monotonic()
        run.communicate()
        seconds = time.monotonic() - sent
        record = read_record(folder / "record.json")
        assert not record.complete
        return seconds, len(record.checks)


def main() -> None:
    """Measure, for both signals, with and without workers, after a few units and after many."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, nargs="+", default=[1, 30, 200, 700], help="after which it is told to")
    slowest = 0.0
    for workers in (0, 2):
        for units in parser.parse_args().units:
            for sign in SIGNS:
                seconds, recorded = ended(sign, workers, units)
                slowest = max(slowest, seconds)
                print(f"{sign.name:8} -n {workers} after {units:4} units: {seconds:.2f} s, {recorded} units recorded")
    assert slowest < MOST


if __name__ == "__main__":
    main()
