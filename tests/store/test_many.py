"""More than fits one step: thousands due at once, thousands in line, answers bounded by bytes (§5, §11)."""

from random import Random

from queuesvc.domain.limits import Limits
from tests.store.driver import Driver, message, receipts, texts

THOUSANDS = 5000


async def fill(store: Driver, count: int, delay_ms: int | None = None) -> list[str]:
    bodies = [str(number) for number in range(count)]
    for at in range(0, count, 1000):
        await store.publish(*(message(body, delay_ms=delay_ms) for body in bodies[at : at + 1000]))
    return bodies


async def settle_time(store: Driver) -> None:
    """Batches until nothing is due any more, as a broker makes them: each must get on."""
    for _ in range(100):
        due = store.store.next_due()
        if due is None or due > store.now:
            return
        await store.batch()
    raise AssertionError(f"still due at {due}")


async def test_thousands_of_delays_that_end_at_once(store: Driver) -> None:
    await store.queue()
    bodies = await fill(store, THOUSANDS, delay_ms=1000)
    await store.after(1)
    await settle_time(store)
    assert await store.counts() == {"ready": THOUSANDS}
    assert await store.bodies(max_messages=THOUSANDS) == bodies


async def test_thousands_of_leases_that_end_at_once(store: Driver) -> None:
    await store.queue(delivery_limit=2, lease_seconds=1)
    bodies = await fill(store, THOUSANDS)
    for _ in range(THOUSANDS // 100):
        await store.receive(max_messages=100)
    assert await store.counts() == {"leased": THOUSANDS}
    await store.after(1)
    await settle_time(store)
    assert await store.bodies(max_messages=THOUSANDS) == bodies
    await store.after(1)
    await settle_time(store)
    assert await store.counts() == {"dead": THOUSANDS}


async def test_order_among_thousands_that_come_back_and_thousands_that_are_new(store: Driver) -> None:
    await store.queue(max_priority=1, delivery_limit=None)
    random = Random(7)
    bodies = [str(number) for number in range(2 * THOUSANDS)]
    priorities = {body: random.randrange(2) for body in bodies}
    for at in range(0, len(bodies), 500):
        await store.publish(*(message(body, priority=priorities[body]) for body in bodies[at : at + 500]))
        received = await store.receive(max_messages=random.randrange(1, 400))
        await store.nack(*random.sample(receipts(received), len(received.deliveries)))
    taken: list[str] = []
    while more := await store.bodies(max_messages=random.randrange(1, 1500), auto_ack=True):
        taken += more
    assert taken == sorted(bodies, key=lambda body: (-priorities[body], int(body)))


async def test_an_answer_is_bounded_by_bytes_but_never_empty(store: Driver) -> None:
    await store.queue(max_priority=1)
    mib = Limits().body_bytes
    for _ in range(17):
        await store.publish("x" * mib)
    await store.publish(message("urgent", priority=1))
    received = await store.receive()
    assert [len(text) for text in texts(received)] == [6] + [mib] * 15  # one more would be above 16 MiB
    assert len((await store.receive()).deliveries) == 2
