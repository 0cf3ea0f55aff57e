"""A command that computes what the oracle computes, and answers in a hostile manner."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from rnn_conformance.backends import safetensors
from rnn_conformance.backends.numpy import OracleLayer
from rnn_conformance.config import LayerConfig

WRONG: dict[str, bytes] = {
    "garbage": b"\xff\xfe\x00 segmentation fault (core dumped)\n",
    "an array": b"[1, 2, 3]\n",
    "nested": b"[" * 100_000 + b"\n",
    "half a line": b'{"ok": tr',
    "two answers": b'{"ok": true}\n{"ok": true}\n',
    "too much": b"." * 2**25,
    "an error": b'{"error": "\\u001b[2J<script>alert(1)</script>"}\n',
}


def compute(request: dict[str, Any]) -> None:
    """Write the results of a call."""
    config = LayerConfig(**request["config"])
    arrays = safetensors.read(Path(request["inputs"]))
    lengths = arrays.pop("lengths", None)
    x, hx = arrays.pop("input"), tuple(arrays.pop(name) for name in ("h_0", "c_0") if name in arrays)
    state = hx if config.kind == "lstm" else hx[0] if hx else None
    output, final = OracleLayer(config, arrays).forward(x, state or None, None if lengths is None else lengths.tolist())
    parts = final if isinstance(final, tuple) else (final,)
    safetensors.write(Path(request["outputs"]), {"output": output} | dict(zip(("h_n", "c_n"), parts, strict=False)))


def main(manner: str) -> None:
    """Answer until there is nothing more to answer."""
    for line in sys.stdin:
        request = json.loads(line)
        answer = b"{}\n"
        if request["op"] == "supports":
            offered = (request["config"]["cell"], request["config"]["dtype"]) == ("lstm", "float32")
            answer = json.dumps({"reason": None if offered else "one cell and dtype alone"}).encode() + b"\n"
        if request["op"] == "forward":
            if manner not in ("no results", "damaged results"):
                compute(request)
            if manner == "damaged results":
                Path(request["outputs"]).write_bytes(b"\xff" * 7 + b"{" * 100)
            if manner == "the results of another call":
                OTHER.append(Path(request["outputs"]).read_bytes())
                Path(request["outputs"]).write_bytes(OTHER[max(len(OTHER) - 2, 0)])
            if manner == "nothing":
                time.sleep(1000)
            answer = WRONG.get(manner, answer)
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()
        if manner in ("half a line", "too much") and request["op"] == "forward":
            return


OTHER: list[bytes] = []

if __name__ == "__main__":
    main(sys.argv[1])
