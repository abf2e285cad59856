"""How a broker's life ends: at a moment, while it starts or stops, at a system call, or with the power of its disk."""

import random
import shutil
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from tests.crash import disk


class Kind(Enum):
    """What ends it."""

    RANDOM = "random"
    """SIGKILL at a moment"""
    START = "start"
    """SIGKILL while it starts: it reads and mends what the kill before left"""
    STOP = "stop"
    """SIGKILL on its way out, after SIGTERM"""
    SYSCALL = "syscall"
    """SIGKILL as it makes its so-many-th system call of a kind, counted from its start"""
    POWER = "power"
    """its disk is cut off under load, or while it starts; then SIGKILL"""


WAYS: Final = {
    "random": (Kind.RANDOM, Kind.START, Kind.STOP),
    "syscall": (Kind.SYSCALL,),
    "power": (Kind.POWER,),
    "all": tuple(Kind),
}
OFTEN: Final = {Kind.RANDOM: 3, Kind.START: 1, Kind.STOP: 1, Kind.SYSCALL: 4, Kind.POWER: 2}
CALLS: Final = {"fdatasync": 80, "pwrite64": 1000, "ftruncate": 6}
"""What SQLite writes with, and the highest number at which to strike."""
AT_START: Final = 12
"""Up to this number about the calls of a start."""
LONGEST_SECONDS: Final = 0.8
START_SECONDS: Final = 0.7
"""About how long a broker takes to start."""
LULL_SECONDS: Final = 0.5
"""In a lull the broker removes what was purged, empties its log and gives space back."""


@dataclass(frozen=True)
class Kill:
    """`seconds` into the load, or, with `starting`, into the start; or at the `number`-th `call`.

    With `lull` the load stops for so long before.
    """

    kind: Kind
    seconds: float = 0
    lull: float = 0
    starting: bool = False
    call: str = ""
    number: int = 0

    def __str__(self) -> str:
        if self.kind is Kind.SYSCALL:
            return f"{self.call} {self.number}"
        return f"{self.kind.value} at {self.seconds:.2f} s" + (" of the start" if self.starting else "")


def draw(chance: random.Random, kinds: tuple[Kind, ...]) -> Kill:
    """One of these kinds, and its moment."""
    (kind,) = chance.choices(kinds, [OFTEN[kind] for kind in kinds])
    lull = chance.uniform(0, LULL_SECONDS) if chance.random() < 0.3 else 0
    if kind is Kind.SYSCALL:
        call = chance.choice([*CALLS, "fdatasync", "pwrite64"])
        most = min(AT_START, CALLS[call]) if chance.random() < 0.3 else CALLS[call]
        return Kill(kind, seconds=chance.uniform(0, 2), lull=lull, call=call, number=chance.randint(1, most))
    starting = kind is Kind.START or (kind is Kind.POWER and chance.random() < 0.2)
    return Kill(kind, chance.uniform(0, START_SECONDS if starting else LONGEST_SECONDS), lull, starting)


def possible(kinds: tuple[Kind, ...]) -> tuple[tuple[Kind, ...], list[str]]:
    """Those of the kinds that can be done here, and why not the others."""
    reasons = {
        Kind.SYSCALL: "" if shutil.which("strace") else "kills at system calls are made with strace, which is not here",
        Kind.POWER: disk.why_not() if Kind.POWER in kinds else "",
    }
    missing = {kind: reason for kind, reason in reasons.items() if reason and kind in kinds}
    return tuple(kind for kind in kinds if kind not in missing), list(missing.values())


def armed(kill: Kill, folder: Path) -> str:
    """The Python to start a broker with, so that it dies as a kill at a system call says."""
    if kill.kind is not Kind.SYSCALL:
        return sys.executable
    script = folder / "armed"
    inject = f"-e trace={kill.call} -e inject={kill.call}:signal=SIGKILL:when={kill.number}"
    # -D: the broker is our child and strace its own; else a killed strace would leave the broker alive. (With
    # --seccomp-bpf, which would be quicker, strace 6.1 does not send the signal.)
    script.write_text(f'#!/bin/sh\nexec strace -D -f -qq -o /dev/null {inject} {sys.executable} "$@"\n')
    script.chmod(0o755)
    return str(script)
