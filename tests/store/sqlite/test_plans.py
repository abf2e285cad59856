"""How SQLite goes about each statement: nothing that runs while the broker runs may scan the messages."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuesvc.store.sqlite.statements import SQL, load, repeated
from tests.support.stores import Hand, reading

# Read once, when a store is opened.
AT_THE_START = {
    "get_meta",
    "get_meta_page",
    "get_exchanges",
    "get_queues",
    "get_bindings",
    "get_messages",
    "get_leases",
    "get_records",
    "get_tokens",
}
# Tables that hold one row, or one a deleted queue or a purge: all of them is what is asked for.
SMALL = {"get_meta", "get_reclaims", "next_reclaim"}


@pytest.fixture
async def plans(hand: Hand) -> dict[str, list[str]]:
    """The plan of every statement, by the statement's name."""
    with reading(hand.file) as db:
        return {
            name: [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", bound(sql))] for name, sql in SQL.items()
        }


def bound(sql: str) -> list[int]:
    return [1] * sql.count("?")


def scans(plan: list[str]) -> Iterator[str]:
    """The steps that go through all of a table, or sort by hand."""
    for step in plan:
        if re.match(r"SCAN (?!json_each|CONSTANT)", step) or "TEMP B-TREE" in step or "AUTOMATIC" in step:
            yield step


def test_every_statement_is_here_and_is_used(plans: dict[str, list[str]]) -> None:
    source = "".join(path.read_text() for path in Path(__file__).parents[3].glob("queuesvc/store/sqlite/*.py"))
    assert plans
    assert {name for name in SQL if f'SQL["{name}"]' not in source} == set()
    assert set(SQL) >= AT_THE_START | SMALL


@pytest.mark.parametrize("name", sorted(set(SQL) - AT_THE_START - SMALL))
def test_no_scan_while_the_broker_runs(plans: dict[str, list[str]], name: str) -> None:
    # (reclaim_end reads the rows that its subquery found, which are bounded.)
    steps = [step for step in scans(plans[name]) if "subquery" not in step.lower()]
    assert steps == [] or all(re.fullmatch(r"SCAN \(?SUBQUERY.*", step) for step in steps), plans[name]


@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("get_content", "SEARCH message USING INTEGER PRIMARY KEY (rowid=?)"),
        ("get_content", "SEARCH body USING INTEGER PRIMARY KEY (rowid=?)"),
        ("get_contents", "SEARCH message USING INTEGER PRIMARY KEY (rowid=?)"),
        ("get_contents", "SEARCH body USING INTEGER PRIMARY KEY (rowid=?)"),
        ("delete_messages", "SEARCH message USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ("release_body", "SEARCH body USING INTEGER PRIMARY KEY (rowid=?)"),
        ("release_body", "SEARCH message USING INTEGER PRIMARY KEY (rowid=?)"),
        ("drop_body", "SEARCH body USING INTEGER PRIMARY KEY (rowid=?)"),
        ("drop_body", "SEARCH message USING INTEGER PRIMARY KEY (rowid=?)"),
        ("change_message", "SEARCH message USING INTEGER PRIMARY KEY (rowid=?)"),
        ("set_deaths", "SEARCH message USING INTEGER PRIMARY KEY (rowid=?)"),
        ("drop_lease", "SEARCH lease USING INTEGER PRIMARY KEY (rowid=?)"),
        ("put_totals", "SEARCH queue USING INTEGER PRIMARY KEY (rowid=?)"),
        ("put_meta", "SEARCH meta USING INTEGER PRIMARY KEY (rowid=?)"),
        ("reclaim_end", "SEARCH message USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ("reclaim_messages", "SEARCH message USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ("reclaim_refs", "SEARCH body USING INTEGER PRIMARY KEY (rowid=?)"),
        ("reclaim_refs", "SEARCH message USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ("reclaim_bodies", "SEARCH body USING INTEGER PRIMARY KEY (rowid=?)"),
        ("reclaim_bodies", "SEARCH message USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
    ],
)
def test_what_is_hot_goes_by_the_key(plans: dict[str, list[str]], name: str, by: str) -> None:
    assert by in plans[name]


def test_start_up_reads_the_messages_in_one_go_by_number(plans: dict[str, list[str]]) -> None:
    assert plans["get_messages"] == ["SCAN message"]


def test_an_insert_of_many_rows_is_the_one_of_one_row() -> None:
    assert repeated("INSERT INTO t (a, b) VALUES (?, 0);", 3) == "INSERT INTO t (a, b) VALUES (?, 0), (?, 0), (?, 0);"


def test_the_loader_takes_statements_by_name() -> None:
    text = "-- name: one\nSELECT 1;\n\n-- name: two\n-- why\nSELECT\n  2;\n"
    assert load(text) == {"one": "SELECT 1;", "two": "-- why\nSELECT\n  2;"}
