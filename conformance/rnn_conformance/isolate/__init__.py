"""Isolation: a backend in a process of its own, driven through the same interface, whose death is a finding.

The suite holds handles; the backend's own arrays and layers stay in the worker, so that what is seen of them, strides,
aliasing and later changes included, is what would be seen without isolation.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from rnn_conformance.arithmetic import Arithmetic
from rnn_conformance.backend import Array, Backend, Differentiate, Layer, ParametersDiffer, Policy, WrongUse
from rnn_conformance.config import LayerConfig
from rnn_conformance.guard import How
from rnn_conformance.isolate import wire
from rnn_conformance.isolate.process import START, Nursery, Worker
from rnn_conformance.subject import Broken
from rnn_conformance.world import Usage

PATIENT = 3  # calls that may take the whole time limit; after them each has a tenth of it
LONGER = 4  # and no less than so many times what the longest call took that came back: some libraries compile


class Crashed(Broken):
    """A call ended the process of the backend."""

    outcome: ClassVar = "crashed"


class TimedOut(Broken):
    """A call did not end."""

    outcome: ClassVar = "timed_out"


class Handle:
    """An object that lies in the worker."""

    def __init__(self, id: int, worker: Worker, shape: tuple[int, ...] = ()) -> None:
        self.id = id
        self.worker = worker
        self.shape = shape

    def __del__(self) -> None:
        self.worker.dropped.append(self.id)


@lru_cache(100)
def _handle_type(name: str) -> type[Handle]:
    """Handles that are called like the type of their object, as messages name it."""
    return type(name, (Handle,), {})


class _Raised(Exception):
    """An exception that the backend raised in its process."""


TOLD_APART = {kind.__name__: kind for kind in (NotImplementedError, ParametersDiffer, WrongUse)}


@lru_cache(100)
def _exception_type(name: str, base: str) -> type[Exception]:
    """Exceptions that are called like that of the backend, and of the class that the suite tells from others."""
    bases = (_Raised, TOLD_APART[base]) if base in TOLD_APART else (_Raised,)
    return type(name, bases, {})


class IsolatedLayer(Layer):
    """A layer in the worker."""

    def __init__(self, backend: IsolatedBackend, handle: Handle) -> None:
        self.backend = backend
        self.handle = handle

    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        """The layer's forward."""
        doing = f"forward on input {getattr(input, 'shape', None)}"
        return self.backend.call(doing, self.handle, "forward", input, hx, lengths=lengths, training=training)

    def alone(self, name: str, input: Any, hx: Any = None, lengths: Sequence[int] | None = None) -> Any:
        """The layer's result alone."""
        doing = f"{name} alone on input {getattr(input, 'shape', None)}"
        return self.backend.call(doing, self.handle, "alone", name, input, hx, lengths)

    def gradients(
        self,
        input: Any,
        hx: Any,
        output_gradient: Any,
        state_gradient: Any,
        lengths: Sequence[int] | None = None,
        frozen: Collection[str] = (),
        accumulate: bool = False,
    ) -> tuple[Any, Any, Mapping[str, Any]]:
        """The layer's gradients."""
        doing = f"the gradients of a call on input {getattr(input, 'shape', None)}"
        given = (input, hx, output_gradient, state_gradient, lengths, frozen, accumulate)
        output, state, found = self.backend.call(doing, self.handle, "gradients", *given)
        return output, state, found

    def taped(
        self, input: Any, hx: Any, lengths: Sequence[int] | None = None, training: bool = True
    ) -> tuple[Any, Any, Differentiate]:
        """The layer's taped call."""
        doing = f"a taped call on input {getattr(input, 'shape', None)}"
        output, state, tape = self.backend.call(doing, self.handle, "taped", input, hx, lengths, training)

        def differentiate(output_gradient: Any, state_gradient: Any, retain_graph: bool = False) -> Mapping[str, Any]:
            given = (output_gradient, state_gradient, retain_graph)
            found: Mapping[str, Any] = self.backend.call("differentiating a taped call", tape, "__call__", *given)
            return found

        return output, state, differentiate

    def save(self) -> Any:
        """A handle of what the layer gives."""
        return self.backend.call("save()", self.handle, "save")

    def load(self, saved: Any) -> None:
        """The layer's load."""
        self.backend.call("load()", self.handle, "load", saved)

    def parameters(self) -> Mapping[str, Any]:
        """Handles of the parameters as the layer holds them."""
        found: Mapping[str, Any] = self.backend.call("parameters()", self.handle, "parameters")
        return found

    def __deepcopy__(self, memo: Any) -> IsolatedLayer:
        return IsolatedLayer(self.backend, self.backend.call("copy.deepcopy", self.handle, "__deepcopy__"))


class Snapshot:
    """The settings of the worker's process at one time."""

    def __init__(self, backend: IsolatedBackend, handle: Handle) -> None:
        self.backend = backend
        self.handle = handle

    def changed(self, later: Snapshot) -> list[str]:
        """The names of what differs."""
        names: list[str] = self.backend.call("settings()", None, "changed", self.handle, later.handle)
        return names

    def restore(self) -> None:
        """Undo what was changed, where that process still lives; a fresh one has nothing to undo."""
        if self.handle.worker.alive:
            with suppress(Broken):
                self.backend.call("restore()", None, "restore", self.handle)
            self.backend.take_death()


@dataclass
class _Life:
    """What changes while a backend lives, the same for all shallow copies of it."""

    worker: Worker | None = None
    death: Broken | None = None  # of which note is to be taken
    timed_out: int = 0
    longest: float = 0.0  # seconds of a call that came back
    supported: dict[LayerConfig, str | None] = field(default_factory=dict)


class IsolatedBackend(Backend):
    """A backend in a process of its own. When a call ends that process, the call raises, and a fresh one serves on."""

    def __init__(self, request: Mapping[str, Any], call_timeout: float, memory_limit: float | None = None) -> None:
        self.call_timeout = call_timeout
        self.request = dict(request)
        self._life = _Life()
        self._lock = threading.RLock()
        self._channels = threading.local()
        self._nursery = Nursery(self.request, None if memory_limit is None else int(memory_limit * 2**30))
        self._end = weakref.finalize(self, self._nursery.close)
        try:
            self._start()
        except WrongUse:
            self.close()
            raise

    def _start(self) -> Worker:
        """Load the backend in a fresh worker."""
        self._life.worker = worker = self._nursery.start()
        self._channels.of = (worker, worker.channel)
        try:
            said = self.call("loading the backend", None, "load", seconds=START)
        except _Raised as error:
            raise WrongUse(str(error)) from error
        except Broken as error:
            self._life.death = None
            raise WrongUse(str(error)) from error
        self._life.supported = {}
        self.name = str(said["name"])
        self._said = said
        self.policy = msgspec.convert(said["policy"], Policy)
        self.max_examples = said["max_examples"]
        self.drops = tuple(said["drops"])
        return worker

    @property
    def version(self) -> str:
        """The backend's."""
        return str(self._said["version"])

    def devices(self) -> Sequence[str]:
        """The backend's."""
        return [str(device) for device in self._said["devices"]]

    def environment(self) -> dict[str, str]:
        """The backend's."""
        return dict(self._said["environment"])

    def expectations(self) -> Path | None:
        """The backend's."""
        found = self._said["expectations"]
        return None if found is None else Path(found)

    def supports(self, config: LayerConfig) -> str | None:
        """The backend's, asked once of each config."""
        if config not in self._life.supported:
            found = self.call("supports()", None, "supports", config)
            self._life.supported[config] = found if found is None else str(found)
        return self._life.supported[config]

    def extras(self, cell: str) -> Mapping[str, tuple[Any, ...]]:
        """The backend's."""
        found: Mapping[str, tuple[Any, ...]] = self.call("extras()", None, "extras", cell)
        return found

    def arithmetic(self, dtype: str) -> Arithmetic:
        """The backend's."""
        return msgspec.convert(self.call("arithmetic()", None, "arithmetic", dtype), Arithmetic)

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A layer in the worker."""
        made = self.call(f"making {config}", None, "layer", config, dict(parameters))
        return IsolatedLayer(self, made["layer"]) if "layer" in made else made["other"]

    def from_numpy(self, array: Array, device: str) -> Any:
        """A handle of the backend's array, which lies in memory as this one does."""
        handle: Handle = self.call("from_numpy()", None, "from_numpy", array, device)
        handle.shape = array.shape
        return handle

    def to_numpy(self, array: Any) -> Array:
        """The values that the backend's array has now."""
        values = self.call("to_numpy()", None, "to_numpy", array)
        if not isinstance(values, np.ndarray):
            raise TypeError(f"a NumPy array was due, not {type(values).__name__}")
        return values

    def device_of(self, array: Any) -> str:
        """Where the backend's array lies."""
        return str(self.call("device_of()", None, "device_of", array))

    def assign(self, array: Any, values: Array) -> None:
        """Write into the backend's array."""
        self.call("assign()", None, "assign", array, values)

    def rebind(self, array: Any, values: Array) -> None:
        """Let a parameter of the backend be this array."""
        self.call("rebind()", None, "rebind", array, values)

    def world(self) -> Snapshot:
        """The settings of the worker's process."""
        return Snapshot(self, self.call("settings()", None, "snapshot"))

    def usage(self) -> Usage | None:
        """What the worker's process holds."""
        return msgspec.convert(self.call("counting", None, "usage"), Usage | None)

    def guard(self, how: How | None) -> None:
        """Place arguments in guarded memory of the worker from now on, or anywhere."""
        self.call("guarding memory", None, "guard", how)

    def damage(self) -> str:
        """What was written beyond an argument, in words."""
        return str(self.call("looking at memory", None, "damage"))

    def shares_memory(self, device: str) -> bool:
        """Whether the backend's `from_numpy` gives an array over the same memory."""
        return bool(self.call("from_numpy()", None, "shares_memory", device))

    @property
    def process_id(self) -> int | None:
        """That of the worker, where one lives."""
        worker = self._life.worker
        return worker.pid if worker is not None and worker.alive else None

    def close(self) -> None:
        """End the worker."""
        if self._life.worker is not None and self._life.worker.alive:
            self._life.worker.end(at_once=True)
        self._end()

    # A call

    def call(
        self, doing: str, target: Handle | None, method: str, *given: Any, seconds: float = 0.0, **named: Any
    ) -> Any:
        """Call a method in the worker.

        Args:
            doing: what the call does, for a message.

        Raises:
            Crashed, TimedOut: where it does not come back; and at once, until that was taken note of.
            Exception: of the name and text of that which the backend raised.
        """
        worker = self._ready()
        arguments = [self._outward(value, worker) for value in given]
        keywords = {name: self._outward(value, worker) for name, value in named.items()}
        dropped, worker.dropped = worker.dropped, []
        number = None if target is None else self._number(target, worker)
        message = wire.encode(wire.Call(number, method, arguments, keywords, dropped))
        limit = seconds or self._limit()
        started = time.monotonic()
        deadline = started + limit
        try:
            channel = self._channel(worker)
            channel.send(message, deadline)
            reply = wire.decode_reply(channel.receive(deadline, worker.said, worker.gone))
        except wire.Late:
            what = f"{doing} took longer than {limit:g} s and was ended"
            raise self._died(worker, TimedOut, what, at_once=True) from None
        except wire.Ended:
            raise self._died(worker, Crashed, f"{doing} ended its process") from None
        except wire.Malformed as error:
            what = f"{doing} wrote over the answer ({error}), and its process was ended"
            raise self._died(worker, Crashed, what, at_once=True) from None
        if not seconds:
            self._life.longest = max(self._life.longest, time.monotonic() - started)
        if isinstance(reply, wire.Dying):
            raise self._died(worker, Crashed, f"{doing} raised {reply.text}, no Exception: it ends the process,")
        if isinstance(reply, wire.Raised):
            raise _exception_type(reply.kind, reply.base)(reply.text)
        return self._inward(reply.value, worker)

    def _limit(self) -> float:
        """Seconds that a call may take."""
        if self._life.timed_out < PATIENT:
            return self.call_timeout
        return min(self.call_timeout, max(self.call_timeout / 10, LONGER * self._life.longest))

    def _ready(self) -> Worker:
        """The worker, a fresh one after a death of which note was taken."""
        with self._lock:
            if self._life.death is not None:
                raise self._life.death
            if self._life.worker is None or not self._life.worker.alive:
                return self._start()
            return self._life.worker

    def _channel(self, worker: Worker) -> wire.Channel:
        """This thread's own channel: calls of several threads run at once in the worker too."""
        known: tuple[Worker, wire.Channel] | None = getattr(self._channels, "of", None)
        if known is None or known[0] is not worker:
            known = self._channels.of = (worker, worker.another_channel())
        return known[1]

    def _died(self, worker: Worker, kind: type[Broken], what: str, at_once: bool = False) -> Broken:
        """Take the body away; what is found of its death is raised until `take_death`."""
        with self._lock:
            if worker.alive:
                self._life.timed_out += kind is TimedOut
                manner = worker.end(at_once)
                self._life.death = kind(f"{what} {manner}")
            return self._life.death or kind(what)

    def take_death(self) -> Broken | None:
        """What was found of a death since this was last asked."""
        with self._lock:
            death, self._life.death = self._life.death, None
            return death

    def _number(self, handle: Handle, worker: Worker) -> int:
        if handle.worker is not worker:
            raise Crashed("what was made in a process ended with it")
        return handle.id

    def _outward(self, value: Any, worker: Worker) -> wire.Value:
        """An argument as it crosses."""
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, Handle):
            return wire.Ref(self._number(value, worker), "")
        if isinstance(value, np.generic):
            return self._outward(value.item(), worker)
        if isinstance(value, np.ndarray):
            return wire.pack_array(value)
        if isinstance(value, LayerConfig):
            return wire.Config({name: self._outward(item, worker) for name, item in vars(value).items()})
        if isinstance(value, Mapping):
            return wire.Mapped({name: self._outward(item, worker) for name, item in value.items()})
        if isinstance(value, tuple | list | set | frozenset | range):
            kind = next((t.__name__ for t in (tuple, list) if isinstance(value, t)), "set")
            return wire.Items(kind, [self._outward(item, worker) for item in value])
        if isinstance(value, Collection):
            return wire.Items("tuple", [self._outward(item, worker) for item in value])
        raise TypeError(f"{type(value).__name__} cannot be handed to a backend in a process of its own")

    def _inward(self, value: wire.Value, worker: Worker) -> Any:
        """A result as the suite sees it."""
        match value:
            case wire.Ref(id=number, kind=name):
                return _handle_type(name)(number, worker)
            case wire.Strided():
                return wire.unpack_array(value)
            case wire.Items(kind=kind, items=items):
                found = [self._inward(item, worker) for item in items]
                return tuple(found) if kind == "tuple" else found
            case wire.Mapped(items=mapped):
                return {name: self._inward(item, worker) for name, item in mapped.items()}
        return value


def death_of(backend: Backend) -> Broken | None:
    """How the backend's process died since this was last asked, if it did."""
    return backend.take_death() if isinstance(backend, IsolatedBackend) else None
