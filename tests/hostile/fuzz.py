"""python -m tests.hostile.fuzz: files and answers that nobody would write, each read or refused in one sentence."""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from rnn_conformance.backend import WrongUse
from rnn_conformance.backends import safetensors
from rnn_conformance.backends.command import CommandFailed, Conversation
from rnn_conformance.expectations import read_expectations
from rnn_conformance.isolate import wire
from rnn_conformance.journal import Head, last_tried, read_journal
from rnn_conformance.record import read_record, to_json
from rnn_conformance.replay import case_of
from rnn_conformance.strategies import Unit

from tests.report.records import failing

MOST_MEMORY = 200 * 2**20  # bytes beyond what the imports take
AT_ONCE = 1_000  # inputs for which Hypothesis keeps what it tried, which takes more memory than reading them does
RECORD = to_json(failing())
RESULT = msgspec.json.encode(failing().checks[0])
HEAD = Head("0.1.0", "torch", "2", {"seed": 0})
TOML = b"""[[expectation]]
check = "values.stack"
where = "cell == 'lstm' and hidden_size in (1, 2) and not bias"
reason = "it is known"
"""
REPLY = wire.encode(wire.Answer(wire.pack_array(np.zeros((2, 3, 4), np.float32))))
NESTED = wire.encode(wire.Answer(wire.Items("tuple", [wire.Ref(1, "Tensor"), wire.Mapped({"a": 1.5, "b": None})])))
ANSWER = json.dumps({"reason": None, "policy": {"lengths": False}}).encode() + b"\n"
TENSORS = b"".join(
    (
        len(head := b'{"output":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}').to_bytes(8, "little"),
        head,
        bytes(16),
    )
)
FIELDS = json.loads(RECORD)["checks"][0]
TOKENS = [
    b"\x00",
    b"\xff",
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b"\\",
    b"1e999",
    b"-1",
    b"9" * 40,
    b"NaN",
    b"null",
    b"\n",
    b"a" * 300,
]
TOKENS += [
    b"[" * 2000,
    b"(" * 300,
    b"not " * 300,
    b"-" * 300,
    "\u202e\U0001f600".encode(),
    b"__import__('os')",
    b"\x1b[2J",
]


@st.composite
def damaged(draw: st.DrawFn, *wholes: bytes) -> bytes:
    """Bytes that were once right, cut, doubled and overwritten; or any bytes at all."""
    data = draw(st.sampled_from(wholes))
    for _ in range(draw(st.integers(0, 4))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 20))
        middle = draw(
            st.one_of(st.just(b""), st.sampled_from(TOKENS), st.binary(max_size=12), st.just(data[at : at + 40]))
        )
        data = data[:at] + middle + data[at + length :]
    return draw(st.one_of(st.just(data), st.just(data[: draw(st.integers(0, len(data)))]), st.binary(max_size=60)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _record(data: bytes, place: Path) -> None:
    place.write_bytes(data)
    read_record(place)


def _expectations(data: bytes, place: Path) -> None:
    place.write_bytes(data)
    read_expectations(place, ["values.stack"])


def _journal(data: bytes, place: Path) -> None:
    place.write_bytes(data)
    read_journal(place, HEAD)


def _notebook(data: bytes, place: Path) -> None:
    place.with_name("trying-1.json").write_bytes(data)
    last_tried(place.parent, Unit("values.stack", "lstm", "float32", "cpu", 0))


def _reply(data: bytes, place: Path) -> None:
    reply = wire.decode_reply(data)
    if isinstance(reply, wire.Answer) and isinstance(reply.value, wire.Strided):
        wire.unpack_array(reply.value).astype(np.float64)


def _answer(data: bytes, place: Path) -> None:
    Conversation(["true"])._answer(data)


def _tensors(data: bytes, place: Path) -> None:
    place.write_bytes(data)
    safetensors.read(place)


def _case(data: bytes, place: Path) -> None:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(fields, dict):
        case_of(fields)


CASE = json.dumps(failing().findings[0].finding.fields).encode()  # type: ignore[union-attr]
TARGETS: dict[str, tuple[Callable[[bytes, Path], None], st.SearchStrategy[bytes], tuple[type[Exception], ...]]] = {
    "record": (_record, damaged(RECORD), (WrongUse,)),
    "expectations": (_expectations, damaged(TOML), (WrongUse,)),
    "journal": (_journal, damaged(msgspec.json.encode(HEAD) + b"\n" + RESULT + b"\n"), (WrongUse,)),
    "notebook": (_notebook, damaged(CASE, b'{"unit":{},"fields":' + CASE + b"}"), ()),
    "worker's reply": (_reply, damaged(REPLY, NESTED), (wire.Malformed,)),
    "command's answer": (
        _answer,
        st.one_of(damaged(ANSWER), JSON.map(lambda j: json.dumps(j).encode())),
        (CommandFailed,),
    ),
    "safetensors": (_tensors, damaged(TENSORS), (ValueError, OSError)),
    "case": (_case, damaged(CASE), (WrongUse,)),
}


def fuzz(name: str, inputs: int) -> dict[str, int]:
    """Try so many inputs of one kind: how many were read, and how many refused.

    Raises:
        Exception: any that is not the refusal that is due.
    """
    read, inputs_of, refusals = TARGETS[name]
    seen = {"read": 0, "refused": 0}
    with tempfile.TemporaryDirectory() as folder:

        def each(data: bytes) -> None:
            try:
                read(data, Path(folder, "file"))
                seen["read"] += 1
            except refusals as error:
                seen["refused"] += len(str(error)) < 20_000

        for turn, start in enumerate(range(0, inputs, AT_ONCE)):
            chosen = settings(
                max_examples=min(AT_ONCE, inputs - start),
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=(Phase.generate, Phase.shrink),
            )
            seed(turn)(chosen(given(inputs_of)(each)))()
    return seen


def main() -> None:
    """Say for each kind how many inputs there were and what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="in all (default: 100000)")
    parsed = parser.parse_args()
    before, total = memory(), 0
    for name in TARGETS:
        start = time.perf_counter()
        seen: dict[str, Any] = fuzz(name, -(-parsed.inputs // len(TARGETS)))
        total += sum(seen.values())
        print(f"{name:18} {seen['read']:7,} read {seen['refused']:7,} refused  {time.perf_counter() - start:6.1f} s")
    print(f"{total:,} inputs; {(memory() - before) / 2**20:.0f} MiB of memory at most")
    assert memory() - before < MOST_MEMORY


def memory() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
