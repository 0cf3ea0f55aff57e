"""The life of one layer: whatever is done with it, in whatever order, every result is the oracle's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from rnn_conformance.case import Case
from rnn_conformance.oracle import Inputs
from rnn_conformance.strategies import Unit, cases
from rnn_conformance.subject import Broken, DrivenLayer, NotOffered, Result, SaysNothing, Subject

CALM = ("uniform", "normal", "integers")
STEPS = st.sampled_from((1, 2, 3, 7, 17))
ROWS = st.sampled_from((1, 2, 3, 5, 9))


def life_of(unit: Unit, subject: Subject, log: Any) -> type[RuleBasedStateMachine]:
    """The machine that drives one layer, and a second one beside it, within a unit of work."""

    class Life(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.told: list[str] = []
            self.calls = 0

        @initialize(case=cases(unit, unbatched=False, values=CALM, seq_len=2, batch_size=3))
        def born(self, case: Case) -> None:
            """Make the layer, and a second one of other weights."""
            if log.tired:
                reject()
            self.case = case
            self.parameters = dict(case.inputs().parameters)
            self.calls = 0
            self.other_parameters = dict(replace(case, seed=case.seed + 1).inputs().parameters)
            try:
                with self.watched():
                    self.layer = subject.layer(case.config, self.parameters)
                    self.other = subject.layer(case.config, self.other_parameters)
            except NotOffered as reason:
                log.refuse(str(reason))
                reject()
            self.state: Result | None = None
            self.rows = 3
            self.kept: list[tuple[Result, list[bytes]]] = []

        def tell(self, what: str) -> None:
            self.told.append(what)

        @contextmanager
        def watched(self) -> Iterator[None]:
            """Tell the log what breaks here, and after what."""
            try:
                yield
            except Broken as error:
                broken = Broken(f"after {', '.join(self.told) or 'nothing'}: {error}")
                log.fail(self.case, broken)
                raise broken from error

        def call(self, layer: DrivenLayer, parameters: dict[str, Any], steps: int, state: Result | None) -> Result:
            """One call, compared with the oracle from the backend's own state."""
            self.calls += 1
            sized = replace(self.case, seq_len=steps, batch_size=self.rows, hx=False, seed=self.case.seed + self.calls)
            names = ("h_n", "c_n")[: len(self.case.config.state_sizes)]
            hx = None if state is None else tuple(state.arrays[name] for name in names)
            inputs = Inputs(parameters, sized.inputs().input, hx)
            try:
                with self.watched():
                    result = layer(inputs.input, state)
                    subject.agree(result.arrays, subject.truth_unguarded(self.case.config, inputs).budgets)
                    self.unchanged()
            except SaysNothing:
                return result
            self.kept.append((result, bits(subject, result)))
            return result

        def unchanged(self) -> None:
            for result, before in self.kept:
                if bits(subject, result) != before:
                    raise Broken("the results of an earlier call changed")

        @rule(steps=STEPS)
        def go_on(self, steps: int) -> None:
            self.tell(f"{steps} steps")
            result = self.call(self.layer, self.parameters, steps, self.state)
            self.state = None if self.case.config.bidirectional else result

        @rule(rows=ROWS)
        def new_batch(self, rows: int) -> None:
            self.tell(f"a new batch of {rows}")
            self.rows, self.state = rows, None

        @rule()
        def reset(self) -> None:
            self.tell("a reset state")
            self.state = None

        @rule(steps=STEPS)
        def use_other(self, steps: int) -> None:
            self.tell(f"{steps} steps of a second layer")
            self.call(self.other, self.other_parameters, steps, None)

        @rule(seed=st.integers(2, 9))
        def new_weights(self, seed: int) -> None:
            self.tell("new weights")
            changed = dict(replace(self.case, seed=self.case.seed + seed).inputs().parameters)
            try:
                with self.watched():
                    views = self.layer.parameters()
                    for name, values in changed.items():
                        subject.backend.assign(views[name], values)
            except NotOffered:
                return
            self.parameters = changed

        @rule()
        def copy(self) -> None:
            self.tell("a deep copy")
            with self.watched():
                self.layer = self.layer.copy()

        @precondition(lambda self: self.calls)
        @rule()
        def train(self) -> None:
            self.tell("a call in training")
            sized = replace(self.case, seq_len=2, batch_size=self.rows, hx=False).inputs()
            with self.watched():
                self.layer(sized.input, None, training=True)

        def teardown(self) -> None:
            if self.calls:
                log.lived()

    return Life


def bits(subject: Subject, result: Result) -> list[bytes]:
    """The bits of a result as they are in the backend's own arrays now."""
    state = result.native_state if isinstance(result.native_state, tuple) else (result.native_state,)
    return [np.array(subject.backend.to_numpy(native)).tobytes() for native in (result.native_output, *state)]
