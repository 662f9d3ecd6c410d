"""Cold values packed: what is in nobody's window any more and was not written since takes a tenth of its bytes.

Objects that came from one template differ in names, addresses and times. So a value is compressed (DEFLATE) against another one of its family: the items of a
table whose names begin alike. Beside a pod of its Deployment a pod of 4.8 KB is 350 bytes, beside another event one of 1 KB is 200.

A value that a reader asks for is unpacked for that reader and stays packed. A value is packed once, by the write that pushes its last event out of the history
window, and only in a state of more than `PACK_ABOVE_BYTES`: below, memory is not short and nobody pays.

Costs, measured: packing a pod 19 µs, an event 16; unpacking 4 to 5.

    >>> from lakh.store.state import Item
    >>> packer, template = Packer(), b'{"spec":{"containers":[{"image":"registry.example/train:1"}]},"name":"%s"}' * 8
    >>> values = [template.replace(b"%s", name) for name in (b"a-1", b"a-2")]
    >>> items = [Item(f"pods/default/a-{number}", value, (), 2, 2) for number, value in enumerate(values)]
    >>> for item in items:
    ...     packer.pack(item)
    >>> [item.value for item in items] == values, [item.is_packed for item in items]
    (True, [False, True])
"""

from __future__ import annotations

import re
import zlib
from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from lakh.store.state import Item

PACK_ABOVE_BYTES = 1 << 30
"""Of live data in a partition: about 200,000 pods."""
VALUE_MIN_BYTES = 256
VALUE_MAX_BYTES = 64 << 10
"""Larger ones are rare, and would hold the loop for longer than half a millisecond."""
FAMILIES_MAX = 256
"""Families whose example is kept."""
WORTH = 3
"""A value that is not this many times smaller packed becomes the new example of its family, …"""
WORTH_KEEPING = 2
"""… and one that is not this many times smaller stays as it is."""
LEVEL = 1
WINDOW_BITS = -15
"""Without header and checksum: the journal has its own."""
MEMORY_LEVEL = 8

_family = re.compile(r"([^/]*/)[^/]*/([^0-9]*)").match


class Packed(msgspec.Struct, gc=False, eq=False):
    """A value compressed against an example. `size_bytes` is that of the value."""

    data: bytes
    example: bytes
    size_bytes: int

    def __len__(self) -> int:
        """That of the value: whoever needs it does not ask whether the value is packed."""
        return self.size_bytes

    def unpack(self) -> bytes:
        """The value."""
        return zlib.decompressobj(WINDOW_BITS, self.example).decompress(self.data)


class Packer:
    """Packs the values of one state."""

    __slots__ = ("_examples",)

    def __init__(self) -> None:
        """Without examples."""
        self._examples: OrderedDict[tuple[str | None, ...], bytes] = OrderedDict()

    def pack(self, item: Item) -> None:
        """Pack the item's value, if it is worth it. The first one of a family becomes its example and stays as it is."""
        value = item.stored
        if not isinstance(value, bytes) or not VALUE_MIN_BYTES <= len(value) <= VALUE_MAX_BYTES:
            return
        found = _family(item.key)
        family = found.groups() if found is not None else (None,)
        example = self._examples.get(family)
        if example is None:
            self._remember(family, value)
            return
        self._examples.move_to_end(family)
        compressor = zlib.compressobj(
            LEVEL, zlib.DEFLATED, WINDOW_BITS, MEMORY_LEVEL, zlib.Z_DEFAULT_STRATEGY, example
        )
        data = compressor.compress(value) + compressor.flush()
        if WORTH_KEEPING * len(data) <= len(value):
            item.stored = Packed(data, example, len(value))
        if WORTH * len(data) > len(value):
            self._remember(family, value)

    def _remember(self, family: tuple[str | None, ...], value: bytes) -> None:
        self._examples[family] = value
        if len(self._examples) > FAMILIES_MAX:
            self._examples.popitem(last=False)
