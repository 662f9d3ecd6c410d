"""Type checking of admission policies: what their expressions do with the kinds that they are for is told in `status.typeChecking`.

Only kinds that rules name without wildcards are looked at, ten at most, and only once for each generation of a policy. A warning changes nothing of what
the policy does (upstream's pkg/controller/validatingadmissionpolicystatus, and typechecking.go of apiserver's admission/plugin/policy/validating).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lakh.client.client import APPLY, decode
from lakh.client.discovery import discover
from lakh.client.errors import ApiError, api_error, is_not_found
from lakh.client.resources import VALIDATINGADMISSIONPOLICIES, Resource
from lakh.machinery.cel_admission import declared_kind, type_errors

from .context import Context, Controller
from .policyviews import PolicySpec, Rule, ValidatingAdmissionPolicy
from .views import Bare

MAX_TYPES = 10
"""Of a rule (upstream's maxTypesToCheck)."""

# Group, version, kind.
Kind = tuple[str, str, str]
Schemas = Mapping[str, Any]
_REFERENCE = "#/components/schemas/"


class ValidatingAdmissionPolicyStatusController(Controller):
    """Checks policies and tells what it found."""

    name = "validatingadmissionpolicy-status-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._policies = context.informers.of(VALIDATINGADMISSIONPOLICIES, ValidatingAdmissionPolicy)
        self._policies.add_handler(
            on_add=lambda policy: self.queue.add(policy.metadata.name),
            on_update=lambda old, new: self.queue.add(new.metadata.name),
        )

    async def reconcile(self, key: str) -> None:
        """One policy, when this generation of it has not been checked."""
        policy = self._policies.items.get(key)
        if policy is None or (policy.metadata.generation or 0) <= (policy.status.observedGeneration or 0):
            return
        found = await self._check(policy.spec)
        status = {
            "observedGeneration": policy.metadata.generation,
            "typeChecking": {"expressionWarnings": found} if found else {},
        }
        patch = {
            "apiVersion": VALIDATINGADMISSIONPOLICIES.api_version,
            "kind": VALIDATINGADMISSIONPOLICIES.kind,
            "metadata": {"name": key},
            "status": status,
        }
        try:
            await self.client.patch(
                VALIDATINGADMISSIONPOLICIES,
                key,
                patch,
                patch_type=APPLY,
                subresource="status",
                field_manager=self.name,
                force=True,
                type=Bare,
            )
        except ApiError as error:
            if not is_not_found(error):
                raise

    async def _check(self, spec: PolicySpec) -> list[dict[str, str]]:
        rules = (spec.matchConstraints.resourceRules if spec.matchConstraints else None) or ()
        if not any(named_resources(rule) for rule in rules):
            return []
        kinds = kinds_to_check(rules, await discover(self.client, all_versions=True))
        parameters = None
        if spec.paramKind is not None:
            group, _, version = spec.paramKind.apiVersion.rpartition("/")
            parameters = (group, version, spec.paramKind.kind)
        wanted = {kind[:2] for kind in (*kinds, *([parameters] if parameters else []))}
        schemas = {version: await self._schemas(*version) for version in sorted(wanted)}
        # Of large kinds it takes 100 ms.
        return await asyncio.to_thread(warnings, spec, kinds, parameters, schemas)

    async def _schemas(self, group: str, version: str) -> Schemas:
        """The schemas of a version's document; none when there is no document."""
        place = f"apis/{group}/{version}" if group else f"api/{version}"
        response = await self.client.raw(
            "GET", f"/openapi/v3/{place}", headers={"Accept": "application/json"}
        )
        if response.status == 404:
            return {}
        if response.status != 200:
            raise api_error(response.status, response.body)
        components = decode(response.body, dict).get("components") or {}
        return components.get("schemas") or {}


def named_resources(rule: Rule) -> list[tuple[str, str, str]]:
    """Groups, versions and plurals that a rule names; none when it has a wildcard of groups or versions. Subresources do not count."""
    groups, versions = sorted(rule.apiGroups or ()), sorted(rule.apiVersions or ())
    if any("*" in name for name in (*groups, *versions)):
        return []
    plurals = sorted(name for name in rule.resources or () if "*" not in name and "/" not in name)
    return [(group, version, plural) for group in groups for version in versions for plural in plurals]


def kinds_to_check(rules: Iterable[Rule], served: Sequence[Resource]) -> list[Kind]:
    """The kinds that rules name. As to client-go's mapper, the group without a name is any."""
    found: set[Kind] = set()
    for rule in rules:
        count = 0
        for group, version, plural in named_resources(rule):
            for resource in served:
                if (resource.version, resource.plural) == (version, plural) and group in ("", resource.group):
                    found.add((resource.group, version, resource.kind))
                    count += 1
                    if count == MAX_TYPES:
                        return sorted(found)
    return sorted(found)


def warnings(
    spec: PolicySpec,
    kinds: Sequence[Kind],
    parameters: Kind | None,
    schemas: Mapping[tuple[str, str], Schemas],
) -> list[dict[str, str]]:
    """The `expressionWarnings` of a policy for these kinds. `schemas`: those of versions."""
    expressions: dict[str, str] = {}
    for index, validation in enumerate(spec.validations or ()):
        expressions[f"spec.validations[{index}].expression"] = validation.expression
        if validation.messageExpression:
            expressions[f"spec.validations[{index}].messageExpression"] = validation.messageExpression
    variables = [(variable.name, variable.expression) for variable in spec.variables or ()]

    def declared(kind: Kind) -> Any:
        raw = schema_of(kind, schemas[kind[:2]])
        return None if raw is None else declared_kind(raw, kind[2])

    told: dict[str, list[str]] = {path: [] for path in expressions}
    for kind in kinds:
        if schema_of(kind, schemas[kind[:2]]) is None:
            continue
        # Declarations take the names that one checker gives them.
        params = declared(parameters) if parameters is not None else None
        errors = type_errors(
            list(expressions.values()),
            variables,
            declared(kind),
            params,
            has_params=parameters is not None,
        )
        for path, error in zip(expressions, errors, strict=True):
            if error:
                told[path].append(f"{kind[0]}/{kind[1]}, Kind={kind[2]}: {error}\n")
    return [{"fieldRef": path, "warning": "\n".join(texts)} for path, texts in told.items() if texts]


def schema_of(kind: Kind, schemas: Schemas) -> dict[str, Any] | None:
    """A kind's schema with what it refers to in its place; what refers to itself is an object of no fields there. None when there is none."""
    group, version, name = kind
    for place, raw in schemas.items():
        for entry in raw.get("x-kubernetes-group-version-kind") or ():
            if (entry.get("group"), entry.get("version"), entry.get("kind")) == (group, version, name):
                return _populated(raw, schemas, frozenset([_REFERENCE + place]))
    return None


def _populated(raw: Any, schemas: Schemas, above: frozenset[str]) -> dict[str, Any]:
    reference = _reference(raw)
    if reference is not None:
        if reference in above:
            return {"type": "object"}
        above |= {reference}
        raw = schemas.get(reference.removeprefix(_REFERENCE)) or {}
    result = dict(raw)
    if raw.get("format") == "int-or-string":
        result["x-kubernetes-int-or-string"] = True  # built-in kinds have the format only
    if "properties" in raw:
        result["properties"] = {n: _populated(sub, schemas, above) for n, sub in raw["properties"].items()}
    for name in ("additionalProperties", "items"):
        if isinstance(raw.get(name), dict):
            result[name] = _populated(raw[name], schemas, above)
    return result


def _reference(raw: Any) -> str | None:
    """What a schema refers to; one that has a description or a default of its own does in an `allOf`."""
    if "$ref" in raw:
        found: str = raw["$ref"]
        return found
    return next(filter(None, map(_reference, raw.get("allOf") or ())), None)
