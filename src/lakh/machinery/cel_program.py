"""Compiled expressions: a checked tree becomes nested Python closures once, and every evaluation counts what it costs.

An evaluation is one *frame*, a list: `frame[0]` is the cost so far, then come the variables, then a place for each variable of a macro. A step is a
closure of the frame. `self.a <= self.b` is three closures and takes a microsecond.

    frame   [ cost | self | oldSelf | x | @result | … ]

Costs are cel-go's, step by step (interpreter/runtimecost.go): a name and each field, index or key of a path is one, so `self.a.b` is three and
`has(self.a.b)` two; paths that are branches of `?:` or indices are one less, as cel-go does not observe them by themselves; literals, and lists and
maps of literals, are nothing; what calls cost is in `cel_metering`. What is over its limit is cancelled at the next round of a macro, or
at the end: between two rounds there is no more work than the expression has steps.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lakh.machinery import cel_names, goregex
from lakh.machinery.cel_ast import Ast, Comprehension, Expr
from lakh.machinery.cel_functions import FUNCTIONS as KUBERNETES
from lakh.machinery.cel_functions import IMPLEMENTATIONS
from lakh.machinery.cel_metering import NEW_MAP, PER_CALL_LIMIT, CostLimitExceeded, price
from lakh.machinery.cel_prices import NEW_LIST
from lakh.machinery.cel_standard import CONVERSIONS
from lakh.machinery.cel_steps import (
    UNSET,
    WRONG_TYPES,
    Frame,
    Path,
    Qualifier,
    Step,
    bound,
    calling,
    distinct,
    either,
    extend,
    fallibly,
    lazily,
    not_strictly_false,
    or_optional,
    or_value,
    path_step,
    quantified,
    repeat,
)
from lakh.machinery.cel_values import (
    EvaluationError,
    NoSuchOverload,
    TypeValue,
    UInt,
    set_keys,
)

_TYPE_NAMES = {"timestamp": "google.protobuf.Timestamp", "duration": "google.protobuf.Duration"}
# Of operands that are known to be of one such type.
_COMPARABLE = frozenset(["int", "string", "double", "bool"])
_TYPED: Mapping[str, Callable[[Any, Any], Any]] = {
    "_<_": operator.lt,
    "_<=_": operator.le,
    "_>_": operator.gt,
    "_>=_": operator.ge,
    "_==_": operator.eq,
    "_!=_": operator.ne,
}
_PRIMITIVES = frozenset([bool, float, int, UInt, str])


@dataclass(slots=True)
class _Node:
    """A place of an expression, compiled: one of a constant, a path, or a step."""

    step: Step | None = None
    path: Path | None = None
    constant: Any = UNSET

    @property
    def is_constant(self) -> bool:
        return self.constant is not UNSET


class Program:
    """A compiled expression of some variables, in order."""

    __slots__ = ("_size", "_step", "limit", "result", "source")

    def __init__(
        self, ast: Ast, variables: Sequence[str], source: str, *, limit: int = PER_CALL_LIMIT
    ) -> None:
        self.source = source
        self.limit = limit
        # The kind of the result's type: bool, string, dyn …
        self.result = ast.type(ast.root).kind
        compiler = _Compiler(ast, variables, limit)
        self._step = compiler.evaluated(compiler.plan(ast.root))
        self._size = compiler.size - len(variables) - 1

    def __repr__(self) -> str:
        return f"<Program {self.source}>"

    def run(self, *values: Any) -> tuple[Any, int]:
        """The result and what it cost. What has no result is an EvaluationError, what cost too much is CostLimitExceeded: given, not raised."""
        frame = [0, *values, *([None] * self._size)]
        found: Any
        try:
            found = self._step(frame)
        except EvaluationError as e:
            found = e
        except CostLimitExceeded as e:
            return e, frame[0]
        except ValueError as e:
            found = EvaluationError(str(e))
        except WRONG_TYPES:
            found = NoSuchOverload()
        return (found if frame[0] <= self.limit else CostLimitExceeded()), frame[0]


def _constantly(value: Any) -> Step:
    return lambda frame: value


class _Compiler:
    def __init__(self, ast: Ast, variables: Sequence[str], limit: int) -> None:
        self._ast = ast
        self._limit = limit
        self._slots: dict[str, list[int]] = {name: [index] for index, name in enumerate(variables, start=1)}
        self.size = len(variables) + 1
        # Slots whose value is made when it is first asked for, or is an error; and those of lists and maps that a macro makes.
        self._lazy: dict[int, Step] = {}
        self._fallible: set[int] = set()
        self._fresh: set[int] = set()

    # -- places ----------------------------------------------------------------------------------------------------------------------------

    def plan(self, e: Expr) -> _Node:
        """A place, compiled."""
        match e.kind:
            case "literal":
                is_uint = self._ast.type(e).kind == "uint" and type(e.value) is int
                return _Node(constant=UInt(e.value) if is_uint else e.value)
            case "ident":
                return self._ident(e)
            case "select":
                return self._select(e)
            case "call":
                return self._call(e)
            case "list":
                return self._list(e)
            case "map":
                return self._map(e)
            case "comprehension" if e.loop is not None:
                return _Node(step=self._comprehension(e.loop))
        raise EvaluationError(f"unsupported expression: {e.kind}")

    def evaluated(self, node: _Node) -> Step:
        """The step of a place that stands for itself."""
        if node.is_constant:
            return _constantly(node.constant)
        if node.path is not None:
            return path_step(node.path, node.path.own)
        assert node.step is not None
        return node.step

    def _resolved(self, node: _Node) -> Step:
        """The step of a place that is a branch or an index: a path costs one less."""
        return path_step(node.path, 0) if node.path is not None else self.evaluated(node)

    def _ident(self, e: Expr) -> _Node:
        slots = self._slots.get(e.name)
        if not slots:
            name = e.name.lstrip(".")
            if self._ast.type(e).kind == "type":
                return _Node(constant=TypeValue(_TYPE_NAMES.get(name, name)))
            raise EvaluationError(f"no such attribute(s): {name}")
        slot = slots[-1]
        if slot in self._lazy:
            return _Node(path=Path(lazily(slot, self._lazy[slot])))
        if slot in self._fallible:
            return _Node(path=Path(fallibly(slot)))
        return _Node(path=Path(lambda frame: frame[slot], slot))

    def _extended(self, e: Expr, operand: Expr, qualifier: Qualifier) -> _Node:
        node = self.plan(operand)
        path = node.path if node.path is not None else Path(self.evaluated(node))
        path.qualifiers.append(qualifier)
        return _Node(path=path)

    def _select(self, e: Expr) -> _Node:
        if e.operand is None or e.id in self._ast.named:
            name = _qualified(e)
            if name in self._slots:
                return self._ident(Expr(e.id, "ident", name))
            return _Node(constant=TypeValue(name))
        kind = self._ast.type(e.operand).kind
        is_object = kind == "struct"
        name = cel_names.unescape(e.name) if is_object else e.name
        qualifier = Qualifier(name, True, is_object, test_only=e.test_only)
        if kind == "dyn" and (meant := cel_names.unescape(name)) != name:
            qualifier.other = meant
        node = self._extended(e, e.operand, qualifier)
        if e.test_only and node.path is not None:
            # Only the fields on the way are paid for.
            node.path.own = 0
        return node

    def _list(self, e: Expr) -> _Node:
        nodes = [self.plan(a) for a in e.args]
        if all(n.is_constant for n in nodes):
            return _Node(constant=[n.constant for n in nodes])
        steps, optional = [self.evaluated(n) for n in nodes], e.optional

        def step(frame: Frame) -> Any:
            if optional:
                made = [s(frame) for s in steps]
                made = [
                    (v.value if i in optional else v)
                    for i, v in enumerate(made)
                    if i not in optional or v.some
                ]
            else:
                made = [s(frame) for s in steps]
            frame[0] += NEW_LIST
            return made

        return _Node(step=step)

    def _map(self, e: Expr) -> _Node:
        nodes = [self.plan(a) for a in e.args]
        if all(n.is_constant for n in nodes):
            return _Node(
                constant=distinct(
                    (k.constant, v.constant) for k, v in zip(nodes[::2], nodes[1::2], strict=True)
                )
            )
        steps, optional = [self.evaluated(n) for n in nodes], e.optional

        def step(frame: Frame) -> Any:
            pairs = []
            for index in range(0, len(steps), 2):
                key, value = steps[index](frame), steps[index + 1](frame)
                if index // 2 in optional:
                    if not value.some:
                        continue
                    value = value.value
                pairs.append((key, value))
            frame[0] += NEW_MAP
            return distinct(pairs)

        return _Node(step=step)

    # -- calls -----------------------------------------------------------------------------------------------------------------------------

    def _call(self, e: Expr) -> _Node:
        name = e.name
        args = [e.operand, *e.args] if e.operand is not None else e.args
        match name:
            case "_&&_" | "_||_":
                a, b = (self.evaluated(self.plan(x)) for x in args)
                return _Node(step=either(a, b, name == "_||_"))
            case "_?_:_":
                return self._conditional(args)
            case "_[_]" | "_[?_]" | "_?._":
                return self._index(e, args)
            case "or":
                return _Node(step=or_optional(*(self.evaluated(self.plan(x)) for x in args)))
            case "orValue":
                return _Node(step=or_value(*(self.evaluated(self.plan(x)) for x in args)))
            case "@not_strictly_false":
                return _Node(step=not_strictly_false(self.evaluated(self.plan(args[0]))))
        nodes = [self.plan(x) for x in args]
        if name == "@in" and nodes[1].is_constant and self._overload(e) == "in_list":
            found = self._member(nodes)
            if found is not None:
                return found
        if name in CONVERSIONS and len(nodes) == 1 and nodes[0].is_constant:
            # Made once; what cannot be made is found here.
            return _Node(constant=CONVERSIONS[name](nodes[0].constant))
        if name in ("find", "findAll", "matches") and len(nodes) > 1 and type(nodes[1].constant) is str:
            goregex.compiled(nodes[1].constant)
        if (
            name == "_+_"
            and nodes[0].path is not None
            and nodes[0].path.slot in self._fresh
            and not nodes[0].path.qualifiers
        ):
            return _Node(step=extend(nodes[0].path.slot, self.evaluated(nodes[1])))
        steps = [self.evaluated(n) for n in nodes]
        kinds = [str(self._ast.type(x)) for x in args]
        function = None
        if len(kinds) == 2 and kinds[0] == kinds[1]:
            function = _TYPED.get(name) if kinds[0] in _COMPARABLE else None
        cost = price(name, self._overload(e), kinds)
        return _Node(step=calling(function or self._implementation(e), steps, cost))

    def _overload(self, e: Expr) -> str:
        found = self._ast.overloads.get(e.id, [])
        return found[0] if len(found) == 1 else ""

    def _implementation(self, e: Expr) -> Callable[..., Any]:
        overload = self._overload(e)
        if overload.startswith("kubernetes_") and e.name in KUBERNETES:
            number = overload.rpartition("_")[2]
            return KUBERNETES[e.name][int(number)][3]
        if e.name not in IMPLEMENTATIONS:
            raise EvaluationError(f"no such overload: {e.name}")
        return IMPLEMENTATIONS[e.name]

    def _member(self, nodes: list[_Node]) -> _Node | None:
        """`x in [1, 2]`: a set of constants costs nothing; one of nothing has nothing, and nobody asks what."""
        items = nodes[1].constant
        if not items:
            return _Node(constant=False)
        if not all(type(item) in _PRIMITIVES for item in items):
            return None
        keys, item = set_keys(items), self.evaluated(nodes[0])

        def step(frame: Frame) -> bool:
            return not set_keys((item(frame),)).isdisjoint(keys)

        return _Node(step=step)

    def _conditional(self, args: Sequence[Expr]) -> _Node:
        condition = self.evaluated(self.plan(args[0]))
        yes, no = (self._resolved(self.plan(x)) for x in args[1:])

        def root(frame: Frame) -> Any:
            which = condition(frame)
            if which is True:
                return yes(frame)
            if which is False:
                return no(frame)
            raise NoSuchOverload

        return _Node(path=Path(root, own=0))

    def _index(self, e: Expr, args: Sequence[Expr]) -> _Node:
        key = self.plan(args[1])
        is_object = self._ast.type(args[0]).kind in ("struct", "optional_type") and e.name == "_?._"
        if key.is_constant:
            constant = key.constant
            if is_object and type(constant) is str and _is_object(self._ast, args[0]):
                constant = cel_names.unescape(constant)
            qualifier = Qualifier(constant, True, is_object)
        else:
            qualifier = Qualifier(self._resolved(key), False, False)
        qualifier.optional = e.name != "_[_]"
        return self._extended(e, args[0], qualifier)

    # -- macros ----------------------------------------------------------------------------------------------------------------------------

    def _new_slot(self, name: str) -> int:
        slot = self.size
        self.size += 1
        self._slots.setdefault(name, []).append(slot)
        return slot

    def _comprehension(self, loop: Comprehension) -> Step:
        items = self.evaluated(self.plan(loop.range))
        start = self.plan(loop.accu_init)
        slot = self._new_slot(loop.accu_var)
        is_bind = loop.range.kind == "list" and not loop.range.args and loop.condition.value is False
        if is_bind:
            first = self.evaluated(start)
            self._lazy[slot] = first
            result = self.evaluated(self.plan(loop.result))
            self._slots[loop.accu_var].pop()
            return bound(slot, result)
        if start.is_constant and start.constant in ([], {}) and type(start.constant) in (list, dict):
            self._fresh.add(slot)
        kind = loop.step.name if loop.step.kind == "call" else ""
        if kind in ("_&&_", "_||_"):
            self._fallible.add(slot)
        var = self._new_slot(loop.var)
        var2 = self._new_slot(loop.var2) if loop.var2 else 0
        fast = self._fast(loop, slot, var) if not var2 else None
        condition = step = None
        if fast is None:
            node = self.plan(loop.condition)
            if not (node.is_constant and node.constant is True):
                condition = self.evaluated(node)
            step = self.evaluated(self.plan(loop.step))
        self._slots[loop.var].pop()
        if loop.var2:
            self._slots[loop.var2].pop()
        result = self.evaluated(self.plan(loop.result))
        self._slots[loop.accu_var].pop()
        if fast is not None:
            return fast(items, result)
        assert step is not None
        return repeat(items, self.evaluated(start), slot, (var, var2), condition, step, result, self._limit)

    def _fast(self, loop: Comprehension, slot: int, var: int) -> Callable[[Step, Step], Step] | None:
        """`all`, `exists`, and `map` without a condition."""
        step, accu = loop.step, loop.accu_var
        if step.kind != "call" or len(step.args) != 2 or not _is_name(step.args[0], accu):
            return None
        guard = loop.condition
        if step.name in ("_&&_", "_||_") and guard.kind == "call" and guard.name == "@not_strictly_false":
            until = step.name == "_||_"
            inner = guard.args[0]
            if until and not (inner.kind == "call" and inner.name == "!_"):
                return None
            if not _is_name(inner.args[0] if until else inner, accu) or loop.accu_init.value is not (
                not until
            ):
                return None
            test = self.evaluated(self.plan(step.args[1]))
            return lambda items, result: quantified(items, slot, var, test, until, result, self._limit)
        return None


def _is_name(e: Expr, name: str) -> bool:
    return e.kind == "ident" and e.name == name


def _is_object(ast: Ast, e: Expr) -> bool:
    kind = ast.type(e)
    if kind.kind == "optional_type" and kind.parameters:
        kind = kind.parameters[0]
    return kind.kind == "struct"


def _qualified(e: Expr) -> str:
    return e.name if e.operand is None else f"{_qualified(e.operand)}.{e.name}"
