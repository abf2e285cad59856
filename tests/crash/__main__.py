"""`python -m tests.crash`: the storm for as long as one likes."""

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from tests.crash.storm import storm


def main() -> int:
    """Prints how it goes; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prog := "crash") as folder:
        report = asyncio.run(storm(Path(folder) / prog, given.kills, seed, lambda line: print(line, flush=True)))
    print(report, *report.problems[:50], sep="\n")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
