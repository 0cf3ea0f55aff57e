"""Worker processes as the suite sees them: started, spoken to with patience, and asked how they ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from rnn_conformance.isolate import wire
from rnn_conformance.verdict import printable, without_places

START = 60.0  # seconds that loading a backend's library may take
FORK = 10.0  # seconds that a fork may take
WORDS = 500  # characters of a worker's last words
STALE = "128"  # glibc fills new memory with its complement, so that what a kernel leaves unwritten is huge, not zero
PROGRAM = "import sys; sys.path[:] = {path!r}; from rnn_conformance.isolate.worker import main; main({role!r}, {fd})"


class Worker:
    """One process that holds the backend."""

    def __init__(self, sock: socket.socket, doors: socket.socket, said: wire.Aside, pid: int, parent: Any) -> None:
        self.channel = wire.Channel(sock)
        self.doors = wire.Channel(doors)
        self.said = said
        self.pid = pid
        self.parent = parent
        self.dropped: list[int] = []
        self.others: weakref.WeakSet[wire.Channel] = weakref.WeakSet()
        self.gone = _watch(pid)
        self.alive = True

    def another_channel(self) -> wire.Channel:
        """A further channel, which a thread of its own serves."""
        ours, theirs = socket.socketpair()
        socket.send_fds(self.doors.sock, [b"d"], [theirs.fileno()])
        theirs.close()
        channel = wire.Channel(ours)
        self.others.add(channel)
        return channel

    def end(self, at_once: bool) -> str:
        """How it ended, once it has: by itself, or killed where it does not."""
        self.alive = False
        code = self.parent.status(self.pid, at_once)
        words = without_places(printable(self.said.text()))[-WORDS:]
        for channel in (self.channel, self.doors, *self.others):
            channel.close()
        self.said.close()
        if self.gone is not None:
            os.close(self.gone)
        return _manner(code) + (f"; its last words: {words}" if words else "")


def _watch(pid: int) -> int | None:
    """What can be read once this process has ended, though a child of its own may still hold its sockets."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _manner(code: int | None) -> str:
    if code is None:
        return "in an unknown manner"
    if code >= 0:
        return f"with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        return f"by signal {-code}"
    return f"by {name} ({signal.strsignal(-code)})"


class Nursery:
    """Makes workers: forked from a process that has imported the backend's library, or started afresh where that may
    not be.
    """

    def __init__(self, request: dict[str, Any], memory_limit: int | None) -> None:
        setup = {"request": request, "memory_limit": memory_limit}
        self.setup = msgspec.msgpack.encode(setup)
        self.children: dict[int, subprocess.Popen[bytes]] = {}
        self.nurse: wire.Channel | None = None
        self.ready = False
        if sys.platform == "linux":
            ours, theirs = socket.socketpair()
            self.process = self._launch("nurse", theirs, None)
            self.nurse = wire.Channel(ours)
            self.nurse.send(self.setup)

    def _launch(self, role: str, sock: socket.socket, output: int | None) -> subprocess.Popen[bytes]:
        """Start a Python of which nothing is shared with this one but a socket."""
        code = PROGRAM.format(path=sys.path, role=role, fd=sock.fileno())
        started = subprocess.Popen(
            [sys.executable, "-c", code],
            pass_fds=[sock.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if output is None else output,
            stderr=subprocess.DEVNULL if output is None else output,
            env={"MALLOC_PERTURB_": STALE} | os.environ,
            start_new_session=True,
        )
        sock.close()
        return started

    def start(self) -> Worker:
        """A fresh worker."""
        ours, theirs = socket.socketpair()
        read, write = os.pipe()
        pid = self._fork(theirs, write) if self.nurse is not None else None
        if pid is None:
            process = self._launch("work", theirs, write)
            ours.sendall(wire.framed(self.setup))
            pid, self.children[process.pid] = process.pid, process
        else:
            theirs.close()
        os.close(write)
        doors, door = socket.socketpair()
        socket.send_fds(ours, [b"d"], [door.fileno()])
        door.close()
        return Worker(ours, doors, wire.Aside(read), pid, self)

    def _fork(self, sock: socket.socket, output: int) -> int | None:
        """The process id of a forked worker; None where there is to be no nursery, or no more."""
        self.ready = self.ready or self._answer(START) == {"forks": True}
        pid: int | None = self._ask({"ended": None}, [sock.fileno(), output]) if self.ready else None
        if pid is None:
            self.close()
        return pid

    def _ask(self, order: dict[str, Any], fds: Sequence[int] = ()) -> Any:
        """What the nursery answers; None where it does not."""
        if self.nurse is None:
            return None
        try:
            self.nurse.send(msgspec.msgpack.encode(order), time.monotonic() + FORK)
            if fds:
                socket.send_fds(self.nurse.sock, [b"f"], list(fds))
        except (wire.Ended, wire.Late, OSError):
            return None
        return self._answer(FORK)

    def _answer(self, seconds: float) -> Any:
        if self.nurse is None:
            return None
        try:
            return msgspec.msgpack.decode(self.nurse.receive(time.monotonic() + seconds))
        except (wire.Ended, wire.Late, wire.Malformed, msgspec.DecodeError):
            return None

    def status(self, pid: int, at_once: bool) -> int | None:
        """A worker's exit code, negative for a signal; it is killed at once, or where it does not end by itself."""
        process = self.children.pop(pid, None)
        code: int | None = self._ask({"ended": pid, "at_once": at_once}) if process is None else None
        if process is None:
            return code
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(0 if at_once else 1)
        with suppress(ProcessLookupError):  # with the processes that it started
            os.killpg(pid, signal.SIGKILL)
        return process.wait() if code is None else code

    def close(self) -> None:
        """End the nursery. Its workers end with it."""
        if self.nurse is not None:
            self.nurse.close()
            self.nurse = None
            self.process.kill()
            self.process.wait()
