"""New pods of a template that was seen before: their spec goes from bytes to bytes.

Pods of one Job, ReplicaSet or DaemonSet are sent with the same spec, but for the hostname. What is made of a spec (defaults, admission, validation,
field ownership, encoding) depends on it, its namespace, the service account and the priority class alone, so it is remembered by the bytes that were sent:

    sent    {"apiVersion":"v1","kind":"Pod","metadata":{…},"spec":{"hostname":"a-7","containers":[…]}}
                                                                              ╰╌╌╯ not in the key
    at rest {"metadata":{…},"spec":{…"name":"kube-api-access-x5b7k"…"hostname":"a-7"…},"status":{"phase":"Pending",…}}
                           ╰─────── remembered, but for the hostname and the letters that are drawn ────────────────╯

Metadata is each pod's own and is treated as any other's: 50 µs instead of 80 for a pod of a Job. Whatever is the least bit unusual is left to
`ResourceStore.create`, which also says what is wrong with it; the tests compare both.

A template is kept when its spec comes for the second time, so that pods that come alone cost one look at a table and a hash.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from lakh.apis import meta, structs
from lakh.apis.podannotations import is_special
from lakh.apis.podspec_known import KNOWN, MAX_KEY_BYTES
from lakh.apis.podspec_warnings import concerns
from lakh.apis.volumes import ACCESS_VOLUME_PREFIX
from lakh.machinery import managers
from lakh.server.storage import generate_name, new_uid
from lakh.store.errors import Conflict
from lakh.store.state import Item

if TYPE_CHECKING:
    from lakh.server.context import Context
    from lakh.server.storage import ResourceStore

TABLE = "pods"
# Templates in use at a time; one takes up to 40 KB, and 4 as a rule.
TEMPLATES_MAX = 1024
# Hashes of specs that came once.
SEEN_MAX = 16_384

_HOSTNAME = b'"hostname":"'
_is_hostname = re.compile(rb"[a-z0-9-]{1,63}").fullmatch
_ACCESS = ACCESS_VOLUME_PREFIX.encode()
# Written into selectors with the pod's own labels.
_LABEL_KEYS = b'atchLabelKeys"'
DEFAULT_ACCOUNT = "default"
_SENTINEL = b"a-hostname"
_NAME_END = b'":'

_encode = msgspec.json.Encoder().encode


class _Sent(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A pod as controllers send it."""

    metadata: structs.meta("ObjectMeta")  # type: ignore[valid-type]
    spec: msgspec.Raw
    apiVersion: str | None = None
    kind: str | None = None


class _SentSpec(msgspec.Struct, gc=False):
    """Of a spec, what is needed to remember it."""

    hostname: str | None = None
    priorityClassName: str | None = None
    serviceAccount: str | None = None
    serviceAccountName: str | None = None


_decode = msgspec.json.Decoder(_Sent).decode
_decode_spec = msgspec.json.Decoder(_SentSpec).decode


class Template(msgspec.Struct, gc=False):
    """What is made of a spec."""

    account: str
    priority_class: str
    rests_on: tuple[Any, ...] | None
    """The service account and the priority class as they were (`Admission.pod_rests_on`)."""
    names: int
    """How many names of fields are in what was sent."""
    fields: bytes
    """The spec in the managers' set."""
    before: list[bytes]
    """Spec and status at rest, cut where the name of the volume with the token is, up to the hostname if there is one…"""
    after: list[bytes]
    """… and from there on; empty if there is none."""
    mounted: bool
    terms: tuple[str, ...]

    def tail(self, hostname: bytes) -> bytes:
        """Spec and status of a new pod at rest, all that comes after metadata."""
        name = generate_name(ACCESS_VOLUME_PREFIX).encode() if self.mounted else b""
        if not hostname:
            return name.join(self.before)
        return name.join(self.before) + hostname + name.join(self.after)


class KnownPod(msgspec.Struct, gc=False):
    """A new pod as admission sees it, which settles `admitted`: whether what its template rests on is as it was."""

    metadata: Any
    template: Template
    admitted: bool = False


Key = tuple[str, bytes]
# What admission's part in a spec rests on, by namespace, service account and priority class; None where one of them is missing.
RestsOn = Callable[[str, str, str], tuple[Any, ...] | None]


class Candidate:
    """A pod whose spec is not known, but came before. `rests_on` is as it is before the pod is admitted."""

    __slots__ = ("account", "hostname", "key", "priority_class", "rests_on", "spec")

    def __init__(self, key: Key, spec: bytes, hostname: bytes, rests_on: RestsOn) -> None:
        self.key = key
        self.spec = spec
        self.hostname = hostname
        sent = _decode_spec(spec)
        self.account = sent.serviceAccountName or sent.serviceAccount or DEFAULT_ACCOUNT
        self.priority_class = sent.priorityClassName or ""
        self.rests_on = rests_on(key[0], self.account, self.priority_class)


class KnownPods:
    """The templates of one cluster."""

    def __init__(self, rests_on: RestsOn) -> None:
        self._rests_on = rests_on
        self._templates: dict[Key, Template] = {}
        self._seen: set[int] = set()

    def __len__(self) -> int:
        return len(self._templates)

    def queue(
        self, store: ResourceStore, context: Context, body: bytes, namespace: str
    ) -> asyncio.Future[Item] | Candidate | None:
        """Queues a pod of a known template. A candidate: its template may be remembered, once `create` has made the pod. Raises what admission raises."""
        if body.__class__ is not bytes:
            return None
        try:
            sent = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        metadata: Any = sent.metadata
        if (
            metadata.creationTimestamp is not None
            or metadata.deletionTimestamp is not None
            or metadata.managedFields is not None
            or metadata.resourceVersion is not None
            or (metadata.namespace and metadata.namespace != namespace)
            or (sent.apiVersion and sent.apiVersion != "v1")
            or (sent.kind and sent.kind != "Pod")
        ):
            return None
        spec = bytes(sent.spec)
        if len(spec) > MAX_KEY_BYTES:
            return None
        hostname = b""
        at = spec.find(_HOSTNAME)
        if at >= 0:
            at += len(_HOSTNAME)
            end = spec.find(b'"', at)
            hostname = spec[at:end]
            if not _is_hostname(hostname) or spec.find(_HOSTNAME, end) >= 0:
                return None
            key = namespace, spec[:at] + spec[end:]
        else:
            key = namespace, spec
        template = self._templates.get(key)
        if template is None:
            seen = hash(key)
            if seen in self._seen:
                return self._candidate(key, spec, hostname)
            if len(self._seen) >= SEEN_MAX:
                self._seen.clear()
            self._seen.add(seen)
            return None
        if hostname and meta.check_dns_label(hostname.decode()):
            return None
        return self._create(store, context, sent, template, key, hostname, body)

    def _candidate(self, key: Key, spec: bytes, hostname: bytes) -> Candidate | None:
        try:
            candidate = Candidate(key, spec, hostname, self._rests_on)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return candidate if candidate.rests_on is not None else None

    def _create(
        self,
        store: ResourceStore,
        context: Context,
        sent: Any,
        template: Template,
        place: Key,
        hostname: bytes,
        body: bytes,
    ) -> asyncio.Future[Item] | None:
        """`ResourceStore.create` for a pod of a template; None: it has to look itself."""
        metadata, namespace = sent.metadata, place[0]
        name = metadata.name or metadata.generateName
        # A name with a dot is worth a warning.
        if not name or "." in name or len(name) > 63:
            return None
        if metadata.ownerReferences is not None and len(metadata.ownerReferences) > 1:
            return None
        for key in metadata.annotations or ():
            if is_special(key) or concerns(key):
                return None
        encoded = _encode(metadata)
        # As in `Codec.decode`: as many as in the encoded form, so none was there twice. Two are `metadata` and `spec`.
        names = 2 + (sent.apiVersion is not None) + (sent.kind is not None) + template.names
        if body.count(_NAME_END) != encoded.count(_NAME_END) - encoded.count(b'":null') + names:
            return None
        metadata.namespace = namespace
        if not metadata.name:
            metadata.name = generate_name(metadata.generateName)
        metadata.uid = new_uid()
        metadata.creationTimestamp = context.now
        metadata.deletionGracePeriodSeconds = None
        metadata.generation = None
        metadata.selfLink = None
        endpoint = store.codec.endpoint("")
        entries = managers.created_entries(metadata, template.fields, context.manager, context.now, endpoint)
        metadata.managedFields = msgspec.Raw(entries)
        metadata.generation = 1
        pod = KnownPod(metadata, template)
        context.admit("create", store, pod, None)
        if not pod.admitted:
            # Its service account or priority class is another one now.
            del self._templates[place]
            return None
        if meta.validate_object_meta(
            metadata,
            namespaced=True,
            name_rule=store.strategy.validate_name,
            any_finalizer=store.strategy.any_finalizer,
        ):
            return None
        store.codec.settle_metadata(metadata)
        value = b'{"metadata":%b%b' % (_encode(metadata), template.tail(hostname))
        key = f"{TABLE}/{namespace}/{metadata.name}"
        try:
            return store.partition.put(key, value, expect=0, terms=template.terms)
        except Conflict:
            return None

    def remember(
        self, candidate: Candidate, context: Context, pod: Any, value: bytes, terms: tuple[str, ...]
    ) -> None:
        """A candidate was created: `pod` as it was encoded into `value`."""
        template = _template(candidate, context, pod, value, terms)
        if template is None:
            return
        if len(self._templates) >= TEMPLATES_MAX:
            self._templates.clear()
        self._templates[candidate.key] = template


def _template(
    candidate: Candidate, context: Context, pod: Any, value: bytes, terms: tuple[str, ...]
) -> Template | None:
    """What a created pod's template is; None where more than its spec was decisive."""
    spec, sent, hostname = pod.spec, candidate.spec, candidate.hostname
    if context.warnings or spec.schedulingGates or spec.runtimeClassName or spec.overhead:
        return None
    if KNOWN.key(spec) not in KNOWN or any(map(is_special, pod.metadata.annotations or ())):
        return None
    if (spec.hostname or "") != hostname.decode() or _ACCESS in sent:
        return None
    if hostname:
        key = candidate.key[1]
        at = key.find(_HOSTNAME) + len(_HOSTNAME)
        if _decode_spec(key[:at] + _SENTINEL + key[at:]).hostname != _SENTINEL.decode():
            return None
    fields = managers.spec_fields(pod.metadata.managedFields)
    tail = b',"spec":%b,"status":%b}' % (_encode(spec), _encode(pod.status))
    if fields is None or _LABEL_KEYS in tail or not value.endswith(tail):
        return None
    name = next((v.name for v in spec.volumes or () if v.name.startswith(ACCESS_VOLUME_PREFIX)), "").encode()
    before, after = tail, b""
    if hostname:
        before, quoted, after = tail.partition(_HOSTNAME)
        before += quoted
        after = after.removeprefix(hostname)
        if _HOSTNAME in after:
            return None
    # A name is five letters longer than its prefix, which is nowhere else.
    if tail.count(_ACCESS) != (tail.count(b'"%b"' % name) if name else 0):
        return None
    return Template(
        candidate.account,
        candidate.priority_class,
        candidate.rests_on,
        sent.count(_NAME_END),
        fields,
        before.split(name) if name else [before],
        after.split(name) if name else [after],
        bool(name),
        terms,
    )
