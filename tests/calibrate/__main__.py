"""`python -m tests.calibrate`: measure correct and imprecise kernels and write the figures into docs/numerics.md."""

from __future__ import annotations

import argparse
import sys
import warnings
from datetime import UTC, datetime

import torch
from rich.progress import track
from rnn_conformance.config import DTYPES

from . import measure, page
from .kernels import correct, imprecise


def main() -> int:
    """0 where no correct kernel is accused, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=400, help="of each dtype (default: 400)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    correct_ones, wrong_ones = correct(), imprecise()
    warnings.simplefilter("ignore")
    found = measure.Measured()
    for number in track(range(asked.cases), description="cases"):
        for dtype in DTYPES:
            measure.add(found, measure.drawn(asked.seed * 1_000_003 + number, dtype), correct_ones, wrong_ones)
    day = datetime.now(UTC).date().isoformat()
    page.write(found, f"Measured on {day} with torch {torch.__version__}, seed {asked.seed}")
    accused = {key: spread.accused for key, spread in found.correct.items() if spread.accused}
    print(page.tables(found, day))
    print(f"ACCUSED: {accused}" if accused else "No correct kernel is accused.")
    return 1 if accused else 0


if __name__ == "__main__":
    sys.exit(main())
