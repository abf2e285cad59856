"""What the generator process is told and what it answers, as values that go through JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

BODY_BYTES = 256


@dataclass(frozen=True, slots=True)
class Publish:
    """Publishers, each on a connection of its own, that publish `batch` messages of 256 bytes a request.

    They publish again as soon as they are answered or, with a `rate`, so many messages a second in all, on
    time whether earlier ones are answered or not. Without a `routing_key`, straight into a queue.
    """

    path: str
    connections: int
    batch: int = 1
    rate: float = 0
    routing_key: str = ""


@dataclass(frozen=True, slots=True)
class Consume:
    """Consumers that receive up to `batch` messages of a queue and acknowledge them.

    They do so inside their next receive or, by `call`, in a call of its own.
    """

    queue: str
    connections: int
    batch: int = 1
    wait_seconds: float = 0
    ack: Literal["next", "call"] = "next"


@dataclass(frozen=True, slots=True)
class Spec:
    """One run against the server of process `pid` on `port`.

    Publishers alone: they stop after `seconds`, of which the first `warm_seconds` are not counted, or after
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

    def dumps(self) -> str:
        """The spec as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> "Spec":
        """The spec again."""
        given: dict[str, Any] = json.loads(text)
        publish, consume = given.pop("publish"), given.pop("consume")
        return cls(
            **given, publish=Publish(**publish) if publish else None, consume=Consume(**consume) if consume else None
        )


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
    `delivery` that from the intended publish to its receive (at a rate only). Processor time is in
    cores: of the generator, of the server and of all else on the machine.
    """

    messages: int
    seconds: float
    requests: int
    answer: Latency = field(default_factory=Latency)
    delivery: Latency = field(default_factory=Latency)
    generator_cpu: float = 0
    server_cpu: float = 0
    others_cpu: float = 0

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds

    @property
    def cpu_us(self) -> float:
        """The server's processor time a message, in microseconds."""
        return self.server_cpu / self.rate * 1e6

    def dumps(self) -> str:
        """The result as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> "Result":
        """The result again."""
        given: dict[str, Any] = json.loads(text)
        answer, delivery = Latency(**given.pop("answer")), Latency(**given.pop("delivery"))
        return cls(**given, answer=answer, delivery=delivery)
