"""The campaign against clients that misbehave, short and long: whoever behaves is served, nothing is left behind."""

from pathlib import Path

import pytest

from tests.abuse.campaign import HELD_MIB, Told, campaign
from tests.abuse.field import LONG, SHORT
from tests.abuse.kinds import KINDS

SLACK_MIB = 160
"""What a broker has beside what it holds for slow clients: itself, answers of 14 MB being made, bodies on their way."""


def harmless(told: list[Told]) -> None:
    """Nobody was kept from being served, no file stayed open, and memory stayed within its bounds."""
    assert [one.kind for one in told] == list(KINDS)
    for one in told:
        assert one.cycles > 0, one
        assert one.left_open <= 0, one
        assert one.most_mib <= told[0].memory_mib + HELD_MIB + SLACK_MIB, one


def test_clients_that_misbehave_harm_nobody(tmp_path: Path) -> None:
    harmless(campaign(tmp_path, SHORT, KINDS, 1, print))


@pytest.mark.slow
def test_thousands_of_them_neither(tmp_path: Path) -> None:
    harmless(campaign(tmp_path, LONG, KINDS, 2, print))
