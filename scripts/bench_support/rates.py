"""How many messages a second: one by one and a hundred at a time, published, consumed, and both at once."""

import httpx2

from scripts.bench_support.limits import fsync_rate, raw_sqlite
from scripts.bench_support.plan import Aim, Bench, Figure
from scripts.bench_support.servers import KEY, bare_app, broker, declare, generate
from scripts.bench_support.spec import Consume, Publish, Result, Spec
from scripts.bench_support.tokens import authorization
from tests.support.server import Server

SINGLE_CONNECTIONS = 64
BATCH_CONNECTIONS = 8
BATCH = 100
ONE_BY_ONE_CONNECTIONS = 32
PACED_CONNECTIONS = 32
WAIT_SECONDS = 0.5
PACED_SHARE = 0.5


def publish_to(name: str, connections: int, batch: int = 1, rate: float = 0) -> Publish:
    """Publishers to the exchange of a name that `declare` made."""
    return Publish(f"/v1/exchanges/{name}/messages", connections, batch, rate, KEY)


def singles(bench: Bench) -> None:
    """Single durable publishes over 64 connections, over 32, and the bare app answering the same, in turns."""
    plan = bench.plan
    figure = bench.figure(
        "publish_single",
        Figure("publish one by one, 64 connections", "messages/s", beside="bare ASGI app", aim=Aim("ratio", 0.5)),
    )
    time = bench.figure("publish_single_cpu", Figure("processor time of one publish", "µs", beside="bare ASGI app"))
    fewer = bench.figure(
        "publish_32", Figure("publish one by one, 32 connections", "messages/s", beside="bare ASGI app, 64")
    )
    bare_figure = bench.figure("bare_asgi", Figure("bare ASGI app, same server", "requests/s"))
    load = publish_to("singles", SINGLE_CONNECTIONS)
    with broker(bench.directory, bench.tokens) as server:
        declare(server, "singles")
        answer = httpx2.post(
            f"{server.url}/v1/exchanges/singles/messages?routing_key={KEY}",
            content=b"x",
            headers=authorization(server.port),
        )
        with bare_app(answer.text, answer.headers["x-request-id"]) as (port, pid):
            for turn in range(plan.rounds):
                bench.step(f"single publishes, round {turn + 1} of {plan.rounds}")
                bare = generate(Spec(port, pid, plan.seconds, plan.warm_seconds, plan.most, load))
                ours = generate(Spec(server.port, server.pid, plan.seconds, plan.warm_seconds, plan.most, load))
                bare_figure.add_result(bare)
                figure.add_result(ours, bare.rate)
                time.add(ours.cpu_us, bare.cpu_us)
                load32 = publish_to("singles", ONE_BY_ONE_CONNECTIONS)
                spec = Spec(server.port, server.pid, plan.seconds, plan.warm_seconds, plan.most, load32)
                fewer.add_result(generate(spec), bare.rate)


def batches(bench: Bench) -> None:
    """Batches of 100 over 8 publishers and 8 consumers; a raw SQLite loop and the disk in turns with them."""
    plan = bench.plan
    raw = "raw SQLite loop"
    both = bench.figure(
        "batch_end_to_end",
        Figure("publish, receive and ack by 100s, 8 + 8", "messages/s", beside=raw, aim=Aim("value", 30_000)),
    )
    publishing = bench.figure("batch_publish", Figure("publish by 100s, 8 publishers", "messages/s", beside=raw))
    consuming = bench.figure("batch_consume", Figure("receive and ack by 100s, 8 consumers", "messages/s", beside=raw))
    loop = bench.figure("raw_sqlite", Figure("raw SQLite loop: insert, read, delete 100s", "messages/s"))
    disk = bench.figure("fsync", Figure("disk: write 4 KiB and fdatasync", "times/s"))
    most = plan.most * BATCH
    for turn in range(plan.rounds):
        bench.step(f"batches of 100, round {turn + 1} of {plan.rounds}")
        rate = raw_sqlite(bench.directory, plan.raw_seconds).rate
        loop.add(rate)
        disk.add(fsync_rate(bench.directory, plan.raw_seconds))
        with broker(bench.directory, bench.tokens) as server:
            port, pid = server.port, server.pid
            declare(server, "apart")
            declare(server, "both")
            publish = publish_to("apart", BATCH_CONNECTIONS, BATCH)
            publishing.add_result(generate(Spec(port, pid, plan.seconds, plan.warm_seconds, most, publish)), rate)
            consume = Consume("apart", BATCH_CONNECTIONS, BATCH)
            consuming.add_result(generate(Spec(port, pid, plan.seconds, 0, 0, consume=consume)), rate)
            publish = publish_to("both", BATCH_CONNECTIONS, BATCH)
            consume = Consume("both", BATCH_CONNECTIONS, BATCH, WAIT_SECONDS)
            both.add_result(generate(Spec(port, pid, plan.seconds, 0, most, publish, consume)), rate)


def one_by_one(bench: Bench) -> None:
    """One message a call, end to end: as fast as it goes, then at half of that rate for the latency."""
    plan = bench.plan
    called = bench.figure(
        "single_end_to_end",
        Figure("publish, receive, ack one by one, 32 + 32", "messages/s", beside="publish one by one"),
    )
    along = bench.figure(
        "single_end_to_end_ack_in_receive",
        Figure("the same, ack inside the next receive", "messages/s", beside="publish one by one"),
    )
    paced = bench.figure("single_latency", Figure("with ack call, at half of its rate", "messages/s"))
    publishing = bench.figures["publish_single"].value
    with broker(bench.directory, bench.tokens) as server:
        for name in ("called", "along", "paced"):
            declare(server, name)
        for turn in range(plan.rounds):
            bench.step(f"end to end one by one, round {turn + 1} of {plan.rounds}")
            called.add_result(_end_to_end(bench, server, "called", "call"), publishing)
            along.add_result(_end_to_end(bench, server, "along", "next"), publishing)
        bench.step("end to end one by one: latency at a rate")
        paced.add_result(_paced(bench, server, called.value * PACED_SHARE))


def _end_to_end(bench: Bench, server: Server, name: str, ack: str) -> Result:
    publish = publish_to(name, ONE_BY_ONE_CONNECTIONS)
    consume = Consume(name, ONE_BY_ONE_CONNECTIONS, 1, WAIT_SECONDS, "call" if ack == "call" else "next")
    return generate(Spec(server.port, server.pid, bench.plan.seconds, 0, bench.plan.most, publish, consume))


def _paced(bench: Bench, server: Server, rate: float) -> Result:
    publish = publish_to("paced", PACED_CONNECTIONS, rate=rate)
    consume = Consume("paced", ONE_BY_ONE_CONNECTIONS, 1, WAIT_SECONDS, "call")
    return generate(Spec(server.port, server.pid, bench.plan.paced_seconds, 0, 0, publish, consume))
