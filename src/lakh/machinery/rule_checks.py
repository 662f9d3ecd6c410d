"""What is wrong with the CEL rules of a schema, found when a definition is written: upstream's checks, in upstream's words.

First what needs no compiler (messages, reasons, field paths). Then every expression is compiled against the types of its schema, and its cost is
estimated: from the schema's limits, times how often the place can be there. An expression may cost `EXPRESSION_LIMIT`, all of a schema together
`SCHEMA_LIMIT`. Upstream: apiextensions-apiserver/pkg/apis/apiextensions/validation (validation.go, cel_validation.go).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from lakh.machinery import cel, cel_cost, cel_names
from lakh.machinery.cel_ast import Ast
from lakh.machinery.cel_check import Checker, program
from lakh.machinery.cel_decl import Decl, declare
from lakh.machinery.cel_ranges import TOP
from lakh.machinery.errors import FieldError, forbidden_field, invalid_value, not_supported, required
from lakh.machinery.rules import KEY, REASONS, VARIABLES, Checkers

Raw = Mapping[str, Any]

EXPRESSION_LIMIT = 10_000_000
SCHEMA_LIMIT = 100_000_000
# Expressions that are named when a schema's total is too high: the most expensive, if they are a hundredth of it.
_NAMED_MAX = 4

_LINE_BREAKS = re.compile(r"[\n\r]")
_encode = msgspec.json.Encoder().encode


def check(raw: Raw, path: str, *, compiled_before: bool = False) -> list[FieldError]:
    """The findings on a schema that is structural. `compiled_before`: its expressions are those of the stored definition, and stay accepted."""
    found: list[FieldError] = []
    for where, at in _places(raw, path):
        for index, rule in enumerate(at.get(KEY) or ()):
            if isinstance(rule, Mapping):
                _plain(rule, at, f"{where}.{KEY}[{index}]", found)
    if found or compiled_before:
        return found
    budget = _Budget()
    _compiled(raw, declare(raw, True), path, 1, "", budget, found)
    if budget.total > SCHEMA_LIMIT:
        why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        found += [forbidden_field(where, why) for _, where in budget.most_expensive]
        what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        found.append(forbidden_field(path, _exceeds(what, budget.total, SCHEMA_LIMIT)))
    return found


def _children(raw: Raw) -> Iterator[tuple[str, str, Raw]]:
    """The schemas directly below: the step in a path, the step in a declaration, and the schema."""
    if isinstance(raw.get("additionalProperties"), Mapping):
        yield ".additionalProperties", "@values", raw["additionalProperties"]
    for name, sub in (raw.get("properties") or {}).items():
        if isinstance(sub, Mapping):
            yield f".properties[{name}]", cel_names.escape(name) or "", sub
    if isinstance(raw.get("items"), Mapping):
        yield ".items", "@items", raw["items"]


def _places(raw: Raw, path: str) -> Iterator[tuple[str, Raw]]:
    for step, _, sub in _children(raw):
        yield from _places(sub, path + step)
    if raw.get(KEY):
        yield path, raw


def _plain(rule: Raw, schema: Raw, path: str, found: list[FieldError]) -> None:
    source, message = str(rule.get("rule") or "").strip(), str(rule.get("message") or "")
    expression, at = str(rule.get("messageExpression") or ""), f"{path}.message"
    if not source:
        found.append(required(f"{path}.rule", "rule is not specified"))
    elif message and not message.strip():
        found.append(invalid_value(at, message, "must be non-empty if specified"))
    elif _LINE_BREAKS.search(message.strip()):
        found.append(invalid_value(at, message, "must not contain line breaks"))
    elif _LINE_BREAKS.search(source) and not message.strip():
        found.append(required(at, "message must be specified if rule contains line breaks"))
    if expression and not expression.strip():
        found.append(
            required(f"{path}.messageExpression", "messageExpression must be non-empty if specified")
        )
    if rule.get("reason") is not None and rule["reason"] not in REASONS:
        found.append(not_supported(f"{path}.reason", rule["reason"], REASONS))
    field_path = str(rule.get("fieldPath") or "")
    if not field_path:
        return
    at = f"{path}.fieldPath"
    if not field_path.strip():
        found.append(invalid_value(at, field_path, "must be non-empty if specified"))
    if _LINE_BREAKS.search(field_path):
        found.append(invalid_value(at, field_path, "must not contain line breaks"))
    try:
        cel_names.field_path(field_path, schema)
    except ValueError:
        found.append(invalid_value(at, field_path, "must be a valid path"))


# -- compiled ------------------------------------------------------------------------------------------------------------------------------


class _Budget:
    """What all expressions of a schema cost together."""

    def __init__(self) -> None:
        self.total = 0
        self.most_expensive: list[tuple[int, str]] = []

    def spend(self, cost: int, path: str) -> None:
        """Counts an expression."""
        self.total = min(self.total + cost, TOP)
        if cost >= SCHEMA_LIMIT // 100:
            self.most_expensive.append((cost, path))
            self.most_expensive.sort(key=lambda entry: -entry[0])
            del self.most_expensive[_NAMED_MAX:]


def _exceeds(what: str, cost: int, limit: int) -> str:
    factor = cost / limit
    if factor > 100:
        text = "more than 100x"
    elif factor < 1.5:
        text = f"{factor:f}x"
    else:
        text = f"{factor:.1f}x"
    return (
        f"{what} exceeds budget by factor of {text} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength "
        "where arrays, maps, and strings are declared)"
    )


def _multiplied(raw: Raw, often: int | None) -> int | None:
    """How often what is below a schema can be there, if the schema can be `often`; None when nothing limits it."""
    limit: Any = 1
    if raw.get("type") == "array":
        limit = raw.get("maxItems")
    elif raw.get("type") == "object" and raw.get("additionalProperties") is not None:
        limit = raw.get("maxProperties")
    return None if often is None or limit is None else min(often * max(int(limit), 0), TOP)


def _compiled(
    raw: Raw,
    decl: Decl | None,
    path: str,
    often: int | None,
    lost_at: str,
    budget: _Budget,
    found: list[FieldError],
) -> None:
    """Below first, as upstream does. `lost_at` is the list above whose items have no past."""
    below = _multiplied(raw, often)
    for step, name, sub in _children(raw):
        lost = lost_at
        if step == ".items" and raw.get("x-kubernetes-list-type") != "map":
            lost = lost_at or path
        if _has_rules(sub):
            child = decl.step(name) if decl is not None else None
            if child is None:
                # Upstream does the same for names that are no identifiers.
                child = declare(sub, bool(sub.get("x-kubernetes-embedded-resource")))
            _compiled(sub, child, path + step, below, lost, budget, found)
    rules = [r for r in raw.get(KEY) or () if isinstance(r, Mapping)]
    if not rules:
        return
    if decl is None:
        what = "internal error: failed to retrieve type information for x-kubernetes-validations"
        found.append(FieldError("InternalError", f"{path}.{KEY}", f"Internal error: {what}"))
        return
    checkers = Checkers(decl)
    times = often if often is not None else decl.max_cardinality
    for index, rule in enumerate(rules):
        _rule(rule, checkers.of(rule), times, f"{path}.{KEY}[{index}]", lost_at, budget, found)


def _has_rules(raw: Raw) -> bool:
    return bool(raw.get(KEY)) or any(_has_rules(sub) for _, _, sub in _children(raw))


def _rule(
    rule: Raw,
    checker: Checker,
    times: int,
    path: str,
    lost_at: str,
    budget: _Budget,
    found: list[FieldError],
) -> None:
    source = str(rule.get("rule") or "")
    expression = str(rule.get("messageExpression") or "")
    try:
        cost, ast = _estimate(checker, source, "bool", "cel expression must evaluate to a bool")
    except cel.ExpressionError as e:
        found.append(_invalid(f"{path}.rule", rule, str(e)))
        return
    cost = min(cost * times, TOP)
    if cost > EXPRESSION_LIMIT:
        found.append(forbidden_field(f"{path}.rule", _exceeds("estimated rule cost", cost, EXPRESSION_LIMIT)))
    budget.spend(cost, f"{path}.rule")
    if expression:
        at = f"{path}.messageExpression"
        try:
            cost, _ = _estimate(checker, expression, "string", "messageExpression must evaluate to a string")
        except cel.ExpressionError as e:
            found.append(
                _invalid(
                    at,
                    rule,
                    str(e)
                    .replace("compilation failed", "messageExpression compilation failed", 1)
                    .replace("program instantiation", "messageExpression instantiation", 1),
                )
            )
        else:
            if cost > EXPRESSION_LIMIT:
                what = "estimated messageExpression cost"
                found.append(forbidden_field(at, _exceeds(what, cost, EXPRESSION_LIMIT)))
            budget.spend(cost, at)
    if "oldSelf" in ast.names:
        if lost_at:
            why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {lost_at}"
            found.append(invalid_value(f"{path}.rule", source, why))
    elif rule.get("optionalOldSelf") is not None:
        found.append(
            invalid_value(
                f"{path}.optionalOldSelf",
                bool(rule["optionalOldSelf"]),
                "may not be set if oldSelf is not used in rule",
            )
        )


def _estimate(checker: Checker, source: str, kind: str, why: str) -> tuple[int, Ast]:
    """The most that an expression costs, and its tree; raises ExpressionError with what is wrong with it."""
    try:
        ast = checker.check(source)
    except cel.ExpressionError as e:
        raise cel.ExpressionError(f"compilation failed: {e}") from None
    result = ast.type(ast.root).kind
    if result != kind and (checker.knows(source) or result != "dyn"):
        raise cel.ExpressionError(why)
    program(ast, VARIABLES, source)
    return cel_cost.Estimator(ast, checker.declarations).cost()[1], ast


def _invalid(path: str, rule: Raw, why: str) -> FieldError:
    """A finding on a rule, which is shown as a whole: upstream's internal type as JSON, with Go's escapes."""
    shown = {
        "Rule": rule.get("rule") or "",
        "Message": rule.get("message") or "",
        "MessageExpression": rule.get("messageExpression") or "",
        "Reason": rule.get("reason"),
        "FieldPath": rule.get("fieldPath") or "",
        "OptionalOldSelf": rule.get("optionalOldSelf"),
    }
    text = _encode(shown).decode()
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return FieldError("FieldValueInvalid", path, f"Invalid value: {text}: {why}")
