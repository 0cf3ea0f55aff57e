"""Memory that tells: canaries around arrays, which a write beyond them kills, and pages that nobody may read."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from rnn_conformance.arithmetic import Arithmetic
from rnn_conformance.backend import Array, Backend, Layer
from rnn_conformance.backends.function import FunctionLayer
from rnn_conformance.config import LayerConfig

How = Literal["canaries", "page after", "page before"]
PROT_NONE = 0
CANARY = (np.arange(256) * 37 % 251).astype(np.uint8)  # no two neighbours alike, so that a copied neighbour is seen


@runtime_checkable
class Guardable(Protocol):
    """A backend in another process, which guards its arrays there."""

    def guard(self, how: How | None) -> None:
        """Place arrays so from now on; None for anywhere."""

    def damage(self) -> str:
        """What was written beyond an array, in words."""

    def shares_memory(self, device: str) -> bool:
        """Whether `from_numpy` gives an array over the same memory."""


class GuardedBackend(Backend):
    """A backend whose arguments lie in guarded memory."""

    def __init__(self, backend: Backend, how: How) -> None:
        self.backend = backend
        self.how = how
        self.name = backend.name
        self.policy = backend.policy
        self.placed: list[tuple[Array, Array]] = []  # arrays, and the memory around them

    @property
    def version(self) -> str:
        """The backend's."""
        return self.backend.version

    def extras(self, cell: str) -> Mapping[str, tuple[Any, ...]]:
        """The backend's."""
        return self.backend.extras(cell)

    def supports(self, config: LayerConfig) -> str | None:
        """The backend's."""
        return self.backend.supports(config)

    def arithmetic(self, dtype: str) -> Arithmetic:
        """The backend's."""
        return self.backend.arithmetic(dtype)

    def to_numpy(self, array: Any) -> Array:
        """The backend's."""
        return self.backend.to_numpy(array)

    def device_of(self, array: Any) -> str:
        """The backend's."""
        return self.backend.device_of(array)

    def assign(self, array: Any, values: Array) -> None:
        """The backend's."""
        self.backend.assign(array, values)

    def rebind(self, array: Any, values: Array) -> None:
        """The backend's."""
        self.backend.rebind(array, values)

    def settings(self) -> dict[str, Any]:
        """The backend's."""
        return self.backend.settings()

    def restore(self, settings: Mapping[str, Any]) -> None:
        """The backend's."""
        self.backend.restore(settings)

    def from_numpy(self, array: Array, device: str) -> Any:
        """The backend's array, over guarded memory."""
        return self.backend.from_numpy(self.place(array), device)

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A layer whose weights come in guarded memory; and its results too, where it takes buffers for them."""
        made = self.backend.layer(config, {name: self.place(array) for name, array in parameters.items()})
        if isinstance(made, FunctionLayer):
            made.guard(self.place)
        return made

    def place(self, array: Array) -> Array:
        """The same values in guarded memory."""
        if not array.size:
            return array
        if self.how != "canaries":
            return beside_a_page(array, after=self.how == "page after")
        placed, around = between_canaries(array)
        self.placed.append((placed, around))
        return placed

    def damage(self) -> str:
        """What was written beyond an array since it was placed, in words; nothing where all is well."""
        return "; ".join(said for placed, around in self.placed if (said := damage(placed, around)))


def between_canaries(array: Array) -> tuple[Array, Array]:
    """A copy that lies between canaries, and all of that memory."""
    around = np.concatenate([CANARY, np.zeros(array.nbytes, np.uint8), CANARY])
    placed = around[len(CANARY) : -len(CANARY)].view(array.dtype).reshape(array.shape)
    placed[...] = array
    return placed, around


def damage(placed: Array, around: Array) -> str:
    """Where the canaries of an array have changed, in words."""
    size = len(CANARY)
    before, after = around[:size] != CANARY, around[-size:] != CANARY
    said = []
    if before.any():
        said.append(f"{before.sum()} bytes before the start, from {size - int(np.argmax(before))} bytes before it")
    if after.any():
        said.append(f"{after.sum()} bytes past the end, from {int(np.argmax(after))} bytes past it")
    return f"{' and '.join(said)}, of an array of shape {placed.shape}" if said else ""


def beside_a_page(array: Array, after: bool) -> Array:
    """A copy that ends where a page begins that nobody may read, or begins where such a page ends."""
    page = mmap.PAGESIZE
    inside = -(-array.nbytes // page) * page
    memory = mmap.mmap(-1, inside + 2 * page)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    whole: Array = np.frombuffer(memory, np.uint8)
    for place in (0, page + inside):
        if libc.mprotect(whole.ctypes.data + place, page, PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")
    start = page + inside - array.nbytes if after else page
    placed = whole[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    placed[...] = array
    return placed


def has_pages() -> bool:
    """Whether pages can be guarded here."""
    return sys.platform != "win32"


def shares_memory(backend: Backend, device: str) -> bool:
    """Whether `from_numpy` gives an array over the same memory."""
    if isinstance(backend, Guardable):
        return backend.shares_memory(device)
    array = np.zeros((1, 1, 2), np.float32)
    native = backend.from_numpy(array, device)
    array[...] = 1
    return bool((np.asarray(backend.to_numpy(native)) == 1).all())


class Watch:
    """A backend while its arguments lie in guarded memory, in whichever process."""

    def __init__(self, backend: Backend, how: How) -> None:
        self.guardable = backend if isinstance(backend, Guardable) else None
        self.how = how
        self.backend = backend if self.guardable else GuardedBackend(backend, how)

    def __enter__(self) -> Watch:
        if self.guardable:
            self.guardable.guard(self.how)
        return self

    def __exit__(self, *error: object) -> None:
        if self.guardable:
            with suppress(Exception):  # where the process has died there is no guard to take away
                self.guardable.guard(None)

    def damage(self) -> str:
        """What was written beyond an array, in words."""
        return self.guardable.damage() if self.guardable else self.backend.damage()  # type: ignore[attr-defined]
