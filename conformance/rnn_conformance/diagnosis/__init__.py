"""Diagnosis: which known mistake gives the numbers that a backend gave, and where the deviation starts."""
