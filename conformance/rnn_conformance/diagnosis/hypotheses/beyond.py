"""What torch.nn does not have: ignored, as if the field of the config stood at torch.nn's way, or in another place."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from rnn_conformance.config import LayerConfig
from rnn_conformance.diagnosis.hypotheses.base import Change, add, mistake
from rnn_conformance.diagnosis.hypotheses.sequences import stepping
from rnn_conformance.diagnosis.kernel import Kernel, stack_of

USUAL: dict[str, Any] = {field.name: field.default for field in fields(LayerConfig)}


def ignoring(field: str) -> Change:
    """The kernel of a config without this field."""

    def change(kernel: Kernel) -> Kernel | None:
        if field not in kernel.config.beyond_torch():
            return None
        return with_cell_of(kernel, **{field: USUAL[field]})

    return change


def with_cell_of(kernel: Kernel, **fields: Any) -> Kernel:
    """The kernel with the cell of another config."""
    return replace(kernel, cell=stack_of(replace(kernel.config, **fields), kernel.x).cell)


for _field, _sentence in {
    "activations": "the activations that were asked for are ignored: the usual ones are in their place",
    "clip": "what enters the gates is not clipped",
    "input_forget": "the forget gate has products of its own, where 1 minus the input gate is due",
    "forget_bias": "nothing is added to what enters the forget gate",
    "residual": "the state before is not added to what enters the nonlinearity",
}.items():
    add(f"beyond.{_field.replace('_', '-')}-ignored", _sentence, ignoring(_field))


@mistake("beyond.residual-unasked", "the state before is added to what enters the nonlinearity, though residual is off")
def _residual_unasked(kernel: Kernel) -> Kernel | None:
    return with_cell_of(kernel, residual=True) if kernel.config.kind == "rnn" and not kernel.config.residual else None


@mistake("beyond.residual-after", "the state before is added to what leaves the nonlinearity, not to what enters it")
def _residual_after(kernel: Kernel) -> Kernel | None:
    added = stepping(lambda state, new: (new[0] + state[0],))
    return added(with_cell_of(kernel, residual=False)) if kernel.config.residual else None
