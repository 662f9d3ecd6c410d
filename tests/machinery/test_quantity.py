import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.machinery import quantity
from lakh.machinery.quantity import QuantityError


@pytest.mark.parametrize(
    ("value", "text", "units", "milli"),
    [
        ("1000m", "1", 1, 1000),
        ("0.5", "500m", 1, 500),
        ("1024Mi", "1Gi", 2**30, 2**30 * 1000),
        ("1.5Gi", "1536Mi", 1536 * 2**20, 1536 * 2**20 * 1000),
        (16, "16", 16, 16000),
        (0.25, "250m", 1, 250),
        ("1e3", "1e3", 1000, 10**6),
        ("12e6", "12e6", 12 * 10**6, 12 * 10**9),
        ("1500000e0", "1500e3", 1500000, 15 * 10**8),
        ("1E", "1E", 10**18, 10**21),
        ("1Ki", "1Ki", 1024, 1024000),
        ("512Ki", "512Ki", 524288, 524288000),
        ("0.5Ki", "512", 512, 512000),
        ("100000", "100k", 100000, 10**8),
        ("-0.5", "-500m", -1, -500),
        ("0Gi", "0", 0, 0),
        ("0.000", "0", 0, 0),
        ("1n", "1n", 1, 1),
        ("0.1n", "1n", 1, 1),
        (".5", "500m", 1, 500),
        ("1.", "1.", 1, 1000),
        ("100Ei", str(2**63 - 1), 2**63 - 1, (2**63 - 1) * 1000),
    ],
)
def test_worked_examples(value, text, units, milli):
    assert quantity.canonical(value) == text
    assert quantity.parse(value) == units
    assert quantity.parse_milli(value) == milli


@pytest.mark.parametrize("text", ["+1", "1.500", "1E3", "100e-3"])
def test_texts_that_upstream_keeps(text):
    assert quantity.canonical(text) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", quantity.WRONG_FORMAT),
        ("-", quantity.WRONG_FORMAT),
        ("abc", quantity.WRONG_FORMAT),
        ("1 ", quantity.WRONG_FORMAT),
        ("1..2", quantity.WRONG_FORMAT),
        ("1gi", quantity.WRONG_FORMAT),
        ("1" * 300, quantity.WRONG_FORMAT),
        ("1e", quantity.WRONG_SUFFIX),
        ("1mi", quantity.WRONG_SUFFIX),
        ("1e99999", quantity.WRONG_SUFFIX),
    ],
)
def test_what_is_no_quantity(text, message):
    with pytest.raises(QuantityError) as error:
        quantity.canonical(text)
    assert str(error.value) == message


def test_arithmetic():
    assert quantity.compare("1", "1000m") == 0
    assert quantity.compare("1Gi", "1G") == 1
    assert quantity.compare("-1", "0") == -1
    assert quantity.add("1Gi", "1Mi") == "1025Mi"
    assert quantity.add("0", "1Gi") == "1Gi"
    assert quantity.add("500m", "1.5") == "2"
    assert quantity.subtract("1", "1m") == "999m"
    assert quantity.of_milli(2500) == "2500m"
    assert quantity.of_bytes(2**31) == "2Gi"
    assert quantity.is_integer("2")
    assert not quantity.is_integer("2500m")


quantities = st.builds(
    lambda sign, whole, fraction, suffix: f"{sign}{whole}{fraction}{suffix}",
    st.sampled_from(["", "-", "+"]),
    st.integers(0, 10**20),
    st.one_of(st.just(""), st.from_regex(r"\.[0-9]{0,10}", fullmatch=True)),
    st.sampled_from(
        [
            "",
            "n",
            "u",
            "m",
            "k",
            "M",
            "G",
            "T",
            "P",
            "E",
            "Ki",
            "Mi",
            "Gi",
            "Ti",
            "Pi",
            "Ei",
            "e3",
            "E-2",
            "e0",
        ]
    ),
)


@given(quantities)
def test_the_canonical_text_is_the_same_amount_and_a_fixed_point(text):
    canonical = quantity.canonical(text)
    assert quantity.compare(canonical, text) == 0
    assert quantity.canonical(canonical) == canonical


@given(quantities, quantities)
def test_addition_commutes_and_subtraction_undoes_it(a, b):
    # binary amounts are capped at 2⁶³-1 units when they are read again
    if abs(quantity.parse_nano(a)) < 2**90 and abs(quantity.parse_nano(b)) < 2**90:
        assert quantity.compare(quantity.add(a, b), quantity.add(b, a)) == 0
        assert quantity.compare(quantity.subtract(quantity.add(a, b), b), a) == 0


@given(
    st.one_of(
        st.text(max_size=20), st.integers(), st.floats(), st.none(), st.booleans(), st.lists(st.integers())
    )
)
def test_only_quantity_errors(value):
    try:
        quantity.canonical(value)
    except QuantityError:
        pass
