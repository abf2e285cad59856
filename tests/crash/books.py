"""The file's own books: what the counters say against the rows, counted one by one."""

from array import array
from pathlib import Path
from typing import Any

from tests.support.stores import look

# What may not be there: how to say it of a row, and the rows.
WRONG = {
    "{} by the counters of {}, {} rows": """
        SELECT kept, name, count FROM (
            SELECT published + moved_in - acked - expired - dropped - purged - moved_out AS kept, name,
                   (SELECT count(*) FROM message WHERE queue_id = queue.id) AS count
            FROM queue)
        WHERE kept <> count""",
    "{} rows of queue {}, which is not there": """
        SELECT count(*), queue_id FROM message
        WHERE queue_id NOT IN (SELECT id FROM queue UNION SELECT queue_id FROM reclaim) GROUP BY queue_id""",
    "body {} has {} references and {} rows": """
        SELECT body.id, refs, coalesce(n, 0)
        FROM body LEFT JOIN (SELECT body_id, count(*) AS n FROM message GROUP BY body_id) ON body_id = body.id
        WHERE n IS NULL OR refs <> n""",
    "the body of message {} is gone": """
        SELECT id FROM message WHERE body_id <> 0 AND body_id NOT IN (SELECT id FROM body)""",
    "message {} has {} bytes in its row and {} in fact": """
        SELECT id, size, bytes FROM (
            SELECT id, size, length(CASE body_id WHEN 0 THEN body ELSE
                (SELECT shared.body FROM body AS shared WHERE shared.id = message.body_id) END) AS bytes
            FROM message)
        WHERE size <> bytes""",
}


def audit(file: Path) -> list[str]:
    """Everything that does not add up in a store that was closed properly."""
    problems = [f"integrity_check: {row}" for (row,) in look(file, "PRAGMA integrity_check") if row != "ok"]
    for what, sql in WRONG.items():
        problems += [what.format(*row) for row in look(file, sql)]
    return problems + _leases(file) + _numbers(file)


def _leases(file: Path) -> list[str]:
    """A lease row is there for as long as one of its messages is, and belongs to their queue."""
    queues = dict(look(file, "SELECT id, queue_id FROM message"))
    problems = []
    for id_, queue_id, members in look(file, "SELECT id, queue_id, members FROM lease"):
        there = [number for number in array("q", members) if number in queues]
        if not there:
            problems.append(f"lease {id_} holds nothing that is there")
        if any(queues[number] != queue_id for number in there):
            problems.append(f"lease {id_} of queue {queue_id} holds messages of another")
    return problems


def _numbers(file: Path) -> list[str]:
    """No number that is in use may be given again."""
    ((message, lease),) = look(file, "SELECT next_message, next_lease FROM meta")
    ((last_message,),) = look(file, "SELECT coalesce(max(id), 0) FROM message")
    ((last_lease,),) = look(
        file, "SELECT max(coalesce(max(id), 0), (SELECT coalesce(max(lease_id), 0) FROM message)) FROM lease"
    )
    problems = []
    if last_message >= message or last_lease >= lease:
        problems.append(f"numbers in use: {last_message} of {message}, {last_lease} of {lease}")
    return problems


_BY_QUEUE = """SELECT name, count(message.id), coalesce(sum(size), 0)
    FROM queue LEFT JOIN message ON queue_id = queue.id GROUP BY name"""


def rows_by_queue(file: Path) -> dict[str, tuple[int, int]]:
    """Messages and bytes of each queue, counted."""
    return {name: (count, size) for name, count, size in look(file, _BY_QUEUE)}


def compare(rows: dict[str, tuple[int, int]], stats: dict[str, dict[str, Any]]) -> list[str]:
    """What the broker says of its queues after a start, against the rows it started from."""
    problems = []
    for name, (count, size) in rows.items():
        says = stats[name]
        here = says["ready"] + says["leased"] + says["delayed"] + says["dead"]
        if (here, says["bytes"]) != (count, size):
            problems.append(f"{name}: says {here} messages of {says['bytes']} bytes, there are {count} of {size}")
    return problems
