"""What a token costs a publish: the same to two brokers in turns, of which one needs tokens."""

from scripts.bench_support.plan import Bench, Figure
from scripts.bench_support.rates import SINGLE_CONNECTIONS, publish_to
from scripts.bench_support.servers import broker, declare, generate
from scripts.bench_support.spec import Result, Spec
from tests.support.server import Server

NAME = "authentication"


def authentication(bench: Bench) -> None:
    """Single durable publishes over 64 connections with a token and without one, in turns."""
    plan = bench.plan
    rate = bench.figure(
        "publish_token", Figure("publish one by one under a token, 64 connections", "messages/s", beside="without")
    )
    time = bench.figure(
        "publish_token_cpu", Figure("processor time of one publish under a token", "µs", beside="without")
    )
    with broker(bench.directory) as without, broker(bench.directory, tokens=True) as needing:
        for server in (without, needing):
            declare(server, NAME)
        for turn in range(plan.rounds):
            bench.step(f"publishes under a token and without, round {turn + 1} of {plan.rounds}")
            plain, under = _publish(bench, without), _publish(bench, needing)
            rate.add_result(under, plain.rate)
            time.add(under.cpu_us, plain.cpu_us)


def _publish(bench: Bench, server: Server) -> Result:
    plan, load = bench.plan, publish_to(NAME, SINGLE_CONNECTIONS)
    return generate(Spec(server.port, server.pid, plan.seconds, plan.warm_seconds, plan.most, load))
