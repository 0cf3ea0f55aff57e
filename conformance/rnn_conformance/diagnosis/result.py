"""What a diagnosis says: the part of a record that names mistakes."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Text = Annotated[str, Meta(max_length=2_000)]


class Named(Struct, frozen=True, forbid_unknown_fields=True):
    """A mistake that reproduces the backend's numbers."""

    id: Text
    sentence: Text
    rho: Annotated[float, Meta(ge=0)]  # the largest deviation left, in units of its error budget's σ


class Diagnosis(Struct, frozen=True, forbid_unknown_fields=True):
    """What a deviation looks like."""

    likely: list[Named] = []  # best first
    alike: Annotated[int, Meta(ge=0)] = 0  # how many of them, from the first on, give the same numbers here
    location: Text = ""  # where the deviation starts, or why nothing is said
