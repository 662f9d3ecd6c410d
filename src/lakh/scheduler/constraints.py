"""What a pod wants of objects beside nodes and pods: volumes by claim, devices by claim.

Claims are a pod's own, so they take no part in its class. But what they *mean* for the choice of a node is the same for many pods: the
claims of one template ask for the same devices, the volumes of one zone have the same affinity. So a pod's claims are resolved
to a *constraint*, which pods with the same wants share, and a class with constraints is a class of its own, with a candidate
order of its own:

    pod web-7    claim web-7-data → volume pvc-31 ∈ zone b ┐
    pod web-9    claim web-9-data → volume pvc-44 ∈ zone b ┴→ one constraint "zone in (b)" → one class, one candidate order

Pods without claims never come here: their class, its key and its costs are as if this module did not exist.

A constraint's verdict on a row may change with the row (the change log tells), or with anything else: then its `version` does.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from .disks import Disk, disks_of

if TYPE_CHECKING:
    from .podclass import PodClass
    from .views import Pod

__all__ = [
    "UNLIMITED",
    "ConstrainedClasses",
    "Constraint",
    "Needs",
    "needs_of",
    "passes",
    "row_passes",
    "versions",
]

Rows = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

MAX_CONSTRAINED = 16_384
"""Classes with constraints kept for sharing."""
UNLIMITED = 1 << 40
"""Room where nothing limits it."""


class Needs:
    """The claims and disks that a pod names."""

    __slots__ = ("claims", "disks", "name", "namespace", "owned", "uid", "volumes")

    def __init__(
        self,
        uid: str,
        namespace: str,
        name: str,
        volumes: tuple[str, ...],
        owned: frozenset[str],
        claims: tuple[tuple[str, str | None, bool], ...],
        disks: tuple[Disk, ...] = (),
    ) -> None:
        self.uid = uid
        self.namespace = namespace
        self.name = name
        self.volumes = volumes
        """Names of PersistentVolumeClaims."""
        self.owned = owned
        """Those of them that are made for the pod: ephemeral volumes."""
        self.claims = claims
        """Resource claims: name in the pod, name of the ResourceClaim (None: not made yet; empty: none needed), whether it is made for
        the pod from a template."""
        self.disks = disks

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Needs) and (self.uid, self.volumes, self.claims, self.disks) == (
            other.uid,
            other.volumes,
            other.claims,
            other.disks,
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Needs({self.namespace}/{self.name}, volumes={self.volumes}, claims={self.claims})"


class Constraint(Protocol):
    """What a pod's claims of one kind mean for nodes."""

    late: bool
    """Judged after inter-pod affinity, as DynamicResources is."""

    @property
    def version(self) -> int:
        """Grows when verdicts may have changed otherwise than by changes of rows."""

    def passes(self, rows: Rows) -> Bools:
        """Which rows will do."""

    def row_passes(self, row: int) -> bool:
        """Whether this row will do."""

    def refusals(self, rows: Rows) -> list[tuple[Rows, str, bool]]:
        """Why rows that do not pass do not: rows, reason, and whether removing pods from the node might help; a row may have several reasons."""

    def may_pass(self, rows: Rows) -> Bools:
        """Which rows might do once pods were removed from the node."""

    def room(self, rows: Rows) -> Ints | None:
        """How many pods that want this each row could take; None where that is not limited."""

    def reserve(self, uid: str, needs: Needs | None, node: str) -> None:
        """The pod is placed on a node: what it takes there is taken. `needs` is None where it names no claims itself."""


def needs_of(pod: Pod) -> Needs | None:
    """What a pod needs beside its node; None for most pods."""
    spec = pod.spec
    volumes, wanted = spec.volumes, spec.resourceClaims
    if volumes is None and wanted is None:
        return None
    metadata = pod.metadata
    names: dict[str, None] = {}
    owned: set[str] = set()
    for volume in volumes or ():
        if volume.persistentVolumeClaim is not None:
            names[volume.persistentVolumeClaim.claimName] = None
        elif volume.ephemeral is not None:
            name = f"{metadata.name}-{volume.name}"
            names[name] = None
            owned.add(name)
    claims: list[tuple[str, str | None, bool]] = []
    statuses = {status.name: status for status in pod.status.resourceClaimStatuses or ()}
    for claim in wanted or ():
        if claim.resourceClaimName:
            claims.append((claim.name, claim.resourceClaimName, False))
        elif claim.name in statuses:
            claims.append((claim.name, statuses[claim.name].resourceClaimName or "", True))
        else:
            claims.append((claim.name, None, True))
    disks = disks_of(volumes) if volumes else ()
    if not names and not claims and not disks:
        return None
    return Needs(
        metadata.uid,
        metadata.namespace or "",
        metadata.name,
        tuple(names),
        frozenset(owned),
        tuple(claims),
        disks,
    )


class ConstrainedClasses:
    """Classes with constraints, shared by pods that want the same."""

    def __init__(self) -> None:
        self._classes: OrderedDict[tuple[Any, ...], PodClass] = OrderedDict()

    def of(
        self,
        cls: PodClass,
        problem: str | None,
        constraints: tuple[Constraint, ...],
        backed: tuple[tuple[str, str], ...] = (),
    ) -> PodClass:
        """The class of `cls`'s spec with these constraints, or with this problem. `backed` are resources that a constraint judges in place of
        NodeResourcesFit, and their device classes."""
        base = cls.base or cls
        elsewhere = {name for name, _ in backed}
        if problem is None and not constraints:
            return base
        key = base, problem, constraints, backed
        found = self._classes.get(key)
        if found is None:
            found = self._classes[key] = dataclasses.replace(
                base,
                problem=problem or base.problem,
                constraints=constraints,
                base=base,
                needs=tuple(need for need in base.needs if need[0] not in elsewhere),
                backed=backed,
            )
            if len(self._classes) > MAX_CONSTRAINED:
                self._classes.popitem(last=False)
        else:
            self._classes.move_to_end(key)
        return found


def passes(cls: PodClass, rows: Rows) -> Bools:
    """Which rows pass all constraints of a class."""
    ok: Bools = np.ones(len(rows), np.bool_)
    for constraint in cls.constraints:
        ok &= constraint.passes(rows)
    return ok


def row_passes(cls: PodClass, row: int) -> bool:
    """Whether one row passes them."""
    return all(constraint.row_passes(row) for constraint in cls.constraints)


def versions(constraints: Iterable[Constraint]) -> int:
    """A number that grows with any of the constraints' versions."""
    return sum(constraint.version for constraint in constraints)
