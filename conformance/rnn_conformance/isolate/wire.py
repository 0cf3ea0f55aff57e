"""What crosses between the suite and a worker: typed messages in MessagePack, no pickles, and arrays with strides."""

from __future__ import annotations

import math
import os
import select
import socket
import struct
import time
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from rnn_conformance.config import numpy_dtype

Array = np.ndarray[Any, Any]
LARGEST = 2**30  # bytes of one message: more is refused before memory is taken for it
DEEPEST = 8  # containers within containers
HEAD = struct.Struct("<I")


class Malformed(Exception):
    """The other side sent what is no message."""


class Ended(Exception):
    """The other side has closed its end."""


class Late(Exception):
    """No whole message came in time."""


class Ref(Struct, frozen=True, tag=True, array_like=True):
    """An object that stays in the worker: an array in the backend's own type, a layer, a snapshot."""

    id: int
    kind: str


class Strided(Struct, frozen=True, tag=True, array_like=True):
    """An array as it lies in memory: the whole buffer, and where in it the elements are."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    writeable: bool
    buffer: bytes


class Items(Struct, frozen=True, tag=True, array_like=True):
    """A tuple, list or set."""

    kind: str
    items: list[Value]


class Mapped(Struct, frozen=True, tag=True, array_like=True):
    """A mapping with names for keys."""

    items: dict[str, Value]


class Config(Struct, frozen=True, tag=True, array_like=True):
    """A LayerConfig by its fields, unchecked: impossible ones cross too."""

    fields: dict[str, Value]


Value = None | bool | int | float | str | Ref | Strided | Items | Mapped | Config


class Call(Struct, frozen=True, tag=True, array_like=True):
    """A method to call, of the backend or of an object that the worker holds."""

    target: int | None
    method: str
    arguments: list[Value]
    keywords: dict[str, Value]
    dropped: list[int]  # objects that nobody will ask for again


class Answer(Struct, frozen=True, tag=True, array_like=True):
    """What the method gave."""

    value: Value


class Raised(Struct, frozen=True, tag=True, array_like=True):
    """The exception that it raised."""

    kind: str
    text: str
    base: str  # the class that the suite tells from others, of which it is one


class Dying(Struct, frozen=True, tag=True, array_like=True):
    """It raised what is no Exception, and the process ends."""

    text: str


Reply = Answer | Raised | Dying
_encode = msgspec.msgpack.Encoder().encode
decode_call = msgspec.msgpack.Decoder(Call).decode
_decode_reply = msgspec.msgpack.Decoder(Reply).decode


def encode(message: Struct) -> bytes:
    """The message as bytes."""
    return _encode(message)


def decode_reply(data: bytes) -> Any:
    """The reply in these bytes.

    Raises:
        Malformed: where they are none.
    """
    try:
        return _decode_reply(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"no reply: {error}") from error


def pack_array(array: Array) -> Strided:
    """An array with all the memory that it is a view of, so that what lies around its elements crosses too.

    Raises:
        TypeError: for elements that are no numbers.
    """
    if array.dtype.hasobject or array.dtype.names is not None:
        raise TypeError(f"an array of numbers was due, not of {array.dtype}")
    owner = _owner(array)
    offset = array.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
    return Strided(
        dtype="bfloat16" if array.dtype == numpy_dtype("bfloat16") else array.dtype.str,
        shape=array.shape,
        strides=array.strides,
        offset=offset,
        writeable=array.flags.writeable,
        buffer=owner.tobytes(),
    )


def _owner(array: Array) -> Array:
    """The contiguous array in whose memory this one lies; a contiguous copy where there is none."""
    owner: Any = array
    while (base := getattr(owner, "base", None)) is not None and isinstance(owner, np.ndarray):
        owner = base
    found = isinstance(owner, np.ndarray) and (owner.flags.c_contiguous or owner.flags.f_contiguous)
    if not found or owner.dtype.hasobject:
        return _span(array)
    return np.asarray(owner).ravel(order="K")


def _span(array: Array) -> Array:
    """The memory from an array's first element to its last."""
    if not array.size:
        return array.ravel()
    reach = [(n - 1) * stride for n, stride in zip(array.shape, array.strides, strict=True)]
    first = array[tuple(slice(-1, None) if r < 0 else slice(0, 1) for r in reach)]
    length = sum(map(abs, reach)) // array.itemsize + 1
    return np.lib.stride_tricks.as_strided(first.ravel(), (length,), (array.itemsize,))


def unpack_array(packed: Strided) -> Array:
    """The array, in new memory.

    Raises:
        Malformed: where its parts do not fit together.
    """
    try:
        dtype = numpy_dtype(packed.dtype)
    except (TypeError, ValueError, SyntaxError) as error:
        raise Malformed(f"no dtype is called {packed.dtype!r}") from error
    if dtype.hasobject or dtype.names is not None or not dtype.itemsize:
        raise Malformed(f"{packed.dtype!r} is no dtype of numbers")
    if len(packed.shape) != len(packed.strides) or len(packed.shape) > 32 or any(n < 0 for n in packed.shape):
        raise Malformed(f"no array has the shape {packed.shape} and strides {packed.strides}")
    reach = [(n - 1) * stride for n, stride in zip(packed.shape, packed.strides, strict=True)]
    first = packed.offset + sum(r for r in reach if r < 0)
    last = packed.offset + sum(r for r in reach if r > 0) + dtype.itemsize
    empty = math.prod(packed.shape) == 0
    if not empty and (first < 0 or last > len(packed.buffer)):
        raise Malformed(f"elements lie outside a buffer of {len(packed.buffer)} bytes")
    if math.prod(packed.shape) * dtype.itemsize > LARGEST:
        raise Malformed(f"an array of shape {packed.shape} is too large")
    memory = np.empty(max(len(packed.buffer), 1), np.uint8)
    memory[: len(packed.buffer)] = np.frombuffer(packed.buffer, np.uint8)
    array: Array = np.ndarray(packed.shape, dtype, memory, 0 if empty else packed.offset, packed.strides)
    array.flags.writeable = packed.writeable
    return array


def framed(data: bytes) -> bytes:
    """A message as it goes through a socket: its length first."""
    return HEAD.pack(len(data)) + data


class Channel:
    """One end of a stream of messages. A message that is only begun, or that lies about its length, blocks nobody."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def send(self, data: bytes, deadline: float | None = None) -> None:
        """Send one message.

        Raises:
            Ended: where nobody reads any more.
            Late: where it is not taken by the deadline.
        """
        self.sock.settimeout(None if deadline is None else max(deadline - time.monotonic(), 1e-3))
        try:
            self.sock.sendall(framed(data))
        except TimeoutError as error:
            raise Late from error
        except OSError as error:
            raise Ended from error

    def receive(self, deadline: float | None = None, aside: Aside | None = None, gone: int | None = None) -> bytes:
        """The next message.

        Args:
            aside: what is read meanwhile, so that its writer does not wait.
            gone: what can be read once the writer's process has ended.

        Raises:
            Ended, Late, Malformed
        """
        length = HEAD.unpack(self._exactly(HEAD.size, deadline, aside, gone))[0]
        if length > LARGEST:
            raise Malformed(f"a message of {length} bytes")
        return self._exactly(length, deadline, aside, gone)

    def _exactly(self, count: int, deadline: float | None, aside: Aside | None, gone: int | None) -> bytes:
        parts: list[bytes] = []
        while count:
            self._wait(deadline, aside, gone)
            try:
                part = self.sock.recv(min(count, 2**20))
            except OSError as error:
                raise Ended from error
            if not part:
                raise Ended
            parts.append(part)
            count -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _wait(self, deadline: float | None, aside: Aside | None, gone: int | None) -> None:
        """Until there is something to read."""
        if deadline is None and aside is None:
            self.sock.settimeout(None)
            return
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        if aside is not None and not aside.closed:
            poll.register(aside.fd, select.POLLIN)
        if gone is not None:
            poll.register(gone, select.POLLIN)
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise Late
            ready = dict(poll.poll(None if left is None else left * 1000))
            if aside is not None and aside.fd in ready and not aside.read():
                poll.unregister(aside.fd)
            if self.sock.fileno() in ready:
                return
            if gone in ready:
                raise Ended

    def close(self) -> None:
        """Close this end."""
        self.sock.close()

    def __del__(self) -> None:
        self.close()


class Aside:
    """What a worker writes to stdout and stderr: read so that it need not wait, of which the end is kept."""

    KEPT = 4096

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.end = b""
        self.closed = False

    def read(self) -> bool:
        """Take in what is there; whether more may come."""
        try:
            part = os.read(self.fd, 2**16)
        except BlockingIOError:  # another thread was faster
            return True
        except OSError:
            part = b""
        self.closed = not part
        self.end = (self.end + part)[-self.KEPT :]
        return not self.closed

    def text(self) -> str:
        """The end of it, as one line of text."""
        while not self.closed and select.select([self.fd], [], [], 0)[0]:
            self.read()
        return " ".join(self.end.decode("utf-8", "replace").split())

    def close(self) -> None:
        """Read no more."""
        self.closed = True
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def __del__(self) -> None:
        self.close()
