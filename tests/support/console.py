"""Pages that show commands and their answers, run and compared.

A page has blocks fenced as `console`. In them a line that begins with `$ ` is a command,
up to its first answer line: a command goes on while a quote is open or its line ends in a
backslash. What follows, up to the next command or the end of the block, is its answer.

Answers are compared as JSON where they are JSON, so they may be broken into lines at will. In them
- `...` in the place of a member stands for any further members;
- an id or a receipt stands for any other: from its first appearance on the same one stands for the
  same, in commands too;
- a time stands for any time.
"""

import json
import re
import shlex
from dataclasses import dataclass, field
from typing import Any

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
RECEIPT = re.compile(r"[A-Za-z0-9_-]{32}\.[0-9a-f]{1,12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_REST = re.compile(r"(?<=[{,]\s)\.\.\.(?=\s*[},])|(?<=\{)\.\.\.(?=\s*[},])")
_MORE = "..."


@dataclass(frozen=True)
class Step:
    """A command and what it is to answer."""

    command: str
    answer: str


def steps(page: str) -> list[Step]:
    """All commands of a page, in order."""
    return [step for block in _BLOCK.findall(page) for step in _steps(block)]


def _steps(block: str) -> list[Step]:
    found: list[tuple[str, list[str]]] = []
    open_command = False
    for line in block.splitlines():
        if open_command:
            found[-1] = (f"{found[-1][0]}\n{line}", [])
        elif line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
            continue
        open_command = not _is_whole(found[-1][0])
    return [Step(command, "\n".join(answer).strip()) for command, answer in found]


def _is_whole(command: str) -> bool:
    if command.endswith("\\"):
        return False
    try:
        shlex.split(command)
    except ValueError:
        return False
    return True


@dataclass
class Known:
    """What the ids and receipts of a page stand for in this run."""

    real: dict[str, str] = field(default_factory=dict)

    def substitute(self, command: str) -> str:
        """The command with the real ids and receipts."""
        for shown, real in self.real.items():
            command = command.replace(shown, real)
        return command

    def differences(self, shown: str, real: str) -> list[str]:
        """Where an answer is not the one shown; empty where it is."""
        try:
            expected = json.loads(_REST.sub(f'"{_MORE}": 0', shown))
        except json.JSONDecodeError:
            return [] if shown == real.strip() else [f"not {shown!r} but {real!r}"]
        return self._compare(expected, json.loads(real), "")

    def _compare(self, shown: Any, real: Any, place: str) -> list[str]:
        if isinstance(shown, dict) and isinstance(real, dict):
            return self._compare_objects(shown, real, place)
        if isinstance(shown, list) and isinstance(real, list):
            if len(shown) != len(real):
                return [f"{place}: not {len(shown)} items but {len(real)}"]
            pairs = enumerate(zip(shown, real, strict=True))
            return [fault for index, pair in pairs for fault in self._compare(*pair, f"{place}[{index}]")]
        if isinstance(shown, str) and isinstance(real, str) and self._stands_for(shown, real):
            return []
        return [] if type(shown) is type(real) and shown == real else [f"{place}: not {shown!r} but {real!r}"]

    def _compare_objects(self, shown: dict[str, Any], real: dict[str, Any], place: str) -> list[str]:
        faults = [f"{place}.{name}: missing" for name in shown.keys() - real.keys() - {_MORE}]
        if _MORE not in shown:
            faults += [f"{place}.{name}: not shown" for name in real.keys() - shown.keys()]
        for name in shown.keys() & real.keys():
            faults += self._compare(shown[name], real[name], f"{place}.{name}")
        return faults

    def _stands_for(self, shown: str, real: str) -> bool:
        if TIME.fullmatch(shown):
            return TIME.fullmatch(real) is not None
        for kind in (ID, RECEIPT):
            if kind.fullmatch(shown) and kind.fullmatch(real):
                return self.real.setdefault(shown, real) == real
        return False
