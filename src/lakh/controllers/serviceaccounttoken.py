"""Secrets of type `kubernetes.io/service-account-token`: filled with a token of their service account, and gone with it.

What a Secret lacks of `token`, `ca.crt` and `namespace` is put in (upstream's pkg/controller/serviceaccount/tokens_controller.go). The token is one of the
TokenRequest API, bound to the Secret, for the longest time that one can have: it is good as long as the Secret and the account are there.
"""

from __future__ import annotations

import base64

import msgspec

from lakh.client.errors import ApiError, is_conflict, is_not_found
from lakh.client.resources import SECRETS, SERVICEACCOUNTS

from .context import Context, Controller
from .views import Bare, Meta, View

TYPE = "kubernetes.io/service-account-token"
NAME_ANNOTATION = "kubernetes.io/service-account.name"
UID_ANNOTATION = "kubernetes.io/service-account.uid"
LONGEST_SECONDS = 1 << 32
"""The most that a TokenRequest can ask for."""


class Secret(View):
    """A Secret with what it holds."""

    metadata: Meta
    data: dict[str, str] | None = None


class _Token(msgspec.Struct):
    token: str


class _TokenRequest(msgspec.Struct):
    status: _Token


class ServiceAccountTokenController(Controller):
    """Keys are `namespace/secret/account`."""

    name = "serviceaccount-token-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._root_ca = base64.b64encode(context.root_ca).decode()
        self._accounts = context.informers.of(SERVICEACCOUNTS, Bare)
        self._secrets = context.informers.of(SECRETS, Secret, field_selector=f"type={TYPE}")
        self._accounts.add_handler(on_delete=self._account_gone)
        self._secrets.add_handler(
            on_add=self._queue, on_update=lambda old, new: self._queue(new), on_delete=self._queue
        )

    def resync(self) -> None:
        """Queue every Secret."""
        for secret in self._secrets.items.values():
            self._queue(secret)

    def _queue(self, secret: Secret) -> None:
        metadata = secret.metadata
        if account := (metadata.annotations or {}).get(NAME_ANNOTATION):
            self.queue.add(f"{metadata.namespace}/{metadata.name}/{account}")

    def _account_gone(self, account: Bare) -> None:
        for secret in self._secrets.items.values():
            annotations = secret.metadata.annotations or {}
            if (secret.metadata.namespace, annotations.get(NAME_ANNOTATION)) == (
                account.metadata.namespace,
                account.metadata.name,
            ):
                self._queue(secret)

    async def reconcile(self, key: str) -> None:
        """One Secret: filled, or deleted with its account; of one that is gone the account says nothing any more."""
        # The annotation may say anything.
        namespace, name, account_name = key.split("/", 2)
        secret = self._secrets.items.get(f"{namespace}/{name}")
        if secret is None:
            await self._forget(namespace, name, account_name)
            return
        try:
            account = await self._account(secret, account_name)
            if account is None:
                await self.client.delete(SECRETS, name, namespace, uid=secret.metadata.uid)
            else:
                await self._fill(secret, account)
        except ApiError as error:
            # Of a newer version there will be an event.
            if not is_not_found(error) and not is_conflict(error):
                raise

    async def _account(self, secret: Secret, name: str) -> Bare | None:
        """The account that the Secret is of; None when there is none, or another one of this name."""
        uid = (secret.metadata.annotations or {}).get(UID_ANNOTATION)
        namespace = secret.metadata.namespace
        account = self._accounts.items.get(f"{namespace}/{name}")
        if account is None or (uid and account.metadata.uid != uid):
            # It may be younger than what is seen here.
            try:
                account = await self.client.get(SERVICEACCOUNTS, name, namespace, type=Bare)
            except ApiError as error:
                if is_not_found(error):
                    return None
                raise
        return account if not uid or account.metadata.uid == uid else None

    async def _fill(self, secret: Secret, account: Bare) -> None:
        metadata, data = secret.metadata, secret.data or {}
        lacking: dict[str, str] = {}
        if self._root_ca and data.get("ca.crt") != self._root_ca:
            lacking["ca.crt"] = self._root_ca
        if not data.get("namespace"):
            lacking["namespace"] = base64.b64encode((metadata.namespace or "").encode()).decode()
        if not data.get("token"):
            token = await self._token(metadata, account)
            lacking["token"] = base64.b64encode(token.encode()).decode()
        if not lacking:
            return
        annotations = {NAME_ANNOTATION: account.metadata.name, UID_ANNOTATION: account.metadata.uid}
        patch = {
            "metadata": {"annotations": annotations, "resourceVersion": metadata.resourceVersion},
            "data": lacking,
        }
        await self.client.patch(SECRETS, metadata.name, patch, metadata.namespace, type=Bare)

    async def _token(self, secret: Meta, account: Bare) -> str:
        bound = {"apiVersion": "v1", "kind": "Secret", "name": secret.name, "uid": secret.uid}
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"name": account.metadata.name},
            "spec": {"audiences": [], "expirationSeconds": LONGEST_SECONDS, "boundObjectRef": bound},
        }
        answer = await self.client.create(
            SERVICEACCOUNTS,
            request,
            secret.namespace,
            name=account.metadata.name,
            subresource="token",
            type=_TokenRequest,
        )
        return answer.status.token

    async def _forget(self, namespace: str, name: str, account_name: str) -> None:
        """Raises on a conflict too: nothing but another try tells that it is to be done."""
        if f"{namespace}/{account_name}" not in self._accounts.items:
            return
        try:
            account = await self.client.get(SERVICEACCOUNTS, account_name, namespace)
            kept = [entry for entry in account.get("secrets") or () if entry.get("name") != name]
            if kept != (account.get("secrets") or []):
                await self.client.update(SERVICEACCOUNTS, {**account, "secrets": kept}, namespace, type=Bare)
        except ApiError as error:
            if not is_not_found(error):
                raise
