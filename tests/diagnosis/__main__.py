"""Measure: `python -m tests.diagnosis [FAULT...]` runs each fault's own check and compares what the diagnosis names."""

from __future__ import annotations

import sys
import time

from tests.diagnosis.measure import measured
from tests.diagnosis.table import TABLE


def main(names: list[str]) -> None:
    first = listed = total = 0
    slowest = 0.0
    for name in names or list(TABLE):
        start = time.perf_counter()
        found = measured(name)
        total += 1
        first += found.first
        listed += found.listed
        slowest = max(slowest, found.seconds)
        print(f"{'ok ' if found.first else '   '} {name}: {found}  ({time.perf_counter() - start:.1f} s)", flush=True)
    print(f"first: {first} of {total}; among those named: {listed}; the longest diagnosis took {slowest:.2f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
