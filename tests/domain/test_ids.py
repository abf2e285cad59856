"""Message ids: UUIDv7 that lead back to the store's own number."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesvc.domain.ids import TAG_BITS, Ids

TAGS = st.integers(0, 2**TAG_BITS - 1)
MOMENTS = st.integers(0, 2**48 - 1)
NUMBERS = st.integers(0, 2**48 - 1)


@given(TAGS, MOMENTS, NUMBERS)
def test_an_id_is_a_uuid_of_version_7_and_leads_back(tag: int, at: int, first: int) -> None:
    text = Ids(tag).make(at, first)
    read = uuid.UUID(text)
    assert (str(read), read.version, read.variant) == (text, 7, uuid.RFC_4122)
    assert read.int >> 80 == at
    assert Ids(tag).parse(text) == (at, first)


@given(TAGS, st.lists(st.tuples(MOMENTS, NUMBERS), min_size=2, max_size=5, unique=True))
def test_ids_of_a_store_differ_and_sort_by_moment_then_number(tag: int, made: list[tuple[int, int]]) -> None:
    ids = Ids(tag)
    assert sorted(ids.make(*each) for each in made) == [ids.make(*each) for each in sorted(made)]
    assert len({ids.make(*each) for each in made}) == len(made)


@given(TAGS, TAGS, MOMENTS, NUMBERS)
def test_the_id_of_another_store_is_not_ours(tag: int, other: int, at: int, first: int) -> None:
    assert Ids(tag).parse(Ids(other).make(at, first)) == ((at, first) if tag == other else None)


@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        lambda text: text[:-1],
        lambda text: text + "0",
        lambda text: text + "\n",
        lambda text: "{" + text + "}",
        lambda text: text.replace("-", ""),
        lambda text: text[:14] + "4" + text[15:],  # another version
        lambda text: text[:19] + "c" + text[20:],  # another variant
        lambda text: "g" + text[1:],
        lambda text: "",
        lambda text: "not-an-id",
    ],
)
def test_what_is_not_an_id_is_none(change: object) -> None:
    assert callable(change)
    ids = Ids(0x2ABCDEF)
    text = ids.make(1_764_000_000_000, 0xABC)
    assert ids.parse(text) == (1_764_000_000_000, 0xABC)
    assert ids.parse(change(text)) is None
