"""The life of one layer: whatever is done with it, in whatever order, every result is the oracle's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from rnn_conformance.case import Case
from rnn_conformance.oracle import Inputs
from rnn_conformance.strategies import Unit, cases
from rnn_conformance.subject import BackendRaised, Broken, DrivenLayer, NotOffered, Result, SaysNothing, Subject

CALM = ("uniform", "normal", "integers")
STEPS = st.sampled_from((1, 2, 3, 7, 17))
ROWS = st.sampled_from((1, 2, 3, 5, 9))


def life_of(unit: Unit, subject: Subject, log: Any) -> type[RuleBasedStateMachine]:
    """The machine that drives one layer, and a second one beside it, within a unit of work."""
    fixed: dict[str, Any] = {"seq_len": 2, "batch_size": 3, "dropout": (0.0, 0.5)} | dict(
        subject.backend.extras(unit.cell)
    )

    class Life(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.told: list[str] = []
            self.calls = 0
            self.rows = 3
            self.state: Result | None = None
            self.kept: list[tuple[Result, list[bytes]]] = []

        @contextmanager
        def told_of(self, what: str) -> Iterator[None]:
            """Tell what is done next; keep a failure, with all that was told before it."""
            self.told.append(what)
            try:
                yield
            except NotOffered:
                return
            except Broken as error:
                broken = Broken(f"after {', '.join(self.told)}: {error}")
                log.fail(self.case, broken)
                raise broken from error

        @initialize(case=cases(unit, unbatched=False, values=CALM, **fixed))
        def born(self, case: Case) -> None:
            """Make the layer, and a second one of other weights."""
            if log.tired or log.expected:  # what was expected is not made smaller
                reject()
            self.case = case
            with self.told_of("being asked what it supports"):
                if subject.supports(case.config):
                    case = self.case = replace(case, config=replace(case.config, dropout=0.0))
                if reason := subject.supports(case.config):
                    log.refuse(reason)
                    reject()
            log.note(case)
            self.parameters = self.drawn_parameters(0)
            self.other_parameters = self.drawn_parameters(1)
            with self.told_of("being made"):
                self.layer = subject.layer(case.config, self.parameters)
                self.other = subject.layer(case.config, self.other_parameters)
            self.go_on(2)

        def drawn_parameters(self, number: int) -> dict[str, Any]:
            return dict(replace(self.case, seed=self.case.seed + number).inputs().parameters)

        def drawn_input(self, steps: int) -> Any:
            """Input of the present batch, new at each call."""
            self.calls += 1
            sized = replace(self.case, seq_len=steps, batch_size=self.rows, hx=False, seed=self.case.seed + self.calls)
            return sized.inputs().input

        def call(
            self,
            layer: DrivenLayer,
            parameters: dict[str, Any],
            steps: int,
            state: Result | None = None,
            lengths: tuple[int, ...] | None = None,
            training: bool = False,
        ) -> Result:
            """One call, compared with the oracle from the backend's own state."""
            names = ("h_n", "c_n")[: len(self.case.config.state_sizes)]
            hx = None if state is None else tuple(state.arrays[name] for name in names)
            inputs = Inputs(parameters, self.drawn_input(steps), hx, lengths)
            result = layer(inputs.input, state, lengths, training=training)
            try:
                subject.agree(result.arrays, subject.truth_unguarded(self.case.config, inputs).budgets)
            except SaysNothing:
                return result
            for earlier, before in self.kept:
                if bits(subject, earlier) != before:
                    raise Broken("the results of an earlier call changed")
            self.kept.append((result, bits(subject, result)))
            return result

        @rule(steps=STEPS)
        def go_on(self, steps: int) -> None:
            """The next chunk of a sequence, from the state that the one before left."""
            with self.told_of(f"{steps} steps"):
                result = self.call(self.layer, self.parameters, steps, self.state)
                self.state = None if self.case.config.bidirectional else result

        @rule(steps=STEPS)
        def go_ragged(self, steps: int) -> None:
            if not subject.backend.policy.lengths:
                return
            lengths = (steps, *(1 + (self.calls + k) % steps for k in range(self.rows - 1)))
            with self.told_of(f"lengths {lengths}"):
                self.call(self.layer, self.parameters, steps, lengths=lengths)

        @rule(rows=ROWS)
        def new_batch(self, rows: int) -> None:
            self.told.append(f"a new batch of {rows}")
            self.rows, self.state = rows, None

        @rule()
        def reset(self) -> None:
            self.told.append("a reset state")
            self.state = None

        @rule(steps=STEPS)
        def use_other(self, steps: int) -> None:
            with self.told_of(f"{steps} steps of a second layer"):
                self.call(self.other, self.other_parameters, steps)

        @rule(number=st.integers(2, 9))
        def new_weights(self, number: int) -> None:
            with self.told_of("new weights"):
                views, changed = self.layer.parameters(), self.drawn_parameters(number)
                for name, values in changed.items():
                    subject.assign(views[name], values)
                self.parameters = changed

        @rule()
        def copy(self) -> None:
            with self.told_of("a deep copy"):
                self.layer = self.layer.copy()

        @rule()
        def save_and_load(self) -> None:
            """Go on with a new layer of other weights into which the old one's were loaded."""
            with self.told_of("being saved, and loaded into a new layer"):
                saved = self.layer.save()
                loaded = subject.layer(self.case.config, self.other_parameters)
                loaded.load(saved)
                self.layer = loaded

        @rule(steps=STEPS)
        def train(self, steps: int) -> None:
            """A call in training; with dropout nobody knows its result, but it must leave nothing behind."""
            with self.told_of(f"{steps} steps in training"):
                if self.case.config.dropout and self.case.config.num_layers > 1:
                    self.layer(self.drawn_input(steps), None, training=True)
                else:
                    self.call(self.layer, self.parameters, steps, training=True)

        @rule()
        def call_wrongly(self) -> None:
            """A wrong call, whose refusal is another check's matter, leaves nothing behind either."""
            self.told.append("a wrong call")
            input = self.drawn_input(2)
            try:
                self.layer.wrongly(np.concatenate([input, input], axis=-1), (), None)
            except BackendRaised:
                return

        def teardown(self) -> None:
            if self.calls:
                log.lived()

    return Life


def bits(subject: Subject, result: Result) -> list[bytes]:
    """The bits of a result as they are in the backend's own arrays now."""
    state = result.native_state if isinstance(result.native_state, tuple) else (result.native_state,)
    return [np.array(subject.backend.to_numpy(native)).tobytes() for native in (result.native_output, *state)]
