"""Expectations: deviations that are known and declared, with a reason, each within a region of the input space."""

from __future__ import annotations

import ast
import operator
import tomllib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import msgspec

from rnn_conformance.backend import WrongUse
from rnn_conformance.case import Case
from rnn_conformance.config import BEYOND, DROPOUTS

COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
DEEPEST = 50  # levels of a predicate
FIELDS = frozenset(
    {"cell", "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size"}
    | {"dtype", "device", "seq_len", "batch_size", "lengths", "hx", "values", "layout"}
    | {*BEYOND, *DROPOUTS}
)


class _Deviation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is known of a deviation, but for the check that finds it."""

    reason: str
    where: str = "True"
    issue: str = ""
    sometimes: bool = False  # whether some cases of the region pass, so that a unit of work may meet no other


class Expectation(_Deviation, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One known deviation."""

    check: str

    def covers(self, check: str, case: Case) -> bool:
        """Whether a failure of this check in this case is expected."""
        return check == self.check and bool(_value(_parsed(self.where), fields_of(case)))


class _Entry(_Deviation, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A deviation as a file has it, found by one check or by several."""

    check: str | Annotated[list[str], msgspec.Meta(min_length=1)]

    def expectations(self) -> Iterator[Expectation]:
        """One for each check."""
        shared = {name: value for name, value in msgspec.structs.asdict(self).items() if name != "check"}
        for check in [self.check] if isinstance(self.check, str) else self.check:
            yield Expectation(check=check, **shared)


class _File(msgspec.Struct, forbid_unknown_fields=True):
    expectation: list[_Entry] = []


def fields_of(case: Case) -> dict[str, Any]:
    """What a predicate may ask of a case: the fields of its config and its own."""
    fields = case.to_dict()
    return {name: value for name, value in (fields | fields.pop("config")).items() if name in FIELDS}


def read_expectations(path: Path, checks: Iterable[str]) -> tuple[Expectation, ...]:
    """The expectations in a TOML file.

    Args:
        checks: the ids that there are.

    Raises:
        WrongUse: where the file cannot be read, or one of them is not well formed.
    """
    known = set(checks)
    try:
        entries = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File).expectation
    except OSError as error:
        raise WrongUse(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise WrongUse(f"{path} is not a file of expectations: {error}") from error
    found = tuple(expectation for entry in entries for expectation in entry.expectations())
    for expectation in found:
        if expectation.check not in known:
            raise WrongUse(f"{path}: there is no check {expectation.check!r}; `rnn-conformance checks` lists them")
        if not expectation.reason.strip():
            raise WrongUse(f"{path}: the expectation about {expectation.check} needs a reason")
        try:
            _verify(_parsed(expectation.where), DEEPEST)
        except ValueError as error:
            raise WrongUse(f"{path}: where = {expectation.where!r} {error}") from error
    return found


@cache
def _parsed(where: str) -> ast.expr:
    try:
        with warnings.catch_warnings(action="ignore"):  # Python's advice about `1 is 1` and the like
            return ast.parse(where.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError("is not an expression") from error


def _verify(node: ast.expr, depth: int) -> None:
    """Raise ValueError for anything but comparisons of fields and constants, joined by and, or, not."""
    children: list[ast.expr]
    if not depth:
        raise ValueError("is nested too deeply")
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None):
            return
        case ast.Name(id=name):
            if name not in FIELDS:
                raise ValueError(f"names {name!r}, which is none of {', '.join(sorted(FIELDS))}")
            return
        case ast.BoolOp(values=children) | ast.Tuple(elts=children) | ast.List(elts=children):
            pass
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            children = [operand]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float())):
            return
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in COMPARE for op in ops):
            children = [left, *others]
        case _:
            raise ValueError(f"has {ast.unparse(node)!r}: only comparisons, in, and, or, not are understood")
    for child in children:
        _verify(child, depth - 1)


def _value(node: ast.expr, fields: Mapping[str, Any]) -> Any:
    """What a verified expression comes to; a comparison of kinds that have no order is false."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return fields[name]
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            return tuple(_value(element, fields) for element in elements)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, fields)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, fields)
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_value(value, fields) for value in values)
        case ast.BoolOp(values=values):
            return any(_value(value, fields) for value in values)
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [_value(side, fields) for side in (left, *others)]
            try:
                return all(COMPARE[type(op)](a, b) for op, a, b in zip(ops, sides, sides[1:], strict=False))
            except TypeError:
                return False
    raise ValueError(f"has {ast.unparse(node)!r}")
