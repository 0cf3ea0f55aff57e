"""What docs/numerics.md shows of a calibration: its tables between two marks, and a plot beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rnn_conformance.budget import LAMBDA
from rnn_conformance.config import DTYPES

from .measure import Measured, Spread

DOCS = Path(__file__).parents[2] / "docs"
BEGIN, END = "<!-- measured by nox -s calibrate -->\n", "<!-- end -->\n"


def write(measured: Measured, started: str) -> None:
    """Put the figures into docs/numerics.md and draw docs/numerics.svg."""
    page = DOCS / "numerics.md"
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{tables(measured, started)}\n{END}{after}", "utf-8")
    draw(measured, DOCS / "numerics.svg")


def tables(measured: Measured, started: str) -> str:
    """The figures in Markdown."""
    cases = {dtype: max(s.cases for (_, d), s in measured.correct.items() if d == dtype) for dtype in DTYPES}
    lines = [
        f"{started}; λ = {LAMBDA:g}; {', '.join(f'{n:,} cases in {d}' for d, n in cases.items())}; "
        f"{measured.silent} cases said nothing and do not count.",
        "",
        "| dtype | correct kernels | numbers compared | largest ρ | accused | margin to λ | largest root mean square |",
        "|---|---|---|---|---|---|---|",
    ]
    for dtype in DTYPES:
        some = [s for (_, d), s in measured.correct.items() if d == dtype]
        largest = max(max(s.largest) for s in some)
        numbers, accused = sum(s.values for s in some), sum(s.accused for s in some)
        cells = [f"{numbers:,}", f"{largest:.2f}", str(accused), f"{LAMBDA / largest:.1f}×"]
        lines.append(f"| {dtype} | {len(some)} | {' | '.join(cells)} | {max(max(s.mean) for s in some):.2f} |")
    lines += ["", *_kernel_rows(measured.correct), "", *_fault_rows(measured), "", *_width_rows(measured)]
    lines += ["", *_simpler_rows(measured)]
    return "\n".join(lines)


def _kernel_rows(spreads: Mapping[tuple[str, str], Spread]) -> list[str]:
    rows = ["| largest ρ of a correct kernel | " + " | ".join(DTYPES) + " |", "|---|" + "---|" * len(DTYPES)]
    for kernel in dict.fromkeys(name for name, _ in spreads):
        cells = [spreads.get((kernel, dtype)) for dtype in DTYPES]
        rows.append(f"| {kernel} | " + " | ".join(f"{max(s.largest):.2f}" if s else "–" for s in cells) + " |")
    return rows


def _fault_rows(measured: Measured) -> list[str]:
    rows = [
        "| imprecise kernel | dtype | cases in which it is inexact | caught in | smallest ρ when caught | median ρ "
        "| pass torch's default |",
        "|---|---|---|---|---|---|---|",
    ]
    for (kernel, dtype), spread in measured.imprecise.items():
        caught = [rho for rho in spread.largest if rho > LAMBDA]
        least = f"{min(caught):.3g}" if caught else "–"
        by_default = measured.passed_by_default[kernel, dtype] / spread.cases
        rows.append(
            f"| {kernel} | {dtype} | {spread.cases:,} | {len(caught) / spread.cases:.0%} | {least} "
            f"| {np.median(spread.largest):.3g} | {by_default:.0%} |"
        )
    return rows


def _width_rows(measured: Measured) -> list[str]:
    rows = ["| torch.testing.assert_close's default over λσ | median | 5 % | 95 % |", "|---|---|---|---|"]
    for dtype, width in measured.width.items():
        low, middle, high = np.quantile(width, (0.05, 0.5, 0.95))
        rows.append(f"| {dtype} | {middle:.3g} | {low:.3g} | {high:.3g} |")
    return rows


def _simpler_rows(measured: Measured) -> list[str]:
    rows = [
        "| dtype | largest of correct kernels | correct accused | imprecise caught: this budget | the other |",
        "|---|---|---|---|---|",
    ]
    for dtype in DTYPES:
        right = [measured.simpler[key] for key in measured.correct if key[1] == dtype]
        own = [spread for key, spread in measured.imprecise.items() if key[1] == dtype]
        other = [measured.simpler[key] for key in measured.imprecise if key[1] == dtype]
        shares = [sum(s.accused for s in some) / max(1, sum(s.cases for s in some)) for some in (own, other)]
        rows.append(
            f"| {dtype} | {max(max(s.largest) for s in right):.2f} | {sum(s.accused for s in right)} "
            f"| {shares[0]:.1%} | {shares[1]:.1%} |"
        )
    return rows


def draw(measured: Measured, path: Path) -> None:
    """Each dtype's cases by their largest ρ: correct kernels below, imprecise ones above."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots(len(DTYPES), 1, sharex=True)
    bins = np.logspace(-1, 9, 81)
    for axis, dtype in zip(axes, DTYPES, strict=True):
        for label, colour, spreads in (
            ("correct kernels", "#2a7f62", measured.correct),
            ("imprecise kernels", "#b5442e", measured.imprecise),
        ):
            values = [rho for (_, d), spread in spreads.items() if d == dtype for rho in spread.largest]
            axis.hist(np.clip(values, 0.1, 9e8), bins, histtype="stepfilled", alpha=0.7, color=colour, label=label)
        axis.axvline(LAMBDA, color="black", linestyle="--", linewidth=1)
        axis.set(xscale="log", ylabel=dtype, yscale="symlog")
    axes[0].legend(loc="upper right")
    axes[-1].set_xlabel(f"largest ρ of a case; the dashed line is λ = {LAMBDA:g}")
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
