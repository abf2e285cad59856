"""What the generator process is told and what it answers, as values that go through JSON."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

BODY_BYTES = 256


@dataclass(frozen=True, slots=True)
class Publish:
    """Publishers, each on a connection of its own, that publish `batch` messages of `body_bytes` a request.

    They publish again as soon as they are answered or, with a `rate`, so many messages a second in all, on
    time whether earlier ones are answered or not. Without a `routing_key`, straight into a queue. With a
    `spread`, `{}` in path and key is 0 to spread - 1, request by request.
    """

    path: str
    connections: int
    batch: int = 1
    rate: float = 0
    routing_key: str = ""
    spread: int = 1
    body_bytes: int = BODY_BYTES


@dataclass(frozen=True, slots=True)
class Consume:
    """Consumers that receive up to `batch` messages of a queue and acknowledge them.

    They do so inside their next receive or, by `call`, in a call of its own. With a `spread`, `{}` in the
    queue's name is 0 to spread - 1, consumer by consumer. If they are `parked`, all of them wait before the first
    message is published, they acknowledge by `call`, and those that wait when all is acknowledged are hung up on.
    """

    queue: str
    connections: int
    batch: int = 1
    wait_seconds: float = 0
    ack: Literal["next", "call"] = "next"
    spread: int = 1
    parked: bool = False


@dataclass(frozen=True, slots=True)
class Cycle:
    """Clients that publish `batch` messages straight to a queue, receive as many from it and acknowledge them.

    Three calls, one after the other, so that the queue is as deep afterwards as it was. They begin anew when they are
    done or, with a `rate`, so many messages a second in all, on time. With a `spread`, `{}` in the queue's name is
    0 to spread - 1, cycle by cycle.
    """

    queue: str
    connections: int
    batch: int = 1
    rate: float = 0
    spread: int = 1


@dataclass(frozen=True, slots=True)
class Spec:
    """One run against the server of process `pid` on `port`.

    Publishers alone, or cycles: they stop after `seconds`, of which the first `warm_seconds` are not counted, or after
    `most` messages. Consumers alone: the same, or when the queue is empty. Both: publishers
    stop as said, consumers when they have acknowledged everything, and all of it is counted.
    """

    port: int
    pid: int
    seconds: float
    warm_seconds: float = 0
    most: int = 0
    publish: Publish | None = None
    consume: Consume | None = None
    cycle: Cycle | None = None

    def dumps(self) -> str:
        """The spec as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> "Spec":
        """The spec again."""
        given: dict[str, Any] = json.loads(text)
        loads = {name: kind(**given[name]) for name, kind in LOADS.items() if given[name]}
        return cls(**{**given, **loads})


LOADS: dict[str, Callable[..., Publish | Consume | Cycle]] = {"publish": Publish, "consume": Consume, "cycle": Cycle}


@dataclass(slots=True)
class Latency:
    """Milliseconds, of `count` requests or messages."""

    count: int = 0
    p50_ms: float = 0
    p99_ms: float = 0
    max_ms: float = 0

    @classmethod
    def of(cls, nanoseconds: Sequence[int]) -> "Latency":
        """The percentiles of what was observed."""
        if not nanoseconds:
            return cls()
        ordered = sorted(nanoseconds)
        count = len(ordered)
        at = [ordered[count // 2], ordered[min(count - 1, count * 99 // 100)], ordered[-1]]
        return cls(count, *(round(value / 1e6, 3) for value in at))


@dataclass(slots=True)
class Result:
    """What came out of a run.

    `messages` were published (publishers alone) or acknowledged, in `seconds`; `requests` are the answers
    counted in that time. `answer` is the latency of the calls that publish or, of consumers alone, receive;
    `delivery` that from the intended publish to its receive (at a rate, or in a cycle). Processor time is in
    cores: of the generator, of the server and of all else on the machine. Where consumers were parked,
    `memory_mib` is the server's before they came, when they were connected, and when they waited.
    """

    messages: int
    seconds: float
    requests: int
    answer: Latency = field(default_factory=Latency)
    delivery: Latency = field(default_factory=Latency)
    generator_cpu: float = 0
    server_cpu: float = 0
    others_cpu: float = 0
    memory_mib: tuple[float, ...] = ()

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds

    @property
    def cpu_us(self) -> float:
        """The server's processor time a message, in microseconds; 0 where no message was counted."""
        return self.server_cpu / self.rate * 1e6 if self.messages else 0.0

    def dumps(self) -> str:
        """The result as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> "Result":
        """The result again."""
        given: dict[str, Any] = json.loads(text)
        answer, delivery = Latency(**given.pop("answer")), Latency(**given.pop("delivery"))
        return cls(**given, answer=answer, delivery=delivery)
