"""What events keep to whichever API they come by (legacyValidateEvent of upstream's validation/events.go)."""

from __future__ import annotations

from typing import Any

from lakh.apis.meta import check_label_key, report
from lakh.machinery.errors import FieldError, invalid_value, required

MAX_FIELD_BYTES = 128
MAX_MESSAGE_BYTES = 1024


def validate_legacy(event: Any, about: Any, message: str | None, controller: str) -> list[FieldError]:
    """Findings on an event of either API: `about` is the object, `controller` the name of the field that says who reports.

    An event lives where its object does. One with an `eventTime` says who reports what, and may live elsewhere.
    """
    found: list[FieldError] = []
    here, there = event.metadata.namespace or "", (about and about.namespace) or ""
    if event.eventTime:
        elsewhere = not there and here not in ("default", "kube-system")
    else:
        elsewhere = there != here if there else here not in ("", "default")
    if elsewhere:
        found.append(invalid_value("involvedObject.namespace", there, "does not match event.namespace"))
    if not event.eventTime:
        return found
    reporter = getattr(event, controller) or ""
    if not reporter:
        found.append(required(controller))
    report(check_label_key(reporter), controller, reporter, found)
    for name in ("reportingInstance", "action", "reason"):
        value = getattr(event, name) or ""
        if not value:
            found.append(required(name))
        elif len(value.encode()) > MAX_FIELD_BYTES:
            found.append(invalid_value(name, "", f"can have at most {MAX_FIELD_BYTES} characters"))
    if len((message or "").encode()) > MAX_MESSAGE_BYTES:
        found.append(invalid_value("message", "", f"can have at most {MAX_MESSAGE_BYTES} characters"))
    return found
