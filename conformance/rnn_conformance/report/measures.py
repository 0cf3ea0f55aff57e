"""What was measured: effective bits, the largest ρ of each unit against λ, and what ran how often."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, isfinite, log2, log10

from rnn_conformance.config import CELLS, DTYPES
from rnn_conformance.record import CheckResult, Record
from rnn_conformance.report.grid import family_of, known_first
from rnn_conformance.report.outcomes import BAD
from rnn_conformance.report.text import number

PRECISION = {"float64": 53, "float32": 24, "bfloat16": 8, "float16": 11}
LEFT, WIDTH, LANE, TOP = 66.0, 254.0, 26.0, 8.0  # of a plot, in its own units


def pooled_bits(results: Iterable[CheckResult]) -> float | None:
    """The effective bits over all numbers compared: each unit's mean square deviation, by how many they were."""
    some = [(r.values, r.effective_bits) for r in results if r.values and r.effective_bits is not None]
    some = [(count, bits) for count, bits in some if isfinite(bits)]
    if not some:
        return None
    least = min(bits for _, bits in some)
    square = sum(count * 4.0 ** max(least - bits, -500) for count, bits in some) / sum(count for count, _ in some)
    return least - log2(square) / 2


@dataclass(frozen=True)
class Bits:
    """The effective bits of one dtype: of each cell, and of all."""

    dtype: str
    nominal: int | None
    cells: list[float | None]
    all: float | None


def bits(record: Record, cells: Sequence[str]) -> list[Bits]:
    """The effective bits of each dtype that was compared."""
    found = []
    for dtype in known_first((r.dtype for r in record.checks), DTYPES):
        some = [r for r in record.checks if r.dtype == dtype]
        by_cell = [pooled_bits(r for r in some if r.cell == cell) for cell in cells]
        if (total := pooled_bits(some)) is not None:
            found.append(Bits(dtype, PRECISION.get(dtype), by_cell, total))
    return found


@dataclass(frozen=True)
class Dot:
    """One unit in a plot."""

    x: float
    y: float
    kind: str  # within, over (λ), or beyond (the axis)
    title: str


@dataclass(frozen=True)
class Lane:
    """One dtype in a plot."""

    dtype: str
    y: float
    dots: list[Dot]
    largest: float


@dataclass(frozen=True)
class Plot:
    """The largest ρ of every unit of one family, one lane for each dtype."""

    family: str
    lanes: list[Lane]
    ticks: list[tuple[float, str]]
    limit: float
    height: float
    summary: str


@dataclass(frozen=True)
class Axis:
    """Decades from 0.1 to 10^`top`."""

    top: int

    def place(self, rho: float) -> float:
        """Where ρ lies."""
        decade = log10(max(rho, 1e-9)) if isfinite(rho) else self.top
        return round(LEFT + WIDTH * min(max((decade + 1) / (self.top + 1), 0.0), 1.0), 1)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """The decades."""
        return [(self.place(10.0**k), number(10.0**k)) for k in range(-1, self.top + 1)]


def plots(record: Record) -> list[Plot]:
    """One plot for each family that compares numbers, all on one axis."""
    compared = [r for r in record.checks if r.values]
    far = max((r.largest_rho for r in compared), default=0.0)
    top = max(2, min(8, ceil(log10(record.lambda_)) + 1), 4 if far > 100 else 0)
    return [
        _plot(family, [r for r in compared if family_of(r.id) == family], record.lambda_, Axis(top))
        for family in dict.fromkeys(family_of(r.id) for r in compared)
    ]


def _plot(family: str, results: list[CheckResult], limit: float, axis: Axis) -> Plot:
    lanes: list[Lane] = []
    for dtype in known_first((r.dtype for r in results), DTYPES):
        y = TOP + LANE * (len(lanes) + 0.5)
        lanes.append(_lane(dtype, y, [r for r in results if r.dtype == dtype], limit, axis))
    largest = ", ".join(f"{lane.dtype} {number(lane.largest)}" for lane in lanes)
    summary = f"{family}: largest ρ of each unit; the largest of all: {largest}; λ is {number(limit)}"
    return Plot(family, lanes, axis.ticks, axis.place(limit), TOP + LANE * len(lanes) + 20, summary)


def _lane(dtype: str, y: float, results: list[CheckResult], limit: float, axis: Axis) -> Lane:
    cells = known_first((r.cell for r in results), CELLS)
    end = 10.0**axis.top
    dots = []
    for result in results:
        rho, shift = result.largest_rho, cells.index(result.cell) - (len(cells) - 1) / 2
        kind = "beyond" if not rho <= end else "over" if rho > limit else "within"
        title = f"{result.id} · {result.cell}: ρ {number(rho)}"
        dots.append(Dot(axis.place(rho), round(y + shift * min(5.0, 20 / len(cells)), 1), kind, title))
    return Lane(dtype, y, dots, max(r.largest_rho for r in results))


@dataclass(frozen=True)
class Effort:
    """What one check, family or run came to in work."""

    name: str
    units: int
    examples: int
    inconclusive: int
    values: int
    largest_rho: float | None
    seconds: float
    share: float | None  # of the time, inside the backend
    bad: int

    @classmethod
    def of(cls, name: str, results: Sequence[CheckResult]) -> Effort:
        """The sum over these results."""
        seconds = sum(r.seconds for r in results)
        return cls(
            name,
            len(results),
            sum(r.examples for r in results),
            sum(r.inconclusive for r in results),
            sum(r.values for r in results),
            max((r.largest_rho for r in results if r.values), default=None),
            seconds,
            sum(r.backend_seconds for r in results) / seconds if seconds else None,
            sum(r.outcome in BAD for r in results),
        )


def efforts(record: Record) -> list[tuple[Effort, list[Effort]]]:
    """Each family's work with that of its checks."""
    families: dict[str, dict[str, list[CheckResult]]] = {}
    for result in record.checks:
        families.setdefault(family_of(result.id), {}).setdefault(result.id, []).append(result)
    return [
        (
            Effort.of(family, [r for some in checks.values() for r in some]),
            [Effort.of(*item) for item in checks.items()],
        )
        for family, checks in families.items()
    ]
