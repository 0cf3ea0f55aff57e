"""Diagnosis, measured over the zoo: `python -m tests.diagnosis`."""
