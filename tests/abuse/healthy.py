"""The client that behaves: it publishes, receives and acknowledges at a modest rate, in a process of its own.

`python -m tests.abuse.healthy PORT FILE` until its standard input ends. Each cycle is a line of FILE: when it began
(the monotonic clock, which all processes share) and how long it took, in seconds. Whatever is not answered as
it should be ends it with exit code 1 and a line that says so.
"""

import json
import select
import sys
import time
from itertools import count
from pathlib import Path
from typing import TextIO

from tests.http.wire import connect, read_answer, request_bytes

QUEUE = "healthy"
CYCLES_PER_SECOND = 50


class Unserved(Exception):
    """The healthy client was not answered as it should be."""


def run(port: int, file: TextIO) -> None:
    """Cycles until nobody wants more. Raises `Unserved`."""
    due = time.monotonic()
    with connect(f"http://127.0.0.1:{port}") as wire:

        def ask(verb: str, body: bytes, status: int) -> bytes:
            wire.sendall(request_bytes(f"/v1/queues/{QUEUE}/{verb}", body))
            answer = read_answer(wire)
            if answer is None or answer[0] != status:
                raise Unserved(f"{verb}: {answer}")
            return answer[1]

        for number in count():
            due += 1 / CYCLES_PER_SECOND
            if select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
                return
            began, body = time.monotonic(), f"message {number}"
            ask("messages", body.encode(), 201)
            [message] = json.loads(ask("receive", b'{"wait_seconds": 30}', 200))["messages"]
            settled = json.loads(ask("ack", json.dumps({"receipts": [message["receipt"]]}).encode(), 200))
            if message["body"] != body or settled["acked"] != 1 or message["delivery_count"] != 1:
                raise Unserved(f"cycle {number}: {message} {settled}")
            took = time.monotonic() - began
            due = max(due, began)
            file.write(f"{began} {took}\n")
            file.flush()


def cycles(path: Path) -> list[tuple[float, float]]:
    """The cycles of such a file, but for one that is being written."""
    lines = path.read_text().split("\n")[:-1]
    return [(float(began), float(took)) for began, _, took in (line.partition(" ") for line in lines)]


if __name__ == "__main__":
    with Path(sys.argv[2]).open("w") as out:
        try:
            run(int(sys.argv[1]), out)
        except (Unserved, OSError) as error:
            sys.exit(f"the healthy client was not served: {error!r}")
