"""What webhooks and policies of admission say about requests: rules, conditions, expressions, parameters.

Validation as in upstream's `apis/admissionregistration/validation`. Expressions are compiled against what admission declares (`cel_admission`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lakh.apis import meta
from lakh.machinery import cel, cel_admission, cel_names, names
from lakh.machinery.cel_ast import DYN, Type
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
    too_many,
)

_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES = ("*", "Cluster", "Namespaced")
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
MAX_MATCH_CONDITIONS = 64


@dataclass(frozen=True)
class Scope:
    """What an expression may speak of: variables of admission, and a policy's own, where it has them."""

    names: tuple[str, ...]
    variables: cel_admission.Variables | None = None

    def without(self, name: str) -> Scope:
        """The same, less one of admission's."""
        return replace(self, names=tuple(n for n in self.names if n != name))


def validate_match_conditions(conditions: Any, scope: Scope, path: str, found: list[FieldError]) -> None:
    if len(conditions or ()) > MAX_MATCH_CONDITIONS:
        found.append(too_many(path, len(conditions), MAX_MATCH_CONDITIONS))
    seen: set[str] = set()
    for index, condition in enumerate(conditions or ()):
        where = f"{path}[{index}]"
        validate_expression(condition.expression, scope, f"{where}.expression", found, ("bool",))
        if not condition.name:
            found.append(required(f"{where}.name"))
        else:
            meta.report(meta.check_label_key(condition.name), f"{where}.name", condition.name, found)
            if condition.name in seen:
                found.append(duplicate(f"{where}.name", condition.name))
            seen.add(condition.name)


def validate_expression(
    expression: str | None,
    scope: Scope,
    path: str,
    found: list[FieldError],
    results: tuple[str, ...],
) -> Type:
    """What an expression gives, as far as that is known."""
    if not expression or not expression.strip():
        found.append(required(path))
        return DYN
    checker = cel_admission.checker(scope.names, scope.variables)
    try:
        ast = checker.check(expression)
    except cel.ExpressionError as e:
        found.append(invalid_value(path, expression, f"compilation failed: {e}"))
        return DYN
    given = ast.type(ast.root)
    kind = given.kind
    if results and kind not in results and (checker.knows(expression) or kind != "dyn"):
        wanted = results[0] if len(results) == 1 else f"one of [{' '.join(results)}]"
        why = f"must evaluate to {wanted} but got {checker.named(str(given))}"
        found.append(invalid_value(path, expression, why))
    return given


def validate_mutation(expression: str, scope: Scope, path: str, found: list[FieldError], wanted: str) -> None:
    """An expression that makes a patch: `Object` to be applied, or a list of JSON patches."""
    try:
        kind = cel_admission.mutation_type(scope.names, scope.variables, expression)
    except cel.ExpressionError as e:
        found.append(invalid_value(path, expression, f"compilation failed: {e}"))
        return
    if kind != wanted:
        found.append(invalid_value(path, expression, f"must evaluate to {wanted} but got {kind}"))


def validate_reinvocation(policy: str | None, path: str, found: list[FieldError]) -> None:
    if policy not in ("IfNeeded", "Never"):
        found.append(not_supported(path, policy or "", ("IfNeeded", "Never")))


def validate_rule(rule: Any, path: str, found: list[FieldError]) -> None:
    """Operations on resources (upstream's validateRuleWithOperations)."""
    operations = rule.operations or []
    if not operations:
        found.append(required(f"{path}.operations"))
    if "*" in operations and len(operations) > 1:
        why = "if '*' is present, must not specify other operations"
        found.append(invalid_value(f"{path}.operations", operations, why))
    for index, operation in enumerate(operations):
        if operation not in _OPERATIONS:
            found.append(not_supported(f"{path}.operations[{index}]", operation, _OPERATIONS))
    for name, what in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        values = getattr(rule, name)
        if not values:
            found.append(required(f"{path}.{name}"))
        elif "*" in values and len(values) > 1:
            why = f"if '*' is present, must not specify other {what}"
            found.append(invalid_value(f"{path}.{name}", values, why))
    for index, version in enumerate(rule.apiVersions or ()):
        if not version:
            found.append(required(f"{path}.apiVersions[{index}]"))
    validate_resources(rule.resources or [], f"{path}.resources", found)
    if rule.scope is not None and rule.scope not in _SCOPES:
        found.append(not_supported(f"{path}.scope", rule.scope, _SCOPES))


def validate_resources(resources: list[str], path: str, found: list[FieldError]) -> None:
    """Resources and subresources; what a wildcard covers is not said again."""
    if not resources:
        found.append(required(path))
    all_below: set[str] = set()  # of `pods/*`: pods
    everywhere: set[str] = set()  # of `*/scale`: scale
    plain = False
    for index, text in enumerate(resources):
        if not text:
            found.append(required(f"{path}[{index}]"))
            continue
        resource, slash, below = text.partition("/")
        if not slash:
            # As upstream: it is the last one that counts.
            plain = text != "*"
            continue
        if resource in all_below:
            why = f"if '{resource}/*' is present, must not specify {text}"
            found.append(invalid_value(f"{path}[{index}]", text, why))
        if below in everywhere:
            why = f"if '*/{below}' is present, must not specify {text}"
            found.append(invalid_value(f"{path}[{index}]", text, why))
        if below == "*":
            all_below.add(resource)
        if resource == "*":
            everywhere.add(below)
    if len(resources) > 1 and "*/*" in resources:
        found.append(invalid_value(path, resources, "if '*/*' is present, must not specify other resources"))
    if "*" in resources and plain:
        why = "if '*' is present, must not specify other resources without subresources"
        found.append(invalid_value(path, resources, why))


def validate_variable(variable: Any, scope: Scope, path: str, found: list[FieldError]) -> Type:
    """The type of a policy's variable."""
    name = variable.name or ""
    if not name.strip():
        found.append(required(f"{path}.name", "name is not specified"))
    elif not cel_names.is_identifier(name):
        found.append(invalid_value(f"{path}.name", name, "name is not a valid CEL identifier"))
    if not (variable.expression or "").strip():
        found.append(required(f"{path}.expression", "expression is not specified"))
        return DYN
    return validate_expression(variable.expression, scope, f"{path}.expression", found, ())


def validate_validation(rule: Any, scope: Scope, path: str, found: list[FieldError]) -> None:
    message, computed = rule.message or "", rule.messageExpression or ""
    if not (rule.expression or "").strip():
        found.append(required(f"{path}.expression", "expression is not specified"))
    else:
        validate_expression(rule.expression, scope, f"{path}.expression", found, ("bool",))
    where = f"{path}.messageExpression"
    if computed and not computed.strip():
        found.append(invalid_value(where, computed, "must be non-empty if specified"))
    elif computed:
        validate_expression(computed, scope.without("authorizer"), where, found, ("string",))
    if message and not message.strip():
        found.append(invalid_value(f"{path}.message", message, "message must be non-empty if specified"))
    elif "\n" in message.strip() or "\r" in message.strip():
        found.append(invalid_value(f"{path}.message", message, "message must not contain line breaks"))
    if rule.reason is not None and rule.reason not in _REASONS:
        found.append(not_supported(f"{path}.reason", rule.reason, _REASONS))


def validate_param_kind(kind: Any, path: str, found: list[FieldError]) -> None:
    """The kind of parameters: a version of a group, a name."""
    text = kind.apiVersion or ""
    group, _, version = text.rpartition("/")
    if not text:
        found.append(required(f"{path}.apiVersion"))
    elif "/" in group:
        why = f"unexpected GroupVersion string: {text}"
        found.append(invalid_value(f"{path}.apiVersion", text, why))
    else:
        if messages := names.dns_subdomain(group) if group else ():
            found.append(invalid_value(f"{path}.apiVersion", group, ",".join(messages)))
        if not version:
            found.append(invalid_value(f"{path}.apiVersion", text, "version must be specified"))
        elif messages := names.dns1035_label(version):
            found.append(invalid_value(f"{path}.apiVersion", version, ",".join(messages)))
    name = kind.kind or ""
    if not name:
        found.append(required(f"{path}.kind"))
    elif messages := names.dns1035_label(name.lower()):
        why = f"may have mixed case, but should otherwise match: {','.join(messages)}"
        found.append(invalid_value(f"{path}.kind", name, why))


def validate_match(match: Any, path: str, found: list[FieldError]) -> None:
    """What a policy or a binding looks at."""
    if match is None:
        return
    meta.one_of(match.matchPolicy, ("Equivalent", "Exact"), f"{path}.matchPolicy", found)
    for name in ("namespaceSelector", "objectSelector"):
        found += meta.validate_label_selector(getattr(match, name), f"{path}.{name}")
    for name in ("resourceRules", "excludeResourceRules"):
        for index, rule in enumerate(getattr(match, name) or ()):
            where = f"{path}.{name}[{index}]"
            seen: set[str] = set()
            for number, resource_name in enumerate(rule.resourceNames or ()):
                at = f"{where}.resourceNames[{number}]"
                meta.report(names.path_segment_name(resource_name), at, resource_name, found)
                if resource_name in seen:
                    found.append(duplicate(at, resource_name))
                seen.add(resource_name)
            validate_rule(rule, where, found)


def validate_param_ref(ref: Any, path: str, found: list[FieldError]) -> None:
    """Parameters: by name or by selector, and what their absence means."""
    if ref is None:
        return
    both = "name and selector are mutually exclusive"
    if ref.name:
        meta.report(names.path_segment_name(ref.name), f"{path}.name", ref.name, found)
        if ref.selector is not None:
            found.append(forbidden_field(f"{path}.name", both))
    if ref.selector is not None:
        found += meta.validate_label_selector(ref.selector, f"{path}.selector")
        if ref.name:
            found.append(forbidden_field(f"{path}.selector", both))
    elif not ref.name:
        found.append(required(path, "one of name or selector must be specified"))
    action = ref.parameterNotFoundAction
    if not action:
        found.append(required(f"{path}.parameterNotFoundAction"))
    elif action not in ("Deny", "Allow"):
        found.append(
            not_supported(f"{path}.parameterNotFoundAction", action, ("Deny", "Allow"), as_given=True)
        )
