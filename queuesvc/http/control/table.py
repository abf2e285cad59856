"""The control plane's endpoints, one row each."""

from typing import Final

from queuesvc.domain.errors import Code
from queuesvc.domain.tokens import Permission
from queuesvc.http.access import ANY_TOKEN, on
from queuesvc.http.control import handlers, models
from queuesvc.http.control.backup import BACKUP
from queuesvc.http.control.repair_table import DEFINITIONS, REPAIR
from queuesvc.http.control.token_table import TOKENS
from queuesvc.http.endpoint import JSON, Answer, Body, Endpoint, Parameter, paging
from queuesvc.http.request import boolean, text
from queuesvc.http.schema import BINDING_ID_SCHEMA, TEXT_SCHEMA

_BY_NAME: Final = paging(text, "name", {})
_BY_ID: Final = paging(handlers.binding_id, "id", BINDING_ID_SCHEMA)

EXCHANGES: Final = (
    Endpoint(
        "PUT",
        "/v1/exchanges/{exchange}",
        "putExchange",
        "Exchanges",
        "Declare an exchange",
        about="Declaring the same again changes nothing; fields left out mean their defaults.",
        body=Body("the exchange", {JSON: models.ExchangeDeclaration}),
        answers={
            201: Answer("made", {JSON: models.Exchange}),
            200: Answer("the same was there already", {JSON: models.Exchange}),
        },
        problems=(Code.CONFLICT,),
        handler=handlers.put_exchange,
        need=on(Permission.MANAGE, "exchange"),
        example="""curl -X PUT {url}/v1/exchanges/orders -d '{"type": "topic"}'""",
    ),
    Endpoint(
        "GET",
        "/v1/exchanges/{exchange}",
        "getExchange",
        "Exchanges",
        "Show an exchange",
        answers={200: Answer("the exchange", {JSON: models.Exchange})},
        problems=(Code.EXCHANGE_NOT_FOUND,),
        handler=handlers.get_exchange,
        need=on(Permission.SEE, "exchange"),
        example="curl {url}/v1/exchanges/orders",
    ),
    Endpoint(
        "GET",
        "/v1/exchanges",
        "listExchanges",
        "Exchanges",
        "List the exchanges",
        query=_BY_NAME,
        answers={200: Answer("a page of exchanges, by name", {JSON: models.ExchangeList})},
        handler=handlers.list_exchanges,
        need=ANY_TOKEN,
        example="curl '{url}/v1/exchanges?limit=10'",
    ),
    Endpoint(
        "DELETE",
        "/v1/exchanges/{exchange}",
        "deleteExchange",
        "Exchanges",
        "Delete an exchange",
        about="Its bindings go with it, those from it and those to it.",
        answers={204: Answer("deleted")},
        problems=(Code.EXCHANGE_NOT_FOUND,),
        handler=handlers.delete_exchange,
        need=on(Permission.MANAGE, "exchange"),
        example="curl -X DELETE {url}/v1/exchanges/orders",
    ),
    Endpoint(
        "GET",
        "/v1/exchanges/{exchange}/route",
        "route",
        "Exchanges",
        "Ask where a message would go",
        about="A dry run that stores nothing. Application headers are given as for a publish: "
        "`Message-Header-<Name>: value`.",
        query=(Parameter("routing_key", text, "the message's routing key", default="", schema=TEXT_SCHEMA),),
        answers={200: Answer("the queues and the bindings it would pass", {JSON: models.RouteResult})},
        problems=(Code.EXCHANGE_NOT_FOUND,),
        handler=handlers.route,
        need=on(Permission.SEE, "exchange"),
        example="curl '{url}/v1/exchanges/orders/route?routing_key=order.created'",
    ),
)

QUEUES: Final = (
    Endpoint(
        "PUT",
        "/v1/queues/{queue}",
        "putQueue",
        "Queues",
        "Declare a queue",
        about="`{}`, or no body at all, is enough. Declaring the same again changes nothing; settings left out "
        "mean their defaults.",
        body=Body("the settings", {JSON: models.QueueDeclaration}, required=False),
        answers={
            201: Answer("made", {JSON: models.Queue}),
            200: Answer("the same was there already", {JSON: models.Queue}),
        },
        problems=(Code.CONFLICT,),
        handler=handlers.put_queue,
        need=on(Permission.MANAGE, "queue"),
        example="""curl -X PUT {url}/v1/queues/invoices -d '{"lease_seconds": 60}'""",
    ),
    Endpoint(
        "PATCH",
        "/v1/queues/{queue}",
        "patchQueue",
        "Queues",
        "Change settings of a queue",
        about="What is given changes, the rest stays; `null` sets null. It holds for what is published and "
        "delivered from then on.",
        body=Body("the settings to change", {JSON: models.QueueChanges}, required=False),
        answers={200: Answer("the queue as it is now", {JSON: models.Queue})},
        problems=(Code.QUEUE_NOT_FOUND,),
        handler=handlers.patch_queue,
        need=on(Permission.MANAGE, "queue"),
        example="""curl -X PATCH {url}/v1/queues/invoices -d '{"paused": true}'""",
    ),
    Endpoint(
        "GET",
        "/v1/queues/{queue}",
        "getQueue",
        "Queues",
        "Show a queue",
        about="Its settings and its exact statistics.",
        answers={200: Answer("the queue", {JSON: models.Queue})},
        problems=(Code.QUEUE_NOT_FOUND,),
        handler=handlers.get_queue,
        need=on(Permission.SEE, "queue"),
        example="curl {url}/v1/queues/invoices",
    ),
    Endpoint(
        "GET",
        "/v1/queues",
        "listQueues",
        "Queues",
        "List the queues",
        query=_BY_NAME,
        answers={200: Answer("a page of queues, by name", {JSON: models.QueueList})},
        handler=handlers.list_queues,
        need=ANY_TOKEN,
        example="curl '{url}/v1/queues?limit=10&after=a'",
    ),
    Endpoint(
        "DELETE",
        "/v1/queues/{queue}",
        "deleteQueue",
        "Queues",
        "Delete a queue with all its messages",
        about="Waiting receives end in 404 at once. A queue of the same name made later is another queue.",
        query=(Parameter("if_empty", boolean, "refuse if it holds any message, in any state", default=False),),
        answers={204: Answer("deleted")},
        problems=(Code.QUEUE_NOT_FOUND, Code.QUEUE_NOT_EMPTY),
        handler=handlers.delete_queue,
        need=on(Permission.MANAGE, "queue"),
        example="curl -X DELETE '{url}/v1/queues/invoices?if_empty=true'",
    ),
)

BINDINGS: Final = (
    Endpoint(
        "POST",
        "/v1/exchanges/{exchange}/bindings",
        "postBinding",
        "Bindings",
        "Bind an exchange to a queue or to an exchange",
        about="With a `routing_key` (direct, topic), with neither (fanout), or with `match` and `headers` (headers).",
        body=Body("the binding", {JSON: models.BindingDeclaration}),
        answers={
            201: Answer("made", {JSON: models.Binding}),
            200: Answer("the same was there already", {JSON: models.Binding}),
        },
        problems=(Code.EXCHANGE_NOT_FOUND, Code.QUEUE_NOT_FOUND),
        handler=handlers.post_binding,
        need=on(Permission.MANAGE, "exchange"),
        example="""curl {url}/v1/exchanges/orders/bindings -d '{"queue": "invoices", "routing_key": "order.*"}'""",
    ),
    Endpoint(
        "GET",
        "/v1/exchanges/{exchange}/bindings",
        "listExchangeBindings",
        "Bindings",
        "List the bindings from an exchange",
        query=_BY_ID,
        answers={200: Answer("a page of bindings, by id", {JSON: models.BindingList})},
        problems=(Code.EXCHANGE_NOT_FOUND,),
        handler=handlers.list_exchange_bindings,
        need=on(Permission.SEE, "exchange"),
        example="curl {url}/v1/exchanges/orders/bindings",
    ),
    Endpoint(
        "GET",
        "/v1/queues/{queue}/bindings",
        "listQueueBindings",
        "Bindings",
        "List the bindings to a queue",
        query=_BY_ID,
        answers={200: Answer("a page of bindings, by id", {JSON: models.BindingList})},
        problems=(Code.QUEUE_NOT_FOUND,),
        handler=handlers.list_queue_bindings,
        need=on(Permission.SEE, "queue"),
        example="curl {url}/v1/queues/invoices/bindings",
    ),
    Endpoint(
        "DELETE",
        "/v1/bindings/{id}",
        "deleteBinding",
        "Bindings",
        "Remove a binding",
        answers={204: Answer("removed")},
        problems=(Code.BINDING_NOT_FOUND,),
        handler=handlers.delete_binding,
        need=ANY_TOKEN,
        example="curl -X DELETE {url}/v1/bindings/1",
    ),
)

CONTROL: Final = (*EXCHANGES, *QUEUES, *BINDINGS, *REPAIR, *DEFINITIONS, *TOKENS, *BACKUP)
