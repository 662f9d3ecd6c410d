"""Narrow views of admission policies."""

from __future__ import annotations

import msgspec

from .views import Meta, View


class Rule(View):
    """`admissionregistration.k8s.io/v1.NamedRuleWithOperations`, without operations."""

    apiGroups: list[str] | None = None
    apiVersions: list[str] | None = None
    resources: list[str] | None = None


class MatchResources(View):
    """`admissionregistration.k8s.io/v1.MatchResources`."""

    resourceRules: list[Rule] | None = None


class ParamKind(View):
    """`admissionregistration.k8s.io/v1.ParamKind`."""

    apiVersion: str = ""
    kind: str = ""


class Validation(View):
    """`admissionregistration.k8s.io/v1.Validation`."""

    expression: str = ""
    messageExpression: str = ""


class Variable(View):
    """`admissionregistration.k8s.io/v1.Variable`."""

    name: str = ""
    expression: str = ""


class PolicySpec(View):
    """`admissionregistration.k8s.io/v1.ValidatingAdmissionPolicySpec`."""

    paramKind: ParamKind | None = None
    matchConstraints: MatchResources | None = None
    validations: list[Validation] | None = None
    variables: list[Variable] | None = None


class PolicyStatus(View):
    """`admissionregistration.k8s.io/v1.ValidatingAdmissionPolicyStatus`."""

    observedGeneration: int | None = None


class ValidatingAdmissionPolicy(View):
    """A policy whose expressions are type checked."""

    metadata: Meta
    spec: PolicySpec = msgspec.field(default_factory=PolicySpec)
    status: PolicyStatus = msgspec.field(default_factory=PolicyStatus)
