"""Files of named arrays in the safetensors format, bfloat16 included, which the package's NumPy door does not take.

The format: the header's length in 8 bytes, little-endian; a JSON header of each array's dtype, shape and place; data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

Array = np.ndarray[Any, Any]

DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
}
LARGEST = 2**30  # bytes of a file
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write these arrays, in row-major order."""
    header, place = {}, 0
    for name, array in arrays.items():
        end = place + array.nbytes
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that data is aligned
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(array.tobytes())


def read(path: Path) -> dict[str, Array]:
    """The arrays of a file.

    Raises:
        OSError: where there is none.
        ValueError: where it is not of this format, or larger than any that a layer needs.
    """
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path.name} is larger than {LARGEST:,} bytes")
    content = path.read_bytes()
    try:
        return _arrays(content)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"{path.name} is not in the safetensors format: {type(error).__name__}: {said}") from error


def _arrays(content: bytes) -> dict[str, Array]:
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    found = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        first, end = entry["data_offsets"]
        flat = np.frombuffer(content[start + first : start + end], DTYPES[entry["dtype"]])
        found[name] = flat.reshape(entry["shape"]).copy()
    return found
