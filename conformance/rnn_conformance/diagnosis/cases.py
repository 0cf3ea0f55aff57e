"""Cases near a shrunk one: the calls that checks make beside the plain one, and wider ones that tell more apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rnn_conformance.case import Case
from rnn_conformance.strategies import resized

DISTINCT = {"hidden_size": 4, "input_size": 3, "seq_len": 5, "batch_size": 3}


def other_calls(case: Case) -> Iterator[tuple[str, Case]]:
    """The plain calls beside that of the case which checks compare it with, each with what is different."""
    yield "with batch_first the other way round", resized(case, batch_first=not case.config.batch_first)
    yield "with or without a state", replace(case, hx=not case.hx)
    if case.lengths is not None:
        yield "with its rows in reverse", replace(case, lengths=case.lengths[::-1])
        yield "with its rows from the shortest to the longest", replace(case, lengths=tuple(sorted(case.lengths)))
    elif case.batch_size is None:
        yield "with a batch axis", replace(case, batch_size=1)
    else:
        yield "with lengths that are all the whole sequence", replace(case, lengths=(case.seq_len,) * case.batch_size)
        yield "without a batch axis", replace(case, batch_size=None)
        yield "for a single step", replace(case, seq_len=1)


def wider_cases(case: Case) -> Iterator[tuple[bool, Case]]:
    """Wider cases, and whether each is of the same structure.

    First larger sizes, all different; then those equal that were; then one layer more, and both directions.
    """
    config = case.config
    own = {
        "hidden_size": config.hidden_size,
        "input_size": config.input_size,
        "seq_len": case.seq_len,
        "batch_size": case.batch_size or 1,
    }
    distinct = {name: max(size, DISTINCT[name]) for name, size in own.items()}
    yield True, with_sizes(case, distinct)
    equal = {name: max(size, 4) for name, size in own.items()}
    if equal != distinct and len(set(own.values())) < len(own):
        yield False, with_sizes(case, equal)
    if max(own.values()) <= 16:
        yield False, resized(with_sizes(case, distinct), num_layers=config.num_layers + 1, bidirectional=True)


def with_sizes(case: Case, sizes: dict[str, int]) -> Case:
    """The case with these sizes and normal values; lengths all different, in no order, where they were not all one."""
    hidden, rows, steps = sizes["hidden_size"], sizes["batch_size"], sizes["seq_len"]
    proj = case.config.proj_size and max(case.config.proj_size, min(2, hidden - 1))
    lengths = case.lengths and tuple(max(1, steps - 2 * ((k + 1) % rows)) for k in range(rows))
    if case.lengths and min(case.lengths) == case.seq_len:
        lengths = (steps,) * rows
    batch = None if case.batch_size is None else rows
    wide = resized(case, hidden_size=hidden, input_size=sizes["input_size"], proj_size=proj)
    return replace(wide, seq_len=steps, batch_size=batch, lengths=lengths, values="normal", layout="contiguous")
