"""`scripts/abuse`: clients that misbehave, and how a healthy one fares beside each kind of them."""

import argparse
import resource
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.abuse.campaign import campaign
from tests.abuse.field import LONG
from tests.abuse.kinds import KINDS

OTHER_FILES = 200


def main() -> int:
    """Prints a line for each kind; 1 where somebody was harmed."""
    parser = argparse.ArgumentParser(prog="scripts/abuse", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="kind", help=f"all if none is named: {', '.join(KINDS)}")
    parser.add_argument("--seconds", type=float, default=LONG.seconds, help="for each kind")
    parser.add_argument("--rounds", type=int, default=LONG.rounds, help="of receives that wait")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    for kind in given.kinds:
        if kind not in KINDS:
            parser.error(f"there is no kind {kind!r}: there are {', '.join(KINDS)}")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    room = max(soft, hard) - OTHER_FILES if hard != resource.RLIM_INFINITY else LONG.idle
    many, waiters = min(LONG.idle, room), min(LONG.waiters, room)
    scale = replace(LONG, seconds=given.seconds, rounds=given.rounds, idle=many, waiters=waiters)
    with tempfile.TemporaryDirectory(prefix="abuse-") as folder:
        try:
            campaign(Path(folder), scale, given.kinds or KINDS, given.seed, partial(print, flush=True))
        except AssertionError as error:
            print(f"FAILED: {error}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
