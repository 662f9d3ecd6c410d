"""A sharded dictionary is a dictionary."""

from hypothesis import given
from hypothesis import strategies as st

from lakh.store.sharded import SHARDS, ShardedDict

KEYS = st.sampled_from([f"pods/default/{n}" for n in range(40)])


@given(st.lists(st.tuples(st.sampled_from(("set", "delete")), KEYS, st.integers())))
def test_it_is_a_dict(steps: list[tuple[str, str, int]]) -> None:
    model: dict[str, int] = {}
    sharded: ShardedDict[int] = ShardedDict()
    for kind, key, value in steps:
        if kind == "set":
            model[key] = sharded[key] = value
        elif key in model:
            assert key in sharded
            del model[key], sharded[key]
        assert len(sharded) == len(model) and sharded.get(key) == model.get(key)
    assert dict(sharded) == model and sorted(sharded.values()) == sorted(model.values())
    assert sharded.get("absent", 7) == 7 and "absent" not in sharded


def test_keys_spread() -> None:
    sharded: ShardedDict[int] = ShardedDict()
    for n in range(100 * SHARDS):
        sharded[f"pods/default/pod-{n}"] = n
    sizes = list(map(len, sharded._shards))
    assert max(sizes) < 200 and min(sizes) > 30, "a hundred each, and what chance does"
