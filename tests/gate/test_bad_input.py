"""Bad input of every kind: one clear sentence that names what to change, exit code 2, no traceback, nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rnn_conformance.cli import main

from .running import run

WRONG = "tests.gate.wrong"
PLAIN = ["--profile", "smoke", "-n", "0", "-k", "values and lstm and float32"]
CASE = {"cell": "lstm", "input_size": 1, "hidden_size": 2, "seq_len": 1, "batch_size": 1}


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that the command says before it ends with 2."""
    try:
        code = main(words)
    except SystemExit as error:  # argparse's way
        code = int(str(error.code))
    given = capsys.readouterr()
    assert code == 2, given
    lines = given.err.strip().splitlines()
    assert len(lines) == 1, given.err
    assert given.out == ""
    assert "Traceback" not in given.err
    return lines[0]


@pytest.mark.parametrize(
    ("words", "due"),
    [
        (["--backend", "nosuch"], "no backend is called 'nosuch': choose one of"),
        (["--backend", "no_such_module:Backend"], "there is no module 'no_such_module'"),
        (["--backend", f"{WRONG}:Missing"], f"module '{WRONG}' has no 'Missing'"),
        (["--backend", f"{WRONG}:"], "has no 'class after the colon'"),
        (["--backend", f"{WRONG}:NoLayer"], "abstract method"),
        (["--backend", f"{WRONG}:NeedsAnArgument"], "missing 1 required positional argument: 'path'"),
        (
            ["--backend", f"{WRONG}:NotABackend"],
            "must be a function or a subclass of rnn_conformance.Backend, not NotABackend",
        ),
        (["--backend", f"{WRONG}:DevicesAreText"], "DevicesAreText.devices() must give a tuple of names"),
        (["--backend", f"{WRONG}:PolicyIsADict"], "PolicyIsADict.policy must be a Policy, not tuple"),
        (["--backend", "numpy", "--device", "tpu"], "device 'tpu' is not present: numpy runs on cpu"),
        (["--lstm", f"{WRONG}:NoForward"], "has no method 'forward'"),
        (["--lstm", f"{WRONG}:NoModule"], "has no method 'named_parameters'"),
        (["--gru", f"{WRONG}:WRONG"], f"module '{WRONG}' has no 'WRONG'"),
        (["--rnn", "json:__name__"], "--rnn must name a class like torch.nn.RNN, not str"),
        (["--seed", "-1"], "'-1' is no whole number of 0 or more"),
        (["--seed", "seven"], "'seven' is no whole number"),
        (["-n", "many"], "'many' is no whole number"),
        (["--profile", "hard"], "invalid choice: 'hard'"),
        (["--time-budget", "soon"], "'soon' is no span of time, such as 60s or 2m"),
        (["--time-budget", "0s"], "'0s' is no span of time"),
        (["--rtol", "small"], "invalid float value: 'small'"),
        (["--backend", "numpy", "--expectations", "nowhere.toml"], "nowhere.toml cannot be read: No such file"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_a_run_that_cannot_be(words: list[str], due: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "report"
    assert due in said(capsys, "run", *words, "--report", str(folder))
    assert not folder.exists()


def test_a_module_that_does_not_import(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "breaks_at_import.py").write_text("import math\nraise RuntimeError(f'no licence\\nfound')\n")
    monkeypatch.chdir(tmp_path)
    line = said(capsys, "run", "--backend", "breaks_at_import:Backend")
    assert line.endswith("breaks_at_import:Backend cannot be imported: RuntimeError: no licence found")


@pytest.mark.parametrize("place", ["/proc/nowhere/report", "{file}/report"])
def test_a_folder_that_cannot_be_written(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    line = said(capsys, "run", "--backend", "numpy", "--report", place.format(file=tmp_path / "file"))
    assert "cannot be written" in line
    assert "choose another folder with --report" in line


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("", "is not a record of schema version 1"),
        ("{", "is not a record"),
        ("[]", "Expected `object`, got `array`"),
        ('{"schema_version": 7}', "is not a record of schema version 1"),
        ("[" * 100_000, "is not a record"),
        ("\x00\xff", "is not a record"),
    ],
)
@pytest.mark.parametrize("command", ["report", "badge", "compare", "replay"])
def test_a_record_that_cannot_be_read(
    command: str, text: str, due: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "record.json"
    path.write_text(text, encoding="latin-1")
    words = {"compare": [str(path), str(path)], "replay": [f"{path}#some-id"]}.get(command, [str(path)])
    assert due in said(capsys, command, *words)
    assert [one.name for one in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize("command", ["report", "badge", "compare"])
def test_a_record_that_is_not_there(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(tmp_path / "a.json")] * (2 if command == "compare" else 1)
    assert "a.json cannot be read: No such file or directory" in said(capsys, command, *words)


@pytest.mark.parametrize(
    ("change", "due"),
    [
        ({"hidden_size": 1, "proj_size": 1}, "proj_size must be"),
        ({"cell": "gru", "proj_size": 1}, "proj_size"),
        ({"dropout": 1.5}, "dropout must be a probability from 0 to 1, not 1.5"),
        ({"cell": "lsmt"}, "cell must be one of lstm"),
        ({"dtype": "float8"}, "dtype must be one of float64"),
        ({"hidden_size": "two"}, "Expected `int`, got `str`"),
        ({"hidden": 2}, "unknown field 'hidden'"),
        ({"seq_len": -1}, "must be 0 or more"),
        ({"seq_len": 10**12}, "too large"),
        ({"lengths": [7]}, "lengths must lie between 0 and seq_len, 1"),
        ({"lengths": [1, 1]}, "lengths must hold 1 numbers"),
        ({"values": "nice"}, "values must be one of integers"),
        ({"layout": "round"}, "layout must be one of contiguous"),
        ({"config": 3}, "no such case"),
    ],
)
def test_a_case_that_cannot_be(change: dict[str, object], due: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = said(capsys, "replay", f"values.cell {json.dumps(CASE | change)}", "--backend", "numpy")
    assert due in line


@pytest.mark.parametrize(
    ("finding", "due"),
    [
        ("values.cell", "'values.cell' names no finding: write RECORD#ID"),
        ("values.nope {}", "no such case"),
        (f"values.nope {json.dumps(CASE)}", "there is no check 'values.nope'"),
        ("values.cell {", "the case is not JSON"),
        (f"values.cell {'{' + chr(34) + 'a' + chr(34) + ':' + '[' * 100_000}", "the case is not JSON"),
    ],
)
def test_a_finding_that_cannot_be(finding: str, due: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert due in said(capsys, "replay", finding, "--backend", "numpy")


def test_a_choice_of_no_check(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    ran = run("run", "--backend", "numpy", "-n", "0", "-k", "nothing", "--report", str(folder))
    assert ran.returncode == 2
    assert "-k 'nothing' chooses no check" in ran.stderr
    assert not folder.exists()
    ran = run("run", "--backend", "numpy", "-n", "0", "-k", "and and", "--report", str(folder))
    assert ran.returncode == 2
    assert "-k 'and and' is not what pytest takes" in ran.stderr
    assert not folder.exists()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_layer_of_the_wrong_type(workers: str, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    ran = run("run", "--backend", f"{WRONG}:GivesNone", *PLAIN, "-n", workers, "--report", str(folder))
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr.strip().splitlines()[-1] == "rnn-conformance: GivesNone.layer() must give a Layer, not NoneType"
    assert "Traceback" not in ran.stderr
    assert not folder.exists()
