"""Tests of the gate: the command line, replays, expectations, minimum counts, pytest, examples, docs."""
