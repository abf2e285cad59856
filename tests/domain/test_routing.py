"""Routing against oracles that are slow and plain: regular expressions, and recursion over lists."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from queuesvc.domain.model import Binding, Exchange, ExchangeType, Headers, HeaderValue
from queuesvc.domain.routing.router import Router
from tests.model.routes import route

WORDS = st.sampled_from(["a", "b", "ab", "", "*", "#", "ä"])
DOTTED = st.lists(WORDS, max_size=6).map(".".join)
PATTERNS = st.lists(st.one_of(WORDS, st.sampled_from("*#")), max_size=6).map(".".join)
VALUES: st.SearchStrategy[HeaderValue] = st.sampled_from(["1", 1, 1.0, True, "true", False, 0, "", "a", 2.5, "2.5"])
HEADERS: st.SearchStrategy[Headers] = st.dictionaries(st.sampled_from(["x", "y", "z"]), VALUES, max_size=3)
NAMES = ["d1", "f1", "t1", "h1", "d2", "f2", "t2", "h2"]
TYPES = {"d": ExchangeType.DIRECT, "f": ExchangeType.FANOUT, "t": ExchangeType.TOPIC, "h": ExchangeType.HEADERS}


def topic(*patterns: str) -> Router:
    """A topic exchange `t` with the queue `q<n>` bound by the n-th pattern."""
    router = Router()
    router.add_exchange(Exchange("t", ExchangeType.TOPIC))
    for number, pattern in enumerate(patterns):
        router.add_binding(Binding(number + 1, "t", queue=f"q{number}", routing_key=pattern))
    return router


def expression(pattern: str) -> re.Pattern[str]:
    """A topic pattern as a regular expression over a key whose every word is followed by a dot."""
    parts = {"*": r"[^.]*\.", "#": r"(?:[^.]*\.)*"}
    words = pattern.split(".") if pattern else []
    return re.compile("".join(parts.get(word, re.escape(word) + r"\.") for word in words))


@given(st.lists(PATTERNS, min_size=1, max_size=8), DOTTED)
@example(["#.#"], "")
@example(["*"], "")
@example([""], "")
@example(["#", "*"], ".")
@example(["#.a"], "a.b.a")
@example(["*.#.*"], "a")
def test_topic_patterns_match_as_their_regular_expressions(patterns: list[str], key: str) -> None:
    dotted = key + "." if key else ""
    wanted = sorted(f"q{n}" for n, pattern in enumerate(patterns) if expression(pattern).fullmatch(dotted))
    assert topic(*patterns).route("t", key, {})[0] == wanted


@pytest.mark.parametrize(
    ("pattern", "key", "reached"),
    [
        ("orders.*", "orders.created", True),
        ("orders.*", "orders", False),
        ("orders.*", "orders.created.eu", False),
        ("orders.#", "orders", True),
        ("orders.#", "orders.created.eu", True),
        ("#", "", True),
        ("*", "", False),
        ("", "", True),
        ("*", "orders", True),
        ("#.eu", "eu", True),
        ("#.eu.#", "a.eu.b.c", True),
        ("*.*", "a", False),
        ("a*", "ab", False),  # a star stands for a word, not for letters
        ("a..b", "a..b", True),  # an empty word is a word
        ("a.*.b", "a..b", True),
    ],
)
def test_topic_patterns_by_the_contract(pattern: str, key: str, reached: bool) -> None:
    assert topic(pattern).route("t", key, {})[0] == (["q0"] if reached else [])


@pytest.mark.timeout(20)
def test_a_pattern_of_many_hashes_costs_no_more_than_its_length_times_the_keys() -> None:
    assert topic(".".join(["#", "a"] * 63 + ["b"])).route("t", ".".join(["a"] * 127), {})[0] == []


@given(st.sampled_from(["all", "any"]), HEADERS, HEADERS)
def test_headers_compare_as_json_text(match: str, wanted: Headers, given_: Headers) -> None:
    router = Router()
    router.add_exchange(Exchange("h", ExchangeType.HEADERS))
    router.add_binding(Binding(1, "h", queue="q", match="all" if match == "all" else "any", headers=wanted))
    hits = [name in given_ and plainly(given_[name]) == plainly(value) for name, value in wanted.items()]
    reached = all(hits) if match == "all" else any(hits)
    assert router.route("h", "any key", given_)[0] == (["q"] if reached else [])


def plainly(value: HeaderValue) -> str:
    """The JSON text of a value, a string without its quotes."""
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[str, Exchange], list[Binding]]:
    """Exchanges of every type, with alternates (some missing), and bindings in all directions, cycles too."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=8, unique=True))
    alternates = st.one_of(st.none(), st.sampled_from(NAMES))
    exchanges = {name: Exchange(name, TYPES[name[0]], draw(alternates)) for name in names}
    bindings: list[Binding] = []
    for number in range(draw(st.integers(0, 14))):
        source = draw(st.sampled_from(names))
        target = draw(st.sampled_from([*names, *names, "q1", "q2", "q3"]))
        binding = Binding(number + 1, source, **{"exchange" if target in names else "queue": target})  # type: ignore[arg-type]
        bindings.append(add_match(draw, binding))
    return exchanges, bindings


def add_match(draw: st.DrawFn, binding: Binding) -> Binding:
    """The binding with what the type of its source compares."""
    ends = {"source": binding.source, "queue": binding.queue, "exchange": binding.exchange}
    if binding.source.startswith("h"):
        return Binding(binding.id, **ends, match=draw(st.sampled_from(["all", "any"])), headers=draw(HEADERS))  # type: ignore[arg-type]
    keys = st.sampled_from(["", "a", "a.b", "#", "*", "a.#"])
    return Binding(binding.id, **ends, routing_key=draw(keys))  # type: ignore[arg-type]


@given(graphs(), st.data())
def test_graphs_route_as_the_recursive_model_says(
    graph: tuple[dict[str, Exchange], list[Binding]], data: st.DataObject
) -> None:
    exchanges, bindings = graph
    router = Router()
    for exchange in exchanges.values():
        router.add_exchange(exchange)
    for binding in bindings:
        router.add_binding(binding)
    removed = data.draw(st.lists(st.sampled_from(bindings), unique_by=lambda b: b.id)) if bindings else []
    for binding in removed:
        router.remove_binding(binding)
    left = [binding for binding in bindings if binding not in removed]
    if data.draw(st.booleans()):
        gone = data.draw(st.sampled_from(sorted(exchanges)))
        router.remove_exchange(gone)
        del exchanges[gone]
        left = [binding for binding in left if gone not in (binding.source, binding.exchange)]
    key, headers = data.draw(st.sampled_from(["", "a", "b", "a.b", "a.b.a"])), data.draw(HEADERS)
    for start in exchanges:
        assert list(router.route(start, key, headers)[:2]) == list(route(exchanges, left, start, key, headers))


def test_the_alternate_gets_what_no_binding_took_and_what_reached_no_queue() -> None:
    router = Router()
    for name, alternate in (("x", "rest"), ("rest", None), ("empty", None)):
        router.add_exchange(Exchange(name, ExchangeType.DIRECT, alternate))
    router.add_binding(Binding(1, "rest", queue="unmatched", routing_key="other"))
    router.add_binding(Binding(2, "rest", queue="unreached", routing_key="key"))
    router.add_binding(Binding(3, "x", exchange="empty", routing_key="key"))
    assert router.route("x", "other", {})[0] == ["unmatched"]
    assert router.route("x", "key", {})[0] == ["unreached"]


def test_a_cycle_of_exchanges_delivers_once() -> None:
    router = Router()
    for name in ("x", "y"):
        router.add_exchange(Exchange(name, ExchangeType.FANOUT))
    for number, (source, exchange, queue) in enumerate([("x", "y", None), ("y", "x", None), ("x", None, "q")]):
        router.add_binding(Binding(number + 1, source, queue=queue, exchange=exchange))
    for start in ("x", "y"):
        queues, matched, _ = router.route(start, "", {})
        assert (queues, [binding.id for binding in matched]) == (["q"], [1, 2, 3])
