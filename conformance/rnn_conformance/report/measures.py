"""What was measured: effective bits, and what ran how often."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite, log2

from rnn_conformance.config import DTYPES
from rnn_conformance.record import CheckResult, Record
from rnn_conformance.report.grid import family_of, known_first
from rnn_conformance.report.outcomes import BAD

PRECISION = {"float64": 53, "float32": 24, "bfloat16": 8, "float16": 11}


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

    def is_low(self, bits: float | None) -> bool:
        """Whether so few bits are far from what the dtype has."""
        return bits is not None and self.nominal is not None and bits < self.nominal - 3


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
