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
def forward(config: Any, parameters: dict[str, np.ndarray], x: np.ndarray, state: Any) -> Any:
    """The stack: `lstm_lane` for each layer and direction."""
    unbatched = x.ndim == 2
    x = x[:, None] if unbatched else x.swapaxes(0, 1) if config.batch_first else x
    if x.ndim != 3 or x.shape[2] != config.input_size or x.dtype != np.float32:
        raise ValueError(f"x is {x.dtype} {x.shape}, but float32 (steps, batch, {config.input_size}) was due")
    steps, batch = x.shape[:2]
    lanes, H = config.lanes, config.hidden_size
    h, c = initial(state, (lanes, H) if unbatched else (lanes, batch, H), (lanes, batch, H))
    for layer in range(config.num_layers):
        x = np.ascontiguousarray(x)
        output = np.zeros((steps, batch, config.output_size), np.float32)
        for direction in range(config.num_directions):
            lane = f"l{layer}" + "_reverse" * direction
            k = layer * config.num_directions + direction
            weights = [np.ascontiguousarray(parameters[f"weight_{side}_{lane}"]) for side in ("ih", "hh")]
            biases = [np.ascontiguousarray(parameters[f"bias_{side}_{lane}"]) for side in ("ih", "hh") if config.bias]
            addresses = [bias.ctypes.data for bias in biases] or [None, None]
            place = output.ctypes.data + direction * H * output.itemsize
            sizes = (steps, batch, x.shape[2], H, direction)
            if LANE(*sizes, x, *weights, *addresses, h[k], c[k], place, output.shape[2]):
                raise MemoryError("the kernel found no memory")
        x = output
    if unbatched:
        return x[:, 0], (h[:, 0], c[:, 0])
    return (x.swapaxes(0, 1) if config.batch_first else x), (h, c)


def initial(state: Any, due: tuple[int, ...], shape: tuple[int, ...]) -> list[np.ndarray]:
    """Copies of (h_0, c_0), verified, for the kernel to write into; zeros where there is no state."""
    if state is None:
        return [np.zeros(shape, np.float32) for _ in range(2)]
    if not isinstance(state, tuple) or len(state) != 2:
        raise ValueError("state must be (h_0, c_0)")
    for part in state:
        if part.shape != due or part.dtype != np.float32:
            raise ValueError(f"a state is {part.dtype} {part.shape}, but float32 {due} was due")
    return [np.array(part.reshape(shape), order="C") for part in state]
