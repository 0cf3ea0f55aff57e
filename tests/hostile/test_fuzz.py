"""A short run of the fuzzer; `python -m tests.hostile.fuzz` is the long one."""

from __future__ import annotations

import pytest

from .fuzz import TARGETS, fuzz


@pytest.mark.parametrize("name", TARGETS)
def test_every_input_is_read_or_refused_in_a_sentence(name: str) -> None:
    seen = fuzz(name, 150)
    assert sum(seen.values()) >= 100
