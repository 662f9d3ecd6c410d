"""The controllers of CertificateSigningRequests: one approves kubelets' requests, one signs what is approved, one cleans up.

All are upstream's (pkg/controller/certificates). What may be approved and signed is decided in `certificaterequests`; how it is signed in
`certificateauthority`. Decisions are written against the version that they were made from.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import Any, ClassVar

import msgspec

from lakh.client.errors import ApiError, is_conflict, is_not_found
from lakh.client.resources import CERTIFICATESIGNINGREQUESTS, SUBJECTACCESSREVIEWS

from . import clock, statuses
from .bursts import all_of
from .certificaterequests import SIGNERS, CertificateSigningRequest, RequestError, approvals, is_due, parse
from .context import Context, Controller
from .views import Bare, Condition, View

log = logging.getLogger(__name__)

CLEANING_SECONDS = 3600.0
"""Between two looks at all requests for what is to be removed."""
MAX_REVIEW_SECONDS = 1000.0
"""Between two questions whether a request may be approved by now."""


class _ReviewStatus(View):
    allowed: bool = False


class _Review(View):
    status: _ReviewStatus = msgspec.field(default_factory=_ReviewStatus)


class _RequestController(Controller):
    """A controller whose keys are requests' names."""

    subresource: ClassVar[str]

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._requests = context.informers.of(CERTIFICATESIGNINGREQUESTS, CertificateSigningRequest)
        self._requests.add_handler(on_add=self._changed, on_update=lambda old, new: self._changed(new))

    def resync(self) -> None:
        """Look at every request."""
        for csr in self._requests.items.values():
            self._changed(csr)

    def _changed(self, csr: CertificateSigningRequest) -> None:
        if self.concerns(csr):
            self.queue.add(csr.metadata.name)

    def concerns(self, csr: CertificateSigningRequest) -> bool:
        """Whether there is something to do about a request."""
        raise NotImplementedError

    async def handle(self, csr: CertificateSigningRequest) -> None:
        """Do it."""
        raise NotImplementedError

    async def reconcile(self, key: str) -> None:
        """One request."""
        csr = self._requests.items.get(key)
        if csr is not None and self.concerns(csr):
            await self.handle(csr)

    async def _write(self, csr: CertificateSigningRequest, status: dict[str, Any]) -> None:
        patch = statuses.status_patch(status, csr.metadata.resourceVersion)
        try:
            await self.client.patch(
                CERTIFICATESIGNINGREQUESTS,
                csr.metadata.name,
                patch,
                subresource=self.subresource,
                type=Bare,
            )
        except ApiError as error:
            if not is_not_found(error):
                raise

    def _with(self, csr: CertificateSigningRequest, type_: str, reason: str, message: str) -> dict[str, Any]:
        """The status' conditions and one more."""
        added = Condition(
            type=type_,
            status="True",
            reason=reason,
            message=message,
            lastUpdateTime=clock.stamp(self.now()),
        )
        return {"conditions": statuses.plain([*(csr.status.conditions or ()), added])}


class CertificateApprovingController(_RequestController):
    """Approves client certificates of kubelets for whoever may have one by itself: who it is for, or who starts nodes."""

    name = "certificatesigningrequest-approving-controller"
    subresource = "approval"

    def concerns(self, csr: CertificateSigningRequest) -> bool:
        """Undecided requests."""
        return not csr.status.certificate and not csr.has("Approved", "Denied")

    async def handle(self, csr: CertificateSigningRequest) -> None:
        """Approve it if the authorizer agrees."""
        try:
            found = approvals(csr, parse(csr.spec.request))
        except RequestError as error:
            log.warning("%s: %s", csr.metadata.name, error)
            return
        for subresource, message in found:
            if await self._allowed(csr, subresource):
                await self._write(csr, self._with(csr, "Approved", "AutoApproved", message))
                return
        if found:
            # Whoever asked may be allowed to later; the older a request, the less often it is looked at.
            age = self.now() - (clock.parse(csr.metadata.creationTimestamp) or 0.0)
            self.queue.add_after(csr.metadata.name, min(max(age, 1.0), MAX_REVIEW_SECONDS))

    async def _allowed(self, csr: CertificateSigningRequest, subresource: str) -> bool:
        spec = csr.spec
        who = {"user": spec.username, "uid": spec.uid, "groups": spec.groups, "extra": spec.extra}
        review = {
            "apiVersion": SUBJECTACCESSREVIEWS.api_version,
            "kind": SUBJECTACCESSREVIEWS.kind,
            "metadata": {},
            "spec": {
                **{name: value for name, value in who.items() if value},
                "resourceAttributes": {
                    "group": CERTIFICATESIGNINGREQUESTS.group,
                    "resource": CERTIFICATESIGNINGREQUESTS.plural,
                    "subresource": subresource,
                    "verb": "create",
                },
            },
        }
        answer = await self.client.create(SUBJECTACCESSREVIEWS, review, type=_Review)
        return answer.status.allowed


class CertificateSigningController(_RequestController):
    """Signs approved requests for Kubernetes' own signers, when there is a CA to sign with."""

    name = "certificatesigningrequest-signing-controller"
    subresource = "status"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._authority = context.certificate_authority

    def concerns(self, csr: CertificateSigningRequest) -> bool:
        """Approved requests without a certificate, of signers that are ours."""
        return (
            self._authority is not None
            and csr.spec.signerName in SIGNERS
            and not csr.status.certificate
            and csr.has("Approved")
            and not csr.has("Denied", "Failed")
        )

    async def run(self) -> None:
        """Work until cancelled; without a CA there is nothing to do."""
        if self._authority is None:
            log.warning(
                "no certificates are signed: --cluster-signing-cert-file and --cluster-signing-key-file are not given"
            )
            await asyncio.Event().wait()
        await super().run()

    async def handle(self, csr: CertificateSigningRequest) -> None:
        """Sign it, or say why not."""
        assert self._authority is not None
        usages = csr.spec.usages or ()
        try:
            request = parse(csr.spec.request)
            if why := SIGNERS[csr.spec.signerName](request, usages):
                raise RequestError(why)
            pem = self._authority.sign(request, usages, csr.spec.expirationSeconds, self.now())
        except RequestError as error:
            await self._write(csr, self._with(csr, "Failed", "SignerValidationFailure", str(error)))
        else:
            await self._write(csr, {"certificate": base64.b64encode(pem).decode()})


class CertificateCleaner(Controller):
    """Removes requests that have served, were refused, or that nobody decides."""

    name = "certificatesigningrequest-cleaner-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._requests = context.informers.of(CERTIFICATESIGNINGREQUESTS, CertificateSigningRequest)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self.clean()
            await asyncio.sleep(CLEANING_SECONDS)

    async def clean(self) -> None:
        """One pass."""
        now = self.now()
        error = await all_of([csr for csr in self._requests.items.values() if is_due(csr, now)], self._remove)
        if error is not None:
            raise error

    async def _remove(self, csr: CertificateSigningRequest) -> None:
        try:
            await self.client.delete(
                CERTIFICATESIGNINGREQUESTS,
                csr.metadata.name,
                uid=csr.metadata.uid,
                resource_version=csr.metadata.resourceVersion,
            )
        except ApiError as error:
            # What has changed meanwhile is judged anew in the next pass.
            if not is_not_found(error) and not is_conflict(error):
                raise
