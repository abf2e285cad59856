"""The checker, on histories made by hand: each fault that it must find is planted, and what only looks like one."""

from collections.abc import Callable, Mapping

import pytest

from tests.crash.checker import KINDS, check
from tests.crash.history import Delivery, How, Outcome, Sent, Settling
from tests.crash.story import Story, id_of

# --- what is right ------------------------------------------------------------------


def test_a_history_without_faults_and_its_figures() -> None:
    story = Story()
    story.publish("a", "all", "red")
    story.publish("b", "all")
    story.publish("refused", "small", outcome=Outcome.REFUSED)
    story.publish("cut off, stored", "all", outcome=Outcome.UNKNOWN, stored=True)
    story.publish("cut off", "all", outcome=Outcome.UNKNOWN)
    story.take("all", "a", 1)
    held = story.delivery("red", "a", 1, lease_seconds=0)
    story.receive("red", held)
    story.take("red", "a", 1, count=2)
    story.settle(held, code="gone")
    story.take("all", "b", 2)
    story.take("all", "cut off, stored", 3)
    verdict = check(story.history.ops, story.stats())
    assert verdict.faults == []
    figures = verdict.figures
    assert (figures["attempted"], figures["acknowledged"], figures["delivered"]) == (6, 3, 4)
    assert (figures["deliveries"], figures["duplicated"], figures["recovered"]) == (5, 1, 1)
    assert figures["unknown"] == 2
    assert {figures[kind] for kind in KINDS} == {0}


def test_an_ack_that_was_cut_off_explains_what_is_gone() -> None:
    story = Story()
    story.publish("a", "all")
    held = story.delivery("all", "a", 1)
    story.receive("all", held)
    story.settle(held, outcome=Outcome.UNKNOWN)
    story.settle(held, code="gone")
    assert story.faults() == []


def test_or_it_was_not_done_and_the_message_comes_again() -> None:
    story = Story()
    story.publish("a", "all")
    held = story.delivery("all", "a", 1, lease_seconds=0)
    story.receive("all", held)
    story.settle(held, outcome=Outcome.UNKNOWN, happened=0)
    story.take("all", "a", 1, count=2)
    assert story.faults() == []


def dead_and_back(story: Story) -> Delivery:
    """Rejected in `work`, seen in `graves`, redriven to where it came from. Returns its delivery there."""
    story.publish("a", "work")
    first = story.delivery("work", "a", 1)
    story.receive("work", first)
    story.settle(first, How.REJECT)
    second = story.delivery("graves", "a", 2, died=(("work", first.id),))
    story.receive("graves", second)
    story.settle(second, How.BACK)
    third = story.delivery("work", "a", 3, died=(("work", first.id),))
    story.receive("work", third)
    for queue in ("work", "graves"):
        story.totals[queue].update(moved_out=1, moved_in=1)
    story.totals["work"]["dead_lettered"] += 1
    return third


def test_a_message_may_move() -> None:
    story = Story()
    story.settle(dead_and_back(story))
    assert story.faults() == []


def test_a_purge_and_a_time_to_live_explain_what_is_gone() -> None:
    story = Story()
    for tag in ("a", "b"):
        story.publish(tag, "purged")
    story.publish("c", "brief")
    purge = story.history.invoke("purge", "purged")
    purge.count = 2
    story.end(purge)
    story.totals["purged"]["purged"] = 2
    story.totals["brief"]["expired"] = 1
    assert story.faults() == []


def test_a_transaction_that_was_cut_off_may_have_happened() -> None:
    story = transaction(published=True, acked=True)
    assert story.faults() == []
    story = transaction(published=False, acked=False)
    assert story.faults() == []


# --- what is not --------------------------------------------------------------------


def lost(story: Story) -> None:
    story.publish("a", "all", "red")
    story.take("all", "a", 1)


def lost_behind_a_purge(story: Story) -> None:
    for tag in ("a", "b"):
        story.publish(tag, "purged")
    story.totals["purged"]["purged"] = 1
    purge = story.history.invoke("purge", "purged")
    purge.count = 1
    story.end(purge)


def lost_though_an_old_ack_was_cut_off(story: Story) -> None:
    story.publish("a", "all")
    held = story.delivery("all", "a", 1, lease_seconds=0)
    story.receive("all", held)
    story.settle(held, outcome=Outcome.UNKNOWN, happened=0)
    story.receive("all", story.delivery("all", "a", 1, count=2))


def never_published(story: Story) -> None:
    story.publish("a", "all")
    story.take("all", "a", 1)
    story.take("all", "ghost", 2)


def in_another_queue(story: Story) -> None:
    story.publish("a", "all")
    story.take("all", "a", 1)
    story.take("red", "a", 1)


def refused_and_there(story: Story) -> None:
    story.publish("a", "small", outcome=Outcome.REFUSED)
    story.take("small", "a", 1)


def another_body(story: Story) -> None:
    story.publish("a", "all")
    story.take("all", "a", 1, size=7)


def another_id(story: Story) -> None:
    story.publish("a", "all")
    story.take("all", "a", 5)


def acked_and_seen_again(story: Story) -> None:
    story.publish("a", "all")
    story.take("all", "a", 1)
    story.receive("all", story.delivery("all", "a", 1, count=2))


def acked_and_seen_again_where_it_moved(story: Story) -> None:
    story.settle(dead_and_back(story))
    story.receive("graves", story.delivery("graves", "a", 4, died=(("work", id_of(3)), ("work", id_of(1)))))


def taken_by_auto_ack_and_seen_again(story: Story) -> None:
    story.publish("a", "auto")
    story.receive("auto", story.delivery("auto", "a", 1), auto_ack=True)
    story.receive("auto", story.delivery("auto", "a", 1, count=2), auto_ack=True)


def settled_by_a_stale_receipt(story: Story) -> None:
    story.publish("a", "all")
    old = story.delivery("all", "a", 1, lease_seconds=0)
    story.receive("all", old)
    story.receive("all", story.delivery("all", "a", 1, count=2))
    story.settle(old)


def settled_twice(story: Story) -> None:
    story.publish("a", "all")
    story.settle(story.take("all", "a", 1))


def extended_after_it_was_given_back(story: Story) -> None:
    story.publish("a", "all")
    held = story.delivery("all", "a", 1)
    story.receive("all", held)
    story.settle(held, How.BACK)
    story.settle(held, How.EXTEND)
    story.take("all", "a", 1, count=2)


def two_leases(story: Story) -> None:
    story.publish("a", "all")
    story.receive("all", story.delivery("all", "a", 1))
    story.take("all", "a", 1, count=2)


def two_leases_where_it_moved(story: Story) -> None:
    third = dead_and_back(story)
    story.take("graves", "a", 4, died=third.died)


def two_leases_of_a_group(story: Story) -> None:
    for tag in ("a", "b"):
        story.publish(tag, "groups")
    first = story.delivery("groups", "a", 1, group="g")
    story.receive("groups", first)
    story.take("groups", "b", 2, group="g")
    story.settle(first)


def lost_its_lease_early(story: Story) -> None:
    story.publish("a", "all")
    held = story.delivery("all", "a", 1)
    story.receive("all", held)
    story.settle(held, code="lease-lost")
    story.settle(held)


def delivered_twice_with_one_count(story: Story) -> None:
    story.publish("a", "all")
    story.receive("all", story.delivery("all", "a", 1, lease_seconds=0))
    again = Delivery("all", "a", id_of(1), "another")
    story.receive("all", again)
    story.settle(again)


def out_of_order(story: Story) -> None:
    for tag in ("a", "b", "c"):
        story.publish(tag, "all")
    story.take("all", "b", 2)
    story.take("all", "c", 3)
    story.take("all", "a", 1)


def out_of_order_in_one_answer(story: Story) -> None:
    for tag in ("a", "b"):
        story.publish(tag, "all")
    both = story.delivery("all", "b", 2), story.delivery("all", "a", 1)
    story.receive("all", *both)
    for delivery in both:
        story.settle(delivery)


def doubled_by_a_retry(story: Story) -> None:
    story.publish("a", "all", outcome=Outcome.UNKNOWN, stored=True)
    story.publish("a", "all", number=2)
    story.take("all", "a", 1)
    story.take("all", "a", 2)


def answered_twice_as_new(story: Story) -> None:
    story.publish("a", "all")
    story.publish("a", "all", number=1, stored=False)
    story.take("all", "a", 1)


def fanned_out_in_part(story: Story) -> None:
    story.publish("a", "all", "red", outcome=Outcome.UNKNOWN, stored=True)
    story.take("all", "a", 1)


def transaction(published: bool, acked: bool) -> Story:
    """A transaction that acks `a` and publishes `b` is cut off."""
    story = Story()
    story.publish("a", "all")
    held = story.delivery("all", "a", 1, lease_seconds=0)
    story.receive("all", held)
    story.history.invoke("transaction", sent=[Sent("b", ("sink",))], settling=[Settling(held.receipt, How.ACK)])
    if published:
        story.totals["sink"]["published"] += 1
        story.take("sink", "b", 2)
    if acked:
        story.totals["all"]["acked"] += 1
    else:
        story.take("all", "a", 1, count=2)
    return story


PLANTED: Mapping[Callable[[Story], None], set[str]] = {
    lost: {"lost", "counters"},
    lost_behind_a_purge: {"lost", "counters"},
    lost_though_an_old_ack_was_cut_off: {"lost", "counters"},
    never_published: {"unexpected", "counters"},
    in_another_queue: {"unexpected", "counters"},
    refused_and_there: {"unexpected", "counters"},
    another_body: {"unexpected"},
    another_id: {"unexpected"},
    acked_and_seen_again: {"seen again"},
    acked_and_seen_again_where_it_moved: {"seen again", "counters"},
    taken_by_auto_ack_and_seen_again: {"seen again", "stale receipt", "counters"},
    settled_by_a_stale_receipt: {"stale receipt", "seen again"},
    settled_twice: {"stale receipt", "counters"},
    extended_after_it_was_given_back: {"stale receipt"},
    two_leases: {"two leases"},
    two_leases_where_it_moved: {"two leases", "counters"},
    two_leases_of_a_group: {"two leases"},
    lost_its_lease_early: {"lease lost"},
    delivered_twice_with_one_count: {"unmarked"},
    out_of_order: {"order"},
    out_of_order_in_one_answer: {"order"},
    doubled_by_a_retry: {"doubled", "stale receipt", "counters", "seen again"},
    answered_twice_as_new: {"doubled"},
    fanned_out_in_part: {"torn", "lost", "counters"},
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_it_finds(plant: Callable[[Story], None]) -> None:
    story = Story()
    plant(story)
    found = set(story.faults())
    assert found == PLANTED[plant]


def test_it_finds_a_torn_transaction() -> None:
    assert "torn" in transaction(published=True, acked=False).faults()
    assert {"lost"} <= set(transaction(published=False, acked=True).faults())


@pytest.mark.parametrize("total", ["published", "acked", "purged", "expired", "dropped", "nacked", "moved_in"])
def test_it_finds_a_counter_that_is_off(total: str) -> None:
    story = Story()
    story.publish("a", "all")
    story.take("all", "a", 1)
    assert story.faults() == []
    story.totals["all"][total] += 1
    assert set(story.faults()) == {"counters"}


def test_it_finds_counters_that_are_off_and_add_up() -> None:
    story = Story()
    story.publish("a", "all")
    story.take("all", "a", 1)
    story.totals["all"].update(acked=1, published=1)
    assert set(story.faults()) == {"counters"}
