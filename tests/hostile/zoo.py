"""The hostile backends: each the oracle, but for one thing that it does when it is called."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from rnn_conformance import function
from rnn_conformance.backend import Array, Layer
from rnn_conformance.backends.numpy import NumPyBackend, OracleLayer
from rnn_conformance.config import LayerConfig
from rnn_conformance.oracle import reference

LIBRARY = "RNN_HOSTILE_LIBRARY"  # the environment variable that says where hostile.c was compiled to


@lru_cache
def c() -> Any:
    """The library of C mistakes."""
    library = ctypes.CDLL(os.environ[LIBRARY])
    library.write_at.argtypes = [ctypes.c_void_p, ctypes.c_long]
    library.read_at.argtypes = [ctypes.c_void_p, ctypes.c_long]
    library.write_later.argtypes = [ctypes.c_void_p]
    library.leak.argtypes = library.allocate.argtypes = [ctypes.c_size_t]
    library.leak.restype = ctypes.c_void_p
    library.copy_half.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long]
    return library


def one_alone(config: LayerConfig) -> str | None:
    """Why a config is not offered: so that a check is one unit of work."""
    return None if (config.cell, config.dtype) == ("lstm", "float32") else "hostile in one cell and dtype alone"


class HostileLayer(OracleLayer):
    """Right, but for what the backend does before and after."""

    def __init__(self, backend: Hostile, config: LayerConfig, parameters: Mapping[str, Array]) -> None:
        super().__init__(config, parameters)
        self.backend = backend

    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        self.backend.before(input)
        output, state = super().forward(input, hx, lengths, training)
        return self.backend.after(input, output, state)

    def __deepcopy__(self, memo: Any) -> HostileLayer:
        return HostileLayer(self.backend, self.config, self.held)


class Hostile(NumPyBackend):
    """The base of all: one cell in one dtype, so that a check is one unit of work."""

    def __init__(self) -> None:
        self.name = type(self).__name__

    def supports(self, config: LayerConfig) -> str | None:
        return one_alone(config) or super().supports(config)

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        if reason := self.supports(config):
            raise NotImplementedError(reason)
        config.parameter_shapes()
        return HostileLayer(self, config, parameters)

    def before(self, input: Any) -> None:
        """What it does when a call begins."""

    def after(self, input: Any, output: Any, state: Any) -> Any:
        """What it makes of the right result."""
        return output, state


# It ends its process


class NullDereference(Hostile):
    def before(self, input: Any) -> None:
        c().null_dereference()


class WildJump(Hostile):
    def before(self, input: Any) -> None:
        c().wild_jump()


class Abort(Hostile):
    def before(self, input: Any) -> None:
        os.write(2, b"kernel.cu:17: assertion \x1b[31mfailed\x1b[0m\n")
        c().call_abort()


class DivisionByZero(Hostile):
    def before(self, input: Any) -> None:
        c().divide(0)


class StackOverflow(Hostile):
    def before(self, input: Any) -> None:
        c().overflow_stack(0)


class DoubleFree(Hostile):
    def before(self, input: Any) -> None:
        c().double_free()


class OnlyWhenWide(Hostile):
    """Crashes where hidden_size is 3 or more: the smallest case has 3."""

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        if config.hidden_size >= 3:
            c().null_dereference()
        return super().layer(config, parameters)


class RaisesWhenWide(Hostile):
    """The same, but for an exception."""

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        if config.hidden_size >= 3:
            raise RuntimeError
        return super().layer(config, parameters)


class HardExit(Hostile):
    def before(self, input: Any) -> None:
        os._exit(0)


class SystemExits(Hostile):
    def before(self, input: Any) -> None:
        sys.exit("no licence found")


class Interrupts(Hostile):
    def before(self, input: Any) -> None:
        raise KeyboardInterrupt


class NoException(Hostile):
    def before(self, input: Any) -> None:
        class Cancelled(BaseException):
            pass

        raise Cancelled("by the scheduler")


class KillsItself(Hostile):
    def before(self, input: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class KillsItsGroup(Hostile):
    def before(self, input: Any) -> None:
        os.killpg(0, signal.SIGKILL)


class ClosesEverything(Hostile):
    def before(self, input: Any) -> None:
        os.closerange(0, 1000)


class WritesEverywhere(Hostile):
    def before(self, input: Any) -> None:
        for fd in range(3, 100):
            try:
                socket.socket(fileno=os.dup(fd)).send(b"\xff" * 100)
            except OSError:
                continue


class CrashesInItsConstructor(Hostile):
    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        raise SystemExit(c().null_dereference())


class CrashesWhenAsked(Hostile):
    def supports(self, config: LayerConfig) -> str | None:
        if config.hidden_size > 0:
            c().null_dereference()
        return None


class CrashesWhenRead(Hostile):
    def to_numpy(self, array: Any) -> Array:
        c().null_dereference()
        return super().to_numpy(array)


class CrashesWhenCalledWrongly(Hostile):
    def before(self, input: Any) -> None:
        if input is None or input.ndim not in (2, 3):
            c().null_dereference()


class CrashesInThreads(Hostile):
    def before(self, input: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            c().null_dereference()


class CrashesWhenMade(Hostile):
    def __init__(self) -> None:
        super().__init__()
        c().null_dereference()


# It does not come back


class LoopsInC(Hostile):
    def before(self, input: Any) -> None:
        c().loop()


class LoopsInPython(Hostile):
    def before(self, input: Any) -> None:
        while True:
            pass


class LoopsWhenLong(Hostile):
    """Slow, and without end where there are many steps."""

    def before(self, input: Any) -> None:
        time.sleep(0.3)
        while max(input.shape) > 5:
            pass


class LocksTwice(Hostile):
    def before(self, input: Any) -> None:
        c().lock_twice()


class StopsItself(Hostile):
    def before(self, input: Any) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)


class DeadlocksInAFork(Hostile):
    """A child that needs a lock which another thread held when it was forked."""

    def before(self, input: Any) -> None:
        lock = threading.Lock()
        with lock:
            pid = os.fork()
            if pid == 0:
                lock.acquire()
            os.waitpid(pid, 0)


class HangsOnSignals(Hostile):
    """Loops, and wants to be asked nicely to stop."""

    def before(self, input: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(1)


# It fails, and says so in a hostile manner


class Recurses(Hostile):
    def before(self, input: Any) -> None:
        self.before(input)


class Allocates(Hostile):
    def before(self, input: Any) -> None:
        np.ones(10 * 2**30, np.uint8)


class AllocatesInC(Hostile):
    def before(self, input: Any) -> None:
        c().allocate(10 * 2**30)


class Mute(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class RaisesMutely(Hostile):
    def before(self, input: Any) -> None:
        raise Mute


class RaisesLoudly(Hostile):
    def before(self, input: Any) -> None:
        raise ValueError("\x1b[2J</script><script>alert(1)</script>" * 10_000)


class Unreadable:
    shape = (1,)

    def __array__(self, *arguments: Any, **keywords: Any) -> Any:
        c().null_dereference()

    def __repr__(self) -> str:
        raise KeyboardInterrupt

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        raise SystemExit(0)

    __hash__ = None  # type: ignore[assignment]

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise KeyboardInterrupt


class ReturnsTheUnreadable(Hostile):
    def after(self, input: Any, output: Any, state: Any) -> Any:
        return Unreadable(), state


class ReturnsNests(Hostile):
    def after(self, input: Any, output: Any, state: Any) -> Any:
        nest: Any = output
        for _ in range(100_000):
            nest = (nest,)
        return nest, state


class ReturnsObjects(Hostile):
    def after(self, input: Any, output: Any, state: Any) -> Any:
        return output.astype(object), state


class ReturnsTheHuge(Hostile):
    """An array of no memory and a terabyte of elements."""

    def after(self, input: Any, output: Any, state: Any) -> Any:
        return np.broadcast_to(np.float32(0), (2**20, 2**20)), state


class ReturnsNothing(Hostile):
    def after(self, input: Any, output: Any, state: Any) -> Any:
        return None


# It is loud


class Prints(Hostile):
    """A hundred megabytes, in one call."""

    printed = False

    def before(self, input: Any) -> None:
        if not self.printed:
            self.printed = True
            for _ in range(100):
                os.write(1, b"." * 2**20)


class ClosesItsOutput(Hostile):
    def before(self, input: Any) -> None:
        for fd in (0, 1, 2):
            try:
                os.close(fd)
            except OSError:
                continue


# It changes what is not its own


class RoundsUp(Hostile):
    def before(self, input: Any) -> None:
        c().round_up()


class FlushesToZero(Hostile):
    def before(self, input: Any) -> None:
        c().flush_to_zero()


class TakesSignals(Hostile):
    def before(self, input: Any) -> None:
        signal.signal(signal.SIGFPE, signal.SIG_IGN)


class SetsVariables(Hostile):
    def before(self, input: Any) -> None:
        os.environ["OMP_NUM_THREADS"] = "64"


class ChangesFolder(Hostile):
    def before(self, input: Any) -> None:
        os.chdir("/")


class ReplacesModules(Hostile):
    def before(self, input: Any) -> None:
        sys.modules["json"] = sys.modules["os"]


class RecursesDeeper(Hostile):
    def before(self, input: Any) -> None:
        sys.setrecursionlimit(sys.getrecursionlimit() + 1)


# It reads and writes where it must not


class WritesPastTheEnd(Hostile):
    def before(self, input: Any) -> None:
        c().write_at(input.ctypes.data, input.nbytes)


class WritesBeforeTheStart(Hostile):
    def before(self, input: Any) -> None:
        c().write_at(input.ctypes.data, -8)


class ReadsPastTheEnd(Hostile):
    def before(self, input: Any) -> None:
        c().read_at(input.ctypes.data, input.size)


class ReadsBeforeTheStart(Hostile):
    def before(self, input: Any) -> None:
        c().read_at(input.ctypes.data, -1)


class WritesIntoItsInput(Hostile):
    def before(self, input: Any) -> None:
        c().write_at(input.ctypes.data, 0)


class ReturnsItsInput(Hostile):
    """Uses the input's memory after the call has returned."""

    def after(self, input: Any, output: Any, state: Any) -> Any:
        if output.nbytes <= input.nbytes:
            place = np.ndarray(output.shape, output.dtype, input.ravel(order="K"))
            place[...] = output
            return place, state
        return output, state


class ChangesItsOutputLater(Hostile):
    def after(self, input: Any, output: Any, state: Any) -> Any:
        if output.size:
            c().write_later(output.ctypes.data)
        return output, state


class LeavesHalfUnwritten(Hostile):
    """Whatever memory held before is half of the output."""

    def after(self, input: Any, output: Any, state: Any) -> Any:
        given = np.empty(output.shape, output.dtype)
        c().copy_half(given.ctypes.data, output.ctypes.data, output.size)
        return given, state


# It is a function with buffers for its results


@function(supports=one_alone)
def fills_its_buffers(config: LayerConfig, parameters: Any, x: Any, state: Any, out: Any) -> None:
    """Right: the base of those below."""
    output, final = reference(config, parameters, x, state)
    for due, given in zip((out[0], *out[1]), (output, *final), strict=True):
        due[...] = given


@function(supports=one_alone)
def leaves_the_last_row(config: LayerConfig, parameters: Any, x: Any, state: Any, out: Any) -> None:
    output = out[0]
    last = output[-1:].copy()
    fills_its_buffers(config, parameters, x, state, out)
    output[-1:] = last


@function(supports=one_alone)
def writes_past_its_buffer(config: LayerConfig, parameters: Any, x: Any, state: Any, out: Any) -> None:
    fills_its_buffers(config, parameters, x, state, out)
    c().write_at(out[0].ctypes.data, out[0].nbytes)


@function(supports=one_alone)
def reads_past_its_weights(config: LayerConfig, parameters: Any, x: Any, state: Any, out: Any) -> None:
    fills_its_buffers(config, parameters, x, state, out)
    c().read_at(parameters["weight_hh_l0"].ctypes.data, parameters["weight_hh_l0"].size)


# It leaks


class LeaksMemory(Hostile):
    def before(self, input: Any) -> None:
        c().leak(16 * 2**10)


class LeaksLayers(Hostile):
    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        c().leak(256 * 2**10)
        return super().layer(config, parameters)


class LeaksFiles(Hostile):
    def before(self, input: Any) -> None:
        os.dup(1)


class LeaksThreads(Hostile):
    calls = 0

    def before(self, input: Any) -> None:
        self.calls += 1
        if self.calls % 25 == 0:
            threading.Thread(target=time.sleep, args=(30,), daemon=True).start()


class LeaksProcesses(Hostile):
    """A child that outlives the worker and holds its sockets open."""

    def before(self, input: Any) -> None:
        if os.fork() == 0:
            time.sleep(20)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
