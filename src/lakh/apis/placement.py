"""Where pods may run: validation of node selectors, affinity, tolerations and topology spread.

Used by pods and by whatever else holds a node selector (persistent volumes). Wordings are upstream's.
"""

from __future__ import annotations

from typing import Any

from lakh.apis.meta import (
    check_dns_label,
    check_dns_subdomain,
    check_label_key,
    check_label_value,
    report,
    validate_label_selector,
)
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
)

# In upstream's order, which it shows.
TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_WEIGHT_RANGE = "must be in the range 1-100"


def validate_node_selector(selector: Any, path: str, found: list[FieldError]) -> None:
    """A `NodeSelector` that is required: at least one term, values that labels can have."""
    if not selector.nodeSelectorTerms:
        found.append(required(f"{path}.nodeSelectorTerms", "must have at least one node selector term"))
        return
    for index, term in enumerate(selector.nodeSelectorTerms):
        validate_node_selector_term(term, f"{path}.nodeSelectorTerms[{index}]", True, found)


def validate_node_selector_term(term: Any, path: str, strict: bool, found: list[FieldError]) -> None:
    """A `NodeSelectorTerm`: expressions over labels, fields. `strict`: values are checked, as they are not in preferences."""
    for index, requirement in enumerate(term.matchExpressions or ()):
        _validate_requirement(requirement, f"{path}.matchExpressions[{index}]", strict, found)
    for index, requirement in enumerate(term.matchFields or ()):
        where = f"{path}.matchFields[{index}]"
        values = requirement.values or ()
        if requirement.operator not in ("In", "NotIn"):
            found.append(
                invalid_value(
                    f"{where}.operator", requirement.operator or "", "not a valid selector operator"
                )
            )
        elif len(values) != 1:
            found.append(
                required(
                    f"{where}.values",
                    "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
                )
            )
        if requirement.key != "metadata.name":
            found.append(
                invalid_value(f"{where}.key", requirement.key or "", "not a valid field selector key")
            )
        else:
            for position, value in enumerate(values):
                report(check_dns_subdomain(value), f"{where}.values[{position}]", value, found)


def _validate_requirement(requirement: Any, path: str, strict: bool, found: list[FieldError]) -> None:
    values = requirement.values or ()
    match requirement.operator:
        case "In" | "NotIn":
            if not values:
                found.append(
                    required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
                )
        case "Exists" | "DoesNotExist":
            if values:
                found.append(
                    forbidden_field(
                        f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                    )
                )
        case "Gt" | "Lt":
            if len(values) != 1:
                found.append(
                    required(
                        f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'"
                    )
                )
        case _:
            found.append(
                invalid_value(f"{path}.operator", requirement.operator or "", "not a valid selector operator")
            )
    report(check_label_key(requirement.key or ""), f"{path}.key", requirement.key or "", found)
    for index, value in enumerate(values if strict else ()):
        report(check_label_value(value), f"{path}.values[{index}]", value, found)


def validate_affinity(affinity: Any, path: str, found: list[FieldError]) -> None:
    """Node affinity, pod affinity and pod anti-affinity."""
    if affinity.nodeAffinity is not None:
        _validate_node_affinity(affinity.nodeAffinity, f"{path}.nodeAffinity", found)
    if affinity.podAffinity is not None:
        _validate_pod_affinity(affinity.podAffinity, f"{path}.podAffinity", found)
    if affinity.podAntiAffinity is not None:
        _validate_pod_affinity(affinity.podAntiAffinity, f"{path}.podAntiAffinity", found)


def _validate_node_affinity(affinity: Any, path: str, found: list[FieldError]) -> None:
    if affinity.requiredDuringSchedulingIgnoredDuringExecution is not None:
        validate_node_selector(
            affinity.requiredDuringSchedulingIgnoredDuringExecution,
            f"{path}.requiredDuringSchedulingIgnoredDuringExecution",
            found,
        )
    for index, term in enumerate(affinity.preferredDuringSchedulingIgnoredDuringExecution or ()):
        where = f"{path}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        _validate_weight(term.weight, f"{where}.weight", found)
        if term.preference is not None:
            validate_node_selector_term(term.preference, f"{where}.preference", False, found)


def _validate_weight(weight: int | None, path: str, found: list[FieldError]) -> None:
    if not 1 <= (weight or 0) <= 100:
        found.append(invalid_value(path, weight or 0, _WEIGHT_RANGE))


def _validate_pod_affinity(affinity: Any, path: str, found: list[FieldError]) -> None:
    for index, term in enumerate(affinity.requiredDuringSchedulingIgnoredDuringExecution or ()):
        _validate_pod_affinity_term(
            term, f"{path}.requiredDuringSchedulingIgnoredDuringExecution[{index}]", found
        )
    for index, weighted in enumerate(affinity.preferredDuringSchedulingIgnoredDuringExecution or ()):
        where = f"{path}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        _validate_weight(weighted.weight, f"{where}.weight", found)
        if weighted.podAffinityTerm is None:
            found.append(required(f"{where}.podAffinityTerm.topologyKey", "can not be empty"))
        else:
            _validate_pod_affinity_term(weighted.podAffinityTerm, f"{where}.podAffinityTerm", found)


def _validate_pod_affinity_term(term: Any, path: str, found: list[FieldError]) -> None:
    found.extend(validate_label_selector(term.labelSelector, f"{path}.labelSelector"))
    found.extend(validate_label_selector(term.namespaceSelector, f"{path}.namespaceSelector"))
    for name in term.namespaces or ():
        report(check_dns_label(name), f"{path}.namespace", name, found)
    _validate_match_label_keys(term, path, found)
    if not term.topologyKey:
        found.append(required(f"{path}.topologyKey", "can not be empty"))
    report(check_label_key(term.topologyKey or ""), f"{path}.topologyKey", term.topologyKey or "", found)


def _validate_match_label_keys(term: Any, path: str, found: list[FieldError]) -> None:
    """Keys whose values the pod's own labels give, of a term of affinity between pods."""
    match, mismatch, selector = term.matchLabelKeys or (), term.mismatchLabelKeys or (), term.labelSelector
    for attribute, keys in (("matchLabelKeys", match), ("mismatchLabelKeys", mismatch)):
        if keys and selector is None:
            found.append(forbidden_field(f"{path}.{attribute}", _NO_SELECTOR))
        elif keys:
            for index, key in enumerate(keys):
                report(check_label_key(key), f"{path}.{attribute}[{index}]", key, found)
    if match and selector is not None:
        _validate_keys_once(match, selector, path, found)
    for index, key in enumerate(match):
        if key in mismatch:
            found.append(
                invalid_value(
                    f"{path}.matchLabelKeys[{index}]",
                    key,
                    "exists in both matchLabelKeys and mismatchLabelKeys",
                )
            )


_NO_SELECTOR = "must not be specified when labelSelector is not set"


def _validate_keys_once(keys: Any, selector: Any, path: str, found: list[FieldError]) -> None:
    """A key to match is not in the selector, where the API server has written it once already when the pod was made."""
    seen = set(selector.matchLabels or ())
    for expression in selector.matchExpressions or ():
        key = expression.key
        if key in keys and key in seen:
            # Upstream reports it at the index of the key, below the term.
            where = f"{path}[{list(keys).index(key)}]"
            found.append(invalid_value(where, key, "exists in both matchLabelKeys and labelSelector"))
        seen.add(key)


def _shown(toleration: Any) -> dict[str, Any]:
    """As Go shows one."""
    return {
        "Key": toleration.key or "",
        "Operator": toleration.operator or "",
        "Value": toleration.value or "",
        "Effect": toleration.effect or "",
        "TolerationSeconds": toleration.tolerationSeconds,
    }


def validate_tolerations(tolerations: list[Any], path: str, found: list[FieldError]) -> None:
    """Tolerations of a pod."""
    for index, toleration in enumerate(tolerations):
        key, value = toleration.key, toleration.value or ""
        operator, effect = toleration.operator, toleration.effect
        if key:
            messages = check_label_key(key)
            if messages:
                report(messages, f"{path}[{index}].key", key, found)
        elif operator != "Exists":
            found.append(
                invalid_value(
                    f"{path}[{index}].operator",
                    operator or "",
                    'operator must be Exists when `key` is empty, which means "match all values and all keys"',
                )
            )
        if toleration.tolerationSeconds is not None and effect != "NoExecute":
            found.append(
                invalid_value(
                    f"{path}[{index}].effect",
                    effect or "",
                    "effect must be 'NoExecute' when `tolerationSeconds` is set",
                )
            )
        if operator in (None, "", "Equal"):
            messages = check_label_value(value)
            if messages:
                found.append(invalid_value(f"{path}[{index}].operator", value, ";".join(messages)))
        elif operator == "Exists":
            if value:
                found.append(
                    invalid_value(
                        f"{path}[{index}].operator",
                        _shown(toleration),
                        "value must be empty when `operator` is 'Exists'",
                    )
                )
        else:
            found.append(not_supported(f"{path}[{index}].operator", operator, ("Equal", "Exists")))
        if effect and effect not in TAINT_EFFECTS:
            found.append(not_supported(f"{path}[{index}].effect", effect, TAINT_EFFECTS, as_given=True))


def validate_topology_spread(constraints: list[Any], path: str, found: list[FieldError]) -> None:
    """Topology spread constraints of a pod."""
    for index, constraint in enumerate(constraints):
        where = f"{path}[{index}]"
        skew, action, key = (
            constraint.maxSkew or 0,
            constraint.whenUnsatisfiable or "",
            constraint.topologyKey or "",
        )
        if skew <= 0:
            found.append(invalid_value(f"{where}.maxSkew", skew, "must be greater than zero"))
        if not key:
            found.append(required(f"{where}.topologyKey", "can not be empty"))
        if action not in ("DoNotSchedule", "ScheduleAnyway"):
            found.append(
                not_supported(f"{where}.whenUnsatisfiable", action, ("DoNotSchedule", "ScheduleAnyway"))
            )
        for other in constraints[index + 1 :]:
            if (other.topologyKey, other.whenUnsatisfiable) == (key, action):
                found.append(duplicate(f"{where}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
                break
        domains = constraint.minDomains
        if domains is not None:
            if domains <= 0:
                found.append(invalid_value(f"{where}.minDomains", domains, "must be greater than zero"))
            if action != "DoNotSchedule":
                found.append(
                    invalid_value(
                        f"{where}.minDomains",
                        domains,
                        f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}",
                    )
                )
        for attribute in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            policy = getattr(constraint, attribute)
            if policy is not None and policy not in ("Honor", "Ignore"):
                found.append(not_supported(f"{where}.{attribute}", policy, ("Honor", "Ignore")))
        keys, selector = constraint.matchLabelKeys, constraint.labelSelector
        if keys:
            if selector is None:
                found.append(forbidden_field(f"{where}.matchLabelKeys", _NO_SELECTOR))
            for position, label in enumerate(keys):
                report(check_label_key(label), f"{where}.matchLabelKeys[{position}]", label, found)
            if selector is not None:
                _validate_keys_once(keys, selector, f"{where}.matchLabelKeys", found)
        found.extend(validate_label_selector(constraint.labelSelector, f"{where}.labelSelector"))
