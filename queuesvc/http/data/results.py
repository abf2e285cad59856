"""What a publisher is told: the id and the queues of each message, and which were there already (§4)."""

from functools import lru_cache

import orjson

from queuesvc.domain.ids import Ids
from queuesvc.domain.replies import Published


@lru_cache(maxsize=1024)
def queues_json(queues: tuple[str, ...]) -> str:
    """The names of queues as a JSON list. Few lists recur, so they are kept."""
    return orjson.dumps(queues).decode()


def duplicate(first: int, queues: tuple[str, ...], original_at: int, ids: Ids) -> str:
    """The result of an envelope that was published before, as JSON: what was answered then."""
    return f'{{"id":"{ids.make(original_at, first)}","queues":{queues_json(queues)},"duplicate":true}}'


def results(published: Published, ids: Ids) -> str:
    """A result for each envelope, as a JSON list."""
    head = ids.head(published.published_at)
    found = [
        duplicate(first, queues, original_at, ids)
        if original_at
        else f'{{"id":"{head}{first:012x}","queues":{queues_json(queues)}}}'
        for first, queues, original_at in published.results
    ]
    return f"[{','.join(found)}]"


def stored_nothing(published: Published) -> bool:
    """Whether every envelope was there already."""
    return published.duplicate or all(result.original_at for result in published.results)
