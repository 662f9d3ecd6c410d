"""CEL selectors of devices: `device` with its driver, its attributes and its capacities by domain.

Upstream's dynamic-resource-allocation/cel/compile.go: an expression is true or false, may be estimated to cost `COST_LIMIT` at most, and is cancelled when
it costs more than that.
"""

from __future__ import annotations

from functools import cache, lru_cache

from lakh.machinery import cel, cel_ast, cel_cost
from lakh.machinery.cel_ast import Ast, Expr
from lakh.machinery.cel_check import Checker, program
from lakh.machinery.cel_decl import Decl
from lakh.machinery.cel_program import Program

COST_LIMIT = 1_000_000
"""`CELSelectorExpressionMaxCost`."""
# Distinct selectors that are kept compiled: a cluster has a few for each device class.
CACHE_ENTRIES = 4096

_VALUE_MAX_CHARS, _DRIVER_MAX_CHARS, _MAX_ENTRIES = 64, 63, 32
_VARIABLES = ("device",)


class _Attributes(Decl):
    """Attributes of a domain: all are of the same size, whatever their name."""

    __slots__ = ()

    def step(self, name: str) -> Decl | None:
        return self.element


def _domains(element: Decl, kind: type[Decl]) -> Decl:
    return Decl("map", 2, _MAX_ENTRIES, kind("map", 2, _MAX_ENTRIES, element))


@cache
def _checker() -> Checker:
    fields = {
        "driver": Decl("string", 2, _DRIVER_MAX_CHARS),
        "attributes": _domains(Decl("dyn", 1, _VALUE_MAX_CHARS), _Attributes),
        "capacity": _domains(Decl("dyn", 1, 8), Decl),
        "allowMultipleAllocations": Decl("bool", 4),
    }
    # Messages cannot say maps of maps, so these two fields are variables to the checker.
    return Checker(
        {
            "device": Decl("object", 2, 0, None, fields),
            "device.attributes": "domains-dyn",
            "device.capacity": "domains-quantity",
        },
        bindings=True,
    )


def _as_fields(ast: Ast) -> None:
    """Makes fields again of what stood in for them."""
    last = max((at.id for at in cel_ast.walk(ast.root)), default=0)
    for at in list(cel_ast.walk(ast.root)):
        if at.kind == "ident" and at.name.startswith("device."):
            last += 1
            at.kind, at.name = "select", at.name.partition(".")[2]
            at.operand = Expr(last, "ident", "device")
            ast.types[last] = cel_ast.Type("struct", (), "kubernetes.DRADevice")
    ast.named = frozenset()


def check(source: str) -> int:
    """The most that a selector costs; raises ExpressionError with what upstream says of one that is none."""
    ast = _checked(source)
    return cel_cost.Estimator(ast, _checker().declarations).cost()[1]


def _checked(source: str) -> Ast:
    try:
        ast = _checker().check(source)
    except cel.ExpressionError as e:
        raise cel.ExpressionError(f"compilation failed: {e}") from None
    _as_fields(ast)
    result = ast.type(ast.root)
    # What an attribute is is not known; what `dyn` made so is.
    unknown = result.kind == "dyn" and not (ast.root.kind == "call" and ast.root.name == "dyn")
    if result.kind != "bool" and not unknown:
        raise cel.ExpressionError(f"must evaluate to bool or the unknown type, not {result}")
    return ast


@lru_cache(CACHE_ENTRIES)
def compile_selector(source: str) -> Program:
    """A selector as a program of `device` (a map, see the scheduler's `describe`); raises ExpressionError."""
    return program(_checked(source), _VARIABLES, source, limit=COST_LIMIT)
