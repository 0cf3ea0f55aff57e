"""What the command line draws from records: pages, the matrix, comparisons, badges, summaries, the schema."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from report.records import changed, failing, passing
from rnn_conformance.cli import main
from rnn_conformance.record import json_schema, to_json

from .running import ROOT


@pytest.fixture
def records(tmp_path: Path) -> tuple[Path, Path]:
    paths = (tmp_path / "good" / "record.json", tmp_path / "bad" / "record.json")
    for path, drawn in zip(paths, (passing(), failing()), strict=True):
        path.parent.mkdir()
        path.write_bytes(to_json(drawn))
    return paths


def test_one_record_gives_its_page_beside_it(records: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(records[1])]) == 0
    page = records[1].with_name("index.html")
    assert capsys.readouterr().out == f"{page}\n"
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_several_records_give_the_matrix_with_links_to_their_pages(records: tuple[Path, Path], tmp_path: Path) -> None:
    assert main(["report", *map(str, records)]) == 0
    html = (tmp_path / "index.html").read_text()
    assert 'href="good/index.html' in html
    assert 'href="bad/index.html' in html
    assert main(["report", *map(str, records), "--output", str(tmp_path / "deep" / "er.html")]) == 0
    assert 'href="../good/index.html' in (tmp_path / "deep" / "er.html").read_text()


def test_a_summary_in_markdown(records: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--markdown", *map(str, records)]) == 0
    said = capsys.readouterr().out
    assert "### ✅" in said
    assert "### ❌" in said
    assert not records[0].with_name("index.html").exists()


def test_a_comparison_ends_with_1_where_it_got_worse(
    records: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = map(str, records)
    assert main(["compare", good, bad]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "REGRESSED"
    assert main(["compare", good, good]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "NOTHING CHANGED"
    html = tmp_path / "compare.html"
    assert main(["compare", good, bad, "--markdown", "--html", str(html)]) == 1
    assert capsys.readouterr().out.startswith("### ❌ Regressed")
    assert html.read_text().startswith("<!DOCTYPE html>")
    mended = tmp_path / "mended.json"
    mended.write_bytes(to_json(changed(failing(), lambda r: None if r.outcome in ("failed", "crashed") else r)))
    assert main(["compare", str(mended), good]) == 0


def test_a_badge(records: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["badge", str(records[0])]) == 0
    drawn = capsys.readouterr().out
    assert drawn.startswith("<svg")
    assert main(["badge", str(records[0]), "--output", str(tmp_path / "badge.svg")]) == 0
    assert (tmp_path / "badge.svg").read_text().strip() == drawn.strip()


def test_an_unwritable_output(records: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("report", "badge"):
        assert main([command, str(records[0]), "--output", "/proc/nowhere/x"]) == 2
        assert "/proc/nowhere cannot be written" in capsys.readouterr().err


def test_the_published_schema_is_the_one_by_which_records_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    said = capsys.readouterr().out
    assert said == json_schema()
    assert (ROOT / "docs" / "record.schema.json").read_text() == said
    assert json.loads(said)["$defs"]["Record"]["additionalProperties"] is False


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backends"]) == 0
    assert "numpy" in capsys.readouterr().out
    assert main(["checks"]) == 0
    assert "values.cell " in capsys.readouterr().out


def test_a_pipe_that_closes_early_is_no_error() -> None:
    words = [sys.executable, "-c", "import sys\nfrom rnn_conformance.cli import main\nsys.exit(main(['checks']))"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as ran:
        assert ran.stdout is not None
        ran.stdout.close()
        assert ran.stderr is not None
        assert ran.stderr.read() == b""
