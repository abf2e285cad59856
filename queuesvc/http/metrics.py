"""The broker's running in the Prometheus text formats.

What the broker counts is read at each scrape; nothing is counted here.
"""

import platform
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from queuesvc import __version__
from queuesvc.broker.broker import Broker
from queuesvc.broker.meter import Histogram
from queuesvc.domain.commands import ListQueues
from queuesvc.domain.limits import LIST_ITEMS
from queuesvc.domain.model import QueueView, State
from queuesvc.domain.replies import Page

_TOTALS: Final = {
    "published": "Copies that publishes stored in the queue; dead letters and redriven ones are moved_in.",
    "delivered": "Leases handed out, but for those taken back because the answer could not be written; and auto_acks.",
    "acked": "Messages acknowledged and so removed, also by auto_ack, in a receive and in a transaction.",
    "nacked": "Messages settled by a nack: given back, dead-lettered or parked dead; leases that ran out are not.",
    "expired": "Messages removed because their time to live was over; dead-lettered ones are moved_out.",
    "dropped": "Messages removed to make room for newer ones; dead-lettered ones are moved_out.",
    "purged": "Messages removed by a purge or one by one.",
    "dead_lettered": "Messages moved out by a dead-letter exchange; those that died and stayed are not among them.",
    "moved_in": "Copies that came from another queue, dead-lettered or redriven.",
    "moved_out": "Messages that left for other queues, dead-lettered or redriven.",
}


class Metrics:
    """Renders the metrics of one broker and of the process it runs in."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._running = _Running(broker)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self._running)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    async def render(self, accept: str) -> tuple[bytes, str]:
        """The metrics and their media type, as the scraper's `Accept` prefers it. Raises `Refused`."""
        queues = await _all_queues(self._broker)
        encode, media_type = choose_encoder(accept)
        # Nothing awaits between here and the end, so scrapes at the same time do not meet.
        self._running.queues = queues
        return encode(self._registry), media_type


async def _all_queues(broker: Broker) -> list[QueueView]:
    queues: list[QueueView] = []
    after: str | None = ""
    while after is not None:
        page = await broker.ask(ListQueues(after, LIST_ITEMS))
        assert isinstance(page, Page)
        queues += page.items
        after = page.next
    return queues


class _Running(Collector):
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.queues: list[QueueView] = []

    def collect(self) -> Iterator[Metric]:
        """All the metrics, as they are now."""
        build = GaugeMetricFamily(
            "queuesvc_build_info", "1, with what runs in its labels.", labels=("version", "python")
        )
        build.add_metric((__version__, platform.python_version()), 1)
        yield build
        meter = self._broker.meter
        for name, about, total in (
            (
                "messages_published",
                "Messages accepted: not their copies, nor those that were there before.",
                meter.published,
            ),
            ("messages_delivered", "Messages leased or handed out by auto_ack, taken back or not.", meter.delivered),
            (
                "messages_acked",
                "Messages acknowledged, also by auto_ack, in receives and in transactions.",
                meter.acked,
            ),
            ("messages_nacked", "Messages settled by nacks, also in transactions.", meter.nacked),
            ("commits", "Batches written to the store.", meter.commits),
            ("commit_failures", "Batches that could not be written.", meter.commit_failures),
        ):
            yield CounterMetricFamily(f"queuesvc_{name}", f"{about[:-1]}, since the broker started.", total)
        yield _histogram(
            "queuesvc_commit_batch_commands",
            "Commands of a written batch and receives that it served.",
            meter.batch_commands,
        )
        yield _histogram(
            "queuesvc_commit_seconds",
            "Seconds that a written batch took, from its begin to its commit.",
            meter.commit_seconds,
        )
        yield GaugeMetricFamily(
            "queuesvc_receives_waiting", "Receives that wait for a message now.", self._broker.waiting
        )
        yield from _by_queue(self.queues)


def _histogram(name: str, about: str, histogram: Histogram) -> Metric:
    buckets = []
    below = 0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        below += count
        buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), below))
    return HistogramMetricFamily(name, about, buckets, histogram.total)


def _by_queue(queues: list[QueueView]) -> Iterator[Metric]:
    messages = GaugeMetricFamily(
        "queuesvc_queue_messages", "Messages in the queue, by state.", labels=("queue", "state")
    )
    size = GaugeMetricFamily(
        "queuesvc_queue_body_bytes", "Bytes of the bodies in the queue, in any state.", labels=("queue",)
    )
    oldest = GaugeMetricFamily(
        "queuesvc_queue_oldest_ready_seconds",
        "How long the oldest ready message has waited; 0 without one.",
        labels=("queue",),
    )
    waiting = GaugeMetricFamily("queuesvc_queue_consumers_waiting", "Receives waiting at the queue.", labels=("queue",))
    totals = {
        total: CounterMetricFamily(f"queuesvc_queue_{total}", about, labels=("queue",))
        for total, about in _TOTALS.items()
    }
    for queue in queues:
        label, stats = (queue.name,), queue.stats
        for state in State:
            messages.add_metric((queue.name, state.value), getattr(stats, state.value))
        size.add_metric(label, stats.bytes)
        oldest.add_metric(label, stats.oldest_ready_seconds or 0)
        waiting.add_metric(label, stats.consumers_waiting)
        for total, family in totals.items():
            family.add_metric(label, getattr(stats, total))
    yield from (messages, size, oldest, waiting, *totals.values())
