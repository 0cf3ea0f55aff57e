"""Records to draw: one that passes, one that fails in many ways, one whose text is hostile, one that is large."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec.structs import replace
from rnn_conformance.config import CELLS, DTYPES
from rnn_conformance.diagnosis.result import Diagnosis, Named
from rnn_conformance.record import Along, CheckResult, Finding, Record, Worst, to_json

IDS = ("shapes.result", "values.cell", "values.stack", "steps.stepwise", "purity.repeat")
PRECISION = {"float64": 53.0, "float32": 24.0, "bfloat16": 8.0, "float16": 11.0}
NASTY = (
    (
        "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`|*_[x](javascript:alert(3)) &amp; "
        "{{ 7 * 7 }} -->]]> </style> </textarea> \x00\x1b[31m\x07\r\x85\u202e\u2066\u200b\ufeff\u2028\ud83d\ude00"
    )
    .encode("utf-16", "surrogatepass")
    .decode("utf-16")
)
LONG = "W" * 10_000
BINS = [10.0 * 2.0**k for k in range(-8, 16)]
AXES = {"num_layers": ["1", "2", "3 and more"], "directions": ["1", "2"], "values": ["integers", "huge"]}
WORST = Worst(
    case="LSTM(input_size=1, hidden_size=2) in float32 on cpu; 3 steps, batch 1, seed 7",
    array="output",
    along={"step": Along(size=3, rho=[0.5, 1.2, 2.5]), "unit": Along(size=200, rho=[2.5, 0.1])},
)


def result(
    id: str = "values.cell", cell: str = "lstm", dtype: str = "float32", outcome: Any = "passed", **more: Any
) -> CheckResult:
    """One unit of work."""
    compared = 0 if id.startswith("shapes") or outcome == "not_offered" else 1200
    fields: dict[str, Any] = {
        "id": id,
        "cell": cell,
        "dtype": dtype,
        "device": "cpu",
        "outcome": outcome,
        "examples": 0 if outcome == "not_offered" else 15,
        "inconclusive": 0,
        "seconds": 0.25,
        "backend_seconds": 0.05,
        "values": compared,
        "largest_rho": 2.5 if compared else 0.0,
        "effective_bits": PRECISION.get(dtype, 24.0) if compared else None,
        "spread": [0, 100, 200, 300, 300, 200, 90, 10] if compared else [],
        "worst": WORST if compared else None,
        "coverage": [] if outcome == "not_offered" else [[5, 5, 5], [10, 5], [15, 0]],
    }
    return CheckResult(**{**fields, **more})


def finding(id: str = "values.cell-0badcafe", **more: Any) -> Finding:
    """One finding."""
    fields: dict[str, Any] = {
        "id": id,
        "sentence": "One layer in one direction computes its cell's equations.",
        "source": "torch.nn.LSTM: the equations at the head of the page",
        "message": "output[step 0, row 0, unit 0] is -0.287, but -0.000145 was due (ρ = 1.5e+18)",
        "case": "LSTM(input_size=1, hidden_size=1) in float32 on cpu; 1 step, batch 1, seed 7",
        "fields": {"config": {"cell": "lstm", "input_size": 1}, "seq_len": 1, "seed": 7},
        "rho": 1.5e18,
        "element": {"array": "output", "step": 0, "row": 0, "unit": 0},
        "diagnosis": Diagnosis([Named("gates.order-fi", "the input and the forget gate are swapped", 1.25)]),
        "script": "import numpy as np\n\nprint(np.zeros(3))\n",
        "command": 'rnn-conformance replay \'values.cell {"cell": "lstm"}\'',
    }
    return Finding(**{**fields, **more})


def record(checks: list[CheckResult], **more: Any) -> Record:
    """A record of these units."""
    fields: dict[str, Any] = {
        "suite_version": "0.1.0",
        "backend": "torch",
        "backend_version": "2.13.0",
        "device": "cpu",
        "profile": "ci",
        "seed": 0,
        "started": "2026-11-24T14:05:56+00:00",
        "seconds": 14.4,
        "lambda_": 10.0,
        "policy": {"empty_sequence": "refused", "unbatched": True},
        "environment": {"python": "3.11.7", "numpy": "2.4.6"},
        "complete": True,
        "bins": BINS,
        "axes": AXES,
    }
    return Record(checks=checks, **{**fields, **more})


def units(ids: tuple[str, ...] = IDS) -> Iterator[tuple[str, str, str]]:
    """Every check in every cell and dtype."""
    return ((id, cell, dtype) for id in ids for cell in CELLS for dtype in DTYPES)


def passing() -> Record:
    """A backend that conforms."""
    return record([result(*unit) for unit in units()])


def failing() -> Record:
    """A backend whose LSTM is wrong, whose GRU crashes, which has no RNN with relu and says nothing of another."""
    return record([_failing(*unit) for unit in units()], backend="my_kernels:FastLSTM")


def _failing(id: str, cell: str, dtype: str) -> CheckResult:
    if cell == "rnn_relu":
        return result(id, cell, dtype, "not_offered", reason="relu is not offered")
    if cell == "rnn_tanh" and id == "purity.repeat":
        return result(id, cell, dtype, "inconclusive", examples=0, inconclusive=15)
    if cell == "lstm" and id == "values.cell":
        rho = {"float64": 1e300, "float32": 4.9e6, "bfloat16": 582.0, "float16": 20.0}[dtype]
        found = finding(f"values.cell-{dtype}", rho=rho)
        spread = [0] * (16 if dtype == "float16" else 25)
        spread[3], spread[9], spread[-1] = 1000, 20, 7
        return result(id, cell, dtype, "failed", finding=found, largest_rho=rho, effective_bits=-30.0, spread=spread)
    if cell == "lstm" and id in ("values.stack", "steps.stepwise"):
        return result(id, cell, dtype, "blocked", reason="values.cell", finding=finding(f"{id}-{dtype}"))
    if cell == "gru" and id == "steps.stepwise" and dtype == "float16":
        return result(id, cell, dtype, "crashed", reason="Fatal Python error: Segmentation fault")
    return result(id, cell, dtype)


def hostile() -> Record:
    """A record in which every text is markup, control characters or 10,000 letters without a space."""
    texts = {name: f"{name} {NASTY}" for name in ("sentence", "source", "case")}
    found = finding(
        f"{NASTY} id",
        message=NASTY + LONG,
        script=NASTY + LONG,
        fields={NASTY: LONG, "nan": "NaN"},
        element={NASTY: LONG},
        diagnosis=Diagnosis([Named(NASTY, NASTY, 1e300), Named(LONG[:2000], LONG[:2000], 0.0)], 2, NASTY),
        command=NASTY + LONG,
        rho=1e300,
        **texts,
    )
    endless = Along(size=9, rho=[1e300, 0.0])
    along = {"step": Along(size=0, rho=[]), NASTY: endless, "unit": endless}
    worst = Worst(case=NASTY + LONG, array=NASTY + LONG, along=along)
    seen: dict[str, Any] = {"finding": found, "worst": worst, "spread": [2**50] * 25}
    checks = [
        result(NASTY + LONG, NASTY + LONG, NASTY + LONG, "failed", device=NASTY, **seen),
        result(NASTY + LONG, NASTY + LONG, "NaN", "failed", effective_bits=-1e300, **seen),
        result(f"values.{NASTY}", "lstm", "float32", "crashed", reason=NASTY + LONG),
        result(f"steps.{NASTY}", LONG, "float32", "blocked", reason=NASTY + LONG, finding=found),
        result("values.cell", "lstm", "float32", "not_offered", reason=NASTY + LONG),
        result("values.cell", "gru", "float32", "inconclusive", reason=NASTY),
        result("values.cell", "gru", "float64", "unexpected_pass", reason=LONG),
        result("values.cell", "gru", "float16", "expected_failure", reason=NASTY, effective_bits=1e300),
        *(result("values.stack", "gru", dtype, outcome) for dtype, outcome in zip(DTYPES, _rest(), strict=True)),
    ]
    return record(
        checks,
        backend=NASTY + LONG,
        backend_version=NASTY,
        device=NASTY,
        suite_version=NASTY,
        started=NASTY,
        policy={NASTY: LONG, LONG[:5000]: True},
        environment={NASTY: LONG, LONG[:5000]: NASTY},
        axes={NASTY: [NASTY, LONG, ""], LONG: ["1", "1"], "": [NASTY, NASTY]},
    )


def _rest() -> tuple[str, ...]:
    return "passed", "timed_out", "not_run", "passed"


def full(checks: int = 64, outcome: str = "passed") -> Record:
    """A record of 16 units for each of so many checks."""
    script = "import numpy as np\n" + "x = np.array([1.0, 2.0, 3.0])\n" * 200

    def made(id: str, cell: str, dtype: str) -> CheckResult:
        more = {"script": script, "command": "a command " * 30}
        found = finding(f"{id}-{cell}-{dtype}", message="a deviation " * 25, case="a case " * 30, **more)
        return result(id, cell, dtype, outcome, finding=found if outcome in ("failed", "blocked") else None)

    ids = tuple(f"family{k % 12}.check_{k}" for k in range(checks))
    return record([made(*unit) for unit in units(tuple(sorted(ids)))])


def changed(old: Record, change: Callable[[CheckResult], CheckResult | None], **more: Any) -> Record:
    """`old` with other units; those that become None are left out."""
    return replace(old, checks=[new for r in old.checks if (new := change(r)) is not None], **more)


def written(some: Record) -> bytes:
    """The record as it is read from a file: proof that it is one."""
    return to_json(some)
