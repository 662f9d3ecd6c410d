"""What the store refuses, as Kubernetes' clients know it.

client-go sends a request again, writes too, when the answer is 429 or 5xx *with* `Retry-After`. So that header is for refusals
that had no effect and may pass by themselves. A write that may have happened gets none: its client has to look.

| the store says | code, reason | again by itself |
| --- | --- | --- |
| Overloaded | 429 TooManyRequests | yes |
| NotWriter, JournalUnavailable | 503 ServiceUnavailable | yes |
| JournalFull, QuotaExceeded | 507 InsufficientStorage | no: somebody has to make room |
| ValueTooLarge | 413 RequestEntityTooLarge | no |
| Compacted | 410 Expired | no |
| FutureRevision | 504 Timeout, cause ResourceVersionTooLarge | yes |
| OutcomeUnknown | 504 Timeout | no |
| JournalFailed, JournalCorrupt and other trouble with the disk | 500 InternalError | no |
| closed | 503 ServiceUnavailable | no |
"""

from __future__ import annotations

import logging

from lakh.machinery import errors
from lakh.store.errors import (
    Compacted,
    FutureRevision,
    JournalClosed,
    JournalFull,
    JournalUnavailable,
    NotWriter,
    OutcomeUnknown,
    Overloaded,
    PartitionClosed,
    QuotaExceeded,
    StoreError,
    ValueTooLarge,
)

log = logging.getLogger(__name__)

RETRY_SECONDS = 1

QUOTA_HINT = (
    "; delete objects (deletes are always taken), or start the server with a larger --{resource}-quota"
)
FULL_HINT = "; free space on the disk or delete objects; reads go on"


def status_of(error: StoreError) -> errors.StatusError:
    """What a client is told."""
    match error:
        case Overloaded():
            return errors.too_many_requests(str(error), RETRY_SECONDS)
        case NotWriter() | JournalUnavailable():
            return errors.unavailable(str(error), RETRY_SECONDS)
        case QuotaExceeded():
            return errors.storage_full(
                f"partition {error.partition} is at its {error.resource} quota: {error.used_bytes} of "
                f"{error.limit_bytes} bytes are used" + QUOTA_HINT.format(resource=error.resource)
            )
        case JournalFull():
            return errors.storage_full(str(error) + FULL_HINT)
        case ValueTooLarge():
            return errors.request_entity_too_large(f"limit is {error.limit_bytes}")
        case Compacted():
            return errors.expired("The resourceVersion for the provided list is too old.")
        case FutureRevision():
            return errors.too_large_resource_version(error.revision, error.newest)
        case OutcomeUnknown():
            return errors.timeout(str(error))
        case PartitionClosed() | JournalClosed():
            return errors.unavailable(str(error))
    log.error("the store refused a request: %s", error)
    return errors.internal(str(error))
