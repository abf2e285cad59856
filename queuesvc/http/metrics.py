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
from queuesvc.broker.meter import Histogram, Meter
from queuesvc.domain.commands import ListQueues
from queuesvc.domain.limits import LIST_ITEMS
from queuesvc.domain.model import QueueView, State
from queuesvc.domain.replies import Page

_TOTALS: Final = {
    "published": "Copies stored in the queue by publishes.",
    "delivered": "Messages of the queue handed out.",
    "acked": "Messages of the queue acknowledged.",
    "nacked": "Messages of the queue given back or dead-lettered by a consumer.",
    "expired": "Messages of the queue removed because their time was over.",
    "dropped": "Messages of the queue removed to make room.",
    "purged": "Messages of the queue removed by an operator.",
    "dead_lettered": "Messages of the queue that died.",
    "moved_in": "Messages that came from another queue.",
    "moved_out": "Messages that went to another queue.",
}


class Metrics:
    """Renders the metrics of one broker and of the process it runs in."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._running = _Running(broker.meter)
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
    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.queues: list[QueueView] = []

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("queuesvc_build_info", "What runs.", labels=("version", "python"))
        build.add_metric((__version__, platform.python_version()), 1)
        yield build
        meter = self._meter
        yield CounterMetricFamily("queuesvc_messages_published", "Messages accepted.", meter.published)
        yield CounterMetricFamily("queuesvc_messages_delivered", "Messages handed out.", meter.delivered)
        yield CounterMetricFamily("queuesvc_messages_acked", "Messages acknowledged.", meter.acked)
        yield CounterMetricFamily("queuesvc_messages_nacked", "Messages given back or dead-lettered.", meter.nacked)
        yield CounterMetricFamily("queuesvc_commits", "Batches written to the store.", meter.commits)
        yield CounterMetricFamily("queuesvc_commit_failures", "Batches not written.", meter.commit_failures)
        yield _histogram("queuesvc_commit_batch_commands", "Commands in a batch.", meter.batch_commands)
        yield _histogram("queuesvc_commit_seconds", "Time from a batch's begin to its commit.", meter.commit_seconds)
        yield GaugeMetricFamily("queuesvc_receives_waiting", "Receives that wait for a message.", meter.waiting)
        yield from _by_queue(self.queues)


def _histogram(name: str, about: str, histogram: Histogram) -> Metric:
    buckets = []
    below = 0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        below += count
        buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), below))
    return HistogramMetricFamily(name, about, buckets, histogram.total)


def _by_queue(queues: list[QueueView]) -> Iterator[Metric]:
    messages = GaugeMetricFamily("queuesvc_queue_messages", "Messages in the queue.", labels=("queue", "state"))
    size = GaugeMetricFamily("queuesvc_queue_body_bytes", "Bytes of the bodies in the queue.", labels=("queue",))
    oldest = GaugeMetricFamily(
        "queuesvc_queue_oldest_ready_seconds", "How long the oldest ready message has waited.", labels=("queue",)
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
