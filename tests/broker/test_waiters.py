"""The lines of waiting receives: first come, first served, and leaving costs nobody anything."""

import asyncio

from queuesvc.broker.waiters import Waiter, Waiters
from queuesvc.domain.commands import Receive


def waiter(queue: str = "q") -> Waiter:
    return Waiter(Receive(queue), asyncio.get_running_loop().create_future())


async def joined(waiters: Waiters, count: int, queue: str = "q") -> list[Waiter]:
    made = [waiter(queue) for _ in range(count)]
    for each in made:
        waiters.join(each)
    return made


async def test_they_are_taken_in_the_order_they_came() -> None:
    waiters = Waiters()
    first, second, third = await joined(waiters, 3)
    assert [waiters.take("q") for _ in range(4)] == [first.receive, second.receive, third.receive, None]


async def test_each_queue_has_its_own_line() -> None:
    waiters = Waiters()
    (here,) = await joined(waiters, 1, "here")
    (there,) = await joined(waiters, 1, "there")
    assert waiters.take("nowhere") is None
    assert waiters.take("there") is there.receive
    assert waiters.take("there") is None
    assert waiters.take("here") is here.receive


async def test_who_left_is_passed_over_and_no_longer_counted() -> None:
    waiters = Waiters()
    first, second, third = await joined(waiters, 3)
    assert waiters.leave(second)
    assert (waiters.count("q"), len(waiters)) == (2, 2)
    assert [waiters.take("q") for _ in range(3)] == [first.receive, third.receive, None]
    assert (waiters.count("q"), len(waiters)) == (0, 0)


async def test_one_can_leave_only_once_and_not_after_being_taken() -> None:
    waiters = Waiters()
    left, taken = await joined(waiters, 2)
    assert waiters.leave(left)
    assert not waiters.leave(left)
    assert waiters.take("q") is taken.receive
    assert not waiters.leave(taken)
    assert waiters.served(taken.receive) is taken


async def test_all_may_leave_and_others_come() -> None:
    waiters = Waiters()
    for one in await joined(waiters, 100):
        assert waiters.leave(one)
    assert waiters.take("q") is None
    assert waiters.everyone() == []
    (late,) = await joined(waiters, 1)
    assert waiters.everyone() == [late]
    assert waiters.take("q") is late.receive


async def test_leaving_keeps_the_order_of_the_others() -> None:
    waiters = Waiters()
    made = await joined(waiters, 1000)
    for index, one in enumerate(made):
        if index % 7:
            waiters.leave(one)
    stay = [one.receive for one in made[::7]]
    assert waiters.count("q") == len(stay)
    assert [waiters.take("q") for _ in stay] == stay


async def test_the_queues_that_somebody_joined_are_told_once() -> None:
    waiters = Waiters()
    await joined(waiters, 2, "a")
    await joined(waiters, 1, "b")
    assert list(waiters.new()) == ["a", "b"]
    assert list(waiters.new()) == []


async def test_those_taken_by_a_batch_that_failed_are_known() -> None:
    waiters = Waiters()
    first, second, third = await joined(waiters, 3)
    waiters.take("q")
    waiters.take("q")
    assert waiters.take_taken() == [first, second]
    assert waiters.take_taken() == []
    assert waiters.everyone() == [third]


async def test_the_same_receive_twice_is_two() -> None:
    waiters = Waiters()
    one, other = Receive("q"), Receive("q")
    assert one != other
    loop = asyncio.get_running_loop()
    for receive in (one, other):
        waiters.join(Waiter(receive, loop.create_future()))
    waiters.take("q")
    waiters.take("q")
    assert waiters.served(other).receive is other
    assert waiters.served(one).receive is one
