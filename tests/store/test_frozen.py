"""What is taken of a frozen state is the state of that moment, whatever happens meanwhile."""

from hypothesis import given
from hypothesis import strategies as st

from lakh.store.state import Event, Item, State

# Tables whose names sort otherwise than their keys: `/` is after `-` and `.`.
KEYS = [f"{table}/s/{name}" for table in ("a", "a-b", "a.b", "b") for name in "xyz"]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("put", "delete")), st.sampled_from(KEYS)),
        st.tuples(st.just("take"), st.integers(1, 4)),
        st.just(("freeze", 0)),
    ),
    max_size=60,
)


def change(state: State, kind: str, key: str) -> None:
    prev = state.items.get(key)
    revision = state.revision + 1
    if kind == "put":
        created = prev.create_revision if prev is not None else revision
        state.apply(Event(revision, Item(key, b"", (), created, revision), prev))
    elif prev is not None:
        state.apply(Event(revision, None, prev))


@given(st.lists(st.sampled_from(KEYS)), STEPS)
def test_one_moment(before: list[str], steps: list[tuple[str, object]]) -> None:
    state = State()
    for key in before:
        change(state, "put", key)
    under_way = []
    for kind, argument in [("freeze", 0), *steps]:
        if kind == "freeze":
            under_way.append((state.freeze(), dict(state.items), state.revision, []))
        elif kind == "take":
            frozen, _, _, taken = under_way[len(under_way) // 2]
            taken += frozen.take(argument)
        else:
            change(state, kind, str(argument))
    for frozen, expected, revision, taken in under_way:
        while items := frozen.take(3):
            taken += items
        assert len(taken) == len(expected) == frozen.count, "each once"
        assert {item.key: item for item in taken} == expected
        assert frozen.revision == revision
    assert state._frozen == []


def test_released_early() -> None:
    state = State()
    for key in KEYS:
        change(state, "put", key)
    frozen = state.freeze()
    frozen.take(2)
    frozen.release()
    frozen.release()
    assert frozen.take(2) == [] and state._frozen == []
