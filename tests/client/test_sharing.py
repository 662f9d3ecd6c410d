from __future__ import annotations

from lakh.client.sharing import Pool


def test_equal_values_are_one() -> None:
    pool = Pool()
    first = pool.one({"app": "a"})
    assert pool.one({"app": "a"}) is first
    assert pool.one({"app": "b"}) is not first
    assert len(pool) == 2


def test_nothing_is_shared_of_nothing() -> None:
    pool = Pool()
    assert pool.one(None) is None
    assert pool.one({}) == {}
    assert len(pool) == 0


def test_a_full_pool_starts_anew() -> None:
    pool = Pool(limit=2)
    first = pool.one(["a"])
    pool.one(["b"])
    pool.one(["c"])
    assert len(pool) == 1
    again = pool.one(["a"])
    assert again == first and again is not first
