"""apiextensions.k8s.io/v1."""

from __future__ import annotations

from lakh.apis.groups.base import GroupStrategy, declare


class CustomResourceDefinitionStrategy(GroupStrategy):
    """CustomResourceDefinition."""

    has_status = True
    generation = True


RESOURCES = (
    declare(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        CustomResourceDefinitionStrategy(),
        namespaced=False,
        short_names=("crd", "crds"),
        categories=("api-extensions",),
        definition="io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    ),
)
