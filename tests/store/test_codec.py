"""What is written is what is read; anything else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.store import codec
from lakh.store.codec import UnreadableBatchError
from lakh.store.state import Item

terms = st.lists(st.text(max_size=5), max_size=3).map(tuple)
writes = st.lists(st.tuples(st.text(max_size=9), st.none() | st.binary(max_size=40), terms), max_size=5)


@given(st.integers(0, 2**63), writes)
def test_batches(revision: int, batch: list[codec.Write]) -> None:
    decoded = codec.decode_batch(codec.encode_batch(revision, batch))
    assert (decoded.revision, decoded.writes, decoded.writer) == (revision, batch, None)


def test_claims() -> None:
    decoded = codec.decode_batch(codec.encode_claim(7, "a:1"))
    assert (decoded.revision, decoded.writes, decoded.writer) == (7, [], "a:1")


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2500])
@pytest.mark.parametrize("size_bytes", [0, 2000])
def test_snapshots(count: int, size_bytes: int) -> None:
    items = [
        Item(f"pods/a/{i}", b"x" * size_bytes, ("t",) * (i % 3), i, i + 1, "cache") for i in range(count)
    ]
    chunks = list(codec.encode_snapshot(77, items, "a:1"))
    header = codec.decode_snapshot_header(chunks[0])
    assert (header.revision, header.count, header.writer) == (77, count, "a:1")
    assert all(len(chunk) < codec.CHUNK_BYTES + 10_000 for chunk in chunks)
    decoded = [item for chunk in chunks[1:] for item in codec.decode_snapshot_items(chunk)]

    def fields(item: Item) -> tuple[object, ...]:
        return item.key, item.value, item.terms, item.create_revision, item.revision

    assert list(map(fields, decoded)) == list(map(fields, items))
    assert all(item.cache is None for item in decoded)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\x01\x02", b"\x93\x02\x02\x90", b"\x90"])
def test_garbage(data: bytes) -> None:
    for decode in (codec.decode_batch, codec.decode_snapshot_header):
        with pytest.raises(UnreadableBatchError):
            decode(data)
    with pytest.raises(UnreadableBatchError):
        codec.decode_snapshot_items(data + b"x")
