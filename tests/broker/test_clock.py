"""Broker time: never back, no jumps, and right again in the end (§10.9)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesvc.broker.clock import SLEW, Clock
from tests.support.brokers import Hands

HOUR = 3600.0


def test_it_starts_at_the_wall_clock() -> None:
    hands = Hands(wall=1000.5)
    assert hands.clock().now() == 1_000_500


def test_it_starts_no_earlier_than_what_the_store_last_saw() -> None:
    hands = Hands(wall=1000.0)
    assert hands.clock(2_000_000).now() == 2_000_000


def test_with_both_clocks_in_step_it_shows_the_wall_clock() -> None:
    hands = Hands(wall=1000.0)
    clock = hands.clock()
    for _ in range(1000):
        hands.pass_seconds(0.25)
        assert clock.now() == pytest.approx(hands.wall * 1000, abs=1)


def test_a_wall_clock_set_an_hour_ahead_makes_it_a_tenth_faster_and_no_more() -> None:
    hands = Hands(wall=1000.0)
    clock = hands.clock()
    hands.wall += HOUR
    assert clock.now() == 1_000_000
    hands.pass_seconds(30)
    assert clock.now() == pytest.approx(1_000_000 + 30_000 * (1 + SLEW), abs=1)


def test_a_wall_clock_set_an_hour_back_makes_it_a_tenth_slower_and_never_turns_it_back() -> None:
    hands = Hands(wall=10_000.0)
    clock = hands.clock()
    hands.wall -= HOUR
    assert clock.now() == 10_000_000
    hands.pass_seconds(30)
    assert clock.now() == pytest.approx(10_000_000 + 30_000 * (1 - SLEW), abs=1)


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_after_ten_hours_it_agrees_with_the_wall_clock_again(jump: float) -> None:
    hands = Hands()
    clock = hands.clock()
    hands.wall += jump
    for _ in range(int(abs(jump) / SLEW) + 1):
        hands.pass_seconds(1)
        clock.now()
    assert clock.now() == pytest.approx(hands.wall * 1000, abs=1)
    hands.pass_seconds(5)
    assert clock.now() == pytest.approx(hands.wall * 1000, abs=1)


def test_how_often_it_is_looked_at_makes_no_difference() -> None:
    hands = Hands()
    often, seldom = hands.clock(), hands.clock()
    hands.wall += 3
    for _ in range(600):
        hands.pass_seconds(0.01)
        often.now()
    assert often.now() == pytest.approx(seldom.now(), abs=1)


STEPS = st.lists(st.tuples(st.floats(0, 10_000), st.floats(-1e6, 1e6)), max_size=50)


@given(STEPS)
def test_whatever_the_wall_clock_does_it_keeps_within_a_tenth_of_the_time_that_passed(
    steps: list[tuple[float, float]],
) -> None:
    hands = Hands(wall=1e9)
    clock = hands.clock()
    before = clock.now()
    for passed, jump in steps:
        hands.monotonic += passed
        hands.wall += passed + jump
        after = clock.now()
        assert passed * 1000 * (1 - SLEW) - 1 <= after - before <= passed * 1000 * (1 + SLEW) + 1
        before = after


def test_by_default_it_runs_on_the_clocks_of_the_machine() -> None:
    clock = Clock()
    first = clock.now()
    assert 0 <= clock.now() - first < 60_000
