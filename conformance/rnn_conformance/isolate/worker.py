"""The other side of isolation: a process that loads the backend and answers calls, and the nursery that forks it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict, fields
from itertools import count
from typing import Any, NoReturn

import msgspec
import numpy as np
from msgspec import Struct

from rnn_conformance import guard, world
from rnn_conformance.backend import Backend, Layer, ParametersDiffer, WrongUse
from rnn_conformance.config import LayerConfig
from rnn_conformance.guard import GuardedBackend
from rnn_conformance.isolate import wire
from rnn_conformance.loading import load, preload
from rnn_conformance.request import Request

TOLD_APART = (NotImplementedError, ParametersDiffer, WrongUse)
TEXT = 4000  # characters of an exception that cross


class Setup(Struct, frozen=True):
    """What a process is told first."""

    request: dict[str, Any]
    memory_limit: int | None  # bytes of address space


class Order(Struct, frozen=True):
    """What the nursery is asked: to fork a worker, or how one ended. It answers with a process id or an exit code."""

    ended: int | None = None  # a process id; None to fork
    at_once: bool = False  # whether it is to be killed first, if it lives


class Objects:
    """What the suite may refer to, by number."""

    def __init__(self) -> None:
        self.held: dict[int, Any] = {}
        self.ids = count()

    def keep(self, value: Any) -> wire.Ref:
        """Hold on to an object."""
        number = next(self.ids)
        self.held[number] = value
        return wire.Ref(number, type(value).__name__[:100])

    def outward(self, value: Any, depth: int = 0) -> wire.Value:
        """A result as it crosses: containers and plain values as such, all else by reference.

        Only exact or built-in types are looked into, so that nothing of the backend's is called.
        """
        kind = type(value)
        if value is None or kind in (bool, int, float, str):
            return value if kind is not int or abs(value) < 2**63 else self.keep(value)
        if depth < wire.DEEPEST:
            if issubclass(kind, tuple):
                return wire.Items("tuple", [self.outward(item, depth + 1) for item in tuple.__iter__(value)])
            if kind is list:
                return wire.Items("list", [self.outward(item, depth + 1) for item in value])
            if issubclass(kind, dict) and all(type(key) is str for key in dict.keys(value)):
                return wire.Mapped({key: self.outward(item, depth + 1) for key, item in dict.items(value)})
        return self.keep(value)

    def inward(self, value: wire.Value) -> Any:
        """An argument as the backend is to see it."""
        match value:
            case wire.Ref(id=number):
                return self.held[number]
            case wire.Strided():
                return wire.unpack_array(value)
            case wire.Items(kind=kind, items=items):
                return {"tuple": tuple, "list": list, "set": set}[kind](map(self.inward, items))
            case wire.Mapped(items=mapped):
                return {name: self.inward(item) for name, item in mapped.items()}
            case wire.Config(fields=found):
                config = object.__new__(LayerConfig)
                for name, item in found.items():
                    object.__setattr__(config, name, self.inward(item))
                return config
        return value


class Server:
    """The backend, and the suite's calls of it."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.objects = Objects()
        self.backend: Backend | None = None
        self.guarded: GuardedBackend | None = None

    def serve(self, channel: wire.Channel) -> None:
        """Answer every call that comes through this channel, until it is closed."""
        while True:
            try:
                call = wire.decode_call(channel.receive())
            except wire.Ended:
                return
            for number in call.dropped:
                self.objects.held.pop(number, None)
            reply = self.answer(call)
            try:
                channel.send(wire.encode(reply))
            except wire.Ended:
                return
            if isinstance(reply, wire.Dying):
                os._exit(1)

    def answer(self, call: wire.Call) -> wire.Reply:
        """Make one call."""
        try:
            arguments = [self.objects.inward(value) for value in call.arguments]
            keywords = {name: self.objects.inward(value) for name, value in call.keywords.items()}
            if call.target is None:
                return wire.Answer(getattr(self, call.method)(*arguments, **keywords))
            target = self.objects.held[call.target]
            if call.method == "__deepcopy__":
                return wire.Answer(self.objects.keep(deepcopy(target)))
            given = getattr(target, call.method)(*arguments, **keywords)
            if call.method == "parameters" and not isinstance(given, dict):
                given = dict(given) if isinstance(given, Mapping) else _refuse(given, "a mapping")
            return wire.Answer(self.objects.outward(given))
        except Exception as error:
            return wire.Raised(type(error).__name__[:100], _words(error), _base(error))
        except BaseException as error:
            return wire.Dying(f"{type(error).__name__[:100]}: {_words(error)}".removesuffix(": "))

    # What is asked of the backend

    def load(self) -> wire.Value:
        """Load the backend, and say of it what does not change."""
        backend = self.backend = load(Request(**self.setup.request))
        known = backend.expectations()
        described: dict[str, Any] = {
            "name": str(backend.name),
            "version": str(backend.version),
            "devices": list(map(str, backend.devices())),
            "policy": asdict(backend.policy),
            "max_examples": backend.max_examples,
            "drops": backend.drops,
            "expectations": None if known is None else str(known),
            "environment": {str(k): str(v) for k, v in backend.environment().items()},
        }
        return self.objects.outward(described)

    @property
    def _backend(self) -> Backend:
        if self.backend is None:
            raise RuntimeError("no backend was loaded")
        return self.guarded or self.backend

    def supports(self, config: LayerConfig) -> wire.Value:
        """Why the config is not offered."""
        reason = self._backend.supports(config)
        return None if reason is None else str(reason)[:TEXT]

    def extras(self, cell: str) -> wire.Value:
        """What it offers beyond torch.nn."""
        return self.objects.outward({name: tuple(values) for name, values in self._backend.extras(cell).items()})

    def arithmetic(self, dtype: str) -> wire.Value:
        """The arithmetic declared."""
        declared = self._backend.arithmetic(dtype)
        return wire.Mapped({f.name: getattr(declared, f.name) for f in fields(declared)})

    def layer(self, config: LayerConfig, parameters: Mapping[str, Any]) -> wire.Value:
        """A new layer."""
        made = self._backend.layer(config, parameters)
        return wire.Mapped({"layer" if isinstance(made, Layer) else "other": self.objects.keep(made)})

    def from_numpy(self, array: wire.Array, device: str) -> wire.Value:
        """An array in the backend's own type."""
        return self.objects.keep(self._backend.from_numpy(array, device))

    def to_numpy(self, array: Any) -> wire.Value:
        """The values that it has now."""
        values = self._backend.to_numpy(array)
        if not isinstance(values, np.ndarray):
            _refuse(values, "a NumPy array")
        if values.nbytes > wire.LARGEST:
            raise ValueError(f"an array of shape {values.shape} is too large")
        return wire.pack_array(np.array(values, order="C", subok=False))

    def device_of(self, array: Any) -> wire.Value:
        """Where it lies."""
        return str(self._backend.device_of(array))

    def assign(self, array: Any, values: wire.Array) -> None:
        """Write into it."""
        self._backend.assign(array, values)

    def rebind(self, array: Any, values: wire.Array) -> None:
        """Let it lie elsewhere."""
        self._backend.rebind(array, values)

    def snapshot(self) -> wire.Value:
        """The settings of this process."""
        return self.objects.keep(world.snapshot(self._backend))

    def changed(self, before: Any, after: Any) -> wire.Value:
        """The names of those that differ."""
        return self.objects.outward(world.changed(before, after))

    def restore(self, before: Any) -> None:
        """Undo what was changed."""
        world.restore(self._backend, before)

    def usage(self) -> wire.Value:
        """What this process holds."""
        found = world.usage(self._backend)
        return None if found is None else wire.Mapped(asdict(found))

    def guard(self, how: guard.How | None) -> None:
        """Place arguments in guarded memory from now on, or anywhere."""
        if self.backend is not None:
            self.guarded = None if how is None else GuardedBackend(self.backend, how)

    def damage(self) -> wire.Value:
        """What was written beyond an argument."""
        return "" if self.guarded is None else self.guarded.damage()

    def shares_memory(self, device: str) -> wire.Value:
        """Whether `from_numpy` gives an array over the same memory."""
        return guard.shares_memory(self._backend, device)


def _refuse(value: Any, due: str) -> NoReturn:
    raise TypeError(f"{due} was due, not {type(value).__name__}")


def _base(error: BaseException) -> str:
    """The class that the suite tells from others, of which an exception is one."""
    return next((base.__name__ for base in type(error).__mro__ if base in TOLD_APART), "")


def _words(error: BaseException) -> str:
    """What an exception says, though it may not even say that."""
    try:
        return str(error)[:TEXT]
    except BaseException:
        return "its message cannot be read"


def work(channel: wire.Channel, setup: Setup) -> NoReturn:
    """Be a worker: the first socket is served by the main thread, each that comes through `doors` by one of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the suite says when to end
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _be_the_first_to_go()
    if setup.memory_limit is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (setup.memory_limit, setup.memory_limit))
    server = Server(setup)
    doors = socket.socket(fileno=socket.recv_fds(channel.sock, 1, 1)[1][0])

    def welcome() -> None:
        while True:
            given = socket.recv_fds(doors, 1, 1)[1]
            if not given:
                return
            through = wire.Channel(socket.socket(fileno=given[0]))
            threading.Thread(target=server.serve, args=(through,), daemon=True).start()

    threading.Thread(target=welcome, daemon=True).start()
    server.serve(channel)
    os._exit(0)


def _be_the_first_to_go() -> None:
    """Die with the process that started this one, and before others where memory runs out."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def nurse(channel: wire.Channel, setup: Setup) -> None:
    """Be the nursery: import the backend's library once, and fork workers that need not."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _be_the_first_to_go()
    preload(Request(**setup.request))
    alone = len(os.listdir("/proc/self/task")) == 1  # threads do not survive a fork, and the locks that they hold do
    channel.send(msgspec.msgpack.encode({"forks": alone}))
    living: set[int] = set()
    while True:
        try:
            order = msgspec.msgpack.decode(channel.receive(), type=Order)
        except wire.Ended:
            for pid in living:
                _kill(pid)
            os._exit(0)
        if order.ended is not None:
            living.discard(order.ended)
            channel.send(msgspec.msgpack.encode(_wait(order.ended, order.at_once)))
        else:
            given = socket.recv_fds(channel.sock, 1, 2)[1]
            pid = os.fork()
            if pid == 0:
                os.setpgid(0, 0)
                channel.close()
                _speak_through(given[1])
                work(wire.Channel(socket.socket(fileno=given[0])), setup)
            with suppress(OSError):  # it has done so itself
                os.setpgid(pid, pid)
            living.add(pid)
            for fd in given:
                os.close(fd)
            channel.send(msgspec.msgpack.encode(pid))


def _wait(pid: int, at_once: bool) -> int:
    """How a worker ended, killed where it does not end by itself, with the processes that it started."""
    deadline = time.monotonic() + 1  # it has closed its socket, and may yet be about to end
    ended, status = (0, 0) if at_once else os.waitpid(pid, os.WNOHANG)
    while not (at_once or ended) and time.monotonic() < deadline:
        time.sleep(0.001)
        ended, status = os.waitpid(pid, os.WNOHANG)
    _kill(pid)
    return os.waitstatus_to_exitcode(status if ended else os.waitpid(pid, 0)[1])


def _kill(pid: int) -> None:
    """End a worker's group of processes."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _speak_through(fd: int) -> None:
    """Send what is written to stdout and stderr through a pipe."""
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


def main(role: str, fd: int) -> None:
    """Start as the nursery or as a worker; what to load comes through the socket."""
    channel = wire.Channel(socket.socket(fileno=fd))
    setup = msgspec.msgpack.decode(channel.receive(), type=Setup)
    nurse(channel, setup) if role == "nurse" else work(channel, setup)
