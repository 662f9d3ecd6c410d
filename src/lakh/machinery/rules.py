"""`x-kubernetes-validations`: the CEL rules of a structural schema, compiled into a tree beside it.

`compile_rules` makes the tree, in which only places that lead to rules have a node; `Rules.findings` evaluates them on an object, from the root
down. What is wrong with rules themselves is found when their definition is written (`rule_checks`). The values that rules see are plain JSON but for what CEL has types for
(numbers, `date-time`, `duration`) and property names that are no identifiers, which are escaped.

A rule that mentions `oldSelf` runs on updates only, on places whose past is known; one that fails on a value that an update leaves as it was is
only a warning. Of a value in a list whose items have no past, the closest place above that has one must be unchanged. The number of evaluations a request may cost is bounded.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lakh.machinery import cel, cel_names, dynamic
from lakh.machinery.cel_decl import with_type_and_meta
from lakh.machinery.errors import FieldError, duplicate, forbidden_field, invalid_value, required
from lakh.machinery.structural_validation import correlator, is_missing

Raw = Mapping[str, Any]
Convert = Callable[[Any], Any]

KEY = "x-kubernetes-validations"
REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
# Evaluations a request may cost, 2 to 20 µs each: what upstream bounds by its cost budget.
EVALUATIONS_MAX = 20_000
MESSAGE_MAX_BYTES = 5120

OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"


def _bytes(text: str) -> Any:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return text


_CEL_TYPES = {"string": "string", "integer": "int", "number": "double", "boolean": "bool"}
_FORMATS: Mapping[str, Convert] = {
    "date-time": cel.timestamp,
    "date": lambda text: cel.timestamp(f"{text}T00:00:00Z"),
    "duration": cel.duration,
    "byte": _bytes,
}
OLD_SELF = re.compile(rf"({cel_names.STRING})|\boldSelf\b", re.DOTALL)
_MISSING: Any = object()


def mentions_old(source: str) -> bool:
    """Whether an expression speaks of `oldSelf`."""
    return any(found.group(1) is None for found in OLD_SELF.finditer(source))


def _with_optional_old(source: str) -> str:
    """The source with `oldSelf` as an optional."""
    return OLD_SELF.sub(
        lambda found: found.group(1) or "(hasOldSelf ? optional.of(oldSelf) : optional.none())", source
    )


def _variables(raw: Raw) -> tuple[tuple[str, str], ...]:
    kind = "dyn"
    if not raw.get("x-kubernetes-int-or-string"):
        match raw.get("type"):
            case "string" if raw.get("format") in _FORMATS:
                kind = "dyn"
            case "array":
                kind = "list"
            case str() as name:
                kind = _CEL_TYPES.get(name, "dyn")
    return (("self", kind), ("oldSelf", kind), ("hasOldSelf", "bool"))


class _Rule:
    """One rule, compiled; raises ExpressionError."""

    __slots__ = (
        "field_path",
        "mentions_old",
        "message",
        "message_program",
        "needs_old",
        "program",
        "reason",
        "text",
    )

    def __init__(self, raw: Raw, schema: Raw) -> None:
        variables = _variables(schema)
        optional = bool(raw.get("optionalOldSelf"))
        source, expression = str(raw.get("rule") or ""), str(raw.get("messageExpression") or "")
        self.mentions_old = mentions_old(source)
        self.needs_old = self.mentions_old and not optional
        self.program = cel.compile_expression(_with_optional_old(source) if optional else source, variables)
        self.message_program = None
        if expression.strip():
            self.message_program = cel.compile_expression(
                _with_optional_old(expression) if optional else expression, variables
            )
        message = str(raw.get("message") or "").strip()
        # What errors of evaluation name the rule by.
        self.text = message or source.strip()
        self.message = message or f"failed rule: {self.text}"
        self.reason = raw.get("reason") or "FieldValueInvalid"
        self.field_path = ""
        if raw.get("fieldPath"):
            self.field_path = cel_names.field_path(str(raw["fieldPath"]), schema)[0]

    def finding(self, value: Any, path: str, activation: Any) -> FieldError:
        """What the rule says when it is broken. Values are shown if they are simple."""
        message = self.message
        if self.message_program is not None:
            try:
                said = self.message_program.evaluate(activation)
            except cel.ExpressionError:
                said = ""
            if isinstance(said, str):
                said = said.strip()
                if said and "\n" not in said and len(said.encode()) <= MESSAGE_MAX_BYTES:
                    message = said
        where = path
        if self.field_path:
            dot = "" if not path or self.field_path.startswith("[") else "."
            where = f"{path}{dot}{self.field_path}"
        where = where or "<nil>"
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


class _Run:
    """One evaluation of a tree: what was found, what was found on values that an update left as they were, and how much more it may cost."""

    __slots__ = ("found", "left", "ratcheted")

    def __init__(self) -> None:
        self.found: list[FieldError] = []
        self.ratcheted: list[FieldError] = []
        self.left = EVALUATIONS_MAX


# A value and what it was, of the closest place above that has a past.
_Pair = tuple[Any, Any]


class Rules:
    """The rules of a place and of what is below it."""

    __slots__ = ("additional", "convert", "items", "properties", "raw", "rules")

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.rules = tuple(_Rule(rule, raw) for rule in raw.get(KEY) or ())
        self.convert = _converter(raw) if self.rules else None
        self.properties: dict[str, Rules] = {}
        for name, sub in (raw.get("properties") or {}).items():
            if (child := _compile(sub)) is not None:
                self.properties[name] = child
        self.additional = _compile(raw.get("additionalProperties"))
        self.items = _compile(raw.get("items"))

    def __repr__(self) -> str:
        return f"<Rules {len(self.rules)} here>"

    def findings(self, value: Any, old: Any = None) -> tuple[list[FieldError], list[FieldError]]:
        """What rules say about an object, and its past when it is an update: what refuses it, and what is said only as a warning,
        because it was so before."""
        run = _Run()
        past = _MISSING if old is None else old
        self._run(value, past, "", (value, past), run)
        return run.found, run.ratcheted

    def _run(self, value: Any, old: Any, path: str, above: _Pair, run: _Run) -> None:
        """`old` is what CEL's `oldSelf` is, `above` what an update is compared by."""
        if value is None or run.left < 0:
            return
        pair = above if old is _MISSING else (value, old)
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
                rules._run(child, before.get(name, _MISSING), where, pair, run)
        elif isinstance(value, list) and self.items is not None:
            past_of = correlator(self.raw, old)
            for index, item in enumerate(value):
                past = past_of(item)
                was = _MISSING if is_missing(past) else past
                self.items._run(item, was, f"{path}[{index}]", pair, run)

    def _evaluate(self, value: Any, old: Any, path: str, pair: _Pair, run: _Run) -> None:
        convert, has_old = self.convert, old is not _MISSING and old is not None
        now = value if convert is None else convert(value)
        past = (old if convert is None else convert(old)) if has_old else now
        activation: Any = None
        unchanged: bool | None = None
        for rule in self.rules:
            if rule.needs_old and not has_old:
                continue
            run.left -= 1
            if run.left < 0:
                run.found.append(invalid_value(path or "<nil>", self.raw.get("type") or "", OUT_OF_BUDGET))
                return
            if activation is None:
                activation = rule.program.activation({"self": now, "oldSelf": past, "hasOldSelf": has_old})
            try:
                holds = rule.program.evaluate(activation)
            except cel.ExpressionError as e:
                run.found.append(self._failed(rule, str(e), path))
                if str(e) == cel.CANCELLED:
                    run.left = -1
                    return
                continue
            if holds is True:
                continue
            if unchanged is None:
                unchanged = pair[1] is not _MISSING and dynamic.equal(pair[0], pair[1])
            ratchets = unchanged and not rule.mentions_old
            (run.ratcheted if ratchets else run.found).append(rule.finding(value, path, activation))

    def _failed(self, rule: _Rule, error: str, path: str) -> FieldError:
        """An expression had no result. Upstream names the type here, not the value."""
        if error.startswith("no such overload"):
            why = f"'{error}': call arguments did not match a supported operator, function or macro signature for rule: {rule.text}"
        elif error == cel.CANCELLED:
            why = f"'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {rule.text}"
        else:
            why = f"{error} evaluating rule: {rule.text}"
        return invalid_value(path or "<nil>", self.raw.get("type") or "", why)


def _compile(raw: Any) -> Rules | None:
    return Rules(raw) if isinstance(raw, Mapping) and _has_rules(raw) else None


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
    return Rules(with_type_and_meta(raw)) if _has_rules(raw) else None


# -- values --------------------------------------------------------------------------------------------------------------------------------


def _converter(raw: Raw) -> Convert | None:
    """Makes of plain JSON what CEL sees; None when it is the same."""
    if raw.get("x-kubernetes-int-or-string"):
        return None
    match raw.get("type"):
        case "number":
            return lambda value: float(value) if isinstance(value, int) else value
        case "string":
            of_text = _FORMATS.get(raw.get("format") or "")
            return (
                None if of_text is None else lambda value: of_text(value) if isinstance(value, str) else value
            )
        case "array":
            item = _converter(raw.get("items") or {})
            return (
                None
                if item is None
                else lambda value: [item(v) for v in value] if isinstance(value, list) else value
            )
        case "object":
            return _object_converter(raw)
        case _:
            return None


def _object_converter(raw: Raw) -> Convert | None:
    additional = raw.get("additionalProperties")
    if isinstance(additional, Mapping):
        of_value = _converter(additional)
        if of_value is None:
            return None
        return lambda value: {k: of_value(v) for k, v in value.items()} if isinstance(value, dict) else value
    renamed: dict[str, str] = {}
    below: dict[str, Convert] = {}
    for name, sub in (raw.get("properties") or {}).items():
        escaped = cel_names.escape(name)
        if escaped is not None and escaped != name:
            renamed[name] = escaped
        convert = _converter(sub)
        if convert is not None:
            below[name] = convert
    if not renamed and not below:
        return None

    def of_object(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        found = {}
        for name, child in value.items():
            if name in below and child is not None:
                child = below[name](child)
            found[renamed.get(name, name)] = child
            if name in cel_names.RESERVED:
                found[name] = child
        return found

    return of_object
