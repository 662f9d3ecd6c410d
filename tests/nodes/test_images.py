from __future__ import annotations

from lakh.nodes.images import MAX_IMAGES, status_of, with_images


def test_the_latest_come_first_and_equal_lists_are_one() -> None:
    first = with_images((), ["a", "registry:5000/b", None, "a:latest"])
    assert first == ("a:latest", "registry:5000/b:latest")
    assert with_images(first, ["a"]) is first
    second = with_images(first, ["c:1"])
    assert second == ("c:1", *first) and with_images(first, ["c:1"]) is second
    many = with_images(second, [f"i:{n}" for n in range(MAX_IMAGES)])
    assert len(many) == MAX_IMAGES and many[0] == "i:0" and "a:latest" not in many


def test_an_image_has_one_size() -> None:
    [one, other] = status_of(("a:latest", "b:1"))
    assert one["names"] == ["a:latest"] and one["sizeBytes"] != other["sizeBytes"] > 0
    assert status_of(("a:latest",)) == [one]
