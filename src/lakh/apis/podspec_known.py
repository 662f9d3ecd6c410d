"""Pod specs that were looked at before: pods of one template have the same spec, but for their hostname and the name of the volume with their token.

`KNOWN` remembers by their JSON those that validation and warnings found nothing in. Two specs have the same key only if they differ in nothing but

* `hostname`, which is the pod's own and is checked each time;
* the five letters that were drawn for the volume `kube-api-access-…`, which are replaced wherever they are, by as many others. Whatever a rule asks of
  a name it answers alike for other letters of the same alphabet, and what was equal stays equal. A spec that contains the replacement is not remembered.

Rules that look beyond the spec have no place here: a volume whose claim is named after the pod is not remembered either.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from lakh.apis.volumes import ACCESS_VOLUME_PREFIX

# Templates in use at a time; a key takes 1 to 4 KB.
KNOWN_MAX = 2048
# Longer specs are looked at each time.
MAX_KEY_BYTES = 16_384
_OWN = "#"
_HIDDEN = b"#####"
_encode = msgspec.json.Encoder().encode
_PREFIX = b'"' + ACCESS_VOLUME_PREFIX.encode()
_is_drawn = re.compile(rb'[bcdfghjklmnpqrstvwxz2456789]{5}"').match


def fields_key(spec: Any) -> bytes:
    """The JSON of a spec with any hostname alike: the same for specs that have the same fields."""
    hostname = spec.hostname
    if not hostname:
        return _encode(spec)
    spec.hostname = _OWN
    try:
        return _encode(spec)
    finally:
        spec.hostname = hostname


class KnownSpecs:
    """The specs in which nothing was found."""

    def __init__(self) -> None:
        self._keys: set[bytes] = set()
        self.newest: Any = None
        """The last one that was looked up or added, itself: who looks at it next need not make its key again."""

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: bytes | None) -> bool:
        return key in self._keys

    def key(self, spec: Any) -> bytes | None:
        """What a spec is remembered by; None for one that is not to be."""
        key = fields_key(spec)
        if _HIDDEN in key or b'"ephemeral":' in key or len(key) > MAX_KEY_BYTES:
            return None
        at = key.find(_PREFIX)
        if at >= 0 and _is_drawn(key, at + len(_PREFIX)):
            name = key[at + 1 : at + len(_PREFIX) + len(_HIDDEN)]
            key = key.replace(name, _PREFIX[1:] + _HIDDEN)
        return key

    def add(self, key: bytes) -> None:
        """Nothing was found in the spec of this key."""
        if len(self._keys) >= KNOWN_MAX:
            self._keys.clear()
        self._keys.add(key)


KNOWN = KnownSpecs()
