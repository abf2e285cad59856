"""Globs against an oracle: the regular expression that a glob would be."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from queuesvc.domain.errors import Refused
from queuesvc.domain.globs import Globs, check_glob

PATTERNS = st.text("ab.*", min_size=1, max_size=12)
NAMES = st.text("ab.", min_size=1, max_size=16)


def like(pattern: str, name: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) is not None


@given(PATTERNS, NAMES)
@example("a*a", "a")
@example("*a*a", "aa")
@example("a*ba*a", "aba")
@example("a**a", "aa")
@example("*ab*ab", "abab")
@example("a.b", "aab")
def test_a_glob_matches_what_its_expression_does(pattern: str, name: str) -> None:
    globs = Globs([pattern])
    assert globs.match(name) is globs.look(name) is like(pattern, name)


@given(st.lists(PATTERNS, max_size=5), NAMES)
def test_several_match_what_any_of_them_does(patterns: list[str], name: str) -> None:
    assert Globs(patterns).match(name) is any(like(pattern, name) for pattern in patterns)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("orders", ["orders"], ["orders.eu", "xorders", "order"]),
        ("orders*", ["orders", "orders.eu", "orders-2"], ["order", "my-orders"]),
        ("orders.*", ["orders.", "orders.eu.west"], ["orders", "ordersXeu"]),
        ("*.dead", ["a.dead", "a.b.dead"], ["dead", "a.dead.b"]),
        ("a*b*c", ["abc", "a-b-c", "abbcc"], ["acb", "ab", "bc"]),
        ("*", ["a", "a.b:c_d-e"], []),
    ],
)
def test_what_the_documentation_says(pattern: str, yes: list[str], no: list[str]) -> None:
    globs = Globs([pattern])
    assert [name for name in yes if not globs.match(name)] == []
    assert [name for name in no if globs.match(name)] == []


def test_none_match_nothing() -> None:
    assert not Globs([]).match("a")


def test_many_stars_take_no_longer() -> None:
    # What tries again from each place of each star would not end in a lifetime.
    assert not Globs(["a*" * 126 + "b"]).match("a" * 255)
    assert Globs(["a*" * 126 + "b"]).match("a" * 254 + "b")


@pytest.mark.parametrize("pattern", ["", "a" * 256, "ä", "a b", "a?", "[a]", "a\n", "a/b", "#"])
def test_what_is_no_glob_is_refused(pattern: str) -> None:
    with pytest.raises(Refused) as refused:
        check_glob(pattern, "publish")
    assert refused.value.extra == {"field": "publish"}
