"""Names and limits at their edges (§2)."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesvc.domain.errors import Code, Refused
from queuesvc.domain.limits import NAME, Limits, check_header_name, check_name, check_text

ALLOWED = "ABCXYZabcxyz0129._:-"


def refused(check: Callable[[str, str], str], text: str) -> bool:
    """Whether it is refused; then as invalid-request and by its field."""
    try:
        taken = check(text, "the_field")
    except Refused as error:
        if (error.code, error.extra["field"]) != (Code.INVALID_REQUEST, "the_field"):
            raise
        return True
    assert taken == text
    return False


@pytest.mark.parametrize("name", ["a", "Z", "0", "a.b_c:d-e", "0" * 255, "a-", "a."])
def test_names_that_are_taken(name: str) -> None:
    assert not refused(check_name, name)


@pytest.mark.parametrize(
    "name", ["", ".a", "_a", ":a", "-a", "0" * 256, "a b", "a/b", "ä", "aä", "a\n", "a\x00", "a%20"]
)
def test_names_that_are_refused(name: str) -> None:
    assert refused(check_name, name)


@given(st.text(max_size=300))
def test_a_name_is_taken_exactly_if_it_is_made_as_the_contract_says(name: str) -> None:
    ascii_only = set(map(chr, range(128)))
    allowed = all(char in ascii_only and (char.isalnum() or char in "._:-") for char in name)
    assert refused(check_name, name) != (1 <= len(name) <= 255 and allowed and name[0] not in "._:-")


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("", True),
        ("a" * 255, True),
        ("a" * 256, False),
        ("ä" * 127, True),
        ("ä" * 127 + "a", True),
        ("ä" * 128, False),  # 256 bytes
        ("😀" * 63, True),
        ("😀" * 64, False),
        ("order.created with blanks / and \u00a0 more", True),
        ("a\x00", False),
        ("a\tb", False),
        ("a\n", False),
        ("a\x7f", False),
        ("a\x85", False),
        ("\ud800", False),  # half a surrogate pair is not Unicode
    ],
)
def test_texts(text: str, taken: bool) -> None:
    assert refused(check_text, text) != taken


@given(st.text(max_size=200))
def test_a_text_is_taken_exactly_if_it_is_short_and_without_control_characters(text: str) -> None:
    control = any(ord(char) < 0x20 or 0x7F <= ord(char) <= 0x9F for char in text)
    assert refused(check_text, text) != (len(text.encode()) <= 255 and not control)


def test_a_lone_surrogate_is_refused_however_short_the_text() -> None:
    assert refused(check_text, "a\udc00b")


@pytest.mark.parametrize(("name", "lowered"), [("X-Trace-Id", "x-trace-id"), ("a", "a"), ("-", "-"), ("0", "0")])
def test_header_names_are_lower_cased(name: str, lowered: str) -> None:
    assert check_header_name(name) == lowered


@pytest.mark.parametrize("name", ["", "a b", "a_b", "a.b", "ä", "a\n", "\u212a"])
def test_header_names_that_are_refused(name: str) -> None:
    with pytest.raises(Refused) as caught:
        check_header_name(name)
    assert caught.value.extra["field"] == "headers"


def test_the_defaults_are_the_contracts() -> None:
    assert Limits() == Limits(
        body_bytes=1_048_576,
        request_bytes=16_777_216,
        batch_messages=1000,
        receive_messages=1000,
        receive_bytes=16_777_216,
        header_count=64,
        header_bytes=16_384,
        wait_seconds=60,
        delay_seconds=31_622_400,
    )
    assert NAME.fullmatch(ALLOWED)
