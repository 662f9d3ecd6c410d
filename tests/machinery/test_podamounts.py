"""What the containers of a pod ask for together: the most that is there at any moment of its start and run."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lakh.machinery import podamounts
from lakh.machinery.quantity import parse_milli

AMOUNTS = st.dictionaries(
    st.sampled_from(["cpu", "memory"]), st.sampled_from(["100m", "0.5", "1", "2Gi", "1e3"])
)


@given(st.lists(AMOUNTS, max_size=4), st.lists(st.tuples(st.booleans(), AMOUNTS), max_size=4))
def test_it_is_the_most_of_all_moments(
    containers: list[dict[str, str]], starting: list[tuple[bool, dict[str, str]]]
) -> None:
    sidecars: list[dict[str, str]] = []
    moments: list[list[dict[str, str]]] = []
    for stays, amounts in starting:
        moments.append([*sidecars, amounts])
        if stays:
            sidecars.append(amounts)
    moments.append([*sidecars, *containers])
    names = {name for moment in moments for amounts in moment for name in amounts}
    found = podamounts.together(containers, starting)
    assert {name: parse_milli(amount) for name, amount in found.items()} == {
        name: max(sum(parse_milli(a.get(name, "0")) for a in moment) for moment in moments) for name in names
    }


def test_a_total_is_written_in_its_canonical_form() -> None:
    total: dict[str, str] = {}
    podamounts.add(total, {"cpu": "0.5", "memory": "1024Ki"})
    podamounts.add(total, {"cpu": 1})
    podamounts.raise_to(total, {"cpu": "1", "memory": "2Mi", "pods": "1"})
    assert total == {"cpu": "1500m", "memory": "2Mi", "pods": "1"}
