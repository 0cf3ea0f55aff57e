"""How a script is written: for a torch module with torch alone, for any other backend through its own interface."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pprint import pformat
from typing import Any

import numpy as np

from rnn_conformance.backend import Array, Backend
from rnn_conformance.backends import BUILT_IN
from rnn_conformance.config import LayerConfig
from rnn_conformance.judge import Wrong
from rnn_conformance.request import KINDS
from rnn_conformance.trace import Called, Copied, Differentiated, Event, Made, Wrote

LONGEST = 8_000  # characters of a script
MOST_NUMBERS = 40  # of an array that is written out; a larger one is packed
WIDTH = 110
REPLAYS = "# No short series of plain calls shows this, so the script lets rnn_conformance replay the case."


def dialect_of(backend: Backend) -> Dialect:
    """The one in which this backend is driven most plainly."""
    asked = getattr(backend, "request", None)  # of a backend in another process
    if isinstance(asked, Mapping):
        targets = {kind: str(asked[kind]) for kind in KINDS if asked.get(kind)}
        return TorchDialect(targets) if targets else Dialect(str(asked.get("backend", "")))
    modules, kind = getattr(backend, "modules", None), type(backend)
    if kind.__name__ in ("DropInBackend", "TorchBackend") and isinstance(modules, Mapping):
        return TorchDialect({kind: target_of(module) for kind, module in modules.items() if module is not None})
    target = target_of(kind)
    known = next((name for name, at in BUILT_IN.items() if at == target), "")
    return Dialect(known or (backend.name if ":" in backend.name else target))


def target_of(made: Any) -> str:
    """Where a class or function is found, as `module:name`."""
    module = "torch.nn" if made.__module__.startswith("torch.nn.") else made.__module__
    return f"{module}:{made.__qualname__}"


class Dialect:
    """The interface of rnn_conformance."""

    imports = ("import numpy as np",)

    def __init__(self, target: str) -> None:
        self.target = target
        self.packed = False
        self.needs: set[str] = set()
        self.layers: list[str] = []
        self.configs: list[LayerConfig] = []

    # A whole script

    def script(self, said: Sequence[str], events: Sequence[Event], shown: Wrong | str) -> str:
        """The script that does all this, and holds the last event to what was due."""
        several = sum(isinstance(e, Made | Copied) for e in events) > 1
        body: list[str] = []
        for at, event in enumerate(events):
            last = at == len(events) - 1
            body += self._event(event, several, at, len(events) == 2 or last, shown if last else "")
        if shown == "accepted":
            body = refusing(body)
        loads, head = self.head([e.config for e in events if isinstance(e, Made)])
        lines = [f"# {line}" for line in said]
        imports = [*self._standard(body, shown), *self.imports, *sorted(self.needs), *loads]
        return "\n".join([*lines, *imports, "", *head, *self._unpacking(), *body]) + "\n"

    def head(self, configs: Sequence[LayerConfig]) -> tuple[list[str], list[str]]:
        """What is imported, and what comes before the first layer."""
        loads = ["from rnn_conformance import LayerConfig", "from rnn_conformance.backends import load_backend"]
        return loads, [f"backend = load_backend({self.target!r})"]

    def _standard(self, body: Sequence[str], shown: Wrong | str) -> list[str]:
        text = "\n".join(body)
        found = ["import base64", "import zlib"] if self.packed else []
        return found + [f"import {name}" for name in ("copy", "sys") if f"{name}." in text]

    def _unpacking(self) -> list[str]:
        if not self.packed:
            return []
        return ["", "", "def unpacked(text, dtype, *shape):", f"    {self.unpacked}", "", ""]

    unpacked = "return np.frombuffer(zlib.decompress(base64.b85decode(text)), dtype).reshape(shape).copy()"

    # Its parts

    def _event(self, event: Event, several: bool, at: int, bare: bool, shown: Wrong | str) -> list[str]:
        if isinstance(event, Made):
            self.layers.append(f"layer{len(self.layers)}" if several else "layer")
            self.configs.append(event.config)
            return self.guarded(self.made(self.layers[-1], event), shown, "a layer was made")
        if isinstance(event, Copied):
            self.layers.append(f"layer{len(self.layers)}")
            self.configs.append(self.configs[event.layer])
            return [f"{self.layers[-1]} = copy.deepcopy({self.layers[event.layer]})"]
        if isinstance(event, Wrote):
            return self.wrote(self.layers[event.layer], event)
        return self._call(event, at, bare, shown)

    def _call(self, event: Called, at: int, bare: bool, shown: Wrong | str) -> list[str]:
        config = self.configs[event.layer]
        lines = [f"x = {self.structure(event.input, config.device)}"]
        hx = "" if event.hx is None else "hx"
        if event.given_by is not None:
            lines.append(f"hx = state{event.given_by}")
        elif hx:
            lines.append(f"hx = {self.structure(event.hx, config.device)}")
        state = "(h_n, c_n)" if config.kind == "lstm" else "h_n"
        state = state if bare else f"state{at}"
        if isinstance(event, Differentiated):
            lines.append(f"d_output = {self.structure(event.d_output, config.device)}")
            lines.append(f"d_state = {self.structure(event.d_state, config.device)}")
            call = self.differentiated(self.layers[event.layer], config, event, hx, state)
        else:
            call = self.called(self.layers[event.layer], config, event, hx, state)
        return lines + self.guarded(call, shown, "a result, as was due")

    def guarded(self, lines: list[str], shown: Wrong | str, what: str) -> list[str]:
        """The lines, and what is due of them."""
        if shown == "raised":
            return [*lines, f'print("{what}")  # and no exception']
        return lines + (self.verdict(shown) if isinstance(shown, Wrong) else [])

    def verdict(self, wrong: Wrong) -> list[str]:
        """Compare with what was due, and say it."""
        array, name = self.place(wrong.array)
        if wrong.form is not None:
            what, due = wrong.form
            if what == "absence":
                return [
                    f"got = {array}",
                    f'print("{name} is", got, "but", {due!r}, "was due")',
                    "sys.exit(got is None)",
                ]
            got = f"tuple({array}.shape)" if what == "shape" else f"str({array}.dtype).removeprefix('torch.')"
            test = f"got == {due}" if what == "shape" else f"got == {due!r}"
            said = f'print("{name} has the {what}", got, "but", {due!r}, "was due")'
            return [f"got = {got}", said, f"sys.exit(not {test})"]
        index = ", ".join(map(str, wrong.index))
        at = f"{array}[{index}]" if wrong.index else array
        return [
            f"got, due, allowed = float({at}), {wrong.due!r}, {wrong.allowed:.3g}",
            f'print("{name}[{index}] is", got, "but", due, "was due, give or take", allowed)',
            "sys.exit(not abs(got - due) <= allowed)",
        ]

    def place(self, name: str) -> tuple[str, str]:
        """The expression for a result, and its name."""
        if name.startswith("gradient "):
            by = name.removeprefix("gradient ")
            return f"backend.to_numpy(gradients[{by!r}])", f"the gradient by {by}"
        return f"backend.to_numpy({name})", name

    def made(self, layer: str, event: Made) -> list[str]:
        """Make a layer."""
        given = [f"{name}={value!r}" for name, value in departures(event.config).items()]
        made = f"LayerConfig({', '.join(given)})"
        return [
            f"weights = {self.mapping(event.parameters)}",
            f"{layer} = backend.layer({made}, weights)",
        ]

    def wrote(self, layer: str, event: Wrote) -> list[str]:
        """Write into a parameter."""
        return [f"backend.assign({layer}.parameters()[{event.name!r}], {self.array(event.values)})"]

    def called(self, layer: str, config: LayerConfig, event: Called, hx: str, state: str) -> list[str]:
        """Call a layer."""
        given = [name for name in ("x", hx) if name]
        if event.lengths is not None:
            given.append(f"lengths={event.lengths!r}")
        if event.training:
            given.append("training=True")
        return [f"output, {state} = {layer}.forward({', '.join(given)})"]

    def differentiated(self, layer: str, config: LayerConfig, event: Differentiated, hx: str, state: str) -> list[str]:
        """Differentiate through a layer."""
        given = f"x, {hx or None}, d_output, d_state, lengths={event.lengths!r}"
        return [f"output, {state}, gradients = {layer}.gradients({given})"]

    # Numbers

    def structure(self, value: Any, device: str) -> str:
        """An argument in the backend's own type."""
        if isinstance(value, tuple):
            return f"({', '.join(self.structure(part, device) for part in value)}{',' * (len(value) == 1)})"
        return "None" if value is None else f"backend.from_numpy({self.array(value)}, {device!r})"

    def mapping(self, parameters: Mapping[str, Array]) -> str:
        """Parameters by name."""
        return "{\n" + "".join(f"    {name!r}: {self.array(array)},\n" for name, array in parameters.items()) + "}"

    def array(self, array: Array) -> str:
        """An array, its numbers written out where they are few."""
        dtype = self.dtype(array.dtype.name)
        if not array.size:
            return f"np.zeros({array.shape!r}, {dtype})"
        if array.size > MOST_NUMBERS:
            self.packed = True
            return f"unpacked({packed(array)!r}, {dtype}, {', '.join(map(str, array.shape))})"
        return f"np.array({numbers(array)}, {dtype})"

    def dtype(self, name: str) -> str:
        """The expression for a dtype."""
        if name == "bfloat16":
            self.needs.add("import ml_dtypes")
            return "ml_dtypes.bfloat16"
        return f"np.{name}"

    # A script that lets the suite drive

    def replaying(self, check: str, sentence: str, case: str, fields: dict[str, Any], **options: Any) -> str:
        """The script that has the suite replay a case, for what no plain call shows."""
        rules = [f"{name}={value!r}" for name, value in options.items() if value is not None]
        call = ", ".join(["CHECK", "CASE", self.replayed(), *rules])
        return "\n".join(
            [
                REPLAYS,
                f"# {check}: {sentence}",
                f"# {case}",
                "import sys",
                "from rnn_conformance.replay import replay",
                "",
                f"CHECK = {check!r}",
                f"CASE = {pformat(fields, width=WIDTH, compact=True, sort_dicts=False)}",
                f"shown = replay({call})",
                'print("\\n".join(shown.lines))',
                "sys.exit(shown.again)",
                "",
            ]
        )

    def replayed(self) -> str:
        """The arguments that say what is replayed."""
        return repr(self.target)


class TorchDialect(Dialect):
    """torch alone, for its own modules and those that stand in their place."""

    imports = ("import torch",)
    unpacked = "return torch.frombuffer(bytearray(zlib.decompress(base64.b85decode(text))), dtype=dtype).reshape(shape)"

    def __init__(self, targets: Mapping[str, str]) -> None:
        super().__init__("")
        self.targets = targets

    def head(self, configs: Sequence[LayerConfig]) -> tuple[list[str], list[str]]:
        """What is imported."""
        found: list[str] = []
        for kind in dict.fromkeys(config.kind for config in configs):
            found += imported(self.targets[kind])[0]
        return found, []

    def replayed(self) -> str:
        """The drop-in classes."""
        return ", ".join(f"{kind}={target!r}" for kind, target in self.targets.items())

    def made(self, layer: str, event: Made) -> list[str]:
        """Make a module, and fill it."""
        config = event.config
        arguments = ", ".join(f"{name}={value!r}" for name, value in config.torch_arguments().items())
        _, name = imported(self.targets[config.kind])
        return [
            f"{layer} = {name}({arguments}).to({config.device!r}, torch.{config.dtype})",
            f"weights = {self.mapping(event.parameters)}",
            "with torch.no_grad():",
            f"    for name, parameter in {layer}.named_parameters():",
            "        parameter.copy_(weights[name])",
        ]

    def wrote(self, layer: str, event: Wrote) -> list[str]:
        """Copy into a parameter."""
        return ["with torch.no_grad():", f"    {layer}.{event.name}.copy_({self.array(event.values)})"]

    def called(self, layer: str, config: LayerConfig, event: Called, hx: str, state: str) -> list[str]:
        """Call a module."""
        mode = "train" if event.training else "eval"
        run = self._run(f"{layer}.{mode}()", config, event, hx, state)
        return ["with torch.no_grad():", *(f"    {line}" for line in run)]

    def _run(self, module: str, config: LayerConfig, event: Called, hx: str, state: str) -> list[str]:
        given = ", ".join(name for name in ("x", hx) if name)
        if event.lengths is None or event.input is None:
            return [f"output, {state} = {module}({given})"]
        first = f", batch_first={config.batch_first}" if config.batch_first else ""
        steps = event.input.shape[1 if config.batch_first else 0]
        self.needs.add("from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence")
        return [
            f"packed = pack_padded_sequence(x, {list(event.lengths)}{first}, enforce_sorted=False)",
            f"output, {state} = {module}({given.replace('x', 'packed', 1)})",
            f"output, _ = pad_packed_sequence(output{first}, total_length={steps})",
        ]

    def differentiated(self, layer: str, config: LayerConfig, event: Differentiated, hx: str, state: str) -> list[str]:
        """A module's forward, and autograd's backward through it."""
        leaves = ["x", *(("h_0", "c_0")[: 2 if isinstance(event.hx, tuple) else 1] if hx else ())]
        lines = ["x.requires_grad_()"]
        if hx:
            target = "h_0, c_0" if isinstance(event.hx, tuple) else "h_0"
            lines.append(
                f"{target} = {'(part.requires_grad_() for part in hx)' if ',' in target else 'hx.requires_grad_()'}"
            )
        run = self._run(
            f"{layer}.train()", config, event, f"({target})" if hx and "," in target else "h_0" if hx else "", state
        )
        states = "[output, h_n, c_n]" if config.kind == "lstm" else "[output, h_n]"
        parts = "[d_output, *d_state]" if config.kind == "lstm" else "[d_output, d_state]"
        named = ", ".join(f"{'input' if leaf == 'x' else leaf!s}={leaf}.grad" for leaf in leaves)
        return [
            *lines,
            *run,
            f"torch.autograd.backward({states}, {parts})",
            f"gradients = dict({named}, **{{name: p.grad for name, p in {layer}.named_parameters()}})",
        ]

    def place(self, name: str) -> tuple[str, str]:
        """The expression for a result, and its name."""
        if name.startswith("gradient "):
            by = name.removeprefix("gradient ")
            return f"gradients[{by!r}]", f"the gradient by {by}"
        return name, name

    def structure(self, value: Any, device: str) -> str:
        """A tensor, or a tuple of them."""
        if isinstance(value, tuple):
            return f"({', '.join(self.structure(part, device) for part in value)}{',' * (len(value) == 1)})"
        moved = "" if device == "cpu" else f".to({device!r})"
        return "None" if value is None else self.array(value) + moved

    def array(self, array: Array) -> str:
        """A tensor, its numbers written out where they are few."""
        dtype = f"torch.{array.dtype.name}"
        if not array.size:
            return f"torch.zeros({array.shape!r}, dtype={dtype})"
        if array.size > MOST_NUMBERS:
            self.packed = True
            return f"unpacked({packed(array)!r}, {dtype}, {', '.join(map(str, array.shape))})"
        return f"torch.tensor({numbers(array)}, dtype={dtype})"


def imported(target: str) -> tuple[list[str], str]:
    """The line that imports `module:name`, and its name then."""
    module, _, name = target.partition(":")
    if module == "torch.nn":
        return [], f"torch.nn.{name}"
    if module == "__main__" or "<locals>" in name:
        name = name.rpartition(".")[2]
        return [f"# put the definition of {name} here"], name
    return [f"from {module} import {name.partition('.')[0]}"], name


def departures(config: LayerConfig) -> dict[str, Any]:
    """The fields of a config that do not stand at their defaults."""
    return {field.name: value for field in fields(config) if (value := getattr(config, field.name)) != field.default}


def refusing(body: Sequence[str]) -> list[str]:
    """The lines, of which one is to be refused."""
    inner = [f"    {line}" for part in body for line in part.splitlines()]
    refused = ["except Exception as error:", '    print("refused, as was due:", error)', "    sys.exit(0)"]
    return ["try:", *inner, *refused, 'print("a result of a wrong call, where an exception was due")', "sys.exit(1)"]


def numbers(array: Array) -> str:
    """Nested lists of the shortest numbers that round to the array's."""
    if array.ndim == 0:
        return _number(array[()])
    return f"[{', '.join(numbers(part) for part in array)}]"


def _number(value: Any) -> str:
    if value.dtype.kind in "iub":
        return str(value.item())
    exact = float(value)
    if not np.isfinite(exact):
        return f"float({str(exact)!r})"
    short = float(str(value))
    return repr(short if np.array(short).astype(value.dtype) == value else exact)


def packed(array: Array) -> str:
    """The bytes of an array, compressed, as text."""
    return base64.b85encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 9)).decode()
