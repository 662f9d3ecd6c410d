"""Memory and disk quotas of the partitions, as command lines have them: `4Gi` for each, or `pods=4Gi,events=1Gi`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lakh.machinery import quantity
from lakh.server.cluster import PARTITIONS
from lakh.store.limits import Limits

MIN_BYTES = 16 << 20
"""A quota below it would not hold what a cluster needs to start."""


class QuotaError(ValueError):
    """The text is no quota."""


@dataclass(frozen=True)
class Quotas:
    """The limits of each partition; those that are not named have the default."""

    named: Mapping[str, Limits] = field(default_factory=dict)

    @classmethod
    def parse(cls, memory: str, disk: str) -> Quotas:
        """From the texts of two options, each empty for the default. Raises QuotaError.

        >>> Quotas.parse("4Gi", "events=1Gi").of("events")
        Limits(memory_bytes=4294967296, disk_bytes=1073741824)
        """
        named = {name: Limits() for name in PARTITIONS}
        for name, size_bytes in _parse("memory", memory).items():
            named[name] = replace(named[name], memory_bytes=size_bytes)
        for name, size_bytes in _parse("disk", disk).items():
            named[name] = replace(named[name], disk_bytes=size_bytes)
        return cls(named)

    def of(self, partition: str) -> Limits:
        """The limits of a partition."""
        return self.named.get(partition) or Limits()


def _parse(resource: str, text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        name, separator, amount = part.rpartition("=")
        try:
            size_bytes = quantity.parse(amount)
        except quantity.QuantityError as error:
            raise QuotaError(f"--{resource}-quota: {amount!r} is no amount: {error}") from error
        if size_bytes < MIN_BYTES:
            raise QuotaError(f"--{resource}-quota: {amount} is less than the least, {MIN_BYTES >> 20}Mi")
        if separator and name not in PARTITIONS:
            raise QuotaError(f"--{resource}-quota: no partition {name!r}; there are {', '.join(PARTITIONS)}")
        for partition in (name,) if separator else PARTITIONS:
            found[partition] = size_bytes
    return found


DEFAULT = Quotas()
