"""The binding of a new pod stays bytes: the node's name goes into the spec, and that it is scheduled into the status.

At rest, objects being encoded with their fields in order:

    {"metadata":{…,"uid":"…"},"spec":{…,"nodeName":"…",…},"status":{"conditions":[…],"phase":"Pending","qosClass":"…"}}
                                      ╰───────────────╯             ╰─────────────╯

Quotes within strings are escaped there, so no text is mistaken for a field. Of the spec only the top-level fields are told apart. A pod that somebody
said more of before than that it waits, or that may not be bound, is looked at as a whole (`Subresources.bind`); the tests compare both.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from lakh.apis import structs

_SPEC = b'},"spec":{'
_DELETED = b'"deletionTimestamp":"'
_UID = b'"uid":"%b"'
_STATUS = b',"status":{'
# A pod that nobody said anything of but that it waits, and what is kept of it.
_is_new = re.compile(
    rb'(?:"conditions":\[\{"lastProbeTime":(?:null|"[^"]*"),"lastTransitionTime":(?:null|"[^"]*"),'
    rb'(?:"message":"(?:[^"\\]|\\.)*",)?(?:"observedGeneration":\d+,)?(?:"reason":"[^"]*",)?'
    rb'"status":"False","type":"PodScheduled"\}\],)?'
    rb'("phase":"Pending","qosClass":"(?:BestEffort|Burstable|Guaranteed)"\}\})'
).fullmatch
_SCHEDULED = (
    b'"conditions":[{"lastProbeTime":null,"lastTransitionTime":"%b","status":"True","type":"PodScheduled"}],'
)

_encode = msgspec.json.Encoder().encode
_Spec: Any = msgspec.defstruct(
    "Spec",
    [(name, msgspec.Raw, None) for name in structs.core("PodSpec").__struct_encode_fields__],
    omit_defaults=True,
    forbid_unknown_fields=True,
    gc=False,
)
_decode_spec = msgspec.json.Decoder(_Spec).decode


def bound(stored: bytes, uid: str | None, node: str, now: str) -> bytes | None:
    """A new pod at rest once it is bound to a node; None when it has to be looked at as a whole. `uid`: a precondition."""
    end = stored.find(_SPEC)
    at = stored.rfind(_STATUS, end)
    status = _is_new(stored, at + len(_STATUS)) if end >= 0 and at >= 0 else None
    if status is None:
        return None
    if stored.find(_DELETED, 0, end) >= 0 or (uid and not stored.endswith(_UID % uid.encode(), 0, end)):
        return None
    try:
        spec = _decode_spec(stored[end + len(_SPEC) - 1 : at])
    except msgspec.MsgspecError:
        return None
    if spec.nodeName is not None or spec.schedulingGates is not None:
        return None
    spec.nodeName = msgspec.Raw(_encode(node))
    return b"".join(
        (
            stored[: end + len(_SPEC) - 1],
            _encode(spec),
            _STATUS,
            _SCHEDULED % now.encode(),
            status[1],
        )
    )
