"""Aggregated ClusterRoles: their rules are those of the roles that their selectors choose, in the order of the roles' names, each once.

So `admin`, `edit` and `view` grow with whatever a definition's author labels (upstream's pkg/controller/clusterroleaggregation).
"""

from __future__ import annotations

from typing import Any

from lakh.client.client import APPLY
from lakh.client.errors import ApiError, is_not_found
from lakh.client.resources import CLUSTERROLES

from .clusterviews import ClusterRole
from .context import Context, Controller
from .selecting import compile_selector
from .views import Bare


class ClusterRoleAggregation(Controller):
    """Rules of ClusterRoles with an aggregationRule."""

    name = "clusterrole-aggregation-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._roles = context.informers.of(CLUSTERROLES, ClusterRole)
        self._roles.add_handler(
            on_add=lambda role: self.resync(),
            on_update=lambda old, new: self.resync(),
            on_delete=lambda role: self.resync(),
        )

    def resync(self) -> None:
        """Any role may be chosen by any other, so all that are aggregated are looked at."""
        for role in self._roles.items.values():
            if role.aggregationRule is not None:
                self.queue.add(role.metadata.name)

    async def reconcile(self, key: str) -> None:
        """One aggregated role."""
        role = self._roles.items.get(key)
        if role is None or role.aggregationRule is None:
            return
        rules: list[Any] = []
        for selector in role.aggregationRule.clusterRoleSelectors or ():
            chooses = compile_selector(selector)
            for name in sorted(self._roles.items):
                other = self._roles.items[name]
                if name != key and chooses(other.metadata.labels or {}):
                    rules += [rule for rule in other.rules or () if rule not in rules]
        if rules == (role.rules or []):
            return
        patch = {
            "apiVersion": CLUSTERROLES.api_version,
            "kind": CLUSTERROLES.kind,
            "metadata": {"name": key},
            "rules": rules,
        }
        try:
            await self.client.patch(
                CLUSTERROLES, key, patch, patch_type=APPLY, field_manager=self.name, force=True, type=Bare
            )
        except ApiError as error:
            if not is_not_found(error):
                raise
