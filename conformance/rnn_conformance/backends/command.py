"""Any executable as a backend: a request a line on its standard input, an answer a line on its standard output.

docs/command-backend.md is the protocol's page.
"""

from __future__ import annotations

import json
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from functools import cache, cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np

from rnn_conformance.backend import Array, Backend, Layer, Policy, WrongUse
from rnn_conformance.backends import safetensors
from rnn_conformance.config import LayerConfig

LONGEST = 2**24  # bytes of an answer
PATIENCE = 60.0  # seconds that an answer may take


class CommandFailed(Exception):
    """The executable refused a request, died of it, or did not answer in time."""


class Conversation:
    """One running executable, started again after its death."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = list(command)
        self.process: subprocess.Popen[bytes] | None = None
        self.lock = threading.Lock()

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one request.

        Raises:
            CommandFailed: where there is none, or it holds an error.
        """
        with self.lock:
            process = self._running()
            assert process.stdin is not None
            try:
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
                line = self._line(process)
            except BrokenPipeError:
                line = b""
            if not line.endswith(b"\n"):
                raise CommandFailed(self._last_words(process))
            if self.pending:  # it would be taken for the answer to the next request
                raise self._stopped(process, f"an answer must be one line, after which came {self.pending[:200]!r}")
        return self._answer(line)

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None or self.process.poll() is not None:
            self.errors = tempfile.TemporaryFile()  # noqa: SIM115
            pipe = subprocess.PIPE
            try:
                self.process = subprocess.Popen(self.command, stdin=pipe, stdout=pipe, stderr=self.errors)
            except OSError:
                self.errors.close()
                raise
            self.pending = b""
            weakref.finalize(self, _end, self.process, self.errors)
        return self.process

    def _line(self, process: subprocess.Popen[bytes]) -> bytes:
        """The next line of its output, whole; what there is where it ends or takes too long."""
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self.pending:
                if not selector.select(PATIENCE):
                    process.kill()
                    raise CommandFailed(f"no answer came within {PATIENCE:g} seconds")
                if not (more := os.read(process.stdout.fileno(), 1 << 16)):
                    break
                self.pending += more
                if len(self.pending) > LONGEST:
                    said = f"an answer must be a JSON object in one line, not {len(self.pending):,} bytes"
                    raise self._stopped(process, said)
        line, end, self.pending = self.pending.partition(b"\n")
        return line + end

    def _stopped(self, process: subprocess.Popen[bytes], why: str) -> CommandFailed:
        """End an executable that is not to be asked again."""
        process.kill()
        process.wait()
        return CommandFailed(why)

    def _last_words(self, process: subprocess.Popen[bytes]) -> str:
        code = process.wait()
        self.errors.seek(0)
        said = self.errors.read()[-500:].decode(errors="replace").strip()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"{self.command[0]} {how}" + (f": {said}" if said else "")

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise CommandFailed(f"an answer must be a JSON object in one line, not {line[:200]!r}")
        if "error" in answer:
            raise CommandFailed(str(answer["error"]))
        return answer


def _end(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    """Stop an executable, if it runs still, and let go of its streams."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, errors):
        if stream is not None:
            with suppress(BrokenPipeError):
                stream.close()


class CommandLayer(Layer):
    """Parameters that go to the executable with each call."""

    def __init__(self, backend: CommandBackend, config: LayerConfig, parameters: Mapping[str, Array]) -> None:
        self.backend = backend
        self.config = config
        self.held = {name: array.copy() for name, array in parameters.items()}

    def __deepcopy__(self, memo: dict[int, Any]) -> CommandLayer:
        return CommandLayer(self.backend, self.config, self.held)

    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        """What the executable wrote.

        Raises:
            CommandFailed: where it wrote nothing.
            ValueError: for a state of more parts than the request has names for.
        """
        arrays = dict(self.held)
        if input is not None:
            arrays["input"] = input
        parts = () if hx is None else hx if isinstance(hx, tuple) else (hx,)
        arrays |= dict(zip(("h_0", "c_0")[: len(parts)], parts, strict=True))
        if lengths is not None:
            arrays["lengths"] = np.array(lengths, dtype=np.int64)
        found = self.backend.forward(self.config, arrays)
        return found["output"], (found["h_n"], found["c_n"]) if self.config.kind == "lstm" else found["h_n"]

    def parameters(self) -> Mapping[str, Any]:
        """Those that the executable will be given."""
        return self.held


class CommandBackend(Backend):
    """An executable that speaks the protocol."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = list(command)
        self.name = f"command:{shlex.join(self.command)}"
        self.conversation = Conversation(self.command)
        self.policy = _policy(self.description.get("policy", {}))
        self.supports = cache(self._supports)  # type: ignore[method-assign]

    @cached_property
    def description(self) -> dict[str, Any]:
        """What the executable says of itself.

        Raises:
            WrongUse: where it does not start or does not answer.
        """
        try:
            return self.conversation.ask({"op": "describe"})
        except (OSError, CommandFailed) as error:
            raise WrongUse(f"{self.command[0]} does not answer {{'op': 'describe'}}: {error}") from error

    @cached_property
    def folder(self) -> Path:
        """Where arrays lie; gone with the backend."""
        folder = tempfile.mkdtemp(prefix="rnn-conformance-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    @property
    def version(self) -> str:
        """What it says."""
        return str(self.description.get("version", "unknown"))

    def _supports(self, config: LayerConfig) -> str | None:
        if config.dropout:
            return "a command has no training mode, and so no dropout"
        if reason := self.lacks(config):
            return reason
        reason = self.conversation.ask({"op": "supports", "config": asdict(config)}).get("reason")
        return None if reason is None else str(reason)

    def extras(self, cell: str) -> Mapping[str, tuple[Any, ...]]:
        """What it says of this cell."""
        found = self.description.get("extras", {}).get(cell, {})
        return {str(name): tuple(values) for name, values in found.items()}

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """Copies of these parameters.

        Raises:
            NotImplementedError: for a config that the executable does not support.
            ValueError: for one that cannot exist.
        """
        if reason := self.supports(config):
            raise NotImplementedError(reason)
        config.parameter_shapes()
        return CommandLayer(self, config, parameters)

    def forward(self, config: LayerConfig, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """One call: arrays out through a file, and results back through another."""
        thread = threading.get_ident()
        inputs, outputs = (self.folder / f"{side}-{thread}.safetensors" for side in ("in", "out"))
        safetensors.write(inputs, arrays)
        outputs.unlink(missing_ok=True)
        files = {"inputs": str(inputs), "outputs": str(outputs)}
        self.conversation.ask({"op": "forward", "config": asdict(config)} | files)
        return safetensors.read(outputs)


def _policy(given: Any) -> Policy:
    known = {field.name for field in fields(Policy)}
    if not isinstance(given, dict) or not set(given) <= known:
        raise WrongUse(f"policy must be an object with fields among {', '.join(sorted(known))}, not {given!r}")
    return Policy(**given)
