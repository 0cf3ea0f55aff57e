"""A kernel in C behind ctypes, made a backend by one decorator.

    cd examples/ctypes-kernel && rnn-conformance run --backend kernel:forward

The C code is compiled when this module is imported; `cc` is all that it takes.
"""

import ctypes
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rnn_conformance


def compiled(source: Path) -> ctypes.CDLL:
    """The shared library of a C file. It is loaded, so that the file can go."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "kernel.so")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source, "-lm"], check=True)
        return ctypes.CDLL(str(library))


LANE = compiled(Path(__file__).with_name("lstm.c")).lstm_lane
FLOATS = np.ctypeslib.ndpointer(np.float32, flags="C_CONTIGUOUS")
LANE.argtypes = [ctypes.c_long] * 4 + [ctypes.c_int] + [FLOATS] * 3 + [ctypes.c_void_p] * 2 + [FLOATS] * 2
LANE.argtypes += [ctypes.c_void_p, ctypes.c_long]


def supports(config: rnn_conformance.LayerConfig) -> str | None:
    """None, or why a config is not offered."""
    if config.cell != "lstm" or config.dtype != "float32":
        return "only a float32 LSTM is offered"
    return "projections are not offered" if config.proj_size else None


@rnn_conformance.function(supports=supports, policy=rnn_conformance.Policy(lengths=False, empty_sequence="state"))
def forward(config: Any, parameters: dict[str, np.ndarray], x: np.ndarray, state: Any, out: Any) -> None:
    """The stack: `lstm_lane` for each layer and direction, which writes the final state where `out` has it."""
    if x.ndim not in (2, 3) or x.shape[-1] != config.input_size or x.dtype != np.float32:
        raise ValueError(f"x is {x.dtype} {x.shape}, but float32 (steps, batch, {config.input_size}) was due")
    due, (h_n, c_n) = out
    begin(state, (h_n, c_n))
    if x.ndim == 2:
        x, due, h_n, c_n = x[:, None], due[:, None], h_n[:, None], c_n[:, None]
    elif config.batch_first:
        x, due = x.swapaxes(0, 1), due.swapaxes(0, 1)
    H = config.hidden_size
    for layer in range(config.num_layers):
        x = np.ascontiguousarray(x)
        output = np.empty((*x.shape[:2], config.output_size), np.float32)
        for direction in range(config.num_directions):
            lane = f"l{layer}" + "_reverse" * direction
            k = layer * config.num_directions + direction
            weights = [np.ascontiguousarray(parameters[f"weight_{side}_{lane}"]) for side in ("ih", "hh")]
            biases = [np.ascontiguousarray(parameters[f"bias_{side}_{lane}"]) for side in ("ih", "hh") if config.bias]
            addresses = [bias.ctypes.data for bias in biases] or [None, None]
            place = output.ctypes.data + direction * H * output.itemsize
            sizes = (*x.shape, H, direction)
            if LANE(*sizes, x, *weights, *addresses, h_n[k], c_n[k], place, output.shape[2]):
                raise MemoryError("the kernel found no memory")
        x = output
    due[...] = x


def begin(state: Any, finals: tuple[np.ndarray, np.ndarray]) -> None:
    """Write (h_0, c_0), verified, or zeros into the arrays that the kernel makes (h_n, c_n) of."""
    given = (0, 0) if state is None else state
    if not isinstance(given, tuple) or len(given) != 2:
        raise ValueError("state must be (h_0, c_0)")
    for part, final in zip(given, finals, strict=True):
        if state is not None and (part.shape != final.shape or part.dtype != np.float32):
            raise ValueError(f"a state is {part.dtype} {part.shape}, but float32 {final.shape} was due")
        final[...] = part
