"""Dumps: what partitions hold, as JSON lines. For backups, for restoring, and to look at.

    {"partition":"pods","revision":17,"items":1}
    {"key":"pods/default/web-0","value":{"metadata":…},"terms":["spec.nodeName=n1"],"createRevision":5,"revision":17}
    {"end":"pods"}
    {"complete":1}

One partition after the other, each between a head and an end; the last line counts the partitions, so a dump that was cut
off anywhere is not taken for a whole one. A value that is JSON on one line is given as it is, byte for byte, any other as
`valueBase64`.

Worked example::

    >>> item = Item("pods/default/a", b'{"x":1}', ("t",), 2, 3)
    >>> dump = [encode_head("pods", 3, 1), encode_item(item), encode_end("pods"), encode_complete(1)]
    >>> dump[1]
    b'{"key":"pods/default/a","value":{"x":1},"terms":["t"],"createRevision":2,"revision":3}\\n'
    >>> [(part.name, part.revision, part.items[0].value) for part in read_dump(dump)]
    [('pods', 3, b'{"x":1}')]
    >>> list(read_dump(dump[:-1]))
    Traceback (most recent call last):
    ...
    lakh.store.dump.DumpError: the dump ends early
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from lakh.store.state import Item


class DumpError(ValueError):
    """The lines are no dump, or not all of one."""


@dataclass
class Part:
    """A partition of a dump."""

    name: str
    revision: int
    items: list[Item]


class _Line(msgspec.Struct, omit_defaults=True):
    """A line of a dump: a head, an item, an end, or the last one."""

    partition: str = ""
    items: int = 0
    key: str = ""
    value: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    valueBase64: str | None = None
    terms: list[str] = []
    createRevision: int = 0
    revision: int = 0
    end: str = ""
    complete: int | None = None


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_encode = msgspec.json.Encoder().encode


def encode_head(partition: str, revision: int, count: int) -> bytes:
    """A partition begins: its newest revision, and how many items follow."""
    return _encode({"partition": partition, "revision": revision, "items": count}) + b"\n"


def encode_item(item: Item) -> bytes:
    """One item. 3 µs and a copy of its value."""
    line: dict[str, Any] = {"key": item.key}
    if _is_plain_json(item.value):
        line["value"] = msgspec.Raw(item.value)
    else:
        line["valueBase64"] = base64.b64encode(item.value).decode()
    line["terms"] = item.terms
    line["createRevision"] = item.create_revision
    line["revision"] = item.revision
    return _encode(line) + b"\n"


def encode_end(partition: str) -> bytes:
    """A partition ends."""
    return _encode({"end": partition}) + b"\n"


def encode_complete(partitions: int) -> bytes:
    """The dump ends."""
    return _encode({"complete": partitions}) + b"\n"


def items_announced(line: bytes) -> tuple[str, int] | None:
    """Partition and number of items, when the line is a head: for whoever shows progress."""
    if not line.startswith(b'{"partition":'):
        return None
    found = _decode_line(line)
    return found.partition, found.items


def is_complete(line: bytes) -> bool:
    """Whether this is the last line of a whole dump."""
    return line.startswith(b'{"complete":')


def read_dump(lines: Iterable[bytes], bump_revision: int = 0) -> Iterator[Part]:
    """The partitions, one in memory at a time, all revisions raised by `bump_revision`. Raises DumpError."""
    part: Part | None = None
    due = seen = number = 0
    complete = False
    for number, text in enumerate(lines, 1):
        try:
            line = _decode_line(text)
            if line.key and part is not None:
                encoded = line.valueBase64
                value = bytes(line.value) if encoded is None else base64.b64decode(encoded, validate=True)
                part.items.append(
                    Item(
                        line.key,
                        value,
                        tuple(line.terms),
                        line.createRevision + bump_revision,
                        line.revision + bump_revision,
                    )
                )
                continue
        except (msgspec.MsgspecError, ValueError) as error:
            raise DumpError(f"line {number} is no line of a dump: {error}") from error
        if complete:
            raise DumpError(f"line {number} comes after the end")
        if line.partition and part is None and "/" not in line.partition:
            part, due = Part(line.partition, line.revision + bump_revision, []), line.items
        elif part is not None and line.end == part.name:
            if len(part.items) != due:
                raise DumpError(f"line {number}: {len(part.items)} items of {part.name} instead of {due}")
            yield part
            part = None
            seen += 1
        elif line.complete is not None and part is None:
            if line.complete != seen:
                raise DumpError(f"line {number}: {seen} partitions instead of {line.complete}")
            complete = True
        else:
            raise DumpError(f"line {number} is out of place")
    if not complete:
        raise DumpError("the dump ends early" if number else "the dump is empty")


def _is_plain_json(value: bytes) -> bool:
    if not value.startswith(b"{") or b"\n" in value or b"\r" in value:
        return False
    try:
        _decode_raw(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return value.endswith(b"}")
