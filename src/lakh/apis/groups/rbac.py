"""rbac.authorization.k8s.io/v1: roles and their bindings. What they grant is the authoriser's business."""

from __future__ import annotations

from typing import Any

from lakh.apis import meta
from lakh.apis.groups import printing
from lakh.apis.groups.base import GroupStrategy, declare
from lakh.apis.registry import AGE_COLUMN, NAME_COLUMN, Column
from lakh.machinery import names
from lakh.machinery.errors import FieldError, invalid_value, not_supported, required

GROUP = "rbac.authorization.k8s.io"
VERSION = "v1"

_SUBJECT_KINDS = ("ServiceAccount", "User", "Group")


class _RbacStrategy(GroupStrategy):
    allow_create_on_update = True

    def __init__(self, namespaced: bool) -> None:
        self._namespaced = namespaced

    def validate_name(self, name: str) -> list[str]:
        """Any segment of a path."""
        return names.path_segment_name(name)


class RoleStrategy(_RbacStrategy):
    """Roles and cluster roles."""

    columns = (NAME_COLUMN, Column("Created At", "date", description=AGE_COLUMN.description))

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole role."""
        found: list[FieldError] = []
        for index, rule in enumerate(obj.rules or ()):
            self._validate_rule(rule, f"rules[{index}]", found)
        aggregation = None if self._namespaced else obj.aggregationRule
        if aggregation is not None:
            path = "aggregationRule.clusterRoleSelectors"
            if not aggregation.clusterRoleSelectors:
                found.append(
                    required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil")
                )
            for index, selector in enumerate(aggregation.clusterRoleSelectors or ()):
                found += meta.validate_label_selector(selector, f"{path}[{index}]")
        return found

    def _validate_rule(self, rule: Any, path: str, found: list[FieldError]) -> None:
        if not rule.verbs:
            found.append(required(f"{path}.verbs", "verbs must contain at least one value"))
        urls = rule.nonResourceURLs
        if urls:
            if self._namespaced:
                found.append(
                    invalid_value(
                        f"{path}.nonResourceURLs",
                        urls,
                        "namespaced rules cannot apply to non-resource URLs",
                    )
                )
            if rule.apiGroups or rule.resources or rule.resourceNames:
                found.append(
                    invalid_value(
                        f"{path}.nonResourceURLs",
                        urls,
                        "rules cannot apply to both regular resources and non-resource URLs",
                    )
                )
            return
        if not rule.apiGroups:
            found.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.resources:
            found.append(required(f"{path}.resources", "resource rules must supply at least one resource"))

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get roles` shows it."""
        return [obj.metadata.name, obj.metadata.creationTimestamp]


class BindingStrategy(_RbacStrategy):
    """Role bindings and cluster role bindings."""

    columns = (
        NAME_COLUMN,
        Column("Role", description="The role that is bound"),
        AGE_COLUMN,
        Column("Users", priority=1, description="Users in the binding"),
        Column("Groups", priority=1, description="Groups in the binding"),
        Column("ServiceAccounts", priority=1, description="ServiceAccounts in the binding"),
    )

    def default(self, obj: Any) -> None:
        """API groups of the role and of users and groups."""
        if obj.roleRef is not None and not obj.roleRef.apiGroup:
            obj.roleRef.apiGroup = GROUP
        for subject in obj.subjects or ():
            if not subject.apiGroup and subject.kind in ("User", "Group"):
                subject.apiGroup = GROUP

    def validate(self, obj: Any) -> list[FieldError]:
        """A whole binding."""
        found: list[FieldError] = []
        self._validate_role_ref(obj.roleRef, found)
        for index, subject in enumerate(obj.subjects or ()):
            self._validate_subject(subject, f"subjects[{index}]", found)
        return found

    def _validate_role_ref(self, ref: Any, found: list[FieldError]) -> None:
        group = (ref.apiGroup if ref is not None else None) or ""
        kind = (ref.kind if ref is not None else None) or ""
        name = (ref.name if ref is not None else None) or ""
        if group != GROUP:
            found.append(not_supported("roleRef.apiGroup", group, (GROUP,)))
        kinds = ("Role", "ClusterRole") if self._namespaced else ("ClusterRole",)
        if kind not in kinds:
            found.append(not_supported("roleRef.kind", kind, kinds, as_given=True))
        if not name:
            found.append(required("roleRef.name"))
        else:
            meta.report(names.path_segment_name(name), "roleRef.name", name, found)

    def _validate_subject(self, subject: Any, path: str, found: list[FieldError]) -> None:
        if not subject.name:
            found.append(required(f"{path}.name"))
        group = subject.apiGroup or ""
        if subject.kind == "ServiceAccount":
            if subject.name:
                meta.report(names.dns_subdomain(subject.name), f"{path}.name", subject.name, found)
            if group:
                found.append(not_supported(f"{path}.apiGroup", group, ("",)))
            if not self._namespaced and not subject.namespace:
                found.append(required(f"{path}.namespace"))
        elif subject.kind in _SUBJECT_KINDS:
            if group != GROUP:
                found.append(not_supported(f"{path}.apiGroup", group, (GROUP,)))
        else:
            found.append(not_supported(f"{path}.kind", subject.kind or "", _SUBJECT_KINDS, as_given=True))

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """The role stays."""
        found = self.validate(new)
        if new.roleRef != old.roleRef:
            found.append(invalid_value("roleRef", new.roleRef, "cannot change roleRef"))
        return found

    def cells(self, obj: Any, now: float) -> list[Any]:
        """As `kubectl get rolebindings` shows it."""
        by_kind: dict[str, list[str]] = {kind: [] for kind in _SUBJECT_KINDS}
        for subject in obj.subjects or ():
            name = subject.name or ""
            if subject.kind == "ServiceAccount":
                name = f"{subject.namespace or ''}/{name}"
            by_kind.setdefault(subject.kind or "", []).append(name)
        ref = obj.roleRef
        return [
            obj.metadata.name,
            f"{ref.kind}/{ref.name}" if ref is not None else "",
            printing.age(obj, now),
            ", ".join(by_kind["User"]),
            ", ".join(by_kind["Group"]),
            ", ".join(by_kind["ServiceAccount"]),
        ]


RESOURCES = (
    declare(
        GROUP,
        VERSION,
        "clusterrolebindings",
        "ClusterRoleBinding",
        BindingStrategy(namespaced=False),
        namespaced=False,
    ),
    declare(GROUP, VERSION, "clusterroles", "ClusterRole", RoleStrategy(namespaced=False), namespaced=False),
    declare(
        GROUP,
        VERSION,
        "rolebindings",
        "RoleBinding",
        BindingStrategy(namespaced=True),
        namespaced=True,
    ),
    declare(GROUP, VERSION, "roles", "Role", RoleStrategy(namespaced=True), namespaced=True),
)
