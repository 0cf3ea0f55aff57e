"""What torch.nn does not have, ignored: the kernel computes as if the field of the config stood at torch.nn's way."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from rnn_conformance.config import LayerConfig
from rnn_conformance.diagnosis.hypotheses.base import Change, add
from rnn_conformance.diagnosis.kernel import Kernel, stack_of

USUAL: dict[str, Any] = {field.name: field.default for field in fields(LayerConfig)}


def ignoring(field: str) -> Change:
    """The kernel of a config without this field."""

    def change(kernel: Kernel) -> Kernel | None:
        if field not in kernel.config.beyond_torch():
            return None
        return replace(kernel, cell=stack_of(replace(kernel.config, **{field: USUAL[field]}), kernel.x).cell)

    return change


for _field, _sentence in {
    "activations": "the activations that were asked for are ignored: the usual ones are in their place",
    "clip": "what enters the gates is not clipped",
    "input_forget": "the forget gate has products of its own, where 1 minus the input gate is due",
    "forget_bias": "nothing is added to what enters the forget gate",
}.items():
    add(f"beyond.{_field.replace('_', '-')}-ignored", _sentence, ignoring(_field))
