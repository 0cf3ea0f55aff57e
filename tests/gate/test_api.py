"""`check_backend`: in a script or a notebook, with whatever stands for a backend."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from rnn_conformance import check_backend
from rnn_conformance.backend import WrongUse
from rnn_conformance.backends.numpy import NumPyBackend
from rnn_conformance.run import load_checks, units

from .wrong import NoForward, SwappedGates, SwappedLSTM

CHECKS = ["values.cell"]


@pytest.mark.parametrize("backend", ["numpy", NumPyBackend, NumPyBackend()], ids=["name", "class", "object"])
def test_a_backend_by_name_class_or_object(backend: Any) -> None:
    outcome = check_backend(backend, checks=CHECKS)
    assert outcome.ok
    assert repr(outcome).startswith("CONFORMS: numpy")


def test_a_choice_of_checks_is_told_by_how_many_units_the_suite_has() -> None:
    outcome = check_backend("numpy", checks=CHECKS)
    every = sum(1 for check in load_checks().values() for _ in units(check, "cpu", 0))
    assert outcome.record.suite_units == every
    assert repr(outcome).splitlines()[-1].endswith(f"passes 16 units of work; 16 of the suite's {every} were asked for")


def test_a_finding_is_shown_with_its_replay() -> None:
    outcome = check_backend(SwappedGates, checks=CHECKS)
    assert not outcome.ok
    assert "FAILED values.cell" in repr(outcome)
    assert "replay: rnn-conformance replay 'values.cell " in repr(outcome)
    assert f"--backend={SwappedGates.__module__}:SwappedGates" in repr(outcome)
    assert repr(outcome).splitlines()[-1].startswith("DOES NOT CONFORM: swapped-gates")


@pytest.mark.parametrize("lstm", [SwappedLSTM, f"{SwappedLSTM.__module__}:SwappedLSTM"], ids=["class", "name"])
def test_drop_in_classes(lstm: Any) -> None:
    outcome = check_backend(lstm=lstm, checks=CHECKS)
    assert {r.cell: r.outcome for r in outcome.record.checks}["gru"] == "not_offered"
    assert not outcome.ok
    assert check_backend(gru=torch.nn.GRU, checks=CHECKS).ok


def test_a_notebook_shows_the_page_in_a_frame_of_its_own() -> None:
    html = check_backend("numpy", checks=CHECKS)._repr_html_()
    assert html.startswith('<iframe srcdoc="&lt;!DOCTYPE html&gt;')
    assert html.count("<") == 2  # the page itself is escaped


@pytest.mark.parametrize(
    ("given", "due"),
    [
        ({}, "give either a backend, or drop-in classes"),
        ({"backend": "numpy", "lstm": torch.nn.LSTM}, "give either a backend, or drop-in classes"),
        ({"backend": "nosuch"}, "no backend is called 'nosuch'"),
        ({"backend": 3}, "a subclass of rnn_conformance.Backend, not int"),
        ({"backend": "numpy", "profile": "hard"}, "profile must be one of smoke, ci, thorough, not 'hard'"),
        ({"backend": "numpy", "device": "tpu"}, "device 'tpu' is not present"),
        ({"backend": "numpy", "checks": ["values.nope"]}, "there is no check 'values.nope'"),
        ({"lstm": NoForward}, "has no method 'forward'"),
    ],
)
def test_wrong_use_is_one_sentence(given: dict[str, Any], due: str) -> None:
    with pytest.raises(WrongUse, match=due):
        check_backend(**given)


def test_the_process_is_left_as_it_was() -> None:
    before = torch.get_num_threads()
    check_backend("torch", checks=["shapes.parameters"])
    assert torch.get_num_threads() == before
