"""Repair by people: purge, remove, redrive, release."""

import json
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice
from typing import Literal

from queuesvc.domain.commands import PurgeQueue, Redrive, Release, RemoveMessage
from queuesvc.domain.effects import Purged
from queuesvc.domain.errors import Code, no_message
from queuesvc.domain.globs import Globs
from queuesvc.domain.machine.death import move
from queuesvc.domain.machine.delivery import give_back
from queuesvc.domain.machine.queue import Queue
from queuesvc.domain.machine.state import State
from queuesvc.domain.messages import DEAD, DELAYED, LEASED, READY, Message
from queuesvc.domain.model import Content
from queuesvc.domain.model import State as MessageState
from queuesvc.domain.replies import Done, Purge, Redriven, Released

Source = Literal["dead", "arrived"]

LOOKED_AT_ONCE = 500
MANY = 1000
MOVED_BYTES_AT_ONCE = 8 * 1024 * 1024


def purge(state: State, command: PurgeQueue) -> Purge:
    """Remove all messages in a state, at once for everyone; their rows go bit by bit."""
    queue = state.queue(command.queue)
    states = (READY, DELAYED) if command.state is None else (command.state,)
    counts = {READY: queue.ready_count, DELAYED: queue.delayed, LEASED: queue.leased, DEAD: queue.dead}
    count = sum(counts[state_] for state_ in states)
    if command.dry_run or not count:
        return Purge(count)
    gone = [message for message in queue.messages.values() if message.state in states]
    numbers = array("q", sorted(message.number for message in gone))
    if len(gone) > MANY:
        gone = _purge_many(state, queue, states)
    for message in gone:
        state.leave_state(queue, message)
        state.end_lease(message)
        state.forget(queue, message)
    if READY in states:
        fresh, size = queue.ready.clear_fresh()
        queue.ready_count -= len(fresh)
        queue.open_bytes -= size
        queue.bytes -= size
        numbers = fresh if not numbers else array("q", sorted((*numbers, *fresh)))
    queue.totals.purged += count
    state.effects.purges.append(Purged(queue.id, _runs(numbers)))
    state.touch(queue)
    state.emptied(queue)
    return Purge(count)


def _purge_many(state: State, queue: Queue, states: tuple[MessageState, ...]) -> list[Message]:
    """Purge those that have neither group nor lease all together; returns the others, for one at a time.

    A message's memory is freed later, bit by bit: undoing each by itself would hold everyone up.
    """
    kept: dict[int, Message] = {}
    rest: list[Message] = []
    counts = dict.fromkeys(MessageState, 0)
    size = 0
    for number, message in queue.messages.items():
        if message.state in states and message.group is None and message.lease is None:
            counts[message.state] += 1
            size += message.size
            continue
        kept[number] = message
        if message.state in states:
            rest.append(message)
    queue.ready_count -= counts[READY]
    queue.delayed -= counts[DELAYED]
    queue.dead -= counts[DEAD]
    queue.bytes -= size
    if DEAD not in states:
        queue.open_bytes -= size
    state.discarded.append(queue.messages)
    queue.messages = kept
    queue.ready.messages = kept
    return rest


def _runs(numbers: "array[int]") -> "array[int]":
    """Ascending numbers as runs: from, to, from, to ... Long runs are galloped over."""
    runs = array("q")
    at, end = 0, len(numbers)
    while at < end:
        first, step = at, 1
        while step:
            if at + step < end and numbers[at + step] - numbers[at] == step:
                at += step
                step *= 2
            else:
                step //= 2
        runs.extend((numbers[first], numbers[at]))
        at += 1
    return runs


def remove_message(state: State, command: RemoveMessage) -> Done:
    """Remove one message; counted as purged."""
    queue = state.queue(command.queue)
    message = state.find_by_id(queue, command.id)
    if message is None:
        raise no_message(queue.name, command.id)
    state.remove(queue, message)
    queue.totals.purged += 1
    return Done()


def release(state: State, command: Release) -> Released:
    """End leases now: the messages are ready again, no failure counted."""
    queue = state.queue(command.queue)
    failed: list[tuple[str, Code]] = []
    found: dict[int, Message] = {}
    for id_ in dict.fromkeys(command.ids):
        number = state.number_of(queue, id_)
        message = None if number is None else queue.messages.get(number)
        if number is None:
            failed.append((id_, Code.GONE))
        elif message is None or message.state is not LEASED:
            failed.append((id_, Code.LEASE_LOST))
        else:
            found[number] = message
    if not command.dry_run:
        for message in found.values():
            if message.state is LEASED:
                give_back(state, queue, message, 0, found)
    return Released(len(found), tuple(failed))


# --- redrive --------------------------------------------------------------------


def redrive(state: State, command: Redrive) -> Redriven:
    """One bounded step: messages taken up again, in order, at the tail of where they go."""
    queue = state.queue(command.queue)
    if command.to_queue is not None:
        state.queue(command.to_queue)
    source: Source = command.source or ("dead" if queue.dead else "arrived")
    before = command.before or state.numbers.message
    failed: list[tuple[str, Code]] = []
    looked = list(islice(_numbers(state, queue, command, source, before, failed), LOOKED_AT_ONCE))
    moved = 0
    size = 0
    last = command.after
    more = len(looked) == LOOKED_AT_ONCE
    for number in looked:
        if moved >= command.max_messages or size > MOVED_BYTES_AT_ONCE:
            more = True
            break
        last = number
        content = state.contents.content(number)
        target = _target(state, queue, command, source, content)
        if not isinstance(target, Queue):
            id_ = state.ids.make(content.published_at, content.first)
            if target is not None:
                failed.append((id_, Code.QUEUE_NOT_FOUND))
            elif command.ids is not None:
                failed.append((id_, Code.MESSAGE_NOT_FOUND))
            continue
        moved += 1
        size += len(content.body)
        if not command.dry_run:
            _redrive_one(state, queue, target, number, content)
    return Redriven(moved, tuple(failed), source, last if more else None, before)


def _numbers(
    state: State, queue: Queue, command: Redrive, source: Source, before: int, failed: list[tuple[str, Code]]
) -> Iterator[int]:
    """The messages to look at, in order."""
    wanted = DEAD if source == "dead" else READY
    if command.ids is not None:
        found: set[int] = set()
        for id_ in dict.fromkeys(command.ids):
            number = state.number_of(queue, id_)
            message = None if number is None else queue.messages.get(number)
            if number is not None and (READY if message is None else message.state) is wanted:
                if number > command.after:
                    found.add(number)
            elif not command.after:  # a later step finds those gone that an earlier one moved
                failed.append((id_, Code.MESSAGE_NOT_FOUND))
        return iter(sorted(found))
    return _candidates(queue, source, before, command.after)


def _candidates(queue: Queue, source: Source, before: int, after: int) -> Iterator[int]:
    """Those behind a number that are still there. Their list is made by the first step and kept for the next ones."""
    kept = queue.redriving
    if not after or kept is None or kept[:2] != (source, before):
        wanted = DEAD if source == "dead" else READY
        numbers = {m.number for m in queue.messages.values() if m.state is wanted and m.number < before}
        if wanted is READY:
            for priority in queue.ready.fresh_priorities():
                numbers.update(number for number, _, _ in queue.ready.fresh_after(priority, 0) if number < before)
        kept = queue.redriving = (source, before, array("q", sorted(numbers)))
    candidates = kept[2]
    for at in range(bisect_right(candidates, after), len(candidates)):
        if _is_candidate(queue, source, candidates[at]):
            yield candidates[at]
    queue.redriving = None


def _is_candidate(queue: Queue, source: Source, number: int) -> bool:
    message = queue.messages.get(number)
    if message is not None:
        return message.state is (DEAD if source == "dead" else READY)
    return source == "arrived" and queue.ready.find_fresh(number) is not None


def _target(state: State, queue: Queue, command: Redrive, source: Source, content: Content) -> Queue | str | None:
    """Where a message goes; the name of a queue that is no more; None where it is not to be moved."""
    origin = queue.name
    if source == "arrived":
        deaths = json.loads(f"[{content.deaths}]")
        if not deaths or deaths[0]["queue"] == queue.name:
            return None
        origin = deaths[0]["queue"]
    name = command.to_queue or origin
    if name != queue.name and command.targets is not None and not Globs(command.targets).look(name):
        return name
    return state.queues.get(name, name)


def _redrive_one(state: State, queue: Queue, target: Queue, number: int, content: Content) -> None:
    message = queue.ready.materialise(number)
    assert message is not None  # `_numbers` named it
    if message.state is READY and content.deaths:
        # Back where it died, it is what it was there.
        death = json.loads(f"[{content.deaths}]")[0]
        content = content._replace(exchange=death["exchange"], routing_key=death["routing_key"])
    own_ttl_ms = message.ttl_ms
    state.remove(queue, message)
    if target is queue:
        # It stays in its queue, so no move is counted; at the tail it is a new copy all the same.
        queue.totals.moved_out -= 1
        queue.totals.moved_in -= 1
    move(state, queue, [target], content, own_ttl_ms)
