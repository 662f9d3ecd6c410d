"""admissionregistration.k8s.io/v1."""

from __future__ import annotations

from lakh.apis.groups.base import GroupStrategy, declare


class MutatingAdmissionPolicyStrategy(GroupStrategy):
    """MutatingAdmissionPolicy."""

    generation = True


class MutatingAdmissionPolicyBindingStrategy(GroupStrategy):
    """MutatingAdmissionPolicyBinding."""

    generation = True


class MutatingWebhookConfigurationStrategy(GroupStrategy):
    """MutatingWebhookConfiguration."""

    generation = True


class ValidatingAdmissionPolicyStrategy(GroupStrategy):
    """ValidatingAdmissionPolicy."""

    has_status = True
    generation = True


class ValidatingAdmissionPolicyBindingStrategy(GroupStrategy):
    """ValidatingAdmissionPolicyBinding."""

    generation = True


class ValidatingWebhookConfigurationStrategy(GroupStrategy):
    """ValidatingWebhookConfiguration."""

    generation = True


RESOURCES = (
    declare(
        "admissionregistration.k8s.io",
        "v1",
        "mutatingadmissionpolicies",
        "MutatingAdmissionPolicy",
        MutatingAdmissionPolicyStrategy(),
        namespaced=False,
        categories=("api-extensions",),
    ),
    declare(
        "admissionregistration.k8s.io",
        "v1",
        "mutatingadmissionpolicybindings",
        "MutatingAdmissionPolicyBinding",
        MutatingAdmissionPolicyBindingStrategy(),
        namespaced=False,
        categories=("api-extensions",),
    ),
    declare(
        "admissionregistration.k8s.io",
        "v1",
        "mutatingwebhookconfigurations",
        "MutatingWebhookConfiguration",
        MutatingWebhookConfigurationStrategy(),
        namespaced=False,
        categories=("api-extensions",),
    ),
    declare(
        "admissionregistration.k8s.io",
        "v1",
        "validatingadmissionpolicies",
        "ValidatingAdmissionPolicy",
        ValidatingAdmissionPolicyStrategy(),
        namespaced=False,
        categories=("api-extensions",),
    ),
    declare(
        "admissionregistration.k8s.io",
        "v1",
        "validatingadmissionpolicybindings",
        "ValidatingAdmissionPolicyBinding",
        ValidatingAdmissionPolicyBindingStrategy(),
        namespaced=False,
        categories=("api-extensions",),
    ),
    declare(
        "admissionregistration.k8s.io",
        "v1",
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
        ValidatingWebhookConfigurationStrategy(),
        namespaced=False,
        categories=("api-extensions",),
    ),
)
