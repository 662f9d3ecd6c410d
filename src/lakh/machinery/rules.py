"""`x-kubernetes-validations`: the CEL rules of a structural schema, compiled into a tree beside it.

`compile_rules` makes the tree, in which only places that lead to rules have a node; `Rules.findings` evaluates them on an object, from the root
down. What is wrong with rules themselves is found when their definition is written (`rule_checks`); how the values that rules see differ from plain JSON
is `rule_values`. A rule like `self.a <= self.b` takes 3 µs.

A rule that mentions `oldSelf` runs on updates only, on places whose past is known; one that fails on a value that an update leaves as it was is
only a warning. Of a value in a list whose items have no past, the closest place above that has one must be unchanged.

What rules cost is counted as upstream counts it (`cel_metering`): an expression that costs too much, and an object whose rules do, end the validation.
Upstream: apiextensions-apiserver/pkg/apiserver/schema/cel (validation.go, compilation.go).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lakh.machinery import cel, cel_names, dynamic, rule_values
from lakh.machinery.cel_ast import Ast
from lakh.machinery.cel_check import Checker, program
from lakh.machinery.cel_decl import Decl, declare, with_type_and_meta
from lakh.machinery.cel_metering import OBJECT_BUDGET, CostLimitExceeded
from lakh.machinery.cel_program import Program
from lakh.machinery.cel_strings import trim
from lakh.machinery.cel_values import NONE, Optional
from lakh.machinery.errors import FieldError, duplicate, forbidden_field, invalid_value, required, show
from lakh.machinery.structural_validation import correlator, is_missing

Raw = Mapping[str, Any]

KEY = "x-kubernetes-validations"
REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
MESSAGE_MAX_BYTES = 5120

_OUT_OF_BUDGET = "running out of cost budget, no further validation rules will be run"
OUT_OF_BUDGET = f"validation failed due to {_OUT_OF_BUDGET}"
VARIABLES = ("self", "oldSelf")
_MISSING: Any = object()


class Checkers:
    """The checkers of the rules of a place: of those to which the past is optional, and of the others."""

    def __init__(self, decl: Decl) -> None:
        self._decl = decl
        self._made: dict[bool, Checker] = {}

    def of(self, rule: Raw) -> Checker:
        """The checker of a rule."""
        optional = bool(rule.get("optionalOldSelf"))
        if optional not in self._made:
            variables = dict.fromkeys(VARIABLES, self._decl)
            self._made[optional] = Checker(variables, optional=VARIABLES[1:] if optional else ())
        return self._made[optional]


class _Rule:
    """One rule."""

    __slots__ = (
        "error",
        "expression",
        "field_path",
        "mentions_old",
        "message",
        "message_program",
        "optional",
        "program",
        "raw",
        "reason",
        "source",
        "text",
    )

    def __init__(self, raw: Raw, schema: Raw) -> None:
        self.raw = raw
        self.optional = bool(raw.get("optionalOldSelf"))
        self.source, self.expression = str(raw.get("rule") or ""), str(raw.get("messageExpression") or "")
        message = str(raw.get("message") or "")
        # What errors of evaluation name the rule by.
        self.text = (message or self.source).strip()
        self.message = message.strip() if message else f"failed rule: {self.text}"
        self.reason = raw.get("reason") or "FieldValueInvalid"
        self.field_path = ""
        if raw.get("fieldPath"):
            try:
                self.field_path = cel_names.field_path(str(raw["fieldPath"]), schema)[0]
            except ValueError:
                # As upstream: of a path that leads nowhere, the rule's own place is named.
                self.field_path = ""
        self.program: Program | None = None
        self.message_program: Program | None = None
        self.mentions_old = False
        self.error = ""

    def compile(self, checker: Checker) -> list[Ast]:
        """Makes the programs. A rule that cannot be compiled says so whenever it would run."""
        asts = []
        try:
            if self.source.strip():
                ast = self._checked(checker)
                self.mentions_old = "oldSelf" in ast.names
                self.program = program(ast, VARIABLES, self.source)
                asts.append(ast)
        except cel.ExpressionError as e:
            self.error = f"rule compile error: {e}"
        try:
            if self.expression.strip():
                ast = checker.check(self.expression)
                self.message_program = program(ast, VARIABLES, self.expression)
                asts.append(ast)
        except cel.ExpressionError:
            self.message_program = None
        return asts

    def _checked(self, checker: Checker) -> Ast:
        try:
            return checker.check(self.source)
        except cel.ExpressionError as e:
            raise cel.ExpressionError(f"compilation failed: {e}") from None

    def finding(self, value: Any, path: str, message: str) -> FieldError:
        """What the rule says when it is broken. Values are shown if they are simple."""
        where = self.place(path)
        simple = not isinstance(value, dict | list)
        match self.reason:
            case "FieldValueRequired":
                return required(where, message)
            case "FieldValueForbidden":
                return forbidden_field(where, message)
            case "FieldValueDuplicate":
                return (
                    duplicate(where, value) if simple else FieldError(self.reason, where, "Duplicate value")
                )
            case _ if simple:
                return invalid_value(where, value, message)
            case _:
                return FieldError("FieldValueInvalid", where, f"Invalid value: {message}")

    def place(self, path: str) -> str:
        """What the rule is about, at a path."""
        return (
            (f"{path}.{self.field_path}" if path else self.field_path) if self.field_path else path or "<nil>"
        )


class _Exhausted(Exception):
    """There is no budget for more rules. What says so has been found."""


class _Run:
    """One evaluation of a tree: what was found, what was found on values that an update left as they were, and how much more it may cost."""

    __slots__ = ("found", "left", "ratcheted")

    def __init__(self) -> None:
        self.found: list[FieldError] = []
        self.ratcheted: list[FieldError] = []
        self.left = OBJECT_BUDGET


# A value and what it was, of the closest place above that has a past.
_Pair = tuple[Any, Any]
_UNKNOWN: _Pair = (None, _MISSING)


class Rules:
    """The rules of a place and of what is below it. They are compiled when the place is there for the first time: 2 ms, and 0.2 ms a rule."""

    __slots__ = ("_compiled", "_decl", "additional", "convert", "items", "properties", "raw", "rules")

    def __init__(self, raw: Raw, decl: Decl | None) -> None:
        self.raw = raw
        self.rules = tuple(_Rule(rule, raw) for rule in raw.get(KEY) or ())
        self._decl = decl
        self._compiled = False
        self.convert: rule_values.Convert | None = None
        self.properties: dict[str, Rules] = {}
        for name, sub in (raw.get("properties") or {}).items():
            escaped = cel_names.escape(name)
            child = _compile(sub, decl.step(escaped) if decl is not None and escaped else None)
            if child is not None:
                self.properties[name] = child
        self.additional = _compile(raw.get("additionalProperties"), decl.element if decl else None)
        self.items = _compile(raw.get("items"), decl.element if decl else None)

    def __repr__(self) -> str:
        return f"<Rules {len(self.rules)} here>"

    def findings(self, value: Any, old: Any = None) -> tuple[list[FieldError], list[FieldError]]:
        """What rules say about an object, and its past when it is an update: what refuses it, and what is said only as a warning,
        because it was so before."""
        run = _Run()
        past = _MISSING if old is None else old
        try:
            self._run(value, past, "", (value, past), run)
        except _Exhausted:
            pass
        return run.found, run.ratcheted

    def _run(self, value: Any, old: Any, path: str, above: _Pair, run: _Run) -> None:
        """`old` is what CEL's `oldSelf` is, `above` what an update is compared by."""
        if value is None:
            return
        pair = above if old is _MISSING or above is _UNKNOWN else (value, old)
        if self.rules:
            self._evaluate(value, old, path, pair, run)
        if isinstance(value, dict):
            before = old if isinstance(old, dict) else {}
            for name, child in value.items():
                rules = self.properties.get(name)
                if rules is not None:
                    where = f"{path}.{name}" if path else name
                elif self.additional is not None:
                    rules, where = self.additional, f"{path}[{name}]"
                else:
                    continue
                was = before.get(name, _MISSING)
                if not path and name in ("apiVersion", "kind"):
                    # Both are the version that the request is in: that they did not change says nothing.
                    rules._run(child, was, where, _UNKNOWN, run)
                else:
                    rules._run(child, was, where, pair, run)
        elif isinstance(value, list) and self.items is not None:
            past_of = correlator(self.raw, old)
            for index, item in enumerate(value):
                past = past_of(item)
                was = _MISSING if is_missing(past) else past
                self.items._run(item, was, f"{path}[{index}]", pair, run)

    def _compile(self) -> None:
        self._compiled = True
        decl = self._decl or declare(self.raw, bool(self.raw.get("x-kubernetes-embedded-resource")))
        if decl is None:
            for rule in self.rules:
                rule.error = "rule compiler initialization error: failed to convert to declType for CEL validation rules"
            return
        checkers = Checkers(decl)
        asts = [ast for rule in self.rules for ast in rule.compile(checkers.of(rule.raw))]
        raw = self.raw
        if raw.get("x-kubernetes-embedded-resource"):
            raw = with_type_and_meta(raw)
        self.convert = rule_values.converter(raw, rule_values.used(asts, VARIABLES))

    def _evaluate(self, value: Any, old: Any, path: str, pair: _Pair, run: _Run) -> None:
        if run.left <= 0:
            raise self._exhausted(run, path, OUT_OF_BUDGET)
        if not self._compiled:
            self._compile()
        convert, has_old = self.convert, old is not _MISSING and old is not None
        now = value if convert is None else convert(value)
        past: Any = _MISSING
        unchanged: bool | None = None
        for rule in self.rules:
            if rule.error:
                run.found.append(invalid_value(path or "<nil>", self.raw.get("type") or "", rule.error))
                continue
            if rule.program is None or (rule.mentions_old and not has_old and not rule.optional):
                continue
            before: Any = None
            if has_old:
                if past is _MISSING:
                    past = old if convert is None else convert(old)
                before = Optional(True, past) if rule.optional else past
            elif rule.optional:
                before = NONE
            holds, cost = rule.program.run(now, before)
            if cost > run.left:
                raise self._exhausted(run, path, OUT_OF_BUDGET)
            run.left -= cost
            if holds is True:
                continue
            if isinstance(holds, Exception):
                run.found.append(self._failed(rule, holds, path))
                if isinstance(holds, CostLimitExceeded):
                    raise _Exhausted
                continue
            if unchanged is None:
                unchanged = pair[1] is not _MISSING and dynamic.equal(pair[0], pair[1])
            into = run.ratcheted if unchanged and not rule.mentions_old else run.found
            message = rule.message
            if rule.message_program is not None:
                message = self._message(rule, now, before, path, run, into) or message
            into.append(rule.finding(value, path, message))

    def _message(
        self, rule: _Rule, now: Any, before: Any, path: str, run: _Run, into: list[FieldError]
    ) -> str:
        """What a rule's expression says; empty when that is no message."""
        assert rule.message_program is not None
        said, cost = rule.message_program.run(now, before)
        why = ""
        if cost > run.left:
            why = f"messageExpression evaluation failed due to {_OUT_OF_BUDGET}"
        elif isinstance(said, CostLimitExceeded):
            why = f"no further validation rules will be run due to call cost exceeds limit for messageExpression: {show(rule.expression)}"
        if why:
            into.append(invalid_value(rule.place(path), self.raw.get("type") or "", why))
            raise _Exhausted
        run.left -= cost
        if not isinstance(said, str):
            return ""
        said = trim(said)
        return "" if "\n" in said or len(said.encode()) > MESSAGE_MAX_BYTES else said

    def _exhausted(self, run: _Run, path: str, why: str) -> _Exhausted:
        run.found.append(invalid_value(path or "<nil>", self.raw.get("type") or "", why))
        return _Exhausted()

    def _failed(self, rule: _Rule, error: Exception, path: str) -> FieldError:
        """An expression had no result. Upstream names the type here, not the value."""
        text = str(error)
        if text.startswith("no such overload"):
            why = f"'{text}': call arguments did not match a supported operator, function or macro signature for rule: {rule.text}"
        elif isinstance(error, CostLimitExceeded):
            why = f"'{text}': no further validation rules will be run due to call cost exceeds limit for rule: {rule.text}"
        else:
            why = f"{text} evaluating rule: {rule.text}"
        return invalid_value(path or "<nil>", self.raw.get("type") or "", why)


def _compile(raw: Any, decl: Decl | None) -> Rules | None:
    return Rules(raw, decl) if isinstance(raw, Mapping) and _has_rules(raw) else None


def _has_rules(raw: Raw) -> bool:
    return bool(raw.get(KEY)) or any(_has_rules(sub) for sub in _children(raw))


def _children(raw: Raw) -> Iterator[Raw]:
    """The schemas directly below. What restricts values (allOf, anyOf, oneOf, not) has no rules."""
    for sub in (raw.get("properties") or {}).values():
        if isinstance(sub, Mapping):
            yield sub
    for keyword in ("additionalProperties", "items"):
        if isinstance(raw.get(keyword), Mapping):
            yield raw[keyword]


def compile_rules(raw: Raw) -> Rules | None:
    """The rules of a schema that `rule_checks` found nothing wrong with; None when there are none."""
    return Rules(raw, declare(raw, True)) if _has_rules(raw) else None
