"""Deletes Jobs `ttlSecondsAfterFinished` after they have finished."""

from __future__ import annotations

from lakh.client.errors import ApiError, is_not_found
from lakh.client.resources import JOBS

from . import clock
from .context import Context, Controller
from .views import Job


def expires_at(job: Job) -> float | None:
    """When the Job may be deleted, in seconds since the epoch; `None` for never or not yet known."""
    ttl = job.spec.ttlSecondsAfterFinished
    if ttl is None or job.metadata.deletionTimestamp is not None:
        return None
    for condition in job.status.conditions or ():
        if condition.type in ("Complete", "Failed") and condition.status == "True":
            finished = clock.parse(condition.lastTransitionTime)
            return None if finished is None else finished + ttl
    return None


class TTLAfterFinishedController(Controller):
    """See the module."""

    name = "ttl-after-finished-controller"
    workers = 8

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._jobs = context.informers.of(JOBS, Job)
        self._jobs.add_handler(on_add=self._changed, on_update=lambda old, new: self._changed(new))

    def resync(self) -> None:
        """Look at every Job."""
        for job in self._jobs.items.values():
            self._changed(job)

    def _changed(self, job: Job) -> None:
        if expires_at(job) is not None:
            self.queue.add(f"{job.metadata.namespace}/{job.metadata.name}")

    async def reconcile(self, key: str) -> None:
        """Delete the Job if its time has come, else look again then."""
        job = self._jobs.items.get(key)
        when = expires_at(job) if job is not None else None
        if job is None or when is None:
            return
        if when > self.now():
            self.queue.add_after(key, when - self.now())
            return
        # The live Job counts: its TTL may have been extended.
        namespace, name = job.metadata.namespace, job.metadata.name
        try:
            live = await self.client.get(JOBS, name, namespace, type=Job)
            when = expires_at(live)
            if live.metadata.uid != job.metadata.uid or when is None or when > self.now():
                return
            await self.client.delete(
                JOBS,
                name,
                namespace,
                propagation_policy="Foreground",
                uid=live.metadata.uid,
                resource_version=live.metadata.resourceVersion,
            )
        except ApiError as error:
            if not is_not_found(error):
                raise
