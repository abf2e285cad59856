"""The documents of definitions: our own strictly, RabbitMQ's only for the description."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, RootModel, WithJsonSchema

from queuesvc.domain import model as domain
from queuesvc.domain.commands import Bind
from queuesvc.http.control import models
from queuesvc.http.schema import HEADERS_SCHEMA, Name, Shown, Strict


class ExchangeDefinition(models.ExchangeDeclaration):
    """An exchange of a topology."""

    name: Name


class QueueDefinition(models.QueueDeclaration):
    """A queue of a topology; a setting left out has its default."""

    name: Name


class BindingDefinition(models.BindingDeclaration):
    """A binding of a topology: from `source` to a queue or to another exchange."""

    source: Name
    """the exchange that it leads from"""

    def bind(self) -> Bind:
        """The command that makes it."""
        return Bind(self.source, self.queue, self.exchange, self.routing_key, self.match, self.headers)


class DefinitionsDocument(Strict):
    """A topology to merge in."""

    exchanges: list[ExchangeDefinition] = []
    queues: list[QueueDefinition] = []
    bindings: list[BindingDefinition] = []


class RabbitDefinitions(BaseModel):
    """What RabbitMQ exports; also of one virtual host alone, whose elements name none."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True, defer_build=True)

    rabbit_version: str
    exchanges: list[dict[str, Any]] = []
    queues: list[dict[str, Any]] = []
    bindings: list[dict[str, Any]] = []


class AnyDefinitions(RootModel[DefinitionsDocument | RabbitDefinitions]):
    """A topology of our own or of RabbitMQ's."""


class ShownBindingDefinition(Shown):
    """A binding without its id, which belongs to this broker: a `queue` or an `exchange`; a key or a header match."""

    source: Name
    queue: Name | None = None
    exchange: Name | None = None
    routing_key: str | None = None
    match: domain.Match | None = None
    headers: Annotated[dict[str, Any] | None, WithJsonSchema(dict(HEADERS_SCHEMA))] = None


class Definitions(Shown):
    """The whole topology, every list in order."""

    exchanges: list[models.Exchange]
    """by name"""
    queues: list[models.ShownQueueDefinition]
    """by name"""
    bindings: list[ShownBindingDefinition]
    """by source, target, key and headers"""


class Unmapped(Shown):
    """A thing of RabbitMQ's document, or a part of one, that has no equal here."""

    what: Annotated[
        str,
        Field(
            json_schema_extra={
                "enum": [
                    "exchange",
                    "queue",
                    "binding",
                    "policy",
                    "operator_policy",
                    "parameter",
                    "global_parameter",
                    "user",
                    "permission",
                    "topic_permission",
                    "vhost",
                    "section",
                ]
            }
        ),
    ]
    name: str
    """its name; of a binding, its ends: `orders -> invoices`"""
    field: str | None
    """the part of it that was left out; null where nothing of it was made"""
    why: str


class Imported(Shown):
    """How many things of the document there are now, and what could not be made."""

    exchanges: int
    queues: int
    bindings: int
    unmapped: list[Unmapped]
    """empty for a document of our own"""
