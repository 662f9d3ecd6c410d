"""admissionregistration.k8s.io/v1: webhook configurations and admission policies, as objects."""

from __future__ import annotations

from typing import Any

from lakh.apis import meta
from lakh.apis.groups import printing
from lakh.apis.groups.base import METADATA_RESETS, GroupStrategy, child, declare
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, STATUS_METADATA, Column
from lakh.machinery import cel, names
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    invalid_value,
    not_supported,
    required,
    too_many,
)

GROUP = "admissionregistration.k8s.io"
VERSION = "v1"

DEFAULT_TIMEOUT_SECONDS = 10
MAX_TIMEOUT_SECONDS = 30
DEFAULT_SERVICE_PORT = 443

_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES = ("*", "Cluster", "Namespaced")

MAX_MATCH_CONDITIONS = 64
# What expressions may speak of; everything but the request itself is looked at without types.
_HOOK_VARIABLES = tuple((name, "dyn") for name in ("authorizer", "object", "oldObject", "request"))
_POLICY_VARIABLES = (*_HOOK_VARIABLES, ("namespaceObject", "dyn"), ("params", "dyn"), ("variables", "dyn"))


class WebhookConfigurationStrategy(GroupStrategy):
    """Mutating and validating webhook configurations."""

    generation = True
    allow_unconditional_update = False
    columns = (
        NAME_COLUMN,
        Column("Webhooks", "integer", description="Webhooks indicates the number of webhooks registered."),
        AGE_COLUMN,
    )

    def __init__(self, mutating: bool) -> None:
        self._mutating = mutating

    def default(self, obj: Any) -> None:
        """Failing closed, matching equivalents, everywhere, ten seconds."""
        for hook in obj.webhooks or ():
            if hook.failurePolicy is None:
                hook.failurePolicy = "Fail"
            if hook.matchPolicy is None:
                hook.matchPolicy = "Equivalent"
            child(hook, "namespaceSelector")
            child(hook, "objectSelector")
            if hook.timeoutSeconds is None:
                hook.timeoutSeconds = DEFAULT_TIMEOUT_SECONDS
            if self._mutating and hook.reinvocationPolicy is None:
                hook.reinvocationPolicy = "Never"
            for rule in hook.rules or ():
                if rule.scope is None:
                    rule.scope = "*"
            service = hook.clientConfig.service if hook.clientConfig is not None else None
            if service is not None and service.port is None:
                service.port = DEFAULT_SERVICE_PORT

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole configuration."""
        found: list[FieldError] = []
        seen: set[str] = set()
        for index, hook in enumerate(obj.webhooks or ()):
            path = f"webhooks[{index}]"
            self._validate_hook(hook, path, found)
            if hook.name in seen:
                found.append(duplicate(f"{path}.name", hook.name))
            seen.add(hook.name or "")
        return found

    def _validate_hook(self, hook: Any, path: str, found: list[FieldError]) -> None:
        _validate_hook_name(hook.name or "", f"{path}.name", found)
        for index, rule in enumerate(hook.rules or ()):
            _validate_rule(rule, f"{path}.rules[{index}]", found)
        meta.one_of(hook.failurePolicy, ("Fail", "Ignore"), f"{path}.failurePolicy", found)
        meta.one_of(hook.matchPolicy, ("Equivalent", "Exact"), f"{path}.matchPolicy", found)
        if hook.sideEffects is None:
            found.append(required(f"{path}.sideEffects", "must specify one of None, NoneOnDryRun"))
        elif hook.sideEffects not in ("None", "NoneOnDryRun"):
            found.append(not_supported(f"{path}.sideEffects", hook.sideEffects, ("None", "NoneOnDryRun")))
        if not 1 <= hook.timeoutSeconds <= MAX_TIMEOUT_SECONDS:
            found.append(
                invalid_value(
                    f"{path}.timeoutSeconds",
                    hook.timeoutSeconds,
                    "the timeout value must be between 1 and 30 seconds",
                )
            )
        for name in ("namespaceSelector", "objectSelector"):
            found += meta.validate_label_selector(getattr(hook, name), f"{path}.{name}")
        if self._mutating and hook.reinvocationPolicy not in ("IfNeeded", "Never"):
            found.append(
                not_supported(f"{path}.reinvocationPolicy", hook.reinvocationPolicy, ("IfNeeded", "Never"))
            )
        _validate_match_conditions(hook.matchConditions, _HOOK_VARIABLES, f"{path}.matchConditions", found)
        if not hook.admissionReviewVersions:
            found.append(required(f"{path}.admissionReviewVersions", "must specify one of v1, v1beta1"))
        _validate_client(hook.clientConfig, f"{path}.clientConfig", found)

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get` shows webhook configurations."""
        return [obj.metadata.name, len(obj.webhooks or ()), printing.age(obj, now)]


def _validate_match_conditions(
    conditions: Any, variables: tuple[tuple[str, str], ...], path: str, found: list[FieldError]
) -> None:
    if len(conditions or ()) > MAX_MATCH_CONDITIONS:
        found.append(too_many(path, len(conditions), MAX_MATCH_CONDITIONS))
    seen: set[str] = set()
    for index, condition in enumerate(conditions or ()):
        where = f"{path}[{index}]"
        _validate_expression(condition.expression, variables, f"{where}.expression", found, ("BOOL", "DYN"))
        if not condition.name:
            found.append(required(f"{where}.name"))
        else:
            meta.report(meta.check_label_key(condition.name), f"{where}.name", condition.name, found)
            if condition.name in seen:
                found.append(duplicate(f"{where}.name", condition.name))
            seen.add(condition.name)


def _validate_expression(
    expression: str | None,
    variables: tuple[tuple[str, str], ...],
    path: str,
    found: list[FieldError],
    results: tuple[str, ...],
) -> None:
    if not expression or not expression.strip():
        found.append(required(path))
        return
    if "authorizer" in expression:
        # Its functions are the authorizer's, which is not there yet; whoever evaluates it will say.
        return
    try:
        program = cel.compile_expression(expression, variables)
    except cel.ExpressionError as e:
        found.append(invalid_value(path, expression, f"compilation failed: {e}"))
        return
    if results and program.result not in results:
        found.append(invalid_value(path, expression, f"must evaluate to {results[0].lower()}"))


def _validate_hook_name(name: str, path: str, found: list[FieldError]) -> None:
    if not name:
        found.append(required(path))
        return
    messages = names.dns_subdomain(name)
    meta.report(messages, path, name, found)
    if not messages and len(name.split(".")) < 3:
        found.append(
            invalid_value(path, name, "should be a domain with at least three segments separated by dots")
        )


def _validate_rule(rule: Any, path: str, found: list[FieldError]) -> None:
    if not rule.operations:
        found.append(required(f"{path}.operations"))
    for index, operation in enumerate(rule.operations or ()):
        if operation not in _OPERATIONS:
            found.append(not_supported(f"{path}.operations[{index}]", operation, _OPERATIONS))
    if "*" in (rule.operations or ()) and len(rule.operations) > 1:
        found.append(
            invalid_value(
                f"{path}.operations",
                rule.operations,
                "if '*' is present, must not specify other operations",
            )
        )
    for name, what in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        values = getattr(rule, name)
        if not values:
            found.append(required(f"{path}.{name}"))
        elif "*" in values and len(values) > 1:
            found.append(
                invalid_value(f"{path}.{name}", values, f"if '*' is present, must not specify other {what}")
            )
    for index, version in enumerate(rule.apiVersions or ()):
        if not version:
            found.append(required(f"{path}.apiVersions[{index}]"))
    if not rule.resources:
        found.append(required(f"{path}.resources"))
    if rule.scope is not None and rule.scope not in _SCOPES:
        found.append(not_supported(f"{path}.scope", rule.scope, _SCOPES))


def _validate_client(client: Any, path: str, found: list[FieldError]) -> None:
    url = client.url if client is not None else None
    service = client.service if client is not None else None
    if (url is None) == (service is None):
        found.append(required(path, "exactly one of url or service is required"))
    elif url is not None:
        if not url.startswith("https://"):
            found.append(
                invalid_value(
                    f"{path}.url",
                    url,
                    "'https' is the only allowed URL scheme; desired format: https://host[/path]",
                )
            )
    elif service is not None:
        if not service.name:
            found.append(required(f"{path}.service.name", "service name is required"))
        if not service.namespace:
            found.append(required(f"{path}.service.namespace", "service namespace is required"))
        messages = names.port_number(service.port or 0)
        if messages:
            found.append(
                invalid_value(f"{path}.service.port", service.port, f"port is not valid: {messages[0]}")
            )


class _PolicyBase(GroupStrategy):
    generation = True
    allow_unconditional_update = False


class PolicyStrategy(_PolicyBase):
    """Validating and mutating admission policies."""

    resets = METADATA_RESETS
    status_keeps = STATUS_METADATA

    def __init__(self, mutating: bool) -> None:
        self._mutating = mutating
        self.has_status = not mutating
        what = "Mutations" if mutating else "Validations"
        self.columns = (
            NAME_COLUMN,
            Column(what, "integer", description=f"{what} indicates the number of rules defined."),
            Column("ParamKind", description="The kind of the parameters that the policy takes."),
            AGE_COLUMN,
        )

    def default(self, obj: Any) -> None:
        """Failing closed, matching equivalents, everywhere."""
        spec = child(obj, "spec")
        if spec.failurePolicy is None:
            spec.failurePolicy = "Fail"
        if self._mutating and spec.reinvocationPolicy is None:
            spec.reinvocationPolicy = "Never"
        _default_match(spec.matchConstraints)

    def validate(self, obj: Any) -> list[FieldError]:
        """What every policy needs."""
        found = super().validate(obj)
        spec = obj.spec
        if spec.matchConstraints is None:
            found.append(required("spec.matchConstraints"))
        elif not spec.matchConstraints.resourceRules:
            found.append(required("spec.matchConstraints.resourceRules"))
        meta.one_of(spec.failurePolicy, ("Fail", "Ignore"), "spec.failurePolicy", found)
        _validate_match_conditions(spec.matchConditions, _POLICY_VARIABLES, "spec.matchConditions", found)
        names_seen: set[str] = set()
        for index, variable in enumerate(spec.variables or ()):
            where = f"spec.variables[{index}]"
            if not variable.name:
                found.append(required(f"{where}.name"))
            elif not variable.name.isidentifier() or not variable.name.isascii():
                found.append(
                    invalid_value(f"{where}.name", variable.name, "name is not a valid CEL identifier")
                )
            elif variable.name in names_seen:
                found.append(duplicate(f"{where}.name", variable.name))
            names_seen.add(variable.name or "")
            _validate_expression(variable.expression, _POLICY_VARIABLES, f"{where}.expression", found, ())
        if not self._mutating:
            for index, rule in enumerate(spec.validations or ()):
                where = f"spec.validations[{index}]"
                _validate_expression(
                    rule.expression, _POLICY_VARIABLES, f"{where}.expression", found, ("BOOL", "DYN")
                )
                if rule.messageExpression:
                    _validate_expression(
                        rule.messageExpression,
                        _POLICY_VARIABLES,
                        f"{where}.messageExpression",
                        found,
                        ("STRING", "DYN"),
                    )
        if self._mutating:
            if not spec.mutations:
                found.append(required("spec.mutations", "mutations must contain at least one item"))
        elif not spec.validations and not spec.auditAnnotations:
            found.append(
                required(
                    "spec.validations",
                    "validations or auditAnnotations must contain at least one item",
                )
            )
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get` shows admission policies."""
        spec = obj.spec
        rules = spec.mutations if self._mutating else spec.validations
        kind = spec.paramKind
        text = f"{kind.apiVersion}/{kind.kind}" if kind is not None else printing.UNSET
        return [obj.metadata.name, len(rules or ()), text, printing.age(obj, now)]


def _default_match(match: Any) -> None:
    if match is None:
        return
    if match.matchPolicy is None:
        match.matchPolicy = "Equivalent"
    child(match, "namespaceSelector")
    child(match, "objectSelector")
    for rule in [*(match.resourceRules or ()), *(match.excludeResourceRules or ())]:
        if rule.scope is None:
            rule.scope = "*"


class PolicyBindingStrategy(_PolicyBase):
    """Bindings of admission policies."""

    columns = (
        NAME_COLUMN,
        Column("PolicyName", description="The policy that the binding binds to."),
        Column("ParamRef", description="The parameters of the policy."),
        AGE_COLUMN,
    )

    def __init__(self, mutating: bool) -> None:
        self._mutating = mutating

    def default(self, obj: Any) -> None:
        """Matching equivalents, everywhere."""
        _default_match(child(obj, "spec").matchResources)

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole binding."""
        spec = obj.spec
        found: list[FieldError] = []
        if not spec.policyName:
            found.append(required("spec.policyName"))
        else:
            meta.report(names.dns_subdomain(spec.policyName), "spec.policyName", spec.policyName, found)
        if self._mutating:
            return found
        actions = spec.validationActions or ()
        if not actions:
            found.append(required("spec.validationActions", "at least one validation action is required"))
        for index, action in enumerate(actions):
            if action not in ("Audit", "Deny", "Warn"):
                found.append(
                    not_supported(f"spec.validationActions[{index}]", action, ("Audit", "Deny", "Warn"))
                )
        if "Deny" in actions and "Warn" in actions:
            found.append(
                invalid_value("spec.validationActions", list(actions), "must not contain both Deny and Warn")
            )
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get` shows bindings of admission policies."""
        spec, text = obj.spec, printing.UNSET
        ref = spec.paramRef
        if ref is not None:
            if ref.name:
                text = f"{ref.namespace}/{ref.name}" if ref.namespace else f"*/{ref.name}"
            else:
                text = printing.go_label_selector(ref.selector)
        return [obj.metadata.name, spec.policyName or "", text, printing.age(obj, now)]


RESOURCES = tuple(
    declare(
        GROUP,
        VERSION,
        plural,
        kind,
        strategy,
        namespaced=False,
        categories=("api-extensions",),
    )
    for plural, kind, strategy in (
        ("mutatingadmissionpolicies", "MutatingAdmissionPolicy", PolicyStrategy(mutating=True)),
        (
            "mutatingadmissionpolicybindings",
            "MutatingAdmissionPolicyBinding",
            PolicyBindingStrategy(mutating=True),
        ),
        (
            "mutatingwebhookconfigurations",
            "MutatingWebhookConfiguration",
            WebhookConfigurationStrategy(mutating=True),
        ),
        ("validatingadmissionpolicies", "ValidatingAdmissionPolicy", PolicyStrategy(mutating=False)),
        (
            "validatingadmissionpolicybindings",
            "ValidatingAdmissionPolicyBinding",
            PolicyBindingStrategy(mutating=False),
        ),
        (
            "validatingwebhookconfigurations",
            "ValidatingWebhookConfiguration",
            WebhookConfigurationStrategy(mutating=False),
        ),
    )
)
