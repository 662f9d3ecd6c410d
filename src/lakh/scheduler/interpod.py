"""Which pods count for which: the sets of pods that spread constraints and affinity terms speak of, counted as pods come and go.

    Identity     what others may select a pod by: namespace, labels, controller. Shared by all pods that have the same.
    Selection    a set of pods: terms of namespaces and label selector that all must match. `rows` has, sparsely, how many of them run on which row.
    Carrier      a term that placed pods carry against or towards *others* (required anti-affinity, or a weight for scoring):
                 a selection, a topology key, and the rows of the pods that carry it.

                   identity web ──matched──> selection app=web ──carriers──> (hostname, required anti-affinity) rows {3: 1, 8: 1}
                       rows {3: 1, 8: 1}         rows {3: 1, 8: 1}

A pod's own terms and the carriers that match it make its `InterPod`; a class with one is a class of its own, so that a decision knows all
that concerns it. Pods without terms that nobody's terms match keep their plain class, whatever labels they have.

A placement changes the rows of what its identity matches and what its class carries: 1 µs each. A new selection looks at the identities
of its namespaces once. Whoever derived counts from `rows` hears of a change through the columns' change log.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import msgspec

from lakh.machinery import selectors
from lakh.machinery.selectors import Selector, SelectorError

from .podclass import PodClass
from .views import LabelSelector, OwnerReference, PodAffinityTerm, PodMeta, SpreadConstraint

__all__ = [
    "PER_POD_LABELS",
    "Carrier",
    "Identity",
    "InterPod",
    "InterPodIndex",
    "Own",
    "Selection",
    "Spread",
    "own_labels",
    "wants",
]

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
REQUIRED_AFFINITY = 1 << 20
"""The weight of a carrier whose weight is what the scored pod's profile says."""
REQUIRED_ANTI = 0
"""The weight of a carrier that is no score but a refusal."""
MAX_EFFECTIVE = 16_384
"""Classes with inter-pod terms kept for sharing."""
MAX_IDLE_SELECTIONS = 4_096
"""Selections that may be without use before they are looked for and dropped."""
SPREADING_OWNERS = ("ReplicaSet", "StatefulSet", "ReplicationController")

PER_POD_LABELS = frozenset(
    (
        "batch.kubernetes.io/job-completion-index",
        "apps.kubernetes.io/pod-index",
        "statefulset.kubernetes.io/pod-name",
    )
)
"""Labels that differ from pod to pod of one workload: no part of an identity until a selector speaks of them, so that a Job's pods share one."""

RowCounts = dict[int, int]
Own = tuple[tuple[str, str], ...]
"""A pod's labels that are its own: name and value."""
Term = tuple[frozenset[str], Selector, Selector]
"""Namespaces by name, namespaces by label, pods by label."""


class Identity:
    """What a pod is selected by."""

    __slots__ = (
        "__weakref__",
        "active",
        "controller",
        "labels",
        "matched",
        "namespace",
        "resolved",
        "rows",
        "seen",
    )

    def __init__(self, namespace: str, labels: dict[str, str], controller: tuple[str, str] | None) -> None:
        self.namespace = namespace
        self.labels = labels
        self.controller = controller
        self.matched: list[Selection] = []
        self.seen = -1
        """The index's `generation` that `matched` is of; while it has rows the index keeps `matched` right."""
        self.rows: RowCounts = {}
        self.active: RowCounts = {}
        """Without terminating pods."""
        self.resolved: tuple[PodClass, int, PodClass] | None = None

    def __repr__(self) -> str:
        return f"Identity({self.namespace}, {self.labels})"


class Selection:
    """A set of pods, and how many of them are on which row."""

    __slots__ = ("active_only", "carriers", "rows", "terms")

    def __init__(self, terms: tuple[Term, ...], *, active_only: bool) -> None:
        self.terms = terms
        self.active_only = active_only
        """Terminating pods do not count: PodTopologySpread's way."""
        self.rows: RowCounts = {}
        self.carriers: dict[tuple[str, int], Carrier] = {}

    def __repr__(self) -> str:
        return f"Selection({self.terms}, pods={sum(self.rows.values())})"

    def matches(self, identity: Identity, namespace_labels: dict[str, str]) -> bool:
        """Whether a pod of this identity is in the set."""
        return bool(self.terms) and all(
            (identity.namespace in names or by_label.matches(namespace_labels))
            and labels.matches(identity.labels)
            for names, by_label, labels in self.terms
        )

    def namespaces(self) -> frozenset[str] | None:
        """The namespaces its pods are in; None when these depend on the namespaces' labels."""
        for names, by_label, _ in self.terms:
            if by_label.nothing:
                return names
        return None


class Carrier:
    """A term of placed pods that concerns the pods of a selection."""

    __slots__ = ("rows", "selection", "topology_key", "weight")

    def __init__(self, selection: Selection, topology_key: str, weight: int) -> None:
        self.selection = selection
        self.topology_key = topology_key
        self.weight = weight
        self.rows: RowCounts = {}

    def __repr__(self) -> str:
        return f"Carrier({self.topology_key}, {self.weight}, rows={len(self.rows)})"


@dataclass(frozen=True, slots=True)
class Spread:
    """A topology spread constraint."""

    key: str
    max_skew: int
    selection: Selection
    min_domains: int = 1
    self_match: bool = False
    honor_affinity: bool = True
    honor_taints: bool = False


@dataclass(frozen=True, slots=True)
class InterPod:
    """All that a class's pods and the placed pods want of each other."""

    hard: tuple[Spread, ...] = ()
    soft: tuple[Spread, ...] = ()
    require_all: bool = True
    """Nodes without all soft constraints' labels score nothing; not so for the default constraints."""
    affinity_keys: tuple[str, ...] = ()
    affinity: Selection | None = None
    """The pods that match all required affinity terms."""
    affinity_self: bool = False
    anti: tuple[tuple[str, Selection], ...] = ()
    existing_anti: tuple[Carrier, ...] = ()
    scores: tuple[tuple[str, Selection, int], ...] = ()
    existing_scores: tuple[tuple[Carrier, int], ...] = ()
    """With their weights."""

    @property
    def filters(self) -> bool:
        """Whether it can refuse a node."""
        return bool(self.hard or self.affinity_keys or self.anti or self.existing_anti)


def bump(rows: RowCounts, row: int, amount: int) -> None:
    """Add to a sparse count."""
    count = rows.get(row, 0) + amount
    if count:
        rows[row] = count
    else:
        rows.pop(row, None)


class InterPodIndex:
    """Identities, selections and carriers of one cluster."""

    def __init__(self) -> None:
        self.version = 0
        """Counts what may change which `InterPod` a pod has."""
        self._identities: weakref.WeakValueDictionary[bytes, Identity] = weakref.WeakValueDictionary()
        self._placed: dict[str, dict[Identity, None]] = {}
        """Identities with placed pods, by namespace."""
        self._selections: dict[tuple[tuple[Term, ...], bool], Selection] = {}
        self._by_label: dict[tuple[str, str], list[Selection]] = {}
        self._unlabelled: list[Selection] = []
        self._in_use = 0
        self._generation = 0
        self._namespaces: dict[str, dict[str, str]] = {}
        self._services: dict[str, dict[str, dict[str, str]]] = {}
        self._owners: dict[tuple[str, str, str], Selector] = {}
        self._effective: OrderedDict[tuple[PodClass, InterPod], PodClass] = OrderedDict()
        self._carriers: dict[tuple[PodClass, str], tuple[Carrier, ...]] = {}
        self._encode = msgspec.json.Encoder(order="sorted").encode
        self._selected: set[str] = set()
        """The PER_POD_LABELS that selectors speak of."""
        self._left_out = PER_POD_LABELS
        """The others."""
        self.on_selected: Callable[[], None] = lambda: None
        """Called when there is one more: all identities are to be made anew, by `widened`."""

    def __repr__(self) -> str:
        return f"InterPodIndex(selections={len(self._selections)}, version={self.version})"

    # What the API says

    def identity(self, metadata: PodMeta) -> Identity:
        """The identity of a pod, shared with its equals."""
        labels = metadata.labels or {}
        if not PER_POD_LABELS.isdisjoint(labels):
            left_out = self._left_out
            labels = {key: value for key, value in labels.items() if key not in left_out}
        return self._identity(metadata.namespace or "", labels, _controller(metadata.ownerReferences))

    def _identity(
        self, namespace: str, labels: dict[str, str], controller: tuple[str, str] | None
    ) -> Identity:
        key = self._encode((namespace, labels, controller))
        found = self._identities.get(key)
        if found is None:
            found = self._identities[key] = Identity(namespace, labels, controller)
        return found

    def widened(self, identity: Identity, own: Own) -> Identity:
        """The identity with those of the pod's own labels that selectors speak of by now."""
        more = {key: value for key, value in own if key in self._selected}
        return self._identity(identity.namespace, {**identity.labels, **more}, identity.controller)

    def _select(self, keys: Iterable[str]) -> None:
        """A selector that speaks of these labels is in use from now on."""
        new = PER_POD_LABELS.intersection(keys) - self._selected
        if new:
            self._selected |= new
            self._left_out = PER_POD_LABELS - self._selected
            self.version += 1
            self.on_selected()

    def set_namespace(self, name: str, labels: dict[str, str] | None) -> bool:
        """A namespace's labels; None when it is gone. Returns whether pods are selected otherwise now."""
        if self._namespaces.get(name, {}) == (labels or {}):
            return False
        if labels:
            self._namespaces[name] = labels
        else:
            self._namespaces.pop(name, None)
        by_label = [s for s in self._selections.values() if s.namespaces() is None]
        self.version += 1
        self._generation += 1
        for identity in self._placed.get(name, ()) if by_label else ():
            for sign in (-1, 1):
                for selection in identity.matched:
                    for row, count in (identity.active if selection.active_only else identity.rows).items():
                        bump(selection.rows, row, sign * count)
                if sign < 0:
                    identity.matched = self._find(identity)
        return bool(by_label)

    def set_service(self, namespace: str, name: str, selector: dict[str, str] | None) -> None:
        """A service's selector; None when it is gone or has none."""
        services = self._services.setdefault(namespace, {})
        if services.get(name) == (selector or None):
            return
        if selector:
            services[name] = selector
            self._select(selector)
        else:
            services.pop(name, None)
        self.version += 1

    def set_owner(self, kind: str, namespace: str, name: str, selector: LabelSelector | None) -> None:
        """The selector of a ReplicaSet, StatefulSet or ReplicationController; None when it is gone."""
        key = kind, namespace, name
        try:
            parsed = None if selector is None else selectors.of_label_selector(selector)
        except SelectorError:
            parsed = None
        if self._owners.get(key) == parsed:
            return
        if parsed is None:
            del self._owners[key]
        else:
            self._owners[key] = parsed
            self._select(r.key for r in parsed.requirements)
        self.version += 1

    # Counting

    def count(self, identity: Identity, cls: PodClass, row: int, sign: int, *, active: bool) -> None:
        """Count a pod on a row (`sign` 1) or no longer (-1)."""
        if not identity.rows:
            self.matched(identity)
            self._placed.setdefault(identity.namespace, {})[identity] = None
        bump(identity.rows, row, sign)
        if not identity.rows:
            identity.seen = self._generation
            of_namespace = self._placed[identity.namespace]
            del of_namespace[identity]
            if not of_namespace:
                del self._placed[identity.namespace]
        if active:
            bump(identity.active, row, sign)
        for selection in identity.matched:
            if active or not selection.active_only:
                bump(selection.rows, row, sign)
        if cls.carries_terms:
            for carrier in self.carriers(cls, identity.namespace):
                bump(carrier.rows, row, sign)

    def count_terminating(self, identity: Identity, row: int, sign: int) -> None:
        """A placed pod has begun to terminate (`sign` -1)."""
        bump(identity.active, row, sign)
        for selection in self.matched(identity):
            if selection.active_only:
                bump(selection.rows, row, sign)

    def matched(self, identity: Identity) -> list[Selection]:
        """The selections that a pod of this identity is in."""
        if not identity.rows and identity.seen != self._generation:
            identity.matched = self._find(identity)
            identity.seen = self._generation
        return identity.matched

    def _find(self, identity: Identity) -> list[Selection]:
        candidates = [*self._unlabelled]
        for pair in identity.labels.items():
            candidates += self._by_label.get(pair, ())
        namespace_labels = self._namespaces.get(identity.namespace, {})
        return [selection for selection in candidates if selection.matches(identity, namespace_labels)]

    def _selection(self, terms: tuple[Term, ...], *, active_only: bool) -> Selection:
        key = terms, active_only
        found = self._selections.get(key)
        if found is None:
            if len(self._selections) > 2 * self._in_use + MAX_IDLE_SELECTIONS:
                self._drop_idle()
            for _, _, labels in terms:
                self._select(r.key for r in labels.requirements)
            found = self._selections[key] = Selection(terms, active_only=active_only)
            self._index(found)
            self._match_all(found)
        return found

    def _index(self, selection: Selection) -> None:
        for _, _, labels in selection.terms:
            for requirement in labels.requirements:
                if requirement.operator in ("=", "==", "in") and len(requirement.values) == 1:
                    pair = requirement.key, requirement.values[0]
                    self._by_label.setdefault(pair, []).append(selection)
                    return
        self._unlabelled.append(selection)

    def _match_all(self, selection: Selection) -> None:
        self._generation += 1
        names = selection.namespaces()
        for namespace in tuple(self._placed) if names is None else names:
            labels = self._namespaces.get(namespace, {})
            for identity in self._placed.get(namespace, ()):
                if selection.matches(identity, labels):
                    identity.matched.append(selection)
                    for row, count in (identity.active if selection.active_only else identity.rows).items():
                        bump(selection.rows, row, count)

    def _drop_idle(self) -> None:
        """Forget selections that neither a known class nor a placed pod's term speaks of."""
        used = {s for cls in self._effective.values() if cls.interpod for s in _selections(cls.interpod)}
        used.update(s for s in self._selections.values() if any(c.rows for c in s.carriers.values()))
        self._carriers = {
            key: carriers
            for key, carriers in self._carriers.items()
            if all(carrier.selection in used for carrier in carriers)
        }
        self._selections = {key: s for key, s in self._selections.items() if s in used}
        self._by_label, self._unlabelled = {}, []
        for selection in used:
            self._index(selection)
        for identities in self._placed.values():
            for identity in identities:
                identity.matched = [s for s in identity.matched if s in used]
        self.version += 1
        self._generation += 1
        self._in_use = len(used)

    def carriers(self, cls: PodClass, namespace: str) -> tuple[Carrier, ...]:
        """The terms that a placed pod of this class and namespace carries."""
        key = cls, namespace
        found = self._carriers.get(key)
        if found is None:
            if len(self._carriers) > MAX_EFFECTIVE:
                self._carriers.clear()
            found = self._carriers[key] = tuple(self._carried(cls, namespace))
        return found

    def _carried(self, cls: PodClass, namespace: str) -> Iterator[Carrier]:
        affinity, anti = _parts(cls)
        required, preferred = affinity
        terms = [(term, REQUIRED_AFFINITY) for term in required] + list(preferred)
        terms += [(term, REQUIRED_ANTI) for term in anti[0]]
        terms += [(term, -weight) for term, weight in anti[1]]
        for term, weight in terms:
            selection = self._selection((resolve_term(term, namespace),), active_only=False)
            key = term.topologyKey, weight
            carrier = selection.carriers.get(key)
            if carrier is None:
                carrier = selection.carriers[key] = Carrier(selection, *key)
                self.version += 1
            yield carrier

    # Classes

    def resolve(self, cls: PodClass, identity: Identity) -> PodClass:
        """The class of a pod with all that other pods want of it and it of them."""
        known = identity.resolved
        if known is not None and known[0] is cls and known[1] == self.version:
            return known[2]
        if cls.interpod is not None and cls.base is not None:
            cls = cls.base
        if cls.carries_terms:
            self.carriers(cls.base or cls, identity.namespace)
        interpod = self._interpod(cls, identity)
        result = cls
        if interpod is not None:
            key = cls, interpod
            found = self._effective.get(key)
            if found is None:
                found = self._effective[key] = dataclasses.replace(
                    cls, interpod=interpod, base=cls.base or cls
                )
                if len(self._effective) > MAX_EFFECTIVE:
                    self._effective.popitem(last=False)
            else:
                self._effective.move_to_end(key)
            result = found
        identity.resolved = cls, self.version, result
        return result

    def _interpod(self, cls: PodClass, identity: Identity) -> InterPod | None:
        spec, namespace, profile = cls.spec, identity.namespace, cls.profile
        hard: tuple[Spread, ...] = ()
        soft: tuple[Spread, ...] = ()
        if constraints := spec.topologySpreadConstraints:
            hard = tuple(self._spread(c, identity) for c in constraints if c.whenUnsatisfiable != SOFT)
            soft = tuple(self._spread(c, identity) for c in constraints if c.whenUnsatisfiable == SOFT)
        elif profile.spread_defaults and (default := self._default_selector(identity)) is not None:
            selection = self._selection(
                ((frozenset((namespace,)), selectors.NOTHING, default),), active_only=True
            )
            for given in profile.spread_defaults:
                spread = Spread(
                    given.key,
                    given.max_skew,
                    selection,
                    given.min_domains,
                    honor_affinity=given.honor_affinity,
                    honor_taints=given.honor_taints,
                )
                if given.hard:
                    hard = (*hard, spread)
                else:
                    soft = (*soft, spread)
        if "PodTopologySpread" not in profile.filters:
            hard = ()
        if not profile.spread_weight:
            soft = ()
        refuses, weighs = "InterPodAffinity" in profile.filters, profile.interpod_weight > 0
        affinity_keys: tuple[str, ...] = ()
        affinity: Selection | None = None
        anti: tuple[tuple[str, Selection], ...] = ()
        scores: tuple[tuple[str, Selection, int], ...] = ()
        if cls.carries_terms:
            (required, preferred), (anti_required, anti_preferred) = _parts(cls)
            if required and refuses:
                affinity_keys = tuple(term.topologyKey for term in required)
                affinity = self._selection(
                    tuple(resolve_term(term, namespace) for term in required), active_only=False
                )
            if refuses:
                anti = tuple((term.topologyKey, self._of_term(term, namespace)) for term in anti_required)
            scores = tuple(
                (term.topologyKey, self._of_term(term, namespace), sign * weight)
                for sign, terms in ((1, preferred), (-1, anti_preferred))
                for term, weight in terms
                if weighs
            )
        carriers = [c for s in self.matched(identity) if s.carriers for c in s.carriers.values()]
        existing_anti = tuple(c for c in carriers if refuses and c.weight == REQUIRED_ANTI)
        if profile.ignore_preferred_of_existing and not scores:
            weighs = False
        existing_scores = tuple(
            (c, profile.hard_affinity_weight if c.weight == REQUIRED_AFFINITY else c.weight)
            for c in carriers
            if weighs
            and c.weight != REQUIRED_ANTI
            and (c.weight != REQUIRED_AFFINITY or profile.hard_affinity_weight)
        )
        if not (hard or soft or affinity_keys or anti or scores or existing_anti or existing_scores):
            return None
        matched = set(self.matched(identity))
        return InterPod(
            hard=tuple(dataclasses.replace(c, self_match=c.selection in matched) for c in hard),
            soft=soft,
            require_all=bool(constraints) or not profile.system_defaulted,
            affinity_keys=affinity_keys,
            affinity=affinity,
            affinity_self=affinity in matched,
            anti=anti,
            scores=scores,
            existing_anti=existing_anti,
            existing_scores=existing_scores,
        )

    def _of_term(self, term: PodAffinityTerm, namespace: str) -> Selection:
        return self._selection((resolve_term(term, namespace),), active_only=False)

    def _spread(self, constraint: SpreadConstraint, identity: Identity) -> Spread:
        labels = parse(constraint.labelSelector)
        self._select(constraint.matchLabelKeys or ())
        own = {k: identity.labels[k] for k in constraint.matchLabelKeys or () if k in identity.labels}
        if own and not labels.nothing:
            labels = Selector((*labels.requirements, *selectors.of_labels(own).requirements))
        names = frozenset((identity.namespace,))
        return Spread(
            constraint.topologyKey,
            constraint.maxSkew,
            self._selection(((names, selectors.NOTHING, labels),), active_only=True),
            1 if constraint.minDomains is None else constraint.minDomains,
            honor_affinity=constraint.nodeAffinityPolicy != "Ignore",
            honor_taints=constraint.nodeTaintsPolicy == "Honor",
        )

    def _default_selector(self, identity: Identity) -> Selector | None:
        """The selectors of the pod's services and of its controller together; None when it has neither."""
        merged: dict[str, str] = {}
        for selector in self._services.get(identity.namespace, {}).values():
            if all(identity.labels.get(key) == value for key, value in selector.items()):
                merged.update(selector)
        found = list(selectors.of_labels(merged).requirements) if merged else []
        if identity.controller is not None:
            kind, name = identity.controller
            owner = self._owners.get((kind, identity.namespace, name))
            if owner is not None and not owner.nothing:
                found += owner.requirements
        return Selector(list(dict.fromkeys(found))) if found else None


SOFT = "ScheduleAnyway"


def own_labels(labels: dict[str, str] | None) -> Own:
    """Those of a pod's labels that are its own, shared with other workloads' pods of the same index."""
    if not labels or PER_POD_LABELS.isdisjoint(labels):
        return ()
    own = tuple([(key, labels[key]) for key in _SORTED_LABELS if key in labels])
    if len(_OWN) >= MAX_OWN:
        _OWN.clear()
    return _OWN.setdefault(own, own)


_SORTED_LABELS = sorted(PER_POD_LABELS)
MAX_OWN = 65_536
_OWN: dict[Own, Own] = {}


def parse(selector: LabelSelector | None) -> Selector:
    """A label selector; one that is invalid selects nothing."""
    try:
        return selectors.of_label_selector(selector)
    except SelectorError:
        return selectors.NOTHING


def resolve_term(term: PodAffinityTerm, namespace: str) -> Term:
    """An affinity term of a pod in `namespace`."""
    names = term.namespaces or []
    if not names and term.namespaceSelector is None:
        names = [namespace]
    return frozenset(names), parse(term.namespaceSelector), parse(term.labelSelector)


Required = list[PodAffinityTerm]
Preferred = list[tuple[PodAffinityTerm, int]]


def _parts(cls: PodClass) -> tuple[tuple[Required, Preferred], tuple[Required, Preferred]]:
    affinity = cls.spec.affinity
    found: list[tuple[Required, Preferred]] = []
    for part in (affinity.podAffinity, affinity.podAntiAffinity) if affinity else (None, None):
        required = part.requiredDuringSchedulingIgnoredDuringExecution if part else None
        preferred = part.preferredDuringSchedulingIgnoredDuringExecution if part else None
        found.append((required or [], [(p.podAffinityTerm, p.weight) for p in preferred or () if p.weight]))
    return found[0], found[1]


def _controller(owners: Iterable[OwnerReference] | None) -> tuple[str, str] | None:
    for owner in owners or ():
        if owner.controller and owner.kind in SPREADING_OWNERS:
            return owner.kind, owner.name
    return None


def _selections(interpod: InterPod) -> Iterator[Selection]:
    for spread in (*interpod.hard, *interpod.soft):
        yield spread.selection
    if interpod.affinity is not None:
        yield interpod.affinity
    for _, selection in interpod.anti:
        yield selection
    for _, selection, _ in interpod.scores:
        yield selection
    for carrier in (*interpod.existing_anti, *(carrier for carrier, _ in interpod.existing_scores)):
        yield carrier.selection


def wants(cls: PodClass, counted: set[Selection]) -> bool:
    """Whether a class may fit better after pods of these selections were placed."""
    interpod = cls.interpod
    return interpod is not None and (
        interpod.affinity in counted or any(spread.selection in counted for spread in interpod.hard)
    )
