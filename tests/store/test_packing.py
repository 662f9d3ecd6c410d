from __future__ import annotations

import json
import random

import pytest

from lakh.store import state as states
from lakh.store.codec import Batch, decode_snapshot_items, encode_snapshot
from lakh.store.memory_journal import MemoryJournal
from lakh.store.packing import FAMILIES_MAX, VALUE_MAX_BYTES, Packer
from lakh.store.partition import Partition
from lakh.store.replay import events_of
from lakh.store.state import Event, Item, State


def pod(number: int, template: str = "small") -> bytes:
    """Like its brothers but for what differs between pods."""
    draw = random.Random(number)
    return json.dumps(
        {
            "metadata": {
                "name": f"{template}-{number}",
                "uid": f"{draw.getrandbits(128):032x}",
                "managedFields": [
                    {"manager": f"m{n}", "fieldsV1": {"f:spec": {}, "f:status": {}}} for n in range(20)
                ],
            },
            "spec": {"containers": [{"name": "c", "image": f"registry.example/{template}:1"}] * 5},
        }
    ).encode()


def item(number: int, value: bytes | None = None, name: str = "small", table: str = "pods") -> Item:
    return Item(f"{table}/default/{name}-{number}", pod(number) if value is None else value, (), 2, 2)


def test_values_of_a_family_are_a_fraction_of_their_size_and_stay_the_same() -> None:
    packer, items = Packer(), [item(n) for n in range(50)]
    for each in items:
        packer.pack(each)
    assert [each.is_packed for each in items] == [False] + [True] * 49
    assert [each.value for each in items] == [pod(n) for n in range(50)]
    assert [each.value_bytes for each in items] == [len(pod(n)) for n in range(50)]
    packed = items[1].stored
    assert not isinstance(packed, bytes) and len(packed.data) * 5 < len(pod(1))


def test_what_is_packed_stays_so() -> None:
    packer, first, second = Packer(), item(1), item(2)
    for _ in range(2):
        packer.pack(first)
        packer.pack(second)
    packed = second.stored
    packer.pack(second)
    assert second.stored is packed and second.value == pod(2)


@pytest.mark.parametrize("value", [b"", b"{}", b"x" * (VALUE_MAX_BYTES + 1)])
def test_what_is_small_or_huge_is_left_alone(value: bytes) -> None:
    packer = Packer()
    packer.pack(item(1, value))
    second = item(2, value)
    packer.pack(second)
    assert not second.is_packed and second.value == value


def test_what_is_like_nothing_else_is_left_alone_and_is_the_next_example() -> None:
    packer, draw = Packer(), random.Random(7)
    noise = [draw.randbytes(2000) for _ in range(2)]
    others = [item(1, noise[0]), item(2, noise[1]), item(3, noise[1][:1990])]
    for each in others:
        packer.pack(each)
    assert [each.is_packed for each in others] == [False, False, True]
    assert [each.value for each in others] == [*noise, noise[1][:1990]]


def test_examples_are_bounded_and_tables_apart() -> None:
    packer = Packer()
    for number in range(FAMILIES_MAX + 10):
        packer.pack(item(number, name=f"{chr(97 + number % 26)}{chr(97 + number // 26)}"))
    assert len(packer._examples) == FAMILIES_MAX
    nodes = item(1, table="nodes")
    packer.pack(nodes)
    assert not nodes.is_packed


def put(state: State, key: str, value: bytes) -> None:
    prev = state.items.get(key)
    revision = state.revision + 1
    created = prev.create_revision if prev is not None else revision
    state.apply(Event(revision, Item(key, value, ("t",), created, revision), prev))


def test_what_left_the_window_is_packed_when_there_is_much() -> None:
    state = State(history_events=10, pack_above_bytes=20_000)
    for number in range(100):
        put(state, f"pods/default/small-{number}", pod(number))
    packed = [key for key, each in state.items.items() if each.is_packed]
    # The ten newest are in the window; the first ones went while there was little, one is the example.
    assert 70 < len(packed) <= 89
    live_bytes = state.live_bytes
    assert [each.value for each in state.range("pods").items] == [
        pod(int(each.key.rpartition("-")[2])) for each in state.range("pods").items
    ]
    # An update replaces a packed value, a delete takes it away: what is counted is the value's length.
    key = "pods/default/small-50"
    assert key in packed
    put(state, key, b"{}")
    assert state.live_bytes == live_bytes - len(pod(50)) + 2
    before = state.items["pods/default/small-51"]
    assert before.is_packed
    state.apply(Event(state.revision + 1, None, before))
    assert state.history.since(state.revision - 1)[0].prev.value == pod(51)
    for each in list(state.items.values()):
        state.apply(Event(state.revision + 1, None, each))
    assert state.live_bytes == 0 and state.history.size_bytes >= 0


def test_what_was_written_again_is_not_cold() -> None:
    state = State(history_events=10, pack_above_bytes=0)
    put(state, "pods/default/a-0", pod(0))
    for _ in range(30):
        for number in range(1, 3):
            put(state, f"pods/default/a-{number}", pod(number))
    assert not any(each.is_packed for each in state.items.values())


def test_with_little_nothing_is_packed() -> None:
    state = State(history_events=1)
    for number in range(50):
        put(state, f"pods/default/small-{number}", pod(number))
    assert not any(each.is_packed for each in state.items.values())


def test_snapshots_and_followers_see_values() -> None:
    state = State(history_events=1, pack_above_bytes=0)
    for number in range(20):
        put(state, f"pods/default/small-{number}", pod(number))
    items = list(state.items.values())
    assert any(each.is_packed for each in items)
    chunks = list(encode_snapshot(state.revision, items))[1:]
    read = [each for chunk in chunks for each in decode_snapshot_items(chunk)]
    assert {each.key: each.value for each in read} == {each.key: each.value for each in items}
    assert not any(each.is_packed for each in read)
    key = next(each.key for each in items if each.is_packed)
    (event,) = events_of(state, Batch(1, state.revision + 1, [(key, b"{}", ("t",))]))
    assert event.prev is not None and event.prev.value == pod(int(key.rpartition("-")[2]))


def test_a_pass_packs_what_was_not_packed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "PACK_PIECE", 4)
    monkeypatch.setattr(states, "LOOK_PIECE", 7)
    loaded = State(history_events=5, pack_above_bytes=0)
    loaded.load([item(n) for n in range(30)] + [item(n, table="nodes", value=b"{}") for n in range(20)])
    loaded.loaded(2)
    for table in ("pods", "nodes", "absent"):
        after: str | None = ""
        for _ in range(40):
            if (after := loaded.pack_piece(table, after or "")) is None:
                break
        else:
            raise AssertionError("the pass does not end")
    assert sum(each.is_packed for each in loaded.items.values()) == 29
    assert {each.key: each.value for each in loaded.range("pods").items} == {
        f"pods/default/small-{n}": pod(n) for n in range(30)
    }
    little = State(pack_above_bytes=1 << 30)
    little.load([item(n) for n in range(30)])
    little.loaded(2)
    assert little.pack_piece("pods") is None
    assert not any(each.is_packed for each in little.items.values())


async def test_a_partition_packs_what_it_has_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "PACK_PIECE", 4)
    monkeypatch.setitem(State.__init__.__kwdefaults__, "pack_above_bytes", 0)
    journal = MemoryJournal()
    partition = await Partition.open("pods", journal, history_events=5)
    for number in range(20):
        await partition.put(f"pods/default/small-{number}", pod(number))
    await partition.pack_cold(0.0)
    # The five newest are in the window.
    assert sum(each.is_packed for each in partition.items()) == 15
    updated = await partition.put("pods/default/small-3", pod(3) + b" ")
    assert partition.get("pods/default/small-3") is updated and updated.value == pod(3) + b" "
    assert [each.value_bytes for each in partition.range("pods", limit=3).items] == [
        len(each.value) for each in partition.range("pods", limit=3).items
    ]
    await partition.close()
