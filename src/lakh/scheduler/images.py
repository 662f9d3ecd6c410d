"""ImageLocality: which nodes have which images, and what that scores for a class.

Nodes that have the same images share an interned *image set*, found by a digest of their encoded `status.images`. A set is an array of image numbers, so
that a hundred thousand nodes with fifty images each cost 40 MB at most, and next to nothing when they are alike.

    image set of row   1  1  0  2            0: none
    sets               []  [img 1, img 2]  [img 2]
    class's images     img 2, img 7
    mask of row        1  1  0  1            one bit an image: what `ImageScores` keeps for a class
    score by mask      {0: 0, 1: 34}         size × share of nodes that have it

Changes have a log of their own, so that a pulled image concerns nobody whose pods do not use it.
"""

from __future__ import annotations

import hashlib
from collections import Counter

import msgspec
import numpy as np
import numpy.typing as npt

from .views import NO_IMAGES, ContainerImage

__all__ = ["ImageIndex", "ImageScores"]

MIB = 1 << 20
MIN_BYTES = 23 * MIB
MAX_BYTES = 1_000 * MIB
"""Of each container; both are upstream's thresholds."""
MAX_LOG_ENTRIES = 65_536
"""Who is further behind starts over."""
MAX_IMAGES = 62
"""Different images of a class that count: as many bits as a mask has."""

Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]

_decode = msgspec.json.Decoder(list[ContainerImage] | None).decode


class ImageIndex:
    """The images of all nodes by row."""

    def __init__(self) -> None:
        self.sets: list[npt.NDArray[np.uint32]] = [np.zeros(0, np.uint32)]
        self.numbers: dict[str, int] = {}
        """Images that some node has."""
        self.size_bytes: dict[int, int] = {}
        """As the first node that had the image said."""
        self._set_of: dict[int, int] = {}
        self._set_ids: dict[bytes, int] = {}
        self._digests: dict[int, bytes] = {}
        self._users: dict[int, int] = {}
        self._free: list[int] = []
        self._image_users: dict[int, int] = {}
        self._names: dict[int, str] = {}
        self._next = 1
        self._log: list[int] = []
        self._log_start = 0

    def __repr__(self) -> str:
        return f"ImageIndex(images={len(self.numbers)}, sets={len(self.sets) - len(self._free)})"

    @property
    def sequence(self) -> int:
        """Number of changes so far."""
        return self._log_start + len(self._log)

    def changes_since(self, sequence: int) -> list[int] | None:
        """The rows that changed after `sequence`, or None when that is no longer known."""
        start = sequence - self._log_start
        return None if start < 0 else self._log[start:]

    def of_row(self, row: int) -> npt.NDArray[np.uint32]:
        """The numbers of a row's images."""
        return self.sets[self._set_of.get(row, 0)]

    def rows(self) -> dict[int, int]:
        """The rows that have images, with the index of their set."""
        return self._set_of

    def set(self, row: int, encoded: msgspec.Raw) -> None:
        """A node's `status.images`."""
        raw = bytes(encoded)
        digest = hashlib.blake2b(raw, digest_size=16).digest() if raw else b""
        old = self._set_of.get(row, 0)
        if self._digests.get(old, b"") == digest:
            return
        new = 0
        if raw:
            known = self._set_ids.get(digest)
            new = self._intern(raw, digest) if known is None else known
        if new:
            self._users[new] = self._users.get(new, 0) + 1
            self._set_of[row] = new
        else:
            self._set_of.pop(row, None)
        if old:
            self._release(old)
        if old != new:
            self._log.append(row)
            if len(self._log) > MAX_LOG_ENTRIES:
                half = len(self._log) // 2
                del self._log[:half]
                self._log_start += half

    def _intern(self, raw: bytes, digest: bytes) -> int:
        try:
            images = _decode(raw) or []
        except msgspec.MsgspecError:
            images = []
        found: dict[int, None] = {}
        for image in images:
            for name in image.names or ():
                number = self.numbers.get(name)
                if number is None:
                    number = self.numbers[name] = self._next
                    self._next += 1
                    self._names[number] = name
                    self.size_bytes[number] = image.sizeBytes
                found[number] = None
        if not found:
            return 0
        numbers = np.fromiter(found, np.uint32, len(found))
        for number in found:
            self._image_users[number] = self._image_users.get(number, 0) + 1
        if self._free:
            index = self._free.pop()
            self.sets[index] = numbers
        else:
            index = len(self.sets)
            self.sets.append(numbers)
        self._set_ids[digest] = index
        self._digests[index] = digest
        return index

    def _release(self, index: int) -> None:
        self._users[index] -= 1
        if self._users[index]:
            return
        for number in self.sets[index].tolist():
            self._image_users[number] -= 1
            if not self._image_users[number]:
                del self._image_users[number], self.size_bytes[number]
                del self.numbers[self._names.pop(number)]
        del self._users[index], self._set_ids[self._digests.pop(index)]
        self.sets[index] = self.sets[0]
        self._free.append(index)

    def forget(self, row: int) -> None:
        """The row's node is gone."""
        self.set(row, NO_IMAGES)


class ImageScores:
    """What ImageLocality gives the pods of one class, by row. `total` is the number of nodes."""

    def __init__(self, index: ImageIndex, images: tuple[str, ...], rows: int, total: int) -> None:
        self._index = index
        self._names = tuple(dict.fromkeys(images))[:MAX_IMAGES]
        self._times = [images.count(name) for name in self._names]
        self._containers = len(images)
        self._counts = [0] * len(self._names)
        self._cursor = index.sequence
        self._numbers = [index.numbers.get(name, 0) for name in self._names]
        self.masks: Ints = np.zeros(rows, np.int64)
        self._rows: Counter[int] = Counter()
        """How many rows have a mask that is not 0: a pass over all masks for each node that reports an image is 1 ms of 100,000."""
        of_set: dict[int, int] = {}
        for row, number in index.rows().items():
            mask = of_set.get(number)
            if mask is None:
                mask = of_set[number] = self._mask(row)
            if mask:
                self.masks[row] = mask
                self._count(mask, 1)
        self._total = total
        self.table = self._scores(total)

    def _mask(self, row: int) -> int:
        have = self._index.of_row(row)
        mask = 0
        for bit, number in enumerate(self._numbers):
            if number and number in have:
                mask |= 1 << bit
        return mask

    def _count(self, mask: int, sign: int) -> None:
        if not mask:
            return
        self._rows[mask] += sign
        if not self._rows[mask]:
            del self._rows[mask]
        for bit in range(len(self._names)):
            if mask >> bit & 1:
                self._counts[bit] += sign

    def _scores(self, total: int) -> dict[int, int]:
        """The score of each mask that some row has: upstream's sumImageScores and calculatePriority."""
        found = {0: 0}
        most = MAX_BYTES * self._containers
        scaled = [
            int(float(self._index.size_bytes.get(number, 0)) * (float(count) / float(total))) * times
            if total
            else 0
            for number, count, times in zip(self._numbers, self._counts, self._times, strict=True)
        ]
        for mask in self._rows:
            size = sum(value for bit, value in enumerate(scaled) if mask >> bit & 1)
            found[mask] = 100 * (min(max(size, MIN_BYTES), most) - MIN_BYTES) // (most - MIN_BYTES)
        return found

    def catch_up(self, total: int) -> tuple[list[int], bool] | None:
        """The rows whose images changed, and whether other rows' scores did; None: start over."""
        if self._cursor == self._index.sequence and total == self._total:
            return [], False
        numbers = [self._index.numbers.get(name, 0) for name in self._names]
        changes = self._index.changes_since(self._cursor)
        if changes is None or numbers != self._numbers:
            return None
        self._cursor = self._index.sequence
        changed = []
        for row in dict.fromkeys(changes):
            if row >= len(self.masks):
                return None
            old, new = int(self.masks[row]), self._mask(row)
            if old != new:
                self.masks[row] = new
                self._count(old, -1)
                self._count(new, 1)
                changed.append(row)
        if not changed and (total == self._total or not any(self._counts)):
            self._total = total
            return [], False
        self._total = total
        before, self.table = self.table, self._scores(total)
        return changed, any(before.get(mask, score) != score for mask, score in self.table.items())

    def of_rows(self, rows: Rows) -> Ints:
        """The scores of some rows."""
        return self.of_masks(self.masks[rows])

    def of_masks(self, masks: Ints) -> Ints:
        """The scores of masks."""
        found, inverse = np.unique(masks, return_inverse=True)
        return np.array([self.table[mask] for mask in found.tolist()], np.int64)[inverse]

    def of_row(self, row: int) -> int:
        """The score of one row."""
        return self.table[int(self.masks[row])]
