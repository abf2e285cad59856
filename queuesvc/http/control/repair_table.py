"""The endpoints of looking and repairing, and of definitions, one row each."""

from typing import Final

from queuesvc.domain.errors import Code
from queuesvc.domain.model import State
from queuesvc.domain.tokens import Permission
from queuesvc.http.access import ANY_TOKEN, on
from queuesvc.http.control import definition_models, definitions, repair, repair_models
from queuesvc.http.endpoint import JSON, Answer, Body, Endpoint, Parameter, paging
from queuesvc.http.request import boolean, text
from queuesvc.http.schema import TEXT_SCHEMA

_STATE_SCHEMA: Final = {"enum": list(State)}
_PLACE_SCHEMA: Final = {"pattern": "^([0-9]{1,3}\\.[0-9]{1,18})?$"}
_HEADERS_SCHEMA: Final = {"^header\\.[A-Za-z0-9-]+$": {"type": "string"}}
_DRY_RUN: Final = Parameter("dry_run", boolean, "only tell what would be touched", default=False)

REPAIR: Final = (
    Endpoint(
        "GET",
        "/v1/queues/{queue}/messages",
        "browseMessages",
        "Repairing",
        "Look at messages without touching them",
        about="In the order of delivery. A call looks at 10,000 messages at most, and at as many bytes as a receive "
        "gives: a page may be short, even empty, with `next` set.",
        query=(
            Parameter("state", repair.state, "only those in this state", schema=_STATE_SCHEMA),
            *paging(text, "place", _PLACE_SCHEMA),
            Parameter("routing_key", repair.filter_text, "only those with this routing key", schema=TEXT_SCHEMA),
            Parameter("group", repair.filter_text, "only those of this group; empty: of none", schema=TEXT_SCHEMA),
            Parameter(
                f"{repair.HEADER_FILTER}*",
                text,
                "`header.<name>=value`: only those with this application header; several must all fit. Numbers and "
                "booleans are compared as their JSON text",
                schema=_HEADERS_SCHEMA,
            ),
        ),
        answers={200: Answer("a page of messages", {JSON: repair_models.MessageList})},
        problems=(Code.QUEUE_NOT_FOUND,),
        handler=repair.browse,
        need=on(Permission.CONSUME, "queue"),
        example="curl '{url}/v1/queues/invoices/messages?state=dead&limit=10&header.tenant=a'",
    ),
    Endpoint(
        "GET",
        "/v1/queues/{queue}/messages/{message}",
        "getMessage",
        "Repairing",
        "Show a message",
        answers={200: Answer("the message as it stands", {JSON: repair_models.BrowsedMessage})},
        problems=(Code.QUEUE_NOT_FOUND, Code.MESSAGE_NOT_FOUND),
        handler=repair.get_message,
        need=on(Permission.CONSUME, "queue"),
        example="curl {url}/v1/queues/invoices/messages/019ab4c5-2f3a-7000-8000-000000000001",
    ),
    Endpoint(
        "DELETE",
        "/v1/queues/{queue}/messages/{message}",
        "deleteMessage",
        "Repairing",
        "Remove a message, whatever its state",
        about="Counted as purged. A lease on it ends: its receipt is `gone`.",
        answers={204: Answer("removed")},
        problems=(Code.QUEUE_NOT_FOUND, Code.MESSAGE_NOT_FOUND),
        handler=repair.remove_message,
        need=on(Permission.MANAGE, "queue"),
        example="curl -X DELETE {url}/v1/queues/invoices/messages/019ab4c5-2f3a-7000-8000-000000000001",
    ),
    Endpoint(
        "DELETE",
        "/v1/queues/{queue}/messages",
        "purgeQueue",
        "Repairing",
        "Purge a queue",
        about="At once for everyone, however many they are. Without `state` the ready and the delayed ones; dead and "
        "leased ones only when named. It takes no body.",
        query=(Parameter("state", repair.state, "those in this state", schema=_STATE_SCHEMA), _DRY_RUN),
        answers={200: Answer("how many", {JSON: repair_models.PurgeResult})},
        problems=(Code.QUEUE_NOT_FOUND,),
        handler=repair.purge,
        need=on(Permission.MANAGE, "queue"),
        example="curl -X DELETE '{url}/v1/queues/invoices/messages?state=dead&dry_run=true'",
    ),
    Endpoint(
        "POST",
        "/v1/queues/{queue}/redrive",
        "redrive",
        "Repairing",
        "Redrive dead messages",
        about="`from` `dead`: the queue's own dead ones become ready here again. `arrived`: ready ones that were "
        "dead-lettered into this queue go back to the queue they died in. In order, at the tail, with counts reset, "
        "new ids and their `deaths` kept. `failed` holds those whose queue is gone, and ids that are not among them.",
        query=(_DRY_RUN,),
        body=Body("which, and where to", {JSON: repair_models.RedriveRequest}, required=False),
        answers={200: Answer("how many, and which failed", {JSON: repair_models.RedriveResult})},
        problems=(Code.QUEUE_NOT_FOUND,),
        handler=repair.redrive,
        need=on(Permission.MANAGE, "queue"),
        example="""curl {url}/v1/queues/invoices/redrive -d '{"from": "dead", "max_messages": 100}'""",
    ),
    Endpoint(
        "POST",
        "/v1/queues/{queue}/release",
        "release",
        "Repairing",
        "End stuck leases now",
        about="The messages are ready again, and no failure is counted. A message without a lease is in `failed`: "
        "`lease-lost` if it is here, `gone` if not.",
        query=(_DRY_RUN,),
        body=Body("which", {JSON: repair_models.ReleaseRequest}),
        answers={200: Answer("how many, and which failed", {JSON: repair_models.ReleaseResult})},
        problems=(Code.QUEUE_NOT_FOUND,),
        handler=repair.release,
        need=on(Permission.MANAGE, "queue"),
        example="""curl {url}/v1/queues/invoices/release -d '{"ids": ["019ab4c5-2f3a-7000-8000-000000000001"]}'""",
    ),
)

DEFINITIONS: Final = (
    Endpoint(
        "GET",
        "/v1/definitions",
        "getDefinitions",
        "Definitions",
        "Export the whole topology",
        about="One document, in an order that depends on nothing but what is in it. Put into an empty broker it makes "
        "an equal one.",
        answers={200: Answer("the topology", {JSON: definition_models.Definitions})},
        handler=definitions.export,
        need=ANY_TOKEN,
        example="curl {url}/v1/definitions > definitions.json",
    ),
    Endpoint(
        "PUT",
        "/v1/definitions",
        "putDefinitions",
        "Definitions",
        "Merge a topology in, all or nothing",
        about="Makes what is missing, changes settings that differ (those left out mean their defaults), deletes "
        "nothing. It also takes what RabbitMQ exports (`rabbitmqctl export_definitions`, `/api/definitions`), and "
        "lists in `unmapped` what has no equal here.",
        query=(
            Parameter("vhost", text, "of a document of RabbitMQ's: the virtual host to take", schema={"default": "/"}),
        ),
        body=Body("the topology", {JSON: definition_models.AnyDefinitions}),
        answers={200: Answer("how much of it there is now, and what is not", {JSON: definition_models.Imported})},
        problems=(Code.CONFLICT,),
        handler=definitions.put,
        need=ANY_TOKEN,
        example="curl -X PUT {url}/v1/definitions -d @definitions.json",
    ),
)
