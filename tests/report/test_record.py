"""Records: compact, read back as written, refused where they are not whole, and described by their JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from rnn_conformance.backend import WrongUse
from rnn_conformance.record import CheckResult, json_schema, read_record, to_json

from .records import failing, full, hostile, passing, result


@pytest.mark.parametrize("drawn", [passing(), failing(), hostile()], ids=["passing", "failing", "hostile"])
def test_what_is_written_is_read_back(tmp_path: Path, drawn: Any) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(to_json(drawn))
    assert read_record(path) == drawn


def test_each_unit_has_a_line_and_says_only_what_it_has_to(tmp_path: Path) -> None:
    lines = to_json(failing()).decode().splitlines()
    assert len(lines) == 1 + len(failing().checks) + 1
    bare = json.loads(next(line for line in lines if '"relu is not offered"' in line).rstrip(","))
    assert set(bare) >= {"id", "cell", "dtype", "device", "outcome", "examples", "reason"}
    assert not set(bare) & {"spread", "worst", "coverage", "finding", "effective_bits"}


def test_a_full_record_is_small_enough_for_git() -> None:
    assert len(to_json(full(66))) < 1_500_000


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), 2),
        (("profile",), "quick"),
        (("surprise",), 1),
        (("lambda",), 0),
        (("bins",), [10.0]),
        (("axes", "values"), ["integers"]),
        (("checks", 0, "outcome"), "fine"),
        (("checks", 0, "surprise"), 1),
        (("checks", 0, "examples"), -1),
        (("checks", 0, "spread"), [1.5]),
        (("checks", 0, "spread"), [1] * 26),
        (("checks", 0, "spread"), [2**51]),
        (("checks", 0, "coverage"), [[1, 2, 3]]),
        (("checks", 0, "coverage"), [[1, 2], [1, 2, 3], [1, 2]]),
        (("checks", 4, "worst", "along", "unit", "rho"), [1.0] * 65),
        (("checks", 4, "worst", "case"), None),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_what_is_not_a_record_is_refused(tmp_path: Path, path: tuple[Any, ...], value: Any) -> None:
    some = replace(failing(), checks=[result(), *failing().checks[:3], result("values.stack")])
    written = json.loads(to_json(some))
    place = written
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    file = tmp_path / "record.json"
    file.write_text(json.dumps(written))
    with pytest.raises(WrongUse, match="is not a record of schema version 1"):
        read_record(file)


def test_the_json_schema_describes_records_and_nothing_else() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: pip install jsonschema")
    schema = json.loads(json_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for drawn in (passing(), failing(), hostile(), full(2, "failed")):
        validator.validate(json.loads(to_json(drawn)))
    written = json.loads(to_json(failing()))
    for change in ({"surprise": 1}, {"profile": "quick"}, {"checks": [{"id": "values.cell"}]}, {"seed": -1}):
        assert not validator.is_valid(written | change), change
    for name in ("examples", "outcome", "device"):
        lacking = {key: value for key, value in written["checks"][0].items() if key != name}
        assert not validator.is_valid(written | {"checks": [lacking]})


def test_a_result_without_measures_is_one() -> None:
    bare = CheckResult(
        id="a.b", cell="gru", dtype="float32", device="cpu", outcome="crashed", examples=0, inconclusive=0,
        seconds=0.0, backend_seconds=0.0, values=0, largest_rho=0.0,
    )  # fmt: skip
    assert (bare.spread, bare.worst, bare.coverage) == ([], None, [])
