"""Keeps the default roles and bindings: made when they are missing, completed when they lack something, at each start (upstream's RBAC reconciliation).

What somebody added stays; what is annotated with `rbac.authorization.kubernetes.io/autoupdate: "false"` is left alone.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from typing import Any

import msgspec

from lakh.apis import roledefaults
from lakh.apis.roledefaults import AUTOUPDATE, GROUP
from lakh.machinery import errors
from lakh.server.authn import APISERVER
from lakh.server.cluster import Cluster
from lakh.server.context import Context
from lakh.server.storage import DeleteOptions, ResourceStore
from lakh.store.state import Item

_ALL = "*"


async def reconcile_roles(cluster: Cluster) -> None:
    """Once through all of them. The default partition must be written here; raises StoreError, StatusError."""
    work = []
    for plural, wanted in (
        ("clusterroles", roledefaults.cluster_roles()),
        ("clusterrolebindings", roledefaults.cluster_role_bindings()),
        ("roles", roledefaults.roles()),
        ("rolebindings", roledefaults.role_bindings()),
    ):
        store = cluster.named(GROUP, "v1", plural)
        work += [_reconcile(store, plain) for plain in wanted]
    # Together: they become durable with a few entries of the journal.
    await asyncio.gather(*work)


async def _reconcile(store: ResourceStore, wanted: dict[str, Any]) -> None:
    context = Context(APISERVER, manager="kube-apiserver")
    metadata = wanted["metadata"]
    namespace, name = metadata.get("namespace", ""), metadata["name"]
    item = store.partition.head(store.key(namespace, name))
    if item is not None:
        merged = merge(msgspec.to_builtins(store.decode(item)), wanted)
        if merged is None:
            return
        if merged["metadata"].get("resourceVersion") != "":
            new = msgspec.convert(merged, store.codec.struct)

            def put(found: Item, old: Any) -> Any:
                return new

            await store.update(context, namespace, name, put)
            return
        # Another role than it should be: roleRef cannot change.
        await store.delete(context, namespace, name, DeleteOptions())
    try:
        await store.create(context, msgspec.convert(wanted, store.codec.struct), namespace)
    except errors.StatusError as e:
        if e.reason != "AlreadyExists":
            raise


def merge(found: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any] | None:
    """What an object should be, plain values; None when it is. One that must be made anew has an empty resourceVersion."""
    metadata = found["metadata"]
    if (metadata.get("annotations") or {}).get(AUTOUPDATE) == "false":
        return None
    if "roleRef" in wanted and found.get("roleRef") != wanted["roleRef"]:
        return {**found, "metadata": {**metadata, "resourceVersion": ""}}
    merged = {**found, "metadata": {**metadata}}
    for field in ("labels", "annotations"):
        merged["metadata"][field] = {**wanted["metadata"][field], **(metadata.get(field) or {})}
    if "aggregationRule" in wanted:
        selectors = (found.get("aggregationRule") or {}).get("clusterRoleSelectors") or []
        missing = [s for s in wanted["aggregationRule"]["clusterRoleSelectors"] if s not in selectors]
        merged["aggregationRule"] = {"clusterRoleSelectors": [*selectors, *missing]}
    if "rules" in wanted:
        rules = found.get("rules") or []
        missing = [rule for rule in wanted["rules"] if not covers(rules, rule)]
        merged["rules"] = [*rules, *missing]
    if "subjects" in wanted:
        subjects = found.get("subjects") or []
        merged["subjects"] = [*subjects, *(s for s in wanted["subjects"] if s not in subjects)]
    return merged if merged != found else None


def covers(rules: list[dict[str, Any]], wanted: dict[str, Any]) -> bool:
    """Whether rules together allow everything that one allows."""
    return all(any(_allows(rule, atom) for rule in rules) for atom in _atoms(wanted))


def _atoms(rule: dict[str, Any]) -> Iterable[tuple[str, ...]]:
    if urls := rule.get("nonResourceURLs"):
        return itertools.product(rule["verbs"], urls)
    return itertools.product(
        rule["verbs"], rule["apiGroups"], rule["resources"], rule.get("resourceNames") or ("",)
    )


def _allows(rule: dict[str, Any], atom: tuple[str, ...]) -> bool:
    def has(field: str, value: str) -> bool:
        values = rule.get(field) or ()
        return value in values or _ALL in values

    if len(atom) == 2:
        urls = rule.get("nonResourceURLs") or ()
        return has("verbs", atom[0]) and any(
            url in (_ALL, atom[1]) or (url.endswith(_ALL) and atom[1].startswith(url[:-1])) for url in urls
        )
    verb, group, resource, name = atom
    names = rule.get("resourceNames") or ()
    return (
        has("verbs", verb)
        and has("apiGroups", group)
        and (has("resources", resource) or f"*/{resource.partition('/')[2]}" in (rule.get("resources") or ()))
        and (not names or name in names)
    )
