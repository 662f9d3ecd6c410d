"""admissionregistration.k8s.io/v1: webhook configurations and admission policies, as objects."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from lakh.apis import meta
from lakh.apis.conditions import validate_conditions
from lakh.apis.groups import admission_rules as rules
from lakh.apis.groups import printing
from lakh.apis.groups.base import DEFAULT_SERVICE_PORT, METADATA_RESETS, GroupStrategy, child, declare
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, STATUS_METADATA, Column
from lakh.machinery import cel_names, names
from lakh.machinery.cel_ast import Type
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    invalid_value,
    not_supported,
    required,
)

GROUP = "admissionregistration.k8s.io"
VERSION = "v1"

DEFAULT_TIMEOUT_SECONDS = 10
MAX_TIMEOUT_SECONDS = 30


REVIEW_VERSIONS = ("v1", "v1beta1")
_ACTIONS = ("Audit", "Deny", "Warn")

MAX_AUDIT_ANNOTATIONS = 20
MAX_AUDIT_EXPRESSION_BYTES = 5 * 1024
_HOOK_SCOPE = rules.Scope(("authorizer", "namespaceObject", "object", "oldObject", "request"))


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
        return self._findings(obj, None)

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """As a new one; match conditions that all stay are not looked into again."""
        return self._findings(new, old)

    def _findings(self, obj: Any, old: Any) -> list[FieldError]:
        found: list[FieldError] = []
        conditions = [
            [hook.matchConditions or [] for hook in o.webhooks or ()] for o in (obj, old) if o is not None
        ]
        known = len(conditions) == 2 and conditions[0] == conditions[1]
        seen: set[str] = set()
        for index, hook in enumerate(obj.webhooks or ()):
            path = f"webhooks[{index}]"
            self._validate_hook(hook, path, found)
            if not known:
                where = f"{path}.matchConditions"
                rules.validate_match_conditions(hook.matchConditions, _HOOK_SCOPE, where, found)
            _validate_versions(hook.admissionReviewVersions, f"{path}.admissionReviewVersions", found)
            if hook.name and hook.name in seen:
                found.append(duplicate(f"{path}.name", hook.name))
            seen.add(hook.name or "")
        return found

    def _validate_hook(self, hook: Any, path: str, found: list[FieldError]) -> None:
        _validate_hook_name(hook.name or "", f"{path}.name", found)
        for index, rule in enumerate(hook.rules or ()):
            rules.validate_rule(rule, f"{path}.rules[{index}]", found)
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
        if self._mutating:
            rules.validate_reinvocation(hook.reinvocationPolicy, f"{path}.reinvocationPolicy", found)
        validate_client(hook.clientConfig, f"{path}.clientConfig", found)

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get` shows webhook configurations."""
        return [obj.metadata.name, len(obj.webhooks or ()), printing.age(obj, now)]


def _validate_hook_name(name: str, path: str, found: list[FieldError]) -> None:
    if not name:
        found.append(required(path))
    elif messages := names.dns_subdomain(name):
        found.append(invalid_value(path, name, ",".join(messages)))
    elif len(name.split(".")) < 3:
        found.append(
            invalid_value(path, name, "should be a domain with at least three segments separated by dots")
        )


def _validate_versions(versions: list[str] | None, path: str, found: list[FieldError]) -> None:
    """Versions of AdmissionReview, one of which must be known here."""
    if not versions:
        found.append(required(path, f"must specify one of {', '.join(REVIEW_VERSIONS)}"))
    else:
        validate_review_versions(versions, path, found)


def validate_review_versions(versions: list[str], path: str, found: list[FieldError]) -> None:
    """Versions of a review that a webhook takes: names, each once, one of which is known here."""
    for index, version in enumerate(versions):
        if version in versions[:index]:
            found.append(invalid_value(f"{path}[{index}]", version, "duplicate version"))
        else:
            meta.report(names.dns1035_label(version), f"{path}[{index}]", version, found)
    if not set(versions) & set(REVIEW_VERSIONS):
        found.append(
            invalid_value(path, versions, f"must include at least one of {', '.join(REVIEW_VERSIONS)}")
        )


def validate_client(client: Any, path: str, found: list[FieldError]) -> None:
    """How a webhook is reached: by one of URL and service (apiserver/pkg/util/webhook/validation.go)."""
    url = client.url if client is not None else None
    service = client.service if client is not None else None
    if (url is None) == (service is None):
        found.append(required(path, "exactly one of url or service is required"))
    elif url is not None:
        _validate_url(url, f"{path}.url", found)
    elif service is not None:
        _validate_service(service, f"{path}.service", found)


def _validate_url(url: str, path: str, found: list[FieldError]) -> None:
    form = "; desired format: https://host[/path]"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as e:
        found.append(required(path, f"url must be a valid URL: {e}{form}"))
        return
    user, _, host = parts.netloc.rpartition("@")
    if parts.scheme != "https":
        found.append(invalid_value(path, parts.scheme, f"'https' is the only allowed URL scheme{form}"))
    if not host:
        found.append(invalid_value(path, "", f"host must be specified{form}"))
    for value, why in (
        (user, "user information is not permitted in the URL"),
        (parts.fragment, "fragments are not permitted in the URL"),
        (parts.query, "query parameters are not permitted in the URL"),
    ):
        if value:
            found.append(invalid_value(path, value, why))


def _validate_service(service: Any, path: str, found: list[FieldError]) -> None:
    for name in ("name", "namespace"):
        if not getattr(service, name):
            found.append(required(f"{path}.{name}"))
    messages = names.port_number(service.port or 0)
    if messages:
        found.append(invalid_value(f"{path}.port", service.port, f"port is not valid: {messages[0]}"))
    at, given = f"{path}.path", service.path or "/"
    if given == "/":
        return
    if given == "//":
        found.append(invalid_value(at, given, "segment[0] may not be empty"))
        return
    if not given.startswith("/"):
        found.append(invalid_value(at, given, "must start with a '/'"))
    for index, step in enumerate(given[1:].removesuffix("/").split("/")):
        if not step:
            found.append(invalid_value(at, given, f"segment[{index}] may not be empty"))
        for message in names.dns_subdomain(step) if step else ():
            found.append(invalid_value(at, given, f"segment[{index}]: {message}"))


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
        return self._findings(obj, None)

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """As a new one; match conditions that stay are not looked into again."""
        return self._findings(new, old)

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Warnings of the type checker, conditions."""
        found: list[FieldError] = []
        status = new.status if self.has_status else None
        checking = status.typeChecking if status is not None else None
        for index, warning in enumerate((checking.expressionWarnings if checking else None) or ()):
            path = f"status.typeChecking.expressionWarnings[{index}]"
            if not warning.warning:
                found.append(required(f"{path}.warning"))
            if not (warning.fieldRef or "").strip():
                found.append(required(f"{path}.fieldRef"))
        if status is not None:
            validate_conditions(status.conditions, "status.conditions", found)
        return found

    def _findings(self, obj: Any, old: Any) -> list[FieldError]:
        spec = obj.spec
        found: list[FieldError] = []
        kind = spec.paramKind
        scope = rules.Scope(_HOOK_SCOPE.names if kind is None else (*_HOOK_SCOPE.names, "params"))
        meta.one_of(spec.failurePolicy, ("Fail", "Ignore"), "spec.failurePolicy", found)
        if kind is not None:
            rules.validate_param_kind(kind, "spec.paramKind", found)
        constraints = spec.matchConstraints
        if constraints is None:
            found.append(required("spec.matchConstraints"))
        else:
            rules.validate_match(constraints, "spec.matchConstraints", found)
            if not constraints.resourceRules:
                found.append(required("spec.matchConstraints.resourceRules"))
        if old is None or (kind, spec.matchConditions) != (old.spec.paramKind, old.spec.matchConditions):
            rules.validate_match_conditions(spec.matchConditions, scope, "spec.matchConditions", found)
        own: dict[str, Type] = {}
        for index, variable in enumerate(spec.variables or ()):
            # Each may speak of those before it.
            scope = replace(scope, variables=tuple(own.items()))
            given = rules.validate_variable(variable, scope, f"spec.variables[{index}]", found)
            if cel_names.is_identifier(variable.name or ""):
                own[variable.name] = given
        scope = replace(scope, variables=tuple(own.items()))
        if self._mutating:
            self._validate_mutations(spec, scope, found)
        else:
            self._validate_rules(obj, scope, found)
        return found

    def _validate_mutations(self, spec: Any, scope: rules.Scope, found: list[FieldError]) -> None:
        if not spec.mutations:
            found.append(required("spec.mutations", "mutations must contain at least one item"))
        for index, mutation in enumerate(spec.mutations or ()):
            path, kind = f"spec.mutations[{index}]", mutation.patchType
            if not kind:
                found.append(required(f"{path}.patchType"))
                continue
            if kind not in _PATCHES:
                found.append(not_supported(f"{path}.patchType", kind, _PATCHES))
                continue
            for other, name in _PATCHES.items():
                patch = getattr(mutation, name)
                if other != kind:
                    if patch is not None:
                        why = f"must not be specified when patchType is {kind}"
                        found.append(invalid_value(f"{path}.{name}", f"{{{name}}}", why))
                elif patch is None:
                    found.append(required(f"{path}.{name}", f"must be specified when patchType is {kind}"))
                elif not (patch.expression or "").strip():
                    found.append(required(f"{path}.{name}.expression", "expression is not specified"))
                else:
                    wanted = _RESULTS[kind]
                    rules.validate_mutation(
                        patch.expression.strip(), scope, f"{path}.{name}.expression", found, wanted
                    )
        rules.validate_reinvocation(spec.reinvocationPolicy, "spec.reinvocationPolicy", found)

    def _validate_rules(self, obj: Any, scope: rules.Scope, found: list[FieldError]) -> None:
        spec = obj.spec
        if not spec.validations and not spec.auditAnnotations:
            why = "validations or auditAnnotations must contain at least one item"
            found += [required("spec.validations", why), required("spec.auditAnnotations", why)]
        for index, rule in enumerate(spec.validations or ()):
            rules.validate_validation(rule, scope, f"spec.validations[{index}]", found)
        annotations = spec.auditAnnotations or []
        if len(annotations) > MAX_AUDIT_ANNOTATIONS:
            why = f"must not have more than {MAX_AUDIT_ANNOTATIONS} auditAnnotations"
            found.append(invalid_value("spec.auditAnnotations", annotations, why))
        keys: set[str] = set()
        for index, annotation in enumerate(annotations):
            path, key = f"spec.auditAnnotations[{index}]", annotation.key or ""
            full = f"{obj.metadata.name or ''}/{key}"
            meta.report(meta.check_label_key(full), f"{path}.key", full, found)
            source = (annotation.valueExpression or "").strip()
            if not source:
                found.append(required(f"{path}.valueExpression", "valueExpression is not specified"))
            elif len(source.encode()) > MAX_AUDIT_EXPRESSION_BYTES:
                why = f"must not exceed {MAX_AUDIT_EXPRESSION_BYTES} bytes in length"
                found.append(required(f"{path}.valueExpression", why))
            else:
                rules.validate_expression(
                    source, scope, f"{path}.valueExpression", found, ("string", "null_type")
                )
            if key in keys:
                found.append(duplicate(f"{path}.key", key))
            keys.add(key)

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get` shows admission policies."""
        spec = obj.spec
        rules = spec.mutations if self._mutating else spec.validations
        kind = spec.paramKind
        text = f"{kind.apiVersion}/{kind.kind}" if kind is not None else printing.UNSET
        return [obj.metadata.name, len(rules or ()), text, printing.age(obj, now)]


# What a mutation may be, and the field that holds it.
_PATCHES = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}
_RESULTS = {"ApplyConfiguration": "Object", "JSONPatch": "list(JSONPatch)"}


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
        rules.validate_param_ref(spec.paramRef, "spec.paramRef", found)
        rules.validate_match(spec.matchResources, "spec.matchResources", found)
        if not self._mutating:
            self._validate_actions(spec.validationActions or [], "spec.validationActions", found)
        return found

    def _validate_actions(self, actions: list[str], path: str, found: list[FieldError]) -> None:
        for index, action in enumerate(actions):
            if action not in _ACTIONS:
                found.append(not_supported(f"{path}[{index}]", action, _ACTIONS))
            if action in actions[:index]:
                found.append(duplicate(f"{path}[{index}]", action))
        if "Deny" in actions and "Warn" in actions:
            why = (
                "must not contain both Deny and Warn (repeating the same validation failure information in the API "
                "response and headers serves no purpose)"
            )
            found.append(invalid_value(path, actions, why))
        if not actions:
            found.append(required(path, "at least one validation action is required"))

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
