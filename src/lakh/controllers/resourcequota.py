"""ResourceQuotas: `status.hard` is what their spec says, `status.used` what is there (upstream's pkg/controller/resourcequota).

A quota is counted anew when it changes, soon after something that it counts came, went or changed, and every five minutes. Counting asks the API
server: how many there are of what is only counted costs nothing there, and pods are read in pages, through a view of what they ask for. What is
counted is not kept, so memory does not grow with the namespaces. After a count that took long the next one waits twenty times as long.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

from lakh.client.discovery import REFRESH_SECONDS
from lakh.client.errors import ApiError, ClientError, is_not_found
from lakh.client.resources import PERSISTENTVOLUMECLAIMS, PODS, RESOURCEQUOTAS, SERVICES, Resource
from lakh.machinery import quotausage
from lakh.machinery.quotausage import Scope

from .context import Context, Controller
from .pods import is_finished
from .quotaviews import QuotaSpec, ResourceQuota
from .views import Bare

log = logging.getLogger(__name__)

RESYNC_SECONDS = 300.0
"""Upstream's --resource-quota-sync-period."""
SETTLE_SECONDS = 0.5
"""What comes and goes together is counted together."""
REST_FACTOR = 20
PAGE = 500

# The plural and the group.
Kind = tuple[str, str]
_PODS, _SERVICES, _CLAIMS = ("pods", ""), ("services", ""), ("persistentvolumeclaims", "")
# Of these discovery has nothing to tell.
_BUILT_IN: dict[Kind, Resource] = {_PODS: PODS, _SERVICES: SERVICES, _CLAIMS: PERSISTENTVOLUMECLAIMS}


def kind_of(name: str) -> Kind | None:
    """Of which objects a name of a quota speaks."""
    if quotausage.is_of_pods(name):
        return _PODS
    if name in quotausage.SERVICE_NAMES:
        return _SERVICES
    if quotausage.is_of_claims(name):
        return _CLAIMS
    return quotausage.counted(name)


def scopes_of(spec: QuotaSpec) -> list[Scope]:
    """All scopes that something must be in to count."""
    selector = spec.scopeSelector.matchExpressions if spec.scopeSelector is not None else None
    return [*(Scope(scopeName=name) for name in spec.scopes or ()), *(selector or ())]


class ResourceQuotaController(Controller):
    """See the module."""

    name = "resourcequota-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._quotas = context.informers.of(RESOURCEQUOTAS, ResourceQuota)
        # Namespace → key → what the quota counts.
        self._by_namespace: dict[str, dict[str, frozenset[Kind]]] = {}
        self._watched: set[Resource] = set()
        # Quotas of what nobody serves yet.
        self._waiting: dict[Kind, set[str]] = {}
        # When a key may be counted again, by the loop's clock.
        self._rests: dict[str, float] = {}
        self._quotas.add_handler(on_add=self._changed, on_update=self._updated, on_delete=self._gone)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_resyncing())
            group.create_task(self._keep_looking())
            group.create_task(self.queue.run(self.reconcile, self.workers))

    async def _keep_resyncing(self) -> None:
        while True:
            self.resync()
            await asyncio.sleep(RESYNC_SECONDS)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await self.look_for_kinds()

    async def look_for_kinds(self) -> None:
        """Queue the quotas that wait for a kind which has come to be served."""
        if self._waiting:
            for kind in self._waiting.keys() & await self._served():
                for key in self._waiting.pop(kind):
                    self.queue.add(key)

    def resync(self) -> None:
        """Queue every quota."""
        for key in self._quotas.items:
            self.queue.add(key)

    # -- what makes a count necessary ----------------------------------------------------------------------------------------------

    def _changed(self, quota: ResourceQuota) -> None:
        namespace = quota.metadata.namespace or ""
        key = f"{namespace}/{quota.metadata.name}"
        kinds = frozenset(filter(None, map(kind_of, quota.spec.hard or ())))
        self._by_namespace.setdefault(namespace, {})[key] = kinds
        self.queue.add(key)

    def _updated(self, old: ResourceQuota, new: ResourceQuota) -> None:
        if old.spec != new.spec or (new.status.hard or {}) != (new.spec.hard or {}):
            self._changed(new)

    def _gone(self, quota: ResourceQuota) -> None:
        namespace = quota.metadata.namespace or ""
        key = f"{namespace}/{quota.metadata.name}"
        self.queue.add(key)  # who has it in hand forgets it
        quotas = self._by_namespace.get(namespace, {})
        quotas.pop(key, None)
        if not quotas:
            self._by_namespace.pop(namespace, None)

    def _watch(self, kind: Kind, resource: Resource) -> None:
        """Looks at what comes and goes of a kind from now on; kinds that no quota counts are not watched for it."""
        informer = self.context.informers.metadata(resource)

        def touch(obj: Any) -> None:
            quotas = self._by_namespace.get(obj.metadata.namespace)
            # What is there already is about to be counted.
            if quotas is not None and resource in self._watched:
                self._recount(kind, quotas)

        on_update: Callable[[Any, Any], None] | None = None
        if kind == _PODS:

            def on_update(old: Any, new: Any) -> None:
                # A new generation may be another size.
                if is_finished(old) != is_finished(new) or old.metadata.generation != new.metadata.generation:
                    touch(new)

        elif kind in (_SERVICES, _CLAIMS):

            def on_update(old: Any, new: Any) -> None:
                touch(new)

        informer.add_handler(on_add=touch, on_update=on_update, on_delete=touch)
        self._watched.add(resource)

    def _recount(self, kind: Kind, quotas: dict[str, frozenset[Kind]]) -> None:
        now = asyncio.get_running_loop().time()
        for key, kinds in quotas.items():
            if kind in kinds:
                self.queue.add_after(key, max(self._rests.get(key, 0.0) - now, SETTLE_SECONDS))

    # -- counting ------------------------------------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> None:
        """One quota."""
        quota = self._quotas.items.get(key)
        if quota is None:
            self._rests.pop(key, None)
            for keys in self._waiting.values():
                keys.discard(key)
            return
        loop = asyncio.get_running_loop()
        began = loop.time()
        hard = quota.spec.hard or {}
        counted, failure = await self.usage(key, quota)
        used = {**(quota.status.used or {}), **counted}
        used = {name: amount for name, amount in used.items() if name in hard}
        self._rests[key] = loop.time() + REST_FACTOR * (loop.time() - began)
        if (quota.status.hard or {}, quota.status.used or {}) != (hard, used):
            await self._write(key, quota, hard, used)
        if failure is not None:
            raise failure

    async def _write(
        self, key: str, quota: ResourceQuota, hard: dict[str, str], used: dict[str, str]
    ) -> None:
        status = {"hard": _patch(quota.status.hard, hard), "used": _patch(quota.status.used, used)}
        patch = {"metadata": {"resourceVersion": quota.metadata.resourceVersion}, "status": status}
        namespace, _, name = key.partition("/")
        try:
            await self.client.patch(RESOURCEQUOTAS, name, patch, namespace, subresource="status", type=Bare)
        except ApiError as error:
            if not is_not_found(error):
                raise

    async def usage(self, key: str, quota: ResourceQuota) -> tuple[dict[str, str], ClientError | None]:
        """What is there of all that a quota limits and that is known here; and why something could not be counted."""
        kinds: dict[Kind, list[str]] = {}
        for name in quota.spec.hard or ():
            kind = kind_of(name)
            if kind is not None:
                kinds.setdefault(kind, []).append(name)
        served = {**_BUILT_IN, **(await self._served() if kinds.keys() - _BUILT_IN else {})}
        found: dict[str, str] = {}
        failure: ClientError | None = None
        namespace, scopes = quota.metadata.namespace or "", scopes_of(quota.spec)
        for kind, names in kinds.items():
            resource = served.get(kind)
            if resource is None:
                self._waiting.setdefault(kind, set()).add(key)
                continue
            if resource not in self._watched:
                self._watch(kind, resource)
            try:
                found |= await self._usage_of(kind, resource, names, namespace, scopes)
            except ClientError as error:
                failure = failure or error  # the others count all the same
        return found, failure

    async def _served(self) -> dict[Kind, Resource]:
        """All that can be counted, as far as the server tells."""
        try:
            served = await self.context.discovery.resources()
        except ClientError as error:
            log.warning("discovery failed, will retry: %s", error)
            return {}
        wanted = {"create", "delete", "list", "watch"}
        return {
            (resource.plural, resource.group): resource
            for resource in served
            if resource.namespaced and wanted <= resource.verbs
        }

    async def _usage_of(
        self, kind: Kind, resource: Resource, names: Collection[str], namespace: str, scopes: list[Scope]
    ) -> dict[str, str]:
        sums: dict[str, Counter[str]] = {}
        now = self.now()
        match kind:
            case ("pods", ""):
                async for pods in self._pages(PODS, namespace, quotausage.Pod):
                    quotausage.collect(
                        pods, lambda pod: quotausage.pod_usage(pod, now), quotausage.pod_matches, scopes, sums
                    )
            case ("persistentvolumeclaims", ""):
                async for claims in self._pages(PERSISTENTVOLUMECLAIMS, namespace, quotausage.Claim):
                    quotausage.collect(claims, quotausage.claim_usage, quotausage.claim_matches, scopes, sums)
            case _ if scopes:
                pass  # nothing else is in any scope
            case ("services", ""):
                async for services in self._pages(SERVICES, namespace, quotausage.Service):
                    quotausage.collect(services, quotausage.service_usage, lambda *_: True, (), sums)
            case _:
                page = await self.client.list(resource, namespace, type=Bare, limit=1)
                count = len(page.items) + (page.metadata.remainingItemCount or 0)
                return {name: str(count) for name in names}
        return quotausage.amounts(names, sums)

    async def _pages(self, resource: Resource, namespace: str, view: Any) -> Any:
        token: str | None = None
        while True:
            page = await self.client.list(resource, namespace, type=view, limit=PAGE, continue_=token)
            yield page.items
            token = page.metadata.continue_
            if not token:
                return


def _patch(before: dict[str, str] | None, after: dict[str, str]) -> dict[str, str | None] | None:
    """A merge patch that makes a map what it shall be; an empty one is left out, as Go does."""
    if not after:
        return None
    return {**dict.fromkeys(before or (), None), **after}
