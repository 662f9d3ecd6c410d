"""What a CEL expression can cost, estimated from its tree before it ever runs.

The units and rules are cel-go's (checker/cost.go) with Kubernetes' functions on top (apiserver/pkg/cel/library/cost.go): definitions are accepted or
refused by these numbers, so they must be the same. A cost and a size are ranges (least, most) of 64 bits that stick at the top. Sizes of what is
reached from a variable come from its declaration, along the path to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lakh.machinery import cel_ast, cel_prices
from lakh.machinery.cel_ast import Ast, Expr, Type
from lakh.machinery.cel_decl import Decl
from lakh.machinery.cel_prices import NEW_LIST, REGEX, TRAVERSAL, Estimate, Node, Path
from lakh.machinery.cel_ranges import ONE, TOP, UNKNOWN, Range, add, multiply, scale, total, union

_NEW_MAP, _NEW_STRUCT = 30, 40
_ACCUMULATORS = frozenset(["__result__", "@result"])


@dataclass(frozen=True, slots=True)
class _Entries:
    """The sizes of a container's keys (or positions) and values."""

    kind: str
    keys: Range
    values: Range

    def union(self, other: _Entries | None) -> _Entries | None:
        """Of two containers, one of which it is."""
        if other is None:
            return None
        return _Entries(self.kind, union(self.keys, other.keys), union(self.values, other.values))


@dataclass(frozen=True, slots=True)
class _Local:
    """A variable of a macro."""

    path: Path
    size: Range | None
    entries: _Entries | None


class Estimator:
    """The cost of one expression. `declarations` are the types of the variables whose sizes are known, by name."""

    def __init__(self, ast: Ast, declarations: Mapping[str, Decl]) -> None:
        self._ast = ast
        self._declarations = declarations
        self._paths: dict[int, Path] = {}
        self._sizes: dict[int, Range] = {}
        self._entries: dict[int, _Entries] = {}
        self._locals: dict[str, list[_Local]] = {}

    def cost(self) -> Range:
        """The least and the most that an evaluation costs."""
        return self._cost(self._ast.root)

    def _cost(self, e: Expr) -> Range:
        match e.kind:
            case "ident":
                local = self._local(e.name)
                self._paths[e.id] = local.path if local is not None else (e.name,)
                return ONE
            case "select":
                return self._select(e)
            case "call":
                return self._call(e)
            case "list":
                return self._list(e)
            case "map":
                return self._map(e)
            case "struct":
                return add(total([self._cost(a) for a in e.args]), (_NEW_STRUCT, _NEW_STRUCT))
            case "comprehension":
                return self._bind(e) if self._is_bind(e) else self._comprehension(e)
        return 0, 0

    def _select(self, e: Expr) -> Range:
        assert e.operand is not None
        found = self._cost(e.operand)
        if e.test_only:
            # Kubernetes asks for presence for nothing.
            return found
        if self._type(e.operand).kind in ("map", "struct", "type_param"):
            found = add(found, ONE)
        self._paths[e.id] = (*self._path(e.operand), e.name)
        return found

    def _call(self, e: Expr) -> Range:
        if e.name == "dyn" and len(e.args) == 1:
            found = self._cost(e.args[0])
            self._copy(e, e.args[0])
            return add(found, ONE)
        costs = [self._cost(a) for a in e.args]
        nodes = [self._node(a) for a in e.args]
        overloads = self._overloads(e)
        if not overloads:
            return 0, 0
        before, target = (0, 0), None
        if e.operand is not None:
            before = self._cost(e.operand)
            target = self._node(e.operand)
        most: Range = (TOP, 0)
        size: Range | None = None
        for overload in overloads:
            cost, result = self._function(e, overload, target, nodes, costs)
            most = union(most, cost)
            if result is not None:
                size = result if size is None else union(size, result)
            if overload in ("index_list", "index_map") and e.args:
                entries = self._entry_sizes(e.args[0])
                size = entries.values if entries is not None else None
                step = "@items" if overload == "index_list" else "@values"
                self._paths[e.id] = (*self._path(e.args[0]), step)
            if size is None:
                size = self._size(e)
        if size is not None:
            self._sizes[e.id] = size
        return add(before, most)

    def _overloads(self, e: Expr) -> list[str]:
        found = self._ast.overloads.get(e.id, [])
        if e.name == "_[_]" and len(found) > 1:
            # What messages cannot say, and the declaration can.
            at = self._declared(self._path(e.args[0]))
            if at is not None and at.kind in ("list", "map"):
                return [f"index_{at.kind}"]
        return found

    def _list(self, e: Expr) -> Range:
        costs = [self._cost(a) for a in e.args]
        values: Range = (TOP, 0) if e.args else (0, 0)
        for item in e.args:
            values = union(values, self._size_or_unknown(item))
        self._entries[e.id] = _Entries("list", ONE, values)
        return add(total(costs), (NEW_LIST, NEW_LIST))

    def _map(self, e: Expr) -> Range:
        costs = [self._cost(a) for a in e.args]
        start: Range = (TOP, 0) if e.args else (0, 0)
        keys, values = start, start
        for key, value in zip(e.args[::2], e.args[1::2], strict=True):
            keys, values = (
                union(keys, self._size_or_unknown(key)),
                union(values, self._size_or_unknown(value)),
            )
        self._entries[e.id] = _Entries("map", keys, values)
        return add(total(costs), (_NEW_MAP, _NEW_MAP))

    def _is_bind(self, e: Expr) -> bool:
        loop = e.loop
        assert loop is not None
        return (
            loop.range.kind == "list"
            and not loop.range.args
            and loop.condition.kind == "literal"
            and loop.condition.value is False
            and loop.accu_var not in _ACCUMULATORS
        )

    def _bind(self, e: Expr) -> Range:
        loop = e.loop
        assert loop is not None
        found = add(self._cost(loop.range), self._cost(loop.accu_init))
        self._push(loop.accu_var, self._local_of(loop.accu_init))
        found = add(found, self._cost(loop.result))
        self._locals[loop.accu_var].pop()
        self._copy(e, loop.result)
        return found

    def _comprehension(self, e: Expr) -> Range:
        loop = e.loop
        assert loop is not None
        found = add(self._cost(loop.range), self._cost(loop.accu_init))
        self._push(loop.accu_var, self._local_of(loop.accu_init))
        kind, path = self._container(loop.range), self._path(loop.range)
        entries = self._entry_sizes(loop.range)
        keys, values = (entries.keys, entries.values) if entries is not None else (None, None)
        if loop.var2:
            self._push(loop.var, _Local((*path, "@indices" if kind == "list" else "@keys"), keys, None))
            self._push(loop.var2, _Local((*path, "@items" if kind == "list" else "@values"), values, None))
        elif kind == "list":
            self._push(loop.var, _Local((*path, "@items"), values, None))
        else:
            self._push(loop.var, _Local((*path, "@keys"), keys, None))
        condition, step = self._cost(loop.condition), self._cost(loop.step)
        self._locals[loop.var].pop()
        if loop.var2:
            self._locals[loop.var2].pop()
        found = add(found, self._cost(loop.result))
        self._locals[loop.accu_var].pop()
        count = self._size_or_unknown(loop.range)
        found = add(found, multiply(count, add(step, condition)))
        if loop.accu_init.kind == "literal":
            size = self._size(loop.accu_init)
            if size is not None:
                self._sizes[e.id] = size
        elif loop.accu_init.kind in ("list", "map"):
            self._sizes[e.id] = count
            of_step = self._entry_sizes(loop.step)
            if of_step is not None:
                self._entries[e.id] = of_step
        return found

    def _container(self, e: Expr) -> str:
        entries = self._entry_sizes(e)
        return entries.kind if entries is not None else self._type(e).kind

    # -- what is known of a place ----------------------------------------------------------------------------------------------------------

    def _push(self, name: str, local: _Local) -> None:
        self._locals.setdefault(name, []).append(local)

    def _local(self, name: str) -> _Local | None:
        stack = self._locals.get(name)
        return stack[-1] if stack else None

    def _local_of(self, e: Expr) -> _Local:
        return _Local(self._path(e), self._size(e), self._entry_sizes(e))

    def _path(self, e: Expr) -> Path:
        if e.kind == "ident":
            local = self._local(e.name)
            if local is not None:
                return local.path
        return self._paths.get(e.id, ())

    def _declared(self, path: Path) -> Decl | None:
        # Upstream looks from `self` on whatever a path begins with: names of types, and items of lists that are written out.
        at = self._declarations.get(path[0], self._declarations.get("self")) if path else None
        for name in path[1:]:
            if at is None:
                break
            at = at.step(name)
        return at

    def _type(self, e: Expr) -> Type:
        """A place's type; what messages cannot say (lists in lists) is taken from the declaration."""
        found = self._ast.type(e)
        if found.kind == "dyn":
            at = self._declared(self._path(e))
            if at is not None and at.kind != "dyn":
                return _type_of(at)
        return found

    def _node(self, e: Expr) -> Node:
        path = self._path(e)
        if path and path[0] in _ACCUMULATORS:
            path = ()
        return Node(e, self._type(e), path, self._size(e))

    def _size(self, e: Expr) -> Range | None:
        if e.id in self._sizes:
            return self._sizes[e.id]
        if e.kind == "literal":
            count = len(e.value) if isinstance(e.value, str | bytes) else 1
            return count, count
        if e.kind == "list":
            return len(e.args), len(e.args)
        if e.kind == "map":
            return len(e.args) // 2, len(e.args) // 2
        declared = self._declared(self._path(e))
        if declared is not None:
            size = (0, declared.max_elements)
            self._sizes[e.id] = size
            return size
        if self._type(e).scalar:
            return ONE
        if e.kind == "ident":
            local = self._local(e.name)
            if local is not None:
                return local.size
        return None

    def _size_or_unknown(self, e: Expr) -> Range:
        return self._size(e) or UNKNOWN

    def _entry_sizes(self, e: Expr) -> _Entries | None:
        if e.id in self._entries:
            return self._entries[e.id]
        local = self._local(e.name) if e.kind == "ident" else None
        return local.entries if local is not None else None

    def _copy(self, to: Expr, of: Expr) -> None:
        size, entries = self._size(of), self._entry_sizes(of)
        if size is not None:
            self._sizes[to.id] = size
        if entries is not None:
            self._entries[to.id] = entries

    # -- functions -------------------------------------------------------------------------------------------------------------------------

    def _function(
        self, e: Expr, overload: str, target: Node | None, args: list[Node], costs: list[Range]
    ) -> Estimate:
        known = cel_prices.FUNCTIONS.get(e.name)
        if known is not None:
            estimate = known(self, target, args, overload)
            if estimate is not None:
                return add(estimate[0], total(costs)), estimate[1]
        return self._standard(e, overload, target, args, costs)

    def _standard(
        self, e: Expr, overload: str, target: Node | None, args: list[Node], costs: list[Range]
    ) -> Estimate:
        before = total(costs)
        sizes = [a.size or UNKNOWN for a in args]
        match overload:
            case "string_format" if target is not None:
                return add(scale(target.size or UNKNOWN, TRAVERSAL), before), None
            case "string_to_bytes":
                (low, high), size = sizes[0], scale(sizes[0], TRAVERSAL)
                return add(size, before), (low, high * 4 & TOP)
            case "bytes_to_string":
                (low, high), size = sizes[0], scale(sizes[0], TRAVERSAL)
                return add(size, before), (low // 4, high)
            case "strings_quote" if args:
                (low, high), size = sizes[0], scale(sizes[0], TRAVERSAL)
                return add(size, before), (low + 2 & TOP, high * 2 + 2 & TOP)
            case "starts_with_string" | "ends_with_string" if len(args) == 1:
                return add(scale(sizes[0], TRAVERSAL), before), None
            case "in_list" if len(args) == 2:
                return add(sizes[1], before), None
            case "matches_string" if target is not None and len(args) == 1:
                text = scale(add(target.size or UNKNOWN, ONE), TRAVERSAL)
                return add(multiply(text, scale(sizes[0], REGEX)), before), None
            case "contains_string" if target is not None and len(args) == 1:
                text = scale(target.size or UNKNOWN, TRAVERSAL)
                return add(multiply(text, scale(sizes[0], TRAVERSAL)), before), None
            case "logical_or" | "logical_and":
                return (costs[0][0], before[1]), None
            case "conditional":
                first = self._entry_sizes(e.args[1])
                both = first.union(self._entry_sizes(e.args[2])) if first is not None else None
                if both is not None:
                    self._entries[e.id] = both
                return add(costs[0], union(costs[1], costs[2])), union(sizes[1], sizes[2])
            case "add_string" | "add_bytes" | "add_list" if len(args) == 2:
                size = add(sizes[0], sizes[1])
                first = self._entry_sizes(e.args[0])
                both = first.union(self._entry_sizes(e.args[1])) if first is not None else None
                if both is not None:
                    self._entries[e.id] = both
                return add(ONE if overload == "add_list" else scale(size, TRAVERSAL), before), size
            case name if name in _COMPARED and len(args) == 2:
                most = min(sizes[0][1], sizes[1][1])
                return add(scale((1 if most else 0, most), TRAVERSAL), before), None
        return add(ONE, before), None

    def known_size(self, node: Node) -> Range:
        """An argument's size, or all there is."""
        if node.size is not None:
            return node.size
        declared = self._declared(node.path)
        return (0, declared.max_elements) if declared is not None else UNKNOWN

    def element(self, node: Node) -> Node | None:
        """What a list holds; None when it is no list."""
        if not node.type.parameters:
            return None
        path = (*node.path, "@items") if node.path else ()
        return Node(None, node.type.parameters[0], path, None)


_COMPARED = frozenset(
    ["equals", "not_equals"]
    + [
        f"{how}_{kind}"
        for how in ("less", "less_equals", "greater", "greater_equals")
        for kind in ("string", "bytes")
    ]
)


def _type_of(at: Decl) -> Type:
    if at.kind == "list":
        return Type("list", (_type_of(at.element) if at.element else cel_ast.DYN,))
    if at.kind == "map":
        return Type("map", (Type("string"), _type_of(at.element) if at.element else cel_ast.DYN))
    return Type("struct", (), "object") if at.kind == "object" else Type(at.kind)
