"""Mistakes that kernels make, one file for each family. Each is a change of the right kernel."""
