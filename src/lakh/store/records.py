"""The format of journal files: a header, then framed records. Segments and snapshots share it.

All integers are little-endian::

    file header   28 bytes   magic 8s | version u32 | salt u32 | sequence u64 | crc u32 (of the 24 bytes before)
    record        24 bytes   marker 4s | length u32 | sequence u64 | payload crc u32 | header crc u32
                  length     payload

- A segment (`<first sequence>.log`): `sequence` in the file header is that of its first record; records count up.
- A snapshot (`<sequence>.snapshot`): the file header has the sequence it stands for; records are numbered from 1
  and the last one is empty, so a short file is not taken for a whole one.

Checksums are CRC-32 seeded with the file's random salt: bytes that a client wrote, or that an older file left
on the disk, never look like a record of this file.

Behind the last record of a segment there may be zeros, made ahead of the records to come: they are not counted. So the
records must not be told from them: none begins with a zero.

A record goes to disk only after the one before it was synced. So only the last record of the last segment can
be torn, and it is torn when nothing valid follows it. `read_records` stops there with `Torn`; whoever reads
decides whether that is a crash's trace or corruption. Anything bad with something valid behind it is corruption.

Worked example::

    >>> header = encode_record_header(7, b"abc", salt=1)
    >>> len(header), decode_record_header(header, salt=1)[:2]
    (24, (3, 7))
    >>> decode_record_header(header, salt=2) is None
    True
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from lakh.store.errors import JournalCorrupt

SEGMENT_MAGIC = b"lakhsegm"
SNAPSHOT_MAGIC = b"lakhsnap"
FORMAT_VERSION = 1
MARKER = b"\xf5LR\n"

_FILE_HEADER = struct.Struct("<8sIIQ")
_RECORD_HEADER = struct.Struct("<4sIQI")
_CRC = struct.Struct("<I")
FILE_HEADER_BYTES = _FILE_HEADER.size + _CRC.size
RECORD_HEADER_BYTES = _RECORD_HEADER.size + _CRC.size
_PIECE_BYTES = 1 << 20
MAX_RECORD_BYTES = 256 << 20
"""A length above this is damage. Batches are far smaller; a single huge value still fits."""


class Record(NamedTuple):
    """A record and where it starts."""

    offset: int
    sequence: int
    payload: bytes

    @property
    def end(self) -> int:
        """Where the next record starts."""
        return self.offset + RECORD_HEADER_BYTES + len(self.payload)


class Place(NamedTuple):
    """Where a record is."""

    offset: int
    sequence: int
    length: int

    @property
    def end(self) -> int:
        """Where the next record starts."""
        return self.offset + RECORD_HEADER_BYTES + self.length


class Torn(Exception):
    """The file ends in the middle of a record. `size_bytes`: without zeros at its end."""

    def __init__(self, offset: int, size_bytes: int, reason: str) -> None:
        super().__init__(offset, size_bytes, reason)
        self.offset = offset
        self.size_bytes = size_bytes
        self.reason = reason


def encode_file_header(magic: bytes, sequence: int, salt: int) -> bytes:
    """The first bytes of a segment or a snapshot."""
    header = _FILE_HEADER.pack(magic, FORMAT_VERSION, salt, sequence)
    return header + _CRC.pack(crc32(header))


def read_file_header(fd: int, path: Path, magic: bytes) -> tuple[int, int]:
    """(sequence, salt) of an open file. Raises JournalCorrupt: files get their name after their header is synced."""
    header = os.pread(fd, FILE_HEADER_BYTES, 0)
    if len(header) < FILE_HEADER_BYTES:
        raise JournalCorrupt(path, len(header), "the file header is cut short")
    found, version, salt, sequence = _FILE_HEADER.unpack_from(header)
    if _CRC.unpack_from(header, _FILE_HEADER.size)[0] != crc32(header[: _FILE_HEADER.size]):
        raise JournalCorrupt(path, 0, "the file header's checksum is wrong")
    if found != magic:
        raise JournalCorrupt(path, 0, f"the file begins with {found!r} instead of {magic!r}")
    if version != FORMAT_VERSION:
        raise JournalCorrupt(path, 0, f"format version {version} is not {FORMAT_VERSION}, the one known here")
    return sequence, salt


def encode_record_header(sequence: int, payload: bytes, salt: int) -> bytes:
    """What goes before a payload. The payload itself is not copied."""
    header = _RECORD_HEADER.pack(MARKER, len(payload), sequence, crc32(payload, salt))
    return header + _CRC.pack(crc32(header, salt))


def decode_record_header(header: bytes, salt: int) -> tuple[int, int, int] | None:
    """(length, sequence, payload crc), or None when it is not a record header of this file."""
    if len(header) < RECORD_HEADER_BYTES:
        return None
    marker, length, sequence, payload_crc = _RECORD_HEADER.unpack_from(header)
    if marker != MARKER or length > MAX_RECORD_BYTES:
        return None
    if _CRC.unpack_from(header, _RECORD_HEADER.size)[0] != crc32(header[: _RECORD_HEADER.size], salt):
        return None
    return length, sequence, payload_crc


def read_records(fd: int, path: Path, *, salt: int, offset: int, sequence: int) -> Iterator[Record]:
    """Records from `offset`, the first of which must be `sequence`, to the end of the file.

    Raises Torn where the file ends early, JournalCorrupt where it is damaged. Reads with pread and keeps no
    buffer, so bytes written after the last record that was taken are never served stale.
    """
    while True:
        header = os.pread(fd, RECORD_HEADER_BYTES, offset)
        if not header:
            return
        decoded = decode_record_header(header, salt)
        if decoded is None:
            _check_end(fd, path, salt, offset, sequence)
            return
        length, found, payload_crc = decoded
        if found != sequence:
            raise JournalCorrupt(path, offset, f"record {found} where {sequence} is due")
        payload = os.pread(fd, length, offset + RECORD_HEADER_BYTES)
        end = offset + RECORD_HEADER_BYTES + length
        if len(payload) < length:
            raise Torn(
                offset, os.fstat(fd).st_size, f"record {sequence} has {len(payload)} of {length} bytes"
            )
        if crc32(payload, salt) != payload_crc:
            size_bytes = used_bytes(fd, offset)
            if size_bytes > end:
                raise JournalCorrupt(path, offset, f"the checksum of record {sequence} is wrong")
            raise Torn(offset, size_bytes, f"the checksum of record {sequence}, the last one, is wrong")
        yield Record(offset, sequence, payload)
        offset = end
        sequence += 1


def hop_records(fd: int, path: Path, *, salt: int, offset: int, sequence: int) -> Iterator[Place]:
    """Like `read_records`, from header to header: the payloads are not read, nor are their checksums verified."""
    size_bytes = os.fstat(fd).st_size
    while offset < size_bytes:
        decoded = decode_record_header(os.pread(fd, RECORD_HEADER_BYTES, offset), salt)
        if decoded is None:
            _check_end(fd, path, salt, offset, sequence)
            return
        place = Place(offset, decoded[1], decoded[0])
        if place.sequence != sequence:
            raise JournalCorrupt(path, offset, f"record {place.sequence} where {sequence} is due")
        if place.end > size_bytes:
            present = size_bytes - offset - RECORD_HEADER_BYTES
            raise Torn(offset, size_bytes, f"record {sequence} has {present} of {place.length} bytes")
        yield place
        offset = place.end
        sequence += 1


def used_bytes(fd: int, offset: int) -> int:
    """The size of an open file without the zeros at its end, at least `offset`, from which it is read."""
    used = offset
    while piece := os.pread(fd, _PIECE_BYTES, offset):
        kept = len(piece.rstrip(b"\0"))
        if kept:
            used = offset + kept
        offset += len(piece)
    return used


def _check_end(fd: int, path: Path, salt: int, offset: int, sequence: int) -> None:
    """There is no record header at `offset`: well, if nothing but zeros is behind it. Raises JournalCorrupt when a valid header of this file is there,
    Torn when something else is.
    """
    size_bytes = used_bytes(fd, offset)
    if size_bytes == offset:
        return
    window = MAX_RECORD_BYTES + 2 * RECORD_HEADER_BYTES
    rest = os.pread(fd, min(size_bytes - offset, window), offset)
    at = rest.find(MARKER, 1)
    while at >= 0:
        decoded = decode_record_header(rest[at : at + RECORD_HEADER_BYTES], salt)
        if decoded is not None and decoded[1] >= sequence:
            raise JournalCorrupt(path, offset, f"the header of record {sequence} is damaged")
        at = rest.find(MARKER, at + 1)
    raise Torn(offset, size_bytes, "the record header is incomplete")
