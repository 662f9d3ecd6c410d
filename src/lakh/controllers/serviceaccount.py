"""What every namespace gets: the ServiceAccount `default`, and the ConfigMap `kube-root-ca.crt` with the cluster's CA certificate.

Both controllers look when a namespace changes and when their object changes, so that it comes back when somebody deletes it.
"""

from __future__ import annotations

from lakh.client.errors import ApiError, is_already_exists, is_namespace_terminating, is_not_found
from lakh.client.informer import Informer
from lakh.client.resources import CONFIGMAPS, NAMESPACES, SERVICEACCOUNTS

from .context import Context, Controller
from .views import Bare, ConfigMap, Namespace

DEFAULT_ACCOUNT = "default"
ROOT_CA = "kube-root-ca.crt"
ROOT_CA_NOTE = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


class _PerNamespace(Controller):
    """A controller whose keys are namespaces."""

    workers = 8

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._namespaces: Informer[Namespace] = context.informers.of(NAMESPACES, Namespace)
        self._namespaces.add_handler(
            on_add=lambda namespace: self.queue.add(namespace.metadata.name),
            on_update=lambda old, new: self.queue.add(new.metadata.name),
        )

    def resync(self) -> None:
        """Queue every namespace."""
        for name in self._namespaces.items:
            self.queue.add(name)

    def _active(self, name: str) -> bool:
        namespace = self._namespaces.items.get(name)
        return (
            namespace is not None
            and namespace.metadata.deletionTimestamp is None
            and namespace.status.phase != "Terminating"
        )


class ServiceAccountController(_PerNamespace):
    """Keeps the ServiceAccount `default` in every namespace."""

    name = "serviceaccount-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._accounts = context.informers.of(SERVICEACCOUNTS, Bare)
        self._accounts.add_handler(on_delete=self._account_gone)

    def _account_gone(self, account: Bare) -> None:
        if account.metadata.name == DEFAULT_ACCOUNT and account.metadata.namespace:
            self.queue.add(account.metadata.namespace)

    async def reconcile(self, key: str) -> None:
        """Create the account when it is missing."""
        if not self._active(key) or f"{key}/{DEFAULT_ACCOUNT}" in self._accounts.items:
            return
        body = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": DEFAULT_ACCOUNT, "namespace": key},
        }
        try:
            await self.client.create(SERVICEACCOUNTS, body, key, type=Bare)
        except ApiError as error:
            if not is_already_exists(error) and not is_namespace_terminating(error):
                raise


class RootCAPublisher(_PerNamespace):
    """Keeps the ConfigMap `kube-root-ca.crt` in every namespace."""

    name = "root-ca-certificate-publisher-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._root_ca = context.root_ca.decode()
        self._maps = context.informers.of(CONFIGMAPS, ConfigMap, field_selector=f"metadata.name={ROOT_CA}")
        self._maps.add_handler(on_update=lambda old, new: self._changed(new), on_delete=self._changed)

    def _changed(self, config: ConfigMap) -> None:
        if config.metadata.name == ROOT_CA and config.metadata.namespace:
            self.queue.add(config.metadata.namespace)

    async def reconcile(self, key: str) -> None:
        """Create or correct the ConfigMap."""
        if not self._active(key):
            return
        data = {"ca.crt": self._root_ca}
        current = self._maps.items.get(f"{key}/{ROOT_CA}")
        if current is not None and current.data == data:
            return
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": ROOT_CA,
                "namespace": key,
                "annotations": {"kubernetes.io/description": ROOT_CA_NOTE},
            },
            "data": data,
        }
        try:
            if current is None:
                await self.client.create(CONFIGMAPS, body, key, type=Bare)
                return
            # Keys that somebody added go: a merge patch removes what it names as null.
            extra: dict[str, str | None] = {name: None for name in current.data or {} if name not in data}
            await self.client.patch(CONFIGMAPS, ROOT_CA, {"data": {**data, **extra}}, key, type=Bare)
        except ApiError as error:
            if is_not_found(error) or is_already_exists(error) or is_namespace_terminating(error):
                return
            raise
