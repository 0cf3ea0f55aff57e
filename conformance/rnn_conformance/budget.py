"""The error budget: how far correct arithmetic may stray from the truth, element by element, by Monte Carlo arithmetic.

The oracle's own code runs on arrays of the class `Noisy`, which perturbs the result of each operation by the rounding
error that the declared arithmetic may leave there. The spread of K such runs around the truth is the budget (Parker,
"Monte Carlo Arithmetic", 1997). The runs lie along the third axis from the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from math import prod, sqrt
from typing import Any, ClassVar

import numpy as np

from rnn_conformance.arithmetic import Arithmetic

Array = np.ndarray[Any, Any]
Compute = Callable[[Mapping[str, Array]], Mapping[str, Array]]

LAMBDA = 10.0  # largest ρ that passes; docs/numerics.md says how it was calibrated
RUNS = 8
SIGMOID = np.divide  # the oracle divides in it alone, and in softsign, which is as near to 1
JUMP = np.heaviside
EXACT = frozenset({np.negative, np.absolute, np.maximum, np.minimum, np.greater, np.less, np.equal, np.bitwise_and})
POOL = np.random.default_rng(0x5EED).standard_normal(1 << 18)


@cache
def _factors(roundoff: float) -> Array:
    """What results are multiplied by, for the numbers of the pool."""
    return 1 + roundoff * POOL


@cache
def _addends(smallest: float) -> Array:
    """What is added to results, for the numbers of the pool."""
    return smallest * POOL


def _window(pool: Array, start: int, shape: tuple[int, ...]) -> Array:
    """Numbers of the pool, as good as new ones and many times as fast."""
    size = prod(shape)
    if start + size <= pool.size:
        return pool[start : start + size].reshape(shape)
    return np.resize(np.roll(pool, -start), shape)


class Noise:
    """The rounding errors of one declared arithmetic.

    In the first half of the runs each operation takes new numbers. In the second half an operation takes the same ones
    at every step, as a steady input meets the same rounding at every step, and errors that agree grow faster than those
    that vary.
    """

    def __init__(self, arithmetic: Arithmetic, runs: int, seed: int) -> None:
        self.arithmetic = arithmetic
        self.runs = runs
        self.overflowed = False
        self.ranges: dict[Any, tuple[float, float]] = {}  # of what each matrix of weights is multiplied with
        self._at = seed
        self._place = 0  # the number of operations since the last product of one step

    def of_operation(self, result: Array) -> Array:
        """`result` as it may come out of one rounding to storage."""
        return self._rounded(result, self.arithmetic.unit_roundoff)

    def of_tanh(self, result: Array) -> Array:
        """`result` of a tanh, as exact as the arithmetic says that it is."""
        return self._activated(result, self.arithmetic.activation_error)

    def of_sigmoid(self, result: Array) -> Array:
        """`result` of a sigmoid, which as 0.5 + 0.5 tanh(x/2), a usual formula, errs near 0 like numbers near 1."""
        return self._activated(result, max(self.arithmetic.activation_error, self.arithmetic.unit_roundoff))

    def _activated(self, result: Array, absolute: float) -> Array:
        noisy = self._rounded(result, 2 * self.arithmetic.activation_ulps * self.arithmetic.unit_roundoff)
        if absolute:
            noisy += self._multiplied(np.full(noisy.shape, absolute), POOL)
        return noisy

    def _rounded(self, result: Array, relative: float) -> Array:
        noisy = self._multiplied(result, _factors(relative))
        noisy += _window(_addends(self.arithmetic.smallest), 0, noisy.shape[-3:])
        return noisy

    def of_jump(self, x: Array) -> None:
        """Where `x` may come out on either side of 0, as little can be said as of an overflow."""
        if (np.abs(x.mean(-3)) < LAMBDA * x.std(-3)).any():
            self.overflowed = True

    def of_product(self, result: Array, left: Array, right: Array) -> Array:
        """`result` of a matrix product as it may come out of a sum in any order: ½·√n·u·√(‖w∘x‖₂² + (w·x)²).

        What is rounded is every partial sum. In a random order the k-th of n has the mean k/n of the whole and
        a variance of at most a quarter of the squared norm: terms of one sign err more than terms that cancel.
        """
        a, n = self.arithmetic, left.shape[-1]
        if result.ndim == 3:
            self._place = 0
        one_run, other = left[..., :1, :, :], right if right.ndim == 2 else right[..., :1, :, :]
        norm = _norms(one_run, other)
        if norm.size and sqrt(n) * norm.max() > a.largest:
            self.overflowed = True
        error = 0.5 * sqrt(n) * a.accumulator_roundoff * np.hypot(norm, result[..., :1, :, :])
        if a.product_roundoff:
            error = np.hypot(error, sqrt(2) * a.product_roundoff * norm)
        if a.input_steps:
            error = np.hypot(error, self._quantized(one_run, other))
        noisy = self._multiplied(error, POOL)
        noisy += result
        return noisy if a.accumulator_roundoff == a.unit_roundoff else self.of_operation(noisy)

    def _quantized(self, left: Array, right: Array) -> Array:
        """How far each element of a matrix product strays whose factors are rounded to evenly spaced numbers.

        Rounding to a spacing s errs within ±s/2. Spacings are those of a whole matrix of weights, and of all that it is
        ever multiplied with, at least of an activation's range.
        """
        weights = (right.shape, *right.flat[:2], right.flat[-1])
        low, high = self.ranges.get(weights, (-1.0, 1.0))
        self.ranges[weights] = low, high = np.min(left, initial=low), np.max(left, initial=high)
        of_inputs = (high - low) / self.arithmetic.input_steps * np.sqrt(np.square(right).sum(-2, keepdims=True))
        spacing = 2 * np.max(np.abs(right), initial=0.0) / self.arithmetic.weight_steps
        error: Array = np.hypot(of_inputs, spacing * np.sqrt(np.square(left).sum(-1, keepdims=True))) / 2
        if error.size and error.max() > 0.5:  # a gate may come out anywhere: as little can be said as of an overflow
            self.overflowed = True
        return error

    def of_sum(self, result: Array, addends: Array, axis: Any, keepdims: bool) -> Array:
        """`result` of a sum along `axis` as it may come out in any order."""
        count = addends.size // max(result.size, 1)
        norm = np.sqrt(np.square(addends).sum(axis, keepdims=keepdims))
        error = 0.5 * sqrt(count) * self.arithmetic.accumulator_roundoff * np.hypot(norm, result)
        noisy = self._multiplied(error, POOL)
        noisy += result
        return self.of_operation(noisy)

    def _multiplied(self, array: Array, pool: Array) -> Array:
        """`array`, whose runs are one or all, times numbers of `pool`; `array` itself is changed where it has all."""
        half, (rows, features), steps = self.runs // 2, array.shape[-2:], array.shape[:-3]
        alike = array.shape[-3] == 1 < self.runs
        noisy = np.empty((*steps, self.runs, rows, features)) if alike else array
        new = (*steps, half, rows, features)
        self._at = (self._at + prod(new)) % (POOL.size // 2)
        self._place += 1
        first, second = (array, array) if alike else (array[..., :half, :, :], array[..., half:, :, :])
        np.multiply(first, _window(pool, self._at, new), out=noisy[..., :half, :, :])
        same = _window(pool, 7919 * self._place % (POOL.size // 2), (self.runs - half, rows, features))
        np.multiply(second, same, out=noisy[..., half:, :, :])
        return noisy


class Noisy(np.ndarray[Any, Any]):
    """An array whose every operation errs."""

    noise: ClassVar[Noise]
    __array_priority__ = 1.0  # above ndarray's, so that np.stack and np.concatenate give this class too

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Perturb the result of `ufunc`, where it is one that rounds."""
        plain = [x.view(np.ndarray) if isinstance(x, Noisy) else x for x in inputs]
        result = getattr(ufunc, method)(*plain, **kwargs)
        noise = self.noise
        if method == "reduce":
            result = noise.of_sum(result, plain[0], kwargs.get("axis"), kwargs.get("keepdims", False))
        elif ufunc is np.matmul:
            result = noise.of_product(result, *plain)
        elif ufunc is np.tanh:
            result = noise.of_tanh(result)
        elif ufunc is SIGMOID:
            result = noise.of_sigmoid(result)
        elif ufunc is JUMP:
            noise.of_jump(plain[0])
        elif ufunc not in EXACT:
            result = noise.of_operation(result)
        return result.view(type(self))


@dataclass(frozen=True)
class Budget:
    """The truth about one array and the spread of correct results around it, element by element."""

    truth: Array
    sigma: Array

    def times(self, factor: float) -> Budget:
        """The budget of the array times a small number."""
        return Budget(self.truth * factor, self.sigma * factor)

    def part(self, *index: Any) -> Budget:
        """The budget of a part of the array."""
        return Budget(self.truth[index], self.sigma[index])

    def rho(self, actual: Array) -> Array:
        """|actual - truth| / σ for every element; 1e300 where `actual` or σ is not finite."""
        wide = np.asarray(actual).astype(self.truth.dtype)
        with np.errstate(invalid="ignore", over="ignore"):
            rho = np.abs(wide - self.truth) / self.sigma
        sound = np.isfinite(wide) & np.isfinite(rho)
        return np.minimum(np.where(sound, rho, 1e300), 1e300).astype(np.float64)


def budgets(
    compute: Compute, arrays: Mapping[str, Array], arithmetic: Arithmetic, seed: int = 0, runs: int | None = None
) -> tuple[dict[str, Budget], bool]:
    """The budget of every array that `compute` gives for `arrays`, and whether numbers may overflow or jump on the way.

    Args:
        compute: takes and gives arrays by name; those that it gives have the runs at axis -3.
        arrays: numbers that the declared dtype can hold, in float64. Those with three axes or more have an axis of
            length 1 at -3.

    The truth is computed in float64, and in longdouble where the arithmetic is float64 itself.
    """
    exact = np.longdouble if arithmetic.unit_roundoff < 2.0**-50 else np.float64
    truths = compute({name: array.astype(exact) for name, array in arrays.items()})
    source = Noise(arithmetic, runs or _runs(truths), seed)

    class Run(Noisy):
        noise = source

    with np.errstate(all="ignore"):
        for _ in range(2 if arithmetic.input_steps else 1):  # the first to see ranges
            spread = compute({name: array.astype(np.float64).view(Run) for name, array in arrays.items()})
    found = {}
    for name, truth in truths.items():
        found[name] = Budget(truth.squeeze(-3), _sigma(truth, np.asarray(spread[name]), arithmetic))
    return found, source.overflowed


def _runs(truths: Mapping[str, Array]) -> int:
    """More runs where arrays are small: they cost little there, and there are few neighbours to pool with."""
    elements = max(prod(truth.shape[-2:]) for truth in truths.values())
    return int(max(RUNS, min(32, 1024 // max(elements, 1))))


def _sigma(truth: Array, runs: Array, arithmetic: Arithmetic) -> Array:
    """Root mean square spread, floored by that of the row, by the rounding of the result itself and by underflow."""
    with np.errstate(all="ignore"):
        strayed = np.abs(runs - truth).astype(np.float64)
        spread = _root_mean_square(strayed, -3).squeeze(-3)
        neighbours = _root_mean_square(spread, -1)
        rounding = np.abs(truth.squeeze(-3)).astype(np.float64) * arithmetic.unit_roundoff + arithmetic.smallest
        sigma: Array = np.maximum(np.maximum(spread, neighbours), rounding)
    return sigma


def _root_mean_square(x: Array, axis: int) -> Array:
    """√(mean x²), kept wide along `axis`, where x² itself would underflow or overflow too."""
    largest = np.max(x, axis=axis, keepdims=True, initial=0.0)
    scaled = np.divide(x, largest, where=largest > 0, out=np.zeros_like(x))
    mean: Array = np.square(scaled).mean(axis=axis, keepdims=True)
    root: Array = largest * np.sqrt(mean)
    return root


def _norms(left: Array, right: Array) -> Array:
    """‖w∘x‖₂ for each element of a matrix product."""
    squares: Array = np.square(left) @ np.square(right)
    if squares.size and not (squares.min() > 1e-250 and squares.max() < 1e250):  # squares may have left the range
        largest = np.max(np.abs(left), axis=-1, keepdims=True, initial=0.0)
        scaled = np.divide(left, largest, where=largest > 0, out=np.zeros_like(left))
        return np.asarray(largest * np.sqrt(np.square(scaled) @ np.square(right)))
    return np.sqrt(squares, out=squares)
