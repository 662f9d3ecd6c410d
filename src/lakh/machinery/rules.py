"""`x-kubernetes-validations`: the CEL rules of a structural schema, compiled into a tree beside it.

`check` finds what is wrong with rules when a definition is written; `compile_rules` makes the tree, in which only places lead to rules have a
node; `Rules.findings` evaluates them on an object, from the root down. The values that rules see are plain JSON but for what CEL has types for
(numbers, `date-time`, `duration`) and property names that are no identifiers, which are escaped.

A rule that mentions `oldSelf` runs on updates only, on places whose past is known; one that fails on an unchanged value is not held against an
update. The number of evaluations a request may cost is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lakh.machinery import cel, dynamic
from lakh.machinery.errors import (
    FieldError,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
)
from lakh.machinery.structural_validation import correlated, is_missing

Raw = Mapping[str, Any]
Convert = Callable[[Any], Any]

KEY = "x-kubernetes-validations"
REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
# Evaluations a request may cost, 2 to 20 µs each: what upstream bounds by its cost budget.
EVALUATIONS_MAX = 20_000
MESSAGE_MAX_BYTES = 5120

OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"

_CEL_TYPES = {"string": "string", "integer": "int", "number": "double", "boolean": "bool"}
_FORMATS: Mapping[str, Convert] = {
    "date-time": cel.timestamp,
    "datetime": cel.timestamp,
    "date": lambda text: cel.timestamp(f"{text}T00:00:00Z"),
    "duration": cel.duration,
}
# Strings of CEL, then the words outside of them.
_OLD_SELF = re.compile(
    r"""(r?(?:'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"))|\boldSelf\b""", re.DOTALL
)
_CHAIN = re.compile(
    r"""(?:r?(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"))|(?<![\w.])(?:self|oldSelf)((?:\.\??[A-Za-z_]\w*(?!\w*\s*\())+)"""
)
_MISSING: Any = object()


def _mentions_old(source: str) -> bool:
    return any(found.group(1) is None for found in _OLD_SELF.finditer(source))


def _with_optional_old(source: str) -> str:
    """The source with `oldSelf` as an optional."""
    return _OLD_SELF.sub(
        lambda found: found.group(1) or "(hasOldSelf ? optional.of(oldSelf) : optional.none())", source
    )


def _variables(raw: Raw) -> tuple[tuple[str, str], ...]:
    kind = "dyn"
    if not raw.get("x-kubernetes-int-or-string"):
        match raw.get("type"):
            case "string" if raw.get("format") in _FORMATS or raw.get("format") == "byte":
                kind = "dyn"
            case "array":
                kind = "list"
            case str() as name:
                kind = _CEL_TYPES.get(name, "dyn")
    return (("self", kind), ("oldSelf", kind), ("hasOldSelf", "bool"))


class _Rule:
    """One rule, compiled; raises ExpressionError."""

    __slots__ = ("field_path", "message", "message_program", "needs_old", "program", "raw", "reason")

    def __init__(self, raw: Raw, schema: Raw) -> None:
        variables = _variables(schema)
        optional = bool(raw.get("optionalOldSelf"))
        source, expression = str(raw.get("rule") or ""), str(raw.get("messageExpression") or "")
        mentions = _mentions_old(source)
        self.raw = raw
        self.needs_old = mentions and not optional
        self.program = cel.compile_expression(_with_optional_old(source) if optional else source, variables)
        self.message_program = None
        if expression.strip():
            self.message_program = cel.compile_expression(
                _with_optional_old(expression) if optional else expression, variables
            )
        message = str(raw.get("message") or "").strip()
        self.message = message or f"failed rule: {source.strip()}"
        self.reason = raw.get("reason") or "FieldValueInvalid"
        self.field_path = str(raw.get("fieldPath") or "")

    def finding(self, schema: Raw, path: str, activation: Any) -> FieldError:
        """What the rule says when it is broken."""
        kind, message = schema.get("type") or "", self.message
        if self.message_program is not None:
            try:
                said = self.message_program.evaluate(activation)
            except cel.ExpressionError:
                said = ""
            if isinstance(said, str):
                said = said.strip()
                if said and "\n" not in said and len(said.encode()) <= MESSAGE_MAX_BYTES:
                    message = said
        where = path + self.field_path if path else self.field_path.removeprefix(".") or "<nil>"
        match self.reason:
            case "FieldValueRequired":
                return required(where, message)
            case "FieldValueForbidden":
                return forbidden_field(where, message)
            case "FieldValueDuplicate":
                return FieldError(self.reason, where, f'Duplicate value: "{kind}"')
            case _:
                return invalid_value(where, kind, message)


class Rules:
    """The rules of a place and of what is below it."""

    __slots__ = ("additional", "all_of", "convert", "items", "properties", "raw", "rules")

    def __init__(self, raw: Raw, spine: Raw) -> None:
        # `raw` holds the rules, `spine` says what is there: they differ below allOf.
        self.raw = spine
        self.rules = tuple(_Rule(rule, spine) for rule in raw.get(KEY) or ())
        self.convert = _converter(spine) if self.rules else None
        self.properties: dict[str, Rules] = {}
        below: Raw = spine.get("properties") or {}
        for name, sub in (raw.get("properties") or {}).items():
            if name in below and (child := _compile(sub, below[name])) is not None:
                self.properties[name] = child
        self.additional = _below(raw, spine, "additionalProperties")
        self.items = _below(raw, spine, "items")
        self.all_of = tuple(
            child for sub in raw.get("allOf") or () if (child := _compile(sub, spine)) is not None
        )

    def __repr__(self) -> str:
        return f"<Rules {len(self.rules)} here>"

    def findings(self, value: Any, old: Any = None) -> list[FieldError]:
        """What rules say about an object, and its past when it is an update."""
        found: list[FieldError] = []
        left = [EVALUATIONS_MAX]
        self._run(value, _MISSING if old is None else old, "", found, left)
        return found

    def _run(self, value: Any, old: Any, path: str, found: list[FieldError], left: list[int]) -> None:
        if value is None or left[0] < 0:
            return
        if self.rules:
            self._evaluate(value, old, path, found, left)
        for part in self.all_of:
            part._run(value, old, path, found, left)
        if isinstance(value, dict):
            before = old if isinstance(old, dict) else {}
            for name, child in value.items():
                rules = self.properties.get(name) or self.additional
                if rules is not None:
                    where = f"{path}.{name}" if path else name
                    rules._run(child, before.get(name, _MISSING), where, found, left)
        elif isinstance(value, list) and self.items is not None:
            for index, item in enumerate(value):
                past = correlated(item, self.raw, old)
                self.items._run(item, _MISSING if is_missing(past) else past, f"{path}[{index}]", found, left)

    def _evaluate(self, value: Any, old: Any, path: str, found: list[FieldError], left: list[int]) -> None:
        convert, has_old = self.convert, old is not _MISSING and old is not None
        now = value if convert is None else convert(value)
        past = (old if convert is None else convert(old)) if has_old else now
        activation: Any = None
        for rule in self.rules:
            if rule.needs_old and not has_old:
                continue
            left[0] -= 1
            if left[0] < 0:
                found.append(invalid_value(path or "<nil>", self.raw.get("type") or "", OUT_OF_BUDGET))
                return
            if activation is None:
                activation = rule.program.activation({"self": now, "oldSelf": past, "hasOldSelf": has_old})
            try:
                holds = rule.program.evaluate(activation)
            except cel.ExpressionError as e:
                why = f"{e} evaluating rule: {rule.message.removeprefix('failed rule: ')}"
                finding = invalid_value(path or "<nil>", self.raw.get("type") or "", why)
            else:
                if holds is True:
                    continue
                finding = rule.finding(self.raw, path, activation)
            if has_old and not rule.needs_old and dynamic.equal(value, old):
                continue
            found.append(finding)


def _compile(raw: Any, spine: Any) -> Rules | None:
    if not isinstance(raw, Mapping) or not isinstance(spine, Mapping) or not _has_rules(raw):
        return None
    return Rules(raw, spine)


def _below(raw: Raw, spine: Raw, keyword: str) -> Rules | None:
    return _compile(raw.get(keyword), spine.get(keyword))


def _has_rules(raw: Raw) -> bool:
    return bool(raw.get(KEY)) or any(_has_rules(sub) for _, sub in _children(raw))


def _children(raw: Raw) -> Iterator[tuple[str, Raw]]:
    """The schemas directly below, with their paths; without anyOf, oneOf and not, which have no rules."""
    for name, sub in (raw.get("properties") or {}).items():
        if isinstance(sub, Mapping):
            yield f".properties[{name}]", sub
    for keyword in ("additionalProperties", "items"):
        if isinstance(raw.get(keyword), Mapping):
            yield f".{keyword}", raw[keyword]
    for index, sub in enumerate(raw.get("allOf") or ()):
        if isinstance(sub, Mapping):
            yield f".allOf[{index}]", sub


def compile_rules(raw: Raw) -> Rules | None:
    """The rules of a schema that `check` found nothing wrong with; None when there are none."""
    if not _has_rules(raw):
        return None
    # What every object has, as rules see it.
    text = {"type": "string"}
    meta = {"type": "object", "properties": {"name": text, "generateName": text}}
    properties = {**(raw.get("properties") or {}), "apiVersion": text, "kind": text, "metadata": meta}
    return Rules(raw, {**raw, "properties": properties})


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
        escaped = cel.escape(name)
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
        return {
            renamed.get(k, k): below[k](v) if k in below and v is not None else v for k, v in value.items()
        }

    return of_object


# -- rules as they are written -------------------------------------------------------------------------------------------------------------


def check(raw: Raw, path: str) -> list[FieldError]:
    """What is wrong with the rules of a schema, upstream's checks of a definition."""
    text = {"type": "string"}
    meta = {"type": "object", "properties": {"name": text, "generateName": text}}
    found: list[FieldError] = []
    properties = {**(raw.get("properties") or {}), "apiVersion": text, "kind": text, "metadata": meta}
    _check(raw, {**raw, "properties": properties}, path, "", found)
    return found


def _check(raw: Raw, spine: Raw, path: str, lost_at: str, found: list[FieldError]) -> None:
    for index, rule in enumerate(raw.get(KEY) or ()):
        _check_rule(rule, spine, f"{path}.{KEY}[{index}]", lost_at, found)
    if raw.get("type") == "array" and raw.get("x-kubernetes-list-type") != "map":
        lost_at = lost_at or path
    for where, sub in _children(raw):
        below = spine if where.startswith(".allOf") else sub
        _check(sub, below, path + where, lost_at, found)


def _check_rule(rule: Any, schema: Raw, path: str, lost_at: str, found: list[FieldError]) -> None:
    if not isinstance(rule, Mapping):
        return
    source = str(rule.get("rule") or "").strip()
    if not source:
        found.append(required(f"{path}.rule", "rule is not specified"))
        return
    message = str(rule.get("message") or "")
    if message and not message.strip():
        found.append(invalid_value(f"{path}.message", message, "message must be non-empty if specified"))
    elif "\n" in message.strip():
        found.append(invalid_value(f"{path}.message", message, "message must not contain line breaks"))
    elif "\n" in source and not message and not rule.get("messageExpression"):
        found.append(required(f"{path}.message", "message must be specified if rule contains line breaks"))
    if rule.get("reason") and rule["reason"] not in REASONS:
        found.append(not_supported(f"{path}.reason", rule["reason"], REASONS))
    field_path = str(rule.get("fieldPath") or "")
    if field_path and not _has_field(field_path, schema):
        found.append(
            invalid_value(
                f"{path}.fieldPath",
                field_path,
                "fieldPath must be a valid path: does not refer to a valid field",
            )
        )
    if rule.get("optionalOldSelf") and not _mentions_old(source):
        found.append(
            invalid_value(f"{path}.optionalOldSelf", True, "may not be set if oldSelf is not used in rule")
        )
    if _mentions_old(source) and lost_at:
        found.append(
            invalid_value(
                f"{path}.rule",
                source,
                f"oldSelf cannot be used on the uncorrelatable portion of the schema within {lost_at}",
            )
        )
    for keyword, text in (("rule", source), ("messageExpression", str(rule.get("messageExpression") or ""))):
        if not text.strip():
            continue
        unknown = _unknown_field(text, schema)
        if unknown:
            found.append(
                invalid_value(
                    f"{path}.{keyword}", text, f"compilation failed: ERROR: undefined field '{unknown}'"
                )
            )
            continue
        wanted = "bool" if keyword == "rule" else "string"
        try:
            compiled = _Rule({**rule, "messageExpression": ""} if keyword == "rule" else rule, schema)
            program = compiled.program if keyword == "rule" else compiled.message_program
        except cel.ExpressionError as e:
            if keyword == "rule" or not any(f.field == f"{path}.rule" for f in found):
                found.append(invalid_value(f"{path}.{keyword}", text, f"compilation failed: {e}"))
            continue
        if program is not None and program.result not in (wanted.upper(), "DYN"):
            found.append(
                invalid_value(
                    f"{path}.{keyword}",
                    text,
                    f"cel expression must evaluate to a {wanted}"
                    if keyword == "rule"
                    else "messageExpression must evaluate to a string",
                )
            )


def _step(schema: Raw, name: str) -> Raw | bool | None:
    """The schema of a field: None when nothing is known of it, False when there is none."""
    if schema.get("x-kubernetes-int-or-string"):
        return None
    additional = schema.get("additionalProperties")
    if isinstance(additional, Mapping):
        return additional
    if schema.get("type") != "object" or additional:
        return None
    fields: Raw = schema.get("properties") or {}
    for field, sub in fields.items():
        if cel.escape(field) == name:
            return sub if isinstance(sub, Mapping) else None
    if schema.get("x-kubernetes-embedded-resource") and name in ("apiVersion", "kind", "metadata"):
        return None
    return False


def _unknown_field(source: str, schema: Raw) -> str:
    """The first field of `self` in an expression that its schema does not have."""
    for found in _CHAIN.finditer(source):
        if found.group(1) is None:
            continue
        at: Raw | bool | None = schema
        for name in found.group(1).replace("?", "").split(".")[1:]:
            at = _step(at, name) if isinstance(at, Mapping) else None
            if at is False:
                return name
            if at is None:
                break
    return ""


_FIELD_PATH = re.compile(r"\.([A-Za-z_][\w-]*)|\['([^']*)'\]|\[\"([^\"]*)\"\]")


def _has_field(path: str, schema: Raw) -> bool:
    at: Any = schema
    position = 0
    while position < len(path):
        found = _FIELD_PATH.match(path, position)
        if found is None or not isinstance(at, Mapping):
            return False
        name = next(g for g in found.groups() if g is not None)
        fields: Raw = at.get("properties") or {}
        additional = at.get("additionalProperties")
        at = fields.get(name) or (additional if isinstance(additional, Mapping) else None)
        if at is None:
            return False
        position = found.end()
    return True
