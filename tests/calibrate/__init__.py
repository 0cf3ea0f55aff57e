"""Calibration of λ: how far correct kernels stray, how far imprecise ones do, and how wide other tolerances are."""
