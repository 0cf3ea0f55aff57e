"""The page of one run (being written)."""

from rnn_conformance.record import Record


def page(record: Record) -> str:
    """The page."""
    return record.backend
