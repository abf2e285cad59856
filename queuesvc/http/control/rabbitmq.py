"""RabbitMQ's definitions read as ours.

document ── sections ──┬── exchanges, queues, bindings of one virtual host ── rabbitmq_things ──┬── PutDefinitions
                       └── everything else ─────────────────────────────────────────────────────┴── unmapped
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from queuesvc.domain.commands import Bind, PutDefinitions
from queuesvc.domain.errors import Refused, invalid, shown
from queuesvc.domain.limits import Limits
from queuesvc.domain.model import Exchange, QueueSettings
from queuesvc.http.control.places import items
from queuesvc.http.control.rabbitmq_things import (
    BUILT_IN,
    NAME_SHOWN,
    NOTES_MOST,
    Made,
    Thing,
    Unmapped,
    binding_of,
    exchange_of,
    queue_of,
    said,
    too_many_notes,
)

DEFAULT_VHOST: Final = "/"
WHY_SHOWN: Final = 2000
_THINGS: Final = ("exchanges", "queues", "bindings")
_MARKS: Final = frozenset({"rabbit_version", "rabbitmq_version", "vhosts", "rabbitmq_definition_format"})
_MEMBERS: Final = frozenset({"vhost", "durable", "auto_delete", "arguments", "destination"})
# What only tells of the export, or of the virtual host itself.
_TELLING: Final = _MARKS | {
    "product_name",
    "product_version",
    "original_cluster_name",
    "original_vhost_name",
    "explanation",
    "metadata",
    "description",
    "default_queue_type",
}
_NO_ACCESS: Final = "there are no users and permissions here"
_PLACE: Final = re.compile(r"(exchanges|bindings)\.([0-9]+)\.(\w+)")


@dataclass(slots=True)
class Translated:
    """A document as a command, and what of it has no equal here; with the places that its things had."""

    unmapped: list[Unmapped] = field(default_factory=list)
    exchanges: list[tuple[str, Exchange]] = field(default_factory=list)
    queues: list[tuple[str, QueueSettings]] = field(default_factory=list)
    bindings: list[tuple[str, Bind]] = field(default_factory=list)

    @property
    def command(self) -> PutDefinitions:
        """All of it that has an equal here."""
        return PutDefinitions(
            tuple(exchange for _, exchange in self.exchanges),
            tuple(self.queues),
            tuple(binding for _, binding in self.bindings),
        )

    def placed(self, refused: Refused) -> Refused:
        """A refusal of the command, naming the field in RabbitMQ's document."""
        found = _PLACE.fullmatch(str(refused.extra.get("field")))
        if found is None:
            return refused
        kind, index, member = found.groups()
        place = (self.exchanges if kind == "exchanges" else self.bindings)[int(index)][0]
        if kind == "bindings" and member in ("queue", "exchange"):
            member = "destination"
        why = refused.detail.removeprefix(f"{found[0]}: ")
        return Refused(refused.code, f"{place}.{member}: {why}", **{**refused.extra, "field": f"{place}.{member}"})


def recognise(document: Mapping[str, Any]) -> bool:
    """Whether it is one of RabbitMQ's: it says its version, or its things have members that ours have not."""
    if not _MARKS.isdisjoint(document):
        return True
    things = (thing for name in _THINGS if type(document.get(name)) is list for thing in document[name])
    return any(type(thing) is dict and not _MEMBERS.isdisjoint(thing) for thing in things)


def translate(document: Mapping[str, Any], vhost: str | None, limits: Limits) -> Translated:
    """What one virtual host of the document is here; `/` if none is named.

    Things that name no virtual host, as in an export of a single one, are taken. Raises `invalid-request`
    where the document is none of RabbitMQ's, or has no such virtual host.
    """
    wanted = DEFAULT_VHOST if vhost is None else vhost
    translated = Translated()
    others = _other_vhosts(document, wanted, explicit=vhost is not None)
    made = Made()
    for thing in _things(document, "exchanges", wanted, translated):
        if thing.value.get("name") == "":
            continue  # the default exchange
        exchange = exchange_of(thing)
        _once(thing, thing.name in made.types or thing.name in made.lost_exchanges)
        if exchange is None:
            made.lost_exchanges.add(thing.name)
        else:
            made.types[exchange.name] = exchange.type
            translated.exchanges.append((thing.place, exchange))
    for thing in _things(document, "queues", wanted, translated):
        queue = queue_of(thing)
        _once(thing, thing.name in made.queues or thing.name in made.lost_queues)
        if queue is None:
            made.lost_queues.add(thing.name)
        else:
            made.queues.add(thing.name)
            translated.queues.append(queue)
    for thing in _things(document, "bindings", wanted, translated):
        binding = binding_of(thing, made, limits)
        if binding is not None:
            translated.bindings.append((thing.place, binding))
    _make_built_in(translated, made)
    translated.unmapped += [*_rest(document, wanted), *others]
    if len(translated.unmapped) > NOTES_MOST:
        raise too_many_notes("unmapped")
    return translated


def _things(document: Mapping[str, Any], section: str, vhost: str, translated: Translated) -> Iterator[Thing]:
    for index, value in enumerate(items(document, section)):
        thing = Thing(section.removesuffix("s"), f"{section}.{index}", value, translated.unmapped)
        if thing.text("vhost", vhost) == vhost:
            yield thing


def _once(thing: Thing, twice: bool) -> None:
    if twice:
        raise invalid(f"{thing.place}.name", f"{shown(thing.name)!r} stands there twice")


def _make_built_in(translated: Translated, made: Made) -> None:
    """Those that bindings, alternates or dead letters lead to."""
    used = {exchange.alternate_exchange for _, exchange in translated.exchanges}
    used |= {settings.dead_letter_exchange for _, settings in translated.queues}
    there = {exchange.name for _, exchange in translated.exchanges}
    for name, type_ in BUILT_IN.items():
        if name not in there and (name in used or name in made.types):
            translated.exchanges.append((name, Exchange(name, type_)))


# --- everything else --------------------------------------------------------------


def _other_vhosts(document: Mapping[str, Any], wanted: str, explicit: bool) -> list[Unmapped]:
    """A note for each virtual host that is not the one wanted, with how much there is in it."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_THINGS, 0))
    names = [Thing("vhost", f"vhosts.{i}", v, []).text("name") for i, v in enumerate(items(document, "vhosts"))]
    for name in names:
        counts[name]
    for section in _THINGS:
        for index, value in enumerate(items(document, section)):
            if "vhost" in value:
                counts[Thing(section, f"{section}.{index}", value, []).text("vhost")][section] += 1
    if explicit and counts and wanted not in counts:
        raise invalid("vhost", f"the document has no virtual host {shown(wanted)!r}")
    return [
        Unmapped(
            "vhost",
            shown(name, NAME_SHOWN),
            None,
            "another virtual host, to be imported by itself (?vhost=): "
            + ", ".join(f"{section}: {count}" for section, count in inside.items()),
        )
        for name, inside in sorted(counts.items())
        if name != wanted
    ]


def _rest(document: Mapping[str, Any], vhost: str) -> Iterator[Unmapped]:
    """What is neither exchange nor queue nor binding, as far as it concerns this virtual host."""
    for section in document:
        if section in _SECTIONS:
            what, why = _SECTIONS[section]
            for value in items(document, section):
                if value.get("vhost", vhost) == vhost:
                    yield _element(what, why, value)
        elif section not in _TELLING and section not in _THINGS and document[section] not in (None, {}, []):
            yield Unmapped("section", shown(section, NAME_SHOWN), None, "nothing here is known by this name")


_SECTIONS: Final = {
    "users": ("user", _NO_ACCESS),
    "permissions": ("permission", _NO_ACCESS),
    "topic_permissions": ("topic_permission", _NO_ACCESS),
    "policies": ("policy", "there are no policies here"),
    "parameters": ("parameter", "nothing here has such a parameter"),
    "global_parameters": ("global_parameter", "nothing here has such a parameter"),
}


def _element(what: str, why: str, value: Mapping[str, Any]) -> Unmapped:
    name = _text(value.get("name", value.get("user")))
    component = value.get("component")
    if component in ("policy", "operator_policy"):
        what, why, value = component, "there are no policies here", {**value, **_inner(value.get("value"))}
    elif component is not None:
        name = f"{_text(component)}/{name}"
    if what == "topic_permission":
        name += f" at {_text(value.get('exchange'))}"
    if what in ("policy", "operator_policy"):
        meant = ", ".join(_inner(value.get("definition")))
        why += f": set {meant} at each queue or exchange whose name matches {said(value.get('pattern', ''))}"
    return Unmapped(what, shown(name, NAME_SHOWN), None, shown(why, WHY_SHOWN))


def _text(value: Any) -> str:
    return value if type(value) is str else ""


def _inner(value: Any) -> dict[str, Any]:
    return value if type(value) is dict else {}
