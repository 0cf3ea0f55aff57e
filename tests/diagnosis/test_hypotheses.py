"""Each hypothesis is recognised where a kernel makes its mistake, and a right kernel is taken for none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from rnn_conformance.backends.numpy import NumPyBackend
from rnn_conformance.budget import Budget
from rnn_conformance.case import Case
from rnn_conformance.config import CELLS, DTYPES, LayerConfig
from rnn_conformance.diagnosis.catalogue import hypotheses
from rnn_conformance.diagnosis.hypotheses.base import Hypothesis
from rnn_conformance.diagnosis.question import Array, GradientQuestion, Question, asked, asked_for_gradients
from rnn_conformance.diagnosis.search import RIGHT, alike, diagnose, fitting, ranked
from rnn_conformance.diagnosis.table import table
from rnn_conformance.subject import SaysNothing, Subject

from tests.diagnosis.mistaken import MistakenBackend, cases

ALL = [hypothesis for kind in ("values", "gradients") for hypothesis in hypotheses(kind)]  # type: ignore[arg-type]
FOREVER = float("inf")


@cache
def _prediction(hypothesis: Hypothesis, case: Case, gradients: bool) -> tuple[float | None, Array] | None:
    """What a mistake gives in a case, whatever a backend gives: shared by the tests of all hypotheses."""
    right = Subject(NumPyBackend())
    question = asked_for_gradients(right, case) if gradients else asked(right, case)
    return question.predicted_by(hypothesis)


@cache
def _right(case: Case, gradients: bool) -> dict[str, Budget]:
    """What a right kernel gives."""
    right = Subject(NumPyBackend())
    return (asked_for_gradients(right, case) if gradients else asked(right, case)).budgets


class _Remembering(Question):
    @property
    def budgets(self) -> dict[str, Budget]:  # type: ignore[override]
        return _right(self.case, isinstance(self, GradientQuestion))

    def predicted_by(self, hypothesis: Hypothesis) -> tuple[float | None, Array] | None:
        if hypothesis.tuned:
            return super().predicted_by(hypothesis)
        return _prediction(hypothesis, self.case, isinstance(self, GradientQuestion))


@dataclass(frozen=True)
class _Values(_Remembering, Question):
    pass


@dataclass(frozen=True)
class _Gradients(_Remembering, GradientQuestion):
    pass


def _remembering(question: Question) -> Question:
    own = (question.case, question.inputs, question.arithmetic, question.actual)
    return _Gradients(*own, question.upstream) if isinstance(question, GradientQuestion) else _Values(*own)


def _shown(hypothesis: Hypothesis) -> Iterator[Question]:
    """The cases in which a backend with this mistake deviates."""
    subject = Subject(MistakenBackend(hypothesis))
    gradients = hypothesis.kind == "gradients"
    for case in cases():
        try:
            if _prediction(hypothesis, case, gradients) is None:
                continue
            question = _remembering((asked_for_gradients if gradients else asked)(subject, case))
        except SaysNothing:
            continue
        if not question.right and question.fit(hypothesis):
            yield question


@pytest.mark.parametrize("hypothesis", ALL, ids=lambda h: h.id)
def test_recognised(hypothesis: Hypothesis) -> None:
    question = next(_shown(hypothesis))
    fits = ranked(fitting(question, hypotheses(hypothesis.kind), FOREVER))
    assert fits, "nothing fits"
    first = [fit.hypothesis.id for fit in alike(fits)]
    tuned_to_the_same = hypothesis.tuned and not fits[0].hypothesis.tuned
    assert hypothesis.id in first or tuned_to_the_same, first


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_right_kernel_gets_none(cell: str, dtype: str) -> None:
    case = Case(LayerConfig(cell, 3, 4, num_layers=2, bidirectional=True, dtype=dtype), 5, 3, values="normal")
    for kind in ("values", "gradients"):
        found = diagnose(Subject(NumPyBackend()), case, kind)  # type: ignore[arg-type]
        assert not found.likely
        assert found.location == RIGHT


@pytest.mark.parametrize("merge_mode", ["sum", "mul", "ave"])
def test_every_mistake_can_be_made_where_directions_are_merged(merge_mode: str) -> None:
    config = LayerConfig("lstm", 4, 4, num_layers=3, bidirectional=True, merge_mode=merge_mode)
    case = Case(config, 5, 3, (5, 2, 3), values="normal", seed=1)
    right = Subject(NumPyBackend())
    for question in (asked(right, case), asked_for_gradients(right, case)):
        due = shapes(question.predicted(question.exact))
        for hypothesis in ALL:
            if (hypothesis.kind == "gradients") == isinstance(question, GradientQuestion) and not hypothesis.tuned:
                kernel = hypothesis.change(question.exact)
                assert kernel is None or shapes(question.predicted(kernel)) == due, hypothesis.id


def shapes(results: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
    """The shape of each result."""
    return {name: array.shape for name, array in results.items()}


def test_ids_and_sentences_are_unique() -> None:
    assert len({hypothesis.id for hypothesis in ALL}) == len(ALL) >= 40
    for hypothesis in ALL:
        assert hypothesis.sentence[0].islower() or hypothesis.sentence[0] in "{0123456789+-TH", hypothesis.sentence
        assert ("{amount}" in hypothesis.sentence) == hypothesis.tuned, hypothesis.id


def test_table_in_docs_is_fresh() -> None:
    page = (Path(__file__).parents[2] / "docs" / "diagnosis.md").read_text()
    assert page.endswith(f"## All hypotheses\n\n{table()}"), "run python -m rnn_conformance.diagnosis.table"
