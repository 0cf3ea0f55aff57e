"""Checks: one property each, with a stable id, a sentence that states it, and its source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from hypothesis.stateful import RuleBasedStateMachine

from rnn_conformance.case import Case
from rnn_conformance.strategies import Unit
from rnn_conformance.subject import Broken, Subject

Body = Callable[[Subject, Case], None]


class Log(Protocol):
    """Where a state machine tells what it found."""

    def fail(self, case: Case, error: Broken) -> None:
        """It broke here."""

    def lived(self) -> None:
        """One life has ended well."""

    def refuse(self, reason: str) -> None:
        """The backend does not offer the case."""

    def note(self, case: Case) -> None:
        """Take down what is to be tried."""

    @property
    def tired(self) -> bool:
        """Whether no new failure is looked for."""


Machine = Callable[[Unit, Subject, Log], type[RuleBasedStateMachine]]


@dataclass(frozen=True)
class Check:
    """One property of every recurrent layer."""

    id: str
    sentence: str
    source: str
    body: Body
    drawn: dict[str, Any]  # what it fixes of the cases that are drawn
    needs: tuple[str, ...] = ()  # checks without which this one says nothing
    cells: tuple[str, ...] = ()  # those that it is about; empty for all
    explicit: Callable[[Unit], list[Case]] | None = None  # cases that always run first
    share: float = 1.0  # of a profile's examples
    covering: bool = True  # whether it begins with the covering set
    machine: Machine | None = None  # a state machine in place of cases that are drawn
    offered: bool = True  # whether it is about configs that the backend offers
    dtypes: tuple[str, ...] = ()  # those that it is about; empty for all
    deadly: bool = False  # whether it has ended processes of released libraries, so that it runs in isolation alone
    gradients: bool = False  # whether it draws only activations of which the oracle has gradients

    @property
    def family(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]

    @property
    def module(self) -> str:
        """The name of the module that has it."""
        return self.body.__module__


CHECKS: dict[str, Check] = {}


def check(
    source: str,
    *,
    needs: tuple[str, ...] = (),
    cells: tuple[str, ...] = (),
    explicit: Callable[[Unit], list[Case]] | None = None,
    share: float = 1.0,
    covering: bool = True,
    machine: Machine | None = None,
    offered: bool = True,
    dtypes: tuple[str, ...] = (),
    deadly: bool = False,
    gradients: bool = False,
    **drawn: Any,
) -> Callable[[Body], Callable[[Any], None]]:
    """Make a check of a function `test_NAME(subject, case)` in a module `test_FAMILY`: its id is FAMILY.NAME.

    The function's docstring is the sentence that it checks. `drawn` goes to `strategies.cases`.
    """

    def made(body: Body) -> Callable[[Any], None]:
        family = body.__module__.rpartition("test_")[2]
        name = body.__name__.removeprefix("test_")
        sentence = " ".join((body.__doc__ or "").split())
        id = f"{family}.{name}"
        made_check = Check(
            id=id,
            sentence=sentence,
            source=source,
            body=body,
            drawn=drawn,
            needs=needs,
            cells=cells,
            explicit=explicit,
            share=share,
            covering=covering,
            machine=machine,
            offered=offered,
            dtypes=dtypes,
            deadly=deadly,
            gradients=gradients,
        )
        CHECKS[made_check.id] = made_check

        def test(rnn_unit: Any) -> None:
            rnn_unit(made_check)

        test.__name__ = test.__qualname__ = body.__name__
        test.__doc__ = body.__doc__
        test.__module__ = body.__module__
        test.rnn_check = made_check  # type: ignore[attr-defined]
        return test

    return made
