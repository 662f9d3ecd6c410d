"""The resource claim controller: claims from templates, and the end of claims that nobody uses any more.

* A pod with `resourceClaims` that name a template gets a claim of each, owned by it, and `status.resourceClaimStatuses` says which.
* A pod that has ended, or is gone, is taken out of `reservedFor`. A claim that nobody has reserved any longer gives its devices back, and then
  loses the finalizer that kept it while it was allocated.
* A claim that was made for a pod, of a template or by the scheduler for its extended resources, is deleted when that pod has ended; when it is
  deleted, the garbage collector does it.

Keys are `pod namespace/name` and `claim namespace/name`.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from lakh.client.client import STRATEGIC
from lakh.client.errors import ApiError, is_already_exists, is_not_found
from lakh.client.resources import PODS, RESOURCECLAIMS, RESOURCECLAIMTEMPLATES, object_reference
from lakh.machinery.volumes import OwnerReference

from .claimviews import PodClaim, ResourceClaim, ResourceClaimTemplate
from .context import Context, Controller
from .hashing import safe_encode
from .pods import is_finished
from .views import Bare, Pod

CLAIM_NAME = "resource.kubernetes.io/pod-claim-name"
SPECIAL = "resource.kubernetes.io/extended-resource-claim"
FINALIZER = "resource.kubernetes.io/delete-protection"
OWNER = "owner"
"""Index of claims: uids of their owners."""


class _MissingTemplateError(Exception):
    """The template is not there yet; the queue retries."""


def claims(pod: Pod) -> bool:
    """Whether the pod has claims, or a scheduler has made one for it."""
    return bool(pod.spec.resourceClaims) or pod.status.extendedResourceClaimStatus is not None


def _claimed(pod: Pod) -> list[str]:
    """The claims that a pod names, by key."""
    if not claims(pod):
        return []
    namespace = pod.metadata.namespace
    names = [claim.resourceClaimName for claim in pod.spec.resourceClaims or ()]
    names += [status.resourceClaimName for status in pod.status.resourceClaimStatuses or ()]
    if pod.status.extendedResourceClaimStatus is not None:
        names.append(pod.status.extendedResourceClaimStatus.resourceClaimName)
    return [f"{namespace}/{name}" for name in names if name]


def _templates(pod: Pod) -> list[str]:
    """The templates of which a pod has no claim yet, by key."""
    return [f"{pod.metadata.namespace}/{claim.resourceClaimTemplateName}" for claim in missing(pod)]


def missing(pod: Pod) -> list[PodClaim]:
    """What of a pod needs a claim to be made."""
    if not pod.spec.resourceClaims:
        return []
    done = {status.name for status in pod.status.resourceClaimStatuses or ()}
    return [
        claim
        for claim in pod.spec.resourceClaims or ()
        if claim.resourceClaimTemplateName and claim.name not in done
    ]


class ResourceClaimController(Controller):
    """See the module."""

    name = "resourceclaim-controller"
    workers = 32

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._recorder = context.recorder("resource_claim")
        self._pods = context.informers.of(PODS, Pod)
        self._claims = context.informers.of(RESOURCECLAIMS, ResourceClaim)
        self._templates = context.informers.of(RESOURCECLAIMTEMPLATES, ResourceClaimTemplate)
        self._pods.add_index("resource claims", _claimed)
        self._pods.add_index("resource claim templates", _templates)
        self._claims.add_index(OWNER, lambda claim: [o.uid for o in claim.metadata.ownerReferences or ()])
        self._pods.add_handler(
            on_add=self._pod, on_update=lambda old, new: self._pod(new), on_delete=self._pod_gone
        )
        self._claims.add_handler(on_add=self._claim, on_update=lambda old, new: self._claim(new))
        self._templates.add_handler(on_add=self._template)

    def resync(self) -> None:
        """Queue everything."""
        for pod in self._pods.items.values():
            self._pod(pod)
        for claim in self._claims.items.values():
            self._claim(claim)

    def _pod(self, pod: Pod) -> None:
        if not claims(pod):
            return
        if is_finished(pod):
            self._pod_gone(pod)
        elif missing(pod) and pod.metadata.deletionTimestamp is None:
            self.queue.add(f"pod {pod.metadata.namespace}/{pod.metadata.name}")

    def _pod_gone(self, pod: Pod) -> None:
        for key in _claimed(pod) if claims(pod) else ():
            self.queue.add(f"claim {key}")

    def _claim(self, claim: ResourceClaim) -> None:
        if claim.status.reservedFor or claim.status.allocation is not None or claim.metadata.finalizers:
            self.queue.add(f"claim {claim.metadata.namespace}/{claim.metadata.name}")

    def _template(self, template: ResourceClaimTemplate) -> None:
        key = f"{template.metadata.namespace}/{template.metadata.name}"
        for pod in self._pods.by_index("resource claim templates", key):
            self._pod(pod)

    async def reconcile(self, key: str) -> None:
        """One pod or one claim."""
        kind, _, name = key.partition(" ")
        if kind == "pod":
            pod = self._pods.items.get(name)
            if pod is not None and pod.metadata.deletionTimestamp is None and not is_finished(pod):
                await self._make(pod)
        else:
            claim = self._claims.items.get(name)
            if claim is not None:
                await self._tidy(claim)

    # Claims from templates

    async def _make(self, pod: Pod) -> None:
        wanted = missing(pod)
        if not wanted:
            return
        statuses = [await self._claim_for(pod, claim) for claim in wanted]
        patch = {"metadata": {"uid": pod.metadata.uid}, "status": {"resourceClaimStatuses": statuses}}
        try:
            await self.client.patch(
                PODS,
                pod.metadata.name,
                patch,
                pod.metadata.namespace,
                patch_type=STRATEGIC,
                type=Bare,
                subresource="status",
            )
        except ApiError as error:
            if not is_not_found(error):
                raise

    async def _claim_for(self, pod: Pod, wanted: PodClaim) -> dict[str, str]:
        for claim in self._claims.by_index(OWNER, pod.metadata.uid):
            if (claim.metadata.annotations or {}).get(CLAIM_NAME) == wanted.name:
                return {"name": wanted.name, "resourceClaimName": claim.metadata.name}
        namespace = pod.metadata.namespace or ""
        template = self._templates.items.get(f"{namespace}/{wanted.resourceClaimTemplateName}")
        if template is None:
            message = (
                f'PodResourceClaim {wanted.name}: resource claim template "{wanted.resourceClaimTemplateName}": '
                f'resourceclaimtemplate.resource.k8s.io "{wanted.resourceClaimTemplateName}" not found'
            )
            self._recorder.event(
                object_reference(PODS, pod), "Warning", "FailedResourceClaimCreation", message
            )
            raise _MissingTemplateError(message)
        body = claim_of(pod, wanted, template)
        try:
            await self.client.create(RESOURCECLAIMS, body, namespace, type=Bare)
        except ApiError as error:
            if not is_already_exists(error):
                raise
            found = await self.client.get(
                RESOURCECLAIMS, body["metadata"]["name"], namespace, type=ResourceClaim
            )
            if all(owner.uid != pod.metadata.uid for owner in found.metadata.ownerReferences or ()):
                raise  # that of an earlier pod of this name goes first
        return {"name": wanted.name, "resourceClaimName": body["metadata"]["name"]}

    # Claims that nobody uses

    async def _tidy(self, claim: ResourceClaim) -> None:
        metadata, status = claim.metadata, claim.status
        reserved = status.reservedFor or []
        kept = [consumer for consumer in reserved if await self._uses(metadata.namespace or "", consumer)]
        patch: dict[str, Any] | None = None
        if not kept and status.allocation is not None and reserved:
            patch = {"reservedFor": None, "allocation": None}
        elif not kept and status.allocation is not None and metadata.deletionTimestamp is not None:
            patch = {"allocation": None}
        elif len(kept) != len(reserved):
            patch = {"reservedFor": [msgspec.to_builtins(consumer) for consumer in kept] or None}
        version = metadata.resourceVersion
        try:
            if patch is not None:
                answer = await self.client.patch(
                    RESOURCECLAIMS,
                    metadata.name,
                    {"metadata": {"uid": metadata.uid, "resourceVersion": version}, "status": patch},
                    metadata.namespace,
                    subresource="status",
                    type=ResourceClaim,
                )
                claim, version = answer, answer.metadata.resourceVersion
            idle = metadata.deletionTimestamp is not None or patch is not None
            if idle and claim.status.allocation is None and FINALIZER in (claim.metadata.finalizers or ()):
                finalizers = [f for f in claim.metadata.finalizers or () if f != FINALIZER]
                await self.client.patch(
                    RESOURCECLAIMS,
                    metadata.name,
                    {
                        "metadata": {
                            "uid": metadata.uid,
                            "resourceVersion": version,
                            "finalizers": finalizers or None,
                        }
                    },
                    metadata.namespace,
                    type=Bare,
                )
            if not kept and metadata.deletionTimestamp is None and self._owner_ended(claim):
                await self.client.delete(RESOURCECLAIMS, metadata.name, metadata.namespace, uid=metadata.uid)
        except ApiError as error:
            if not is_not_found(error):
                raise

    async def _uses(self, namespace: str, consumer: Any) -> bool:
        """Whether a consumer still needs the claim. That a pod is gone the API server must confirm: our picture may be older."""
        if consumer.resource != "pods":
            return True
        pod = self._pods.items.get(f"{namespace}/{consumer.name}")
        if pod is None or pod.metadata.uid != consumer.uid:
            try:
                pod = await self.client.get(PODS, consumer.name, namespace, type=Pod)
            except ApiError as error:
                if not is_not_found(error):
                    raise
                return False
        return pod.metadata.uid == consumer.uid and not is_finished(pod)

    def _owner_ended(self, claim: ResourceClaim) -> bool:
        """Whether it was made for a pod that has ended."""
        owner = controller_of(claim)
        if owner is None or {CLAIM_NAME, SPECIAL}.isdisjoint(claim.metadata.annotations or {}):
            return False
        pod = self._pods.items.get(f"{claim.metadata.namespace}/{owner.name}")
        return pod is not None and pod.metadata.uid == owner.uid and is_finished(pod)


def controller_of(claim: ResourceClaim) -> OwnerReference | None:
    """The pod that a claim was made for."""
    return next((o for o in claim.metadata.ownerReferences or () if o.controller and o.kind == "Pod"), None)


def claim_of(pod: Pod, wanted: PodClaim, template: ResourceClaimTemplate) -> dict[str, Any]:
    """The claim that a pod gets of a template. Its name follows from the pod's uid, so that it is made once."""
    metadata = template.spec.metadata
    digest = hashlib.blake2b(f"{pod.metadata.uid}/{wanted.name}".encode(), digest_size=8).hexdigest()
    prefix = f"{pod.metadata.name}-{wanted.name}"[:246].rstrip("-.")
    return {
        "apiVersion": RESOURCECLAIMS.api_version,
        "kind": "ResourceClaim",
        "metadata": {
            "name": f"{prefix}-{safe_encode(digest[:5])}",
            "labels": (metadata.labels if metadata is not None else None) or {},
            "annotations": {
                **((metadata.annotations if metadata is not None else None) or {}),
                CLAIM_NAME: wanted.name,
            },
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": pod.metadata.name,
                    "uid": pod.metadata.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": msgspec.Raw(template.spec.spec),
    }
