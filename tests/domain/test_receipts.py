"""Receipts: what was handed out is read back, anything else is refused (§6, §10.2)."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesvc.domain.receipts import Receipts, Token

SECRET = b"0123456789abcdef0123456789abcdef"
QUEUE_IDS = st.integers(1, 2**32 - 1)
LEASES = st.integers(1, 2**48)
NUMBERS = st.integers(1, 2**48 - 1)
BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@given(st.integers(1, 2**32 - 1), QUEUE_IDS, LEASES, NUMBERS)
def test_a_receipt_says_what_it_was_made_of(epoch: int, queue_id: int, lease: int, number: int) -> None:
    text = f"{Receipts(SECRET, epoch).token(queue_id, lease)}.{number:x}"
    assert Receipts(SECRET, epoch).parse(text) == (Token(epoch, queue_id, lease), number)
    assert quote(text, safe="") == text  # it goes into an address and into a shell as it stands


@given(QUEUE_IDS, LEASES, NUMBERS, st.integers(0, 31), st.sampled_from(BASE64URL))
def test_a_token_with_one_character_changed_is_refused(
    queue_id: int, lease: int, number: int, at: int, char: str
) -> None:
    receipts = Receipts(SECRET, 1)
    token = receipts.token(queue_id, lease)
    changed = token[:at] + char + token[at + 1 :]
    assert (receipts.parse(f"{changed}.{number:x}") is None) == (changed != token)


@given(QUEUE_IDS, LEASES)
def test_a_receipt_of_another_store_is_refused(queue_id: int, lease: int) -> None:
    foreign = Receipts(b"another secret of 32 bytes......", 1).token(queue_id, lease)
    assert Receipts(SECRET, 1).parse(f"{foreign}.1") is None


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)), min_size=2, max_size=4, unique=True)
)
def test_tokens_of_different_epochs_queues_and_leases_differ(made: list[tuple[int, int, int]]) -> None:
    assert len({Receipts(SECRET, epoch).token(queue, lease) for epoch, queue, lease in made}) == len(made)


@given(st.text(max_size=60))
def test_no_text_made_up_is_a_receipt(text: str) -> None:
    assert Receipts(SECRET, 1).parse(text) is None


@given(st.text(max_size=14))
def test_behind_a_good_token_only_a_hexadecimal_number_stands(number: str) -> None:
    receipts = Receipts(SECRET, 1)
    read = receipts.parse(f"{receipts.token(7, 8)}.{number}")
    assert (read is not None) == (canonical(number) and len(number) <= 12)


def canonical(number: str) -> bool:
    """Whether Python would write this number so; numbers begin at 1."""
    try:
        return int(number, 16) > 0 and f"{int(number, 16):x}" == number
    except ValueError:
        return False


@pytest.mark.parametrize(
    "garble",
    [
        "",
        ".",
        "{token}",
        "{token}.",
        "{token}.x",
        "{token}.-1",
        "{token}.+1",
        "{token}. 1",
        "{token}.1 ",
        "{token}.1\n",
        "{token}.1.1",
        "{token}.0x1",
        "{token}.1_0",
        "{token}.1000000000000",  # 13 digits
        " {token}.1",
        "{token}=.1",
        "{token}\n.1",
        "{head}.1",
    ],
)
def test_garbled_receipts_are_refused(garble: str) -> None:
    receipts = Receipts(SECRET, 1)
    token = receipts.token(7, 8)
    assert receipts.parse(f"{token}.1") == (Token(1, 7, 8), 1)
    assert receipts.parse(garble.format(token=token, head=token[:-4])) is None


def test_an_empty_token_is_refused_by_a_new_store() -> None:
    assert Receipts(SECRET, 1).parse(".1") is None


@pytest.mark.parametrize("garble", ["{token}.0a", "{token}.A", "{token}.\u0661", "{token}.00000000000a"])
def test_a_number_has_one_spelling(garble: str) -> None:
    """Or one receipt given twice in a call, spelled in two ways, would count twice."""
    receipts = Receipts(SECRET, 1)
    assert receipts.parse(garble.format(token=receipts.token(7, 8))) is None


def test_a_token_has_one_spelling() -> None:
    """The other alphabet of base64 is not taken for ours."""
    receipts = Receipts(SECRET, 1)
    tokens = [receipts.token(7, lease) for lease in range(200)]
    respelled = [token.replace("-", "+").replace("_", "/") for token in tokens]
    changed = [text for token, text in zip(tokens, respelled, strict=True) if text != token]
    assert changed
    assert [receipts.parse(f"{text}.1") for text in changed] == [None] * len(changed)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_good_token_read_before_lends_nothing_to_the_next(order: tuple[int, int]) -> None:
    receipts = Receipts(SECRET, 1)
    texts = [f"{receipts.token(7, 8)}.1", f"{receipts.token(7, 8)[:-1]}!.1"]
    read = {at: receipts.parse(texts[at]) for at in order}
    assert read == {0: (Token(1, 7, 8), 1), 1: None}
