"""Text from records as data: what does not show is written out, what is too long is cut, numbers are short."""

from __future__ import annotations

import json
import re
import zlib
from math import isnan
from typing import Any

LONGEST = 20_000  # characters that are shown of one text


def visible(text: str) -> str:
    """`text` with characters that do not show, or that reorder others, written out; line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """`visible` text in one line."""
    return visible(" ".join(text.split()))


def clipped(text: str, length: int = LONGEST) -> str:
    """`text`, or its beginning and how much is missing."""
    return text if len(text) <= length else f"{text[:length]}… ({len(text) - length:,} more characters in the record)"


def short(text: str, length: int = 60) -> str:
    """A name that fits into a table."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def number(value: float | None, digits: int = 3) -> str:
    """A number as people write it: 7.1, 24,300, 1.5e18, NaN."""
    if value is None:
        return "–"
    if isnan(value):
        return "NaN"
    if abs(value) >= 1e300:  # where records stop
        return "∞" if value > 0 else "−∞"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    if 1e-3 <= abs(value) < 1e6:
        return f"{value:,.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"
    return re.sub(r"e([+-])0*(\d)", lambda m: f"e{m[1].strip('+')}{m[2]}", f"{value:.{digits}g}")


def precision(bits: float | None) -> str:
    """Effective bits; below 0 nothing is left to count."""
    return "–" if bits is None or isnan(bits) else "< 0" if bits < 0 else f"{bits:.1f}"


def seconds(value: float) -> str:
    """A time with its unit."""
    if value >= 120:
        return f"{value // 60:.0f} min {value % 60:.0f} s"
    return f"{number(value, 2 if value < 10 else 3)} s"


def plural(count: int, noun: str) -> str:
    """`1 unit`, `2 units`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def pretty(value: Any) -> str:
    """JSON to read, still JSON where characters do not show."""
    return _json(value, indent=1)


def compact(value: Any) -> str:
    """JSON in one line."""
    return _json(value, indent=None)


def _json(value: Any, indent: int | None) -> str:
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=str)
    return text if text.replace("\n", "").isprintable() else json.dumps(value, indent=indent, default=str)


def anchor(text: str) -> str:
    """A name that a link can point to: `text` itself where it is one already, the same for the same text."""
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9._:-]{0,120}", text):
        return text
    words = re.sub(r"[^A-Za-z0-9]+", "-", text)[:40].strip("-")
    return f"a-{words}-{zlib.crc32(text.encode(errors='backslashreplace')):08x}"
