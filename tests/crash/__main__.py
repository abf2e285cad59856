"""`scripts/crash_campaign`: kill brokers under load, again and again, and count what they promised and kept."""

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.crash.campaign import campaign
from tests.crash.kills import WAYS, possible

SAID_OF_A_KIND = 5


def main() -> int:
    """Prints how it goes; 1 where a promise was broken, 2 where nothing of what was asked for can be done here."""
    parser = argparse.ArgumentParser(prog="scripts/crash_campaign", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--how", choices=sorted(WAYS), default="all")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument(
        "--durability", choices=["full", "relaxed"], default="full", help="relaxed is to lose by power losses"
    )
    parser.add_argument(
        "--folder", type=Path, default=None, help="where stores and histories go (else a temporary one)"
    )
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if given.seed is None else given.seed
    # So that the broker is ended and the disk unmounted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    kinds, missing = possible(WAYS[given.how])
    print(*missing, f"seed {seed}", sep="\n", flush=True)
    if not kinds:
        return 2
    begun = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="crash-", dir=given.folder))
    report = asyncio.run(campaign(folder, given.kills, kinds, seed, say, given.durability))
    print(report, f"in {time.monotonic() - begun:.0f} s", sep="\n", flush=True)
    if report.faults:
        print(*report.some(SAID_OF_A_KIND), f"seed {seed}; what was left is in {folder}", sep="\n")
        return 1
    shutil.rmtree(folder)
    return 0


def say(line: str) -> None:
    """A line of progress."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
