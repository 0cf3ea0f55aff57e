"""Tests of what is drawn from records."""
